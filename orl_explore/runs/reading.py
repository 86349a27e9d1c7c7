"""Find the rows of one image in tables of many, in memory or in a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.images.grouping import Groups, group_starts


def read_ids(file: Path, column: str = "image_id") -> Iterator[NDArray[np.int64]]:
    """The ids of a Parquet file, a row group at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            yield parquet.read_row_group(group, columns=[column])[column].to_numpy()


def read_rows(file: Path, start: int, stop: int) -> pd.DataFrame:
    """Read rows start..stop of a Parquet file, decoding only the row groups that they are in."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        counts = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        ends = np.cumsum([0, *counts])
        groups = [g for g in range(len(counts)) if ends[g] < stop and ends[g + 1] > start]
        if not groups:
            return parquet.schema_arrow.empty_table().to_pandas()
        first = int(ends[groups[0]])
        return parquet.read_row_groups(groups).slice(start - first, stop - start).to_pandas()


class _Index:
    """Where the rows of each image are in a Parquet file: pieces of rows next to each other, one row group each.

    Ids can be in any order, so that Parquet's statistics tell nothing: the column of ids is read once, a row group at a
    time. What is kept of it is a few numbers an image.
    """

    def __init__(self, file: Path):
        ids, groups, first, count = [], [], [], []
        for group, column in enumerate(read_ids(file)):
            starts = group_starts(column)
            ids.append(column[starts])
            groups.append(np.full(len(starts), group))
            first.append(starts)
            count.append(np.diff(np.r_[starts, len(column)]))
        nothing = np.zeros(0, np.int64)
        self._pieces = Groups(np.concatenate([nothing, *ids]))
        self._group, self._first, self._count = (
            np.concatenate([nothing, *part]).astype(np.int64) for part in (groups, first, count)
        )

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids that occur, ascending."""
        return self._pieces.ids

    def pieces(self, image_id: int) -> list[tuple[int, int, int]]:
        """Row group, first row in it and number of rows of each piece of an image, in table order."""
        rows = self._pieces.rows(image_id)
        return list(zip(*(part[rows].tolist() for part in (self._group, self._first, self._count)), strict=True))


@lru_cache(maxsize=16)
def _index(file: Path, _time: int, _size: int) -> _Index:
    return _Index(file)


def _index_of(file: Path) -> _Index:
    stat = file.stat()
    return _index(file.absolute(), stat.st_mtime_ns, stat.st_size)


def image_ids(file: Path) -> NDArray[np.int64]:
    """Ids that occur in a Parquet file with the column image_id, each once, ascending.

    Raises:
        OSError, ValueError: it is no such file.
    """
    return _index_of(file).ids


def read_image(file: Path, image_id: int, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read an image's rows of a Parquet file with the column image_id, in table order.

    The first call for a file reads its ids; from then on, until the file changes, an image costs the one or two row
    groups that it is in.

    Args:
        file: files of a run are replaced, never edited in place.
        image_id: an image; one that does not occur has no rows.
        columns: the columns to read; all by default.

    Raises:
        OSError, ValueError: it is no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    pieces = _index_of(file).pieces(image_id)
    with pq.ParquetFile(file) as parquet:
        if not pieces:
            table = parquet.schema_arrow.empty_table()
            return (table if columns is None else table.select(list(columns))).to_pandas()
        names = None if columns is None else list(columns)
        parts = [parquet.read_row_group(group, columns=names).slice(first, n) for group, first, n in pieces]
        found = pa.concat_tables(parts)
        return (found if names is None else found.select(names)).to_pandas()
