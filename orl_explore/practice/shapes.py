"""Drawn objects for practice scenes: twelve shapes, and the color, texture and shading of one instance.

A category is a shape and nothing else: an outline and the relief carved into its surface, such as a fish's scales or a
house's bricks. Color, texture and shading are drawn per instance from the same distributions for every category.
"""

import colorsys
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from orl_explore.practice.contexts import CONTEXTS, Color, Context, FloatImage

Part = Literal["all", "train", "test"]
Points = NDArray[np.float64]  # (n, 2) polygon, x to the right, y down, about one unit from the center

INSTANCES = 6
"""Drawings per category: few enough that each returns in many scenes, as things do in the photographs of a place. Where
no object is ever seen twice, nothing corresponds to anything, and there is nothing for stage 2 to find."""


@dataclass(frozen=True)
class Piece:
    """One polygon of a drawing; later pieces lie over earlier ones.

    `tone` multiplies the instance's color: below 1 darker, 1..2 lighter (2 = white), None cuts a hole.
    """

    points: Points
    tone: float | None = 1.0


def ellipse(x: float, y: float, rx: float, ry: float, *, start: float = 0.0, stop: float = 360.0) -> Points:
    """Points (n, 2) of an elliptic arc; angles in degrees, clockwise on screen from the right."""
    angle = np.radians(np.linspace(start, stop, 49))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def rectangle(left: float, top: float, right: float, bottom: float, *, corner: float = 0.0) -> Points:
    """Points (n, 2) of a rectangle with corners rounded to radius `corner`."""
    if corner == 0:
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=float)
    centers = [(right, bottom, 0), (left, bottom, 90), (left, top, 180), (right, top, 270)]
    arcs = []
    for x, y, start in centers:
        x += -corner if x == right else corner
        y += -corner if y == bottom else corner
        arcs.append(ellipse(x, y, corner, corner, start=start, stop=start + 90)[::8])
    return np.concatenate(arcs)


def polygon(*points: tuple[float, float]) -> Points:
    """Points (n, 2) from pairs."""
    return np.array(points, dtype=float)


# Each function draws one instance's version of its category: proportions vary, the kind of outline does not.


def _star(rng: np.random.Generator) -> list[Piece]:
    inner = rng.uniform(0.40, 0.52)
    angle = np.radians(np.arange(10) * 36 - 90)
    radius = np.where(np.arange(10) % 2 == 0, 1.0, inner)
    star = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return [Piece(star), Piece(star * rng.uniform(0.4, 0.6), rng.uniform(1.1, 1.3))]


def _ring(rng: np.random.Generator) -> list[Piece]:
    hole = rng.uniform(0.42, 0.56)
    squash = rng.uniform(0.85, 1.0)
    middle = (1 + hole) / 2
    return [
        Piece(ellipse(0, 0, 1, squash)),
        Piece(ellipse(0, 0, middle + 0.06, (middle + 0.06) * squash), 1.2),
        Piece(ellipse(0, 0, middle - 0.06, (middle - 0.06) * squash), 1.0),
        Piece(ellipse(0, 0, hole, hole * squash), None),
    ]


def _heart(rng: np.random.Generator) -> list[Piece]:
    t = np.linspace(0, 2 * math.pi, 72)
    x = np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
    heart = np.stack([x * rng.uniform(0.95, 1.12), y * rng.uniform(0.92, 1.05)], axis=1)
    return [Piece(heart), Piece(ellipse(-0.45, -0.42, 0.2, 0.13), rng.uniform(1.2, 1.4))]


def _crescent(rng: np.random.Generator) -> list[Piece]:
    shift, bite = rng.uniform(0.42, 0.55), rng.uniform(0.74, 0.82)
    moon = [Piece(ellipse(0, 0, 1, 1)), Piece(ellipse(shift, 0, bite, bite), None)]
    crater = rng.uniform(0.08, 0.13)
    return [
        moon[0],
        Piece(ellipse(-0.72, -0.2, crater, crater), 0.8),
        Piece(ellipse(-0.6, 0.35, 0.1, 0.1), 0.8),
        moon[1],
    ]


