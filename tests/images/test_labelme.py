"""Shapes of LabelMe's files: each is a box, a polygon, a mask, or nothing."""

from __future__ import annotations

import pytest

from export_files import add_up, pictures, write
from orl_explore.images.labelme import box_or_mask
from orl_explore.images.opening import open_images


@pytest.mark.parametrize(
    ("kind", "points", "expected"),
    [
        ("rectangle", [[24, 16], [26, 19]], {"bbox": [24, 16, 2, 3]}),
        ("rectangle", [[26, 19], [24, 16]], {"bbox": [24, 16, 2, 3]}),  # drawn from below
        ("rectangle", [[24, 16], [26, 16], [26, 19], [24, 19]], {"bbox": [24, 16, 2, 3]}),
        ("mask", [[24, 16], [26, 19]], {"bbox": [24, 16, 3, 4]}),  # from the first to the last pixel
        ("circle", [[10, 10], [13, 14]], {"bbox": [5, 5, 10, 10]}),  # its center, and a point 5 px off
        ("polygon", [[1, 2], [3, 4], [5, 6]], {"segmentation": [[1, 2, 3, 4, 5, 6]]}),
        (None, [[1, 2], [3, 4], [5, 6]], {"segmentation": [[1, 2, 3, 4, 5, 6]]}),
        ("rectangle", [[1, 2]], {}),
        ("circle", [[1, 2]], {}),
        ("line", [[1, 2], [3, 4]], {}),
    ],
)
def test_kinds_of_shapes(kind, points, expected):
    assert box_or_mask({"shape_type": kind, "points": points}) == expected


@pytest.mark.parametrize(
    ("shape", "notes"),
    [
        ({"label": "cup", "points": [[24, 16], [26, 17]], "shape_type": "mask"}, 0),
        ({"label": "cup", "points": [[24, 16], [26, 17]], "shape_type": "mask", "mask": None}, 0),
        ({"label": "cup", "points": [[24, 16], [26, 17]], "shape_type": "circle", "mask": "iVBORw0KGgo="}, 1),
        ({"label": "cup", "points": [[24, 10**400], [26, 17]], "shape_type": "rectangle"}, 0),
    ],
)
def test_shapes_of_labelme_without_a_mask_that_is_read(tmp_path, shape, notes):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    other = {"label": "bus", "points": [[4, 6], [26, 17]], "shape_type": "rectangle"}
    for name in "ab":
        write(tmp_path / f"{name}.json", {"shapes": [other, shape], "imageWidth": 96, "imageHeight": 64})
    images = open_images([tmp_path])
    assert images.findings.changed == ()
    assert sum("mask (2)" in note for note in images.findings.notes) == notes
    assert set(images.objects["category"]) >= {"bus"}
    add_up(images)
