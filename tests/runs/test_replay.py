"""What stage 3 saw of an image, shown again."""

from __future__ import annotations

import dataclasses

import pytest

from orl_explore.runs import replay
from orl_explore.runs.samples import ObjectViews


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
