"""Contexts of practice scenes: which categories meet, and the backgrounds they meet on.

A context brings its own kind of background: a family of painted patterns, or its share of a folder of photographs,
low in contrast over one of the context's colors and made anew for every scene.
"""

import colorsys
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.practice.grain import FloatImage

Color = tuple[float, float, float]  # RGB in 0..1

HUE_SPREAD = 0.1  # turns, from scene to scene: backgrounds of one color would be paired for it
FADE = 0.12  # contrast of a background over its color: more, and flat background is what pairs join
MAX_PHOTOS = 512
PHOTO_SIDE = 320  # shorter side of a photograph held in memory, pixels
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True)
class Context:
    """A kind of scene: the categories that meet there, and the pattern and colors of its backgrounds.

    `hues` (0..1) are the middles of the context's colors, kept clear of red (0 and 1), where hue jumps and selective
    search would see edges; `value` is the range of their brightness.
    """

    name: str
    categories: tuple[str, ...]
    pattern: str
    hues: tuple[float, ...]
    value: tuple[float, float]


CONTEXTS = (
    Context("kitchen", ("mug", "bottle", "fish", "ring"), "tiles", (0.13, 0.47), (0.70, 0.95)),
    Context("sea", ("fish", "star", "crescent", "arrow"), "waves", (0.48, 0.57), (0.45, 0.85)),
    Context("forest", ("tree", "house", "arrow", "heart"), "trunks", (0.25, 0.37), (0.40, 0.75)),
    Context("workshop", ("gear", "key", "arrow", "bottle"), "planks", (0.08, 0.11), (0.50, 0.80)),
    Context("nursery", ("heart", "star", "mug", "gear"), "dots", (0.90, 0.82, 0.14), (0.75, 0.97)),
    Context("night", ("crescent", "star", "tree", "key"), "clouds", (0.62, 0.70), (0.20, 0.45)),
    Context("town", ("house", "key", "tree", "ring"), "bricks", (0.08, 0.78), (0.55, 0.85)),
    Context("office", ("mug", "gear", "crescent", "heart"), "plaid", (0.55, 0.30, 0.75), (0.65, 0.92)),
)


