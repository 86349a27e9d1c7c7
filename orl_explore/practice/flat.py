"""Scenes of flat objects on faint backgrounds: the disguised drawings, and cut-out photographs.

Objects are laid anywhere and turned by any angle.
"""

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from orl_explore.practice.contexts import Color, Context, FloatImage, Photographs, make_background
from orl_explore.practice.placing import MAX_OUTSIDE, MIN_VISIBLE, Placed, SceneObject, mask_at, may_cover, windows
from orl_explore.practice.shapes import Sprite

OWN_SHARE = 0.9  # of the objects are of the context's own categories
MAX_ANGLE = 180.0  # degrees either way: a pooled feature of one orientation must not give the category away
SIDES = (0.50, 0.72)  # longer side of an object, in image sides
MIN_CONTRAST = 45.0  # distance of an object's color from the background's, in CIE Lab


class FlatObjects(Protocol):
    """Where a scene's objects come from: `DrawnObjects` or `CutOuts`."""

    categories: tuple[str, ...]
    contexts: tuple[Context, ...]
    skipped: list[str]

    def choose(self, category: str, rng: np.random.Generator) -> str:
        """Return the name of one instance of the category, among those of the chosen part."""

    def color(self, name: str) -> Color:
        """Return the instance's color, RGB in 0..1."""

    def sprite(self, name: str, *, side: int, angle: float, flip: bool, light: float) -> Sprite:
        """Return the instance's picture, its longer side `side` pixels."""


def compose(
    rng: np.random.Generator, place: Context, objects: FlatObjects, *, size: int, photographs: Photographs | None
) -> tuple[NDArray[np.uint8], list[SceneObject]]:
    """Return one scene, uint8 (size, size, 3) RGB, and its 2 to 5 objects from back to front."""
    canvas, backdrop = make_background(place, rng, size, photographs)
    light = rng.uniform(200, 340)  # degrees on screen: from above
    wanted = int(rng.integers(2, 6))
    placed: list[Placed] = []
    for attempt in range(60):
        if len(placed) == wanted or (attempt >= 30 and len(placed) >= 2):
            break
        choices = place.categories if rng.random() < OWN_SHARE else objects.categories
        category = choices[int(rng.integers(len(choices)))]
        instance = _choose_instance(objects, category, rng, backdrop)
        # Many objects are smaller than few, and all shrink to the least when they do not fit.
        largest = float(np.interp(wanted, [2, 5], [SIDES[1], 0.56]))
        smallest = float(np.interp(wanted, [2, 5], [0.56, SIDES[0]])) if attempt < 15 else SIDES[0]
        sprite = objects.sprite(
            instance,
            side=round(size * rng.uniform(smallest, largest if attempt < 30 else SIDES[0])),
            angle=rng.uniform(-MAX_ANGLE, MAX_ANGLE),
            flip=bool(rng.random() < 0.5),
            light=light,
        )
        for _ in range(8):
            left, top = _position(sprite, rng, size)
            mask, area = mask_at(sprite, left, top, size)
            if mask.sum() >= MIN_VISIBLE * area and all(may_cover(mask, other) for other in placed):
                for other in placed:
                    other.mask = other.mask & ~mask
                placed.append(Placed(category, instance, mask, area))
                _paste(canvas, sprite, left, top, light=light)
                break
    image = np.rint(255 * canvas).astype(np.uint8)
    return image, [thing.seen() for thing in placed]


def _choose_instance(objects: FlatObjects, category: str, rng: np.random.Generator, backdrop: Color) -> str:
    """Return an instance that stands out from the background's color; the best of a few where none does."""
    names = [objects.choose(category, rng) for _ in range(6)]
    colors = np.array([backdrop] + [objects.color(name) for name in names], np.float32)
    lab = cv2.cvtColor(colors[None], cv2.COLOR_RGB2Lab)[0]  # (7, 3)
    distance = np.linalg.norm(lab[1:] - lab[0], axis=1)
    return names[int(np.argmax(distance.clip(max=MIN_CONTRAST)))]  # the first that is far enough


def _position(sprite: Sprite, rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Return a random left and top of the sprite in the picture."""
    height, width = sprite.alpha.shape
    over_x, over_y = int(MAX_OUTSIDE * width), int(MAX_OUTSIDE * height)
    left = int(rng.integers(-over_x, size - width + over_x + 1))
    top = int(rng.integers(-over_y, size - height + over_y + 1))
    return left, top


def _paste(canvas: FloatImage, sprite: Sprite, left: int, top: int, *, light: float) -> None:
    """Lay a sprite and its soft shadow over the canvas, in place."""
    reach = max(sprite.alpha.shape)
    blur, throw = 0.035 * reach, 0.045 * reach
    pad = int(3 * blur + throw) + 1
    alpha = cv2.copyMakeBorder(sprite.alpha, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
    away = -throw * np.array([np.cos(np.radians(light)), np.sin(np.radians(light))])
    shadow = cv2.warpAffine(
        cv2.GaussianBlur(alpha, (0, 0), blur), np.column_stack([np.eye(2), away]), alpha.shape[::-1]
    )
    picture, inside = windows(left - pad, top - pad, alpha.shape, canvas.shape[0])
    canvas[picture] *= 1 - 0.3 * shadow[inside][..., None]
    picture, inside = windows(left, top, sprite.alpha.shape, canvas.shape[0])
    canvas[picture] += sprite.alpha[inside][..., None] * (sprite.rgb[inside] - canvas[picture])
