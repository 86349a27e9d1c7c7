"""Where the rows of each image are, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.images.grouping import Groups, Slices


def test_groups():
    groups = Groups(np.array([7, 3, 7, 9, 3]))
    assert [groups.rows(i).tolist() for i in (3, 7, 9, 1, 99)] == [[1, 4], [0, 2], [3], [], []]
    assert Groups(np.zeros(0, np.int64)).rows(1).tolist() == []


@pytest.mark.parametrize(
    "pieces",
    [
        [[7, 7, 3, 9, 9, 9]],
        [[7], [7, 3, 9], [], [9, 9]],  # ids that go on in the next piece, and a piece without any
        [[7], [7], [3], [9], [9], [9]],
        [[], [7, 7, 3, 9, 9, 9], []],
    ],
)
def test_slices_by_hand(pieces):
    slices = Slices(np.array(piece, np.int64) for piece in pieces)
    assert dict(slices) == {3: (2, 3), 7: (0, 2), 9: (3, 6)}
    assert (slices.get(8), 3 in slices, 8 in slices, 99 in slices) == (None, True, False, False)
    with pytest.raises(KeyError):
        slices[99]
    assert slices.span(np.array([3, 7])) == (0, 3)
    assert slices.span(np.array([9, 8, 3])) == (2, 6)  # without the 8, which does not occur
    assert slices.span(np.array([99])) == slices.span(np.zeros(0, np.int64)) == (0, 0)


def test_no_slices():
    slices = Slices([])
    assert len(slices) == 0
    assert slices.span(np.array([1])) == (0, 0)
