"""Curves of training."""

from __future__ import annotations

import pandas as pd
import pytest

from orl_explore.figures import curves


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


def test_results_have_their_errors():
    rows = [("a", "stage3", "mAP", 0.5, 0.4, 0.7), ("b", "stage3", "mAP", 0.6, None, None)]
    table = pd.DataFrame(rows, columns=["run", "encoder", "what", "value", "low", "high"])
    made = curves.results(table)
    assert [list(trace.x) for trace in made.data] == [[50.0], [60.0]]
    assert made.data[0].error_x.array[0] == pytest.approx(20)
    assert made.data[0].error_x.arrayminus[0] == pytest.approx(10)
    assert made.data[1].error_x.array[0] == 0  # not known
    assert {trace.y[0] for trace in made.data} == {"mAP · stage3"}
