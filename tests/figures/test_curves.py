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
