"""Mask R-CNN fine-tuning: the images it reads, and exact resume."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from pycocotools import mask as coco_mask

from detected_boxes import SMALL
from orl_explore.errors import OrlError
from training.transfer import detection
from training.transfer.mask_rcnn import DetectionSettings, DetectionTraining
from training.transfer.runner import evaluate, split_overrides
from training.transfer.setup import Setup


def test_settings_are_typed_as_others():
    _, settings = split_overrides(["--detection.schedule=2x", "--detection.train_sizes=[96]"], ["detection"])
    assert settings["detection"] == DetectionSettings(schedule="2x", train_sizes=(96,))


@pytest.fixture
def setup(new_run, tiny, tmp_path):
    def make(*data: Path) -> Setup:
        return Setup(new_run(), tiny, data, "detection test", tmp_path / "training")

    return make


def test_the_runs_own_objects_are_split_by_image(setup):
    data = detection.read(setup(), DetectionSettings(**SMALL))
    assert (len(data.train), len(data.test)) == (17, 7)  # 0.3 of 24 are held out
    assert not set(data.train.table["image_id"]) & set(data.test.table["image_id"])
    assert [item["id"] for item in data.truth["annotations"]] == list(range(1, len(data.test.objects) + 1))
    first, of_table = data.truth["annotations"][0], data.test.objects.iloc[0]
    assert first["bbox"] == of_table[["x", "y", "w", "h"]].tolist()
    assert data.categories[first["category_id"] - 1] == of_table["category"]
    assert first["area"] == coco_mask.decode(first["segmentation"]).sum()


def test_two_coco_jsons_with_crowds(setup, annotations, tmp_path, capsys):
    content = json.loads(annotations.read_text())
    (tmp_path / "images").symlink_to(annotations.parent / "images")
    parts = []
    for name, keep in (("a", content["images"][:16]), ("b", content["images"][16:])):
        ids = {image["id"] for image in keep}
        items = [dict(item) for item in content["annotations"] if item["image_id"] in ids]
        items[2:] = [item for item in items[2:] if item["image_id"] != items[0]["image_id"]]  # the first keeps two
        items[0]["iscrowd"] = 1
        items[1]["segmentation"] = [[0, 0]]  # no polygon
        parts.append(tmp_path / f"{name}.json")
        parts[-1].write_text(json.dumps({**content, "images": keep, "annotations": items}))
    data = detection.read(setup(*parts), DetectionSettings(**SMALL))
    # The first image had these two objects alone: there is nothing left in it to train on, but it can be tested.
    assert (len(data.train), len(data.test), data.without_mask) == (15, 8, 2)
    said = " ".join(capsys.readouterr().err.split())
    assert "2 of " in said
    assert "objects are left out, as they have no mask" in said
    assert "1 of 16 training images are left out, as they have no object with a mask" in said
    crowds = [item for item in data.truth["annotations"] if item["iscrowd"]]
    (crowd,) = (item for item in content["annotations"] if item["id"] == min(i["id"] for i in items))
    assert [(item["image_id"], item["segmentation"]) for item in crowds] == [(crowd["image_id"], crowd["segmentation"])]
    assert data.facts["test_objects"] == len(items) - 2
    with pytest.raises(OrlError, match=r"--data TRAIN\.json TEST\.json"):
        detection.read(setup(parts[0]), DetectionSettings(**SMALL))
    with pytest.raises(OrlError, match=r"do not fill a batch of 17: .* --detection\.batch_size 7"):
        detection.read(setup(*parts), DetectionSettings(**{**SMALL, "batch_size": 17}))
    for part in parts:
        part.write_text(json.dumps({**json.loads(part.read_text()), "annotations": []}))
    with pytest.raises(OrlError, match="both need objects with masks"):
        detection.read(setup(*parts), DetectionSettings(**SMALL))


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_figures(new_run, tiny, monkeypatch):
    config = dataclasses.replace(tiny, workers=0)
    settings = {"detection": DetectionSettings(**SMALL)}
    weights = []
    real = detection.average_precision

    def watched(truth, detections):
        weights.append([round(item["score"], 6) for item in detections])
        return real(truth, detections)

    monkeypatch.setattr(detection, "average_precision", watched)
    run = new_run("whole")
    (whole,) = evaluate(run, config, ["detection"], encoders=["random"], settings=settings)
    assert whole["score"]["value"] == whole["figures"]["box_ap"]
    assert whole["settings"]["batch_size"] == 4
    assert whole["data"]["train"] == 17
    file, items = sorted((run.path / "evaluation" / "transfer").iterdir())  # no checkpoint is left
    assert (file.suffix, items.suffix) == (".json", ".npz")
    assert json.loads(file.read_text())["figures"] == whole["figures"]

    step = DetectionTraining.training_step

    def killed(self, batch, batch_idx):
        if self.global_step == 2:
            raise OrlError("killed")
        return step(self, batch, batch_idx)

    run = new_run("killed")
    with monkeypatch.context() as patch:
        patch.setattr(DetectionTraining, "training_step", killed)
        with pytest.raises(OrlError, match="killed"):
            evaluate(run, config, ["detection"], encoders=["random"], settings=settings)
    (folder,) = (run.path / "evaluation" / "transfer").iterdir()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step=2.ckpt"]
    (again,) = evaluate(run, config, ["detection"], encoders=["random"], settings=settings)
    assert weights[0] == weights[1] != []
    assert again["figures"] == whole["figures"]


@pytest.mark.slow
def test_detection_is_tested_with_statistics_of_its_last_weights(new_run, tiny, monkeypatch):
    seen = {}
    real = DetectionTraining.on_test_start

    def watched(self):
        weights = [parameter.clone() for parameter in self.model.parameters()]
        stale = self.model.roi_heads.box_head[0][1].running_mean.clone()
        real(self)
        fresh = self.model.roi_heads.box_head[0][1].running_mean
        assert all(torch.equal(a, b) for a, b in zip(weights, self.model.parameters(), strict=True))
        assert not self.model.training
        seen[self.config.precise_bn] = (stale.tolist(), fresh.tolist())

    monkeypatch.setattr(DetectionTraining, "on_test_start", watched)
    for batches in (3, 0):
        settings = {"detection": DetectionSettings(**{**SMALL, "precise_bn": batches})}
        (result,) = evaluate(new_run(f"run{batches}"), tiny, ["detection"], encoders=["random"], settings=settings)
        low, high = result["score"]["interval"]
        assert low <= result["score"]["value"] <= high
        assert set(result["intervals"]["figures"]) == {"box_ap", "mask_ap"}
        assert result["intervals"]["images"] == {"box_ap": 7, "mask_ap": 7}
    assert seen[3][0] == seen[0][0]  # the same training
    assert seen[0][0] == seen[0][1]
    assert seen[3][0] != seen[3][1]
    with pytest.raises(OrlError, match=r"precise_bn is -1"):
        DetectionSettings(precise_bn=-1)
