"""Whole trainings: nothing that interrupts them leaves a trace, in one process, in several, or on a GPU."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from commands import CLI, Command, do, torchrun
from orl_explore.byol import BYOL
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.orl import ORL
from orl_explore.runs.checkpoints import latest_checkpoint
from orl_explore.runs.run import Run
from orl_explore.runs.samples import StepSampler
from stage_runs import STAGES, metrics, outputs, steps_written
from training import stage1, trainer
from training.config import save_config
from training.twin_training import TwinTraining


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_checkpoints_hold_data_alone(finished, stage, encoder_settings):
    path, steps = latest_checkpoint(finished.path / stage / "checkpoints")
    assert steps == 6
    checkpoint = torch.load(path, weights_only=True)  # refuses anything that could run code
    assert checkpoint["global_step"] == 6
    state = {name.removeprefix("networks."): tensor for name, tensor in checkpoint["state_dict"].items()}
    networks = (BYOL if stage == "stage1" else ORL)(encoder_settings)
    networks.load_state_dict(state)
    exported = Encoder.load(finished.encoder_file(stage)).state_dict()
    assert all(torch.equal(tensor, exported[name]) for name, tensor in networks.online.state_dict().items())


def test_workers_change_nothing(new_run, changed, finished):
    run = new_run()
    stage1.run(run, changed(workers=2))
    assert outputs(run, "stage1") == outputs(finished, "stage1")


def test_bfloat16(new_run, changed):
    run = new_run()
    stage1.run(run, changed(precision="bf16"))
    state = Encoder.load(run.encoder_file("stage1")).state_dict()
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


@pytest.mark.parametrize(
    ("stage", "step", "resumed_from"),
    [
        pytest.param("stage1", 0, 0, marks=pytest.mark.slow),  # before anything was done
        ("stage1", 1, 0),  # before the first checkpoint
        ("stage1", 2, 2),  # right after one, in mid-epoch
        pytest.param("stage1", 5, 4, marks=pytest.mark.slow),
        ("stage3", 3, 2),
        pytest.param("stage3", 5, 4, marks=pytest.mark.slow),
    ],
)
def test_an_interruption_leaves_no_trace(stage, step, resumed_from, unfinished, finished, tiny, stop_at):
    run = unfinished(stage)
    undo = stop_at(step)
    with pytest.raises(RuntimeError, match="stopped at step"):
        STAGES[stage].run(run, tiny)
    assert run.stage(stage)["state"] == "failed"
    assert run.stage(stage)["error"] == f"RuntimeError: stopped at step {step}"
    assert latest_checkpoint(run.path / stage / "checkpoints")[1] == resumed_from
    undo()
    STAGES[stage].run(run, tiny)
    assert outputs(run, stage) == outputs(finished, stage)
    assert run.stage(stage)["state"] == "finished"


@pytest.mark.slow
def test_many_interruptions_leave_no_trace(new_run, finished, tiny, stop_at):
    run = new_run()
    for step in (1, 2, 3, 4):
        undo = stop_at(step)
        with pytest.raises(RuntimeError, match="stopped"):
            stage1.run(run, tiny)
        undo()
    stage1.run(run, tiny)
    assert outputs(run, "stage1") == outputs(finished, "stage1")


def test_stopped_between_the_last_step_and_the_export(unfinished, finished, tiny, stop_at):
    run = unfinished("nothing")
    run.encoder_file("stage1").unlink()
    run.note("stage1", state="running")
    stop_at(0)  # there is nothing left to train
    stage1.run(run, tiny)
    assert outputs(run, "stage1") == outputs(finished, "stage1")


def test_a_checkpoint_of_a_longer_training_is_refused(unfinished, changed):
    run, shorter = unfinished("nothing"), changed("stage1", epochs=1, warmup_epochs=0.0)
    run.encoder_file("stage1").unlink()
    run.note("stage1", state="running", config=shorter.stage_dict("stage1"))
    with pytest.raises(OrlError, match=r"step=6\.ckpt is of a longer training, .* 3 steps: move \S+checkpoints away"):
        stage1.run(run, shorter)
    (run.path / "stage1" / "checkpoints").rename(run.path / "away")
    stage1.run(run, shorter)
    assert {row["epoch"] for row in metrics(run, "stage1")} == {"0"}


def test_ctrl_c(new_run, tiny, stop_at):
    run = new_run()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs beside it without
    try:
        stop_at(3, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            stage1.run(run, tiny)
        assert run.stage("stage1")["state"] == "failed"
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler  # the next Ctrl+C is heard, too
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_failed_save_keeps_the_older_checkpoint(new_run, finished, tiny, monkeypatch):
    run = new_run()
    save = torch.save

    def full_disk(checkpoint, path):
        if checkpoint["global_step"] == 4:
            Path(path).write_bytes(b"half a checkpoint")
            raise OSError(28, "No space left on device")
        save(checkpoint, path)

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OrlError, match=r"step=4.ckpt could not be written, the disk is full: what was complete before"):
        stage1.run(run, tiny)
    assert [path.name for path in (run.path / "stage1/checkpoints").iterdir()] == ["step=2.ckpt"]
    monkeypatch.undo()
    stage1.run(run, tiny)
    assert outputs(run, "stage1") == outputs(finished, "stage1")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_while_training(workers, annotations, finished, changed, tmp_path, monkeypatch):
    """As when a network drive is lost: the file is named, and once it is back training goes on as if nothing was."""
    from orl_explore.images.opening import open_images

    scenes = Path(shutil.copytree(annotations.parent, tmp_path / "scenes"))
    run = Run(tmp_path / "run")
    run.set_images(open_images([scenes / annotations.name]), [str(scenes)])
    lost = run.images().path(5)
    step = TwinTraining.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == 2:
            lost.rename(tmp_path / "away")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TwinTraining, "training_step", training_step)
    config = changed(workers=workers)
    config = dataclasses.replace(config, stage1=dataclasses.replace(config.stage1, epochs=4))
    with pytest.raises(OrlError) as error:
        stage1.run(run, config)
    assert str(error.value).startswith(f"{lost} was usable before (")
    assert "Traceback" not in str(error.value)
    assert run.stage("stage1")["error"] == f"OrlError: {error.value}"
    _, saved = latest_checkpoint(run.path / "stage1/checkpoints")
    assert saved >= 2
    monkeypatch.undo()
    (tmp_path / "away").rename(lost)
    stage1.run(run, config)
    undisturbed = Run(tmp_path / "undisturbed")
    undisturbed.set_images(run.images(), [str(scenes)])
    stage1.run(undisturbed, dataclasses.replace(config, workers=0))
    assert outputs(run, "stage1") == outputs(undisturbed, "stage1")


# ---- SIGKILL -----------------------------------------------------------------------------------------------

KILL = """
import os, signal, sys
from pathlib import Path
from orl_explore.runs.run import Run
from training import stage1, stage2, stage3
from training.config import load_config

