"""Places of practice scenes: which categories are at home there, and what lies behind and below them.

A place is a back (a wall, a hedge, the sky) above a ground in perspective (a table, a lawn, the sea), each painted
anew for every scene. Its colors vary within what is usual for the place, so that a place is known by them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from orl_explore.practice.anatomy import color
from orl_explore.practice.contexts import Color
from orl_explore.practice.grain import FloatImage, cells, fractal, smooth
from orl_explore.practice.materials import MATERIALS

# Points of a part of the picture, (h, w) each: x from 0 to 1 and y from 0 (top) to 1 for backs, or, for grounds, to the
# right and away from the eye, in sides of the picture at its lower edge.
Painter = Callable[[np.random.Generator, FloatImage, FloatImage], FloatImage]


@dataclass(frozen=True)
class Place:
    """A kind of scene: the categories and the clutter that are found there, its backs and its grounds.

    `horizon` is the range of the height, from the top, at which the ground begins, in sides of the picture.
    """

    name: str
    categories: tuple[str, ...]
    backs: tuple[Painter, ...]
    grounds: tuple[Painter, ...]
    clutter: tuple[str, ...]
    horizon: tuple[float, float] = (0.34, 0.5)


def paint(place: Place, rng: np.random.Generator, size: int) -> tuple[FloatImage, float]:
    """Return a fresh view of a place, float32 (size, size, 3) in 0..1, and the height of its horizon from the top."""
    horizon = rng.uniform(*place.horizon)
    rows = max(1, round(horizon * size))
    along = (np.arange(size, dtype=np.float32) + 0.5) / size
    picture = np.empty((size, size, 3), np.float32)

    x, y = (np.ascontiguousarray(points) for points in np.broadcast_arrays(along[None, :], along[: rows + 2, None]))
    back = place.backs[int(rng.integers(len(place.backs)))](rng, x, y)
    picture[:rows] = cv2.GaussianBlur(back, (0, 0), rng.uniform(0.4, 1.2) * size / 160)[:rows]  # out of focus

    below = along[rows:, None] - horizon
    nearness = (below + 0.12) / (1 - horizon + 0.12)  # 1 at the lower edge
    away = (1 / nearness).astype(np.float32)
    x, y = (np.ascontiguousarray(p) for p in np.broadcast_arrays((along[None, :] - rng.uniform(0.3, 0.7)) * away, away))
    ground = place.grounds[int(rng.integers(len(place.grounds)))](rng, x, 2 - y)
    middle = ground.mean(axis=(0, 1), keepdims=True)
    ground = (
        middle + (ground - middle) * np.clip(0.35 + 0.9 * nearness, 0, 1)[..., None]
    )  # far grain is too fine to see
    # Light and dark where the ground meets the back.
    ground *= 1 - 0.28 * np.exp(-below / 0.05)[..., None]
    picture[rows:] = ground
    seam = slice(max(0, rows - 2), min(size, rows + 3))
    picture[seam] = cv2.GaussianBlur(picture[seam], (1, 3), 0.7)
    return np.clip(picture, 0, 1), horizon


def _colors(first: Color, second: Color, share: FloatImage, tone: FloatImage | float = 1.0) -> FloatImage:
    """Blend two colors, (h, w, 3), by shares (h, w) of the second, and multiply by a brightness."""
    a, b = np.array(first, np.float32), np.array(second, np.float32)
    return (a + (b - a) * share[..., None]) * np.asarray(tone, np.float32)[..., None]


def _any(rng: np.random.Generator, names: str) -> Color:
    """One of the named colors."""
    return color(str(rng.choice(names.split())), rng)


def _pale(hue: Color, share: float = 0.5) -> Color:
    return (1 - share + share * hue[0], 1 - share + share * hue[1], 1 - share + share * hue[2])


def _moved(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> tuple[FloatImage, FloatImage]:
    return x + np.float32(rng.uniform(0, 30)), y + np.float32(rng.uniform(0, 30))


def _material(name: str, first: str, second: str, size: tuple[float, float], pale: float = 1.0) -> Painter:
    """A wall or ground of one material, its unit `size` sides of the picture, its colors among the named ones."""

    def painter(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
        unit = rng.uniform(*size)
        a, b = _pale(_any(rng, first), pale), _pale(_any(rng, second), pale)
        surface = MATERIALS[name](rng, (x - 0.5) / unit, (y - 0.5) / unit)
        return _colors(a, b, surface.mix, surface.tone)

    return painter


# -- backs


def sky(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Blue, gray or evening sky with clouds, at times hills at its foot."""
    top, foot = rng.choice(["sky", "sky", "sky", "blue", "silver"]), _any(rng, "cream silver sky")
    height = y / y.max()
    picture = _colors(color(str(top), rng), _pale(foot, 0.6), height**1.3)
    a, b = _moved(rng, x, y)
    cover = np.clip((fractal(a * 3.2, b * 6.5) - rng.uniform(0.42, 0.62)) / 0.28, 0, 1)
    lit = 0.82 + 0.2 * fractal(a * 5, b * 9 + 0.3)
    picture += cover[..., None] * (lit[..., None] - picture) * 0.85
    if rng.random() < 0.5:
        ridge = rng.uniform(0.72, 0.9) - 0.22 * (smooth(a * 3, np.zeros_like(b) + b[0, 0]) - 0.5)
        hills = np.clip((height - ridge) / 0.03, 0, 1)
        land = _colors(
            _pale(_any(rng, "green olive teal"), 0.75), _pale(color("olive", rng), 0.8), fractal(a * 12, b * 18)
        )
        picture += hills[..., None] * (land - picture)
    return picture


