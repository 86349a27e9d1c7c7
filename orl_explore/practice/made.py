"""Made things of practice scenes: buildings, vehicles, furniture, crockery, clothes.

Each function draws one instance: it takes a generator and the instance's colors, and returns parts from back to front.
"""

import math
from collections.abc import Sequence

import numpy as np

from orl_explore.practice.anatomy import Part, Points, blob, color, curve, limb, mirrored, oval, polygon, slab, turned
from orl_explore.practice.contexts import Color

BLACK, WHITE = (0.07, 0.07, 0.07), (0.94, 0.93, 0.9)


def _dark(hue: Color, share: float = 0.6) -> Color:
    return (hue[0] * share, hue[1] * share, hue[2] * share)


def house(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A house from the front: walls of brick, plaster or boards, a roof, a door, windows, often a chimney."""
    wall, eaves, peak = rng.uniform(0.72, 0.86), rng.uniform(-0.25, -0.05), rng.uniform(-0.98, -0.78)
    material = str(rng.choice(["bricks", "bricks", "plaster", "boards"]))
    roof = color(str(rng.choice(["crimson", "charcoal", "brown", "gray"])), rng)
    trim = color(str(rng.choice(["white", "cream", "brown"])), rng)
    door = color(str(rng.choice(["green", "blue", "brown", "crimson"])), rng)
    pane, shine = color("night", rng), color("sky", rng)
    side = rng.choice([-1, 1])
    parts = []
    if rng.random() < 0.75:
        x = side * rng.uniform(0.4, 0.55)
        parts.append(
            Part(slab(x - 0.11, peak - 0.02, x + 0.11, eaves), "bricks", coat[0], coat[1], round=0.02, grain=0.5)
        )
    parts.append(Part(slab(-wall, eaves - 0.1, wall, 0.95), material, coat[0], coat[1], round=0.03, grain=0.8))
    hipped = rng.uniform(0.3, 0.65) if rng.random() < 0.5 else 0.0
    if not hipped:
        gable = polygon((-wall, eaves), (0, peak + 0.12), (wall, eaves))
        parts.append(Part(gable, material, coat[0], coat[1], round=0.02, grain=0.8, shade=0))
        slope = polygon(
            (-1.0, eaves + 0.08),
            (-1.0, eaves - 0.08),
            (0, peak - 0.05),
            (1.0, eaves - 0.08),
            (1.0, eaves + 0.08),
            (0, peak + 0.2),
        )
        parts.append(Part(slope, "shingles", roof, _dark(roof), round=0.03, grain=0.6, shade=0.5))
    else:
        slope = polygon((-1.0, eaves + 0.08), (-hipped, peak), (hipped, peak), (1.0, eaves + 0.08))
        parts.append(Part(slope, "shingles", roof, _dark(roof), round=0.03, grain=0.9, shade=0.5))
    at = side * rng.uniform(0.1, 0.35)
    parts.append(Part(slab(at - 0.2, 0.3, at + 0.2, 0.95), "plain", trim, round=0.02))
    parts.append(
        Part(slab(at - 0.15, 0.36, at + 0.15, 0.95), "boards", door, _dark(door), round=0.02, turn=90, grain=0.5)
    )
    parts.append(Part(oval(at + 0.09, 0.68, 0.03, 0.03), "metal", color("yellow", rng), round=0.02))
    windows = [(-side * 0.45, 0.45), (-side * 0.45, 0.05)] if rng.random() < 0.5 else [(-side * 0.42, 0.4)]
    windows += [(side * 0.5, 0.08)] if rng.random() < 0.6 else []
    for x, y in windows:
        parts.append(Part(slab(x - 0.2, y - 0.17, x + 0.2, y + 0.19), "plain", trim, round=0.02))
        parts.append(
            Part(slab(x - 0.16, y - 0.13, x + 0.16, y + 0.15), "glass", pane, shine, round=0.01, shade=0, grain=0.6)
        )
        parts.append(Part(slab(x - 0.015, y - 0.13, x + 0.015, y + 0.15), "plain", trim, round=0, shade=0))
        parts.append(Part(slab(x - 0.16, y - 0.01, x + 0.16, y + 0.02), "plain", trim, round=0, shade=0))
    return parts


def car(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A car from its side: a saloon, a hatchback or a van."""
    top, front, rear = rng.uniform(-0.62, -0.46), rng.uniform(0.3, 0.5), rng.choice([-0.92, -0.72, -0.5])
    hood = rng.uniform(-0.14, -0.04)
    body = blob(
        (-1.0, 0.2),
        (-0.98, -0.05),
        (rear - 0.03, hood - 0.02),
        (rear + 0.18, top + 0.03),
        (0.0, top - 0.02),
        (front - 0.2, top + 0.06),
        (front + 0.14, hood),
        (0.85, hood + 0.08),
        (0.98, 0.08),
        (1.0, 0.28),
        (0.9, 0.36),
        (0, 0.38),
        (-0.9, 0.36),
    )
    glass = blob(
        (rear + 0.1, hood), (rear + 0.24, top + 0.12), (0, top + 0.08), (front - 0.24, top + 0.14), (front + 0.02, hood)
    )
    dark, shine = color("night", rng), color("sky", rng)
    middle = (rear + front) / 2 + rng.uniform(-0.1, 0.1)
    trim = color(str(rng.choice(["charcoal", "silver"])), rng)
    parts = [
        Part(slab(-0.92, 0.2, 0.92, 0.42, 0.06), "rubber", BLACK, round=0.05),
        Part(body, "paint", coat[0], coat[1], round=0.16),
        Part(glass, "glass", dark, shine, round=0.03, shade=0.2),
        Part(slab(middle - 0.03, top + 0.06, middle + 0.03, hood + 0.02), "paint", coat[0], round=0.02, shade=0),
        Part(
            limb(polygon((middle, hood), (middle + 0.01, 0.34)), 0.018), "plain", _dark(coat[0], 0.45), round=0, shade=0
        ),
        Part(slab(middle - 0.2, hood + 0.09, middle - 0.07, hood + 0.12, 0.01), "metal", trim, round=0.02),
        Part(
            blob((0.84, 0.0), (0.97, 0.07), (0.98, 0.16), (0.86, 0.12)),
            "glass",
            WHITE,
            color("yellow", rng),
            round=0.04,
        ),
        Part(slab(-1.0, 0.0, -0.92, 0.14, 0.03), "plain", color("red", rng), round=0.03),
        Part(slab(-1.02, 0.26, 1.02, 0.36, 0.04), "metal", trim, round=0.03, shade=0.2),
    ]
    radius, rim = rng.uniform(0.23, 0.27), color("silver", rng)
    spokes = int(rng.integers(5, 8))
    for x in (-0.56, 0.58):
        parts.append(Part(oval(x, 0.36, radius + 0.05, radius + 0.05), "rubber", BLACK, round=0, shade=0))
        parts.append(Part(oval(x, 0.38, radius, radius), "rubber", color("charcoal", rng), round=0.08, shade=0))
        parts.append(Part(oval(x, 0.38, radius * 0.62, radius * 0.62), "metal", rim, WHITE, round=0.03))
        for k in range(spokes):
            gap = turned(oval(radius * 0.38, 0, radius * 0.16, radius * 0.1), 360 * k / spokes) + [x, 0.38]
            parts.append(Part(gap, "plain", _dark(rim, 0.35), round=0, shade=0))
    return parts


def _handle(x: float, y: float, wide: float, high: float, thick: float) -> tuple[Points, Points]:
    return oval(x, y, wide, high), oval(x, y, wide - thick, high - thick)


def mug(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
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
        Part(oval(-0.1, rim, wide - 0.06, deep - 0.045), "plain", _dark(coat[0]), round=0, shade=0),
        Part(
            oval(-0.1, rim + 0.025, wide - 0.09, deep - 0.065),
            "glass",
            color(inside, rng),
            color(inside, rng),
            round=0,
            shade=0,
        ),
    ]


def teapot(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
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
        Part(oval(0.98, -0.41, 0.085, 0.05, turn=-35), "ceramic", _dark(trim), round=0),
        Part(slab(-0.34, low - 0.08, 0.34, low + 0.06, 0.05), "ceramic", trim, trim, round=0.05),
        Part(body, "ceramic", coat[0], coat[1], round=0.5),
        Part(lid, "ceramic", coat[0], coat[1], round=0.16, grain=0.6, shade=0.45),
        Part(oval(0, -high - 0.24, 0.1, 0.1), "ceramic", trim, trim, round=0.1),
    ]


def ball(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A football, beach ball or basketball."""
    return [Part(oval(0, 0, 1, 1), "sphere", coat[0], coat[1], round=0.95)]


def book(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
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
        Part(slab(left, top, left + 0.13, low, 0.02), cloth, _dark(coat[0], 0.75), coat[1], round=0.05, shade=0.3),
    ]
    panel = rng.uniform(-0.55, -0.3)
    if rng.random() < 0.55:
        parts.append(
            Part(slab(left + 0.24, panel, right - 0.12, panel + 0.4, 0.02), "plain", gold, round=0.01, shade=0.1)
        )
        ink = _dark(coat[0], 0.5)
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


def chair(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A wooden chair with slats or rails in its back, often with a cushion."""
    wide, back, seat = rng.uniform(0.42, 0.52), rng.uniform(-1.0, -0.85), rng.uniform(0.1, 0.2)
    hue, grain = coat[0], _dark(coat[0], 0.7)
    leg, off = rng.uniform(0.1, 0.13), 0.18

    def timber(*ends: tuple[float, float], thick: float = leg) -> Part:
        (x0, y0), (x1, y1) = ends
        turn = -math.degrees(math.atan2(x1 - x0, y1 - y0))
        return Part(limb(polygon(*ends), thick), "wood", hue, grain, round=0.06, turn=turn, grain=0.7)

    parts = [timber((x + off * 0.6, seat), (x + off, 0.82), thick=leg * 0.85) for x in (-wide, wide)]
    parts += [timber((x * 1.0 + off * 0.5, back), (x + off * 0.35, seat)) for x in (-wide, wide)]
    if rng.random() < 0.5:
        for y in np.linspace(back + 0.14, seat - 0.25, int(rng.integers(2, 5))):
            parts.append(timber((-wide + off * 0.5, y), (wide + off * 0.5, y), thick=leg * rng.uniform(0.8, 1.5)))
    else:
        for x in np.linspace(-wide, wide, int(rng.integers(4, 7)))[1:-1]:
            parts.append(timber((x + off * 0.5, back + 0.1), (x + off * 0.35, seat), thick=leg * 0.6))
        parts.append(timber((-wide + off * 0.2, back + 0.08), (wide + off * 0.8, back + 0.08), thick=leg * 1.8))
    board = polygon(
        (-wide - 0.14, seat + 0.14),
        (-wide + off * 0.5, seat - 0.06),
        (wide + off, seat - 0.06),
        (wide + 0.1, seat + 0.14),
        (wide + 0.1, seat + 0.24),
        (-wide - 0.14, seat + 0.24),
    )
    parts.append(timber((-wide - 0.05, seat + 0.6), (wide, seat + 0.6), thick=leg * 0.6))
    parts += [timber((x, seat + 0.2), (x + 0.02 * np.sign(x), 1.0)) for x in (-wide - 0.06, wide + 0.02)]
    parts.append(Part(board, "wood", hue, grain, round=0.05, turn=90, grain=0.7, shade=0.5))
    if rng.random() < 0.65:
        pad = blob(
            (-wide - 0.04, seat + 0.12),
            (-wide + off * 0.6, seat - 0.12),
            (wide + off * 0.7, seat - 0.12),
            (wide + 0.02, seat + 0.12),
            (0, seat + 0.17),
        )
        parts.append(Part(pad, "cloth", coat[1], color("cream", rng), round=0.12))
    return parts


def lamp(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A table lamp: a pleated shade that glows, on a foot of metal, glaze or wood."""
    top, low, edge = rng.uniform(0.22, 0.42), rng.uniform(0.6, 0.8), rng.uniform(-0.12, 0.08)
    shade = polygon((-top, -0.95), (top, -0.95), (low, edge), (-low, edge))
    rim = blob((-low, edge - 0.02), (0, edge - 0.02), (low, edge - 0.02), (0, edge + 0.1))
    material = str(rng.choice(["metal", "metal", "ceramic", "wood"]))
    belly = rng.uniform(0.1, 0.34)
    foot = blob(
        (0.06, edge), (0.07, 0.2), (belly, 0.5), (0.1, 0.78), (-0.1, 0.78), (-belly, 0.5), (-0.07, 0.2), (-0.06, edge)
    )
    base = rng.uniform(0.34, 0.46)
    return [
        Part(oval(0, 0.9, base, 0.11), material, coat[1], _dark(coat[1]), round=0.08),
        Part(foot, material, coat[1], color("cream", rng), round=0.14),
        Part(rim, "plain", color("yellow", rng), round=0, shade=0.4),
        Part(shade, "pleats", coat[0], _dark(coat[0], 0.7), round=0.25, shade=0.45),
        Part(slab(-top, -0.98, top, -0.92, 0.02), "metal", coat[1], round=0.02, shade=0.1),
    ]


def boat(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A sailing boat with one or two sails."""
    deck, mast = rng.uniform(0.4, 0.5), rng.uniform(-0.1, 0.12)
    hull = blob(
        (-0.95, deck - 0.03),
        (-0.5, deck + 0.03),
        (0.3, deck + 0.02),
        (1.0, deck - 0.12),
        (0.72, 0.78),
        (0.5, 0.93),
        (-0.6, 0.93),
        (-0.85, 0.75),
    )
    stripe = limb(curve((-0.93, deck + 0.06), (0, deck + 0.12), (0.96, deck)), 0.08)
    canvas = coat[1], color(str(rng.choice(["cream", "red", "sky", "tan"])), rng)
    main = polygon((mast + 0.07, -0.92), (mast + 0.3, -0.4), (mast + 0.68, deck - 0.14), (mast + 0.07, deck - 0.1))
    parts = [
        Part(
            limb(polygon((mast, -1.0), (mast, deck)), 0.05, 0.07),
            "wood",
            color("brown", rng),
            color("tan", rng),
            round=0.03,
        )
    ]
    sail = str(rng.choice(["cloth", "pleats"]))
    parts.append(Part(main, sail, *canvas, round=0.12, turn=rng.uniform(-20, 20)))
    if rng.random() < 0.8:
        jib = polygon((mast - 0.07, -0.8), (mast - 0.07, deck - 0.12), (mast - 0.7, deck - 0.14), (mast - 0.3, -0.3))
        parts.append(Part(jib, sail, *canvas, round=0.12, turn=rng.uniform(-20, 20)))
    flag = polygon((mast, -1.0), (mast - 0.22, -0.93), (mast, -0.86))
    parts.append(Part(flag, "plain", color("red", rng), round=0.02))
    parts.append(Part(hull, "boards", coat[0], _dark(coat[0], 0.7), round=0.18, grain=0.6))
    return [*parts, Part(stripe, "plain", WHITE if rng.random() < 0.6 else _dark(coat[0]), round=0.02, shade=0.1)]


def balloon(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A hot-air balloon with its basket."""
    wide, pinch = rng.uniform(0.66, 0.76), rng.uniform(0.14, 0.2)
    bag = blob(
        (0, -1.0),
        (0.42, -0.92),
        (wide, -0.5),
        (wide * 0.86, -0.08),
        (pinch + 0.12, 0.42),
        (pinch, 0.52),
        (-pinch, 0.52),
        (-pinch - 0.12, 0.42),
        (-wide * 0.86, -0.08),
        (-wide, -0.5),
        (-0.42, -0.92),
    )
    basket = polygon((-0.15, 0.74), (0.15, 0.74), (0.12, 1.0), (-0.12, 1.0))
    rope = color("brown", rng)
    parts = [
        Part(limb(polygon((x * pinch, 0.5), (x * 0.13, 0.76)), 0.025), "plain", rope, round=0, shade=0)
        for x in (-1, -0.35, 0.35, 1)
    ]
    return [
        *parts,
        Part(basket, "wicker", color("tan", rng), color("brown", rng), round=0.06, grain=0.5),
        Part(slab(-0.17, 0.72, 0.17, 0.78, 0.03), "leather", rope, round=0.03),
        Part(bag, "gores", coat[0], coat[1], round=0.65),
    ]


def sweater(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A knitted sweater laid out, with cuffs, a hem and a collar."""
    wide, low, out = rng.uniform(0.46, 0.56), rng.uniform(0.78, 0.92), rng.uniform(0.82, 0.98)
    cuff = coat[1] if rng.random() < 0.5 else _dark(coat[0], 0.85)
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
    return [*parts, Part(hole, "knit", _dark(cuff, 0.4), _dark(cuff, 0.4), round=0, grain=0.6, shade=0)]


def shoe(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
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
        Part(opening, "cloth", _dark(coat[0], 0.35), round=0, shade=0.2),
        Part(cap, material, coat[1], coat[0], round=0.18, shade=0.2),
        Part(heel, material, coat[1], coat[0], round=0.12, shade=0.2),
    ]
    if rng.random() < 0.5:
        parts += [Part(limb(line, 0.08), "leather", coat[1], round=0.03, shade=0.1) for line in stripe]
    for k in range(int(rng.integers(3, 6))):
        x, y = -0.2 + 0.13 * k, ankle + 0.2 + (toe - 0.2 - ankle) * 0.24 * k
        parts.append(Part(limb(polygon((x - 0.1, y + 0.14), (x + 0.1, y - 0.03)), 0.055), "cloth", lace, round=0.03))
    line = limb(curve((-0.97, 0.47), (0, 0.48), (0.99, 0.47)), 0.035)
    return [*parts, Part(line, "plain", _dark(rubber, 0.6), round=0, shade=0)]


def clock(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A clock with a dial and hands: an alarm clock on its feet with bells, or one from a wall."""
    case = str(rng.choice(["metal", "wood", "plain", "metal"]))
    face, ink = color(str(rng.choice(["white", "cream", "cream", "charcoal"])), rng), BLACK
    ink = WHITE if max(face) < 0.5 else BLACK
    parts = []
    alarm = rng.random() < 0.65
    if alarm:
        for sign in (-1, 1):
            foot = limb(polygon((sign * 0.4, 0.6), (sign * 0.62, 1.02)), 0.16, 0.1)
            bell = turned(blob((-0.27, 0.06), (-0.2, -0.16), (0, -0.24), (0.2, -0.16), (0.27, 0.06)), sign * 32) + [
                sign * 0.46,
                -0.78,
            ]
            parts += [
                Part(foot, case, coat[1], _dark(coat[1]), round=0.06),
                Part(bell, "metal", coat[1], _dark(coat[1]), round=0.15),
            ]
        arch = curve((-0.2, -0.9), (0, -1.08), (0.2, -0.9))
        parts.append(Part(limb(arch, 0.06), "metal", coat[1], round=0.03))
    square = not alarm and rng.random() < 0.35
    outer = slab(-0.85, -0.85, 0.85, 0.85, 0.15) if square else oval(0, 0, 0.85, 0.85)
    parts.append(Part(outer, case, coat[0], _dark(coat[0]), round=0.14))
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


# -- clutter: no categories, only what lies about


def plate(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A plate, seen from the side of the table."""
    flat = rng.uniform(0.3, 0.42)
    inner = oval(0, -0.02, 0.66, 0.66 * flat)
    return [
        Part(oval(0, 0, 1, flat), "ceramic", *coat, round=0.12),
        Part(inner, "ceramic", coat[0], coat[0], round=0.05, shade=0.3),
    ]


def cushion(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A cushion, or a bag."""
    outline = blob((-0.95, -0.6), (0, -0.52), (0.95, -0.6), (0.82, 0), (0.95, 0.6), (0, 0.55), (-0.95, 0.6), (-0.82, 0))
    return [Part(outline, "cloth", *coat, round=0.5)]


def box(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A crate or carton."""
    high, lift, slide = rng.uniform(0.5, 0.9), rng.uniform(0.15, 0.3), rng.uniform(-0.3, 0.3)
    lid = polygon(
        (-0.9, -high / 2), (-0.7 + slide, -high / 2 - lift), (0.7 + slide, -high / 2 - lift), (0.9, -high / 2)
    )
    material = str(rng.choice(["boards", "plain", "wicker"]))
    return [
        Part(lid, material, _dark(coat[0], 1.15), coat[1], round=0.02),
        Part(slab(-0.9, -high / 2, 0.9, high / 2), material, *coat, round=0.03),
    ]


def paper(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A sheet that lies flat."""
    sheet = polygon((-0.9, 0.25), (-0.5, -0.25), (0.9, -0.2), (0.55, 0.32)) * [1, rng.uniform(0.8, 1.3)]
    return [Part(sheet, "plaster", *coat, round=0.01)]


def rag(rng: np.random.Generator, coat: Sequence[Color]) -> list[Part]:
    """A piece of cloth, spread out."""
    outline = blob((-1, 0.2), (-0.6, -0.35), (0.1, -0.28), (0.85, -0.4), (1, 0.1), (0.5, 0.42), (-0.2, 0.3))
    return [Part(outline, "cloth", *coat, round=0.08)]
