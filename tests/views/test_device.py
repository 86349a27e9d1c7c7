"""Drawing on the device: against Pillow, each image of a batch with its own parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orl_explore.views.device import PART, Crops, distort, pack
from orl_explore.views.parameters import sample_view
from orl_explore.views.renderers import RENDERERS, collate
from view_parts import PAPER, SIZE, draw, view


def test_hue_on_the_device_is_pillows(scene):
    difference = np.abs(
        draw("device", scene, view(color_steps=(("hue", 0.1),))) - draw("pil", scene, view(color_steps=(("hue", 0.1),)))
    )
    assert (difference > 1).mean() < 0.02  # where a value falls between two of the 256 hues
    assert difference.mean() < 0.05


def test_the_device_draws_each_image_with_its_own_parameters(scene):
    rng = np.random.default_rng(0)
    sampled = [sample_view(rng, PAPER, view=n % 2, image_size=scene.size) for n in range(PART + 5)]  # two parts
    batch = collate([{"view": RENDERERS["device"].draw(np.array(scene), p, 32)} for p in sampled])["view"]
    together = distort(batch)
    for n in (0, 1, 7, PART - 1, PART, PART + 4):
        alone = distort(Crops(batch.pixels[n : n + 1], batch.distortions[n : n + 1]))
        # A sum in another order may round the other way.
        assert (together[n].int() - alone[0].int()).abs().max() <= 1


def test_packed_parameters_by_hand():
    steps = (("hue", -0.05), ("contrast", 0.75), ("brightness", 1.25), ("saturation", 1.0))
    parameters = view(flip=True, solarize=True, color_steps=steps)
    assert pack(parameters).tolist() == pytest.approx([1, 0, 1, 0, 3, 1, 0, 2, -0.05, 0.75, 1.25, 1.0])
    assert pack(view()).tolist() == [0, 0, 0, 0, -1, -1, -1, -1, 1, 1, 1, 1]


@pytest.mark.parametrize("size", [8, 33])
def test_nothing_to_do_changes_nothing(scene, size):
    batch = collate([{"view": RENDERERS["device"].draw(np.array(scene), view(), size)}])["view"]
    assert torch.equal(distort(batch), batch.pixels)


def test_bf16_training_does_not_touch_the_pixels(scene):
    batch = collate([{"view": RENDERERS["device"].draw(np.array(scene), view(blur_sigma=1.0), SIZE)}])["view"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(distort(batch), distort(batch))
        mixed = distort(batch)
    assert torch.equal(mixed, distort(batch))


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_gpu
def test_views_on_the_gpu_are_those_of_the_cpu(scene):
    rng = np.random.default_rng(0)
    sampled = [sample_view(rng, PAPER, view=n % 2, image_size=scene.size) for n in range(40)]
    batch = collate([{"view": RENDERERS["device"].draw(np.array(scene), p, SIZE)} for p in sampled])["view"]
    difference = (distort(Crops(*(t.cuda() for t in batch))).cpu().int() - distort(batch).int()).abs()
    # A division or a sum that rounds the other way moves a pixel to the next hue: six levels of a full color.
    assert (difference > 1).float().mean() < 1e-3
    assert difference.max() <= 14
