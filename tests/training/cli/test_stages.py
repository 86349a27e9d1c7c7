"""`orl run` and its stages: what they make, what they refuse to make over, and how they go on when killed."""

from __future__ import annotations

import json

import pytest

from commands import CLI, Command, do
from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from training import pipeline
from training.config import load_config


@pytest.mark.slow
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


@pytest.mark.slow
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
    words, log = (*CLI, "run", run.path, "--images", annotations, "--config", tiny_yaml), tmp_path / "log"
    for stage in ("stage1", "stage2", "stage3"):
        command = Command(*words, log=log)
        command.wait_until(lambda stage=stage: run.stage(stage).get("state"))
        command.kill()
    do(*words, log=log)
    assert run.encoder_file("stage3").read_bytes() == finished.encoder_file("stage3").read_bytes()
    assert run.file("pairs").read_bytes() == finished.file("pairs").read_bytes()


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
