"""Scenes as photographs show them: things that stand on a ground or float, near and far, with shadows, in one light."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from orl_explore.practice.categories import CATEGORIES, CLUTTER, INSTANCES, Category, instance
from orl_explore.practice.contexts import FloatImage, Photographs
from orl_explore.practice.grain import smooth
from orl_explore.practice.placing import (
    MAX_OUTSIDE,
    MIN_VISIBLE,
    Mask,
    Placed,
    SceneObject,
    mask_at,
    may_cover,
    windows,
)
from orl_explore.practice.rendering import Light, light_up
from orl_explore.practice.scenery import PLACES, Place, paint
from orl_explore.practice.shapes import Part, Sprite, split_instances

OWN_SHARE = 0.95  # of the objects are of the place's own categories
CLUTTER_INSTANCES = 8
COUNTS = (2, 2, 3, 3, 4, 5)  # of objects that a scene is meant to have, each as likely
LARGEST = 0.8  # longer side of a thing, in sides of the scene
BLUR = (0.008, 0.016)  # of the surroundings: standard deviation in sides of the scene
SATURATION = (0.9, 1.15)  # of the surroundings, of what was painted
CONTRAST = (0.4, 0.65)
WARMTH = 0.06  # of the light: standard deviation of how much redder, and less blue, than white
STRENGTH = (0.75, 1.12)
EXPOSURE = 0.04  # of the camera: standard deviation of brightness
STEEPNESS = (0.75, 1.15)  # contrast that the camera gives
UNLIT_SIDES = (64, 256)  # least and most pixels of a thing's unlit picture


class Things:
    """The built-in things of practice scenes: `instances` of every category, named "category/number".

    `size` is the side of the scenes in pixels, to which the pictures of things are fitted.
    """

    def __init__(
        self, *, size: int = 160, instances: int = INSTANCES, holdout: float = 0.0, part: Part = "all"
    ) -> None:
        self.categories = tuple(CATEGORIES)
        self.contexts: tuple[Place, ...] = PLACES
        self.skipped: list[str] = []
        self.side = int(np.clip(round(0.8 * size), *UNLIT_SIDES))
        self._numbers = split_instances([f"{number:03d}" for number in range(instances)], holdout=holdout, part=part)

    def choose(self, category: str, rng: np.random.Generator) -> str:
        """Return the name of one instance of the category."""
        return f"{category}/{self._numbers[int(rng.integers(len(self._numbers)))]}"


@dataclass
class _Standing:
    """A thing that has a place: its picture at (left, top), its `foot` on the ground (pixels from the top).

    `whole` is its mask were nothing before it; `placed` has what of it is seen.
    """

    sprite: Sprite
    left: int
    top: int
    foot: float
    floats: bool
    whole: Mask
    placed: Placed


def compose(
    rng: np.random.Generator, place: Place, things: Things, *, size: int, photographs: Photographs | None = None
) -> tuple[NDArray[np.uint8], list[SceneObject]]:
    """Return one scene, uint8 (size, size, 3) RGB, and its 2 to 5 objects from back to front; clutter is none."""
    if photographs:
        canvas, horizon = photographs.crop(place, rng, size), rng.uniform(*place.horizon)
    else:
        canvas, horizon = paint(place, rng, size)
    light = Light(
        angle=rng.uniform(205, 335),  # degrees on screen: from above
        color=_tint(rng),
        ambient=rng.uniform(0.45, 0.65),
    )
    canvas = _behind(canvas, rng) * np.array(light.color, np.float32)
    wanted = int(rng.choice(COUNTS))
    crowd = float(np.interp(wanted, [2, 5], [1.4, 1.05]))
    row: list[_Standing] = []
    for attempt in range(60):
        if len(row) == wanted or (attempt >= 30 and len(row) >= 2):
            break
        choices = place.categories if rng.random() < OWN_SHARE else things.categories
        category = choices[int(rng.integers(len(choices)))]
        scale = crowd if attempt < 15 else 0.95
        _stand(
            row, CATEGORIES[category], category, things.choose(category, rng), rng, horizon, light, scale, size, things
        )
    objects = {id(standing) for standing in row}
    for _ in range(int(rng.integers(0, 3))):
        kind = place.clutter[int(rng.integers(len(place.clutter)))]
        name = f"{kind}/{int(rng.integers(CLUTTER_INSTANCES)):03d}"
        _stand(row, CLUTTER[kind], kind, name, rng, horizon, light, 1.0, size, things)
    for standing in row:
        _shade(canvas, standing, light, size)
        picture, inside = windows(standing.left, standing.top, standing.sprite.alpha.shape, size)
        alpha = standing.sprite.alpha[inside][..., None]
        canvas[picture] += alpha * (standing.sprite.rgb[inside] - canvas[picture])
    image = np.rint(255 * _expose(canvas, rng)).astype(np.uint8)
    return image, [standing.placed.seen() for standing in row if id(standing) in objects]


def _behind(canvas: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Return the surroundings as a lens that is focused on the things shows them: soft, pale and low in contrast."""
    size = len(canvas)
    soft = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(*BLUR) * size)
    gray = soft.mean(axis=2, keepdims=True)
    soft = gray + rng.uniform(*SATURATION) * (soft - gray)
    middle = soft.mean(axis=(0, 1))
    return np.asarray(middle + rng.uniform(*CONTRAST) * (soft - middle), np.float32)


