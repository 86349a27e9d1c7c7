"""Runs beside each other: what each is, where they differ, what was measured."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from orl_explore.judging import run_table
from orl_explore.runs.run import Run
from painted_runs import make_run


@pytest.fixture
def two(tmp_path, tiny, changed):
    """Two runs, of which the second has other settings and was killed in stage 3."""
    runs = {name: make_run(tmp_path / name) for name in ("a", "b")}
    runs["a"].set_config(tiny)
    runs["b"].set_config(changed("stage1", epochs=7))
    runs["b"].note("stage3", state="running", started="2026-01-01T00:00:00+00:00")
    return runs


def judge(run, value, *, interval=None):
    file = run.path / "evaluation" / "summary.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"stage3": {"object_probe": value}, "stage1": None}))
    if interval:
        score = {"name": "map", "title": "VOC07, mAP", "value": value, "interval": interval}
        result = {"date": "2026-01-01", "protocol": "voc07", "encoder": {"name": "stage3"}, "score": score}
        folder = run.path / "evaluation" / "transfer"
        folder.mkdir()
        (folder / "voc07.json").write_text(json.dumps(result))


def test_a_row_for_each_run(two, tmp_path):
    judge(two["a"], 0.75)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "run.json").write_text("{")
    table = run_table.table_of(two | {"c": Run(tmp_path / "c")})
    assert table["state"].tolist()[:2] == ["finished", "stage 3 stopped"]
    assert "cannot be read" in table["state"]["c"]
    assert table["images"].tolist()[:2] == [3, 3]
    assert table["data"]["a"] == "images.json"
    assert table["encoder"]["a"] == "timm:test_resnet"
    assert table["probe, stage 3"]["a"] == 0.75
    assert table["probe, stage 1"].isna().all()


def test_settings_that_differ(two):
    differing = run_table.differing_settings(two)
    assert differing.to_dict("index") == {"stage1.epochs": {"a": "2", "b": "7"}}
    assert not len(run_table.differing_settings({"a": two["a"]}))


def test_settings_of_each_run_in_a_line(two, tmp_path, changed):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "run.json").write_text("{")
    runs = {"c": Run(tmp_path / "c")} | two
    assert run_table.own_settings(runs) == {"c": "", "a": "stage1.epochs 2", "b": "stage1.epochs 7"}
    two["b"].set_config(changed("stage1", epochs=7, base_lr=0.125))
    assert run_table.own_settings(two, most=1)["b"].endswith(", and 1 more")
    assert run_table.own_settings({"a": two["a"]}) == {"a": ""}


def test_what_was_measured(two):
    judge(two["a"], 0.5)
    judge(two["b"], 0.25, interval=(0.2, 0.3))
    table = run_table.measured(two)
    assert table["run"].tolist() == ["a", "b", "b"]
    assert table["value"].tolist() == [0.5, 0.25, 0.25]
    assert pd.isna(table["low"][1])
    assert (table["low"][2], table["high"][2]) == (0.2, 0.3)
    assert list(run_table.measured({}).columns) == list(table.columns)


def test_names_without_their_folder():
    assert run_table.names_without_path(["x/a", "b"]) == ["a", "b"]
    assert run_table.names_without_path(["x/a", "y/a"]) == ["x/a", "y/a"]
