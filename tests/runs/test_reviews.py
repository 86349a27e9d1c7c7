"""What a person says of pairs: kept, merged, refused, exported, and heeded by stage 3."""

from __future__ import annotations

import ast
import json
import multiprocessing
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from orl_explore.errors import OrlError
from orl_explore.runs import reviews as module
from orl_explore.runs.files import hash_file
from orl_explore.runs.reviews import (
    KEY,
    Pair,
    apply_reviews,
    as_coco,
    as_csv,
    count_tags,
    of_images,
    pairs_hash,
    read_disputes,
    read_reviews,
    read_verdicts,
    save_review,
    save_verdicts,
    tags_of,
)
from orl_explore.runs.run import Run
from orl_explore.runs.said import MadeAnew
from orl_explore.runs.tables import TABLES
from training import stage3


@pytest.fixture
def mined(finished, tmp_path):
    """A copy of a run whose three stages are finished."""
    shutil.copytree(finished.path, tmp_path / "run")
    return Run(tmp_path / "run")


def pair_at(run, row):
    return Pair(*map(int, run.read("pairs")[KEY].iloc[row]))


def unchosen(run):
    """Two boxes, of an image and its nearest neighbor, that stage 2 did not pair."""
    pairs, regions = run.read("pairs"), run.read("regions")
    image_id, neighbor_id = map(int, pairs[["image_id", "neighbor_id"]].iloc[0])
    chosen = {Pair(*row) for row in pairs[KEY].itertuples(index=False, name=None)}
    for query in regions.loc[regions["image_id"] == image_id, "region_id"].tolist():
        for key in regions.loc[regions["image_id"] == neighbor_id, "region_id"].tolist():
            if Pair(image_id, neighbor_id, query, key) not in chosen:
                return Pair(image_id, neighbor_id, query, key)
    raise AssertionError


def test_nothing_reviewed_yet(mined):
    reviews = read_reviews(mined)
    assert len(reviews) == 0
    assert {name: str(kind) for name, kind in reviews.dtypes.items()} == TABLES["reviews"].columns


def test_verdict_and_note_are_kept_apart(mined):
    pair = pair_at(mined, 3)
    save_review(mined, pair, verdict="accepted")
    save_review(mined, pair, note="  two cups ")
    (row,) = read_reviews(mined).to_dict("records")
    assert Pair(*(row[name] for name in KEY)) == pair
    assert (row["verdict"], row["note"], row["pairs_hash"]) == ("accepted", "two cups", hash_file(mined.file("pairs")))
    assert pd.Timestamp(row["time"]).tzinfo is not None
    save_review(mined, pair, verdict="rejected")
    assert read_reviews(mined)[["verdict", "note"]].iloc[0].tolist() == ["rejected", "two cups"]
    save_review(mined, pair, verdict="")
    assert read_reviews(mined)[["verdict", "note"]].iloc[0].tolist() == ["", "two cups"]
    assert len(save_review(mined, pair, note="")) == 0  # neither verdict nor note: no row


def test_tags_are_words_of_notes(mined):
    assert len(count_tags(read_reviews(mined))) == len(tags_of(read_reviews(mined))) == 0
    save_review(mined, pair_at(mined, 0), verdict="rejected", note="#hub and #hub, #two")
    save_review(mined, pair_at(mined, 1), note="#hub; an e#mail is one, too")
    reviews = read_reviews(mined)
    assert sorted(tags_of(reviews)["tag"]) == ["hub", "hub", "mail", "two"]
    assert count_tags(reviews).to_numpy().tolist() == [["hub", 2, 0, 1], ["mail", 1, 0, 0], ["two", 1, 0, 1]]


def test_types_on_disk(mined):
    save_review(mined, pair_at(mined, 0), verdict="accepted", note="<b>é 中</b>")
    schema = pq.read_schema(mined.file("reviews"))
    assert schema.names == list(TABLES["reviews"].columns)
    assert [str(schema.field(name).type) for name in KEY] == ["int64"] * 4
    assert "<b>é 中</b>" in as_csv(read_reviews(mined))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_region": 10**6}, "are no two regions"),
        ({"image_id": -5}, "are no two regions"),
        ({"verdict": "maybe"}, "is no verdict"),
        ({"note": "x" * 2001}, "2001"),
    ],
)
def test_refused(mined, change, message):
    pair = pair_at(mined, 0)._replace(**{key: value for key, value in change.items() if key in KEY})
    said = {key: value for key, value in change.items() if key not in KEY} or {"verdict": "accepted"}
    with pytest.raises(OrlError, match=message):
        save_review(mined, pair, **said)
    assert not mined.file("reviews").exists()


