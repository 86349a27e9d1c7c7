"""Segmentation from end to end, stopped and continued."""

from __future__ import annotations

import dataclasses

import pytest

from orl_explore.errors import OrlError
from training.transfer import segmentation
from training.transfer.fcn import SegmentationSettings, SegmentationTraining
from training.transfer.runner import evaluate
from training.transfer.setup import Setup

TINY = SegmentationSettings(
    preset="voc12-d8", iterations=3, batch_size=4, size=(64, 128), crop=48, channels=8, checkpoint_steps=1
)


def test_a_killed_training_ends_with_the_same_figures(new_run, tiny, monkeypatch):
    config = dataclasses.replace(tiny, workers=0)
    settings = {"segmentation": TINY}
    run = new_run("whole")
    (whole,) = evaluate(run, config, ["segmentation"], encoders=["random"], settings=settings)
    assert whole["score"]["title"] == "FCN (voc12-d8, backbone fine-tuned), mIoU"
    assert (whole["data"]["train"], whole["data"]["test"]) == (17, 7)
    assert whole["figures"]["recipe"]["stride"] == 8
    assert whole["intervals"]["images"] == {"miou": 7}
    low, high = whole["score"]["interval"]
    assert low < whole["score"]["value"] < high
    assert sorted(path.suffix for path in (run.path / "evaluation" / "transfer").iterdir()) == [".json", ".npz"]

    step = SegmentationTraining.training_step

    def killed(self, batch, batch_idx):
        if self.global_step == 2:
            raise OrlError("killed")
        return step(self, batch, batch_idx)

    run = new_run("killed")
    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTraining, "training_step", killed)
        with pytest.raises(OrlError, match="killed"):
            evaluate(run, config, ["segmentation"], encoders=["random"], settings=settings)
    (folder,) = (run.path / "evaluation" / "transfer").iterdir()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step=2.ckpt"]
    (again,) = evaluate(run, config, ["segmentation"], encoders=["random"], settings=settings)
    assert again["figures"] == whole["figures"]


@pytest.mark.slow
def test_it_learns(new_run, tiny):
    found = []
    for backbone in ("fine-tuned", "frozen"):
        settings = SegmentationSettings(
            backbone=backbone, iterations=60, batch_size=8, size=(64, 128), crop=48, channels=16, lr=0.05
        )
        results = evaluate(
            new_run(backbone), tiny, ["segmentation"], encoders=["random"], settings={"segmentation": settings}
        )
        found.append(results[0]["figures"])
    assert found[0]["miou"] > 1.2 * found[0]["miou_chance"]
    assert found[1]["miou"] != found[0]["miou"]


def test_too_few_images_are_told_of(new_run, tiny, tmp_path):
    setup = Setup(new_run(), tiny, (), "segmentation test", tmp_path / "work")
    with pytest.raises(OrlError, match=r"17 training images do not fill a batch of 18: .*--segmentation\.batch_size 8"):
        segmentation.read(setup, SegmentationSettings(batch_size=18))
