"""`orl run` and its stages: what they make, what they refuse to make over, and how they go on when killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from training import pipeline
from training.config import load_config


def test_stages_one_by_one(orl, tmp_path, annotations, tiny_yaml, finished):
    """What the commands do is what the functions do; the config is needed once."""
    path = tmp_path / "run"
    assert orl("stage1", path, "--images", annotations, "--config", tiny_yaml)[0] == 0
    assert orl("stage2", path)[0] == 0
    assert orl("stage3", path)[0] == 0
    run = Run(path)
    for name in ("pairs", "region_embeddings"):
        assert run.file(name).read_bytes() == finished.file(name).read_bytes()
    for stage in ("stage1", "stage3"):
        assert run.encoder_file(stage).read_bytes() == finished.encoder_file(stage).read_bytes()
    code, _, err = orl("stage1", path)
    assert code == 0
    assert "is finished: skipped" in err


def test_overwrite(orl, copy):
    assert orl("stage1", copy.path, "--stage1.epochs", 3, "--overwrite")[0] == 0
    assert load_config(copy.path / "config.yaml").stage1.epochs == 3
    assert copy.stage("stage1")["config"]["epochs"] == 3
    code, _, err = orl("stage2", copy.path)
    assert code == 1
    assert f"stage2 of {copy.path} was made with other encoder: `orl stage2 {copy.path} --overwrite`" in err
    assert orl("stage2", copy.path, "--overwrite")[0] == 0


def test_a_config_without_images_is_kept_for_later(orl, new_run, tiny_yaml, monkeypatch):
    run = new_run()
    monkeypatch.setitem(pipeline.STAGES, "stage1", lambda run, config: run)  # as if killed before it began
    assert orl("stage1", run.path, "--config", tiny_yaml)[0] == 0
    assert (run.path / "config.yaml").read_text() == tiny_yaml.read_text()


@pytest.mark.slow
def test_run_does_everything_once(orl, tmp_path, annotations, tiny_yaml):
    path = tmp_path / "run"
    code, out, _ = orl("run", path, "--images", annotations, "--config", tiny_yaml, "--json")
    assert code == 0
    figures = json.loads(out)  # one object and nothing else
    assert {"random", "stage1", "stage2", "stage3"} <= figures.keys()
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*") if p.parent.name in ("stage1", "stage2", "stage3")}
    code, again, err = orl("run", path, "--json")
    assert (code, json.loads(again)) == (0, figures)
    assert err.count("is finished: skipped") == 3
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.slow
def test_sigkill_in_a_whole_run(tmp_path, annotations, tiny_yaml, finished):
    """Kill `orl run` as soon as each stage has begun; the same command always goes on."""
    run = Run(tmp_path / "run")
    command = [sys.executable, "-m", "training.cli", "run", str(run.path), "--images", str(annotations)]
    command += ["--config", str(tiny_yaml)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for stage in ("stage1", "stage2", "stage3"):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
            while process.poll() is None and run.stage(stage).get("state") is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert run.encoder_file("stage3").read_bytes() == finished.encoder_file("stage3").read_bytes()
    assert run.file("pairs").read_bytes() == finished.file("pairs").read_bytes()


@pytest.mark.slow
def test_a_whole_run_of_two_processes(tmp_path, annotations, tiny_yaml):
    """The second process trains along in stages 1 and 3, waits meanwhile, and writes nothing."""
    run = Run(tmp_path / "run")
    command = [sys.executable, "-m", "training.cli", "run", str(run.path), "--images", str(annotations)]
    command += ["--config", str(tiny_yaml), "--devices", "2", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"random", "stage1", "stage2", "stage3"} <= json.loads(done.stdout).keys()  # judged once, by the first
    assert all(run.finished(stage) for stage in ("stage1", "stage2", "stage3"))
    for stage in ("stage1", "stage3"):
        assert (run.path / stage / "metrics.csv").read_text().count("\n") == 1 + 6


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["stage2", "x", "--proposals", "opencv"], ["--stage2.proposals=opencv"]),
        (["stage2", "x", "--max-side", "320", "--seed", "3"], ["--seed=3", "--stage2.max_side=320"]),
        (["stage3", "x", "--reviews", "use"], ["--stage3.reviews=use"]),
        (["stage1", "x"], []),
    ],
)
def test_options_of_a_stage_stand_for_settings(orl, monkeypatch, arguments, settings):
    def prepare(path, *, overrides, **_):
        assert overrides == settings
        raise OrlError("as far as this goes")

    monkeypatch.setattr(pipeline, "prepare", prepare)
    code, *_ = orl(*arguments)
    assert code == 1
