"""Cells of a matrix: what is believed of the browser. `tests/browser` clicks in one and walks over it."""

from __future__ import annotations

import pytest

from orl_explore.ui import matrix_cells


@pytest.mark.parametrize(
    ("found", "cell"),
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
def test_cell(found, cell):
    assert matrix_cells.cell({"of": "one 3 7", "cell": found}, "one 3 7", (3, 4)) == cell


@pytest.mark.parametrize("answer", [None, [2, 0], "of", {}, {"cell": [2, 0]}, {"of": "one 4 7", "cell": [2, 0]}])
def test_an_answer_that_is_not_of_this_matrix(answer):
    """A click may come after the page shows another image, whose boxes are others in the same places."""
    assert matrix_cells.cell(answer, "one 3 7", (3, 4)) is None
