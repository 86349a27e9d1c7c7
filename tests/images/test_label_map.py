"""The class of every pixel, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pycocotools import mask as coco_mask

from orl_explore.images.label_map import IGNORED, label_map


def rle(rows, columns):
    solid = np.zeros((4, 6), np.uint8)
    solid[rows, columns] = 1
    return coco_mask.encode(np.asfortranarray(solid))["counts"].decode()


def test_small_objects_lie_over_large_ones_and_what_has_no_mask_is_ignored():
    objects = pd.DataFrame(
        [
            (1.0, 1.0, 1.0, 1.0, "cup", rle(slice(1, 2), slice(1, 2))),
            (0.0, 0.0, 3.0, 4.0, "table", rle(slice(0, 4), slice(0, 3))),  # the larger one comes later
            (2.4, 0.0, 1.2, 2.0, "cup", None),  # its box begins under the table and ends within column 3
        ],
        columns=["x", "y", "w", "h", "category", "segmentation"],
    )
    found = label_map(objects, (6, 4), {"cup": 1, "table": 2}, [rle(slice(3, 4), slice(2, 6))])
    assert found.dtype == np.int16
    assert found.tolist() == [
        [2, 2, 2, IGNORED, 0, 0],
        [2, 1, 2, IGNORED, 0, 0],
        [2, 2, 2, 0, 0, 0],
        [2, 2, 2, IGNORED, IGNORED, IGNORED],  # the crowd, where the table is not
    ]
    assert (label_map(objects.iloc[:0], (6, 4), {}) == 0).all()
