"""The run folder: whole files or none, types on disk, what is skipped and what is refused, and in which words."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images
from orl_explore.runs import tables
from orl_explore.runs.files import atomic_write, hash_file, write_array, write_array_parts, write_json
from orl_explore.runs.provenance import git_sha, versions
from orl_explore.runs.run import FORMAT, Run
from orl_explore.runs.tables import TABLES, write_table, write_table_parts
from orl_explore.settings import differing_keys

CONFIG = {"epochs": 2, "views": {"scale": (0.1, 1.0), "flip": 0.5}}
INPUTS = {"images": "abc"}


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "some" / "run")


def work(run, name="stage1", *, config=CONFIG, inputs=INPUTS):
    return run.working_on(name, config=config, seed=0, inputs=inputs)


# ---- whole files or none -----------------------------------------------------------------------------------


def test_atomic_write(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent  # or renaming might copy
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:  # noqa: PT012 - the block is what is tested
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_an_error_before_anything_was_written(tmp_path):
    with pytest.raises(RuntimeError, match="at once"), atomic_write(tmp_path / "file.txt"):
        raise RuntimeError("at once")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    code = f"""
import os, signal
from pathlib import Path
from orl_explore.runs.files import atomic_write
with atomic_write(Path({str(path)!r})) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_hash_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == hashlib.blake2b(b"abc", digest_size=16).hexdigest()
    assert len(hash_file(tmp_path / "a")) == 32


# ---- tables ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TABLES.keys() - {"reviews", "object_map"}))  # not made by the stages
def test_types_on_disk(finished, name):
    file = pq.read_schema(finished.file(name))
    columns = TABLES[name].columns
    assert file.names[: len(columns)] == list(columns)
    arrow = {"str": ("string", "large_string"), "int64": ("int64",), "int32": ("int32",), "int16": ("int16",)}
    arrow["float32"] = ("float",)
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


# ---- the manifest ------------------------------------------------------------------------------------------


def test_manifest_of_nothing(run):
    assert run.manifest()["format"] == FORMAT == 2
    assert run.stage("stage1") == {}
    assert not run.finished("stage1")
    assert not run.path.exists()  # asking makes nothing


def test_open_wants_a_run(tmp_path):
    with pytest.raises(OrlError, match=f"no run at {tmp_path}: make one with `orl run {tmp_path} --config demo"):
        Run.open(tmp_path)
    write_json(tmp_path / "run.json", {"format": FORMAT, "stages": {}})
    assert Run.open(str(tmp_path)).path == tmp_path


def test_another_format_is_refused(run):
    write_json(run.path / "run.json", {"format": 3, "stages": {}})
    with pytest.raises(OrlError, match="has format 3, this version reads up to 2: open it with a newer version"):
        Run.open(run.path)


@pytest.mark.parametrize("content", [b"", b'{"format": 1, "sta', b"\xff\xfe\x00", b"[1]", b"null"])
def test_a_damaged_manifest(run, content):
    run.path.mkdir(parents=True)
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(OrlError, match=f"{run.path}"):
        run.manifest()


def test_a_stage_is_recorded(run):
    with work(run):
        record = run.stage("stage1")
        assert record["state"] == "running"
        assert not run.finished("stage1")
    record = json.loads((run.path / "run.json").read_text())["stages"]["stage1"]
    assert record["state"] == "finished"
    assert record["config"] == {"epochs": 2, "views": {"scale": [0.1, 1.0], "flip": 0.5}}
    assert (record["seed"], record["inputs"], record["error"]) == (0, INPUTS, None)
    assert record["versions"]["python"].startswith("3.")
    assert {"torch", "numpy", "orl-explore"} <= set(record["versions"])
    assert record["seconds"] >= 0
    assert record["started"] <= record["finished"]


def test_a_failure_is_recorded(run):
    with pytest.raises(RuntimeError), work(run):
        raise RuntimeError("out of paper")
    assert run.stage("stage1")["state"] == "failed"
    assert run.stage("stage1")["error"] == "RuntimeError: out of paper"
    with work(run):
        pass
    assert run.stage("stage1")["state"] == "finished"
    assert run.stage("stage1")["error"] is None


def test_a_stage_clears_away_what_a_killed_process_left(run):
    (run.path / "stage1" / "checkpoints").mkdir(parents=True)
    (run.path / "stage1" / "checkpoints" / ".step=2.ckpt.123.tmp").write_bytes(b"half")
    (run.path / "stage1" / "metrics.csv").write_text("whole")
    with work(run):
        assert [path.name for path in (run.path / "stage1").rglob("*") if path.is_file()] == ["metrics.csv"]


def test_seconds_add_up_over_attempts(run):
    with work(run):
        pass
    run.note("stage1", seconds=100.0)
    with work(run):
        pass
    assert 100 <= run.stage("stage1")["seconds"] < 101


