"""Kill every stage at random moments, and compare what it ends with to a run that nobody disturbed, byte by byte.

    python benchmarks/sigkill.py --kills 50

Each attempt is a process of its own, ended by SIGKILL after a random time; the next one goes on from what it left. When
one comes to its end, its files are compared and the stage begins again, until there were so many kills. Settings are
tiny, so that a stage takes seconds and kills fall into reading, writing and renaming as well as into training.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from orl_explore.images.opening import open_images
from orl_explore.practice.scenes import make_scenes
from orl_explore.runs.run import Run
from orl_explore.runs.successor import Successor
from orl_explore.runs.tables import MINED
from orl_explore.settings import Config, EncoderSettings, Stage1Settings, Stage2Settings, Stage3Settings
from training import pipeline, stage1, stage2, stage3

STAGES = {"stage1": stage1, "stage2": stage2, "stage3": stage3}


def settings(epochs: int, workers: int) -> Config:
    """Settings of a tiny run: three steps an epoch, a checkpoint every two, four shards."""
    encoder = EncoderSettings(backbone="timm:test_resnet", hidden=32, dim=16)
    shared = {"encoder": encoder, "image_size": 32, "batch_size": 8, "warmup_epochs": 1.0, "checkpoint_steps": 2}
    return Config(
        precision="fp32",
        workers=workers,
        stage1=Stage1Settings(epochs=epochs, **shared),
        stage2=Stage2Settings(image_size=32, neighbors=3, min_side=16, batch_size=16, shard_images=7),
        stage3=Stage3Settings(epochs=epochs, patch_size=16, **shared),
    )


def outputs(run: Run, stage: str) -> dict[str, bytes]:
    """What a stage leaves, of checkpoints the names: they hold times."""
    if stage == "stage2":
        return {name: run.file(name).read_bytes() for name in MINED}
    folder = run.folder(stage)
    files = {name: (folder / name).read_bytes() for name in ("metrics.csv", "encoder.safetensors")}
    return files | {"checkpoints": " ".join(sorted(path.name for path in (folder / "checkpoints").iterdir())).encode()}


def attempt(path: Path, stage: str, config: Config, *, overwrite: bool, after: float | None) -> bool:
    """Do a stage in a process of its own, killed after so many seconds; whether it came to its end before."""
    pid = os.fork()
    if not pid:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            pipeline.run_stage(stage, Run(path), config, overwrite=overwrite)
        except BaseException as error:
            print(f"{stage}: {type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    end = None if after is None else time.monotonic() + after
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            if status:
                sys.exit(f"{stage} ended with status {status} by itself")
            return True
        if end is not None and time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL) if os.getpgid(pid) == pid else os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return False
        time.sleep(0.001)


def disturb(stage: str, begun: Path, whole: Run, config: Config, *, kills: int, seconds: float, overwrite: bool) -> int:
    """Kill a stage so many times; returns how often it came to its end, each time the same."""
    rng, ends, count = random.Random(f"{stage} {overwrite}"), 0, 0
    path = begun.with_name("disturbed")
    while count < kills or not ends:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(begun, path)
        while not attempt(
            path, stage, config, overwrite=overwrite, after=rng.uniform(0, seconds) if count < kills else None
        ):
            count += 1
        run = Run(path)
        if outputs(run, stage) != outputs(whole, stage):
            sys.exit(f"{stage} ended with other bytes after {count} kills: see {path}")
        left = [one.name for one in run.path.rglob("*") if one.name.endswith((".tmp", ".new", ".old"))]
        if left or not run.finished(stage) or Successor(path, stage).stage(stage):
            sys.exit(f"{stage} left {left} after {count} kills: see {path}")
        ends += 1
    return ends


def main() -> None:
    """Make a tiny run, then disturb each of its stages, begun for the first time and made again with --overwrite."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="in each stage (default: 50)")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--epochs", type=int, default=4, help="of stages 1 and 3 (default: 4)")
    parser.add_argument("--workers", type=int, default=0, help="of the loaders (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="disturb stages that are made again beside old ones")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = settings(arguments.epochs, arguments.workers)
    with tempfile.TemporaryDirectory() as folder:
        scenes = make_scenes(Path(folder) / "scenes", count=24, size=80, seed=1, disguise=True)
        whole = Run(Path(folder) / "whole")
        whole.set_images(open_images([scenes]), [str(scenes)])
        for stage in STAGES:
            begun = Path(folder) / f"before-{stage}"
            shutil.copytree(whole.path, begun)
            start = time.monotonic()
            attempt(whole.path, stage, config, overwrite=False, after=None)
            seconds = time.monotonic() - start
            if stage not in arguments.stages:
                continue
            if arguments.overwrite:  # an old stage of other settings stands there
                other = {"base_lr": 0.3} if stage != "stage2" else {"neighbors": 2}
                attempt(
                    begun,
                    stage,
                    replace(config, **{stage: replace(getattr(config, stage), **other)}),
                    overwrite=False,
                    after=None,
                )
            ends = disturb(
                stage, begun, whole, config, kills=arguments.kills, seconds=0.7 * seconds, overwrite=arguments.overwrite
            )
            print(f"{stage}: {arguments.kills} kills, {ends} times to its end, each with the same bytes", flush=True)


if __name__ == "__main__":
    main()
