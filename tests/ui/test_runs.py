"""The start page: a table of runs, and runs laid over each other."""

from __future__ import annotations

import shutil

from orl_explore.runs.run import Run


def test_all_runs_stand_in_the_table(runs, visit):
    shutil.copytree(runs / "one", runs / "group" / "two")
    (runs / "broken").mkdir()
    (runs / "broken" / "run.json").write_text("{")
    app = visit()
    assert app.title[0].value == "All runs"
    (table,) = (frame.value for frame in app.dataframe)
    assert set(table.index) == {"one", "group/two", "broken"}
    assert table["state"]["one"] == "finished"
    assert "cannot be read" in table["state"]["broken"]
    assert table["picture"]["one"].startswith("data:image/jpeg")
    assert "run" not in app.query_params


def test_a_link_to_a_run_alone_is_one_to_its_overview(runs, visit):
    assert visit(run="one").title[0].value == "Overview"


def test_ticked_runs_are_laid_over_each_other(runs, visit, changed):
    two = Run(shutil.copytree(runs / "one", runs / "two"))
    two.set_config(changed("stage2", neighbors=9))
    key = f"runs {runs}"
    app = visit({key: {"selection": {"rows": [0, 1], "columns": [], "cells": []}}})
    assert len(app.get("plotly_chart")) == 4  # loss and spread of two stages
    differing = app.dataframe[1].value
    assert differing.index.tolist() == ["stage2.neighbors"]
    assert any("orl evaluate" in box.value for box in app.caption)
    app.button(key="open two").click().run()
    assert app.title[0].value == "Overview"
    assert app.selectbox(key="run").value == "two"
