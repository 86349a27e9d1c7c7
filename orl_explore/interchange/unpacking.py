"""Unpack a Parquet table of unknown origin into one of our own, in a process that may take only so much memory.

A table's footer says how large it unpacks to, and can lie: a page of a few kilobytes may hold gigabytes. So nothing in
the file is believed. `bundle.py` runs this file as a script, which imports no other module of this project: it decodes
the table in small pieces, counts what comes out, and writes it again. The main process reads only what it wrote.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MEMORY: Final = 1 << 30
"""Bytes that unpacking may take beside the libraries themselves: a column of a row group, packed, and a page of it."""

ROWS: Final = 10_000
"""Rows that are decoded at a time."""


class Refused(Exception):
    """What is wrong with the table."""


def unpack(
    source: Path, target: Path, columns: Mapping[str, str], *, rows: int, bytes_per_row: int, text: int, row_group: int
) -> int:
    """Write a table again; returns its rows.

    Args:
        source: a Parquet file.
        target: the file to write.
        columns: name -> type of every column, as in `orl_explore.runs.tables.TABLES`.
        rows: how many there may be.
        bytes_per_row: that a row may unpack to, on average.
        text: bytes that a single text may have.
        row_group: rows of a row group of the new file.

    Raises:
        Refused: it has other columns, missing values, or is larger than that.
        ArrowException, OSError, ValueError: it is damaged.
        MemoryError: a piece of it takes more memory than there is.
    """
    # No pre-buffering: whole columns of all row groups would be read ahead.
    with pq.ParquetFile(source, memory_map=False, pre_buffer=False) as parquet:
        schema = parquet.schema_arrow.remove_metadata()
        _check_columns(schema, columns)
        count = size = 0
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            waiting: list[pa.RecordBatch] = []  # rows of a group: their mean size is bounded, too
            for batch in parquet.iter_batches(ROWS, columns=schema.names, use_threads=False):
                count, size = count + len(batch), size + batch.nbytes
                if count > rows:
                    raise Refused(f"has more than {rows:,} rows")
                if size > bytes_per_row * count + (1 << 20):
                    raise Refused(f"unpacks to {size:,} bytes in its first {count:,} rows, too many")
                for name, kind in columns.items():
                    if batch[name].null_count and not kind.startswith("float"):
                        raise Refused(f"has missing values in {name}")
                    if kind == "str" and (pc.max(pc.binary_length(batch[name])).as_py() or 0) > text:
                        raise Refused(f"has texts of more than {text:,} bytes in {name}")
                waiting.append(batch.replace_schema_metadata(None))
                if sum(map(len, waiting)) >= row_group:
                    writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=row_group)
                    waiting = []
            if waiting or not count:
                writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=row_group)
    return count


def _check_columns(schema: pa.Schema, columns: Mapping[str, str]) -> None:
    found = {field.name: _kind(field.type) for field in schema}
    for name in sorted(found.keys() | columns):
        if found.get(name) != columns.get(name):
            raise Refused(
                f"has the column {name} {found.get(name, 'missing')} instead of {columns.get(name, 'missing')}"
            )
    if len(schema) > len(columns):
        raise Refused("has a column twice")


def _kind(kind: pa.DataType) -> str:
    """The name that `TABLES` has for a column's type."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "str"
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


ENVIRONMENT: Final = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
"""What the process starts with: other pools and more heaps reserve gigabytes of addresses, which count as memory."""


def limit_memory(size: int) -> None:
    """Let this process take so many bytes more than it has now; without effect where there are no such limits."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + size, now + size))


def main() -> None:
    """Read {"memory": bytes, "tables": [arguments of `unpack`, ...]} from stdin; print {}, or a table and its problem.

    The first table may have `rows` rows, the others so many for each row of the first.
    """
    job = json.load(sys.stdin)
    limit_memory(job["memory"])
    first = 1
    for number, table in enumerate(job["tables"]):
        try:
            table["rows"] *= first
            found = unpack(Path(table.pop("source")), Path(table.pop("target")), **table)
        except Refused as error:
            problem = str(error)
        except MemoryError:
            problem = "has a piece that unpacks to more memory than any table needs"
        except (pa.ArrowException, OSError, ValueError) as error:
            problem = f"is no Parquet table, or is damaged ({' '.join(str(error).split())[:200]})"
        else:
            first = found if number == 0 else first
            continue
        print(json.dumps({"table": number, "problem": problem}))
        return
    print(json.dumps({}))


if __name__ == "__main__":
    main()
