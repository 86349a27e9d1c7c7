"""What the things of practice scenes are made of: families of texture, drawn from noise, strokes and cells.

A material is a function of a generator, which varies it, and of points (u, v) on a part, (h, w) each, a thing being
about two units long. It returns a `Surface`. Threads, hairs and grain run along v.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from orl_explore.practice.grain import FloatImage, cells, fractal, smooth

TURN = 2 * math.pi


class Surface(NamedTuple):
    """Of every point: the share of the part's second color (0..1), brightness (1 = as the color) and relief (0..1)."""

    mix: FloatImage
    tone: FloatImage
    relief: FloatImage


Material = Callable[[np.random.Generator, FloatImage, FloatImage], Surface]


def _flat(u: FloatImage, value: float = 0.0) -> FloatImage:
    return np.full_like(u, value)


def _shift(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> tuple[FloatImage, FloatImage]:
    """Move to another place of the noise."""
    return u + np.float32(rng.uniform(0, 30)), v + np.float32(rng.uniform(0, 30))


def _step(x: FloatImage, edge: float, softness: float = 0.1) -> FloatImage:
    """0 below the edge, 1 above it."""
    return np.clip((x - edge) / softness + 0.5, 0, 1)


def _rows(u: FloatImage, v: FloatImage, across: float, down: float) -> tuple[FloatImage, FloatImage, FloatImage]:
    """Points of a wall of tiles, every other row by half a tile: place in the tile (-0.5..0.5, 0..1), value by tile."""
    row = np.floor(v * down)
    along = u * across + 0.5 * (row % 2)
    column = np.floor(along)
    value = np.mod(np.sin(column * 12.9898 + row * 78.233) * 43758.5, 1).astype(np.float32)
    return along - column - 0.5, v * down - row, value


# -- grown


def fur(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Hairs, and stripes, patches or a pale belly of the second color."""
    kind = rng.random()
    a, b = _shift(rng, u, v)
    hairs = smooth(a * 17 + 2 * smooth(2 * a, 2 * b), b * 5)
    if kind < 0.5:
        mix = _step(np.sin(TURN * rng.uniform(2.2, 3.2) * (v + 0.25 * smooth(2 * a, b) + 0.12 * np.abs(u))), 0.2, 0.6)
    elif kind < 0.75:
        mix = _step(smooth(1.7 * a, 1.7 * b), rng.uniform(0.5, 0.6), 0.12)
    else:
        mix = _step(v - 0.6 * np.abs(u), rng.uniform(0.1, 0.4), 0.3)
    return Surface(mix, 0.68 + 0.6 * hairs, 0.6 * hairs)


def scales(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Overlapping scales, pale below, the back mottled or striped."""
    count = rng.uniform(5.5, 7.5)
    x, y, value = _rows(v, -u, count, count * 1.15)
    arc = np.hypot(1.05 * x, y - 0.1)
    rim = np.clip(1 - np.abs(arc - 0.62) / 0.16, 0, 1)
    a, b = _shift(rng, u, v)
    bars = 0.9 * _step(np.sin(TURN * rng.uniform(1.0, 1.8) * a), 0.45, 0.4) * rng.choice([0, 1])
    mix = np.maximum(_step(v, rng.uniform(0.12, 0.3), 0.35), np.maximum(bars, 0.5 * smooth(2 * a, 2 * b)))
    return Surface(mix, 0.9 + 0.3 * value - 0.38 * rim, 0.7 - 0.7 * arc)


def feathers(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Rows of feathers, each with a shaft, barbs and a pale or dark tip."""
    count = rng.uniform(3.6, 5.2)
    x, y, value = _rows(u, v, count, count * 0.8)
    arc = np.hypot(1.15 * x, 0.8 * y)
    barbs = np.sin(TURN * (3.0 * y + 4 * np.abs(x)))
    shaft = np.clip(1 - np.abs(x) / 0.07, 0, 1)
    tip = np.clip(1 - np.abs(arc - 0.62) / 0.14, 0, 1)
    mix = np.clip(0.8 * tip + 0.4 * (value - 0.4), 0, 1)
    return Surface(mix, 0.88 + 0.1 * barbs + 0.25 * (value - 0.5) - 0.25 * shaft, 0.8 - 0.8 * arc)


def foliage(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Many small leaves, bright above dark gaps."""
    count = rng.uniform(7, 10)
    a, b = _shift(rng, u, v)
    bend = 0.9 * smooth(4 * a, 4 * b)
    tone, mix = _flat(u), _flat(u)
    for layer in range(2):  # leaves behind leaves
        middle, _, value = cells((a + 3.7 * layer) * count + bend, (b + 1.9 * layer) * count * 0.8 - bend)
        leaf = np.clip(1.25 - 1.5 * middle, 0, 1) * (0.55 + 0.75 * value)
        tone, mix = np.maximum(tone, leaf), np.where(leaf > tone, value, mix)
    clumps = smooth(2.2 * a, 2.2 * b)
    tone = 0.28 + 0.85 * tone * (0.7 + 0.5 * clumps)
    return Surface(np.clip(1.3 * mix - 0.35, 0, 1) * clumps, tone, 0.9 * tone + clumps)


def veins(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A leaf's blade: a rib along v, side veins, and the second color creeping in from the edge."""
    a, b = _shift(rng, u, v)
    side = np.abs(u)
    lines = np.abs(np.mod(rng.uniform(3.2, 4.6) * (v + 0.75 * side), 1) - 0.5)
    vein = np.maximum(np.clip(1 - lines / 0.1, 0, 1) * np.clip(1.4 - side, 0, 1), np.clip(1 - side / 0.045, 0, 1))
    creep = _step(fractal(2.2 * a, 2.2 * b) + 0.55 * side + 0.2 * v, rng.uniform(0.55, 1.05), 0.35)
    tone = 0.82 + 0.3 * fractal(6 * a, 6 * b) - 0.05 * vein
    return Surface(np.clip(creep + 0.35 * vein, 0, 1), tone + 0.22 * vein, 0.35 * vein)


def petal(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Fine streaks from the foot (v = 1) to a tip that fades to the second color."""
    a, b = _shift(rng, u, v)
    streaks = smooth(a * 16, b * 1.2)
    mix = _step(v + 0.35 * (streaks - 0.5), rng.uniform(0.2, 0.7), 0.8)
    return Surface(mix, 0.85 + 0.3 * streaks, 0.35 * streaks)


def wing(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A butterfly's wing: fields between dark veins, spotted."""
    a, b = _shift(rng, u, v)
    count = rng.uniform(2.0, 3.0)
    middle, edge, value = cells(a * count, b * count)
    dark = np.clip(1 - edge / 0.13, 0, 1)
    spot = _step(0.26 - middle, 0, 0.08) * _step(value, 0.45, 0.1)
    dust = smooth(20 * a, 20 * b)
    return Surface(np.maximum(dark, spot), 0.85 + 0.3 * dust + 0.2 * (value - 0.5), 0.1 * dust)


def bark(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Furrows along v."""
    a, b = _shift(rng, u, v)
    furrow = fractal(a * 11 + smooth(3 * a, 3 * b), b * 2.4)
    return Surface(_step(furrow, 0.6, 0.3), 0.5 + 0.9 * furrow, furrow)


def wood(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Planed wood: grain in long lines along v."""
    a, b = _shift(rng, u, v)
    rings = np.sin(TURN * (rng.uniform(2.5, 4) * a + 1.6 * smooth(1.2 * a, 0.45 * b)))
    pores = smooth(a * 26, b * 3)
    return Surface(np.clip(0.5 + 0.5 * rings, 0, 1), 0.8 + 0.12 * rings + 0.26 * pores, 0.15 * pores)


def peel(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """The skin of a fruit: streaks and freckles, and a blush of the second color on one side."""
    a, b = _shift(rng, u, v)
    angle = rng.uniform(0, TURN)
    streaks = smooth(a * 9 + 2 * smooth(a, b), b * 1.6)
    toward = u * math.cos(angle) + 0.7 * v * math.sin(angle)
    mix = _step(toward + 0.9 * (streaks - 0.5) + 0.5 * (smooth(1.5 * a, 1.5 * b) - 0.5), rng.uniform(0.1, 0.7), 0.7)
    middle, _, value = cells(a * 8, b * 8)
    freckles = _step(0.2 - middle, 0, 0.1) * _step(value, 0.4, 0.1)
    return Surface(mix, 0.92 + 0.16 * streaks + 0.28 * freckles, _flat(u))


def rind(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A banana's: ridges along u, bruises and the second color toward the ends."""
    a, b = _shift(rng, u, v)
    ridges = np.sin(TURN * (1.6 * v + 0.1))
    bruises = _step(fractal(3.2 * a, 5 * b), rng.uniform(0.68, 0.85), 0.08)
    mix = np.clip(_step(np.abs(u), rng.uniform(0.75, 1.0), 0.4), 0, 0.8)
    return Surface(mix, 0.96 + 0.1 * ridges + 0.1 * smooth(5 * a, 5 * b) - 0.5 * bruises, 0.25 * ridges)


def seeds(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A strawberry's skin: seeds of the second color in dimples."""
    count = rng.uniform(3.8, 5.0)
    x, y, value = _rows(u, v, count, count * 1.1)
    y = y - 0.5
    dimple = np.clip(1 - np.hypot(1.2 * x, y) / 0.42, 0, 1)
    seed = _step(0.17 - np.hypot(1.7 * x, y), 0, 0.06)
    return Surface(seed, 1.06 - 0.55 * dimple * (1 - seed) + 0.1 * (value - 0.5), -0.9 * dimple + 0.8 * seed)


def florets(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """The middle of a flower: grains packed like a sunflower's."""
    a, b = _shift(rng, u, v)
    middle, edge, value = cells(a * 13, b * 13)
    ring = _step(np.hypot(u, v), rng.uniform(0.1, 0.2), 0.1)
    return Surface(ring * value, 0.55 + 0.8 * np.clip(2 * edge, 0, 1), 1 - middle)


def spots(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A mushroom's cap: warts of the second color, some small, some large; sometimes hardly any."""
    a, b = _shift(rng, u, v)
    count = rng.uniform(2.6, 4.2)
    middle, _, value = cells(a * count, b * count * 1.4)
    wart = _step(rng.uniform(0.28, 0.36) * (0.6 + 0.7 * value) - middle, 0, 0.06) * _step(value, 0.15, 0.1)
    streaks = smooth(a * 6, b * 1.5)
    return Surface(wart, 0.86 + 0.3 * streaks, 0.9 * wart)


def gills(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Soft ribs along v, as under a mushroom's cap, on its stem, in a fin."""
    a, b = _shift(rng, u, v)
    ribs = 0.5 + 0.5 * np.sin(TURN * (rng.uniform(5, 7) * u + 0.4 * smooth(2 * a, b)))
    return Surface(0.6 * ribs, 0.78 + 0.3 * ribs + 0.12 * smooth(6 * a, 6 * b), 0.5 * ribs)


# -- made


def bricks(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A wall of bricks of many shades, in mortar of the second color."""
    count = rng.uniform(3.0, 4.2)
    x, y, value = _rows(u, v, count, count * 1.9)
    joint = np.maximum(np.abs(x) * 1.02, np.abs(y - 0.5))
    mortar = _step(joint, 0.42, 0.08)
    a, b = _shift(rng, u, v)
    tone = 0.7 + 0.5 * value + 0.3 * (fractal(5 * a, 5 * b) - 0.5)
    return Surface(mortar, np.where(mortar > 0.5, 0.9, tone).astype(np.float32), -mortar)


def plaster(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A rough wall, stained."""
    a, b = _shift(rng, u, v)
    rough = fractal(9 * a, 9 * b)
    stains = fractal(1.4 * a, 1.0 * b)
    return Surface(0.6 * _step(stains, 0.6, 0.4), 0.82 + 0.22 * rough + 0.12 * stains, 0.35 * rough)


def shingles(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A roof: rows of round or straight tiles."""
    count = rng.uniform(4.2, 6)
    x, y, value = _rows(u, v, count, count * 1.1)
    bow = rng.choice([0.0, 0.9])
    edge = _step(y + bow * (x * x - 0.05), 0.82, 0.14)
    gap = np.clip(1 - (0.5 - np.abs(x)) / 0.07, 0, 1)
    return Surface(0.7 * value, 0.72 + 0.4 * value - 0.4 * np.maximum(edge, 0.7 * gap), y)


def boards(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Boards laid along u, with seams: a hull, a door, a wooden wall."""
    count = rng.uniform(2.8, 4.2)
    board = np.floor(v * count)
    y = v * count - board
    a, b = _shift(rng, u, v)
    grain = smooth(a * 2.5 + board * 3.7, b * 22)
    seam = np.clip(1 - np.minimum(y, 1 - y) / 0.09, 0, 1)
    value = np.mod(np.sin(board * 78.233) * 43758.5, 1).astype(np.float32)
    return Surface(0.5 * value, 0.85 + 0.22 * grain + 0.2 * (value - 0.5) - 0.45 * seam, -seam)


def knit(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Knitted wool: columns of stitches, often with bands of the second color."""
    count = rng.uniform(6.5, 8.5)
    x = np.mod(u * count, 1) - 0.5
    stitch = np.sin(TURN * (v * count * 1.15 - 0.9 * np.abs(x)))
    column = np.clip(1 - (0.5 - np.abs(x)) / 0.13, 0, 1)
    kind, at, period = rng.random(), rng.uniform(-0.3, 0.2), rng.uniform(0.25, 0.5)
    zigzag = 0.1 * np.abs(np.mod(u * 3.5, 1) - 0.5) * 2
    if kind < 0.35:
        mix = _step(np.mod((v + zigzag) / period, 1), 0.5, 0.1)
    elif kind < 0.7:
        mix = _step(0.16 - np.abs(v + zigzag - at), 0, 0.04)
    else:
        mix = _flat(u)
    return Surface(mix, 0.82 + 0.2 * stitch - 0.25 * column, 0.5 + 0.35 * stitch - 0.5 * column)


def cloth(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Woven threads; plain, striped, checked or dotted; with folds."""
    count = 9.0
    threads = np.sin(TURN * count * u) * np.sin(TURN * count * v)
    a, b = _shift(rng, u, v)
    folds = smooth(2.4 * a + 0.8 * b, 0.9 * b)
    return Surface(_pattern(rng, u, v), 0.85 + 0.1 * threads + 0.25 * (folds - 0.3), 0.25 * threads + 0.5 * folds)


def _pattern(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> FloatImage:
    kind, period, slant = rng.random(), rng.uniform(0.22, 0.4), rng.choice([0, 0, math.pi / 2, 0.7])
    a = (u * math.cos(slant) + v * math.sin(slant)) / period
    b = (v * math.cos(slant) - u * math.sin(slant)) / period
    if kind < 0.25:
        return _flat(u)
    if kind < 0.55:
        return _step(np.sin(TURN * a), rng.uniform(-0.2, 0.5), 0.25)
    if kind < 0.8:
        return 0.5 * _step(np.sin(TURN * a), 0.1, 0.25) + 0.5 * _step(np.sin(TURN * b), 0.1, 0.25)
    return _step(0.28 - np.hypot(np.mod(a, 1) - 0.5, np.mod(b, 1) - 0.5), 0, 0.08)


def pleats(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Folds along v that fan out, lit from behind: a lamp's shade, a sail."""
    spread = u / (1.0 + 0.3 * v)
    fold = 0.5 + 0.5 * np.sin(TURN * rng.uniform(4, 7) * spread)
    glow = np.exp(-2.5 * (u * u + (v + 0.1) ** 2))
    trim = _step(np.abs(v), 0.86, 0.05)
    return Surface(np.clip(trim, 0, 1), 0.7 + 0.22 * fold + 0.4 * glow, 0.3 * fold)


def ceramic(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Glaze, crackled a little, with painted bands, dots or sprigs of the second color."""
    kind, at, width = rng.random(), rng.uniform(-0.3, 0.4), rng.uniform(0.06, 0.25)
    a, b = _shift(rng, u, v)
    if kind < 0.35:
        mix: FloatImage = _step(width - np.abs(v - at), 0, 0.03) + _step(0.03 - np.abs(v - at + width + 0.1), 0, 0.03)
    elif kind < 0.6:
        mix = _step(0.25 - np.hypot(np.mod(u * 3.4, 1) - 0.5, np.mod(v * 3.4, 1) - 0.5), 0, 0.08)
    elif kind < 0.8:
        middle, edge, value = cells(a * 3, b * 3)
        mix = _step(0.3 - middle * (0.8 + 0.5 * np.sin(9 * edge * TURN)), 0, 0.1) * _step(value, 0.35, 0.1)
    else:
        mix = _step(v, at, 0.05)
    crackle = np.clip(1 - cells(a * 5, b * 5)[1] / 0.06, 0, 1)
    return Surface(np.clip(mix, 0, 1), 0.98 - 0.07 * crackle + 0.06 * smooth(2 * a, 2 * b), _flat(u))


def metal(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Brushed metal: fine lines along v, bands that mirror bright and dark surroundings."""
    a, b = _shift(rng, u, v)
    brush = smooth(a * 30, b * 1.5)
    mirror = smooth(a * 1.2, b * 4 + 0.5)
    return Surface(_step(mirror, 0.6, 0.25), 0.62 + 0.2 * brush + 0.65 * mirror, 0.1 * brush)


def paint(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A car's paint: sky mirrored above, a dark road below."""
    a, _ = _shift(rng, u, v)
    horizon = 0.04 * np.sin(5 * a)
    tone = 1.12 - 0.3 * _step(v + horizon, 0.12, 0.1) + 0.16 * _step(-v, 0.28, 0.15)
    return Surface(_step(v, rng.uniform(0.45, 0.9), 0.03), tone + 0.06 * smooth(3 * u, 3 * v), _flat(u))


def glass(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A dark pane with slanted light."""
    streak = _step(np.sin(TURN * rng.uniform(0.8, 1.3) * (u + 0.7 * v) + rng.uniform(0, TURN)), 0.4, 0.3)
    return Surface(0.55 * streak + 0.25 * _step(-v, 0, 0.6), 0.9 + 0.2 * smooth(2 * u, 2 * v), _flat(u))


def leather(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Pebbled leather, worn to the second color."""
    a, b = _shift(rng, u, v)
    _, edge, _ = cells(a * 11, b * 11)
    crease = np.clip(1 - edge / 0.25, 0, 1)
    worn = _step(fractal(2 * a, 2 * b), rng.uniform(0.6, 0.8), 0.25)
    return Surface(0.7 * worn, 0.95 - 0.25 * crease + 0.12 * smooth(3 * a, 3 * b), -0.5 * crease)


def pages(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """The edges of many sheets of paper, along u."""
    a, b = _shift(rng, u, v)
    sheets = smooth(a * 1.5, b * 40)
    return Surface(0.3 * sheets, 0.75 + 0.4 * sheets, _flat(u))


def wicker(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A basket's weave."""
    x, y, value = _rows(u, v, 5, 10)
    over = np.cos(math.pi * x) * np.sin(math.pi * y)
    return Surface(0.5 * value, 0.5 + 0.7 * over, over)


def gores(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """The cloth of a balloon: panels from pole to pole in two colors, seams between, at times a belt."""
    around = (
        np.arcsin(np.clip(u / np.sqrt(np.clip(1.02 - 0.75 * v * v, 0.05, 1)), -1, 1)) / math.pi * rng.choice([8, 10])
    )
    panel = np.floor(around)
    seam = np.clip(1 - np.abs(around - np.rint(around)) / 0.09, 0, 1)
    kind = rng.random()
    mix = np.mod(panel, 2)
    if kind < 0.3:
        mix = _step(np.mod(around / 2 + 1.6 * v, 1), 0.5, 0.06)
    elif kind < 0.55:
        mix = _step(0.22 - np.abs(v + 0.1 + 0.12 * np.abs(np.mod(around, 1) - 0.5)), 0, 0.03)
    return Surface(mix.astype(np.float32), 1.0 - 0.2 * seam, -0.6 * seam)


def rubber(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Dull, fine-grained."""
    a, b = _shift(rng, u, v)
    return Surface(_flat(u), 0.85 + 0.3 * smooth(14 * a, 14 * b), _flat(u))


def sphere(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """A ball's: panels of a football, wedges of a beach ball, or seams of a basketball; `u`, `v` within its circle."""
    z = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
    slant, lean = rng.uniform(0, TURN), rng.uniform(-0.9, 0.9)
    x = u * math.cos(slant) + v * math.sin(slant)
    y = v * math.cos(slant) - u * math.sin(slant)
    y, z = y * math.cos(lean) - z * math.sin(lean), y * math.sin(lean) + z * math.cos(lean)
    kind = rng.random()
    pebbles = smooth(22 * u, 22 * v)
    if kind < 0.4:
        wedge = np.floor((np.arctan2(y, x) / TURN + 1) * 6)
        cap = _step(z, 0.93, 0.04)
        return Surface(np.maximum(np.mod(wedge, 2), cap).astype(np.float32), 0.97 + 0.06 * pebbles, _flat(u))
    if kind < 0.7:
        golden = (1 + math.sqrt(5)) / 2
        corners = np.array(
            [(0, 1, golden), (0, -1, golden), (1, golden, 0), (-1, golden, 0), (golden, 0, 1), (golden, 0, -1)]
        )
        corners = corners / np.linalg.norm(corners[0])
        closeness = np.abs(np.stack([x * c[0] + y * c[1] + z * c[2] for c in corners])).max(axis=0)
        seam = np.clip(1 - np.abs(closeness - 0.875) / 0.02, 0, 1)
        return Surface(_step(closeness, 0.925, 0.015), 1.0 + 0.05 * pebbles - 0.25 * seam, -0.5 * seam)
    lines = np.minimum(np.minimum(np.abs(x), np.abs(y)), np.abs(np.hypot(x, y * 0.75) - 0.62))
    seam = np.clip(1.6 - lines / 0.035, 0, 1)
    return Surface(seam.astype(np.float32), 0.86 + 0.28 * pebbles, 0.3 * pebbles - seam)


def stone(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Rock: rough in every size."""
    a, b = _shift(rng, u, v)
    rough = fractal(3 * a, 3 * b)
    return Surface(_step(fractal(6 * a, 6 * b), 0.6, 0.2), 0.6 + 0.7 * rough, 1.2 * rough)


def plain(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> Surface:
    """Nearly nothing, for small parts."""
    return Surface(_flat(u), _flat(u, 1.0), _flat(u))


MATERIALS: dict[str, Material] = {
    made.__name__: made
    for made in (
        *(fur, scales, feathers, foliage, veins, petal, wing, bark, wood, peel, rind, seeds, florets, spots, gills),
        *(bricks, plaster, shingles, boards, knit, cloth, pleats, ceramic, metal, paint, glass, leather, pages, wicker),
        *(gores, rubber, sphere, stone, plain),
    )
}
"""By name, as parts name them."""

GLOSS = {"ceramic": 0.75, "metal": 0.8, "paint": 0.7, "glass": 0.6, "peel": 0.5, "spots": 0.3, "seeds": 0.4} | {
    "scales": 0.4,
    "rind": 0.15,
    "leather": 0.35,
    "sphere": 0.3,
    "gores": 0.2,
    "plain": 0.25,
    "wood": 0.15,
}
"""How much of the light a material mirrors; the others none."""
