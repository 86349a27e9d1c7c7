"""Proposers judged by hand: every figure of a few boxes, what is kept of them, and two side by side."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from orl_explore.judging.proposers import judged_proposers, keep, proposer_items, side_by_side, side_by_side_text
from orl_explore.runs.run import Run

IDS = np.array([5, 3, 9])
OBJECTS = pd.DataFrame(
    [(1, 5, 0, 0, 10, 10, "mug"), (2, 5, 20, 20, 10, 10, "key"), (3, 3, 0, 0, 10, 10, "mug")],
    columns=["object_id", "image_id", "x", "y", "w", "h", "category"],
)
REGIONS = pd.DataFrame(
    [
        (0, 5, 0, 0, 10, 10),  # the mug itself
        (1, 5, 20, 20, 10, 6),  # the key at IoU 0.6
        (2, 3, 0, 0, 10, 12),  # the mug at IoU 0.83
        (3, 3, 40, 40, 10, 10),  # nothing
    ],
    columns=["region_id", "image_id", "x", "y", "w", "h"],
)
PAIRS = pd.DataFrame(
    [(5, 3, 0, 2), (5, 3, 1, 2), (3, 5, 3, 0)], columns=["image_id", "neighbor_id", "query_region", "key_region"]
)


def test_every_figure_by_hand():
    found = {name: items.value() for name, items in proposer_items(IDS, OBJECTS, REGIONS, PAIRS).items()}
    assert found == pytest.approx(
        {
            "boxes": 4 / 3,
            "recall_50": 1,
            "recall_70": 2 / 3,
            "on_object": 3 / 4,
            "object_pairs": 2 / 3,
            "purity": 1 / 2,  # mug with mug, key with mug
        }
    )
    assert all(items.units == 3 for items in proposer_items(IDS, OBJECTS, REGIONS, PAIRS).values())


def test_without_annotations_boxes_are_counted():
    assert list(proposer_items(IDS, OBJECTS.iloc[:0], REGIONS, PAIRS)) == ["boxes"]
    assert "purity" not in proposer_items(IDS, OBJECTS, REGIONS, PAIRS.iloc[2:])


def kept(run: Run, name: str, regions: pd.DataFrame, images: str = "all") -> None:
    facts = {"name": name, "made": {"images": images}, "count": 3, "chance": {"purity": 0.25}}
    keep(run, run.path / "comparison/proposals" / name, facts, regions, proposer_items(IDS, OBJECTS, regions, PAIRS))


def test_two_side_by_side(tmp_path):
    run = Run(tmp_path)
    assert judged_proposers(run) == []
    kept(run, "b", REGIONS)
    kept(run, "a", REGIONS.assign(w=[10, 10, 10, 3]))
    kept(run, "c", REGIONS, images="others")
    a, b, c = judged_proposers(run)
    assert [a.name, b.name, c.name] == ["a", "b", "c"]
    pd.testing.assert_frame_equal(b.regions(), REGIONS, check_dtype=False)
    table = side_by_side(a, b).set_index("figure")
    assert table.loc["recall_70", "first"] == pytest.approx(2 / 3)
    assert table.loc["recall_70", ["more", "more_low", "more_high"]].tolist() == [0, 0, 0]  # the same boxes of them
    assert table.loc["boxes", "first"] == pytest.approx(4 / 3)  # no share: its interval goes beyond 1
    assert table.loc["boxes", "first_high"] > 1
    text = side_by_side_text(a, b).set_index("")
    assert text.loc["objects with a box of IoU ≥ 0.7", "B - A"] == "0.0 to 0.0 points"
    assert text.loc["kept boxes an image", "A"].startswith("1.3 (")
    assert text.loc["of these, pairs of one category", "B"].endswith("; chance 25.0)")
    assert side_by_side_text(a, c)["B - A"].eq("-").all()
    assert math.isnan(side_by_side(a, c).set_index("figure").loc["recall_70", "more"])
