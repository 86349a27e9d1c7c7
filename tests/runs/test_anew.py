"""A stage with other settings or inputs than it was made with: refused in which words, with which command."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from orl_explore.errors import OrlError
from orl_explore.runs.anew import refusal
from training.cli.command import parse
from training.config import load_config, save_config

CONFIG = {"epochs": 2, "views": {"scale": (0.1, 1.0), "flip": 0.5}}
INPUTS = {"images": "abc"}


@pytest.fixture
def made(run):
    """A run whose stage 1 is finished."""
    with run.working_on("stage1", config=CONFIG, seed=0, inputs=INPUTS):
        pass
    return run


@pytest.mark.parametrize("state", ["running", "failed", "finished"])
@pytest.mark.parametrize(
    ("config", "inputs", "what", "typed"),
    [
        ({**CONFIG, "epochs": 3}, INPUTS, "setting epochs", " --stage1.epochs 3"),
        (
            {**CONFIG, "views": {"scale": (0.2, 1.0), "flip": 0.5}},
            INPUTS,
            "setting views.scale",
            " --stage1.views.scale '[0.2, 1.0]'",
        ),
        ({"epochs": 2}, INPUTS, "setting views", ""),
        ({**CONFIG, "new": 1}, INPUTS, "setting new", " --stage1.new 1"),
        ({**CONFIG, "seed": 1}, INPUTS, "setting seed", " --seed 1"),
        (CONFIG, {"images": "other"}, "images", ""),
        (CONFIG, {**INPUTS, "encoder": "x"}, "encoder", ""),
        (CONFIG, {}, "images", ""),
        ({**CONFIG, "epochs": 3}, {"images": "other"}, "images, setting epochs", " --stage1.epochs 3"),
    ],
)
def test_what_changed_is_refused(made, state, config, inputs, what, typed):
    made.note("stage1", state=state)
    with pytest.raises(OrlError) as error:
        made.check("stage1", config=config, inputs=inputs)
    ended = "; the learning rate has come to its end after 2 epochs, so that 3 are another training"
    assert str(error.value) == (
        f"stage1 of {made.path} was made with other {what}: `orl stage1 {made.path} --overwrite{typed}` makes it anew"
        f"{ended if state == 'finished' and 'epochs' in what else ''}"
    )


def test_many_changes_are_not_all_listed(made):
    settings = " ".join(f"--stage1.{key} 1" for key in "abcdef")
    words = rf"setting a, setting b, setting c \.\.\.: `orl stage1 \S+ --overwrite --stage1.epochs 3 {settings}` makes"
    with pytest.raises(OrlError, match=words):
        made.check("stage1", config={**CONFIG, **dict.fromkeys("abcdef", 1), "epochs": 3}, inputs=INPUTS)


@pytest.mark.parametrize(
    ("stage", "before", "now"),
    [
        (
            "stage2",
            [],
            ["--stage2.neighbors=2", "--stage2.min_side=20", "--stage2.max_boxes=5", "--stage2.max_iou=0.1"],
        ),
        ("stage2", [], ["--stage2.max_aspect=2", "--stage2.pair_ratio=0.2", "--seed=7", "--precision=fp32"]),
        ("stage2", ["--stage2.min_similarity=0.5"], ["--stage2.min_similarity=null", "--stage2.one_to_one=true"]),
        ("stage2", ["--stage2.encoder=it's mine.pth"], []),
        ("stage2", [], ["--stage2.encoder=it's mine.pth", "--stage2.encoder_size=64"]),
        ("stage1", [], ["--stage1.views.crop_scale=[0.2,1.0]", "--stage1.base_lr=1e-5", "--stage1.views.flip=0"]),
        ("stage1", ["--stage1.accumulate=4", "--stage1.optimizer=lars"], ["--stage1.encoder.backbone=resnet18"]),
        ("stage3", ["--stage3.without=a"], ["--stage3.without=1"]),
        ("stage3", ["--stage3.without=a"], []),
        ("stage1", ["--config=coco_paper"], ["--config=tiny"]),
    ],
)
@pytest.mark.parametrize("elsewhere", [[], ["--stage1.epochs=77", "--stage2.neighbors=9", "--seed=3"]])
def test_the_advised_command_makes_the_stage_with_what_was_typed(stage, before, now, elsewhere, tmp_path):
    """Whatever the settings are that the run has stored meanwhile, for other stages."""

    def load(words, name=None):
        (named, *_) = [word[9:] for word in words if word.startswith("--config=")] or [name]
        return load_config(named, [word for word in words if not word.startswith("--config=")])

    record = {"state": "failed", "config": load(before).stage_dict(stage), "inputs": {}}
    stored, wanted = load([*before, *elsewhere]), load(now).stage_dict(stage)
    why = refusal(Path("my run"), stage, record, config=wanted, inputs={}, stored=stored.as_dict())
    arguments = parse(shlex.split(why.split("`")[1])[1:])
    assert arguments.overwrite
    save_config(stored, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml", arguments.overrides).stage_dict(stage) == wanted
