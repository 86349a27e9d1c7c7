"""Masks of regions: of the kept boxes alone, in their order, and none where a box has none."""

from __future__ import annotations

import pandas as pd
import pytest

from orl_explore.errors import OrlError
from orl_explore.runs.masks import RegionMasks, has_masks, masks_of_image
from orl_explore.runs.run import Run


@pytest.fixture
def run(tmp_path):
    """Image 7: boxes 0 and 2 are kept; image 3: both; image 5 has no mask at all."""
    run = Run(tmp_path)
    box = dict.fromkeys("xywh", 1)
    rows = [(7, 0, "kept"), (7, 1, "iou"), (7, 2, "kept"), (3, 0, "kept"), (3, 1, "kept"), (5, 0, "fallback")]
    frame = pd.DataFrame(rows, columns=["image_id", "rank", "reason"]).assign(**box)
    run.write("proposals", frame)
    masks = pd.DataFrame([(7, 1, "dropped"), (7, 2, "b"), (3, 0, "c")], columns=["image_id", "rank", "segmentation"])
    run.write("masks", masks)
    return run


def test_masks_of_regions(run):
    masks = RegionMasks(run)
    assert masks.of([7, 3, 5]) == [None, "b", "c", None, None]
    assert masks.of([3]) == ["c", None]
    assert masks.of([5]) == [None]


def test_masks_of_an_image(run):
    assert has_masks(run)
    assert masks_of_image(run, 7).to_dict() == {1: "dropped", 2: "b"}
    assert masks_of_image(run, 5).empty


def test_without_masks(run):
    run.file("masks").unlink()
    assert not has_masks(run)
    with pytest.raises(OrlError, match=r"have no masks, so nothing can be faded: .* leave stage2.mask_outside at 0"):
        RegionMasks(run)