def _arrow(rng: np.random.Generator) -> list[Piece]:
    shaft, head, barb = rng.uniform(0.2, 0.3), rng.uniform(0.0, 0.2), rng.uniform(0.62, 0.78)
    body = polygon((-1, -shaft), (head, -shaft), (head, -barb), (1, 0), (head, barb), (head, shaft), (-1, shaft))
    stripe = rectangle(-0.86, -shaft, -0.66, shaft)
    return [Piece(body), Piece(stripe, rng.choice([0.7, 1.3]))]


def _gear(rng: np.random.Generator) -> list[Piece]:
    teeth = int(rng.integers(7, 11))
    root, hole = rng.uniform(0.7, 0.78), rng.uniform(0.22, 0.34)
    step = 360 / teeth
    corners = [(-0.32, root), (-0.22, 1.0), (0.22, 1.0), (0.32, root)]
    outline = [
        (radius * np.cos(a), radius * np.sin(a))
        for tooth in range(teeth)
        for offset, radius in corners
        for a in [np.radians((tooth + offset) * step)]
    ]
    return [
        Piece(polygon(*outline)),
        Piece(ellipse(0, 0, hole + 0.16, hole + 0.16), 1.25),
        Piece(ellipse(0, 0, hole, hole), None),
    ]


def _key(rng: np.random.Generator) -> list[Piece]:
    bow, hole, shaft = rng.uniform(0.46, 0.54), rng.uniform(0.2, 0.26), rng.uniform(0.12, 0.16)
    pieces = [
        Piece(rectangle(-0.4, -shaft, 1.0, shaft)),
        Piece(ellipse(-0.55, 0, bow, bow * rng.uniform(0.95, 1.1))),
    ]
    bits = int(rng.integers(2, 4))
    for number in range(bits):
        left = 0.9 - 0.3 * (number + 0.6)
        pieces.append(Piece(rectangle(left, 0, left + 0.19, shaft + rng.uniform(0.24, 0.36))))
    return [*pieces, Piece(ellipse(-0.6, 0, hole, hole), None)]


def _mug(rng: np.random.Generator) -> list[Piece]:
    top, taper = rng.uniform(-0.85, -0.65), rng.uniform(0.0, 0.12)
    body = polygon((-0.75, top), (0.45, top), (0.45 - taper, 0.8), (-0.75 + taper, 0.8))
    grip = rng.uniform(0.36, 0.44)
    return [
        Piece(ellipse(0.42, 0.0, 0.55, grip + 0.06), 0.9),
        Piece(ellipse(0.42, 0.0, 0.3, grip - 0.18), None),
        Piece(body),
        Piece(ellipse(-0.15, 0.8, 0.6 - taper, 0.12)),
        Piece(ellipse(-0.15, top, 0.6, 0.16), 1.2),
        Piece(ellipse(-0.15, top + 0.01, 0.5, 0.11), 0.55),
    ]


def _bottle(rng: np.random.Generator) -> list[Piece]:
    neck, shoulder, width = rng.uniform(0.15, 0.2), rng.uniform(-0.35, -0.1), rng.uniform(0.46, 0.56)
    bend = np.linspace(0, 1, 12)
    curve_x = neck + (width - neck) * (1 - np.cos(np.pi * bend)) / 2
    curve_y = shoulder - 0.25 + 0.35 * bend
    right = np.stack([curve_x, curve_y], axis=1)
    left = right[::-1] * [-1, 1]
    body = np.concatenate([polygon((-neck, -0.95), (neck, -0.95)), right, polygon((width, 1.0), (-width, 1.0)), left])
    label = rng.uniform(0.25, 0.4)
    return [
        Piece(body),
        Piece(rectangle(-neck - 0.05, -1.0, neck + 0.05, -0.78, corner=0.05), 0.65),
        Piece(rectangle(-width, label, width, label + 0.38), rng.choice([0.75, 1.3])),
    ]


def _house(rng: np.random.Generator) -> list[Piece]:
    wall, eaves, peak = rng.uniform(0.7, 0.82), rng.uniform(-0.2, 0.0), rng.uniform(-1.0, -0.85)
    door = rng.uniform(-0.45, -0.2)
    pane = rng.uniform(0.18, 0.23)
    return [
        Piece(rectangle(0.4, peak + 0.1, 0.62, eaves), 0.75),
        Piece(rectangle(-wall, eaves, wall, 0.85)),
        Piece(polygon((-1.0, eaves + 0.06), (0, peak), (1.0, eaves + 0.06)), 0.72),
        Piece(rectangle(door - 0.17, 0.25, door + 0.17, 0.85), 0.6),
        Piece(rectangle(0.32 - pane, 0.45 - pane, 0.32 + pane, 0.45 + pane), 1.45),
    ]


