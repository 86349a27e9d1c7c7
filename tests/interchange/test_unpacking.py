"""Tables of unknown origin: forged ones and lying ones are found out before they take memory."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from authors_files import files_of
from bundle_files import repack
from orl_explore.errors import OrlError
from orl_explore.interchange import unpacking
from training.importing import import_files


def forged(packed: Path, name: str, change: Callable[[Any], Any]) -> Path:
    """A bundle with another table or manifest, and hashes that fit."""
    with zipfile.ZipFile(packed) as archive:
        data = archive.read(name)
    if name == "manifest.json":
        manifest = json.loads(data)
        change(manifest)
        return repack(packed, signed=True, entries={name: json.dumps(manifest).encode()})
    out = io.BytesIO()
    change(pd.read_parquet(io.BytesIO(data))).to_parquet(out, index=False)
    return repack(packed, signed=True, entries={name: out.getvalue()})


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("manifest.json", lambda m: m["files"].update({"images.parquet": 5}), "has no manifest.json of a bundle"),
        ("manifest.json", lambda m: m["stage2"].update(imported=5), "has no manifest.json of a bundle"),
        ("manifest.json", lambda m: m["stage2"].update(imported={"info": "x"}), "has no manifest.json of a bundle"),
        ("manifest.json", lambda m: m["stage2"]["config"].update(evil=1), "unknown setting 'stage2.evil'"),
        (
            "images.parquet",
            lambda t: t.assign(file_name=[None, *t["file_name"][1:]]),
            "images.parquet has missing values in file_name",
        ),
        (
            "images.parquet",
            lambda t: pd.concat([t, t]),
            "is about 8 images, and --images has 4",
        ),
        (
            "stage2/regions.parquet",
            lambda t: pd.concat([t] * 10_000),  # 6 rows
            "stage2/regions.parquet has more than 40,000 rows",
        ),
        (
            "images.parquet",
            lambda t: t.assign(image_id=list("abcd")),
            "images.parquet has the column image_id str instead of int64",
        ),
        (
            "images.parquet",
            lambda t: t.assign(file_name=["x" * 5001] * 4),
            "texts of more than 5,000 bytes in file_name",
        ),
        (
            "stage2/pairs.parquet",
            lambda t: t.assign(evil=1),
            "stage2/pairs.parquet has the column evil int64 instead of missing",
        ),
        (
            "stage2/pairs.parquet",
            lambda t: t.drop(columns="rank"),
            "stage2/pairs.parquet has the column rank missing instead of",
        ),
        (
            "stage2/pairs.parquet",
            lambda t: t.astype({"query_region": str}),
            "has the column query_region str instead of",
        ),
    ],
)
def test_forged_bundles_are_refused(packed, photos, tmp_path, name, change, sentence):
    other = forged(packed, name, change)
    before = files_of(tmp_path)
    with pytest.raises(OrlError, match=sentence):
        import_files(tmp_path / "run", [other], images=[photos])
    assert files_of(tmp_path) == before


def lying(table: pa.Table) -> bytes:
    """A Parquet file of one row group whose footer says that each column unpacks to 50 bytes, whatever it really is."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", use_dictionary=False, write_statistics=False)
    data, group = out.getvalue(), pq.read_metadata(out).row_group(0)
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    for size in (group.total_byte_size, *(group.column(i).total_uncompressed_size for i in range(group.num_columns))):
        if size > 10_000:
            true = varint(size)
            footer = footer.replace(true, varint(50, len(true)))
    return data[: -8 - length] + footer + data[-8:]


def varint(value: int, width: int = 1) -> bytes:
    """A number above 0 as a footer holds it: doubled, seven bits a byte, and as many zeros as it takes."""
    value, digits = 2 * value, []
    while value or len(digits) < width:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits[:-1], digits[-1] & 127])


@pytest.mark.parametrize(
    ("size", "memory", "sentence"),
    [
        (3_000_000, None, "images.parquet unpacks to 3,000,[0-9]+ bytes in its first 4 rows, too many"),
        pytest.param(
            100_000_000,
            48 << 20,
            "images.parquet has a piece that unpacks to more memory than any table needs",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone"),
        ),
    ],
)
def test_a_footer_that_lies_about_its_pages_is_found_out(packed, photos, tmp_path, monkeypatch, size, memory, sentence):
    if memory:
        monkeypatch.setattr(unpacking, "MEMORY", memory)
    with zipfile.ZipFile(packed) as archive:
        images = pq.read_table(io.BytesIO(archive.read("images.parquet")))
    names = pa.array(["a" * size, "b", "c", "d"], pa.string())
    data = lying(images.set_column(images.schema.get_field_index("file_name"), "file_name", names))
    assert len(data) < 100_000
    assert pq.read_metadata(io.BytesIO(data)).row_group(0).total_byte_size == 50
    other = repack(packed, signed=True, entries={"images.parquet": data})
    before = files_of(tmp_path)
    with pytest.raises(OrlError, match=sentence):
        import_files(tmp_path / "run", [other], images=[photos])
    assert files_of(tmp_path) == before
