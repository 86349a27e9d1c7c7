"""Tables larger than memory: write them piece by piece, read them image by image, check that they fit together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orl_explore.boxes import BOX, REASONS
from orl_explore.errors import OrlError
from orl_explore.runs.files import atomic_write
from orl_explore.runs.run import Run
from orl_explore.runs.tables import ROW_GROUP, TABLES

if TYPE_CHECKING:
    from orl_explore.images.image_set import ImageSet


class Ragged:
    """Rows of whole numbers in groups of different lengths, kept in a file and mapped into memory.

    Args:
        file: where the rows go; it must not exist yet.
        width: numbers per row.

    Attributes:
        values: int32 (M, width), once `finish` has been called.
        starts: int64 (G + 1,): group g is `values[starts[g]:starts[g + 1]]`.
    """

    def __init__(self, file: Path, width: int):
        self.file, self.width = file, width
        self._out = file.open("xb")
        self._counts: list[int] = []

    def add(self, rows: NDArray[np.int32]) -> None:
        """Append a group: int32 (n, width)."""
        self._out.write(np.ascontiguousarray(rows, np.int32).tobytes())
        self._counts.append(len(rows))

    def __len__(self) -> int:
        return len(self._counts)

    def finish(self) -> Ragged:
        """No more groups come: `values` and `starts` can be read."""
        self._out.close()
        self.starts = np.r_[0, np.cumsum(np.array(self._counts, np.int64))]
        shape = (int(self.starts[-1]), self.width)
        self.values: NDArray[np.int32] = (
            np.memmap(self.file, np.int32, "r", shape=shape) if shape[0] else np.zeros(shape, np.int32)
        )
        return self

    def group(self, number: int) -> NDArray[np.int32]:
        """Rows of a group, (n, width)."""
        return np.asarray(self.values[self.starts[number] : self.starts[number + 1]])


class TableWriter:
    """Writes one table of a run in pieces; the file appears under its name when the block ends without an error.

    Args:
        run: whose table.
        name: which.
    """

    def __init__(self, run: Run, name: str):
        self._columns, self._atomic = TABLES[name].columns, atomic_write(run.file(name))
        self._waiting: dict[str, list[NDArray[Any]]] = {name: [] for name in self._columns}
        self._rows = 0
        self._writer: Any = None

    def __enter__(self) -> Self:
        self._path = self._atomic.__enter__()
        return self

    def add(self, **columns: Any) -> None:
        """Append rows: an array or one value per column."""
        rows = max(np.size(value) for value in columns.values() if not np.isscalar(value))
        for name, waiting in self._waiting.items():
            waiting.append(np.broadcast_to(columns[name], rows))
        self._rows += rows
        if self._rows >= ROW_GROUP:
            self._flush()

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                if self._rows or self._writer is None:
                    self._flush()
                self._writer.close()
        finally:
            self._atomic.__exit__(*error)

    def _flush(self) -> None:
        # Nothing of another type may be joined to them: ids are 64 bits wide, and floats have 53.
        columns: dict[str, Any] = {
            name: np.concatenate(parts) if parts else [] for name, parts in self._waiting.items()
        }
        frame = pd.DataFrame(columns).astype(dict(self._columns))
        table = pa.Table.from_pandas(frame, preserve_index=False)
        self._writer = self._writer or pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=ROW_GROUP)
        self._waiting, self._rows = {name: [] for name in self._columns}, 0


def batches(run: Run, name: str) -> Iterator[pd.DataFrame]:
    """A table in pieces of at most `ROW_GROUP` rows, in order, with the columns and types of its schema.

    A table without rows is one piece without rows.

    Raises:
        OrlError: the table is missing, damaged, or lacks a column.
    """
    file, columns = run.require(name), TABLES[name].columns
    try:
        with pq.ParquetFile(file) as parquet:
            if not parquet.metadata.num_rows:
                yield pd.DataFrame(columns=list(columns)).astype(dict(columns))
            for batch in parquet.iter_batches(ROW_GROUP, columns=list(columns)):
                yield batch.to_pandas()[list(columns)].astype(dict(columns))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OrlError(f"{file} cannot be read ({' '.join(str(error).split())}): make it anew") from None


def by_image(run: Run, name: str, image_ids: NDArray[np.int64]) -> Iterator[pd.DataFrame]:
    """Rows of each image in turn; a frame without rows where it has none.

    Args:
        run: whose table.
        name: a table with the column image_id.
        image_ids: the images in the order of the table, which is that of the images table.

    Raises:
        OrlError: the rows are in another order.
    """
    pieces = _pieces(run, name)
    piece = next(pieces, None)
    empty = pd.DataFrame(columns=list(TABLES[name].columns)).astype(dict(TABLES[name].columns))
    for image_id in image_ids.tolist():
        found = []
        while piece is not None and piece[0] == image_id:  # an image can lie on both sides of a batch's end
            found.append(piece[1])
            piece = next(pieces, None)
        yield empty if not found else found[0] if len(found) == 1 else pd.concat(found, ignore_index=True)
    if piece is not None:
        raise OrlError(f"{run.file(name)} is not in the order of the images: `{TABLES[name].command}` makes it anew")


def _pieces(run: Run, name: str) -> Iterator[tuple[int, pd.DataFrame]]:
    for batch in batches(run, name):
        ids = batch["image_id"].to_numpy()
        ends = np.r_[np.flatnonzero(ids[1:] != ids[:-1]) + 1, len(ids)] if len(ids) else []
        start = 0
        for end in ends:
            yield int(ids[start]), batch.iloc[start:end]
            start = end


# ---- checks ----------------------------------------------------------------------------------------------------------


def outside(boxes: NDArray[np.integer], sizes: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which boxes (M, 4) are empty or not wholly inside images of these sizes (M, 2): width, height."""
    start, size = boxes[:, :2].astype(np.int64), boxes[:, 2:].astype(np.int64)
    return np.any((start < 0) | (size < 1) | (start + size > sizes), axis=1)


