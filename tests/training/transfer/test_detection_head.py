"""Mask R-CNN's box head, statistics of batch normalization before the test, and AP's items for intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import nn

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings
from training.transfer.average_precision import average_precision
from training.transfer.mask_rcnn import DetectionSettings, DetectionTraining, mask_rcnn
from training.transfer.precise_bn import reestimate
from training.transfer.runner import evaluate

SMALL = {"batch_size": 4, "train_sizes": (64,), "channels": 16, "regions": 8, "iterations": 2, "warmup": 1}


def shapes(module):
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    return [(type(part).__name__, tuple(part.weight.shape)) for part in module.modules() if isinstance(part, kinds)]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (
            "4conv1fc",
            [*[("Conv2d", (16, 16, 3, 3)), ("BatchNorm2d", (16,))] * 4, ("Linear", (64, 16 * 7 * 7))],
        ),
        ("fc", [("Linear", (64, 16 * 7 * 7)), ("Linear", (64, 64))]),
    ],
)
def test_the_box_head(head, expected):
    encoder = Encoder.random(EncoderSettings("timm:test_resnet", hidden=0, dim=96), seed=1)
    model = mask_rcnn(encoder, 3, DetectionSettings(**SMALL, head=head), seed=0)
    assert shapes(model.roi_heads.box_head) == expected
    # Convolutions before batch normalization have no bias of their own.
    assert all(part.bias is None for part in model.roi_heads.box_head.modules() if isinstance(part, nn.Conv2d))
    norms = [name for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)]
    assert sum(name.startswith("roi_heads.mask_head.") for name in norms) == 4
    assert sum(name.startswith("backbone.fpn.") for name in norms) == 8
    assert DetectionSettings().head == "4conv1fc"


# ---- statistics before the test --------------------------------------------------------------------------------------


def test_statistics_are_those_of_all_batches_as_one():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(3)
    model = nn.Sequential(norm).eval()
    batches = [torch.randn(50, 3) * scale + scale for scale in (1.0, 2.0, 4.0)]
    for batch in [torch.full((50, 3), 100.0)] * 5:
        norm.train()(batch)  # a past that is forgotten
    model.eval()
    assert reestimate(model, [lambda batch=batch: model(batch) for batch in batches]) == 3
    together = torch.cat(batches)
    assert torch.allclose(norm.running_mean, together.mean(0), atol=1e-5)
    assert torch.allclose(norm.running_var, together.var(0), rtol=0.02)  # to within n / (n - 1) of a batch
    assert norm.momentum == 0.1
    assert not model.training
    assert not norm.training


def test_of_no_batch_nothing_changes():
    norm = nn.BatchNorm1d(3)
    norm(torch.randn(9, 3))
    before = norm.running_mean.clone()
    assert reestimate(norm, []) == 0
    assert torch.equal(norm.running_mean, before)


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
        settings = {"detection": DetectionSettings(**SMALL, precise_bn=batches)}
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


# ---- AP's items ------------------------------------------------------------------------------------------------------


def made_up(seed):
    """Ten images, three categories, objects, crowds and detections that hit more or less."""
    rng = np.random.default_rng(seed)

    def rle(box):
        mask = np.zeros((100, 100), np.uint8, order="F")
        x, y, w, h = box
        mask[y : y + h, x : x + w] = 1
        return coco_mask.encode(mask)

    annotations, found = [], []
    for image in range(1, 11):
        for _ in range(rng.integers(0, 5)):
            x, y, w, h = (int(value) for value in (*rng.integers(0, 50, 2), *rng.integers(10, 50, 2)))
            category, box = int(rng.integers(1, 4)), (x, y, w, h)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": list(box),
                    "area": w * h,
                    "segmentation": rle(box),
                    "iscrowd": int(rng.random() < 0.15),
                }
            )
            for _ in range(rng.integers(0, 3)):
                moved = (x + int(rng.integers(0, 8)), y + int(rng.integers(0, 8)), w, h)
                score = round(float(rng.random()), 1)  # with ties
                item = {"image_id": image, "category_id": category, "score": score, "bbox": list(moved)}
                found.append({**item, "segmentation": rle(moved)})
    images = [{"id": number, "width": 100, "height": 100} for number in range(1, 11)]
    categories = [{"id": number, "name": str(number)} for number in (1, 2, 3)]
    return {"images": images, "categories": categories, "annotations": annotations}, found


@pytest.mark.parametrize("seed", range(6))
def test_ap_of_items_is_that_of_pycocotools(seed):
    truth, found = made_up(seed)
    figures = average_precision(truth, found)
    for name in ("box_ap", "mask_ap"):
        assert figures["items"][name].value() == pytest.approx(figures[name], abs=1e-12)
    # A resample in which images 1 to 5 count and the others do not: as pycocotools judges these alone.
    part = {**truth, "images": truth["images"][:5]}
    part["annotations"] = [item for item in truth["annotations"] if item["image_id"] <= 5]
    alone = average_precision(part, [item for item in found if item["image_id"] <= 5])
    counts = np.array([[1] * 5 + [0] * 5])
    assert figures["items"]["box_ap"].values(counts)[0] == pytest.approx(alone["box_ap"], abs=1e-12)


def test_ap_of_nothing_found():
    truth, _ = made_up(0)
    items = average_precision(truth, [])["items"]["box_ap"]
    assert items.units == 10
    assert items.value() == 0.0
