"""Files in a run's folders that are cut, empty or somebody else's: training goes on, ends the same, and leaves them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from orl_explore.errors import OrlError
from orl_explore.runs.tables import MINED
from stage_runs import outputs
from training import stage1, stage2


def foreign(folder, names):
    """Put files of others into a folder; gives what they hold."""
    held = {}
    for name in names:
        (folder / name).write_bytes(held.setdefault(folder / name, name.encode()))
    return held


def killed(run, finished):
    """A run whose stage 2 was begun, and killed before it had made anything."""
    record = finished.stage("stage2")
    run.note("stage2", state="running", config=record["config"], inputs=record["inputs"])
    return run


def assert_there(held):
    assert {path: path.read_bytes() for path in held} == held


def test_foreign_checkpoints_stay(new_run, finished, tiny, stop_at):
    """The copy that somebody makes during training is not deleted by the next save."""
    run = new_run()
    undo = stop_at(5)
    with pytest.raises(RuntimeError):
        stage1.run(run, tiny)
    undo()
    folder = run.path / "stage1" / "checkpoints"
    shutil.copy(folder / "step=4.ckpt", folder / "step=4 copy.ckpt")
    copy = (folder / "step=4 copy.ckpt").read_bytes()
    held = foreign(folder, ["notes.txt", "step=.ckpt", "step=6.ckpt"])
    stage1.run(run, tiny)
    assert (folder / "step=4 copy.ckpt").read_bytes() == copy
    aside = folder / "step=6.ckpt.set-aside"
    assert aside.read_bytes() == held.pop(folder / "step=6.ckpt")
    assert_there(held)
    for path in [*held, aside, folder / "step=4 copy.ckpt"]:
        path.unlink()
    assert outputs(run, "stage1") == outputs(finished, "stage1")


@pytest.mark.parametrize("content", [b"", b"half", None], ids=["empty", "text", "cut"])
def test_a_cut_checkpoint_names_the_way_on(content, new_run, finished, tiny, stop_at):
    run = new_run()
    undo = stop_at(5)
    with pytest.raises(RuntimeError):
        stage1.run(run, tiny)
    undo()
    file = run.path / "stage1" / "checkpoints" / "step=4.ckpt"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(OrlError, match=r"step=4.ckpt cannot be used: it is .* the same command begins the stage again"):
        stage1.run(run, tiny)
    file.rename(file.with_suffix(".away"))  # as it says
    stage1.run(run, tiny)
    file.with_suffix(".away").unlink()
    assert outputs(run, "stage1") == outputs(finished, "stage1")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty", marks=pytest.mark.slow),
        pytest.param(b"PAR1 and no more", id="text", marks=pytest.mark.slow),
        pytest.param(None, id="cut"),
    ],
)
@pytest.mark.parametrize("name", MINED)
def test_cut_tables_and_shards_are_made_again(name, content, unfinished, finished, tiny, capsys):
    run = killed(unfinished("stage2"), finished)
    done = finished.file(name).read_bytes()
    damaged = done[: len(done) // 2] if content is None else content
    shards = run.path / "stage2" / "shards"
    shards.mkdir(parents=True)
    for file in (shards / f"{name}-00001", run.file(name)):
        file.write_bytes(damaged)
    held = foreign(shards, ["mine.txt", "image_embeddings-1.npy", "progress"])
    stage2.run(run, tiny)
    said = capsys.readouterr().err
    assert f"{run.file(name)} is cut, or none of this run: it is now {run.file(name).name}.set-aside" in said
    assert outputs(run, "stage2") == outputs(finished, "stage2")
    assert_there(held)


def test_shards_of_another_shape(unfinished, finished, tiny):
    run = killed(unfinished("stage2"), finished)
    file = run.path / "stage2" / "shards" / "image_embeddings-00002"
    file.parent.mkdir(parents=True)
    with file.open("wb") as out:
        np.save(out, np.zeros((3, 16), np.float32))
    stage2.run(run, tiny)
    assert outputs(run, "stage2") == outputs(finished, "stage2")