def test_notes_are_added(run):
    with work(run):
        run.note("stage1", outputs={"encoder": "123"})
    assert run.stage("stage1")["outputs"] == {"encoder": "123"}
    assert run.stage("stage1")["state"] == "finished"


def test_where_it_was_made():
    assert versions()["torch"]
    assert git_sha() is None or len(git_sha()) == 40


# ---- skipped, gone on with, or refused ---------------------------------------------------------------------


def test_check(run):
    assert run.check("stage1", config=CONFIG, inputs=INPUTS) is False  # never begun
    with work(run):
        assert run.check("stage1", config=CONFIG, inputs=INPUTS) is False  # running, or killed
    run.note("stage1", state="failed")
    assert run.check("stage1", config=CONFIG, inputs=INPUTS) is False  # failed: go on with it
    with work(run):
        pass
    assert run.check("stage1", config=CONFIG, inputs=INPUTS) is True


@pytest.mark.parametrize("state", ["running", "failed", "finished"])
@pytest.mark.parametrize(
    ("config", "inputs", "what"),
    [
        ({**CONFIG, "epochs": 3}, INPUTS, "setting epochs"),
        ({**CONFIG, "views": {"scale": (0.2, 1.0), "flip": 0.5}}, INPUTS, "setting views.scale"),
        ({"epochs": 2}, INPUTS, "setting views"),
        ({**CONFIG, "new": 1}, INPUTS, "setting new"),
        (CONFIG, {"images": "other"}, "images"),
        (CONFIG, {**INPUTS, "encoder": "x"}, "encoder"),
        (CONFIG, {}, "images"),
        ({**CONFIG, "epochs": 3}, {"images": "other"}, "images, setting epochs"),
    ],
)
def test_what_changed_is_refused(run, state, config, inputs, what):
    with work(run):
        pass
    run.note("stage1", state=state)
    with pytest.raises(OrlError) as error:
        run.check("stage1", config=config, inputs=inputs)
    assert str(error.value) == (
        f"stage1 of {run.path} was made with other {what}: `orl stage1 {run.path} --overwrite` makes it anew"
    )


def test_many_changes_are_not_all_listed(run):
    with work(run):
        pass
    with pytest.raises(OrlError, match=r"setting a, setting b, setting c \.\.\.: "):
        run.check("stage1", config={**CONFIG, **dict.fromkeys("abcdef", 1), "epochs": 3}, inputs=INPUTS)


def test_clear_forgets_one_stage(run):
    for name in ("stage1", "stage2"):
        with work(run, name):
            write_json(run.path / name / "file.json", {})
    run.clear("stage1")
    assert run.stage("stage1") == {}
    assert not (run.path / "stage1").exists()
    assert run.finished("stage2")
    assert (run.path / "stage2" / "file.json").exists()
    run.clear("stage3")  # never begun


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 4}}, ["b.d"]),
        ({"a": 1}, {"b": 1}, ["a", "b"]),
        ({"a": {"b": 1}}, {"a": 1}, ["a"]),
        ({"a": None}, {}, []),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a"]),
    ],
)
def test_differing_keys(old, new, keys):
    assert differing_keys(old, new) == keys


nested = st.recursive(
    st.integers(0, 3), lambda values: st.dictionaries(st.sampled_from("abc"), values, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.sampled_from("abc"), nested), st.dictionaries(st.sampled_from("abc"), nested))
def test_differing_keys_is_a_comparison(old, new):
    assert differing_keys(old, old) == []
    assert sorted(differing_keys(old, new)) == sorted(differing_keys(new, old))
    assert bool(differing_keys(old, new)) == (old != new)


# ---- one process at a time ---------------------------------------------------------------------------------

