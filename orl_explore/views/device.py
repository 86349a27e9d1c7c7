"""The views of `views.py` for a whole batch at once, on any device, each image with parameters of its own.

Crops come from the workers; flips, colors, blur and solarization are done here, the same operations on the same whole
numbers as Pillow's. No step waits for the device, and none draws a random number.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from orl_explore.views.parameters import SOLARIZE_THRESHOLD, ViewParameters

COLOR_STEPS = ("brightness", "contrast", "saturation", "hue")
HUE = COLOR_STEPS.index("hue")
PART = 64
"""Images that a GPU works on at a time, so that little memory is needed beside the batch; a CPU, whose cache is small,
takes one after the other."""


class Crops(NamedTuple):
    """Views that still have to be distorted."""

    pixels: Tensor
    """uint8 (3, S, S), or (B, 3, S, S)."""
    distortions: Tensor
    """What `pack` gives, float32 (12,), or (B, 12)."""


def box_radius(sigma: float) -> float:
    """Radius of the box whose threefold blur has this standard deviation (Gwosdek et al. 2011, as Pillow does)."""
    variance = sigma * sigma / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    return whole + part


def pack(parameters: ViewParameters) -> Tensor:
    """All but the box of a view as float32 (12,).

    Flip, gray and solarize as 0 or 1; the radius of the blur's box, 0 without blur; four color steps by their place in
    `COLOR_STEPS` (-1: none), and their four factors.
    """
    steps = [COLOR_STEPS.index(name) for name, _ in parameters.color_steps]
    factors = [factor for _, factor in parameters.color_steps]
    missing = 4 - len(steps)
    radius = 0.0 if parameters.blur_sigma is None else box_radius(parameters.blur_sigma)
    switches = [parameters.flip, parameters.gray, parameters.solarize, radius]
    packed = [*switches, *steps, *[-1] * missing, *factors, *[1.0] * missing]
    return torch.from_numpy(np.array(packed, np.float32))  # four times as fast as torch.tensor


@torch.no_grad()
def distort(crops: Crops) -> Tensor:
    """Do to each crop what its parameters say: uint8 (B, 3, S, S), as `views.render_view` makes them."""
    with torch.autocast(crops.pixels.device.type, enabled=False):  # eight bits of bf16 are too few for pixels
        size = 1 if crops.pixels.device.type == "cpu" else PART
        parts = zip(crops.pixels.split(size), crops.distortions.split(size), strict=True)
        return torch.cat([_distort(pixels.float(), distortions) for pixels, distortions in parts])


def _distort(x: Tensor, distortions: Tensor) -> Tensor:
    flip, gray, solarize, radius = distortions[:, :4, None, None, None].unbind(1)  # (B, 1, 1, 1)
    x = torch.where(flip > 0, x.flip(3), x)  # (B, 3, S, S), whole numbers 0..255 throughout
    x = _color_steps(x, distortions[:, 4:8], distortions[:, 8:])
    x = torch.where(gray > 0, _luminance(x), x)
    x = _blur(x, radius[..., 0])
    x = torch.where((solarize > 0) & (x >= SOLARIZE_THRESHOLD), 255 - x, x)
    return x.to(torch.uint8)


def _color_steps(x: Tensor, steps: Tensor, factors: Tensor) -> Tensor:
    """Color steps in the order of each image: those before its change of hue, that one, and those after it."""
    places = torch.arange(4, device=x.device)
    is_hue = steps == HUE  # (B, 4)
    hue_at = torch.where(is_hue.any(1), (is_hue * places).sum(1), 4)[:, None]  # (B, 1)
    for place in range(3):  # at most three others come before it, and after it
        x = _blend(x, steps[:, place], torch.where(place < hue_at[:, 0], factors[:, place], 1))
    shift = torch.trunc((is_hue * factors).sum(1) * 255)  # (B,), Pillow's 256 hues
    x = torch.where(is_hue.any(1)[:, None, None, None], _shift_hue(x, shift[:, None, None]), x)
    for place in range(1, 4):
        x = _blend(x, steps[:, place], torch.where(place > hue_at[:, 0], factors[:, place], 1))
    return x


def _blend(x: Tensor, step: Tensor, factor: Tensor) -> Tensor:
    """Mix with black (brightness), the mean gray (contrast) or each pixel's gray (saturation); factor 1: x itself."""
    step, factor = step[:, None, None, None], factor[:, None, None, None]
    gray = _luminance(x)  # (B, 1, S, S)
    mean = torch.floor(gray.mean((1, 2, 3), keepdim=True) + 0.5)
    other = (step == 1) * mean + (step == 2) * gray
    return torch.floor((other + factor * (x - other)).clamp(0, 255))


def _luminance(x: Tensor) -> Tensor:
    red, green, blue = x.split(1, dim=1)
    return torch.floor((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536)  # exact in float32


def _shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` of 256 steps, (B, 1, 1), with hue and saturation held in 8 bits as in Pillow."""
    red, green, blue = x.unbind(1)  # (B, S, S)
    value, least = x.amax(1), x.amin(1)
    spread = value - least
    safe = spread.clamp(min=1)
    sixths = torch.where(
        red == value,
        (green - blue) / safe,
        torch.where(green == value, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = torch.floor((sixths / 6 + 1) % 1 * 255)
    saturation = torch.floor(spread / value.clamp(min=1) * 255) / 255
    sixths = (hue + shift) % 256 * 6 / 255
    place = (torch.tensor([5.0, 3.0, 1.0], device=x.device)[None, :, None, None] + sixths[:, None]) % 6
    share = torch.minimum(place, 4 - place).clamp(0, 1)  # (B, 3, S, S)
    return torch.floor(value[:, None] * (1 - saturation[:, None] * share) + 0.5)


def _blur(x: Tensor, radius: Tensor) -> Tensor:
    """Blur by three boxes along each axis, as one matrix per image; radius (B, 1, 1), 0 leaves the image as it is."""
    size = x.shape[-1]
    box = _box_matrix(radius, size)
    matrix = (box @ box @ box)[:, None]  # (B, 1, S, S)
    x = torch.floor(x @ matrix.mT + 0.5)
    return torch.floor(matrix @ x + 0.5).clamp(0, 255)


def _box_matrix(radius: Tensor, size: int) -> Tensor:
    """Means over 2 radius + 1 pixels, those at the ends counting in part; outside, the border pixel goes on."""
    whole = torch.floor(radius)
    inner, ends = 1 / (2 * radius + 1), (radius - whole) / (2 * radius + 1)
    places = torch.arange(size, device=radius.device, dtype=torch.float32)
    distance = (places[:, None] - places).abs()  # (S, S)
    matrix = inner * (distance <= whole) + ends * (distance == whole + 1)  # (B, S, S)
    # The border pixel stands for all beyond it: it gets the weights of its own distance and of every larger one.
    for column, border in ((0, places), (-1, places.flip(0))):
        matrix[:, :, column] = (inner * (whole + 1 - border).clamp(min=0) + ends * (border <= whole + 1))[:, 0]
    return matrix
