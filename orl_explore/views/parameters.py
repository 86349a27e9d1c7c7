"""The random views of an image that both networks compare (paper section 3.1, BYOL's augmentations).

A view is drawn in two steps: `sample_view` takes the random numbers from an explicit generator and returns plain
parameters; `render_view` applies them and is deterministic. So a view can be stored, shown and drawn again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from orl_explore.settings import ViewSettings

SOLARIZE_THRESHOLD = 128

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ViewParameters:
    """One view, fully decided."""

    box: Box
    """Part of the image that the view shows, xywh in pixels."""
    flip: bool
    color_steps: tuple[tuple[str, float], ...]
    """Color operations in the order applied, each with its factor; empty when colors are left alone."""
    gray: bool
    blur_sigma: float | None
    solarize: bool


def random_crop(
    rng: np.random.Generator, width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Box:
    """Draw the box of a random resized crop: area and log-aspect uniform, ten tries, else the largest center crop."""
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(*log_ratio))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1)), w, h
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (width - w) // 2, (height - h) // 2, w, h


def sample_view(
    rng: np.random.Generator,
    settings: ViewSettings,
    *,
    view: int,
    image_size: tuple[int, int] | None = None,
    box: Box | None = None,
) -> ViewParameters:
    """Draw the parameters of one view.

    Args:
        rng: source of all randomness of this view.
        settings: strength of the distortions.
        view: 0 for the settings of view 1, 1 for those of view 2.
        image_size: (width, height) of the image, for a random crop of it; leave out when `box` is given.
        box: a region to show as it is (stage 3's patches skip the random crop).
    """
    if box is None:
        if image_size is None:
            raise ValueError("sample_view needs image_size or box")
        box = random_crop(rng, *image_size, settings.crop_scale, settings.crop_ratio)
    flip = rng.random() < settings.flip
    color_steps: tuple[tuple[str, float], ...] = ()
    if rng.random() < settings.color_jitter:
        ranges = settings.color_ranges
        order, shares = rng.permutation(len(ranges)).tolist(), rng.random(len(ranges)).tolist()
        steps = ((ranges[place], share) for place, share in zip(order, shares, strict=True))
        color_steps = tuple((name, low + width * share) for (name, low, width), share in steps)
    gray = rng.random() < settings.gray
    blur_sigma = float(rng.uniform(*settings.blur_sigma)) if rng.random() < settings.blur[view] else None
    solarize = rng.random() < settings.solarize[view]
    return ViewParameters(box, bool(flip), color_steps, bool(gray), blur_sigma, bool(solarize))