HOLD = """
import sys
from orl_explore.runs.run import Run
with Run(sys.argv[1]).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_lock_keeps_others_out_until_its_process_ends(run):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(OrlError, match=f"another process is working on {run.path}"), run.lock():
            pass
        holder.send_signal(signal.SIGKILL)  # however it ends
        holder.wait()
    with run.lock():
        other = subprocess.run(
            [sys.executable, "-c", HOLD, str(run.path)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    assert other.returncode == 1
    assert "another process is working" in other.stderr


def test_lock_is_given_back(run):
    for _ in range(2):
        with run.lock():
            pass
    with pytest.raises(RuntimeError), run.lock():
        raise RuntimeError
    with run.lock():
        pass


# ---- images ------------------------------------------------------------------------------------------------


def test_images_are_reopened_as_they_were(new_run, images):
    again = Run(new_run().path).images()
    assert again.fingerprint == images.fingerprint
    pd.testing.assert_frame_equal(again.table, images.table)
    pd.testing.assert_frame_equal(again.objects, images.objects)
    assert [again.path(row) for row in (0, 5)] == [images.path(row) for row in (0, 5)]
    assert again.load(3).tobytes() == images.load(3).tobytes()


def test_relative_sources_work_from_anywhere(tmp_path, images, monkeypatch):
    here = images.roots[0].parent
    monkeypatch.chdir(here)
    run = Run(tmp_path / "run")
    run.set_images(open_images([here.joinpath("annotations.json").relative_to(here)]), ["annotations.json"])
    monkeypatch.chdir("/")
    assert run.images().load(0).size == (80, 80)


def test_images_may_be_set_again_but_not_changed(new_run, images):
    run = new_run()
    run.set_images(images, ["again"])
    assert run.manifest()["images"]["sources"] == ["again"]
    with pytest.raises(OrlError, match="was begun with other images: choose a new run folder"):
        run.set_images(images.subset([0, 1, 2]), ["fewer"])
    assert len(run.images()) == len(images)


def test_skipped_images_are_in_the_manifest(tmp_path, images):
    folder = tmp_path / "photos"
    folder.mkdir()
    for row in (0, 1):
        images.load(row).save(folder / f"{row}.png")
    (folder / "broken.jpg").write_bytes(b"")
    opened = open_images([folder])
    run = Run(tmp_path / "run")
    run.set_images(opened, [str(folder)])
    assert run.manifest()["images"]["skipped"] == [{"file_name": "broken.jpg", "reason": "empty file"}]
    assert run.manifest()["images"]["count"] == 2
    assert run.images().skipped["file_name"].tolist() == ["broken.jpg"]


def test_a_run_without_images(run):
    with pytest.raises(OrlError, match=r"orl stage1 .* --images PATH"):
        run.images()


def test_files(run):
    assert run.file("pairs") == run.path / "stage2/pairs.parquet"
    assert run.file("region_embeddings") == run.path / "stage2/region_embeddings.npy"
    assert run.encoder_file("stage3") == run.path / "stage3/encoder.safetensors"


def test_the_lock_file_is_all_that_locking_leaves(run):
    with run.lock():
        pass
    assert os.listdir(run.path) == [".lock"]  # noqa: PTH208


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


# ---- disks that are full or gone ------------------------------------------------------------------------------------


def write_half(path, error):
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (OSError("1048576 requested and 131056 written"), "the disk is full"),  # NumPy's, without a number
        (ValueError("I/O error: No space left on device (os error 28)"), "the disk is full"),  # as of safetensors
        (OSError(errno.EIO, "Input/output error"), "the disk does not answer (Input/output error)"),
        (OSError(errno.ESTALE, "Stale file handle"), "the disk does not answer (Stale file handle)"),
    ],
)
def test_a_disk_that_fails(error, said, tmp_path):
    path = tmp_path / "table.json"
    write_json(path, "before")
    with pytest.raises(OrlError, match=re.escape(f"{path} could not be written, {said}: what was complete")):
        write_half(path, error)
    assert [file.name for file in tmp_path.iterdir()] == ["table.json"]
    assert json.loads(path.read_text()) == "before"


@pytest.mark.parametrize(
    "error", [ValueError("wrong"), PermissionError(errno.EACCES, "Permission denied"), KeyError(1)]
)
def test_other_errors_are_not_taken_for_a_full_disk(error, tmp_path):
    with pytest.raises(type(error)):
        write_half(tmp_path / "file", error)
    assert list(tmp_path.iterdir()) == []


WRITERS = {
    "checkpoint": lambda file: torch.save({"weights": torch.zeros(1 << 19)}, file),
    "encoder": lambda file: save_file({"weights": torch.zeros(1 << 19)}, file),
    "array": lambda file: np.save(file.open("wb"), np.zeros(1 << 18)),
    "table": lambda file: pd.DataFrame({"x": np.random.default_rng(0).random(1 << 18)}).to_parquet(file),
    "text": lambda file: file.write_text("x" * (1 << 21)),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_a_disk_of_one_megabyte(tmp_path):
    """Every library says in its own words that a disk is full, and some hardly do."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("this machine allows no mount")
    try:
        for name, write in WRITERS.items():
            with (
                pytest.raises(OrlError, match=f"{name} could not be written, the disk is full"),
                atomic_write(tmp_path / name) as temporary,
            ):
                write(temporary)
            assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_failure_that_cannot_be_recorded_is_still_the_one_that_is_told(tmp_path, monkeypatch):
    run = Run(tmp_path)

    def full(*args, **facts):
        raise OrlError("the disk is full")

    def fail():
        with run.working_on("stage1", config={}, seed=0, inputs={}):
            monkeypatch.setattr(run, "note", full)
            raise RuntimeError("the reason")

    with pytest.raises(RuntimeError, match="the reason"):
        fail()
    assert Run(tmp_path).stage("stage1")["state"] == "running"  # the same command goes on
