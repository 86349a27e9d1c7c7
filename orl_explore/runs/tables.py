"""The tables and arrays of a run: where each is, its columns with their types, and the command that makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from orl_explore import pairs
from orl_explore.runs.files import atomic_write

ROW_GROUP = 100_000
"""Rows that a table is read in at least; small, so that one image's rows do not take decoding a million others."""


@dataclass(frozen=True)
class Table:
    """One table of a run: where it is, its columns with their types, and the command that makes it."""

    file: str
    command: str
    columns: Mapping[str, str]


_BOX = {"x": "int32", "y": "int32", "w": "int32", "h": "int32"}

TABLES = {
    "images": Table(
        "images.parquet",
        "orl stage1 RUN --images PATH",
        {
            "image_id": "int64",
            "file_name": "str",
            "source": "int16",
            "width": "int32",
            "height": "int32",
            "content_hash": "str",
        },
    ),
    "objects": Table(
        "objects.parquet",
        "orl stage1 RUN --images PATH",
        {
            "object_id": "int64",
            "image_id": "int64",
            "x": "float32",
            "y": "float32",
            "w": "float32",
            "h": "float32",
            "category": "str",
            "segmentation": "str",
        },
    ),
    "neighbors": Table(
        "stage2/neighbors.parquet",
        "orl stage2 RUN",
        {"image_id": "int64", "rank": "int16", "neighbor_id": "int64", "similarity": "float32"},
    ),
    "proposals": Table(
        "stage2/proposals.parquet",
        "orl stage2 RUN",
        {"image_id": "int64", "rank": "int32", **_BOX, "reason": "str"},
    ),
    "masks": Table(
        "stage2/masks.parquet",
        "orl import RUN FILE",
        {"image_id": "int64", "rank": "int32", "segmentation": "str"},
    ),
    "regions": Table("stage2/regions.parquet", "orl stage2 RUN", {"region_id": "int64", "image_id": "int64", **_BOX}),
    "pairs": Table(
        "stage2/pairs.parquet",
        "orl stage2 RUN",
        pairs.COLUMNS,
    ),
    "pair_facts": Table(
        "stage2/pair_facts.parquet",
        "orl pairs RUN",
        {
            "pair": "int64",
            **pairs.COLUMNS,
            "margin": "float32",
            "mutual": "bool",
            "query_category": "int16",
            "key_category": "int16",
            "key_count": "int32",
            "least_share": "float32",
            "image_similarity": "float32",
            "doubts": "uint8",
            "doubt": "float32",
            "shuffle": "uint32",
        },
    ),
    "reviews": Table(
        "stage2/reviews.parquet",
        "orl app",
        {
            "image_id": "int64",
            "neighbor_id": "int64",
            "query_region": "int64",
            "key_region": "int64",
            "verdict": "str",
            "note": "str",
            "time": "str",
            "pairs_hash": "str",
            "reviewer": "str",
        },
    ),
    "verdicts": Table(
        "stage2/verdicts.parquet",
        "orl app",
        {
            "image_id": "int64",
            "neighbor_id": "int64",
            "query_region": "int64",
            "key_region": "int64",
            "verdict": "str",
            "reviewer": "str",
            "time": "str",
            "pairs_hash": "str",
        },
    ),
    "selections": Table(
        "selections.parquet",
        "orl select RUN NAME --pairs QUERY",
        {"name": "str", "region_id": "int64", "origin": "str", "time": "str", "regions_hash": "str"},
    ),
    "object_map": Table(
        "object_map.parquet",
        "orl map RUN",
        {"region_id": "int64", "x": "float32", "y": "float32", "cluster": "int16"},
    ),
}

ARRAYS = {
    "image_embeddings": Table("stage2/image_embeddings.npy", "orl stage2 RUN", {}),
    "region_embeddings": Table("stage2/region_embeddings.npy", "orl stage2 RUN", {}),
}

MINED = ("image_embeddings", "neighbors", "proposals", "regions", "region_embeddings", "pairs")
"""What stage 2 makes, in order."""


def write_table(path: Path, frame: pd.DataFrame, columns: Mapping[str, str]) -> None:
    """Write a table atomically with the columns and types of its schema first; further columns follow."""
    write_table_parts(path, [frame], columns)


def write_table_parts(
    path: Path,
    parts: Iterable[pd.DataFrame],
    columns: Mapping[str, str],
    *,
    metadata: Mapping[bytes, bytes] | None = None,
    row_group: int | None = None,
) -> None:
    """Write a table as `write_table` does, from parts of which one at a time is in memory.

    Where one part ends and the next begins leaves no trace: every row group but the last has `row_group` rows.

    Args:
        path: the file.
        parts: at least one; all with the same columns.
        columns: the schema.
        metadata: further entries of the file's metadata.
        row_group: rows that are read at least, by default `ROW_GROUP`; a table of which single rows are asked for
            wants few.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row_group = row_group or ROW_GROUP

    def table(frame: pd.DataFrame) -> pa.Table:
        extra = [name for name in frame.columns if name not in columns]
        made = pa.Table.from_pandas(frame[[*columns, *extra]].astype(dict(columns)), preserve_index=False)
        return made.replace_schema_metadata({**(made.schema.metadata or {}), **metadata}) if metadata else made

    tables = map(table, parts)
    waiting = next(tables)
    with atomic_write(path) as temporary, pq.ParquetWriter(temporary, waiting.schema, compression="zstd") as writer:
        while True:
            while len(waiting) >= row_group:
                writer.write_table(waiting.slice(0, row_group), row_group_size=row_group)
                waiting = waiting.slice(row_group)
            following = next(tables, None)
            if following is None:
                break
            waiting = pa.concat_tables([waiting, following.cast(waiting.schema)])
        if len(waiting):
            writer.write_table(waiting.combine_chunks(), row_group_size=row_group)


def is_whole(path: Path, name: str, rows: int | None = None, *, read: bool = True) -> bool:
    """Whether a file is the table or array of that name, or a part of it, from beginning to end.

    Args:
        path: the file.
        name: of `TABLES` or `ARRAYS`.
        rows: how many it must have; None: any number.
        read: read all of it; else where it begins and ends is looked at alone.
    """
    import pyarrow.parquet as pq

    try:
        if name in ARRAYS:
            array = np.load(path, mmap_mode="r")  # raises where the file is shorter than its header says
            return array.ndim == 2 and array.dtype.kind == "f" and rows in (None, len(array))
        with pq.ParquetFile(path) as table:
            names = table.schema_arrow.names
            for group in range(table.num_row_groups if read else 0):
                table.read_row_group(group)
            return names[: len(TABLES[name].columns)] == list(TABLES[name].columns)
    except Exception:  # NumPy and Arrow raise nearly everything at files that are damaged
        return False
