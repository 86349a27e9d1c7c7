"""The run folder: what it records, what it skips and refuses in which words, and who may write."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys

import pandas as pd
import pytest

from orl_explore.errors import OrlError
from orl_explore.images.findings import Findings
from orl_explore.images.opening import open_images
from orl_explore.runs.files import write_json
from orl_explore.runs.run import FORMAT, Run
from training.cli.arguments import add_images

CONFIG = {"epochs": 2, "views": {"scale": (0.1, 1.0), "flip": 0.5}}
INPUTS = {"images": "abc"}


def work(run, name="stage1", *, config=CONFIG, inputs=INPUTS):
    return run.working_on(name, config=config, seed=0, inputs=inputs)


# ---- the manifest ------------------------------------------------------------------------------------------


def test_manifest_of_nothing(run):
    assert run.manifest()["format"] == FORMAT == 2
    assert run.stage("stage1") == {}
    assert not run.finished("stage1")
    assert not run.path.exists()  # asking makes nothing


def test_open_wants_a_run(tmp_path):
    with pytest.raises(OrlError, match=f"no run at {tmp_path}: make one with `orl run {tmp_path} --config demo"):
        Run.open(tmp_path)
    write_json(tmp_path / "run.json", {"format": FORMAT, "images": None, "stages": {}})
    assert Run.open(str(tmp_path)).path == tmp_path


def test_another_format_is_refused(run):
    write_json(run.path / "run.json", {"format": 3, "stages": {}})
    with pytest.raises(OrlError, match="has format 3, this version reads up to 2: open it with a newer version"):
        Run.open(run.path)


@pytest.mark.parametrize(
    "content", [b"", b'{"format": 1, "sta', b"\xff\xfe\x00", b"[1]", b"null", b'{"format": 2}', b'{"format": "2"}']
)
def test_a_damaged_manifest(run, content):
    run.path.mkdir(parents=True)
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(OrlError, match=f"{run.path}"):
        run.manifest()
    if content.startswith(b"\xff"):
        with pytest.raises(OrlError, match=r"move the folder of the run away, and `orl run \S+ --images PATH` begins"):
            run.manifest()
    if content.startswith((b"[", b"n", b'{"format": 2', b'{"format": "')):
        with pytest.raises(OrlError, match=r"run\.json is not of a run: move it away"):
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
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    at_work = run.path / f".reviews.parquet.{gone.pid}.tmp"  # of a reviewer, perhaps on another machine
    for path in (run.path / "stage1" / "checkpoints" / ".step=2.ckpt.123.tmp", run.path / f".run.json.{gone.pid}.tmp"):
        path.write_bytes(b"half")
    at_work.write_bytes(b"half")
    (run.path / "stage1" / "metrics.csv").write_text("whole")
    with work(run):
        assert [path.name for path in (run.path / "stage1").rglob("*") if path.is_file()] == ["metrics.csv"]
    assert list(run.path.rglob("*.tmp")) == [at_work]


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


# ---- one process at a time ---------------------------------------------------------------------------------


HOLD = """
import sys
from orl_explore.runs.run import Run
with Run(sys.argv[1]).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
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
    table = images.table
    other = dataclasses.replace(images, table=table.assign(content_hash=["x", *table["content_hash"][1:]]))
    count = len(images)
    for others, what in (
        (images.subset([0, 1, 2]), f"of its {count}, {count - 3} are missing or have changed, and 0 are new"),
        (other, f"of its {count}, 1 are missing or have changed, and 1 are new"),
        (images.subset([1, 0, *range(2, count)]), "the same in another order, or with other ids"),
    ):
        with pytest.raises(OrlError) as error:
            run.set_images(others, ["others"])
        assert f"was begun with other images ({what}): choose a new run folder" in str(error.value)
        assert "delete" not in str(error.value)
    assert len(run.images()) == len(images)


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
@pytest.mark.parametrize("name", ["images", "objects"])
def test_damaged_images_are_mended_by_naming_them_again(new_run, images, annotations, name, stage):
    run = new_run()
    with work(run, stage):
        pass
    before = run.read(name)
    run.file(name).write_bytes(run.file(name).read_bytes()[:500])
    command = f"orl {stage} {run.path} --images"
    for ask in (lambda: run.read(name), lambda: run.count(name)):
        with pytest.raises(OrlError) as error:
            ask()
        assert str(error.value).endswith(f": `{command} {annotations}` makes it anew")
    plain = dataclasses.replace(images, objects=images.objects[:0], findings=Findings())  # without annotations
    if name == "objects":
        with pytest.raises(OrlError, match=f"objects, is damaged or gone: `{command} ANNOTATIONS`"):
            run.set_images(plain, ["plain"])
        run.set_images(images, ["again"])
    else:
        run.set_images(plain, ["plain"])
    pd.testing.assert_frame_equal(run.read(name), before)
    assert len(run.read("objects")) == len(images.objects)
    assert run.finished(stage)
    assert run.images().named_anew == f"{command} PATH"


def test_damaged_images_are_named_again_as_they_were(tmp_path, images):
    """The command that mends them has the folder and the field that they were named with, and works."""
    labels, root = images.roots[0].parent / "annotations.json", images.roots[0]
    moved = tmp_path / "labels elsewhere.json"
    moved.write_bytes(labels.read_bytes())
    run = Run(tmp_path / "run")
    run.set_images(open_images([moved], root=root), [str(moved)])
    run.file("images").unlink()
    with pytest.raises(OrlError) as error:
        run.read("images")
    command = f"orl stage1 {run.path} --images '{moved}' --root={root}"
    assert f"`{command}`" in str(error.value)
    parser = argparse.ArgumentParser()
    add_images(parser)
    parsed = parser.parse_args(shlex.split(command)[3:])
    run.set_images(open_images(parsed.images, root=parsed.root, label_field=parsed.field), [str(moved)])
    assert len(run.images()) == len(images)
    assert len(run.images().objects) == len(images.objects)


def test_a_damaged_table_of_no_objects_is_made_again(run, images):
    plain = dataclasses.replace(images, objects=images.objects[:0], findings=Findings())
    run.set_images(plain, ["plain"])
    run.file("objects").write_bytes(b"PAR1")
    run.set_images(plain, ["plain"])
    assert len(run.read("objects")) == 0


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


# ---- disks that are full or gone ------------------------------------------------------------------------------------


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