def _tree(rng: np.random.Generator) -> list[Piece]:
    tiers, width = int(rng.integers(2, 5)), rng.uniform(0.66, 0.8)
    pieces = [Piece(rectangle(-0.16, 0.5, 0.16, 1.0), 0.6)]
    height = 1.6 / tiers
    for tier in reversed(range(tiers)):
        half = width * (0.55 + 0.45 * (tier + 1) / tiers)
        bottom = -1.0 + height * (tier + 1) + 0.06
        top = bottom - height * 1.4 if tier else -1.0
        pieces.append(Piece(polygon((-half, bottom), (0, top), (half, bottom)), 1.0 + 0.12 * (tier % 2)))
    return pieces


def _fish(rng: np.random.Generator) -> list[Piece]:
    belly, tail = rng.uniform(0.46, 0.58), rng.uniform(0.42, 0.55)
    return [
        Piece(polygon((-0.35, -0.1), (-1.0, -tail), (-0.8, 0), (-1.0, tail), (-0.35, 0.1)), 0.8),
        Piece(polygon((-0.25, -belly * 0.7), (0.1, -belly - 0.24), (0.4, -belly * 0.7)), 0.8),
        Piece(polygon((-0.1, belly * 0.7), (0.0, belly + 0.18), (0.3, belly * 0.7)), 0.8),
        Piece(ellipse(0.2, 0, 0.78, belly)),
        Piece(ellipse(0.15, 0.06, 0.18, 0.11), 0.78),
        Piece(ellipse(0.64, -0.13, 0.11, 0.11), 1.8),
        Piece(ellipse(0.66, -0.13, 0.06, 0.06), 0.15),
    ]


SHAPES: dict[str, Callable[[np.random.Generator], list[Piece]]] = {
    "star": _star,
    "ring": _ring,
    "heart": _heart,
    "crescent": _crescent,
    "arrow": _arrow,
    "gear": _gear,
    "key": _key,
    "mug": _mug,
    "bottle": _bottle,
    "house": _house,
    "tree": _tree,
    "fish": _fish,
}
"""Category name -> its drawing, in the order of the category ids."""

RELIEFS: dict[str, Callable[[FloatImage, FloatImage], FloatImage]] = {
    "star": lambda u, v: np.sign(np.sin(2 * math.pi * (5 * _turns(u, v) + 0.25) * 2)),
    "ring": lambda u, v: np.sin(2 * math.pi * 14 * _turns(u, v)),
    "heart": lambda u, v: np.sin(2 * math.pi * 3.2 * np.hypot(u, v)),
    "crescent": lambda u, v: np.cos(2 * math.pi * 2.6 * u) + np.cos(2 * math.pi * 2.6 * v) - 0.7,
    "arrow": lambda u, v: np.sin(2 * math.pi * 3 * (u + np.abs(v))),
    "gear": lambda u, v: np.sin(2 * math.pi * 6 * _turns(u, v)) * np.clip(4 * np.hypot(u, v) - 1.2, 0, 1),
    "key": lambda u, v: np.full_like(u, -1.0),
    "mug": lambda u, v: np.sin(2 * math.pi * 3.5 * v),
    "bottle": lambda u, v: np.sin(2 * math.pi * 5 * u),
    "house": lambda u, v: _bricks(4 * u, 6 * v),
    "tree": lambda u, v: np.sin(2 * math.pi * 5 * (v + 0.3 * np.abs((4 * u) % 1 - 0.5))),
    "fish": lambda u, v: _scales(4.5 * u, 4.5 * v),
}
"""Category name -> depth of its relief, about -1..1 (high to low), at points (u, v) of the shape's own axes."""


def _turns(u: FloatImage, v: FloatImage) -> FloatImage:
    return np.arctan2(v, u) / (2 * math.pi)


def _bricks(a: FloatImage, b: FloatImage) -> FloatImage:
    row = np.floor(b)
    joint = np.maximum(np.abs((a + 0.5 * row) % 1 - 0.5), np.abs(b - row - 0.5))  # 0.5 in the middle of a joint
    return 20 * joint - 8.2


