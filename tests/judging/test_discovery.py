"""Discovery by hand: the first box, the first N, and boxes in the order of what recurs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orl_explore.judging.discovery import by_support, corloc, recall_at

IDS = np.array([7, 3, 5])
COLUMNS = ["image_id", "x", "y", "w", "h"]
OBJECTS = pd.DataFrame([(7, 0, 0, 10, 10), (7, 30, 30, 10, 10), (3, 0, 0, 10, 10)], columns=COLUMNS)
REGIONS = pd.DataFrame(
    [
        (0, 7, 50, 50, 10, 10),  # nothing
        (1, 7, 30, 30, 10, 9),  # the second object
        (2, 7, 0, 0, 10, 6),  # the first one, at IoU 0.6
        (3, 3, 0, 0, 10, 5),  # exactly at IoU 0.5
        (4, 5, 0, 0, 10, 10),  # an image without objects
    ],
    columns=["region_id", *COLUMNS],
)
PAIRS = pd.DataFrame([(1, 3, 0.9), (3, 2, 0.4), (4, 1, 0.1)], columns=["query_region", "key_region", "similarity"])


def test_corloc():
    assert corloc(IDS, OBJECTS, REGIONS).value() == 0.5  # image 3 alone; image 5 has no objects
    assert corloc(IDS, OBJECTS, REGIONS[REGIONS["image_id"] != 7]).value() == 0.5  # without a box nothing is found
    assert corloc(IDS, OBJECTS.iloc[:0], REGIONS) is None
    assert corloc(IDS, OBJECTS, REGIONS).units == 3


def test_recall_at_boxes():
    found = {count: items.value() for count, items in recall_at(IDS, OBJECTS, REGIONS, (1, 2, 3)).items()}
    assert found == pytest.approx({1: 1 / 3, 2: 2 / 3, 3: 1})
    assert recall_at(IDS, OBJECTS.iloc[:0], REGIONS) == {}


def test_what_recurs_comes_first():
    ordered = by_support(REGIONS, PAIRS)
    assert ordered["region_id"].tolist() == [1, 2, 0, 3, 4]  # 1.0, 0.4 and 0 in image 7
    assert ordered.columns.tolist() == REGIONS.columns.tolist()
    assert corloc(IDS, OBJECTS, ordered).value() == 1
    unknown = by_support(REGIONS, PAIRS.assign(similarity=np.nan))  # of imported pairs: they are counted
    assert unknown["region_id"].tolist() == [1, 2, 0, 3, 4]
