"""A matrix by keyboard: what is believed of the browser. `tests/browser` walks over one."""

from __future__ import annotations

import pytest

from orl_explore.ui import cell_keys


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ([3, 4, 0.5], [3, 4, 0.5]),
        (None, None),
        ([3, 4], None),
        ("345", None),
        ([3, 4, "x"], None),
        ({"a": 1}, None),
        ([3, float("nan"), 0.5], None),  # int() of it would end the page
        ([float("inf"), 4, 0.5], None),
        ([True, 4, 0.5], None),
    ],
)
def test_numbers(answer, numbers):
    assert cell_keys.numbers(answer) == numbers
