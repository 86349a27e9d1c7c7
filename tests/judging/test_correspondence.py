"""Purity by rank and by category, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orl_explore.judging.correspondence import object_pairs, purity_by_category, purity_by_rank

IDS = np.array([1, 2, 3])
CATEGORIES = pd.Series(["mug", "mug", "key", None], index=pd.Index([10, 11, 12, 13], name="region_id"))
PAIRS = pd.DataFrame(
    [
        (1, 0, 0, 10, 11),  # mug with mug
        (1, 1, 0, 10, 12),  # mug with key
        (1, 2, 1, 10, 13),  # with nothing
        (2, 0, 1, 12, 11),  # key with mug
        (2, 12, 1, 11, 10),  # mug with mug, at a rank that is not told
    ],
    columns=["image_id", "rank", "neighbor_rank", "query_region", "key_region"],
)


def test_object_pairs():
    found = object_pairs(PAIRS, CATEGORIES)
    assert found["same"].tolist() == [True, False, False, True]
    assert found["rank"].tolist() == [0, 1, 0, 12]


@pytest.mark.parametrize(("column", "expected"), [("rank", {0: 1 / 2, 1: 0}), ("neighbor_rank", {0: 1 / 2, 1: 1 / 2})])
def test_by_rank(column, expected):
    found = purity_by_rank(IDS, object_pairs(PAIRS, CATEGORIES), column=column)
    assert {rank: items.value() for rank, items in found.items()} == expected
    assert all(items.units == 3 for items in found.values())


def test_by_category():
    found = purity_by_category(IDS, object_pairs(PAIRS, CATEGORIES))
    assert list(found) == ["mug", "key"]  # the most frequent first
    assert {name: items.value() for name, items in found.items()} == pytest.approx({"mug": 2 / 3, "key": 0})
    assert purity_by_category(IDS, object_pairs(PAIRS.iloc[2:3], CATEGORIES)) == {}
