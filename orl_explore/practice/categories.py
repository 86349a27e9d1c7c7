"""The categories of practice scenes: how each is drawn, its usual colors, size and bearing; and their instances."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from orl_explore.practice import built, clutter, grown, household
from orl_explore.practice.anatomy import Coat, Part, color
from orl_explore.practice.rendering import Unlit, render

INSTANCES = 12
"""Instances per category: few enough that each returns in many scenes, as things do in the photographs of a place."""


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


CATEGORIES: dict[str, Category] = {
    # grown
    "fish": Category(
        grown.fish, ("orange white", "sky silver", "teal yellow", "red cream", "blue yellow"), (0.42, 0.58), 25, True
    ),
    "butterfly": Category(
        grown.butterfly,
        ("orange yellow", "blue sky", "yellow cream", "violet pink", "red orange"),
        (0.36, 0.5),
        35,
        True,
    ),
    "cat": Category(
        grown.cat, ("orange cream", "gray charcoal", "tan brown", "charcoal white", "cream tan"), (0.46, 0.6)
    ),
    "owl": Category(grown.owl, ("brown tan", "gray white", "tan cream", "brown cream"), (0.44, 0.58)),
    "tree": Category(
        grown.tree, ("green lime", "green olive", "olive yellow", "orange yellow", "lime green"), (0.56, 0.72), 4
    ),
    "flower": Category(
        grown.flower,
        ("pink white", "white cream", "yellow orange", "violet pink", "red crimson", "sky violet"),
        (0.46, 0.6),
        14,
    ),
    "mushroom": Category(
        grown.mushroom, ("red white", "brown tan", "orange cream", "tan cream", "crimson cream"), (0.36, 0.5), 12
    ),
    "leaf": Category(
        grown.leaf, ("green lime", "orange red", "yellow olive", "red brown", "lime yellow"), (0.38, 0.54), 180, True
    ),
    "apple": Category(
        grown.apple, ("red yellow", "lime red", "yellow red", "crimson orange", "lime yellow"), (0.34, 0.48), 15
    ),
    "banana": Category(grown.banana, ("yellow lime", "yellow brown", "lime yellow", "yellow tan"), (0.42, 0.56), 25),
    "strawberry": Category(
        grown.strawberry, ("red yellow", "crimson tan", "red cream", "orange yellow"), (0.34, 0.46), 25
    ),
    # made
    "house": Category(
        built.house,
        ("crimson cream", "cream tan", "tan brown", "sky white", "orange cream", "gray white"),
        (0.54, 0.7),
        2,
    ),
    "car": Category(
        built.car,
        ("red red", "blue blue", "white charcoal", "yellow yellow", "teal cream", "charcoal charcoal", "silver silver"),
        (0.5, 0.66),
        3,
    ),
    "boat": Category(
        built.boat, ("brown white", "red cream", "blue white", "white cream", "teal white"), (0.48, 0.64), 6
    ),
    "balloon": Category(
        built.balloon,
        ("red yellow", "blue white", "violet orange", "green cream", "orange sky", "pink teal"),
        (0.46, 0.62),
        7,
        True,
    ),
    "mug": Category(
        household.mug,
        ("white blue", "red white", "teal cream", "yellow brown", "charcoal white", "pink crimson"),
        (0.36, 0.48),
        4,
    ),
    "teapot": Category(
        household.teapot,
        ("white blue", "brown cream", "teal white", "cream red", "sky white", "green cream"),
        (0.42, 0.56),
        4,
    ),
    "lamp": Category(
        built.lamp,
        ("cream yellow", "yellow brown", "red silver", "tan charcoal", "sky white", "cream teal"),
        (0.46, 0.6),
        3,
    ),
    "chair": Category(
        built.chair, ("brown red", "tan blue", "charcoal cream", "orange green", "white sky"), (0.5, 0.66), 3
    ),
    "book": Category(
        household.book,
        ("crimson tan", "blue sky", "green olive", "brown tan", "charcoal gray", "orange cream"),
        (0.4, 0.54),
        14,
    ),
    "clock": Category(
        household.clock,
        ("red silver", "brown yellow", "teal silver", "silver yellow", "charcoal silver", "yellow silver"),
        (0.38, 0.5),
        5,
    ),
    "ball": Category(
        household.ball,
        ("white charcoal", "orange charcoal", "red white", "blue yellow", "pink white", "lime violet"),
        (0.34, 0.46),
        180,
    ),
    "sweater": Category(
        household.sweater,
        ("red white", "blue cream", "green crimson", "cream brown", "violet pink", "gray teal"),
        (0.48, 0.62),
        12,
    ),
    "shoe": Category(
        household.shoe,
        ("white red", "blue white", "brown tan", "charcoal white", "pink white", "red charcoal"),
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
