"""Parts of things: outlines, and what a part is made of.

Coordinates are x to the right and y down, a thing being about two units long.
"""

import colorsys
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orl_explore.practice.contexts import Color

Coat = tuple[Color, Color]  # an instance's own two colors
Points = NDArray[np.floating[Any]]  # (n, 2)

# Name -> ranges of hue (turns), saturation and value. They overlap as colors of things do.
COLORS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((0.96, 1.02), (0.70, 0.92), (0.60, 0.90)),
    "crimson": ((0.93, 1.0), (0.65, 0.90), (0.40, 0.70)),
    "orange": ((0.04, 0.09), (0.70, 0.95), (0.80, 0.98)),
    "yellow": ((0.12, 0.155), (0.60, 0.92), (0.85, 1.0)),
    "lime": ((0.20, 0.27), (0.50, 0.80), (0.60, 0.88)),
    "green": ((0.28, 0.38), (0.40, 0.75), (0.32, 0.62)),
    "olive": ((0.16, 0.24), (0.40, 0.65), (0.35, 0.60)),
    "teal": ((0.45, 0.53), (0.40, 0.75), (0.40, 0.75)),
    "sky": ((0.54, 0.59), (0.35, 0.65), (0.70, 0.95)),
    "blue": ((0.58, 0.65), (0.50, 0.85), (0.40, 0.80)),
    "violet": ((0.70, 0.80), (0.35, 0.65), (0.45, 0.80)),
    "pink": ((0.88, 0.97), (0.30, 0.60), (0.80, 0.97)),
    "brown": ((0.04, 0.09), (0.45, 0.70), (0.30, 0.55)),
    "tan": ((0.07, 0.11), (0.30, 0.55), (0.60, 0.82)),
    "cream": ((0.09, 0.14), (0.08, 0.25), (0.86, 0.98)),
    "white": ((0.0, 1.0), (0.0, 0.05), (0.90, 1.0)),
    "silver": ((0.55, 0.65), (0.02, 0.12), (0.60, 0.82)),
    "gray": ((0.0, 1.0), (0.02, 0.10), (0.35, 0.60)),
    "charcoal": ((0.0, 1.0), (0.03, 0.15), (0.12, 0.26)),
    "night": ((0.58, 0.66), (0.25, 0.55), (0.12, 0.28)),
}


def color(name: str, rng: np.random.Generator) -> Color:
    """Return one of the named colors."""
    hue, saturation, value = (rng.uniform(*span) for span in COLORS[name])
    return colorsys.hsv_to_rgb(hue % 1, saturation, value)


def darker(hue: Color, share: float = 0.6) -> Color:
    """Return a color with `share` of its brightness."""
    return (hue[0] * share, hue[1] * share, hue[2] * share)


@dataclass(frozen=True)
class Part:
    """One part of a thing; later parts lie over earlier ones.

    Args:
        outline: points (n, 2), or several outlines: what lies in an even number of them is a hole.
        material: name in `materials.MATERIALS`.
        color: the material's first color.
        second: its second one; `color` where it is left out.
        round: how far the edge is rounded, in units; a part rounded to its middle is a cushion, 0 is flat.
        grain: size of the texture, in units per unit of the material.
        turn: degrees the texture is turned by, clockwise on screen.
        shade: how dark it makes what lies right behind it, 0..1.
    """

    outline: Points | tuple[Points, ...]
    material: str
    color: Color
    second: Color | None = None
    round: float = 0.15
    grain: float = 1.0
    turn: float = 0.0
    shade: float = 0.35

    @property
    def outlines(self) -> tuple[Points, ...]:
        """All outlines."""
        return self.outline if isinstance(self.outline, tuple) else (self.outline,)


def polygon(*points: tuple[float, float]) -> Points:
    """Points (n, 2) from pairs."""
    return np.array(points, dtype=float)


def oval(x: float, y: float, rx: float, ry: float, *, turn: float = 0.0) -> Points:
    """Points (40, 2) of an ellipse turned by `turn` degrees."""
    angle = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    return moved(turned(np.stack([rx * np.cos(angle), ry * np.sin(angle)], axis=1), turn), x, y)


def slab(left: float, top: float, right: float, bottom: float, corner: float = 0.0) -> Points:
    """Points of a rectangle with rounded corners."""
    corner = max(corner, 1e-3)
    angle = np.linspace(0, math.pi / 2, 6)
    arc = corner * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    middles = [(right - corner, bottom - corner), (left + corner, bottom - corner)]
    middles += [(left + corner, top + corner), (right - corner, top + corner)]
    return np.concatenate([moved(turned(arc, 90.0 * k), *middle) for k, middle in enumerate(middles)])


def blob(*points: tuple[float, float]) -> Points:
    """Points (8 n, 2) of a smooth closed curve through the points (Catmull-Rom)."""
    return _spline(np.concatenate([points[-1:], points, points[:2]]))


def curve(*points: tuple[float, float]) -> Points:
    """Points (8 (n - 1) + 1, 2) of a smooth open curve through the points."""
    inner = _spline(np.concatenate([points[:1], points, points[-1:]]))
    return np.concatenate([inner, points[-1:]])


def limb(line: Points, *widths: float) -> Points:
    """Outline of a stroke along the points (n, 2) of a line, of widths spread evenly from its start to its end."""
    ahead = np.gradient(line, axis=0)
    normal = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) / np.maximum(np.linalg.norm(ahead, axis=1), 1e-6)[:, None]
    half = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(widths)), widths)[:, None] / 2
    return np.concatenate([line + normal * half, (line - normal * half)[::-1]])


def turned(points: Points, degrees: float, about: tuple[float, float] = (0.0, 0.0)) -> Points:
    """Turn points clockwise on screen."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (points - about) @ np.array([[c, s], [-s, c]]) + about


def moved(points: Points, x: float, y: float) -> Points:
    """Move points to the right and down."""
    return points + np.array([x, y])


def mirrored(points: Points) -> Points:
    """Left for right."""
    return points * [-1, 1]


def _spline(points: NDArray[np.floating[Any]]) -> Points:
    """Catmull-Rom through all but the first and last of the points (n + 3, 2): 8 points a segment."""
    t = np.linspace(0, 1, 8, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (points[k : len(points) - 3 + k, None] for k in range(4))
    made = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * (p1 - p2) + p3 - p0) * t**3
    return (made / 2).reshape(-1, 2)
