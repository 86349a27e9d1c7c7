"""COCO's average precision of boxes and masks, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from detected_boxes import found, truth
from training.transfer.average_precision import average_precision

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


@pytest.mark.parametrize(("before", "ap"), [(99, 0.01), (100, 0.0)])
def test_no_more_than_100_detections_of_an_image_count(before, ap):
    wrong = [found(1, APART, 0.9 - number / 1000) for number in range(before)]
    assert average_precision(truth((1, BOX, 0)), [*wrong, found(1, BOX, 0.1)])["box_ap"] == pytest.approx(ap)


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
