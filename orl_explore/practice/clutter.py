"""Clutter of practice scenes: no categories, only what lies about.

Each function draws one instance: it takes a generator and the instance's colors, and returns parts from back to front.
"""

import math

import numpy as np

from orl_explore.practice.anatomy import Coat, Part, blob, curve, darker, limb, oval, polygon, slab


def pebble(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A stone."""
    angle = np.linspace(0, 2 * math.pi, 9, endpoint=False)
    r = rng.uniform(0.75, 1.0, 9)
    flat = rng.uniform(0.5, 0.8)
    outline = blob(*zip((r * np.cos(angle)).tolist(), (flat * r * np.sin(angle)).tolist(), strict=True))
    return [Part(outline, "stone", coat[0], coat[1], round=0.5)]


def twig(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A stick with a side shoot."""
    line = curve((-1, rng.uniform(-0.2, 0.2)), (-0.3, rng.uniform(-0.1, 0.1)), (0.4, 0.05), (1, rng.uniform(-0.3, 0.3)))
    shoot = curve((0.0, 0.0), (0.3, -0.2), (0.5, -0.5))
    return [
        Part(limb(shoot, 0.1, 0.05), "bark", *coat, round=0.05),
        Part(limb(line, 0.14, 0.08), "bark", *coat, round=0.07, turn=90),
    ]


def tuft(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A tuft of grass."""
    parts = []
    for _ in range(int(rng.integers(7, 12))):
        x, lean, high = rng.uniform(-0.3, 0.3), rng.uniform(-0.7, 0.7), rng.uniform(0.7, 1.3)
        line = curve((x, 0.5), (x + 0.3 * lean, 0.5 - 0.6 * high), (x + lean, 0.5 - high))
        parts.append(Part(limb(line, 0.13, 0.1, 0.02), "gills", *coat, round=0.04, shade=0.2))
    return parts


def shell(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A cockle's."""
    outline = blob(
        (0, 0.8), (-0.6, 0.35), (-0.9, -0.25), (-0.5, -0.75), (0, -0.9), (0.5, -0.75), (0.9, -0.25), (0.6, 0.35)
    )
    return [Part(outline, "gills", *coat, round=0.5, turn=rng.uniform(-8, 8))]


def plate(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A plate, seen from the side of the table."""
    flat = rng.uniform(0.3, 0.42)
    inner = oval(0, -0.02, 0.66, 0.66 * flat)
    return [
        Part(oval(0, 0, 1, flat), "ceramic", *coat, round=0.12),
        Part(inner, "ceramic", coat[0], coat[0], round=0.05, shade=0.3),
    ]


def cushion(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A cushion, or a bag."""
    outline = blob((-0.95, -0.6), (0, -0.52), (0.95, -0.6), (0.82, 0), (0.95, 0.6), (0, 0.55), (-0.95, 0.6), (-0.82, 0))
    return [Part(outline, "cloth", *coat, round=0.5)]


def box(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A crate or carton."""
    high, lift, slide = rng.uniform(0.5, 0.9), rng.uniform(0.15, 0.3), rng.uniform(-0.3, 0.3)
    lid = polygon(
        (-0.9, -high / 2), (-0.7 + slide, -high / 2 - lift), (0.7 + slide, -high / 2 - lift), (0.9, -high / 2)
    )
    material = str(rng.choice(["boards", "plain", "wicker"]))
    return [
        Part(lid, material, darker(coat[0], 1.15), coat[1], round=0.02),
        Part(slab(-0.9, -high / 2, 0.9, high / 2), material, *coat, round=0.03),
    ]


def paper(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A sheet that lies flat."""
    sheet = polygon((-0.9, 0.25), (-0.5, -0.25), (0.9, -0.2), (0.55, 0.32)) * [1, rng.uniform(0.8, 1.3)]
    return [Part(sheet, "plaster", *coat, round=0.01)]


def rag(rng: np.random.Generator, coat: Coat) -> list[Part]:
    """A piece of cloth, spread out."""
    outline = blob((-1, 0.2), (-0.6, -0.35), (0.1, -0.28), (0.85, -0.4), (1, 0.1), (0.5, 0.42), (-0.2, 0.3))
    return [Part(outline, "cloth", *coat, round=0.08)]