def check_stage2(run: Run, images: ImageSet) -> None:
    """Make sure that tables of stage 2 from elsewhere are of these images and of each other; those missing are passed.

    Raises:
        OrlError: names the table, the row and what is wrong with it.
    """
    ids = images.table["image_id"].to_numpy()
    order = np.argsort(ids)
    sizes = images.table[["width", "height"]].to_numpy()

    def rows_of(name: str, row: int, column: NDArray[np.int64]) -> NDArray[np.int64]:
        place = np.searchsorted(ids[order], column).clip(max=len(ids) - 1)
        rows = order[place]
        _require(name, row, ids[rows] == column, lambda i: f"names image {column[i]}, which is not in the run")
        return rows

    for name in ("proposals", "regions"):
        if not run.file(name).exists():
            continue
        row, last = 0, -1
        for part in batches(run, name):
            of = rows_of(name, row, part["image_id"].to_numpy())
            _require(name, row, np.diff(np.r_[last, of]) >= 0, lambda _: "is not in the order of the images")
            boxes = part[BOX].to_numpy()
            fine = ~outside(boxes, sizes[of])
            _require(name, row, fine, lambda i, boxes=boxes: f"has the box {boxes[i].tolist()}, outside its image")
            if name == "regions":
                numbered = part["region_id"].to_numpy() == np.arange(row, row + len(part))
                _require(name, row, numbered, lambda _: "has a region_id that is not its row")
            else:
                known = part["reason"].isin(REASONS).to_numpy()
                _require(name, row, known, lambda i, part=part: f"has the unknown reason {part['reason'].iloc[i]!r}")
            row, last = row + len(part), int(of[-1]) if len(of) else last

    region_image = (
        np.concatenate([np.empty(0, np.int64), *(part["image_id"].to_numpy() for part in batches(run, "regions"))])
        if run.file("regions").exists()
        else np.empty(0, np.int64)
    )
    for name in ("neighbors", "pairs"):
        if not run.file(name).exists():
            continue
        row = 0
        for part in batches(run, name):
            image_id, neighbor_id = part["image_id"].to_numpy(), part["neighbor_id"].to_numpy()
            rows_of(name, row, image_id)
            rows_of(name, row, neighbor_id)
            _require(name, row, image_id != neighbor_id, lambda _: "has an image as its own neighbor")
            for column in {"rank", "neighbor_rank"} & TABLES[name].columns.keys():
                _require(name, row, part[column].to_numpy() >= 0, lambda _: "has a rank below 0")
            similarity = part["similarity"].to_numpy()
            in_range = np.isnan(similarity) | (np.abs(similarity) <= 1.001)
            _require(name, row, in_range, lambda _: "has a similarity that is no cosine")
            if name == "pairs":
                for column, owner in (("query_region", image_id), ("key_region", neighbor_id)):
                    region = part[column].to_numpy()
                    exists = (region >= 0) & (region < len(region_image))
                    own = exists.copy()
                    own[exists] = region_image[region[exists]] == owner[exists]
                    _require(name, row, own, lambda i, column=column: f"has a {column} that is not on its image")
            row += len(part)


def _require(name: str, first: int, fine: NDArray[np.bool_], problem: Any) -> None:
    if not fine.all():
        bad = int(np.flatnonzero(~fine)[0])
        raise OrlError(f"row {first + bad} of {Path(TABLES[name].file).name} {problem(bad)}: fetch or make it again")
