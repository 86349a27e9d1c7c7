"""Which entries of the object map's legend are hidden, in the address: by name, those shown or those hidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import streamlit as st

from orl_explore.runs.run import Run
from orl_explore.ui import map_address, state

ONLY, WITHOUT = "only", "without"
NAME: Final = "legend"
"""Of the parameter: `only`, or `without`, and then names, whichever are fewer."""


class Legend(NamedTuple):
    """A map's legend."""

    key: str
    """Another key is another legend."""
    color: str
    """What the map is colored by."""
    names: Sequence[str]
    """Its entries; none of a scale."""


def hidden(run: Run, legend: Legend) -> list[int]:
    """Numbers of the hidden entries; with another color all are shown again."""
    names = legend.names

    def read(text: str) -> list[str] | None:
        how, *some = map_address.names_in(text) or [""]
        unknown = [name for name in some if name not in names]
        if how not in (ONLY, WITHOUT) or unknown:
            state.fall_back(f"The legend has no {', '.join(unknown or [how])[:40]}.")
        return [how, *some] if how in (ONLY, WITHOUT) else None

    of = map_address.key_of(run, "legend of")
    followed = map_address.follow(run, NAME, read)
    if not followed and st.session_state.get(of, legend.color) != legend.color:
        _keep(run, None)
    st.session_state[of] = legend.color
    how, *some = st.session_state.get(map_address.key_of(run, NAME)) or [WITHOUT]
    there = {number for number, name in enumerate(names) if name in some}
    if how == ONLY and there:
        there = set(range(len(names))) - there
    return sorted(there) if how == WITHOUT or some else []


def hide(run: Run, legend: Legend, numbers: Sequence[int]) -> None:
    """Hide these entries and show the others. Made for callbacks."""
    off = [name for number, name in enumerate(legend.names) if number in numbers]
    on = [name for number, name in enumerate(legend.names) if number not in numbers]
    _keep(run, None if not off else [ONLY, *on] if 0 < len(on) < len(off) else [WITHOUT, *off])


def _keep(run: Run, value: list[str] | None) -> None:
    st.session_state[map_address.key_of(run, NAME)] = value
    map_address.write(run, NAME, map_address.listed(value or []))
