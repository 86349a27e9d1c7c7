"""Grown things of practice scenes: animals, plants and fruit.

Each function draws one instance: it takes a generator and the instance's colors, and returns parts from back to front.
"""

import math

import numpy as np

from orl_explore.practice.anatomy import (
    Coat,
    Part,
    Points,
    blob,
    color,
    curve,
    darker,
    limb,
    mirrored,
    moved,
    oval,
    polygon,
    turned,
)
from orl_explore.practice.contexts import Color

BLACK, WHITE = (0.06, 0.05, 0.05), (0.96, 0.95, 0.92)


def _eye(x: float, y: float, radius: float, iris: Color, *, slit: float = 1.0) -> list[Part]:
    """An eye with a pupil, `slit` times as wide as high, and a glint."""
    return [
        Part(oval(x, y, radius, radius), "plain", iris, round=0.05),
        Part(oval(x, y, 0.6 * radius * slit, 0.62 * radius), "plain", BLACK, round=0, shade=0),
        Part(oval(x - 0.25 * radius, y - 0.3 * radius, 0.2 * radius, 0.2 * radius), "plain", WHITE, round=0, shade=0),
    ]


def fish(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A fish from its side."""
    deep, tail, fin = rng.uniform(0.36, 0.52), rng.uniform(0.36, 0.55), rng.uniform(0.14, 0.3)
    fins = coat[int(rng.integers(2))]
    body = blob((-0.55, -0.1), (-0.1, -deep * 0.85), (0.4, -deep), (0.8, -deep * 0.6), (1.0, 0.02), (0.8, deep * 0.55))
    body = np.concatenate([body[:-8], blob((0.8, deep * 0.55), (0.4, deep), (-0.1, deep * 0.8), (-0.55, 0.1))[:-8]])
    gill = curve((0.52, -0.3 * deep / 0.4), (0.42, 0.0), (0.52, 0.28 * deep / 0.4))
    return [
        Part(
            blob((-0.4, 0), (-0.75, -tail * 0.7), (-1.05, -tail), (-0.9, 0), (-1.05, tail), (-0.75, tail * 0.7)),
            *("gills", fins, coat[1]),
            turn=90,
            round=0.08,
        ),
        Part(
            blob((-0.3, -deep * 0.6), (-0.05, -deep - fin), (0.45, -deep - 0.6 * fin), (0.6, -deep * 0.7), (0.2, -0.1)),
            *("gills", fins, coat[1]),
            turn=20,
            round=0.06,
        ),
        Part(
            blob((-0.1, deep * 0.7), (-0.15, deep + 0.7 * fin), (0.15, deep + 0.2 * fin), (0.3, deep * 0.8)),
            *("gills", fins, coat[1]),
            round=0.06,
        ),
        Part(body, "scales", coat[0], coat[1], round=0.4),
        Part(
            blob((0.62, -deep * 0.9), (1.02, 0.02), (0.62, deep * 0.85), (0.5, 0.3), (0.44, 0), (0.5, -0.3)),
            *("peel", coat[0], coat[1]),
            round=0.2,
            shade=0.2,
        ),
        Part(limb(gill, 0.02, 0.06, 0.02), "plain", darker(coat[0], 0.5), round=0, shade=0.2),
        Part(
            blob((0.3, 0.02), (0.02, 0.1), (-0.06, 0.24), (0.14, 0.26), (0.32, 0.14)), "gills", fins, coat[1], turn=70
        ),
        Part(limb(curve((0.98, 0.1), (0.86, 0.14)), 0.04, 0.02), "plain", BLACK, round=0, shade=0),
        *_eye(0.7, -0.1, rng.uniform(0.085, 0.12), color("yellow", rng) if rng.random() < 0.5 else WHITE),
    ]


def butterfly(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A butterfly from above, wings spread."""
    span, droop, low = rng.uniform(0.85, 1.0), rng.uniform(-0.85, -0.6), rng.uniform(0.6, 0.85)
    upper = blob((0.05, -0.1), (0.3, -0.55), (span * 0.8, droop), (span, droop * 0.85), (span * 0.9, -0.1), (0.4, 0.12))
    lower = blob((0.05, 0.05), (0.45, 0.02), (0.72, 0.25), (0.62, low * 0.9), (0.42, low), (0.15, 0.5))
    edge = BLACK if rng.random() < 0.7 else darker(coat[0], 0.4)
    seed, parts = int(rng.integers(1 << 30)), []
    for outline, inner, hue in ((lower, 0.72, coat[1]), (upper, 0.78, coat[0])):
        middle = outline.mean(axis=0)
        small = (outline - middle) * inner + middle * [0.94, 0.97]
        for side in (1, -1):
            shape, field = (outline, small) if side > 0 else (mirrored(outline), mirrored(small))
            parts.append(Part(shape, "fur", edge, edge, round=0.04, grain=0.5))
            parts.append(Part(field, "wing", hue, edge, round=0.03, shade=0.0, grain=0.8))
    dots = oval(span * 0.83, droop * 0.75, 0.05, 0.05), oval(span * 0.86, droop * 0.5, 0.04, 0.04)
    parts += [Part(shape, "plain", WHITE, round=0, shade=0) for dot in dots for shape in (dot, mirrored(dot))]
    feeler = limb(curve((0.02, -0.35), (0.1, -0.6), (0.2, -0.75 - 0.1 * (seed % 2))), 0.03, 0.02, 0.05)
    parts += [Part(shape, "plain", BLACK, round=0, shade=0.1) for shape in (feeler, mirrored(feeler))]
    body = blob(
        (0, -0.45), (0.09, -0.35), (0.07, 0), (0.08, 0.25), (0, 0.62), (-0.08, 0.25), (-0.07, 0), (-0.09, -0.35)
    )
    return [*parts, Part(body, "fur", darker(edge, 0.5), color("brown", rng), round=0.09, grain=0.3)]


def cat(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A cat that sits and looks at you."""
    wide, ear, lean = rng.uniform(0.46, 0.54), rng.uniform(0.28, 0.36), rng.uniform(-0.08, 0.08)
    pink = color("pink", rng)
    side = rng.choice([-1, 1])
    tail = curve((0.35, 0.85), (0.72, 0.8), (0.8, 0.45), (0.66, 0.2)) * [side, 1]
    head = blob(
        (0, -0.72), (0.3, -0.68), (wide, -0.38), (0.36, -0.06), (0, 0.02), (-0.36, -0.06), (-wide, -0.38), (-0.3, -0.68)
    )
    chest = blob((0, -0.15), (0.4, 0.15), (0.52, 0.65), (0.45, 0.98), (-0.45, 0.98), (-0.52, 0.65), (-0.4, 0.15))
    parts = [
        Part(limb(tail, 0.2, 0.18, 0.12), "fur", coat[0], coat[1], round=0.1, turn=90, grain=0.8),
        Part(chest, "fur", coat[0], coat[1], round=0.4),
    ]
    for x in (-0.17, 0.17):
        leg = blob((x - 0.12, 0.45), (x + 0.12, 0.45), (x + 0.13, 0.98), (x - 0.13, 0.98))
        parts.append(Part(leg, "fur", coat[0], coat[1], round=0.12, grain=0.8))
    for sign in (-1, 1):
        tip = (sign * (wide - 0.02), -0.62 - ear)
        outer = blob((sign * 0.12, -0.62), (sign * 0.3, -0.78), tip, (sign * (wide + 0.02), -0.6), (sign * wide, -0.35))
        inner = polygon((sign * 0.26, -0.64), tip, (sign * wide * 0.94, -0.48))
        small = (inner - inner.mean(axis=0)) * 0.62 + inner.mean(axis=0)
        parts.append(Part(moved(outer, lean, 0), "fur", coat[0], coat[1], round=0.06))
        parts.append(Part(moved(small, lean, 0), "fur", pink, pink, round=0.02, shade=0.2))
    iris = color(str(rng.choice(["lime", "yellow", "sky", "orange"])), rng)
    parts.append(Part(moved(head, lean, 0), "fur", coat[0], coat[1], round=0.36, turn=180 * (rng.random() < 0.5)))
    muzzle = Part(oval(lean, -0.17, 0.22, 0.15), "fur", WHITE, WHITE, round=0.12, shade=0.05, grain=0.6)
    eyes = [_eye(sign * 0.22 + lean, -0.38, 0.105, iris, slit=rng.uniform(0.35, 0.9)) for sign in (-1, 1)]
    nose = Part(polygon((lean - 0.07, -0.25), (lean + 0.07, -0.25), (lean, -0.17)), "plain", pink, round=0.02)
    mouth = limb(moved(curve((-0.12, -0.1), (-0.05, -0.08), (0, -0.15), (0.05, -0.08), (0.12, -0.1)), lean, 0), 0.025)
    hairs = [
        Part(
            limb(polygon((sign * 0.14 + lean, -0.16), (sign * 0.6 + lean, y)), 0.016, 0.008),
            "plain",
            WHITE,
            round=0,
            shade=0.2,
        )
        for sign in (-1, 1)
        for y in (-0.22, -0.1)
    ]
    return [*parts, muzzle, *eyes[0], *eyes[1], nose, Part(mouth, "plain", BLACK, round=0, shade=0), *hairs]


def owl(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """An owl on a branch, from the front."""
    wide, tuft, low = rng.uniform(0.5, 0.62), rng.uniform(0.0, 0.22), rng.uniform(0.7, 0.8)
    iris, beak = color(str(rng.choice(["yellow", "orange"])), rng), color(str(rng.choice(["tan", "charcoal"])), rng)
    body = blob(
        (0, -0.88),
        (0.34, -0.82),
        (0.5, -0.5),
        (wide, 0.1),
        (0.38, low),
        (0, low + 0.12),
        (-0.38, low),
        (-wide, 0.1),
        (-0.5, -0.5),
        (-0.34, -0.82),
    )
    belly = blob((0, -0.22), (0.3, 0.0), (0.3, 0.5), (0, low + 0.05), (-0.3, 0.5), (-0.3, 0.0))
    wing = blob((0.42, -0.3), (wide + 0.06, 0.1), (wide - 0.08, 0.7), (0.38, 0.86), (0.3, 0.3))
    parts = [
        Part(
            limb(curve((-0.95, 0.9), (0, 0.86), (0.95, 0.84)), 0.13, 0.1),
            "bark",
            color("brown", rng),
            color("tan", rng),
            turn=90,
            round=0.07,
        ),
        Part(blob((-0.14, 0.6), (0.14, 0.6), (0.12, 1.1), (-0.12, 1.1)), "feathers", coat[0], coat[1], grain=0.7),
    ]
    for sign in (-1, 1):
        ear = polygon((sign * 0.12, -0.78), (sign * 0.42, -0.86 - tuft), (sign * 0.48, -0.55))
        parts.append(Part(ear, "feathers", coat[0], coat[1], round=0.05, grain=0.5))
    parts += [
        Part(body, "feathers", coat[0], coat[1], round=0.4),
        Part(belly, "feathers", coat[1], coat[0], round=0.25, grain=0.75, shade=0.15),
        Part(wing, "feathers", darker(coat[0], 0.85), coat[1], round=0.15, turn=-14),
        Part(mirrored(wing), "feathers", darker(coat[0], 0.85), coat[1], round=0.15, turn=14),
    ]
    radius = rng.uniform(0.115, 0.15)
    for sign in (-1, 1):
        disc = oval(sign * 0.22, -0.48, 0.255, 0.27)
        parts.append(Part(disc, "petal", coat[1], WHITE, round=0.08, grain=0.3, shade=0.4))
        parts += _eye(sign * 0.2, -0.48, radius, iris)
        for x in (0.12, 0.22):
            parts.append(Part(oval(sign * x, 0.87, 0.05, 0.08), "plain", beak, round=0.04))
    return [
        *parts,
        Part(blob((-0.07, -0.42), (0.07, -0.42), (0.03, -0.25), (0, -0.2), (-0.03, -0.25)), "plain", beak, round=0.06),
    ]


def tree(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A tree: a trunk that forks below a round, a wide or a pointed crown."""
    trunk = color(str(rng.choice(["brown", "gray", "brown"])), rng), color("tan", rng)
    thick, lean = rng.uniform(0.17, 0.25), rng.uniform(-0.08, 0.08)
    stem = limb(curve((0, 1.0), (lean, 0.5), (0, 0.0)), thick * 1.7, thick, thick * 0.8)
    parts = [Part(stem, "bark", *trunk, round=0.1, grain=0.8)]
    for sign in (-1, 1):
        branch = curve((0, 0.45), (sign * 0.2, 0.2), (sign * 0.42, 0.0))
        parts.append(Part(limb(branch, thick * 0.6, thick * 0.3), "bark", *trunk, round=0.06, grain=0.8))
    if rng.random() < 0.3:
        tiers = int(rng.integers(3, 5))
        for tier in range(tiers):
            y, half = 0.5 - tier * 1.25 / tiers, 0.68 * (1 - 0.7 * tier / tiers)
            skirt = blob(
                (0, y - 0.75),
                (half * 0.5, y - 0.25),
                (half, y),
                (half * 0.4, y + 0.06),
                (-half * 0.4, y + 0.06),
                (-half, y),
                (-half * 0.5, y - 0.25),
            )
            parts.append(Part(skirt, "foliage", coat[0], coat[1], round=0.25, grain=0.8, shade=0.5))
        return parts
    wide, high = rng.uniform(0.55, 0.75), rng.uniform(0.5, 0.62)
    count, start = int(rng.integers(6, 9)), rng.uniform(0, 1)
    for k in range(count):
        angle = 2 * math.pi * (k + start) / count
        x, y = 0.62 * wide * math.cos(angle), -0.36 + 0.6 * high * math.sin(angle)
        radius = rng.uniform(0.3, 0.42)
        parts.append(Part(_ragged(x, y, radius, rng), "foliage", coat[0], coat[1], round=0.25, shade=0.3))
    return [*parts, Part(_ragged(0, -0.42, 0.5, rng), "foliage", coat[0], coat[1], round=0.4, shade=0.3)]


def _ragged(x: float, y: float, radius: float, rng: np.random.Generator) -> Points:
    """A circle with an uneven edge, of leaves."""
    angle = np.linspace(0, 2 * math.pi, 22, endpoint=False)
    r = radius * rng.uniform(0.84, 1.08, 22)
    return blob(*zip((x + r * np.cos(angle)).tolist(), (y + r * np.sin(angle)).tolist(), strict=True))


def flower(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A flower on its stem, seen from the front: a daisy, a tulip's cousin or a sunflower, by its petals."""
    count, long, wide = int(rng.integers(5, 14)), rng.uniform(0.5, 0.58), 0.0
    wide = min(0.26, 2.1 / count) * rng.uniform(0.85, 1.1)
    green = color("green", rng), color("lime", rng)
    lean = rng.uniform(-0.15, 0.15)
    parts = [Part(limb(curve((0, -0.3), (lean, 0.4), (0, 1.0)), 0.08, 0.1), "gills", *green, round=0.06)]
    for sign in (-1, 1):
        y = rng.uniform(0.45, 0.75)
        leaf = blob((lean * 0.6, y), (sign * 0.25, y - 0.28), (sign * 0.55, y - 0.3), (sign * 0.35, y - 0.02))
        parts.append(Part(leaf, "veins", *green, round=0.1, turn=sign * 62, grain=0.35))
    core, squash = rng.uniform(0.14, 0.24), rng.uniform(0.85, 1.0)
    turn = rng.uniform(0, 360 / count)
    shape = (
        oval(0, -long * 0.6, wide, long * 0.5)
        if rng.random() < 0.6
        else blob((0, -0.05), (wide, -long * 0.7), (0, -long * 1.12), (-wide, -long * 0.7))
    )
    for ring in ((1.0, 0.0), (0.78, 180 / count)) if count > 7 else ((1.0, 0.0),):
        for k in range(count):
            angle = turn + ring[1] + 360 * k / count
            outline = turned(shape * ring[0], angle) * [1, squash] + [0, -0.42]
            parts.append(Part(outline, "petal", coat[0], coat[1], round=0.12, turn=angle, grain=0.5, shade=0.3))
    heart = color("yellow", rng)
    return [
        *parts,
        Part(oval(0, -0.42, core, core * squash), "florets", heart, color("brown", rng), round=0.16, grain=0.7),
    ]


def mushroom(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A mushroom: a cap with warts, gills and a ring on a pale stem."""
    wide, high, thick = rng.uniform(0.78, 0.98), rng.uniform(0.6, 0.95), rng.uniform(0.2, 0.32)
    pale = color("cream", rng), color("tan", rng)
    rim = rng.uniform(-0.05, 0.1)
    cap = blob(
        (-wide, rim),
        (-wide * 0.75, rim - 0.6 * high),
        (0, rim - high),
        (wide * 0.75, rim - 0.6 * high),
        (wide, rim),
        (0.5 * wide, rim + 0.1),
        (0, rim + 0.13),
        (-0.5 * wide, rim + 0.1),
    )
    stem = limb(curve((0, 0), (rng.uniform(-0.06, 0.06), 0.5), (0, 0.95)), thick * 1.7, thick * 1.6, thick * 2.2)
    return [
        Part(stem, "gills", *pale, round=0.2, grain=1.2),
        Part(
            blob((-wide * 0.9, rim), (0, rim - 0.2), (wide * 0.9, rim), (0, rim + 0.24)),
            "gills",
            *pale,
            round=0.05,
            grain=0.6,
        ),
        Part(limb(curve((-thick * 1.2, 0.38), (0, 0.46), (thick * 1.2, 0.38)), 0.1), "gills", *pale, round=0.05),
        Part(cap, "spots", coat[0], coat[1], round=0.45, shade=0.5),
    ]


def leaf(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A fallen leaf: oval and toothed, or lobed like a maple's or an oak's."""
    kind, bend = rng.random(), rng.uniform(-0.15, 0.15)
    t = np.linspace(0, 1, 40)
    if kind < 0.4:
        half = (
            rng.uniform(0.5, 0.66)
            * np.sin(math.pi * t**0.75) ** 0.9
            * (1 + 0.1 * np.sign(np.sin(2 * math.pi * 11 * t)))
        )
    elif kind < 0.7:
        half = (
            rng.uniform(0.42, 0.55)
            * np.sin(math.pi * t**0.8) ** 0.7
            * (1 + 0.3 * np.sin(2 * math.pi * (4.5 * t + 0.3)))
        )
    else:
        tips = [(-90, 1.0), (-62, 0.52), (-38, 0.95), (-12, 0.5), (18, 0.78), (62, 0.4), (90, 0.32)]
        right = [(r * math.cos(math.radians(a)), r * math.sin(math.radians(a))) for a, r in tips]
        blade = np.concatenate([right, mirrored(np.array(right))[::-1]])
        stalk = limb(curve((0, 0.3), (bend * 0.5, 0.65), (bend, 1.0)), 0.06, 0.05)
        return [Part(stalk, "plain", coat[1], round=0.02), Part(blade, "veins", *coat, round=0.05)]
    y = -1.0 + 1.6 * t
    middle = bend * np.sin(math.pi * t)
    blade = np.concatenate([np.stack([middle + half, y], axis=1), np.stack([middle - half, y], axis=1)[::-1]])
    stalk = limb(curve((0, 0.55), (bend * 0.4, 0.8), (bend, 1.0)), 0.07, 0.05)
    return [Part(stalk, "plain", coat[1], round=0.02), Part(blade, "veins", *coat, round=0.08)]


def apple(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """An apple with its stalk, often a leaf, sometimes bitten."""
    wide, low = rng.uniform(0.82, 0.95), rng.uniform(0.78, 0.92)
    body = blob(
        (0, -0.5),
        (0.4, -0.66),
        (wide, -0.3),
        (wide * 0.9, 0.35),
        (0.42, low),
        (0, low - 0.1),
        (-0.42, low),
        (-wide * 0.9, 0.35),
        (-wide, -0.3),
        (-0.4, -0.66),
    )
    side = rng.choice([-1, 1])
    parts = [Part(body, "peel", coat[0], coat[1], round=0.75)]
    hollow = oval(0, -0.48, 0.26, 0.09)
    parts.append(Part(hollow, "peel", darker(coat[0], 0.55), coat[1], round=0, shade=0.1))
    stalk = limb(curve((0, -0.46), (side * 0.03, -0.7), (side * 0.14, -0.92)), 0.07, 0.1)
    parts.append(Part(stalk, "bark", color("brown", rng), color("tan", rng), round=0.04))
    if rng.random() < 0.7:
        blade = blob((0, -0.62), (-side * 0.2, -0.88), (-side * 0.6, -0.9), (-side * 0.35, -0.62))
        parts.append(
            Part(blade, "veins", color("green", rng), color("lime", rng), round=0.08, turn=-side * 70, grain=0.35)
        )
    return parts


def banana(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """One to three bananas that share a stalk."""
    count, bow, thick = int(rng.choice([1, 1, 2, 3])), rng.uniform(0.5, 0.75), rng.uniform(0.34, 0.44)
    dark = color("brown", rng)
    parts = []
    for k in reversed(range(count)):
        drop = 0.22 * k
        line = curve(
            (-0.92, -0.42),
            (-0.6, 0.0 + drop),
            (0, bow - 0.32 + drop),
            (0.55, 0.1 + drop),
            (0.9 - 0.06 * k, -0.36 + drop),
        )
        parts.append(Part(limb(line, 0.1, thick * 0.8, thick, thick, thick * 0.8, 0.1), "rind", *coat, round=0.18))
        tip = line[-5:]
        parts.append(Part(limb(tip, 0.16, 0.09), "bark", dark, dark, round=0.04, shade=0.1))
    stalk = limb(curve((-0.82, -0.3), (-0.92, -0.45), (-0.95, -0.62)), 0.16, 0.13, 0.17)
    return [*parts, Part(stalk, "rind", coat[1], dark, round=0.06, turn=90)]


def strawberry(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A strawberry under its leaves."""
    wide, point = rng.uniform(0.66, 0.84), rng.uniform(-0.12, 0.12)
    body = blob(
        (0, -0.6),
        (0.45, -0.62),
        (wide, -0.25),
        (wide * 0.75, 0.35),
        (0.2 + point, 0.88),
        (point, 0.97),
        (-0.2 + point, 0.88),
        (-wide * 0.75, 0.35),
        (-wide, -0.25),
        (-0.45, -0.62),
    )
    green = color("green", rng), color("lime", rng)
    parts = [Part(body, "seeds", coat[0], coat[1], round=0.6)]
    count = int(rng.integers(5, 8))
    for k in range(count):
        angle = -80 + 160 * k / (count - 1) + rng.uniform(-8, 8)
        long = rng.uniform(0.5, 0.68)
        blade = turned(blob((0, 0), (0.12, long * 0.45), (0, long), (-0.12, long * 0.45)), -angle) * [1, 0.62] + [
            0,
            -0.62,
        ]
        parts.append(Part(blade, "veins", *green, round=0.06, turn=-angle, grain=0.3))
    stalk = limb(curve((0, -0.58), (0.04, -0.8), (rng.uniform(-0.2, 0.2), -1.0)), 0.09, 0.07)
    return [*parts, Part(stalk, "gills", *green, round=0.04)]
