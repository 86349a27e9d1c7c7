"""What is worked out of every pair once, against the similarities that it stands for."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from orl_explore.errors import OrlError
from orl_explore.judging import pair_facts as module
from orl_explore.judging.diagnostics import region_labels
from orl_explore.judging.pair_facts import make_pair_facts
from orl_explore.pairs import pair_images, region_slices, similarity_matrix
from orl_explore.runs.files import known_hash
from orl_explore.runs.pair_query import DOUBTS, AllPairs, facts_are_current
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES


@pytest.fixture
def run(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "run"))


def test_stage_2_has_made_them(finished):
    facts = finished.read("pair_facts")
    pd.testing.assert_frame_equal(facts[list(TABLES["pairs"].columns)], finished.read("pairs"))
    assert {name: str(kind) for name, kind in facts.dtypes.items()} == TABLES["pair_facts"].columns
    assert facts["pair"].tolist() == list(range(len(facts)))


def test_margin_counts_and_shares(finished):
    facts, regions = finished.read("pair_facts"), finished.read("regions")
    least = facts.groupby(["image_id", "neighbor_id"])["similarity"].transform("min")
    np.testing.assert_allclose(facts["margin"], facts["similarity"] - least, atol=1e-6)
    assert facts["key_count"].tolist() == facts["key_region"].map(facts["key_region"].value_counts()).tolist()
    area = (regions["w"] * regions["h"]).to_numpy() / 80**2
    shares = np.minimum(area[facts["query_region"]], area[facts["key_region"]])
    np.testing.assert_allclose(facts["least_share"], shares, rtol=1e-6)
    near = finished.read("neighbors").set_index(["image_id", "neighbor_id"])["similarity"]
    expected = near.loc[pd.MultiIndex.from_frame(facts[["image_id", "neighbor_id"]])]
    np.testing.assert_array_equal(facts["image_similarity"], expected)


def most_similar(run, facts):
    """Whether pairs are each other's most similar boxes of their images, by the matrix of all similarities."""
    vectors, own = run.read_array("region_embeddings"), run.read("regions").groupby("image_id")["region_id"].agg(list)
    for row in facts.itertuples():
        query, key = own[row.image_id], own[row.neighbor_id]
        matrix = similarity_matrix(np.array(vectors[query]), np.array(vectors[key]))
        a, b = query.index(row.query_region), key.index(row.key_region)
        yield bool(matrix[a, b] >= matrix[a].max() and matrix[a, b] >= matrix[:, b].max())


def test_mutual_pairs_are_each_others_most_similar(finished):
    """Worked out from the accepted pairs alone, it is what the matrix of all similarities says."""
    facts = finished.read("pair_facts")
    assert 0 < facts["mutual"].mean() < 1
    assert facts["mutual"].tolist() == list(most_similar(finished, facts))


@pytest.fixture
def thinned(run):
    """A run whose pairs are one to one: better ones that share a box with them were left out."""
    settings = {"ratio": 0.5, "one_to_one": True}
    slices, vectors = region_slices(run.read("regions")["image_id"]), run.read_array("region_embeddings")
    ids = run.read("pairs")["image_id"].unique()
    run.write("pairs", pair_images(ids, run.read("neighbors"), slices, vectors, **settings))
    run.note("stage2", config=run.stage("stage2")["config"] | {"pair_ratio": 0.5, "one_to_one": True})
    return run


def test_mutual_pairs_of_one_to_one_pairs(thinned):
    make_pair_facts(thinned)
    facts = thinned.read("pair_facts")
    assert 0.2 < facts["mutual"].mean() < 0.8
    assert facts["mutual"].tolist() == list(most_similar(thinned, facts))
    assert ((facts["doubts"] & 8 > 0) == ~facts["mutual"]).all()


