"""What people said of regions stays with the boxes that it was said of, when a run's pictures change."""

import shutil

import pandas as pd
import pytest

from orl_explore.runs.carrying import carry_over
from orl_explore.runs.reviews import KEY, read_reviews, read_verdicts, save_review
from orl_explore.runs.run import Run
from orl_explore.runs.selections import save_selection, selected


@pytest.fixture
def mined(finished, tmp_path):
    """A copy of a finished run."""
    shutil.copytree(finished.path, tmp_path / "mined")
    return Run(tmp_path / "mined")


def lose(run: Run, region: int) -> None:
    """Stage 2 as it would be without a region: those behind it have another number."""
    regions = run.read("regions")
    regions = regions[regions["region_id"] != region]
    run.write("regions", regions.assign(region_id=range(len(regions))))


def test_what_was_said_follows_its_box(mined):
    pairs = mined.read("pairs")
    first = int(pairs["query_region"].min())
    touching = pairs[(pairs["query_region"] == first) | (pairs["key_region"] == first)].iloc[0]
    other = pairs[(pairs["query_region"] != first) & (pairs["key_region"] != first)].iloc[-1]
    for pair in (touching, other):
        save_review(mined, tuple(int(pair[name]) for name in KEY), verdict="rejected", reviewer="Ann")
    boxes = [first, int(other["query_region"])]
    save_selection(mined, "mine", boxes)
    shutil.copytree(mined.path / "stage2", mined.path / "former")
    for name in ("reviews", "verdicts"):
        mined.file(name).unlink()
    lose(mined, first)
    assert carry_over(mined, mined.path / "former") == {"reviews": 1, "verdicts": 1, "selections": 1}
    expected = [other["image_id"], other["neighbor_id"], other["query_region"] - 1, other["key_region"] - 1]
    for read in (read_reviews, read_verdicts):
        assert read(mined)[KEY].to_numpy().tolist() == [expected]
    assert selected(mined, "mine").tolist() == [boxes[1] - 1]


def test_images_that_are_no_neighbors_any_more(mined):
    pair = mined.read("pairs").iloc[0]
    save_review(mined, tuple(int(pair[name]) for name in KEY), verdict="accepted", reviewer="Ann")
    shutil.copytree(mined.path / "stage2", mined.path / "former")
    for name in ("reviews", "verdicts"):
        mined.file(name).unlink()
    neighbors = mined.read("neighbors")
    both = pd.MultiIndex.from_frame(neighbors[KEY[:2]])
    mined.write("neighbors", neighbors[~both.isin([(pair["image_id"], pair["neighbor_id"])])])
    assert carry_over(mined, mined.path / "former") == {"reviews": 1, "verdicts": 1}
    assert not mined.file("reviews").exists()


def test_nothing_was_said(mined):
    shutil.copytree(mined.path / "stage2", mined.path / "former")
    assert carry_over(mined, mined.path / "former") == {}