def tiles(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """A tiled wall, some tiles painted."""
    count = rng.uniform(5, 8)
    first, second = _pale(_any(rng, "teal sky"), 0.55), _any(rng, "blue teal tan crimson")
    a, b = _moved(rng, x * count, y * count)
    column, row = np.floor(a), np.floor(b)
    value = np.mod(np.sin(column * 12.9898 + row * 78.233) * 43758.5, 1).astype(np.float32)
    u, v = a - column - 0.5, b - row - 0.5
    joint = np.clip((np.maximum(np.abs(u), np.abs(v)) - 0.44) / 0.05, 0, 1)
    motif = (value > 0.82) * np.clip((0.3 - np.hypot(u, v) * (1 + 0.4 * np.sin(4 * np.arctan2(v, u)))) / 0.05, 0, 1)
    tone = 0.92 + 0.12 * value + 0.1 * (0.5 - np.hypot(u - 0.2, v + 0.2)) - 0.22 * joint
    return _colors(first, second, (0.7 * motif).astype(np.float32), tone)


def wallpaper(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Striped, dotted or flowered paper, a skirting board and now and then a picture or a window."""
    count, kind = rng.uniform(5, 9), rng.random()
    first = _any(rng, "pink crimson")
    second = _pale(first, 0.55)
    u, v = _moved(rng, x * count, y * count)
    if kind < 0.4:
        share = np.clip(2 * np.sin(2 * math.pi * u) + 0.5, 0, 1)
    else:
        row = np.floor(v)
        du, dv = np.mod(u + 0.5 * (row % 2), 1) - 0.5, v - row - 0.5
        petals = 0.0 if kind < 0.6 else 0.5
        share = np.clip((0.3 - np.hypot(du, dv) * (1 + petals * np.cos(5 * np.arctan2(dv, du)))) / 0.06, 0, 1)
    picture = _colors(first, second, share.astype(np.float32), 0.86 + 0.14 * smooth(x * 3, y * 3))
    size, foot = x.shape[1], y.shape[0]
    if rng.random() < 0.6:
        wide, high = int(size * rng.uniform(0.2, 0.34)), int(foot * rng.uniform(0.45, 0.65))
        left, top = int(rng.integers(size - wide)), int(foot * 0.1)
        view = x[top : top + high, left : left + wide], y[: min(high, foot - top)]
        frame = int(0.018 * size) + 1
        wooden = np.array(_any(rng, "brown white tan charcoal"), np.float32)
        picture[top : top + high, left : left + wide] = wooden
        picture[top + frame : top + high - frame, left + frame : left + wide - frame] = sky(
            rng, view[0], view[1][:, : view[0].shape[1]]
        )[frame:-frame, frame:-frame]
    picture[int(foot * 0.94) :] = np.array(_any(rng, "white cream brown"), np.float32)
    return picture


def curtain(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Cloth in long folds."""
    count = rng.uniform(6, 11)
    a, b = _moved(rng, x, y)
    folds = np.sin(2 * math.pi * (count * x + 0.5 * smooth(2 * a, 0.8 * b))) * 0.5 + 0.5
    hue = color("violet", rng)
    weave = smooth(a * 60, b * 60)
    return _colors(hue, _pale(hue, 0.7), 0.4 * folds, 0.5 + 0.55 * folds**0.7 + 0.06 * weave)


def hedge(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Foliage without end, darker below."""
    surface = MATERIALS["foliage"](rng, (x - 0.5) * 3, (y - 0.5) * 3)
    return _colors(
        _any(rng, "green green olive"), _any(rng, "lime yellow olive pink"), surface.mix, 0.75 * surface.tone
    )


def trunks(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """A wood in mist: pale trunks far away, dark ones near."""
    a, b = _moved(rng, x, y)
    mist, dark = _any(rng, "olive lime silver green"), color("brown", rng)
    picture = _colors(_pale(mist, 0.65), _any(rng, "green olive"), fractal(a * 9, b * 9), 0.85)
    for layer in range(3):
        near = (layer + 1) / 3
        lean = 0.06 * (y - 0.5) * (layer - 1)
        grid = (x + lean) * (9 - 2.2 * layer) + rng.uniform(0, 9)
        column = np.floor(grid)
        value = np.mod(np.sin(column * (12.9 + layer)) * 43758.5, 1).astype(np.float32)
        half = (0.1 + 0.16 * value) * (value > 0.3)
        trunk = np.clip((half - np.abs(grid - column - 0.3 - 0.4 * value)) / 0.05, 0, 1)
        rough = 0.55 + 0.7 * fractal(a * 34, b * 6)
        stem = _colors(_pale(mist, 0.5), dark, np.full_like(x, near), rough)
        picture += trunk[..., None] * (stem - picture)
    return picture


def skyline(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """A row of fronts with windows under the sky."""
    picture = sky(rng, x, y)
    height, count = y / y.max(), rng.uniform(3, 5)
    grid = x * count + rng.uniform(0, 9)
    column = np.floor(grid)
    value = np.mod(np.sin(column * 12.9898) * 43758.5, 1).astype(np.float32)
    front = height > 0.12 + 0.5 * value
    u, v = np.mod((grid - column) * 4, 1) - 0.5, np.mod(height * 6, 1) - 0.5
    window = (np.maximum(np.abs(u) * 1.25, np.abs(v)) < 0.3) * 1.0
    wall = _colors(
        _any(rng, "tan cream crimson gray orange"), _any(rng, "silver brown cream sky"), value, 0.8 + 0.15 * value
    )
    wall *= (1 - 0.45 * window)[..., None]
    return np.where(front[..., None], wall, picture).astype(np.float32)


def sea(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """The sky above a strip of sea."""
    picture = sky(rng, x, y)
    height, start = y / y.max(), rng.uniform(0.55, 0.8)
    a, b = _moved(rng, x, y)
    waves = smooth(a * 14, b * 70)
    strip = _colors(_any(rng, "blue teal"), _any(rng, "sky teal"), waves, 0.85 + 0.25 * waves)
    return np.where((height > start)[..., None], strip, picture).astype(np.float32)


# -- grounds


def tabletop(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Boards that run away from the eye, or a checked cloth."""
    if rng.random() < 0.3:
        count = rng.uniform(6, 10)
        u, v = _moved(rng, x * count, y * count * 0.5)
        share = 0.5 * (np.mod(u, 1) < 0.5) + 0.5 * (np.mod(v, 1) < 0.5)
        return _colors(_any(rng, "white cream"), _any(rng, "red blue green teal yellow"), share.astype(np.float32), 0.9)
    return _boards(rng, x, y, rng.uniform(2.5, 4.5), "tan orange")


def desk(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Dark, broad boards."""
    return _boards(rng, x, y, rng.uniform(1.5, 2.5), "brown brown charcoal")


def floorboards(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Narrow boards."""
    return _boards(rng, x, y, rng.uniform(5, 8), "cream tan gray")


def _boards(rng: np.random.Generator, x: FloatImage, y: FloatImage, count: float, woods: str) -> FloatImage:
    a, b = _moved(rng, x, y)
    column = np.floor(a * count)
    value = np.mod(np.sin(column * 78.233) * 43758.5, 1).astype(np.float32)
    grain = smooth(a * count * 7, b * 1.6 + 9 * value)
    rings = 0.5 + 0.5 * np.sin(2 * math.pi * (a * count * 1.5 + 1.6 * smooth(a * count, b * 0.8 + 5 * value)))
    place = a * count - column
    seam = np.clip(1 - np.minimum(place, 1 - place) / 0.035, 0, 1)
    tone = 0.78 + 0.2 * value + 0.14 * grain - 0.35 * seam
    return _colors(_any(rng, woods), color("brown", rng), 0.4 * rings, tone)


def carpet(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """A pile, patterned or not."""
    first, second = _any(rng, "crimson crimson brown"), _any(rng, "cream tan night")
    u, v = _moved(rng, x * rng.uniform(3, 5), y * rng.uniform(2, 3))
    kind = rng.random()
    diamond = np.abs(np.mod(u, 1) - 0.5) + np.abs(np.mod(v, 1) - 0.5)
    if kind < 0.4:
        share: FloatImage = np.clip((0.12 - np.abs(diamond - 0.35)) / 0.05, 0, 1) + np.clip(
            (0.12 - diamond) / 0.05, 0, 1
        )
    elif kind < 0.7:
        share = np.clip((0.2 - np.abs(np.mod(v, 1) - 0.5)) / 0.05, 0, 1)
    else:
        share = 0.3 * smooth(u, v)
    pile = smooth(x * 45, y * 32)
    return _colors(first, second, np.clip(share, 0, 1), 0.7 + 0.4 * pile)


def lawn(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Blades of grass, patches, a few daisies."""
    a, b = _moved(rng, x, y)
    blades = fractal(a * 36 + 2 * smooth(7 * a, 9 * b), b * 9)
    patches = fractal(a * 2.5, b * 2)
    picture = _colors(
        _any(rng, "green green olive"),
        _any(rng, "lime olive"),
        0.55 * patches + 0.2 * blades,
        0.45 + 0.85 * blades,
    )
    middle, _, value = cells(a * 11, b * 9)
    daisies = (middle < 0.16) & (value > rng.uniform(0.75, 1.0))
    return np.where(daisies[..., None], np.array(_any(rng, "white yellow"), np.float32), picture).astype(np.float32)


def litter(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Fallen leaves, moss and earth."""
    a, b = _moved(rng, x, y)
    bend = 0.9 * smooth(a * 6, b * 6)
    middle, _, value = cells(a * 13 + bend, b * 11 - bend)
    under, _, other = cells(a * 17 - bend, b * 14 + bend)
    leaf, below = np.clip(1.3 - 1.6 * middle, 0, 1) * (0.4 + 0.8 * value), np.clip(1.1 - 1.5 * under, 0, 1) * other
    tone = 0.38 + 0.75 * np.maximum(leaf, 0.8 * below) + 0.12 * smooth(a * 40, b * 40)
    picture = _colors(
        color("brown", rng), _any(rng, "orange tan olive"), np.where(leaf > below, value, 0.4 * other), tone
    )
    moss = np.clip((fractal(a * 2, b * 2) - 0.5) / 0.2, 0, 1) * rng.choice([0, 1])
    green = _colors(color("green", rng), color("olive", rng), value, 0.55 + 0.6 * smooth(a * 30, b * 30))
    return picture + (0.8 * moss)[..., None] * (green - picture)


def road(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Asphalt or paving with a painted line, and a curb where it begins."""
    a, b = _moved(rng, x, y)
    specks = fractal(a * 40, b * 40)
    picture = _colors(
        color("gray", rng),
        _any(rng, "silver tan charcoal"),
        0.4 * specks,
        0.72 + 0.4 * specks + 0.1 * smooth(2 * a, 2 * b),
    )
    if rng.random() < 0.6:
        at, tall = rng.uniform(0.3, 0.9), rng.uniform(0.05, 0.1)
        line = (np.abs(y - at) < tall) & (np.mod(a * 1.6, 1) < rng.choice([0.6, 1.0]))
        picture = np.where(
            line[..., None], np.array(_any(rng, "white yellow"), np.float32) * (0.75 + 0.3 * specks)[..., None], picture
        )
    else:
        grid = np.minimum(np.abs(np.mod(a * 3, 1) - 0.5), np.abs(np.mod(b * 3, 1) - 0.5))
        picture *= (1 - 0.3 * np.clip(1 - grid / 0.04, 0, 1))[..., None]
    return picture.astype(np.float32)


def sand(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Sand in ripples, with shells and pebbles."""
    a, b = _moved(rng, x, y)
    ripples = 0.5 + 0.5 * np.sin(2 * math.pi * (b * 6 + 1.2 * smooth(a * 2.5, b * 2.5)))
    grains = smooth(a * 55, b * 55)
    picture = _colors(
        _any(rng, "cream cream tan"), color("tan", rng), 0.2 * ripples, 0.8 + 0.14 * ripples + 0.22 * (grains - 0.5)
    )
    middle, _, value = cells(a * 9, b * 9)
    shells = (middle < 0.13) & (value > 0.7)
    return np.where(shells[..., None], np.array(_any(rng, "white gray pink"), np.float32), picture).astype(np.float32)


def water(rng: np.random.Generator, x: FloatImage, y: FloatImage) -> FloatImage:
    """Ripples that mirror sky and banks, with lily pads or foam."""
    a, b = _moved(rng, x, y)
    wave = smooth(a * 5 + 2 * smooth(3 * a, 8 * b), b * 16)
    glint = np.clip((fractal(a * 8, b * 30) - 0.62) / 0.15, 0, 1)
    deep, mirrored = color("teal", rng), _any(rng, "teal olive silver")
    picture = _colors(deep, _pale(mirrored, 0.7), np.clip(wave * 1.1 - 0.1, 0, 1), 0.8 + 0.2 * wave)
    picture += (0.5 * glint)[..., None] * (1 - picture)
    if rng.random() < 0.5:
        middle, _, value = cells(a * 3, b * 3)
        pads = (middle < 0.3) & (value > 0.55)
        leaf = _colors(color("green", rng), color("lime", rng), value, 0.7 + 0.4 * smooth(a * 20, b * 20))
        picture = np.where(pads[..., None], leaf, picture)
    return picture.astype(np.float32)


_BRICKS = _material("bricks", "crimson brown", "silver gray", (0.5, 0.8))
_PANELS = _material("boards", "brown olive brown", "brown charcoal", (0.4, 0.7))

PLACES = (
    Place("kitchen", ("mug", "teapot", "banana", "strawberry"), (tiles,), (tabletop,), ("plate", "cloth")),
    Place("parlor", ("lamp", "chair", "cat", "clock"), (wallpaper,), (carpet,), ("cushion", "box")),
    Place("study", ("book", "lamp", "mug", "chair"), (_PANELS,), (desk,), ("paper", "box")),
    Place("bedroom", ("sweater", "shoe", "book", "clock"), (curtain,), (floorboards,), ("cushion", "cloth")),
    Place("garden", ("flower", "butterfly", "apple", "cat"), (hedge,), (lawn,), ("tuft", "pebble")),
    Place("forest", ("mushroom", "owl", "tree", "leaf"), (trunks,), (litter,), ("twig", "pebble")),
    Place("street", ("car", "house", "tree", "ball"), (_BRICKS, _BRICKS, skyline), (road,), ("box", "paper")),
    Place("beach", ("boat", "ball", "fish", "shoe"), (sea,), (sand,), ("pebble", "shell"), (0.3, 0.46)),
    Place("hills", ("balloon", "house", "owl", "butterfly"), (sky,), (lawn,), ("tuft", "pebble"), (0.55, 0.72)),
    Place("pond", ("fish", "boat", "leaf", "flower"), (hedge,), (water,), ("twig", "tuft"), (0.14, 0.24)),
)
