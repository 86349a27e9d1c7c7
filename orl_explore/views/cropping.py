"""Crops for encoders: Pillow's crop and resize on arrays, to within one gray level, in a third of the time."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from orl_explore.settings import InputSettings
from orl_explore.views.parameters import Box
from orl_explore.views.tensors import IMAGENET

Pixels = NDArray[np.uint8]
"""An RGB image, uint8 (H, W, 3)."""


RESAMPLING: Final = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def crop_pixels(pixels: Pixels, box: Box, size: int, interpolation: str = "bilinear") -> Pixels:
    """Crop an xywh box and resize it to (size, size, 3): antialiased, nothing outside the box is read."""
    x, y, w, h = box
    # One image, channels last: torch's fastest way in, and no other memory than its own.
    crop = torch.from_numpy(np.ascontiguousarray(pixels[None, y : y + h, x : x + w])).permute(0, 3, 1, 2)
    resized = functional.interpolate(crop, (size, size), mode=interpolation, antialias=True)  # (1, 3, size, size)
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy()[0])


def fade_outside(
    pixels: Pixels, box: Box, mask: NDArray[np.bool_], strength: float, color: tuple[float, float, float]
) -> Pixels:
    """Cut an xywh box out and fade what lies outside a mask: uint8 (h, w, 3).

    Args:
        pixels: the image.
        box: xywh, pixels.
        mask: (H, W) of the image, true on the object.
        strength: 0 leaves everything as it is, 1 leaves a single color outside.
        color: that color, shares of 255.
    """
    x, y, w, h = box
    crop = pixels[y : y + h, x : x + w].copy()
    outside = ~mask[y : y + h, x : x + w]
    faded = crop[outside] * (1 - strength) + np.array(color) * 255 * strength
    crop[outside] = np.rint(faded).astype(np.uint8)
    return crop


def crop_image(image: Image.Image, box: Box, size: int, interpolation: str = "bilinear") -> Image.Image:
    """Crop an xywh box and resize it to size x size (antialiased; nothing outside the box is read)."""
    x, y, w, h = box
    return image.crop((x, y, x + w, y + h)).resize((size, size), RESAMPLING[interpolation])


def center_view(image: Image.Image, size: int, inputs: InputSettings = IMAGENET) -> Image.Image:
    """The view for embedding a whole image: resized, and its center cut out, size x size.

    Args:
        image: RGB.
        size: side of the view, pixels; `inputs.size` is not looked at.
        inputs: the encoder's; by default, the shorter side is resized to size * 256/224.
    """
    width, height = _resized(image.size, size, inputs)
    resized = image.resize((width, height), RESAMPLING[inputs.interpolation])
    left, top = _margin(width - size, inputs), _margin(height - size, inputs)
    if width >= size and height >= size:
        return resized.crop((left, top, left + size, top + size))
    red, green, blue = (round(255 * value) for value in inputs.mean)
    view = Image.new("RGB", (size, size), (red, green, blue))
    view.paste(resized, (-left, -top))
    return view


def squeezed_view(image: Image.Image, size: int, inputs: InputSettings = IMAGENET) -> Image.Image:
    """The view of VOC07 classification: resized as for the center view, then all of it to size x size."""
    resample = RESAMPLING[inputs.interpolation]
    return image.resize(_resized(image.size, size, inputs), resample).resize((size, size), resample)


def _resized(sides: tuple[int, int], size: int, inputs: InputSettings) -> tuple[int, int]:
    """Width and height that an image of these sides is resized to."""
    down = inputs.rounding == "down"
    target = math.floor(size / inputs.crop + 1e-6) if down else round(size / inputs.crop)  # 224 / (224 / 232) is 232
    if inputs.crop_mode == "squash":
        return target, target
    fitted = max(sides) if inputs.crop_mode == "border" else min(sides)
    if inputs.crop_mode == "border":
        width, height = (max(1, round(side * target / fitted)) for side in sides)
    elif down:
        width, height = (target * side // fitted for side in sides)
    else:
        scale = target / fitted
        width, height = (max(size, round(side * scale)) for side in sides)
    return width, height


def _margin(excess: int, inputs: InputSettings) -> int:
    """Pixels left of, or above, the view; below 0 where the image does not fill it."""
    return excess // 2 if inputs.rounding == "nearest" else round(excess / 2) if excess > 0 else -(-excess // 2)
