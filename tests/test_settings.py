"""Settings: the paper's numbers, what follows from them, and what a stage's result depends on."""

from __future__ import annotations

import dataclasses
import re

import pytest

from orl_explore.errors import OrlError
from orl_explore.nested import differing_keys
from orl_explore.settings import (
    Config,
    Stage1Settings,
    Stage2Settings,
    Stage3Settings,
    as_published,
    require_filled_batches,
)
from training.config import load_config


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
@pytest.mark.parametrize(
    ("name", "value"), [("augment", "pil"), ("augment", "device"), ("compile", True), ("gradient_checkpointing", True)]
)
def test_how_it_is_computed_is_recorded_but_refuses_no_run(stage, name, value, changed):
    other = changed(stage, **{name: value})
    assert other.stage_dict(stage) == changed().stage_dict(stage)  # so that a run goes on, older ones as well
    assert name not in other.stage_dict(stage)
    assert other.compute_dict(stage)[name] == value
    assert other.compute_dict("stage2") == {}


def test_unknown_way_to_draw(changed):
    with pytest.raises(OrlError, match="choose one of pil, cpu, device"):
        changed("stage1", augment="gpu")


# ---- the paper ---------------------------------------------------------------------------------------------


def test_differences():
    # What the defaults do in another way than the authors did, to save time, and to within rounding.
    faster = {
        "precision": ("paper", "auto"),
        "stage1.augment": ("pil", "cpu"),
        "stage2.proposals": ("opencv", "fast"),
        "stage3.augment": ("pil", "cpu"),
    }
    assert Config().differences() == faster
    assert as_published().differences() == {}
    # Of which test_paper.py compares every number with the paper.
    assert load_config("coco_paper").differences() == {}
    assert load_config() == Config()


@pytest.mark.parametrize(
    ("images", "batch", "steps", "rate"),
    [
        (118_287, 512, 232, 0.4),  # COCO: 231 * 512 = 118,272, and 15 images in a last batch
        (118_287, 256, 463, 0.2),  # half the batch, half the rate
        (241_690, 512, 473, 0.4),  # COCO+
        (118_287, 1024, 116, 0.8),
        (512, 512, 1, 0.4),
    ],
)
def test_steps_and_learning_rate(images, batch, steps, rate):
    config = Stage1Settings(batch_size=batch)
    assert config.steps_per_epoch(images) == steps
    assert config.total_steps(images) == 800 * steps
    assert config.learning_rate() == pytest.approx(rate)
    assert Stage1Settings(batch_size=batch, drop_last=True).steps_per_epoch(images) == images // batch


def test_unknown_schedule(changed):
    with pytest.raises(OrlError, match=r"stage3\.schedule is 'cosine': choose one of epoch, step"):
        changed("stage3", schedule="cosine")


def test_too_few_images_for_a_batch():
    with pytest.raises(OrlError, match=r"100 images do not fill a batch of 512: .*--stage1.batch_size 50"):
        Stage1Settings().steps_per_epoch(100)
    with pytest.raises(OrlError, match=r"1 images do not fill a batch of 512: add images$"):
        Stage3Settings().steps_per_epoch(1)


@pytest.mark.parametrize(
    ("batches", "passes", "images", "message"),
    [
        ((16, 16), (1, 1), 12, "a batch of 16: .* --stage1.batch_size 6 --stage3.batch_size 6$"),
        ((16, 32), (1, 1), 12, "a batch of 16 or 32: .* --stage1.batch_size 6 --stage3.batch_size 6$"),
        ((8, 16), (1, 1), 12, "a batch of 16: .* example --stage3.batch_size 6$"),
        ((16, 16), (4, 8), 22, None),
        ((32, 32), (4, 8), 22, "--stage1.batch_size 8 --stage3.batch_size 11 --stage3.accumulate 1$"),
        ((16, 16), (1, 1), 2, "--stage1.batch_size 2 --stage3.batch_size 2$"),
    ],
)
def test_batches_of_all_stages_are_refused_at_once_with_options_that_work(batches, passes, images, message):
    kinds = (Stage1Settings, Stage3Settings)
    stages = [kind(batch_size=b, accumulate=p) for kind, b, p in zip(kinds, batches, passes, strict=True)]
    if message is None:
        require_filled_batches(images, *stages)
        return
    with pytest.raises(OrlError, match=message) as error:
        require_filled_batches(images, *stages)
    for kind, batch, accumulate in zip(kinds, batches, passes, strict=True):
        stage = kind.__name__.removesuffix("Settings").lower()
        found = dict(re.findall(rf"--{stage}\.(\w+) (\d+)", str(error.value)))
        found = {name: int(value) for name, value in found.items()}
        kind(**({"batch_size": batch, "accumulate": accumulate} | found)).steps_per_epoch(images)


# ---- what a stage depends on -------------------------------------------------------------------------------


def test_stage_settings_leave_out_how_work_is_spread():
    changed = dataclasses.replace(Config(), workers=3, devices=2)
    for stage in ("stage1", "stage2", "stage3"):
        assert differing_keys(Config().stage_dict(stage), changed.stage_dict(stage)) == []
    assert differing_keys(
        Config().stage_dict("stage2"), dataclasses.replace(Config(), seed=1).stage_dict("stage2")
    ) == ["seed"]


def test_accumulating_is_part_of_what_a_stage_depends_on_where_it_is_done():
    assert "accumulate" not in Config().stage_dict("stage1")  # runs from before it existed go on
    assert Config(stage1=Stage1Settings(accumulate=4)).stage_dict("stage1")["accumulate"] == 4


@pytest.mark.parametrize(
    ("stage", "settings"),
    [("stage1", Stage1Settings(init="embedded")), ("stage3", Stage3Settings(optimizer="lars"))],
)
def test_settings_that_came_later(stage, settings):
    """Runs from before they existed go on with their defaults, and with nothing else."""
    (name,) = {"init", "optimizer"} & set(differing_keys(Config().as_dict()[stage], dataclasses.asdict(settings)))
    assert name not in Config().stage_dict(stage)
    assert Config(**{stage: settings}).stage_dict(stage)[name] == getattr(settings, name)


def test_mask_outside():
    assert "mask_outside" not in Config().stage_dict("stage2")
    assert Config(stage2=Stage2Settings(mask_outside=1)).stage_dict("stage2")["mask_outside"] == 1
    with pytest.raises(OrlError, match=r"stage2.mask_outside is 1.5: it must lie between 0 and 1"):
        Stage2Settings(mask_outside=1.5)


def test_adamw_needs_a_rate_of_its_own():
    with pytest.raises(OrlError, match=r"stage1.base_lr is 0.4, which is for SGD: .* --stage1.base_lr 0.001"):
        Stage1Settings(optimizer="adamw")
    Stage1Settings(optimizer="adamw", base_lr=0.001, weight_decay=0.05)
    with pytest.raises(OrlError, match=r"stage3.optimizer is 'adam': choose one of sgd, adamw, lars"):
        Stage3Settings(optimizer="adam")


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().stage1.epochs = 3