def test_only_neighbors(mined):
    pairs, regions = mined.read("pairs"), mined.read("regions")
    image_id = int(pairs["image_id"].iloc[0])
    own = regions.loc[regions["image_id"] == image_id, "region_id"].tolist()
    with pytest.raises(OrlError, match="is no neighbor"):
        save_review(mined, Pair(image_id, image_id, own[0], own[-1]), verdict="accepted")


def test_reviews_of_other_pairs_are_refused(mined):
    save_review(mined, pair_at(mined, 0), verdict="rejected")
    mined.write("pairs", mined.read("pairs").iloc[1:])
    with pytest.raises(OrlError, match="of other pairs than stage 2 has now"):
        read_reviews(mined)
    with pytest.raises(OrlError, match="of other pairs"):
        save_review(mined, pair_at(mined, 0), verdict="accepted")


def test_stage2_made_anew_takes_them_along(mined):
    save_review(mined, pair_at(mined, 0), verdict="rejected")
    mined.clear("stage2")
    assert not mined.file("reviews").exists()
    with pytest.raises(OrlError, match="run `orl stage2"):
        read_reviews(mined)


def test_damaged(mined):
    mined.file("reviews").write_bytes(b"no table")
    with pytest.raises(OrlError, match="cannot be read: move it away"):
        read_reviews(mined)


@pytest.mark.slow
def test_threads_lose_nothing(mined):
    pairs = [pair_at(mined, row) for row in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: save_review(mined, pair, verdict="accepted"), pairs))
        list(pool.map(lambda pair: save_review(Run(mined.path), pair, note="n"), pairs))
    reviews = read_reviews(mined)
    assert {Pair(*row) for row in reviews[KEY].itertuples(index=False, name=None)} == set(pairs)
    assert (reviews["verdict"] == "accepted").all()
    assert (reviews["note"] == "n").all()


def _review_some(path, rows, start):
    run = Run(path)
    start.wait()
    for row in rows:
        save_review(run, pair_at(run, row), verdict="rejected")