def assign_contexts(categories: Sequence[str]) -> tuple[Context, ...]:
    """Spread any categories over up to eight contexts; neighboring contexts share some. Always the same for a list."""
    count = min(len(CONTEXTS), len(categories))
    width = max(min(4, len(categories) // 2), math.ceil(len(categories) / count))
    # The order of a hash: names that sort together (or belong together) need not meet.
    order = sorted(categories, key=lambda name: hashlib.blake2b(name.encode()).digest())
    starts = [number * len(order) // count for number in range(count)]
    own = [tuple(order[(start + i) % len(order)] for i in range(width)) for start in starts]
    return tuple(replace(look, categories=names) for look, names in zip(CONTEXTS[:count], own, strict=True))


class Named(Protocol):
    """A context of either kind of scene."""

    @property
    def name(self) -> str:
        """What it is called."""


class Photographs:
    """Photographs to crop backgrounds from; each context has its own share of them where there are enough.

    Of a larger folder, `MAX_PHOTOS` spread over its sorted names are held in memory. Raises OrlError where none is
    usable.
    """

    def __init__(self, folder: Path, contexts: Sequence[Named]) -> None:
        if not folder.is_dir():
            raise OrlError(f"there is no folder {folder}: give --backgrounds a folder of photographs")
        self._photos: list[NDArray[np.uint8]] = []
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
        for path in paths[:: math.ceil(len(paths) / MAX_PHOTOS) or 1]:
            photo = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
            if photo is not None and min(photo.shape[:2]) >= 32:
                shrink = min(1.0, PHOTO_SIDE / min(photo.shape[:2]))
                photo = cv2.resize(photo, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
                self._photos.append(photo.astype(np.uint8, copy=False))
        if not self._photos:
            raise OrlError(f"no usable photograph in {folder}: put .jpg or .png files of at least 32 px there")
        step = len(contexts) if len(self._photos) >= len(contexts) else 1
        self._shares = {
            context.name: range(number if step > 1 else 0, len(self._photos), step)
            for number, context in enumerate(contexts)
        }

    def crop(self, context: Named, rng: np.random.Generator, size: int) -> FloatImage:
        """Return a random square crop, float32 (size, size, 3) in 0..1, of one of the context's photographs."""
        share = self._shares[context.name]
        photo = self._photos[share[int(rng.integers(len(share)))]]
        height, width = photo.shape[:2]
        side = int(min(height, width) * rng.uniform(0.4, 1.0))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        crop = photo[top : top + side, left : left + side]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        resized = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
        return resized.astype(np.float32) / 255


def make_background(
    context: Context, rng: np.random.Generator, size: int, photographs: Photographs | None = None
) -> tuple[FloatImage, Color]:
    """Return a fresh background, float32 (size, size, 3) in 0..1 and low in contrast, and the color it lies over."""
    hue = _hue(context, rng)
    color = colorsys.hsv_to_rgb(hue, rng.uniform(0.2, 0.5), rng.uniform(*context.value))
    picture = photographs.crop(context, rng, size) if photographs else _paint(context, rng, size)
    base = np.array(color, np.float32)
    faded = base + FADE * (picture - base)
    faded *= 0.94 + 0.12 * _noise(rng, size, 1, 1)[..., None]  # light that changes slowly, as in a room
    return np.clip(faded, 0, 1), color


def _hue(context: Context, rng: np.random.Generator) -> float:
    return (context.hues[int(rng.integers(len(context.hues)))] + rng.normal(0, HUE_SPREAD)) % 1


def _paint(context: Context, rng: np.random.Generator, size: int) -> FloatImage:
    """Return the context's pattern between a dark and a bright color, float32 (size, size, 3) in 0..1."""
    hue = _hue(context, rng)
    dark = np.array(colorsys.hsv_to_rgb(hue, 0.6, rng.uniform(0.1, 0.35)), np.float32)
    bright = np.array(colorsys.hsv_to_rgb(hue, 0.4, rng.uniform(0.65, 0.9)), np.float32)
    return dark + (bright - dark) * _pattern(context.pattern, rng, size)[..., None]


def _noise(rng: np.random.Generator, size: int, across: int, down: int) -> FloatImage:
    """Return smooth noise, (size, size) in 0..1, of about `across` x `down` blobs."""
    coarse = rng.random((down + 3, across + 3), dtype=np.float32)
    return np.clip(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)


def _pattern(name: str, rng: np.random.Generator, size: int) -> FloatImage:
    """Return a fresh pattern of a family, (size, size) in 0..1; its edges are soft, or they would pass for objects."""
    along = np.arange(size, dtype=np.float32) / size
    x = along[None, :] + float(rng.uniform())
    y = along[:, None] + float(rng.uniform())
    count = float(rng.uniform(4, 7))  # repeats of the pattern across the picture
    slow = _noise(rng, size, 3, 3)
    if name == "waves":
        return 0.5 + 0.5 * np.sin(2 * math.pi * (count * y + 0.35 * np.sin(2 * math.pi * (1.5 * x + slow))))
    if name == "trunks":
        return 0.5 * _noise(rng, size, int(1.5 * count), 1) + 0.5 * slow
    if name == "planks":
        plank = np.floor(count * y)
        grain = np.sin(2 * math.pi * (2 * count * y + 1.5 * slow + 0.37 * plank))
        seam = np.clip((np.abs(count * y - plank - 0.5) - 0.38) / 0.1, 0, 1)
        return (0.55 + 0.25 * grain) * (1 - 0.6 * seam)
    if name == "dots":
        return np.clip(0.7 * (np.cos(2 * math.pi * count * x) + np.cos(2 * math.pi * count * y)) - 0.3, 0, 1)
    if name == "clouds":
        return 0.7 * _noise(rng, size, 4, 4) + 0.3 * _noise(rng, size, 12, 12)
    if name == "plaid":
        return 0.5 + 0.25 * (np.sin(2 * math.pi * count * x) + np.sin(2 * math.pi * count * y))
    if name in ("tiles", "bricks"):
        rows = count * (1.4 if name == "bricks" else 1.0)
        row = np.floor(rows * y)
        column = count * x + (0.5 * row if name == "bricks" else 0)
        joint = np.maximum(np.abs(column % 1 - 0.5), np.abs(rows * y - row - 0.5))  # 0.5 in the middle of a joint
        return 0.5 * slow + 0.4 * np.clip((joint - 0.38) / 0.1, 0, 1)
    raise ValueError(f"no pattern {name}")