def _scales(a: FloatImage, b: FloatImage) -> FloatImage:
    column = np.floor(a)
    across = (b + 0.5 * column) % 1 - 0.5
    return 6 * np.abs(np.hypot(a - column - 0.1, across) - 0.55) * -1 + 1


TEXTURES = ("plain", "stripes", "dots", "checks", "waves", "speckle")


@dataclass(frozen=True)
class Instance:
    """One drawn object, the same in every scene it appears in.

    `color` and `accent` are RGB in 0..1; `pitch` is the period of the texture in units of the shape's half side;
    `gloss` is the strength of the light's gradient, `rim` the darkness of the outline; `depth` and `scale` are the
    darkness and the fineness of the relief.
    """

    category: str
    number: int
    pieces: tuple[Piece, ...]
    color: Color
    accent: Color
    texture: str
    pitch: float
    slant: float
    gloss: float
    rim: float
    depth: float
    scale: float


def make_instance(category: str, number: int) -> Instance:
    """Return instance `number` of a category; the same pair always gives the same instance."""
    rng = np.random.default_rng((0x0B1EC7, list(SHAPES).index(category), number))
    pieces = tuple(SHAPES[category](rng))
    hue, saturation, value = rng.uniform(0, 1), rng.uniform(0.55, 0.95), rng.uniform(0.5, 0.98)
    darker = value * rng.uniform(0.74, 0.88)
    return Instance(
        category=category,
        number=number,
        pieces=pieces,
        color=colorsys.hsv_to_rgb(hue, saturation, value),
        accent=colorsys.hsv_to_rgb((hue + rng.uniform(-0.06, 0.06)) % 1, saturation, darker),
        texture=TEXTURES[int(rng.integers(len(TEXTURES)))],
        pitch=rng.uniform(0.22, 0.42),
        slant=rng.uniform(0, 180),
        gloss=rng.uniform(0.5, 1.0),
        rim=rng.uniform(0.35, 0.6),
        depth=rng.uniform(0.3, 0.5),
        scale=rng.uniform(0.85, 1.15),
    )


@dataclass(frozen=True)
class Sprite:
    """A picture ready to be pasted: `rgb` float32 (h, w, 3) and `alpha` float32 (h, w) in 0..1."""

    rgb: FloatImage
    alpha: FloatImage


def draw(instance: Instance, *, side: int, angle: float, flip: bool, light: float, margin: int = 2) -> Sprite:
    """Draw an instance with its longer side `side` pixels long.

    `angle` is the rotation and `light` the direction the light comes from, both in degrees on screen.
    """
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[c, s], [-s, c]]) * np.array([[-1.0 if flip else 1.0], [1.0]])  # row vectors: p @ turn
    polygons = [piece.points @ turn for piece in instance.pieces]
    solid = np.concatenate([p for p, piece in zip(polygons, instance.pieces, strict=True) if piece.tone is not None])
    low, high = solid.min(axis=0), solid.max(axis=0)
    scale = side / float((high - low).max())  # pixels per unit
    width, height = (np.ceil((high - low) * scale).astype(int) + 2 * margin).tolist()

    fine = 4 if side <= 128 else 2  # polygons are filled at this multiple and averaged down
    mask = np.zeros((height * fine, width * fine), np.uint8)
    tone = np.full_like(mask, 100)  # 100 = the instance's own color
    for points, piece in zip(polygons, instance.pieces, strict=True):
        pixels = np.round(((points - low) * scale + margin) * fine).astype(np.int32)
        cv2.fillPoly(mask, [pixels], 0 if piece.tone is None else 255)
        cv2.fillPoly(tone, [pixels], 100 if piece.tone is None else round(piece.tone * 100))
    alpha = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    tones = cv2.resize(tone, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 100

    x = (np.arange(width, dtype=np.float32) + 0.5 - margin) / scale + float(low[0])
    y = (np.arange(height, dtype=np.float32) + 0.5 - margin) / scale + float(low[1])
    on_screen = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)  # (h, w, 2)
    u, v = np.moveaxis(on_screen @ np.linalg.inv(turn).astype(np.float32), -1, 0)  # the shape's own axes
    weight = _texture(instance, u, v)[..., None]
    color, accent = np.array(instance.color, np.float32), np.array(instance.accent, np.float32)
    rgb = color + (accent - color) * weight

    # The blurred silhouette is a height map: its slope toward the light is the shading, its edge the rim.
    sigma = side * 0.05
    relief = cv2.GaussianBlur(alpha, (0, 0), sigma)
    slope_x, slope_y = cv2.Sobel(relief, cv2.CV_32F, 1, 0), cv2.Sobel(relief, cv2.CV_32F, 0, 1)
    toward = np.array([math.cos(math.radians(light)), math.sin(math.radians(light))], np.float32)
    bevel = -(slope_x * toward[0] + slope_y * toward[1]) / 8 * sigma
    center = ((low + high) / 2).astype(np.float32)
    gradient = (on_screen - center) @ toward
    shade = 1 + instance.gloss * (0.55 * bevel + 0.14 * gradient)
    edge = np.clip(2 * (1 - cv2.GaussianBlur(alpha, (0, 0), max(0.6, side * 0.014))), 0, 1)
    shade *= 1 - instance.rim * edge

    relief_depth = np.clip(0.5 + 0.8 * RELIEFS[instance.category](u * instance.scale, v * instance.scale), 0, 1)
    shade *= 1 - instance.depth * relief_depth

    brightness = (tones * shade)[..., None]
    rgb = np.where(brightness <= 1, rgb * brightness, rgb + (1 - rgb) * np.minimum(brightness - 1, 1))
    return Sprite(np.clip(rgb, 0, 1), alpha)


