"""COCO's average precision of boxes and masks, by hand."""

from __future__ import annotations

import pytest

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
