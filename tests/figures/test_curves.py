"""Curves of training."""

from __future__ import annotations

import pandas as pd
import pytest

from orl_explore.figures import curves, style


@pytest.mark.parametrize(
    ("points", "y", "thinned"),
    [(10, [1, 2, 3, 4], [1, 2, 3, 4]), (2, [1, 2, 3, 4], [1.5, 3.5]), (2, [1, 2, 6], [1.5, 6]), (5, [], [])],
)
def test_thin(points, y, thinned):
    x, got = curves.thin(pd.Series(range(len(y))), pd.Series(y, dtype=float), points)
    assert got.tolist() == thinned
    assert len(x) == len(got)


def test_runs_are_laid_over_each_other():
    one = pd.DataFrame({"step": [0, 1], "loss": [4.0, 2.0]})
    made = curves.laid_over({"a": one, "<b>": one.assign(loss=[3.0, 1.0]), "c": one[["step"]]}, "loss", "loss")
    assert [trace.name for trace in made.data] == ["a", "&lt;b&gt;"]  # c has no such curve
    assert list(made.data[1].y) == [3.0, 1.0]
    assert len({trace.line.color for trace in made.data}) == 2
    later = curves.laid_over({"a": pd.DataFrame(), "<b>": one, "c": one}, "loss", "loss")
    assert later.data[0].line.color == made.data[1].line.color  # a run has one color, whichever stages the others have


def test_results_have_their_errors():
    rows = [("a", "stage3", "mAP", 0.5, 0.4, 0.7), ("b", "stage3", "mAP", 0.6, None, None)]
    table = pd.DataFrame(rows, columns=["run", "encoder", "what", "value", "low", "high"])
    made = curves.results(table, ["0", "a", "b"])
    assert [list(trace.x) for trace in made.data] == [[50.0], [60.0]]
    assert made.data[0].error_x.array[0] == pytest.approx(20)
    assert made.data[0].error_x.arrayminus[0] == pytest.approx(10)
    assert made.data[1].error_x.array[0] == 0  # not known
    assert {trace.y[0] for trace in made.data} == {"mAP · stage3"}
    assert [trace.marker.color for trace in made.data] == [style.color(1), style.color(2)]  # nothing is known of 0
    many = [f"run {number}" for number in range(30)]
    made = curves.results(pd.DataFrame({"run": many}).assign(**table.iloc[0].drop("run")), many)
    looks = [trace.marker for trace in made.data]
    assert len({(look.color, look.symbol) for look in looks}) == len(many)
