"""What people said of regions stays with the boxes that it was said of, when a run's pictures change."""

import shutil
import threading

import numpy as np
import pandas as pd
import pytest

from orl_explore.runs.carrying import carry_over
from orl_explore.runs.locking import WRITTEN, one_writer
from orl_explore.runs.reviews import KEY, read_reviews, read_verdicts, save_review
from orl_explore.runs.run import Run
from orl_explore.runs.said import ASIDE, FOLDER, put_by
from orl_explore.runs.selections import save_selection, selected
from orl_explore.runs.successor import Successor
from training import former


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


def make_anew(run: Run) -> None:
    """What people said is put by, and stage 2 is there again as it was."""
    shutil.copytree(run.path / "stage2", run.path / "again", ignore=shutil.ignore_patterns("reviews*", "verdicts*"))
    put_by(run.path, run.path / "stage2")
    shutil.rmtree(run.path / "stage2")
    (run.path / "again").rename(run.path / "stage2")


def aside(run: Run, name: str) -> pd.DataFrame:
    (file,) = (run.path / ASIDE).glob(f"{name}-*.parquet")
    return pd.read_parquet(file)


def test_what_was_said_follows_its_box(mined):
    pairs = mined.read("pairs")
    first = int(pairs["query_region"].min())
    touching = pairs[(pairs["query_region"] == first) | (pairs["key_region"] == first)].iloc[0]
    other = pairs[(pairs["query_region"] != first) & (pairs["key_region"] != first)].iloc[-1]
    for pair in (touching, other):
        save_review(mined, tuple(int(pair[name]) for name in KEY), verdict="rejected", reviewer="Ann")
    boxes = [first, int(other["query_region"])]
    save_selection(mined, "mine", boxes)
    box = mined.read("regions").iloc[first]
    make_anew(mined)
    assert not mined.file("selections").exists()  # nobody is to take it for one of today's boxes
    lose(mined, first)
    said = carry_over(mined)
    assert [sentence.split(";")[0] for sentence in said] == [
        f"1 of 2 rows of {name} are carried over to the same boxes" for name in ("reviews", "verdicts", "selections")
    ]
    expected = [other["image_id"], other["neighbor_id"], other["query_region"] - 1, other["key_region"] - 1]
    for read in (read_reviews, read_verdicts):
        assert read(mined)[KEY].to_numpy().tolist() == [expected]
    assert selected(mined, "mine").tolist() == [boxes[1] - 1]
    assert aside(mined, "selections")[["region_id_x", "region_id_h"]].to_numpy().tolist() == [[box["x"], box["h"]]]
    assert aside(mined, "verdicts")["reviewer"].tolist() == ["Ann"]
    assert not (mined.path / FOLDER).exists()


def test_images_that_are_no_neighbors_any_more(mined):
    pair = mined.read("pairs").iloc[0]
    save_review(mined, tuple(int(pair[name]) for name in KEY), verdict="accepted", reviewer="Ann")
    make_anew(mined)
    neighbors = mined.read("neighbors")
    both = pd.MultiIndex.from_frame(neighbors[KEY[:2]])
    mined.write("neighbors", neighbors[~both.isin([(pair["image_id"], pair["neighbor_id"])])])
    assert len(carry_over(mined)) == 2
    assert not mined.file("reviews").exists()
    assert len(aside(mined, "reviews")) == 1


def test_nothing_was_said(mined):
    make_anew(mined)
    assert carry_over(mined) == []
    assert not (mined.path / FOLDER).exists()


@pytest.mark.parametrize("damage", ["stale", "cut", "no boxes"])
def test_what_cannot_be_carried_over_is_kept(mined, damage):
    pair = tuple(int(value) for value in mined.read("pairs").iloc[0][KEY])
    save_review(mined, pair, verdict="accepted", note="mine")
    if damage == "stale":
        mined.write("reviews", mined.read("reviews").assign(pairs_hash="of others"))
    elif damage == "cut":
        mined.file("reviews").write_bytes(mined.file("reviews").read_bytes()[:50])
    whole = mined.file("reviews").read_bytes()
    make_anew(mined)
    if damage == "no boxes":
        next((mined.path / FOLDER).glob("*/regions.parquet")).unlink()
    carry_over(mined)
    assert not mined.file("reviews").exists()
    (file,) = (mined.path / ASIDE).glob("reviews-*")
    assert file.read_bytes() == whole if damage == "cut" else pd.read_parquet(file)["note"].tolist() == ["mine"]


@pytest.mark.parametrize("times", [1, 2])
def test_forgotten_again_and_again(mined, times):
    """A stage that is begun anew, stopped, and begun anew: what was said waits for the one that is finished."""
    pair = tuple(int(value) for value in mined.read("pairs").iloc[0][KEY])
    save_review(mined, pair, verdict="accepted", reviewer="Ann")
    save_selection(mined, "mine", [3])
    shutil.copytree(mined.path / "stage2", mined.path / "again")
    for name in ("reviews", "verdicts"):
        (mined.path / "again" / f"{name}.parquet").unlink()
    for _ in range(times):
        mined.clear("stage2")
    assert carry_over(mined) == []
    (mined.path / "again").rename(mined.path / "stage2")
    save_review(mined, pair, verdict="rejected", reviewer="Bob")  # since
    carry_over(mined)
    assert read_reviews(mined)["verdict"].tolist() == ["rejected"]
    assert read_verdicts(mined)["reviewer"].tolist() == ["Ann", "Bob"]
    assert np.array_equal(selected(mined, "mine"), [3])


def remade(run: Run) -> Successor:
    new = Successor(run.path, "stage2")
    shutil.copytree(run.path / "stage2", new.folder("stage2"), ignore=shutil.ignore_patterns("reviews*", "verdicts*"))
    new.note("stage2", **run.stage("stage2"))
    return new


@pytest.mark.parametrize("what", WRITTEN)
@pytest.mark.parametrize(
    "moving",
    [
        lambda run: remade(run).take_place(),
        lambda run: run.forget("stage2"),
        lambda run: put_by(run.path, run.path / "stage2"),
        former.set_aside,
        carry_over,
    ],
    ids=["take_place", "forget", "put_by", "set_aside", "carry_over"],
)
def test_nothing_moves_under_the_hands_of_somebody_who_writes(moving, what, mined):
    first = mined.read("pairs").iloc[0]
    save_review(mined, tuple(int(first[name]) for name in KEY), verdict="rejected")
    if moving is carry_over:
        make_anew(mined)

    def places() -> list[str]:
        return sorted(str(path.relative_to(mined.path)) for path in mined.path.rglob("reviews.parquet"))

    before, thread = places(), threading.Thread(target=moving, args=(mined,))
    with one_writer(mined.path, what):
        thread.start()
        thread.join(1.0)
        assert thread.is_alive()
        assert places() == before
    thread.join()
    assert places() != before
    assert places()
