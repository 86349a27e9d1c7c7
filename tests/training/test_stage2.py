"""Stage 2: its tables are those of the method, and no interruption leaves a trace."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.boxes import filter_boxes
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.judging.remining import embed_run
from orl_explore.runs import files, tables
from orl_explore.runs import run as run_module
from stage_runs import outputs
from training import stage2, stage3


def test_stage_2_refuses_another_encoder(unfinished, tiny):
    run = unfinished("nothing")
    Encoder.random(tiny.stage1.encoder, seed=5).save(run.encoder_file("stage1"))
    with pytest.raises(OrlError, match=r"stage2 of .* was made with other encoder: `orl stage2"):
        stage2.run(run, tiny)


def test_a_disk_that_is_full_when_a_foreign_encoder_is_looked_at(unfinished, changed, monkeypatch):
    """It is saved to tell whether it is the one that was mined with; the temporary folder may be a small disk."""

    def full_disk(self, path, **kwargs):
        raise OSError(28, "No space left on device", str(path))

    run = unfinished("stage2")
    monkeypatch.setattr(Encoder, "save", full_disk)
    with pytest.raises(OrlError, match="encoder could not be written, the disk is full"):
        stage2.run(run, changed("stage2", encoder="embedded"))


def test_mined_tables(finished, images, tiny):
    ids = images.table["image_id"].tolist()
    neighbors, proposals, regions, pairs = (
        finished.read(name) for name in ("neighbors", "proposals", "regions", "pairs")
    )

    embeddings = np.array(finished.read_array("image_embeddings"))
    cosine = embeddings @ embeddings.T
    np.fill_diagonal(cosine, -2)
    assert neighbors["image_id"].tolist() == np.repeat(ids, 3).tolist()
    assert neighbors["neighbor_id"].tolist() == np.array(ids)[np.argsort(-cosine, axis=1)[:, :3]].ravel().tolist()

    boxes = ["x", "y", "w", "h"]
    for _, found in proposals.groupby("image_id"):
        assert found["rank"].tolist() == list(range(len(found)))
        reasons = filter_boxes(found[boxes].to_numpy(), min_side=16)
        assert found["reason"].tolist() == reasons.tolist()
    kept = proposals[proposals["reason"].isin(["kept", "fallback"])]
    assert regions["region_id"].tolist() == list(range(len(regions)))
    assert regions["image_id"].drop_duplicates().tolist() == ids
    np.testing.assert_array_equal(regions[["image_id", *boxes]], kept[["image_id", *boxes]])

    vectors = finished.read_array("region_embeddings").astype(np.float32)
    image_of = regions["image_id"].to_numpy()
    assert (image_of[pairs["query_region"]] == pairs["image_id"]).all()
    assert (image_of[pairs["key_region"]] == pairs["neighbor_id"]).all()
    similarity = (vectors[pairs["query_region"]] * vectors[pairs["key_region"]]).sum(axis=1)
    np.testing.assert_allclose(pairs["similarity"], similarity, atol=2e-3)  # of vectors rounded to float16
    counts = regions["image_id"].value_counts()
    for (image_id, neighbor_id), found in pairs.groupby(["image_id", "neighbor_id"]):
        assert len(found) == max(1, int(0.1 * counts[image_id]))  # 10% of the query boxes
        assert found["rank"].tolist() == list(range(len(found)))
        everything = vectors[image_of == image_id] @ vectors[image_of == neighbor_id].T
        np.testing.assert_allclose(found["similarity"], np.sort(everything.ravel())[::-1][: len(found)], atol=2e-3)
    ranks = pairs.merge(neighbors, on=["image_id", "neighbor_id"])
    assert len(ranks) == len(pairs)
    assert (ranks["neighbor_rank"] == ranks["rank_y"]).all()


def test_images_left_without_neighbors(unfinished, changed, tiny):
    run = unfinished("stage2")
    embeddings = run_module.Run(run.path)  # near-duplicates: all but one image's neighbors are above this
    config = changed("stage2", max_image_similarity=-1.0)
    stage2.run(embeddings, config)
    assert len(run.read("neighbors")) == len(run.read("pairs")) == 0
    run.clear("stage3")
    with pytest.raises(OrlError, match="no pair: loosen its switches"):
        stage3.run(run, tiny)


class _StopWriting(Exception):
    pass


@pytest.mark.slow
def test_interrupted_at_every_write_of_stage_2(unfinished, finished, tiny, monkeypatch):
    """Let every attempt write one more file and no other, until it gets through."""
    run = unfinished("stage2")
    original = files.atomic_write
    allowance = {"left": 0}

    def rationed(path):
        if path.parent.name in ("stage2", "shards") and path.name != "progress.json":
            allowance["left"] -= 1
            if allowance["left"] < 0:
                raise _StopWriting
        return original(path)

    for module in (files, tables):
        monkeypatch.setattr(module, "atomic_write", rationed)
    attempts = 0
    while not run.finished("stage2"):
        attempts += 1
        allowance["left"] = 1
        try:
            stage2.run(run, tiny)
        except _StopWriting:
            assert run.stage("stage2")["state"] == "failed"
    # Four parts (7 + 7 + 7 + 3 images) of image embeddings, proposals, region embeddings and pairs, one of neighbors
    # (searched for by thousands), six tables, and the facts of pairs.
    assert attempts == 4 * 4 + 1 + 6 + 1
    assert outputs(run, "stage2") == outputs(finished, "stage2")
    assert not (run.path / "stage2/shards").exists()


@pytest.mark.slow
def test_neighbors_by_an_index_are_recorded(unfinished, changed, finished, capsys):
    run = unfinished("stage2")
    stage2.run(run, changed("stage2", index="ivf"))
    assert run.stage("stage2")["neighbor_index"] == {"lists": 1, "probes": 1, "recall": 1.0}  # so few fill one list
    assert "looking into 1 of 1 lists: it finds 100.0 % of the 3 nearest images" in capsys.readouterr().err
    assert outputs(run, "stage2") == outputs(finished, "stage2")


@pytest.mark.slow
def test_region_embeddings_are_float32_as_published(unfinished, changed, finished):
    assert finished.read_array("region_embeddings").dtype == np.float16
    run = unfinished("stage2")
    stage2.run(run, changed(precision="paper"))
    vectors, pairs = run.read_array("region_embeddings"), run.read("pairs")
    assert vectors.dtype == np.float32
    similarity = (vectors[pairs["query_region"]] * vectors[pairs["key_region"]]).sum(axis=1)
    np.testing.assert_allclose(pairs["similarity"], similarity, atol=1e-6)
    encoder = Encoder.load(run.mining_encoder_file())
    again = embed_run(run, encoder, changed(precision="paper").stage2).regions
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, vectors, atol=1e-6)
