"""Views for tests: parameters that do nothing but what is named, and each way to draw them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from orl_explore.settings import ViewSettings
from orl_explore.views.parameters import ViewParameters
from orl_explore.views.renderers import RENDERERS, collate, finish

PAPER = ViewSettings()
WHOLE = (0, 0, 8, 8)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def plain(box: tuple[int, int, int, int], **distortions) -> ViewParameters:
    """A view that only crops, but for what is named."""
    nothing = {"flip": False, "color_steps": (), "gray": False, "blur_sigma": None, "solarize": False}
    return ViewParameters(box, **{**nothing, **distortions})


PIXELS = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)  # 0 .. 191


SIZE = 64
BOX = (7, 5, 120, 100)


def view(**distortions) -> ViewParameters:
    nothing = {"flip": False, "color_steps": (), "gray": False, "blur_sigma": None, "solarize": False}
    return ViewParameters(BOX, **{**nothing, **distortions})


def draw(augment: str, image: Image.Image, parameters: ViewParameters, size: int = SIZE) -> np.ndarray:
    source = image if augment == "pil" else np.array(image)
    drawn = collate([{"view": RENDERERS[augment].draw(source, parameters, size)}])["view"]
    return finish(drawn)[0].permute(1, 2, 0).numpy().astype(int)
