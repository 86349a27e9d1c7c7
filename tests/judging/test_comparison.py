"""Neighbors of two encoders on the same images, by hand and on a small run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.judging import comparison, results
from orl_explore.runs.run import Run


def test_kept_lost_and_gained():
    a = np.array([[1, 2], [0, 2], [0, 1]])
    b = np.array([[2, 3], [3, 4], [1, 0]])
    compared = comparison.compare(np.array([10, 11, 12]), a, b % 3)  # b: [[2, 0], [0, 1], [1, 0]]
    assert compared.kept_a.tolist() == [[False, True], [True, False], [True, True]]
    assert compared.kept_b.tolist() == [[True, False], [True, False], [True, True]]
    assert compared.overlap.tolist() == [0.5, 0.5, 1.0]
    assert compared.table().to_dict("list") == {"image_id": compared.image_ids.tolist(), "shared": [0.5, 0.5, 1.0]}
    assert compared.mean_overlap == pytest.approx(2 / 3)
    assert compared.chance == 1
    of_a, of_b = compared.of_image(0)
    assert of_a[["neighbor_id", "sign"]].to_numpy().tolist() == [[11, "lost"], [12, "kept"]]
    assert of_b[["neighbor_id", "sign"]].to_numpy().tolist() == [[12, "kept"], [10, "gained"]]


def test_agreement_with_labels():
    a, b = np.array([[1], [0], [3], [2]]), np.array([[2], [3], [0], [1]])
    judged = comparison.compare(np.arange(4) + 7, a, b).agreement(pd.Series(["x", "x", "y", "y"]))
    assert [figure.value for figure in judged] == [1, 0]
    assert judged[0].chance == pytest.approx(1 / 3)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="two"):
        comparison.compare(np.arange(2), np.zeros((2, 1), int), np.zeros((2, 2), int))


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    shutil.copytree(finished.path, tmp_path / "run")
    return Run(tmp_path / "run")


def test_stage_1_has_the_neighbors_of_stage_2(run):
    source = comparison.compared_encoders(run)["stage1"]
    found = comparison.neighbors_of(run, source)[:, :3]
    ids = run.images().table["image_id"].to_numpy()
    assert ids[found].ravel().tolist() == run.read("neighbors")["neighbor_id"].tolist()


def test_the_untrained_encoder_is_the_one_of_the_evaluation(run, tiny):
    source = comparison.compared_encoders(run)["random"]
    expected = Encoder.random(tiny.stage1.encoder, tiny.seed).state_dict()
    assert all((value == expected[name]).all() for name, value in source.load().state_dict().items())
    assert list(comparison.compared_encoders(run)) == ["random", "stage1", "stage3"]


def test_encoders_kept_on_the_way_are_compared(run):
    folder = run.path / "stage1" / "encoders"
    folder.mkdir()
    for epoch, stage in ((20, "stage1"), (3, "stage3")):
        shutil.copy(run.encoder_file(stage), folder / f"epoch={epoch}.safetensors")
    (folder / "epoch=x.safetensors").touch()
    found = comparison.compared_encoders(run)
    assert list(found) == ["random", "stage1@3", "stage1@20", "stage1", "stage3"]
    assert found["stage1@20"].hash() == found["stage1"].hash()
    third, last = (comparison.neighbors_of(run, found[name]) for name in ("stage1@3", "stage3"))
    assert (third == last).all()
    run.encoder_file("stage1").unlink()  # the stage is still being trained
    assert list(comparison.compared_encoders(run)) == ["random", "stage1@3", "stage1@20", "stage3"]


def test_embeddings_are_made_once_for_each_encoder(run, monkeypatch):
    seen = []
    source = comparison.compared_encoders(run)["stage1"]
    first = comparison.embeddings(run, source, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (24, 24)
    assert comparison.is_cached(run, source)
    assert not list((run.path / "comparison").glob(".*"))
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "embed_images", None)
        assert (comparison.embeddings(run, source) == first).all()
    shutil.copy(run.encoder_file("stage3"), run.encoder_file("stage1"))  # trained anew
    assert not comparison.is_cached(run, source)
    comparison.cache_file(run, source).write_bytes(b"damaged")
    assert len(comparison.embeddings(run, source)) == 24
    assert comparison.embeddings(run, source, features=True).shape[1] != first.shape[1]


def test_a_run_that_cannot_be_written_to_is_compared(run, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(comparison, "write_array", refuse)
    assert comparison.neighbors_of(run, comparison.compared_encoders(run)["stage1"]).shape == (24, 10)


def test_a_missing_encoder_and_summary_are_sentences(run, new_run):
    source = comparison.compared_encoders(run)["stage3"]
    run.encoder_file("stage3").unlink()
    with pytest.raises(OrlError, match="orl stage3"):
        comparison.embeddings(run, source)
    assert comparison.compared_encoders(new_run("new")) == {}
    with pytest.raises(OrlError, match="orl evaluate"):
        results.read_summary(run)
    (run.path / "evaluation").mkdir(exist_ok=True)
    (run.path / "evaluation" / "summary.json").write_text("{")
    with pytest.raises(OrlError, match="damaged"):
        results.read_summary(run)