stage, path, config = sys.argv[1], Path(sys.argv[2]), load_config(sys.argv[3])

def attempt(writes=None):
    '''Do the stage in a process of its own, which dies in the middle of its n-th write.'''
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    original, count = os.fsync, 0
    def fsync(file):
        nonlocal count
        count += 1
        if count == writes:
            os.kill(os.getpid(), signal.SIGKILL)  # the file is written, but not renamed
        original(file)
    os.fsync = fsync
    {"stage1": stage1, "stage2": stage2, "stage3": stage3}[stage].run(Run(path), config)
    os._exit(0)

for writes in map(int, sys.argv[4:]):
    assert attempt(writes) == signal.SIGKILL
assert attempt() == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "writes"),
    [
        # Each attempt writes run.json once or twice and config.yaml, then files of the stage.
        ("stage1", (2, 4, 5, 4)),  # at once; metrics.csv; a checkpoint; another
        ("stage2", (1, 4, 9, 6, 12, 3)),
        ("stage3", (4, 5, 5)),
    ],
)
def test_sigkill_leaves_no_trace(stage, writes, unfinished, finished, tiny_yaml, tmp_path):
    run, script = unfinished(stage), tmp_path / "kill.py"
    script.write_text(KILL)
    do(script, stage, run.path, tiny_yaml, *writes, log=tmp_path / "log")
    assert outputs(run, stage) == outputs(finished, stage)
    assert run.finished(stage)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_sigkill_from_outside(stage, unfinished, changed, tmp_path):
    """Kill the command itself in mid-epoch, as an operator would, once its metrics show progress."""
    config = changed(stage, epochs=14, checkpoint_steps=5)
    save_config(config, tmp_path / "long.yaml")
    run = unfinished(stage)
    undisturbed = Run(shutil.copytree(run.path, tmp_path / "undisturbed"))
    STAGES[stage].run(undisturbed, config)
    words, log = (*CLI, stage, run.path, "--config", tmp_path / "long.yaml"), tmp_path / "log"
    for steps in (7, 17):  # of 42
        command = Command(*words, log=log)
        command.wait_until(lambda steps=steps: steps_written(run, stage) >= steps)
        command.kill()
    assert run.stage(stage)["state"] == "running"
    do(*words, log=log)
    assert outputs(run, stage) == outputs(undisturbed, stage)