def test_of_one_to_one_pairs_without_embeddings_nothing_is_said(thinned):
    thinned.file("region_embeddings").unlink()
    make_pair_facts(thinned)
    assert not (thinned.read("pair_facts")["doubts"] & 8).any()


def test_facts_of_one_to_one_pairs_from_before_are_out_of_date(thinned, monkeypatch):
    make_pair_facts(thinned)
    assert facts_are_current(thinned)
    hashes = {name: known_hash(thinned.file(name)) for name in ("pairs", "regions", "objects")}
    monkeypatch.setattr(module, "facts_fingerprint", lambda run: hashes)  # as they were written
    make_pair_facts(thinned)
    assert not facts_are_current(thinned)


@pytest.mark.parametrize("name", ["cup", "", None])
def test_categories(run, name):
    """All pairs and the object map call a box the same, also one on an object of an empty or a missing category."""
    objects = run.read("objects")
    first = objects["category"] == objects["category"].iloc[0]
    run.write("objects", objects.assign(category=objects["category"].mask(first, name).astype("str")))
    make_pair_facts(run)
    pairs, facts = AllPairs(run), run.read("pair_facts")
    labels = region_labels(run.read("regions"), run.images())
    assert ("(no name)" in set(labels)) == (name == "")
    for side in ("query", "key"):
        named = [pairs.category(code) for code in facts[f"{side}_category"]]
        assert named == labels.loc[facts[f"{side}_region"]].tolist()


def test_reasons_to_doubt(finished):
    facts = finished.read("pair_facts")
    has = {name: (facts["doubts"] & (1 << bit)) > 0 for bit, name in enumerate(DOUBTS)}
    assert (has["not mutual"] == ~facts["mutual"]).all()
    assert has["weak"].mean() == pytest.approx(0.1, abs=0.01)
    differ = (facts["query_category"] >= 0) & (facts["key_category"] >= 0)
    assert (has["labels differ"] == (differ & (facts["query_category"] != facts["key_category"]))).all()
    assert (has["near-duplicates"] == (facts["image_similarity"] > 0.98)).all()
    size = facts.groupby(["image_id", "neighbor_id"])["pair"].transform("size")
    assert (has["near the cut"] == ((size > 1) & (facts["margin"] <= 0.01))).all()
    assert facts.loc[has["hub"], "key_count"].min() > facts.loc[~has["hub"], "key_count"].max()
    reasons = np.sum(list(has.values()), axis=0)
    assert (np.floor(facts["doubt"]) == reasons).all()


def test_pieces_leave_no_trace(run, monkeypatch):
    """Images on both sides of a row group's end, and few rows at a time."""
    before = run.file("pair_facts").read_bytes()
    pairs = run.read("pairs")
    pairs.to_parquet(run.file("pairs"), row_group_size=37)
    make_pair_facts(run)
    after = run.read("pair_facts")
    run.file("pair_facts").write_bytes(before)
    pd.testing.assert_frame_equal(after, run.read("pair_facts"))


def test_without_annotations_and_similarities(run):
    run.write("objects", run.read("objects").iloc[:0])
    run.write("pairs", run.read("pairs").assign(similarity=np.nan))
    seen = []
    assert make_pair_facts(run, progress=lambda *done: seen.append(done)) == len(run.read("pairs"))
    assert seen[-1][0] == seen[-1][1]
    facts = run.read("pair_facts")
    assert (facts["query_category"] == -1).all()
    assert facts["margin"].isna().all()
    assert not AllPairs(run).categories


def test_no_pairs_at_all(run):
    run.write("pairs", run.read("pairs").iloc[:0])
    assert make_pair_facts(run) == 0
    assert AllPairs(run).total == 0


def test_pairs_of_other_regions(run):
    run.write("pairs", run.read("pairs").assign(key_region=10**6))
    with pytest.raises(OrlError, match="regions that the run has not"):
        make_pair_facts(run)


def test_thresholds_are_shares():
    assert 0 < module.HUBS < module.WEAK < 1
