"""How numbers are written, in one way on every page, figure and terminal: `45.7 %`, `0.962`, `+2.6 points`."""

from __future__ import annotations

import math


def percent_text(share: float | None) -> str:
    """A share of 0 to 1 in percent, to a tenth; a dash where it is not known (None, NaN)."""
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f} %"


def points_text(change: float) -> str:
    """By how much a share of 0 to 1 changed, in points of a percentage, with its sign."""
    return f"{100 * change:+.1f} points"


def similarity_text(value: float) -> str:
    """A cosine, to a thousandth; `unknown` for those that an imported run does not have (NaN)."""
    return "unknown" if math.isnan(value) else f"{value:.3f}"
