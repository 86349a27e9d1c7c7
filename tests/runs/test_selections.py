"""Named selections: kept, combined, forgotten, refused; and heeded by stage 3."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from orl_explore.runs.said import MadeAnew
from orl_explore.runs.samples import ObjectViews, left_out, pairs_to_train_on
from orl_explore.runs.selections import (
    combine,
    read_selections,
    regions_hash,
    remove_selection,
    save_selection,
    selected,
)
from training.config import load_config


@pytest.fixture
def run(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "run"))


def test_kept_and_forgotten(run):
    assert len(read_selections(run)) == 0
    assert save_selection(run, " two  words ", [5, 3, 5], origin="by hand") == 2
    assert selected(run, "two words").tolist() == [3, 5]
    assert save_selection(run, "two words", [7]) == 1  # in its place
    save_selection(run, "=SUM(A1)", [1])
    found = read_selections(run)
    assert found["name"].tolist() == ["=SUM(A1)", "two words"]
    assert found["boxes"].tolist() == [1, 1]
    remove_selection(run, "two words")
    assert read_selections(run)["name"].tolist() == ["=SUM(A1)"]


@pytest.mark.parametrize(
    ("how", "boxes"), [("union", [1, 2, 3, 4]), ("intersection", [2, 3]), ("difference", [1])], ids=lambda value: value
)
def test_combined(run, how, boxes):
    save_selection(run, "a", [1, 2, 3])
    save_selection(run, "b", [2, 3, 4])
    assert combine(run, "c", how, ["a", "b"]) == len(boxes)
    assert selected(run, "c").tolist() == boxes


REFUSED = ["null", "NULL", "~", "#x", "-x", "&a", "&a null", "!!null", "!!null x"]


@pytest.mark.parametrize("name", ["~~", "a &b", "a #x", "[a]", "{a: 1}", "'a'", "1", "true", "@a", *REFUSED])
def test_a_name_that_is_kept_is_the_same_on_a_command_line(run, name):
    with contextlib.suppress(OrlError):  # what is said then: test_refused
        save_selection(run, name, [1])
    kept = read_selections(run)["name"].tolist()
    assert kept == ([] if name in REFUSED else [name])
    for one in kept:
        assert load_config("tiny", ["--stage3.without", one]).stage3.without == one


def test_boxes_that_were_seen_before_stage_2_was_made_anew_are_not_kept(run):
    seen = regions_hash(run)
    save_selection(run, "mine", [1, 2], of=seen)
    run.file("selections").unlink()
    run.write("regions", run.read("regions").iloc[:-1])
    with pytest.raises(MadeAnew, match=f"stage 2 of {run.path} was made anew since these boxes were shown"):
        save_selection(run, "mine", [1, 2], of=seen)
    assert not run.file("selections").exists()
    for of in (None, regions_hash(run)):
        assert save_selection(run, "mine", [1, 2], of=of) == 2


def test_refused(run):
    save_selection(run, "a", [1])
    save_selection(run, "b", [2])
    for action, words in (
        (lambda: save_selection(run, "  ", [1]), "no name"),
        (lambda: save_selection(run, "x" * 99, [1]), "no name"),
        *((lambda name=name: save_selection(run, name, [1]), "something else") for name in REFUSED),
        (lambda: save_selection(run, "c", []), "no box"),
        (lambda: save_selection(run, "c", [-1]), "region -1 is none"),
        (lambda: save_selection(run, "c", [10**9]), "region 1000000000 is none"),
        (lambda: save_selection(run, "c", [1, 10**20]), "more than 64 bits is none"),
        (lambda: combine(run, "c", "intersection", ["a", "b"]), "has no box"),
        (lambda: combine(run, "c", "union", ["a"]), "two selections"),
        (lambda: selected(run, "c"), "has a, b"),
        (lambda: remove_selection(run, "c"), "no selection 'c'"),
    ):
        with pytest.raises(OrlError, match=words):
            action()
    run.write("regions", run.read("regions").iloc[:-1])
    with pytest.raises(OrlError, match="other regions"):
        read_selections(run)


def test_two_at_once(run):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: save_selection(run, f"s{number}", [number]), range(12)))
    assert len(read_selections(run)) == 12


def test_stage_3_leaves_them_out(run, tiny):
    pairs, regions = run.read("pairs"), run.read("regions")
    config = dataclasses.replace(tiny.stage3, without="bad")
    with pytest.raises(OrlError, match="no selection 'bad'"):
        pairs_to_train_on(run, config)
    first = int(pairs["image_id"].iloc[0])
    boxes = [*regions.loc[regions["image_id"] == first, "region_id"], int(pairs["key_region"].iloc[-1])]
    save_selection(run, "bad", boxes)
    left = pairs_to_train_on(run, config)
    touches = pairs["query_region"].isin(boxes) | pairs["key_region"].isin(boxes)
    assert 0 < len(left) == len(pairs) - touches.sum()
    samples = ObjectViews(run.images(), regions, left, config, 0, without=left_out(run, config))
    assert first not in samples.image_ids[samples.rows]  # every box of it is left out
    assert len(samples.boxes) == len(regions) - len(boxes)
    whole = ObjectViews(run.images(), regions, pairs, config, 0)
    gone = {tuple(box) for box in whole.all_boxes[boxes]}
    assert gone
    row = int(samples.rows[0])
    assert samples.sample(0, row).image_id == whole.image_ids[row]
    save_selection(run, "all", np.arange(len(regions)))
    with pytest.raises(OrlError, match="choose fewer"):
        pairs_to_train_on(run, dataclasses.replace(config, without="all"))
