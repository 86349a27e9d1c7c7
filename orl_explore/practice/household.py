"""Things of a household in practice scenes: crockery, clothes, books, toys.

Each function draws one instance: it takes a generator and the instance's colors, and returns parts from back to front.
"""

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
    slab,
    turned,
)

BLACK, WHITE = (0.07, 0.07, 0.07), (0.94, 0.93, 0.9)


def _handle(x: float, y: float, wide: float, high: float, thick: float) -> tuple[Points, Points]:
    return oval(x, y, wide, high), oval(x, y, wide - thick, high - thick)


def mug(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A mug with its handle, full of coffee, of tea or empty."""
    wide, taper, low = rng.uniform(0.56, 0.66), rng.uniform(-0.04, 0.14), rng.uniform(0.72, 0.92)
    rim, deep = -0.6, rng.uniform(0.13, 0.19)
    body = np.concatenate(
        [
            curve(
                (-wide, rim), (-wide + taper * 0.4, 0.1), (-wide + taper, low - 0.08), (-wide * 0.5 + taper, low + 0.05)
            ),
            curve(
                (0, low + 0.09),
                (wide * 0.5 - taper, low + 0.05),
                (wide - taper, low - 0.08),
                (wide - taper * 0.4, 0.1),
                (wide, rim),
            ),
        ]
    )
    handle = _handle(wide - 0.02, 0.06, rng.uniform(0.36, 0.44), rng.uniform(0.36, 0.48), rng.uniform(0.13, 0.17))
    inside = str(rng.choice(["brown", "charcoal", "cream", "tan"]))
    return [
        Part(tuple(h - [0.1, 0] for h in handle), "ceramic", coat[0], coat[0], round=0.08),
        Part(body - [0.1, 0], "ceramic", coat[0], coat[1], round=0.4),
        Part(oval(-0.1, rim, wide + 0.015, deep), "ceramic", coat[0], coat[0], round=0.05, shade=0.15),
        Part(oval(-0.1, rim, wide - 0.06, deep - 0.045), "plain", darker(coat[0]), round=0, shade=0),
        Part(
            oval(-0.1, rim + 0.025, wide - 0.09, deep - 0.065),
            "glass",
            color(inside, rng),
            color(inside, rng),
            round=0,
            shade=0,
        ),
    ]


def teapot(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A teapot with spout, handle and lid."""
    round_, high, low = rng.uniform(0.54, 0.64), rng.uniform(0.42, 0.58), rng.uniform(0.62, 0.72)
    body = blob(
        (0, -high),
        (0.4, -high + 0.08),
        (round_, 0.05),
        (0.46, low - 0.1),
        (0.3, low),
        (-0.3, low),
        (-0.46, low - 0.1),
        (-round_, 0.05),
        (-0.4, -high + 0.08),
    )
    spout = limb(curve((0.42, 0.25), (0.68, 0.12), (0.78, -0.2), (0.98, -0.4)), 0.34, 0.2, 0.15, 0.13)
    handle = _handle(-0.6, 0.02, 0.36, rng.uniform(0.36, 0.44), 0.11)
    trim = coat[1] if rng.random() < 0.6 else coat[0]
    lid = blob(
        (-0.36, -high + 0.04),
        (-0.22, -high - 0.12),
        (0, -high - 0.17),
        (0.22, -high - 0.12),
        (0.36, -high + 0.04),
        (0, -high + 0.11),
    )
    return [
        Part(handle, "ceramic", trim, trim, round=0.07),
        Part(spout, "ceramic", coat[0], coat[0], round=0.12),
        Part(oval(0.98, -0.41, 0.085, 0.05, turn=-35), "ceramic", darker(trim), round=0),
        Part(slab(-0.34, low - 0.08, 0.34, low + 0.06, 0.05), "ceramic", trim, trim, round=0.05),
        Part(body, "ceramic", coat[0], coat[1], round=0.5),
        Part(lid, "ceramic", coat[0], coat[1], round=0.16, grain=0.6, shade=0.45),
        Part(oval(0, -high - 0.24, 0.1, 0.1), "ceramic", trim, trim, round=0.1),
    ]


def ball(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A football, beach ball or basketball."""
    return [Part(oval(0, 0, 1, 1), "sphere", coat[0], coat[1], round=0.95)]


def book(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A closed book, standing a little turned: cover, spine and pages."""
    wide, thick, lift = rng.uniform(0.9, 1.15), rng.uniform(0.2, 0.36), rng.uniform(0.1, 0.2)
    left, right, top, low = -wide / 2, wide / 2, -0.85, 0.9
    cloth = str(rng.choice(["leather", "leather", "cloth", "plain"]))
    gold = color(str(rng.choice(["yellow", "cream", "tan"])), rng)
    sheets = polygon((left, top), (left + thick, top - lift), (right + thick, top - lift), (right, top))
    spine = polygon((right, top), (right + thick, top - lift), (right + thick, low - lift), (right, low))
    parts = [
        Part(sheets, "pages", color("cream", rng), color("tan", rng), round=0.01, turn=0, grain=0.5),
        Part(spine, "pages", color("cream", rng), color("tan", rng), round=0.01, turn=90, grain=0.5),
        Part(slab(left, top, right, low, 0.03), cloth, coat[0], coat[1], round=0.04),
        Part(slab(left, top, left + 0.13, low, 0.02), cloth, darker(coat[0], 0.75), coat[1], round=0.05, shade=0.3),
    ]
    panel = rng.uniform(-0.55, -0.3)
    if rng.random() < 0.55:
        parts.append(
            Part(slab(left + 0.24, panel, right - 0.12, panel + 0.4, 0.02), "plain", gold, round=0.01, shade=0.1)
        )
        ink = darker(coat[0], 0.5)
    else:
        frame = (
            slab(left + 0.21, top + 0.1, right - 0.09, low - 0.1),
            slab(left + 0.25, top + 0.14, right - 0.13, low - 0.14),
        )
        parts.append(Part(frame, "metal", gold, round=0, shade=0))
        ink = gold
    for k in range(3 if rng.random() < 0.5 else 2):
        y = panel + 0.09 + 0.12 * k
        parts.append(
            Part(slab(left + 0.32, y, right - 0.2 - 0.12 * (k % 2), y + 0.055), "plain", ink, round=0, shade=0)
        )
    if rng.random() < 0.6:
        parts.append(
            Part(oval((left + right) / 2 + 0.06, 0.4, 0.17, 0.2), "metal", gold, coat[1], round=0.02, shade=0.1)
        )
    return parts


def sweater(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A knitted sweater laid out, with cuffs, a hem and a collar."""
    wide, low, out = rng.uniform(0.46, 0.56), rng.uniform(0.78, 0.92), rng.uniform(0.82, 0.98)
    cuff = coat[1] if rng.random() < 0.5 else darker(coat[0], 0.85)
    sleeve = blob(
        (0.25, -0.72), (0.55, -0.62), (out * 0.88, 0.1), (out, 0.6), (out - 0.25, 0.66), (0.52, 0.1), (0.38, -0.2)
    )
    end = polygon((out - 0.27, 0.58), (out + 0.02, 0.52), (out + 0.04, 0.7), (out - 0.23, 0.77))
    trunk = blob(
        (-0.24, -0.74),
        (0.24, -0.74),
        (wide, -0.5),
        (wide, 0.2),
        (wide, low),
        (0, low + 0.03),
        (-wide, low),
        (-wide, 0.2),
        (-wide, -0.5),
    )
    parts = []
    for sign in (1, -1):
        arm, hand = (sleeve, end) if sign > 0 else (mirrored(sleeve), mirrored(end))
        parts.append(Part(arm, "knit", coat[0], coat[1], round=0.14, turn=-sign * 22))
        parts.append(Part(hand, "knit", cuff, cuff, round=0.06, turn=-sign * 18, grain=0.7, shade=0.2))
    parts.append(Part(trunk, "knit", coat[0], coat[1], round=0.2, shade=0.4))
    parts.append(
        Part(slab(-wide, low - 0.12, wide, low + 0.06, 0.05), "knit", cuff, cuff, round=0.07, grain=0.6, shade=0.25)
    )
    neck = rng.choice([0.0, 0.14])
    hole = blob((-0.25, -0.76 - neck), (0, -0.82 - neck), (0.25, -0.76 - neck), (0, -0.6 - neck / 2))
    collar = blob((-0.3, -0.74), (-0.28, -0.8 - neck), (0, -0.86 - neck), (0.28, -0.8 - neck), (0.3, -0.74), (0, -0.5))
    parts.append(Part(collar, "knit", cuff, cuff, round=0.06, grain=0.6, shade=0.25))
    return [*parts, Part(hole, "knit", darker(cuff, 0.4), darker(cuff, 0.4), round=0, grain=0.6, shade=0)]


def shoe(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A trainer or a leather shoe, from its side."""
    ankle, toe, sole = rng.uniform(-0.62, -0.34), rng.uniform(0.08, 0.18), rng.uniform(0.14, 0.22)
    material = str(rng.choice(["leather", "leather", "cloth"]))
    upper = blob(
        (-0.92, 0.4),
        (-0.97, 0.0),
        (-0.9, ankle),
        (-0.62, ankle + 0.08),
        (-0.32, ankle + 0.02),
        (-0.18, ankle + 0.16),
        (0.25, toe - 0.14),
        (0.75, toe),
        (0.97, 0.3),
        (0.95, 0.45),
        (0, 0.46),
    )
    cap = blob((0.5, 0.46), (0.46, 0.2), (0.58, toe - 0.05), (0.8, toe + 0.02), (0.99, 0.3), (0.96, 0.46))
    heel = blob((-0.96, 0.44), (-0.98, 0.05), (-0.92, -0.14), (-0.72, 0.05), (-0.62, 0.44))
    bottom = blob(
        (-0.97, 0.42),
        (0.98, 0.42),
        (1.02, 0.5),
        (0.9, 0.42 + sole),
        (0.3, 0.4 + sole),
        (-0.4, 0.42 + sole),
        (-0.95, 0.42 + sole),
        (-1.02, 0.5),
    )
    opening = blob((-0.86, ankle + 0.06), (-0.6, ankle + 0.02), (-0.34, ankle + 0.06), (-0.58, ankle + 0.17))
    lace = WHITE if rng.random() < 0.6 else coat[1]
    rubber = color(str(rng.choice(["white", "cream", "charcoal", "brown"])), rng)
    stripe = [curve((-0.25, 0.42), (-0.05, 0.15), (0.18, 0.05)), curve((-0.45, 0.42), (-0.28, 0.12), (-0.05, -0.02))]
    parts = [
        Part(bottom, "rubber", rubber, round=0.06),
        Part(upper, material, coat[0], coat[1], round=0.25),
        Part(opening, "cloth", darker(coat[0], 0.35), round=0, shade=0.2),
        Part(cap, material, coat[1], coat[0], round=0.18, shade=0.2),
        Part(heel, material, coat[1], coat[0], round=0.12, shade=0.2),
    ]
    if rng.random() < 0.5:
        parts += [Part(limb(line, 0.08), "leather", coat[1], round=0.03, shade=0.1) for line in stripe]
    for k in range(int(rng.integers(3, 6))):
        x, y = -0.2 + 0.13 * k, ankle + 0.2 + (toe - 0.2 - ankle) * 0.24 * k
        parts.append(Part(limb(polygon((x - 0.1, y + 0.14), (x + 0.1, y - 0.03)), 0.055), "cloth", lace, round=0.03))
    line = limb(curve((-0.97, 0.47), (0, 0.48), (0.99, 0.47)), 0.035)
    return [*parts, Part(line, "plain", darker(rubber, 0.6), round=0, shade=0)]


def clock(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A clock with a dial and hands: an alarm clock on its feet with bells, or one from a wall."""
    case = str(rng.choice(["metal", "wood", "plain", "metal"]))
    face, ink = color(str(rng.choice(["white", "cream", "cream", "charcoal"])), rng), BLACK
    ink = WHITE if max(face) < 0.5 else BLACK
    parts = []
    alarm = rng.random() < 0.65
    if alarm:
        for sign in (-1, 1):
            foot = limb(polygon((sign * 0.4, 0.6), (sign * 0.62, 1.02)), 0.16, 0.1)
            bell = moved(
                turned(blob((-0.27, 0.06), (-0.2, -0.16), (0, -0.24), (0.2, -0.16), (0.27, 0.06)), sign * 32),
                sign * 0.46,
                -0.78,
            )
            parts += [
                Part(foot, case, coat[1], darker(coat[1]), round=0.06),
                Part(bell, "metal", coat[1], darker(coat[1]), round=0.15),
            ]
        arch = curve((-0.2, -0.9), (0, -1.08), (0.2, -0.9))
        parts.append(Part(limb(arch, 0.06), "metal", coat[1], round=0.03))
    square = not alarm and rng.random() < 0.35
    outer = slab(-0.85, -0.85, 0.85, 0.85, 0.15) if square else oval(0, 0, 0.85, 0.85)
    parts.append(Part(outer, case, coat[0], darker(coat[0]), round=0.14))
    parts.append(Part(oval(0, 0, 0.7, 0.7), "plaster", face, face, round=0.0, shade=0.5, grain=0.5))
    for k in range(12):
        long = 0.13 if k % 3 == 0 else 0.07
        tick = turned(slab(-0.025, -0.64, 0.025, -0.64 + long), 30 * k)
        parts.append(Part(tick, "plain", ink, round=0, shade=0))
    hour = rng.uniform(0, 360)
    for angle, long, thick in ((hour, 0.36, 0.085), (hour * 12 % 360, 0.55, 0.06)):
        hand = turned(limb(polygon((0, 0.1), (0, -long)), thick, thick * 0.5), angle)
        parts.append(Part(hand, "plain", ink, round=0.02, shade=0.25))
    return [*parts, Part(oval(0, 0, 0.06, 0.06), "metal", coat[1], round=0.04)]