@pytest.mark.slow
def test_processes_lose_nothing(mined):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    workers = [
        context.Process(target=_review_some, args=(mined.path, range(first, 18, 3), start)) for first in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(read_reviews(mined)) == 18
    assert not list(mined.path.rglob("*.tmp"))


# ---- export --------------------------------------------------------------------------------------------------------


def test_coco(mined, tmp_path, capsys):
    first, added = pair_at(mined, 0), unchosen(mined)
    save_review(mined, first, verdict="rejected", note='"quoted", <i>')
    reviews = save_review(mined, added, verdict="accepted")
    (tmp_path / "reviews.json").write_text(module.as_coco_text(mined, reviews))
    coco = COCO(tmp_path / "reviews.json")
    capsys.readouterr()
    assert set(coco.imgs) == {first.image_id, first.neighbor_id, added.neighbor_id}
    regions = mined.read("regions")
    by_pair = {(p["query_region"], p["key_region"]): p for p in coco.dataset["pairs"]}
    for pair, verdict in ((first, "rejected"), (added, "accepted")):
        entry = by_pair[pair.query_region, pair.key_region]
        assert entry["verdict"] == verdict
        for side, region, image_id in (
            ("query", pair.query_region, pair.image_id),
            ("key", pair.key_region, pair.neighbor_id),
        ):
            annotation = coco.anns[entry[side]]
            assert annotation["image_id"] == image_id
            assert annotation["bbox"] == regions[["x", "y", "w", "h"]].iloc[region].tolist()


def test_coco_of_nothing(mined):
    assert json.loads(json.dumps(as_coco(mined, read_reviews(mined))))["annotations"] == []


# ---- stage 3 -------------------------------------------------------------------------------------------------------


def test_apply(mined):
    pairs, rejected, added = mined.read("pairs"), pair_at(mined, 5), unchosen(mined)
    save_review(mined, rejected, verdict="rejected")
    save_review(mined, pair_at(mined, 6), verdict="accepted")  # stored already: nothing to add
    save_review(mined, pair_at(mined, 7), note="undecided")
    reviews = save_review(mined, added, verdict="accepted")
    used = apply_reviews(mined, pairs, reviews)
    assert {name: str(kind) for name, kind in used.dtypes.items()} == TABLES["pairs"].columns
    pd.testing.assert_frame_equal(used.iloc[:-1], pairs.drop(index=5).reset_index(drop=True))
    new, vectors = used.iloc[-1], mined.read_array("region_embeddings").astype(np.float64)
    assert Pair(*map(int, new[KEY])) == added
    own = pairs[(pairs["image_id"] == added.image_id) & (pairs["neighbor_id"] == added.neighbor_id)]
    assert new["neighbor_rank"] == own["neighbor_rank"].iloc[0]
    assert new["rank"] == len(own)
    assert new["similarity"] == pytest.approx(vectors[added.query_region] @ vectors[added.key_region], abs=2e-3)


def test_apply_nothing(mined):
    pairs = mined.read("pairs")
    pd.testing.assert_frame_equal(apply_reviews(mined, pairs, read_reviews(mined)), pairs)


def test_nothing_left(mined):
    pairs = mined.read("pairs").iloc[:1]
    reviews = save_review(mined, pair_at(mined, 0), verdict="rejected")
    with pytest.raises(OrlError, match="leave no pair"):
        apply_reviews(mined, pairs, reviews)


@pytest.mark.slow
def test_stage3_heeds_them(mined, changed, monkeypatch):
    rejected, added = pair_at(mined, 0), unchosen(mined)
    config = changed("stage3", reviews="use")
    mined.clear("stage3")
    with pytest.raises(OrlError, match=r"reviews.parquet is not there yet"):
        stage3.run(mined, config)
    save_review(mined, rejected, verdict="rejected")
    save_review(mined, added, verdict="accepted")
    seen = []
    views = stage3.ObjectViews
    monkeypatch.setattr(
        stage3,
        "ObjectViews",
        lambda images, regions, pairs, *rest, **more: (
            seen.append(pairs) or views(images, regions, pairs, *rest, **more)
        ),
    )
    stage3.run(mined, config)
    used = {Pair(*row) for row in seen[0][KEY].itertuples(index=False, name=None)}
    assert added in used
    assert rejected not in used
    record = mined.stage("stage3")
    assert record["state"] == "finished"
    assert record["config"]["reviews"] == "use"
    assert record["inputs"]["reviews"] == hash_file(mined.file("reviews"))
    stage3.run(mined, config)  # finished: skipped
    save_review(mined, rejected, verdict="")
    with pytest.raises(OrlError, match="made with other reviews"):
        stage3.run(mined, config)
    with pytest.raises(OrlError, match="made with other reviews, setting reviews"):
        stage3.run(mined, changed(seed=0))


def test_stage3_does_not_heed_them_unasked(mined, tiny):
    save_review(mined, pair_at(mined, 0), verdict="rejected")
    assert stage3.run(mined, tiny).finished("stage3")  # made before there were any, and still valid
    assert "reviews" not in mined.stage("stage3")["inputs"]


# ---- several reviewers ---------------------------------------------------------------------------------------------


def test_many_verdicts_at_once_count_in_their_order(mined):
    pairs = [pair_at(mined, row) for row in range(60)]
    said = [(pair, "rejected") for pair in pairs] + [(pairs[3], "accepted"), (pairs[4], "")]
    reviews = save_verdicts(mined, said, reviewer=" Ann  B ")
    assert reviews["verdict"].value_counts().to_dict() == {"rejected": 58, "accepted": 1}
    assert set(reviews["reviewer"]) == {"Ann B"}
    wrong = pairs[0]._replace(neighbor_id=pairs[0].image_id)
    with pytest.raises(OrlError, match="no two regions"):
        save_verdicts(mined, [(pairs[4], "accepted"), (wrong, "accepted")])
    assert len(read_reviews(mined)) == 59  # all or none


SAID = st.tuples(
    st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["accepted", "rejected", ""])), max_size=4),
    st.sampled_from(["Ann", "Bob"]),
)


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(SAID, max_size=5))
def test_any_words_in_any_order_are_as_in_a_dictionary(mined, said):
    """Of each pair the last verdict that was not taken back counts; all tables stay ordered, whoever says what."""
    for name in ("reviews", "verdicts"):
        mined.file(name).unlink(missing_ok=True)
    pairs, model = [pair_at(mined, row) for row in range(8)], {}  # pair -> reviewer -> verdict, the last one last
    for verdicts, who in said:
        save_verdicts(mined, [(pairs[number], verdict) for number, verdict in verdicts], reviewer=who)
        for number, verdict in verdicts:
            of_pair = model.setdefault(pairs[number], {})
            of_pair.pop(who, None)
            of_pair |= {who: verdict} if verdict else {}
    reviews, verdicts = read_reviews(mined), read_verdicts(mined)
    last = {pair: [*of_pair.items()][-1] for pair, of_pair in model.items() if of_pair}
    rows = reviews[[*KEY, "reviewer", "verdict"]].itertuples(index=False, name=None)
    assert [(Pair(*row[:4]), row[4:]) for row in rows] == sorted(last.items())
    rows = verdicts[[*KEY, "reviewer", "verdict"]].itertuples(index=False, name=None)
    assert [*rows] == [(*pair, *one) for pair, of_pair in sorted(model.items()) for one in of_pair.items()]
    assert of_images(reviews, [pairs[0].image_id]).equals(reviews[reviews["image_id"] == pairs[0].image_id])
    disputed = [pair for pair, of_pair in sorted(model.items()) if len({*of_pair.values()}) > 1]
    assert [*read_disputes(mined)[KEY].drop_duplicates().itertuples(index=False, name=None)] == disputed


