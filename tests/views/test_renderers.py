"""Three ways to draw a view: the fast ones against Pillow's, operation by operation and as whole samples.

Differences are counted in gray levels, 0..255. Pillow and ours round after each operation, so one level of the resized
crop is all that resizing may differ; an operation that stretches by up to 1.4 makes two of it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from orl_explore.runs.samples import ImageViews, StepSampler
from orl_explore.views.parameters import sample_view
from orl_explore.views.renderers import collate, finish
from view_parts import PAPER, draw, view


@pytest.mark.parametrize("augment", ["cpu", "device"])
@pytest.mark.parametrize(
    ("parameters", "most", "mean"),
    [
        (view(), 1, 0.05),
        (view(flip=True), 1, 0.05),
        (view(color_steps=(("brightness", 0.6),)), 1, 0.05),
        (view(color_steps=(("brightness", 1.4),)), 2, 0.05),
        (view(color_steps=(("contrast", 0.6),)), 1, 0.05),
        (view(color_steps=(("contrast", 1.4),)), 2, 0.05),
        (view(color_steps=(("saturation", 0.8),)), 2, 0.05),
        (view(color_steps=(("saturation", 1.2),)), 2, 0.05),
        (view(gray=True), 1, 0.05),
        # 127 stays and 128 becomes 127: where rounding differs by one, so does the result.
        (view(solarize=True), 1, 0.05),
        # Hue is held in 256 steps, saturation too: a step of hue is 255 * 6 / 256 = 6 levels of a full color. OpenCV
        # rounds where Pillow cuts off, in hue and in saturation.
        (view(color_steps=(("hue", 0.1),)), 14, 1.5),
        (view(color_steps=(("hue", -0.07),)), 14, 1.5),
        # Pillow rounds each of six box blurs, and OpenCV's weights have 8 bits.
        (view(blur_sigma=0.1), 3, 0.5),
        (view(blur_sigma=0.5), 4, 0.7),
    ],
)
def test_each_operation(scene, augment, parameters, most, mean):
    difference = np.abs(draw(augment, scene, parameters) - draw("pil", scene, parameters))
    assert difference.max() <= most
    assert difference.mean() <= mean


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_wide_blur(scene, sigma):
    reference = draw("pil", scene, view(blur_sigma=sigma))
    assert np.abs(draw("device", scene, view(blur_sigma=sigma)) - reference).max() <= 3
    fast = np.abs(draw("cpu", scene, view(blur_sigma=sigma)) - reference)
    # Pillow lets the border pixel go on before each of three box blurs, OpenCV once: it shows within 6 pixels.
    assert fast[6:-6, 6:-6].max() <= 3
    assert fast.mean() <= 0.7


@pytest.mark.parametrize(("augment", "mean"), [("cpu", 3.0), ("device", 1.0)])
@pytest.mark.parametrize("number", [0, 1])
def test_whole_views(augment, mean, number):
    rng = np.random.default_rng(number)
    image = _picture()
    for _ in range(20):
        parameters = sample_view(rng, PAPER, view=number, image_size=image.size)
        difference = np.abs(draw(augment, image, parameters) - draw("pil", image, parameters))
        # Solarizing turns a difference around 128 into its double at most; the mean is what a network sees.
        assert difference.mean() <= mean, parameters


def _picture() -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (10, 12, 3), np.uint8)
    return Image.fromarray(pixels).resize((240, 200), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("augment", ["pil", "cpu", "device"])
def test_workers_and_collation_change_nothing(images, tiny, augment):
    dataset = ImageViews(images, dataclasses.replace(tiny.stage1, augment=augment), seed=0)

    def batches(workers):
        sampler = StepSampler(len(images), batch_size=6, epochs=1, seed=0)
        return list(DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate))

    alone, together = batches(0), batches(2)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one["image_id"], other["image_id"])
        for name in ("view1", "view2"):
            assert torch.equal(finish(one[name]), finish(other[name]))
            assert finish(one[name]).shape == (6, 3, 32, 32)
    _, row = next(iter(StepSampler(len(images), batch_size=6, epochs=1, seed=0)))[0]
    single = dataset[0, row]["view1"]
    pixels, batched = ((v.pixels if augment == "device" else v) for v in (single, alone[0]["view1"]))
    assert torch.equal(pixels, batched[0])
