"""What stage 3 saw of an image, shown again: the very sample, and the losses that training would compute."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from orl_explore.errors import OrlError
from orl_explore.runs import replay
from orl_explore.runs.run import Run
from orl_explore.runs.samples import ObjectViews, StepSampler
from orl_explore.views.tensors import normalize


@pytest.fixture
def run(runs):
    """A finished run, to be changed at will; in this folder `run` is one that is not there yet."""
    return Run(runs / "one")


def objects(finished, images, config, augment):
    config = dataclasses.replace(config.stage3, augment=augment)
    return ObjectViews(images, finished.read("regions"), finished.read("pairs"), config, seed=0)


@pytest.mark.parametrize("augment", ["cpu", "device"])
def test_samples_show_what_pillow_shows(finished, images, tiny, augment):
    reference, fast = objects(finished, images, tiny, "pil"), objects(finished, images, tiny, augment)
    for row in (0, 5, 11):
        first, second = replay.pictures(reference, 1, row), replay.pictures(fast, 1, row)
        assert first.keys() == second.keys()
        for name in first:
            assert (first[name].int() - second[name].int()).abs().float().mean() < 3, name


def views_of(run, tiny):
    return ObjectViews(run.images(), run.read("regions"), run.read("pairs"), tiny.stage3, tiny.seed)


@pytest.mark.parametrize("begun", [True, False])
def test_settings_are_those_of_stage_3(run, tiny, begun):
    if not begun:
        run.clear("stage3")  # the settings of the run are left
    assert replay.stage3_settings(run) == (tiny.stage3, tiny.seed)


def test_the_sample_is_the_one_that_training_draws(run, tiny):
    shown, trained = replay.object_views(run, run.images()), views_of(run, tiny)
    for epoch, row in ((0, 0), (1, 0), (1, 7)):
        assert shown.sample(epoch, row) == trained.sample(epoch, row)


def test_an_epoch_visits_every_image_in_one_batch(run):
    samples = replay.object_views(run, run.images())
    batches = list(StepSampler(len(samples), batch_size=8, epochs=2, seed=samples.seed))
    for row in samples.rows.tolist():
        step, rows = replay.step_of(samples, 1, row)
        assert step is not None
        assert [(1, int(np.searchsorted(samples.rows, r))) for r in rows] == batches[step]
        assert row in rows


def test_losses_are_those_of_the_networks(run, tiny):
    samples = replay.object_views(run, run.images())
    networks, step = replay.load_networks(run, tiny.stage3)
    assert step == 6
    _, rows = replay.step_of(samples, 1, 5)
    rows = [5, *[row for row in rows.tolist() if row != 5]]
    items = [samples[1, row] for row in rows]
    drawn = {name: torch.stack([item[name] for item in items]) for name in items[0] if name != "image_id"}
    each = replay.per_image_losses(networks, drawn)
    with torch.no_grad():
        means, _ = networks(**{name: normalize(view) for name, view in drawn.items()})
    found = replay.current_losses(run, samples, 1, 5)
    for name, mean in means.items():
        assert float(each[name].mean()) == pytest.approx(float(mean), abs=1e-5)
        assert found.batch[name] == pytest.approx(float(mean), abs=1e-4)
        assert found.image[name] == pytest.approx(float(each[name][0]), abs=1e-4)


def test_a_damaged_checkpoint_is_a_sentence(run, tiny):
    (file,) = (run.path / "stage3" / "checkpoints").glob("*.ckpt")
    file.write_bytes(b"nothing")
    with pytest.raises(OrlError, match="cannot be read"):
        replay.load_networks(run, tiny.stage3)
