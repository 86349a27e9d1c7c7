"""Built things of practice scenes: a house, vehicles, furniture.

Each function draws one instance: it takes a generator and the instance's colors, and returns parts from back to front.
"""

import math

import numpy as np

from orl_explore.practice.anatomy import (
    Coat,
    Part,
    blob,
    color,
    curve,
    darker,
    limb,
    moved,
    oval,
    polygon,
    slab,
    turned,
)

BLACK, WHITE = (0.07, 0.07, 0.07), (0.94, 0.93, 0.9)


def house(rng: np.random.Generator, coat: Coat) -> list[Part]:
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
        parts.append(Part(slope, "shingles", roof, darker(roof), round=0.03, grain=0.6, shade=0.5))
    else:
        slope = polygon((-1.0, eaves + 0.08), (-hipped, peak), (hipped, peak), (1.0, eaves + 0.08))
        parts.append(Part(slope, "shingles", roof, darker(roof), round=0.03, grain=0.9, shade=0.5))
    at = side * rng.uniform(0.1, 0.35)
    parts.append(Part(slab(at - 0.2, 0.3, at + 0.2, 0.95), "plain", trim, round=0.02))
    parts.append(
        Part(slab(at - 0.15, 0.36, at + 0.15, 0.95), "boards", door, darker(door), round=0.02, turn=90, grain=0.5)
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


def car(rng: np.random.Generator, coat: Coat) -> list[Part]:
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
            limb(polygon((middle, hood), (middle + 0.01, 0.34)), 0.018),
            "plain",
            darker(coat[0], 0.45),
            round=0,
            shade=0,
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
            gap = turned(oval(radius * 0.38, 0, radius * 0.16, radius * 0.1), 360 * k / spokes)
            parts.append(Part(moved(gap, x, 0.38), "plain", darker(rim, 0.35), round=0, shade=0))
    return parts


def boat(rng: np.random.Generator, coat: Coat) -> list[Part]:
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
    parts.append(Part(hull, "boards", coat[0], darker(coat[0], 0.7), round=0.18, grain=0.6))
    return [*parts, Part(stripe, "plain", WHITE if rng.random() < 0.6 else darker(coat[0]), round=0.02, shade=0.1)]


def balloon(rng: np.random.Generator, coat: Coat) -> list[Part]:
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


def chair(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A wooden chair with slats or rails in its back, often with a cushion."""
    wide, back, seat = rng.uniform(0.42, 0.52), rng.uniform(-1.0, -0.85), rng.uniform(0.1, 0.2)
    hue, grain = coat[0], darker(coat[0], 0.7)
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


def lamp(rng: np.random.Generator, coat: Coat) -> list[Part]:
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
        Part(oval(0, 0.9, base, 0.11), material, coat[1], darker(coat[1]), round=0.08),
        Part(foot, material, coat[1], color("cream", rng), round=0.14),
        Part(rim, "plain", color("yellow", rng), round=0, shade=0.4),
        Part(shade, "pleats", coat[0], darker(coat[0], 0.7), round=0.25, shade=0.45),
        Part(slab(-top, -0.98, top, -0.92, 0.02), "metal", coat[1], round=0.02, shade=0.1),
    ]
