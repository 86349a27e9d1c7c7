"""The random views of an image that both networks compare (paper section 3.1, BYOL's augmentations).

A view is drawn in two steps: `sample_view` takes the random numbers from an explicit generator and returns plain
parameters; `render_view` applies them and is deterministic. So a view can be stored, shown and drawn again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms.v2 import functional as tvf

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SOLARIZE_THRESHOLD = 128

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ViewSettings:
    """How strongly views are distorted; the defaults are the paper's, for images of 224 px."""

    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Share of the image area that a random crop covers (least, most)."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Aspect ratio w/h of a random crop (least, most)."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    color_jitter: float = 0.8
    """Probability that brightness, contrast, saturation and hue are jittered."""
    brightness: float = 0.4
    """Brightness factor is drawn from 1 -+ this."""
    contrast: float = 0.4
    """Contrast factor is drawn from 1 -+ this."""
    saturation: float = 0.2
    """Saturation factor is drawn from 1 -+ this."""
    hue: float = 0.1
    """Hue shift is drawn from -+ this, as a share of the color circle."""
    gray: float = 0.2
    """Probability that all color is removed."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Standard deviation of the Gaussian blur, in pixels of the view."""
    blur: tuple[float, float] = (1.0, 0.1)
    """Probability of blur in view 1 and in view 2."""
    solarize: tuple[float, float] = (0.0, 0.2)
    """Probability of solarization in view 1 and in view 2."""

    @cached_property
    def color_ranges(self) -> tuple[tuple[str, float, float], ...]:
        """The color operations, each with the least value of its factor and the width of its range."""
        around_1 = (("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation))
        ranges = [(name, 1 - value, 1 + value) for name, value in around_1] + [("hue", -self.hue, self.hue)]
        return tuple((name, low, high - low) for name, low, high in ranges)


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


_COLOR_STEPS = {
    "brightness": tvf.adjust_brightness,
    "contrast": tvf.adjust_contrast,
    "saturation": tvf.adjust_saturation,
    "hue": tvf.adjust_hue,
}


def crop_image(image: Image.Image, box: Box, size: int) -> Image.Image:
    """Crop an xywh box and resize it to size x size (bilinear, antialiased; nothing outside the box is read)."""
    x, y, w, h = box
    return image.crop((x, y, x + w, y + h)).resize((size, size), Image.Resampling.BILINEAR)


def render_view(image: Image.Image, parameters: ViewParameters, size: int) -> Image.Image:
    """Apply a view's parameters to an RGB image; returns an RGB image of size x size."""
    view = crop_image(image, parameters.box, size)
    if parameters.flip:
        view = ImageOps.mirror(view)
    for name, factor in parameters.color_steps:
        view = _COLOR_STEPS[name](view, factor)
    if parameters.gray:
        view = ImageOps.grayscale(view).convert("RGB")
    if parameters.blur_sigma is not None:
        view = view.filter(ImageFilter.GaussianBlur(parameters.blur_sigma))
    if parameters.solarize:
        view = ImageOps.solarize(view, SOLARIZE_THRESHOLD)
    return view


def to_tensor(image: Image.Image) -> torch.Tensor:
    """RGB image -> uint8 tensor (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def normalize(images: torch.Tensor) -> torch.Tensor:
    """uint8 (B, 3, H, W) -> float32, channels last, with ImageNet's mean and standard deviation removed."""
    images = images.to(torch.float32, memory_format=torch.channels_last)
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1) * 255
    return (images - mean) / std


def center_view(image: Image.Image, size: int) -> Image.Image:
    """The view for embedding a whole image: shorter side to size * 256/224, center crop of size x size."""
    width, height = image.size
    shorter = round(size * 256 / 224)
    scale = shorter / min(width, height)
    resized = image.resize(
        (max(size, round(width * scale)), max(size, round(height * scale))), Image.Resampling.BILINEAR
    )
    left, top = (resized.width - size) // 2, (resized.height - size) // 2
    return resized.crop((left, top, left + size, top + size))
