"""What `orl evaluate` prints."""

from __future__ import annotations

import pytest

from training.evaluation_tables import sparkline


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 7], "▁█"),
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([7, None, 0], "█▁"),
        ([3, 3], "▁▁"),
        ([], ""),
        ([None], ""),
    ],
)
def test_sparkline(values, expected):
    assert sparkline(values) == expected


def test_sparkline_of_a_long_curve_keeps_its_ends():
    drawn = sparkline(list(range(800)))
    assert len(drawn) == 12
    assert drawn[0] == "▁"
    assert drawn[-1] == "█"
