"""Polygons and run lengths as compressed RLE, and those that are none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from image_files import write_coco
from orl_explore.images.object_masks import _runs, from_rle
from orl_explore.images.opening import open_images

BOX = {"image_id": 3, "category_id": 1}


def test_decoding():
    pixels = np.zeros((4, 6), np.uint8, order="F")
    pixels[1:3, 2:6] = 1
    assert np.array_equal(from_rle(coco_mask.encode(pixels)["counts"].decode(), (6, 4)), pixels.astype(bool))


def rectangle(x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros((48, 64), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    return mask


SQUARE = coco_mask.encode(rectangle(10, 5, 20, 10))["counts"].decode()


# column by column: 10 * 48 + 5 empty pixels, then 20 columns of 10, then the rest
SQUARE_RUNS = [485, *[10, 38] * 19, 10, 48 * 64 - 485 - 19 * 48 - 10]


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        ([[10, 5, 30, 5, 30, 15, 10, 15]], rectangle(10, 5, 20, 10)),
        (
            [[10, 5, 30, 5, 30, 15, 10, 15], [40, 5, 50, 5, 50, 15, 40, 15]],
            rectangle(10, 5, 20, 10) | rectangle(40, 5, 10, 10),
        ),
        ([[-1e12, 5, 30, 5, 30, 15, -1e12, 15]], rectangle(0, 5, 30, 10)),  # clipped, and no memory for 1e12 points
        ({"size": [48, 64], "counts": SQUARE}, rectangle(10, 5, 20, 10)),
        ({"size": [48, 64], "counts": SQUARE_RUNS}, rectangle(10, 5, 20, 10)),
        (None, None),
        ([], None),
        ([[1, 2, 3, 4]], None),  # two points; pycocotools would take it for a box
        ([[1, 2, 3, 4, 5]], None),
        ([[1, 2, 3, 4, 5, float("nan")]], None),
        ([[10, 5, 30, 5, 30, 15, 10, 15], [1, 2]], rectangle(10, 5, 20, 10)),
        ([["a"]], None),
        ("nonsense", None),
        ({"size": [48, 64], "counts": SQUARE[:-2]}, None),
        ({"size": [48, 64], "counts": SQUARE + "9"}, None),
        ({"size": [48, 64], "counts": "zzz"}, None),
        ({"size": [48, 64], "counts": "oooo"}, None),  # ends within a number
        ({"size": [48, 64], "counts": ""}, None),
        ({"size": [64, 48], "counts": SQUARE}, None),  # of another image
        ({"size": [48, 64], "counts": [100, 5]}, None),
        ({"size": [48, 64], "counts": [-5, 48 * 64 + 5]}, None),
        ({"size": [48, 64], "counts": [48 * 64]}, None),  # nothing in it
        ({"counts": SQUARE}, None),
        (17, None),
    ],
)
def test_segmentations_become_compressed_rle(tmp_path, segmentation, expected):
    annotations = [BOX | {"id": 1, "bbox": [0, 0, 60, 40], "segmentation": segmentation}]
    (counts,) = open_images([write_coco(tmp_path, annotations=annotations)]).objects["segmentation"]
    if expected is None:
        assert pd.isna(counts)
    else:
        assert isinstance(counts, str)
        np.testing.assert_array_equal(coco_mask.decode({"size": [48, 64], "counts": counts.encode()}), expected)


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=12))
def test_runs_undo_the_compression(runs):
    height = sum(runs)
    packed = coco_mask.frPyObjects({"size": [height, 1], "counts": runs}, height, 1)["counts"].decode()
    assert _runs(packed) == runs
