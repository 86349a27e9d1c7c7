"""The views of `views.py` again, on arrays: torch resizes, OpenCV does the colors and the blur.

`views.render_view` is the reference, and easier to read. This gives its pictures to within rounding in a fifth of the
time; `tests/views/test_renderers.py` says how close, operation by operation.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from orl_explore.views.cropping import Pixels, crop_pixels
from orl_explore.views.device import box_radius
from orl_explore.views.parameters import SOLARIZE_THRESHOLD, ViewParameters

_LEVELS = np.arange(256, dtype=np.float32)
_SOLARIZED = np.where(_LEVELS < SOLARIZE_THRESHOLD, _LEVELS, 255 - _LEVELS).astype(np.uint8)
_TRUNCATE = -0.498
"""Makes OpenCV's rounding of a blend the truncation that Pillow does."""


def render_view(pixels: Pixels, parameters: ViewParameters, size: int) -> Pixels:
    """Apply a view's parameters to an RGB image (H, W, 3); returns (size, size, 3)."""
    view: Any = crop_pixels(pixels, parameters.box, size)
    if parameters.flip:
        view = cv2.flip(view, 1)
    for name, factor in parameters.color_steps:
        view = _COLOR_STEPS[name](view, factor)
    if parameters.gray:
        view = _gray(view)
    if parameters.blur_sigma is not None:
        kernel = blur_kernel(parameters.blur_sigma)
        view = cv2.sepFilter2D(view, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    if parameters.solarize:
        view = cv2.LUT(view, _SOLARIZED)
    return view


def _brightness(view: Pixels, factor: float) -> Any:
    return cv2.LUT(view, _blended_with(0, factor))


def _contrast(view: Pixels, factor: float) -> Any:
    mean = int(cv2.mean(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return cv2.LUT(view, _blended_with(mean, factor))


def _saturation(view: Pixels, factor: float) -> Any:
    return cv2.addWeighted(_gray(view), 1 - factor, view, factor, _TRUNCATE)


def _hue(view: Pixels, shift: float) -> Any:
    hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(int(shift * 255) % 256)  # hues are held in 256 steps, and go round
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


_COLOR_STEPS = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue}


def _gray(view: Pixels) -> Any:
    return cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _blended_with(level: int, factor: float) -> NDArray[np.uint8]:
    """What level + factor (value - level) makes of each of 256 values, truncated and clipped."""
    return np.clip(level + np.float32(factor) * (_LEVELS - level), 0, 255).astype(np.uint8)


def blur_kernel(sigma: float) -> NDArray[np.float32]:
    """Pillow's Gaussian blur along one axis: a box, whose ends count in part, three times over."""
    radius = box_radius(sigma)
    whole = math.floor(radius)
    box = np.ones(2 * whole + 3)
    box[[0, -1]] = radius - whole
    box /= box.sum()
    return np.convolve(np.convolve(box, box), box).astype(np.float32)