# ---- two processes -----------------------------------------------------------------------------------------

TWO = """
import os, sys
from pathlib import Path
import torch
from training import cli
from training.twin_training import TwinTraining

torch.set_num_threads(1)
out = Path(os.environ["TEST_OUT"])
seen = []
step = TwinTraining.training_step

def training_step(self, batch, batch_idx):
    seen.append(batch["image_id"].tolist())
    return step(self, batch, batch_idx)

def on_train_end(self):
    weights = {name: p.detach().clone() for name, p in self.networks.named_parameters()}
    networks = type(self.networks).__name__
    torch.save({"seen": seen, "weights": weights, "pid": os.getpid()}, out / f"{networks}{self.global_rank}.pt")
    seen.clear()

TwinTraining.training_step, TwinTraining.on_train_end = training_step, on_train_end
sys.exit(cli.main(sys.argv[1:]))
"""


def check_two(run, out, images, stage):
    networks = {"stage1": "BYOL", "stage3": "ORL"}[stage]
    ranks = [torch.load(out / f"{networks}{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert ranks[0]["pid"] != ranks[1]["pid"]
    ids = images.table["image_id"].to_numpy()
    expected = [[int(ids[row]) for _, row in batch] for batch in StepSampler(24, batch_size=8, epochs=2, seed=0)]
    # Every batch of a single process, halved: each rank takes every other image of it.
    assert ranks[0]["seen"] == [batch[0::2] for batch in expected]
    assert ranks[1]["seen"] == [batch[1::2] for batch in expected]
    assert ranks[0]["weights"].keys() == ranks[1]["weights"].keys()
    for name, weights in ranks[0]["weights"].items():
        assert torch.isfinite(weights).all(), name
        assert torch.equal(weights, ranks[1]["weights"][name]), name
    assert run.finished(stage)
    assert [int(row["step"]) for row in metrics(run, stage)] == list(range(6))
    exported = Encoder.load(run.encoder_file(stage))
    for name, p in exported.named_parameters():
        assert torch.equal(p, ranks[0]["weights"][f"online.{name}"]), name


@pytest.fixture
def two(tmp_path):
    """The script."""
    script = tmp_path / "two.py"
    script.write_text(TWO)
    return script


@pytest.mark.slow
def test_a_whole_run_of_two_processes_through_lightning(two, images, annotations, tiny_yaml, tmp_path):
    """Lightning starts the second one anew. It trains along in stages 1 and 3, waits meanwhile, and says nothing."""
    run, log = Run(tmp_path / "two"), tmp_path / "log"
    words = "run", run.path, "--images", annotations, "--config", tiny_yaml, "--devices", 2, "--json"
    do(two, *words, log=log, TEST_OUT=str(tmp_path))
    check_two(run, tmp_path, images, "stage1")
    check_two(run, tmp_path, images, "stage3")
    assert run.finished("stage2")
    _, _, said = log.read_text().partition("\n{")
    assert {"random", "stage1", "stage2", "stage3"} <= json.loads("{" + said).keys()  # judged once, by the first


@pytest.mark.slow
def test_two_processes_through_torchrun(two, images, unfinished, tiny_yaml, tmp_path):
    run = unfinished("stage3")
    words = "stage3", run.path, "--config", tiny_yaml, "--devices", 2
    do(*torchrun(), two, *words, log=tmp_path / "log", TEST_OUT=str(tmp_path))
    check_two(run, tmp_path, images, "stage3")


@pytest.mark.parametrize("gpu", [True, False])
def test_batch_statistics_are_of_all_gpus(gpu, tiny, tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(trainer.lightning, "Trainer", lambda **options: given.update(options))
    trainer.make_trainer(tiny, tmp_path, precision="fp32")
    assert given["sync_batchnorm"] is gpu
