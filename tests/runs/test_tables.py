"""Tables and arrays: types on disk, the same bytes for the same rows, and what a missing or damaged one is called."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from orl_explore.errors import OrlError
from orl_explore.runs import tables
from orl_explore.runs.files import write_array, write_array_parts
from orl_explore.runs.tables import TABLES, write_table, write_table_parts

# ---- tables ------------------------------------------------------------------------------------------------


NOT_MADE_BY_STAGES = {"reviews", "verdicts", "selections", "masks", "object_map"}


@pytest.mark.parametrize("name", sorted(TABLES.keys() - NOT_MADE_BY_STAGES))
def test_types_on_disk(finished, name):
    file = pq.read_schema(finished.file(name))
    columns = TABLES[name].columns
    assert file.names[: len(columns)] == list(columns)
    arrow = {"str": ("string", "large_string"), "int64": ("int64",), "int32": ("int32",), "int16": ("int16",)}
    arrow |= {"float32": ("float",), "bool": ("bool",), "uint8": ("uint8",), "uint32": ("uint32",)}
    for column, kind in columns.items():
        assert str(file.field(column).type) in arrow[kind], column
    assert len(finished.read(name)) > 0


def test_labels_follow_the_columns_of_the_schema(finished):
    assert finished.read("images").columns.tolist() == [*TABLES["images"].columns, "context"]


def test_arrays_on_disk(finished):
    images, regions = finished.read("images"), finished.read("regions")
    for name, rows, dtype in (
        ("image_embeddings", len(images), "float32"),
        ("region_embeddings", len(regions), "float16"),
    ):
        array = finished.read_array(name)
        assert isinstance(array, np.memmap)
        assert (array.dtype, len(array)) == (dtype, rows)
        np.testing.assert_allclose(np.linalg.norm(array.astype(np.float64), axis=1), 1, atol=2e-3)


def test_write_gives_the_types_of_the_schema(run):
    frame = pd.DataFrame({"similarity": [0.5], "rank": [0], "neighbor_id": [2], "image_id": [1], "more": ["x"]})
    run.write("neighbors", frame)
    read = run.read("neighbors")
    assert read.columns.tolist() == ["image_id", "rank", "neighbor_id", "similarity", "more"]
    assert {name: str(kind) for name, kind in read.dtypes.items()} == {**TABLES["neighbors"].columns, "more": "str"}


def test_write_refuses_a_table_that_lacks_a_column(run):
    with pytest.raises(KeyError):
        run.write("neighbors", pd.DataFrame({"image_id": [1]}))
    assert not run.file("neighbors").exists()


def test_an_empty_table_keeps_its_types(run):
    run.write("pairs", pd.DataFrame(columns=list(TABLES["pairs"].columns)))
    assert {name: str(kind) for name, kind in run.read("pairs").dtypes.items()} == TABLES["pairs"].columns


def test_same_table_same_bytes(tmp_path, finished):
    frame = finished.read("pairs")
    for name in ("a", "b"):
        write_table(tmp_path / name, frame, TABLES["pairs"].columns)
        write_array(tmp_path / f"{name}.npy", finished.read_array("image_embeddings"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == finished.file("pairs").read_bytes()
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("images", "orl stage1 {run} --images PATH"),
        ("pairs", "orl stage2 {run}"),
        ("region_embeddings", "orl stage2 {run}"),
    ],
)
def test_a_missing_table_names_its_command(run, name, command):
    with pytest.raises(OrlError) as error:
        run.require(name)
    assert f"is not there yet: run `{command.format(run=run.path)}` first" in str(error.value)
    reader = run.read if name in TABLES else run.read_array
    with pytest.raises(OrlError, match="is not there yet"):
        reader(name)


@pytest.mark.parametrize("content", [b"", b"no table", b"PAR1" + bytes(40) + b"PAR1"])
def test_damaged_tables(run, content):
    for name in ("neighbors", "image_embeddings"):
        run.file(name).parent.mkdir(parents=True, exist_ok=True)
        run.file(name).write_bytes(content)
        reader = run.read if name in TABLES else run.read_array
        with pytest.raises(OrlError, match=r"cannot be read \(.*`orl stage2 .* --overwrite`") as error:
            reader(name)
        assert "\n" not in str(error.value)


def test_a_truncated_array(run):
    write_array(run.file("image_embeddings"), np.ones((10, 4), np.float32))
    run.file("image_embeddings").write_bytes(run.file("image_embeddings").read_bytes()[:-8])
    with pytest.raises(OrlError, match="cannot be read"):
        run.read_array("image_embeddings")


# ---- in parts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[], [3], [0, 4, 8], [5, 5, 6], [1, 2, 3, 4, 5, 6, 7, 8, 9]])
def test_parts_leave_no_trace(tmp_path, monkeypatch, cuts):
    monkeypatch.setattr(tables, "ROW_GROUP", 4)
    frame = pd.DataFrame({"image_id": np.arange(10) // 3, "rank": np.arange(10), "note": list("abcdefghij")})
    columns = {"image_id": "int64", "rank": "int16"}
    write_table(tmp_path / "whole", frame, columns)
    ends = [0, *cuts, 10]
    parts = [frame[a:b] for a, b in itertools.pairwise(ends)]
    write_table_parts(tmp_path / "joined", iter(parts), columns)
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "whole").read_bytes()
    metadata = pq.read_metadata(tmp_path / "joined")
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [4, 4, 2]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "joined"), frame.astype(columns))

    array = np.arange(30, dtype=np.float16).reshape(10, 3)
    np.save(tmp_path / "whole.npy", array)
    write_array_parts(tmp_path / "joined.npy", [array[a:b] for a, b in itertools.pairwise(ends)])
    assert (tmp_path / "joined.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_part_that_cannot_be_read_leaves_no_file(tmp_path):
    def parts():
        yield pd.DataFrame({"image_id": [1]})
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_table_parts(tmp_path / "joined", parts(), {"image_id": "int64"})
    assert list(tmp_path.iterdir()) == []


def test_parts_of_two_types_become_the_wider_one(tmp_path):
    parts = [np.full((2, 3), 0.1, np.float16), np.full((1, 3), 0.1, np.float32)]
    write_array_parts(tmp_path / "joined.npy", parts)
    joined = np.load(tmp_path / "joined.npy")
    assert (joined.dtype, joined.shape) == (np.float32, (3, 3))
    assert (joined == np.concatenate(parts)).all()
