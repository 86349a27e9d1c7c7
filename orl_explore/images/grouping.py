"""Where the rows of each image are in a table of many images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray


def group_starts(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows at which another id begins."""
    return np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.zeros(0, np.int64)


class Groups:
    """Where each id's rows are in a column of ids, in any order; made once, asked in microseconds.

    Args:
        ids: (N,) int64, an id a row.
    """

    def __init__(self, ids: NDArray[np.int64]):
        ids = np.asarray(ids, np.int64)
        self._order = np.argsort(ids, kind="stable")
        ordered = ids[self._order]
        self._starts = group_starts(ordered)
        self.ids = ordered[self._starts]
        """The ids that occur, ascending."""
        self._ends = np.r_[self._starts[1:], len(ids)]

    def rows(self, image_id: int) -> NDArray[np.int64]:
        """Rows of an id, in table order; none where it has none."""
        place = int(np.searchsorted(self.ids, image_id))
        if place == len(self.ids) or self.ids[place] != image_id:
            return np.zeros(0, np.int64)
        return self._order[self._starts[place] : self._ends[place]]


class Slices(Mapping[int, tuple[int, int]]):
    """Where each id's rows begin and end in a column that is grouped by id; a few numbers an id, asked in microseconds.

    Args:
        pieces: the column of ids, int64, in pieces of any length.
    """

    def __init__(self, pieces: Iterable[NDArray[np.int64]]):
        ids, starts, total = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
        for piece in pieces:
            first = group_starts(piece)
            if len(ids[-1]) and len(piece) and ids[-1][-1] == piece[0]:
                first = first[1:]  # it goes on with the id that the piece before ended with
            if len(first):
                ids.append(piece[first])
                starts.append(first + total)
            total += len(piece)
        order = np.argsort(all_ids := np.concatenate(ids), kind="stable")
        bounds = np.r_[np.concatenate(starts), total]
        self._ids, self._starts, self._ends = all_ids[order], bounds[:-1][order], bounds[1:][order]

    def __getitem__(self, image_id: int) -> tuple[int, int]:
        """First row of an id, and the row after its last.

        Raises:
            KeyError: it does not occur.
        """
        place = int(np.searchsorted(self._ids, image_id))
        if place == len(self._ids) or self._ids[place] != image_id:
            raise KeyError(image_id)
        return int(self._starts[place]), int(self._ends[place])

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids.tolist())

    def __len__(self) -> int:
        return len(self._ids)

    def span(self, image_ids: NDArray[np.int64]) -> tuple[int, int]:
        """The rows that hold all rows of some ids: the first one, and the one after the last; (0, 0) for none."""
        places = np.searchsorted(self._ids, image_ids)
        places = places[(self._ids[np.minimum(places, len(self._ids) - 1)] == image_ids) if len(self._ids) else []]
        return (int(self._starts[places].min()), int(self._ends[places].max())) if len(places) else (0, 0)
