"""Cells of a matrix: what is believed of the browser. `tests/browser` clicks in one and walks over it."""

from __future__ import annotations

import pytest

from orl_explore.ui import matrix_cells


@pytest.mark.parametrize(
    ("answer", "cell"),
    [
        ([2, 0], (2, 0)),
        ([0, 3], (0, 3)),
        ([3, 0], None),  # the matrix has three rows
        ([0, 4], None),
        ([-1, 0], None),
        (None, None),
        ([1], None),
        ([1, 2, 0], None),
        ("12", None),
        ([1, "2"], None),
        ([1, 2.0], None),
        ([True, 2], None),
        ({"0": 1, "1": 2}, None),
    ],
)
def test_cell(answer, cell):
    assert matrix_cells.cell(answer, (3, 4)) == cell
