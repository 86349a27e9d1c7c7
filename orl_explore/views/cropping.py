"""Pillow's crop and resize on arrays, to within one gray level, in a third of the time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from orl_explore.views.parameters import Box

Pixels = NDArray[np.uint8]
"""An RGB image, uint8 (H, W, 3)."""


def crop_pixels(pixels: Pixels, box: Box, size: int) -> Pixels:
    """Crop an xywh box and resize it to (size, size, 3): bilinear, antialiased, nothing outside the box is read."""
    x, y, w, h = box
    # One image, channels last: torch's fastest way in, and no other memory than its own.
    crop = torch.from_numpy(np.ascontiguousarray(pixels[None, y : y + h, x : x + w])).permute(0, 3, 1, 2)
    resized = functional.interpolate(crop, (size, size), mode="bilinear", antialias=True)  # (1, 3, size, size)
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy()[0])


def crop_image(image: Image.Image, box: Box, size: int) -> Image.Image:
    """Crop an xywh box and resize it to size x size (bilinear, antialiased; nothing outside the box is read)."""
    x, y, w, h = box
    return image.crop((x, y, x + w, y + h)).resize((size, size), Image.Resampling.BILINEAR)


def center_view(image: Image.Image, size: int) -> Image.Image:
    """The view for embedding a whole image: shorter side to size * 256/224, center crop of size x size."""
    resized = _shorter_side(image, size)
    left, top = (resized.width - size) // 2, (resized.height - size) // 2
    return resized.crop((left, top, left + size, top + size))


def squeezed_view(image: Image.Image, size: int) -> Image.Image:
    """The view of VOC07 classification: shorter side to size * 256/224, then all of it to size x size."""
    return _shorter_side(image, size).resize((size, size), Image.Resampling.BILINEAR)


def _shorter_side(image: Image.Image, size: int) -> Image.Image:
    scale = round(size * 256 / 224) / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)
