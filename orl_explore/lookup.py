"""Find the rows of one image in tables of many, and images by what a person types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.run import TABLES, Run


class Groups:
    """Where each id's rows are in a column of ids, in any order; made once, asked in microseconds.

    Args:
        ids: (N,) int64, an id a row.
    """

    def __init__(self, ids: NDArray[np.int64]):
        ids = np.asarray(ids, np.int64)
        self._order = np.argsort(ids, kind="stable")
        ordered = ids[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ids) else np.zeros(0, np.int64)
        self._ids = ordered[self._starts]
        self._ends = np.r_[self._starts[1:], len(ids)]

    def rows(self, image_id: int) -> NDArray[np.int64]:
        """Rows of an id, in table order; none where it has none."""
        place = int(np.searchsorted(self._ids, image_id))
        if place == len(self._ids) or self._ids[place] != image_id:
            return np.zeros(0, np.int64)
        return self._order[self._starts[place] : self._ends[place]]


class ImageReader:
    """Reads one image's rows of a run's table that is too large for memory.

    Opening it reads the ids once, a row group at a time; from then on, an image costs the one or two row groups that it
    is in.

    Args:
        run: whose table.
        name: a table with the column image_id, the rows of an image next to each other.

    Raises:
        OrlError: the table is missing or damaged.
    """

    def __init__(self, run: Run, name: str):
        self._path = run.require(name)
        self._command = TABLES[name].command.replace("RUN", str(run.path))
        ids, groups, first, count = [], [], [], []
        try:
            with pq.ParquetFile(self._path) as file:
                for group in range(file.num_row_groups):
                    column = file.read_row_group(group, columns=["image_id"])["image_id"].to_numpy()
                    if not len(column):
                        continue
                    starts = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
                    ids.append(column[starts])
                    groups.append(np.full(len(starts), group))
                    first.append(starts)
                    count.append(np.diff(np.r_[starts, len(column)]))
        except (OSError, ValueError, KeyError) as error:
            raise self._unreadable(error) from None
        nothing = np.zeros(0, np.int64)
        self._pieces = Groups(np.concatenate([nothing, *ids]))
        self._group, self._first, self._count = (np.concatenate([nothing, *part]) for part in (groups, first, count))

    def read(self, image_id: int) -> pd.DataFrame:
        """The rows of an image, all columns, in table order; none where it has none."""
        try:
            with pq.ParquetFile(self._path) as file:
                parts = [
                    file.read_row_group(int(self._group[row])).slice(int(self._first[row]), int(self._count[row]))
                    for row in self._pieces.rows(image_id)
                ]
                table = pa.concat_tables(parts) if parts else file.schema_arrow.empty_table()
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None
        return table.to_pandas()

    def _unreadable(self, error: Exception) -> OrlError:
        reason = " ".join(str(error).split())
        return OrlError(f"{self._path} cannot be read ({reason}): `{self._command} --overwrite` makes it anew")


def find_images(images: pd.DataFrame, text: str) -> NDArray[np.int64]:
    """Rows of the images that a person means: the one with this id first, then file names with this text in them.

    Args:
        images: columns image_id, file_name.
        text: an id, or a part of a file name; capitals do not matter.
    """
    text = text.strip()
    if not text:
        return np.arange(len(images))
    named = images["file_name"].str.contains(text, case=False, regex=False).to_numpy(bool)
    found = np.flatnonzero(named)
    if text.isascii() and text.isdigit() and len(text) < 19:
        same = np.flatnonzero(images["image_id"].to_numpy() == int(text))
        found = np.r_[same, found[~np.isin(found, same)]]
    return found


@dataclass(frozen=True)
class Labels:
    """What is known of one image beyond its pixels."""

    context: str | None
    """Kind of place; None where unknown."""
    categories: tuple[str, ...]
    """Categories of its annotated objects, in alphabetical order."""

    def same_context(self, other: Labels) -> bool | None:
        """Whether both are of one context; None when one of them is unknown."""
        return None if self.context is None or other.context is None else self.context == other.context

    def shared(self, other: Labels) -> tuple[str, ...]:
        """Categories that are on both."""
        return tuple(name for name in self.categories if name in other.categories)


def labels_of(images: pd.DataFrame, row: int, objects: pd.DataFrame, rows: NDArray[np.int64]) -> Labels:
    """The labels of an image.

    Args:
        images: column context, where the images have one.
        row: the image.
        objects: column category.
        rows: of its objects.
    """
    context: Any = images["context"].iat[row] if "context" in images else None
    context = None if context is None or pd.isna(context) else str(context)
    return Labels(context, tuple(sorted({str(name) for name in objects["category"].iloc[rows]})))
