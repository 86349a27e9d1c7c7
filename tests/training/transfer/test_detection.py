"""Mask R-CNN fine-tuning: AP against values worked out by hand, the schedule, mirrored objects, exact resume."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings
from training.transfer import detection
from training.transfer.average_precision import average_precision
from training.transfer.detection import DetectionSettings
from training.transfer.mask_rcnn import DetectionImages, DetectionTraining, mask_rcnn
from training.transfer.runner import evaluate, split_overrides
from training.transfer.setup import Setup

SMALL = {
    **{"batch_size": 4, "train_sizes": (64,), "channels": 16, "regions": 8, "iterations": 3, "warmup": 2},
    "checkpoint_steps": 1,
}

# ---- average precision -----------------------------------------------------------------------------------------------


def rle(x: int, y: int, w: int, h: int) -> dict:
    mask = np.zeros((200, 200), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    return coco_mask.encode(mask)


def truth(*objects: tuple[int, tuple[int, int, int, int], int]) -> dict:
    """Two images of 200 px, two categories; objects are (category, box, is a crowd), all in image 1."""
    annotations = [
        {
            "id": number,
            "image_id": 1,
            "category_id": category,
            "bbox": list(box),
            "area": box[2] * box[3],
            "segmentation": rle(*box),
            "iscrowd": crowd,
        }
        for number, (category, box, crowd) in enumerate(objects, start=1)
    ]
    images = [{"id": number, "width": 200, "height": 200} for number in (1, 2)]
    categories = [{"id": 1, "name": "mug"}, {"id": 2, "name": "key"}]
    return {"images": images, "categories": categories, "annotations": annotations}


def found(category: int, box, score: float, *, image_id: int = 1, mask=None) -> dict:
    return {
        "image_id": image_id,
        "category_id": category,
        "bbox": list(box),
        "score": score,
        "segmentation": rle(*(mask or box)),
    }


BOX = (20, 20, 100, 100)
PART = (20, 20, 62, 100)  # IoU 0.62 with BOX
APART = (150, 150, 40, 40)


@pytest.mark.parametrize(
    ("objects", "detections", "box_ap", "mask_ap"),
    [
        ([(1, BOX, 0)], [found(1, BOX, 0.9)], 1.0, 1.0),
        # IoU 0.62 is a hit at thresholds 0.5, 0.55 and 0.6, three of ten.
        ([(1, BOX, 0)], [found(1, PART, 0.9)], 0.3, 0.3),
        # A box can be right while its mask is not.
        ([(1, BOX, 0)], [found(1, BOX, 0.9, mask=PART)], 1.0, 0.3),
        # A miss with a higher score, also in another image, halves the precision at every recall; with a lower one it
        # comes after full recall and costs nothing.
        ([(1, BOX, 0)], [found(1, APART, 0.95, image_id=2), found(1, BOX, 0.9)], 0.5, 0.5),
        ([(1, BOX, 0)], [found(1, APART, 0.5), found(1, BOX, 0.9)], 1.0, 1.0),
        # The wrong category finds nothing, and a category without objects does not count.
        ([(1, BOX, 0)], [found(2, BOX, 0.9)], 0.0, 0.0),
        # Two categories: the mean of 1 and 0.
        ([(1, BOX, 0), (2, APART, 0)], [found(1, BOX, 0.9)], 0.5, 0.5),
        # Half of the objects: precision 1 at the recalls 0, 0.01 .. 0.5, 51 of 101.
        ([(1, BOX, 0), (1, APART, 0)], [found(1, BOX, 0.9)], 51 / 101, 51 / 101),
        # What lies in a crowd is neither right nor wrong.
        ([(1, BOX, 0), (1, APART, 1)], [found(1, (150, 150, 20, 40), 0.95), found(1, BOX, 0.9)], 1.0, 1.0),
        ([(1, BOX, 0)], [], 0.0, 0.0),
    ],
)
def test_average_precision(objects, detections, box_ap, mask_ap):
    figures = average_precision(truth(*objects), detections)
    assert figures["box_ap"] == pytest.approx(box_ap)
    assert figures["mask_ap"] == pytest.approx(mask_ap)


def test_average_precision_by_size_and_category():
    # BOX has 100 x 100 pixels, large; APART 40 x 40, medium; nothing is small.
    figures = average_precision(truth((1, BOX, 0), (2, APART, 0)), [found(1, BOX, 0.9), found(2, BOX, 0.8)])
    assert (figures["box_ap_large"], figures["box_ap_medium"]) == (pytest.approx(1.0), 0.0)
    assert "box_ap_small" not in figures
    assert figures["mask_ap_by_category"] == pytest.approx({"mug": 1.0, "key": 0.0})


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "step", "factor"),
    [
        ("1x", 0, 0.001),
        ("1x", 500, 0.5005),  # half way from 0.001 to 1
        ("1x", 1000, 1.0),
        ("1x", 59_999, 1.0),
        ("1x", 60_000, 0.1),
        ("1x", 79_999, 0.1),
        ("1x", 80_000, 0.01),
        ("2x", 119_999, 1.0),
        ("2x", 120_000, 0.1),
        ("2x", 160_000, 0.01),
        ("2x", 179_999, 0.01),
    ],
)
def test_the_schedules_are_those_of_1x_and_2x(schedule, step, factor):
    settings = DetectionSettings(schedule=schedule)
    assert settings.steps() == {"1x": 90_000, "2x": 180_000}[schedule]
    assert settings.learning_rate_factor(step) == pytest.approx(factor)


def test_settings_are_typed_as_others():
    _, settings = split_overrides(["--detection.schedule=2x", "--detection.train_sizes=[96]"], ["detection"])
    assert settings["detection"] == DetectionSettings(schedule="2x", train_sizes=(96,))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"batch_size": 0}, r"detection\.batch_size is 0: it must be above 0"),
        ({"lr": float("nan")}, r"detection\.lr is nan"),
        ({"batch_size": 4, "accumulate": 3}, r"accumulate is 3: it must divide the batch of 4"),
        ({"iterations": 0}, r"iterations is 0"),
        ({"anchors": (32, 64)}, r"a side for each of the five levels"),
        ({"train_sizes": (16,)}, r"sides of 32 px or more"),
        ({"train_sizes": ()}, r"sides of 32 px or more"),
        ({"max_size": 700}, r"at most max_size, 700"),
    ],
)
def test_settings_that_cannot_work_are_refused(values, sentence):
    with pytest.raises(OrlError, match=sentence):
        DetectionSettings(**values)


# ---- data ------------------------------------------------------------------------------------------------------------


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


def test_two_coco_jsons_with_crowds(setup, annotations, tmp_path):
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


def test_boxes_and_masks_are_mirrored_with_their_image(images):
    # Boxes of practice scenes are those of their masks, mirrored or not.
    label_of = {name: number for number, name in enumerate(sorted(set(images.objects["category"])), start=1)}
    plain, mirrored = (DetectionImages(images, label_of, seed) for seed in (None, 3))
    flips = 0
    for row in range(len(images)):
        (image, target), (other, theirs) = plain[0, row], mirrored[0, row]
        for masks, boxes in ((target["masks"], target["boxes"]), (theirs["masks"], theirs["boxes"])):
            for mask, box in zip(masks, boxes, strict=True):
                y, x = mask.nonzero().unbind(1)
                assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        flipped = not torch.equal(image, other)
        assert torch.equal(other, image.flip(2) if flipped else image)
        assert torch.equal(theirs["masks"], target["masks"].flip(2) if flipped else target["masks"])
        assert torch.equal(mirrored[0, row][0], other)  # (seed, epoch, image) decide
        flips += flipped
    assert 4 < flips < 20  # of 24


# ---- the network and its training ------------------------------------------------------------------------------------


def test_every_layer_is_trained_from_the_encoders_weights():
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=0, dim=512), seed=1).eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    model = mask_rcnn(encoder, 3, DetectionSettings(**SMALL), seed=0)
    body = model.backbone.body.state_dict()
    assert body.keys() == {name for name in encoder.backbone.state_dict() if not name.startswith("fc.")}
    assert all(torch.equal(value, encoder.backbone.state_dict()[name]) for name, value in body.items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.training
    # Batch normalization in every convolution of the pyramid (4 levels, 2 each) and of the mask head (4).
    norms = [name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert sum(name.startswith("backbone.fpn.") for name in norms) == 8
    assert sum(name.startswith("roi_heads.mask_head.") for name in norms) == 4
    groups = (
        DetectionTraining(model, DetectionSettings(**SMALL), seed=0).configure_optimizers()["optimizer"].param_groups
    )
    assert [(group["weight_decay"], len(group["params"])) for group in groups][1] == (0.0, 2 * len(norms))
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    # A step changes the copy, never the encoder that is judged.
    targets = [{"boxes": torch.tensor([[4.0, 4, 40, 40]]), "labels": torch.tensor([1]), "masks": torch.ones(1, 64, 64)}]
    sum(model([torch.rand(3, 64, 64)] * 2, targets * 2).values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_boxes_are_exact_in_mixed_precision():
    encoder = Encoder.random(EncoderSettings("timm:test_resnet", hidden=0, dim=96), seed=1)
    model = mask_rcnn(encoder, 3, DetectionSettings(**SMALL), seed=0).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        (found,) = model([torch.rand(3, 64, 64)])
    assert {found[name].dtype for name in ("boxes", "scores", "masks")} == {torch.float32}
    assert (found["boxes"].bfloat16() != found["boxes"]).any()


def test_a_backbone_without_stages_is_refused():
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=0, dim=512), seed=1)
    encoder.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    with pytest.raises(OrlError, match="has no layer1: detection needs a ResNet"):
        mask_rcnn(encoder, 3, DetectionSettings(**SMALL), seed=0)


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
    (file,) = (run.path / "evaluation" / "transfer").iterdir()  # no checkpoint is left
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