def test_a_pair_judged_differently_is_listed(mined):
    one, two = pair_at(mined, 0), pair_at(mined, 1)
    save_review(mined, one, verdict="accepted", reviewer="Ann")
    save_review(mined, two, verdict="accepted", reviewer="Ann")
    save_review(mined, one, verdict="rejected", note="a shadow", reviewer="Bob")
    save_review(mined, two, verdict="accepted", reviewer="Bob")
    disputes = read_disputes(mined)
    assert disputes[["reviewer", "verdict"]].to_numpy().tolist() == [["Ann", "accepted"], ["Bob", "rejected"]]
    assert {Pair(*row) for row in disputes[KEY].itertuples(index=False, name=None)} == {one}
    standing = read_reviews(mined).set_index(KEY)
    assert standing.loc[tuple(one), ["verdict", "reviewer", "note"]].tolist() == ["rejected", "Bob", "a shadow"]
    save_review(mined, one, verdict="", reviewer="Bob")  # taken back: what Ann said stands again
    assert not len(read_disputes(mined))
    assert read_reviews(mined).set_index(KEY).loc[tuple(one), "verdict"] == "accepted"


def test_reviews_from_before_reviewers_had_names(mined):
    pair = pair_at(mined, 0)
    save_review(mined, pair, verdict="accepted")
    old = read_reviews(mined).drop(columns="reviewer")
    old.to_parquet(mined.file("reviews"))
    mined.file("verdicts").unlink()
    assert read_reviews(mined)["reviewer"].tolist() == [""]
    save_review(mined, pair, verdict="rejected", reviewer="Bob")
    assert read_disputes(mined)["reviewer"].tolist() == ["", "Bob"]


def test_a_spreadsheet_executes_nothing(mined):
    save_review(mined, pair_at(mined, 0), note="=SUM(A1)", reviewer="@me")
    text = as_csv(read_reviews(mined))
    assert ",'=SUM(A1)," in text
    assert ",'@me" in text


@pytest.mark.parametrize(
    "save",
    [
        lambda run, pair, of: save_review(run, pair, verdict="accepted", of=of),
        lambda run, pair, of: save_review(run, pair, note="look", of=of),
        lambda run, pair, of: save_verdicts(run, [(pair, "rejected")], of=of),
    ],
)
def test_what_was_seen_before_stage_2_was_made_anew_is_not_said_of_other_boxes(mined, save):
    seen, pair = pairs_hash(mined), pair_at(mined, 5)
    mined.write("pairs", mined.read("pairs").iloc[1:])
    with pytest.raises(MadeAnew, match=f"stage 2 of {mined.path} was made anew since .* nothing was saved"):
        save(mined, pair, seen)
    assert not mined.file("reviews").exists()
    assert not mined.file("verdicts").exists()
    for of in (None, pairs_hash(mined)):
        assert len(save(mined, pair, of)) == 1


def test_whoever_saves_says_what_the_numbers_are_of():
    """Numbers of regions are taken from tables that may be others when they are saved."""
    root, savers = Path(__file__).parents[2], {"save_review", "save_verdicts", "save_selection"}
    forgotten, found = [], set()
    for path in sorted(file for package in ("orl_explore", "training") for file in (root / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if name in savers:
                found.add(name)
                if "of" not in {keyword.arg for keyword in node.keywords}:
                    forgotten.append(f"{path.name}:{node.lineno}")
    assert found == savers
    assert not forgotten
