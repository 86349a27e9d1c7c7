"""Several processes: started by Slurm or torchrun, lost, sent away, and started again, they leave the same files."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Command, torchrun
from orl_explore.errors import OrlError
from orl_explore.runs.checkpoints import latest_checkpoint
from orl_explore.runs.run import Run
from stage_runs import steps_written
from training.callbacks import Stopped
from training.config import to_yaml

DRIVER = """
import os, sys
from pathlib import Path
from training import cli

rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID"))
Path(os.environ["TEST_OUT"], f"pid{rank}").write_text(str(os.getpid()))
run, config, images = sys.argv[1:]
for stage, *more in (["stage1", "--images", images], ["stage2"], ["stage3"]):
    code = cli.main([stage, run, "--config", config, *more])
    if code:
        sys.exit(code)
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class Job:
    """Commands on two processes, with their output in a file."""

    def __init__(self, folder: Path, run: Run, config: Path, images: Path):
        self.folder, self.run = folder, run
        (folder / "driver.py").write_text(DRIVER)
        self.words = folder / "driver.py", run.path, config, images
        self.files = {"log": folder / "log", "TEST_OUT": str(folder)}

    def torchrun(self) -> Command:
        return Command(*torchrun(), *self.words, **self.files)

    def slurm(self) -> list[Command]:
        """Two tasks with the variables that srun gives them."""
        shared = {
            "SLURM_NTASKS": "2",
            "SLURM_NTASKS_PER_NODE": "2",
            "SLURM_NNODES": "1",
            "SLURM_NODEID": "0",
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NAME": "orl",
            "SLURM_NODELIST": "localhost",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
        }
        ranks = ({"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01")
        return [Command(*self.words, **self.files, **shared, **rank) for rank in ranks]

    def kill_second(self) -> None:
        os.kill(int((self.folder / "pid1").read_text()), signal.SIGKILL)


@pytest.fixture
def job(tmp_path, changed, annotations) -> Callable[[str], Job]:
    shared = {"epochs": 8, "checkpoint_steps": 5}  # of 3 steps each
    config = changed("stage1", **shared)
    file = tmp_path / "config.yaml"
    text = to_yaml(config)
    head, _, tail = text.partition("stage3:")
    tail = tail.replace("epochs: 2\n", "epochs: 8\n", 1).replace("checkpoint_steps: 2\n", "checkpoint_steps: 5\n", 1)
    file.write_text(f"{head}stage3:{tail}")

    def make(name: str) -> Job:
        folder = tmp_path / name
        folder.mkdir()
        return Job(folder, Run(folder / "run"), file, annotations)

    return make


def outputs(run: Run) -> dict[str, bytes]:
    names = [f"{stage}/{name}" for stage in ("stage1", "stage3") for name in ("metrics.csv", "encoder.safetensors")]
    return {
        name: (run.path / name).read_bytes() for name in [*names, "stage2/neighbors.parquet", "stage2/pairs.parquet"]
    }


@pytest.mark.slow
def test_a_lost_process_and_a_preemption_leave_no_trace(job):
    """Slurm's processes, undisturbed, against torchrun's: one killed in stages 1 and 2, all sent away in stage 3.

    Stages 1 and 3 train by the same loop.
    """
    undisturbed, disturbed = job("undisturbed"), job("disturbed")
    tasks = undisturbed.slurm()
    assert [task.wait() for task in tasks] == [0, 0], tasks[0].said()
    assert tasks[0].said().count("stage 1: 8 epochs of 24 images, 24 steps") == 1  # one of the two speaks
    assert "32-true on 2 x cpu" in tasks[0].said()

    lose_a_process(disturbed, "stage1")

    command = disturbed.torchrun()
    command.wait_until((disturbed.run.path / "stage2/image_embeddings.npy").exists)
    disturbed.kill_second()
    assert command.wait() == 1  # the other may have made all parts that were left, before torchrun ended it

    step = preempt(disturbed, "stage3")

    command = disturbed.torchrun()
    assert command.wait() == 0, command.said()
    assert f"going on from step {step}" in command.said()
    assert outputs(disturbed.run) == outputs(undisturbed.run)


def lose_a_process(job: Job, stage: str) -> None:
    """Kill the second process of a training after its seventh step."""
    command = job.torchrun()
    command.wait_until(lambda: steps_written(job.run, stage) >= 7)
    job.kill_second()
    assert command.wait() == 1
    assert "the same command goes on from" in command.said()  # a lost peer, or torchrun's SIGTERM: whichever is first
    _, step = latest_checkpoint(job.run.path / stage / "checkpoints")
    assert step % 5 == 0 or f"stopped by SIGTERM: step {step} of 24 is saved" in command.said()


def preempt(job: Job, stage: str) -> int:
    """Ask a training to end a few steps later; the step that it saved."""
    command = job.torchrun()
    command.wait_until(lambda: steps_written(job.run, stage) >= 13)
    command.process.terminate()
    assert command.wait() != 0
    _, step = latest_checkpoint(job.run.path / stage / "checkpoints")
    assert f"orl: stopped by SIGTERM: step {step} of 24 is saved, and the same command" in command.said()
    assert step >= 13
    assert job.run.stage(stage)["error"].startswith("Stopped: stopped by SIGTERM")
    return step


def test_messages_from_workers_are_unwrapped():
    inner = "images/7.jpg was usable before (No such file): put it back, or begin a new run"
    wrapped = (
        "Caught OrlError in DataLoader worker process 1.\nOriginal Traceback (most recent call last):\n"
        f'  File "worker.py", line 349, in _worker_loop\norl_explore.errors.OrlError: {inner}\n'
    )
    assert str(OrlError(wrapped)) == inner
    assert str(OrlError(inner)) == inner
    assert Stopped.EXIT_CODE == 128 + signal.SIGTERM
