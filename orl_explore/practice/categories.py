"""The categories of practice scenes: how each is drawn, its usual colors, size and bearing; and their instances."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from orl_explore.practice import built, clutter, grown, household
from orl_explore.practice.anatomy import Coat, Part, color
from orl_explore.practice.rendering import Unlit, render

INSTANCES = 36
"""Instances per category: so many that one seen before is rarely all there is to go by; each is in a few scenes."""


@dataclass(frozen=True)
class Category:
    """How instances of a category come about.

    Args:
        draw: gives an instance's parts.
        coats: names of colors of which an instance has one pair, spread evenly over the numbers of instances.
        size: range of the longer side, as a share of the scene's side, at a middle distance.
        tilt: degrees by which it may be turned either way, from one scene to the next.
        floats: whether it may be anywhere in the air or water, and casts no shadow at its foot.
    """

    draw: Callable[[np.random.Generator, Coat], list[Part]]
    coats: tuple[str, ...]
    size: tuple[float, float]
    tilt: float = 8.0
    floats: bool = False


PAINTED = (
    "red cream",
    "blue white",
    "green yellow",
    "white charcoal",
    "yellow brown",
    "violet pink",
    "teal cream",
    "gray red",
    "orange blue",
    "charcoal silver",
    "cream teal",
    "brown tan",
    "pink white",
    "sky orange",
    "crimson gray",
    "silver sky",
    "lime violet",
    "tan green",
    "night cream",
    "olive orange",
)
"""Colors of what people paint, dye and glaze: any, whatever it is."""

CATEGORIES: dict[str, Category] = {
    # grown
    "fish": Category(
        grown.fish,
        (
            "orange white",
            "sky silver",
            "teal yellow",
            "red cream",
            "blue yellow",
            "gray silver",
            "violet pink",
            "olive tan",
            "yellow charcoal",
        ),
        (0.42, 0.58),
        25,
        True,
    ),
    "butterfly": Category(
        grown.butterfly,
        (
            "orange yellow",
            "blue sky",
            "yellow cream",
            "violet pink",
            "red orange",
            "white gray",
            "brown tan",
            "lime green",
            "teal sky",
        ),
        (0.36, 0.5),
        35,
        True,
    ),
    "cat": Category(
        grown.cat,
        (
            "orange cream",
            "gray charcoal",
            "tan brown",
            "charcoal white",
            "cream tan",
            "brown cream",
            "white gray",
            "night gray",
        ),
        (0.46, 0.6),
    ),
    "owl": Category(
        grown.owl,
        ("brown tan", "gray white", "tan cream", "charcoal gray", "white cream", "orange tan", "olive tan"),
        (0.44, 0.58),
    ),
    "tree": Category(
        grown.tree,
        (
            "green lime",
            "olive yellow",
            "orange yellow",
            "red orange",
            "lime green",
            "teal green",
            "pink white",
            "yellow brown",
        ),
        (0.56, 0.72),
        4,
    ),
    "flower": Category(
        grown.flower,
        (
            "pink white",
            "white cream",
            "yellow orange",
            "violet pink",
            "red crimson",
            "sky violet",
            "orange red",
            "blue sky",
            "cream lime",
        ),
        (0.46, 0.6),
        14,
    ),
    "mushroom": Category(
        grown.mushroom,
        (
            "red white",
            "brown tan",
            "orange cream",
            "tan cream",
            "crimson cream",
            "gray white",
            "violet pink",
            "white gray",
            "yellow tan",
        ),
        (0.36, 0.5),
        12,
    ),
    "leaf": Category(
        grown.leaf,
        (
            "green lime",
            "orange red",
            "yellow olive",
            "red brown",
            "lime yellow",
            "crimson violet",
            "brown tan",
            "teal green",
        ),
        (0.38, 0.54),
        180,
        True,
    ),
    "apple": Category(
        grown.apple,
        (
            "red yellow",
            "lime red",
            "yellow red",
            "crimson orange",
            "lime yellow",
            "green lime",
            "orange yellow",
            "pink cream",
        ),
        (0.34, 0.48),
        15,
    ),
    "banana": Category(
        grown.banana,
        ("yellow lime", "yellow brown", "lime yellow", "green lime", "brown yellow", "red orange", "olive yellow"),
        (0.42, 0.56),
        25,
    ),
    "strawberry": Category(
        grown.strawberry,
        ("red yellow", "crimson tan", "red cream", "orange yellow", "pink white", "white red", "lime cream"),
        (0.34, 0.46),
        25,
    ),
    # made
    "house": Category(
        built.house,
        PAINTED,
        (0.54, 0.7),
        2,
    ),
    "car": Category(
        built.car,
        PAINTED,
        (0.5, 0.66),
        3,
    ),
    "boat": Category(built.boat, PAINTED, (0.48, 0.64), 6),
    "balloon": Category(
        built.balloon,
        PAINTED,
        (0.46, 0.62),
        7,
        True,
    ),
    "mug": Category(
        household.mug,
        PAINTED,
        (0.36, 0.48),
        4,
    ),
    "teapot": Category(
        household.teapot,
        PAINTED,
        (0.42, 0.56),
        4,
    ),
    "lamp": Category(
        built.lamp,
        PAINTED,
        (0.46, 0.6),
        3,
    ),
    "chair": Category(built.chair, PAINTED, (0.5, 0.66), 3),
    "book": Category(
        household.book,
        PAINTED,
        (0.4, 0.54),
        14,
    ),
    "clock": Category(
        household.clock,
        PAINTED,
        (0.38, 0.5),
        5,
    ),
    "ball": Category(
        household.ball,
        PAINTED,
        (0.34, 0.46),
        180,
    ),
    "sweater": Category(
        household.sweater,
        PAINTED,
        (0.48, 0.62),
        12,
    ),
    "shoe": Category(
        household.shoe,
        PAINTED,
        (0.42, 0.56),
        8,
    ),
}
"""By name, in the order of the category ids."""

CLUTTER: dict[str, Category] = {
    "pebble": Category(clutter.pebble, ("gray silver", "tan brown", "charcoal gray"), (0.1, 0.2), 10),
    "twig": Category(clutter.twig, ("brown tan", "gray brown"), (0.18, 0.32), 40),
    "tuft": Category(clutter.tuft, ("green lime", "olive tan", "lime yellow"), (0.14, 0.26), 8),
    "shell": Category(clutter.shell, ("cream tan", "pink cream", "white gray"), (0.1, 0.16), 60),
    "plate": Category(clutter.plate, ("white blue", "cream red", "teal white"), (0.28, 0.4), 2),
    "cushion": Category(clutter.cushion, ("crimson cream", "teal tan", "violet pink", "olive cream"), (0.26, 0.38), 10),
    "box": Category(clutter.box, ("tan brown", "cream tan", "gray charcoal"), (0.22, 0.34), 3),
    "paper": Category(clutter.paper, ("white cream", "cream tan"), (0.18, 0.3), 20),
    "cloth": Category(clutter.rag, ("red white", "blue cream", "green white", "yellow sky"), (0.24, 0.36), 10),
}
"""What lies about and is not annotated, by the names that places use."""


@lru_cache(maxsize=1024)
def instance(category: str, number: int, *, side: int) -> Unlit:
    """Return instance `number` of a category or of clutter, `side` pixels long: the same for the same arguments."""
    every = CATEGORIES | CLUTTER
    make = every[category]
    rng = np.random.default_rng((0x0A7E1A1, list(every).index(category), number))
    # Neighboring numbers get different coats, so that a handful of instances shows the category's range.
    first, second = make.coats[number % len(make.coats)].split()
    coat = color(first, rng), color(second, rng)
    return render(make.draw(rng, coat), rng, side=side)