def _tint(rng: np.random.Generator) -> tuple[float, float, float]:
    """The color of the light, from a lamp's or an evening's to that of a cloudy day."""
    warm, strength = rng.normal(0, WARMTH), rng.uniform(*STRENGTH)
    return strength * (1 + warm), strength, strength * (1 - warm)


def _stand(
    row: list[_Standing],
    kind: Category,
    category: str,
    name: str,
    rng: np.random.Generator,
    horizon: float,
    light: Light,
    scale: float,
    size: int,
    things: Things,
) -> None:
    """Put a thing among those of `row`, which goes from back to front, where it hides none too much; or nowhere."""
    near = rng.uniform(0, 1)
    side = size * min(LARGEST, rng.uniform(*kind.size) * scale * (0.86 + 0.28 * near))
    sprite = light_up(
        instance(category, int(name.split("/")[1]), side=things.side),
        light,
        side=round(side),
        turn=rng.uniform(-kind.tilt, kind.tilt),
        flip=bool(rng.random() < 0.5),
        squeeze=rng.uniform(0.88, 1.08),
        shear=rng.uniform(-0.07, 0.07),
    )
    height, width = sprite.alpha.shape
    # What stands on the ground stands lower in the picture the nearer it is.
    foot = size * (horizon + (1 - horizon) * (0.15 + 0.85 * near))
    foot = float(np.clip(foot, min(height - MAX_OUTSIDE * height, size), size * 1.02))
    over = int(MAX_OUTSIDE * width)
    for _ in range(8):
        left = int(rng.integers(-over, max(size - width + over, -over) + 1))
        top = round(foot) - height + 2
        if kind.floats:
            top = int(rng.integers(-int(0.05 * height), max(size - height + int(0.05 * height), 0) + 1))
        whole, area = mask_at(sprite, left, top, size)
        at = next((k for k, other in enumerate(row) if other.foot > foot), len(row))
        mask = whole.copy()
        for nearer in row[at:]:
            mask &= ~nearer.whole
        placed = Placed(category, name, mask, area)
        hidden = mask.sum() < MIN_VISIBLE * area or not all(may_cover(whole, other.placed) for other in row[:at])
        if hidden or not all(may_cover(nearer.whole, placed) for nearer in row[at:]):
            continue
        for farther in row[:at]:
            farther.placed.mask = farther.placed.mask & ~whole
        row.insert(at, _Standing(sprite, left, top, foot, kind.floats, whole, placed))
        return


def _shade(canvas: FloatImage, standing: _Standing, light: Light, size: int) -> None:
    """Darken, in place, the ground and what stands farther off where a thing takes their light."""
    alpha = standing.sprite.alpha
    height, width = alpha.shape
    slant = -math.cos(math.radians(light.angle))
    strength = 0.7 * (1 - light.ambient)
    if standing.floats:
        move = np.array([[1, 0, standing.left + 0.06 * width * slant], [0, 1, standing.top + 0.07 * height]])
        cast = cv2.warpAffine(alpha, move, (size, size))
        shadow = 0.7 * strength * cv2.GaussianBlur(cast, (0, 0), 0.025 * size)
    else:
        # The outline laid down on the ground, away from the light.
        flat, lean = 0.3, 0.9 * slant
        base = standing.top + height - 2
        fall = np.array(
            [[1, -lean * 0.6, standing.left + lean * 0.6 * height], [0, flat, base - flat * height + 0.012 * size]]
        )
        cast = cv2.warpAffine(alpha, fall, (size, size))
        shadow = strength * cv2.GaussianBlur(cast, (0, 0), 0.012 * size)
        touch = alpha.copy()
        touch[: int(0.86 * height)] = 0
        down = np.array([[1, 0, standing.left + 0.0], [0, 1, standing.top + 0.02 * size]])
        contact = cv2.GaussianBlur(cv2.warpAffine(touch, down, (size, size)), (0, 0), 0.014 * size)
        shadow = np.maximum(shadow, 0.6 * contact)
    canvas *= 1 - shadow[..., None]


def _expose(canvas: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Return the picture as a camera gives it: light that falls off, exposure, contrast, grain; 0..1."""
    size = len(canvas)
    along = np.linspace(0, 1, size, dtype=np.float32)
    x, y = (np.ascontiguousarray(p) for p in np.broadcast_arrays(along[None, :], along[:, None]))
    pools = smooth(x * 1.6 + np.float32(rng.uniform(0, 30)), y * 1.6 + np.float32(rng.uniform(0, 30)))
    edge = (x - 0.5) ** 2 + (y - 0.5) ** 2
    shown = canvas * ((0.93 + 0.14 * pools) * (1 - 0.3 * edge))[..., None]
    gray = float(shown.mean())
    shown = gray + (shown - gray) * rng.uniform(*STEEPNESS)
    shown += rng.normal(0, EXPOSURE) + rng.standard_normal((size, size, 1), dtype=np.float32) * rng.uniform(
        0.003, 0.008
    )
    return np.clip(shown, 0, 1)
