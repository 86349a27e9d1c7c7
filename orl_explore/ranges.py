"""Ranges of settings: what lies outside is refused, by its name, its value and the range."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orl_explore.errors import OrlError


def check_range(
    settings: object, group: str, low: float, high: float, *names: str, above: bool = False, pair: bool = False
) -> None:
    """Look whether settings lie in a range, its ends included; None, which some may be, lies in every one.

    Args:
        settings: whose attributes they are.
        group: what their names begin with, such as `stage1.views`.
        low: the least value; infinity and NaN are in no range.
        high: the greatest value; math.inf: there is none.
        names: of the settings: a number each, or several.
        above: low itself is outside.
        pair: each is a least and a greatest number.

    Raises:
        OrlError: one does not.
    """
    for name in names:
        value = getattr(settings, name)
        values = [] if value is None else list(value) if isinstance(value, Sequence) else [value]
        if not all((low < each if above else low <= each) and each <= high and each < math.inf for each in values):
            numbers = "both numbers" if len(values) > 1 else "it"
            finite = " and finite" * (math.inf in values)
            raise OrlError(f"{_named(group, name, value)}: {numbers} must {_told(low, high, above=above)}{finite}")
        if pair and values[0] > values[1]:
            raise OrlError(f"{_named(group, name, value)}: the first number must be at most the second")


def check_positive(settings: object, group: str, *names: str) -> None:
    """Look whether settings are above 0 and finite; otherwise as `check_range`."""
    check_range(settings, group, 0, math.inf, *names, above=True)


def check_choice(settings: object, group: str, name: str, known: Sequence[str]) -> None:
    """Look whether a setting is one of the words that it can be.

    Raises:
        OrlError: it is not; names them.
    """
    if (value := getattr(settings, name)) not in known:
        raise OrlError(f"{group}.{name} is {value!r}: choose one of {', '.join(known)}")


def _named(group: str, name: str, value: object) -> str:
    return f"{group}.{name} is {list(value) if isinstance(value, tuple) else value}"


def _told(low: float, high: float, *, above: bool) -> str:
    if high == math.inf:
        return f"be above {low}" if above else f"be {low} or more"
    return f"lie above {low} and at most at {high}" if above else f"lie between {low} and {high}"