def _texture(instance: Instance, u: FloatImage, v: FloatImage) -> FloatImage:
    """Weight of the accent color in 0..1 at the points (u, v) of the shape's own axes."""
    c, s = math.cos(math.radians(instance.slant)), math.sin(math.radians(instance.slant))
    a, b = (u * c + v * s) / instance.pitch, (v * c - u * s) / instance.pitch  # in periods
    if instance.texture == "stripes":
        wave = np.sin(2 * math.pi * a)
    elif instance.texture == "waves":
        wave = np.sin(2 * math.pi * (a + 0.25 * np.sin(2 * math.pi * b / 2)))
    elif instance.texture == "dots":
        wave = np.cos(2 * math.pi * a) + np.cos(2 * math.pi * b) - 0.8
    elif instance.texture == "checks":
        wave = 2 * np.sin(math.pi * a) * np.sin(math.pi * b)
    elif instance.texture == "speckle":
        wave = np.sin(5.1 * a + 2 * np.sin(3.7 * b)) * np.sin(4.3 * b + 2 * np.sin(4.9 * a))
    else:
        return np.zeros_like(u)
    return np.clip(0.5 + 1.5 * wave, 0, 1)


def split_instances(names: Sequence[str], *, holdout: float, part: Part) -> list[str]:
    """Return the names of one part: the last `holdout` of them are the test instances; each side has at least one."""
    if part == "all" or holdout == 0:
        return list(names)
    held = min(max(1, round(holdout * len(names))), len(names) - 1)
    return list(names[-held:] if part == "test" else names[:-held])


class DrawnObjects:
    """The built-in objects of practice scenes: `instances` drawings of every shape, named "category/number"."""

    def __init__(self, *, instances: int = INSTANCES, holdout: float = 0.0, part: Part = "all") -> None:
        self.categories = tuple(SHAPES)
        self.contexts: tuple[Context, ...] = CONTEXTS
        self.skipped: list[str] = []
        numbers = [f"{number:03d}" for number in range(instances)]
        self._numbers = split_instances(numbers, holdout=holdout, part=part)
        self._made: dict[str, Instance] = {}

    def choose(self, category: str, rng: np.random.Generator) -> str:
        """Return the name of one instance of the category."""
        return f"{category}/{self._numbers[int(rng.integers(len(self._numbers)))]}"

    def color(self, name: str) -> Color:
        """Return the color, RGB in 0..1, of an instance, texture and shading aside."""
        return self._instance(name).color

    def sprite(self, name: str, *, side: int, angle: float, flip: bool, light: float) -> Sprite:
        """Return the instance's picture, its longer side `side` pixels."""
        return draw(self._instance(name), side=side, angle=angle, flip=flip, light=light)

    def _instance(self, name: str) -> Instance:
        if name not in self._made:
            category, number = name.split("/")
            self._made[name] = make_instance(category, int(number))
        return self._made[name]
