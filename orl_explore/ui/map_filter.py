"""Which regions stand out on the object map: all, or those of some categories, named selections, tags and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import reduce
from typing import Any, Final

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.figures import region_facts
from orl_explore.judging.diagnostics import UNLABELED, label_names
from orl_explore.runs.reviews import ACCEPTED, REJECTED, read_reviews, tags_of
from orl_explore.runs.run import Run
from orl_explore.runs.selections import read_selections, selected
from orl_explore.ui import map_address, state

CATEGORY, SELECTION, TAG, VERDICT = "category", "selection", "tag", "verdict"

NAME: Final = "show"
"""Of the parameter: what regions are chosen by, such as `category:mug`."""


def of_category(category: str) -> str:
    """What chooses the regions of a category."""
    return f"{CATEGORY}:{category}"


def choose(place: Any, run: Run) -> list[str]:
    """A field for what the regions are to be of; nothing chosen: all of them. It follows the address."""
    options = _offered(run)

    def read(text: str) -> list[str]:
        wanted = map_address.names_in(text)
        for name in wanted:
            if name not in options:
                state.fall_back(f"No region is of {name[:40]} here.")
        return [name for name in options if name in wanted]

    key = map_address.key_of(run, NAME)
    map_address.follow(run, NAME, read)
    st.session_state[key] = [name for name in st.session_state.get(key) or [] if name in options]
    chosen = place.multiselect(
        "Only",
        options,
        key=key,
        format_func=_said,
        placeholder="all regions",
        help="The other regions stay far back, in gray. Of several categories, any; of a category and a tag, both.",
    )
    map_address.write(run, NAME, map_address.listed(chosen))
    return list(chosen)


def in_words(chosen: Sequence[str]) -> str:
    """What is chosen."""
    return ", ".join(_said(name) for name in chosen)


def needs_labels(chosen: Sequence[str]) -> bool:
    """Whether the regions' labels are asked about."""
    return any(name.startswith(f"{CATEGORY}:") for name in chosen)


def passing(run: Run, chosen: Sequence[str], facts: pd.DataFrame) -> NDArray[np.bool_] | None:
    """Which regions are of any of the names of each kind that is chosen; None: all of them.

    Args:
        run: the run.
        chosen: what `choose` gives.
        facts: (R,) of the regions; with `label` where `needs_labels`.
    """
    if not chosen:
        return None
    kinds: dict[str, list[str]] = {}
    for kind, _, name in (text.partition(":") for text in chosen):
        kinds.setdefault(kind, []).append(name)
    return reduce(np.logical_and, (_of(run, kind, names, facts) for kind, names in kinds.items()))


def _of(run: Run, kind: str, names: list[str], facts: pd.DataFrame) -> NDArray[np.bool_]:
    """Which regions are of any of these names."""
    ids = facts["region_id"].to_numpy()
    if kind == SELECTION:
        return np.isin(ids, np.concatenate([selected(run, name) for name in names]))
    if kind == TAG:
        tags = region_facts.tags_of(run, ids).str.split()
        return np.array([not set(names).isdisjoint(some) for some in tags], bool)
    if kind == CATEGORY:
        return facts["label"].isin(names).to_numpy()
    return region_facts.verdicts_of(run, ids).isin([*names, region_facts.BOTH]).to_numpy()


def _said(name: str) -> str:
    kind, _, rest = name.partition(":")
    return rest if kind == CATEGORY else f"{kind}: {rest}"


def _offered(run: Run) -> list[str]:
    """What regions can be chosen by."""
    found = [of_category(name) for name in _categories(str(run.path), state.version(run.require("objects")))]
    with suppress(OrlError):  # of other regions than the run has now: All pairs says so
        found += [f"{SELECTION}:{name}" for name in read_selections(run)["name"]]
    try:
        judged = read_reviews(run)
    except OrlError:  # no pairs, or reviews of others, as RoI pairs says
        return found
    verdicts = [*dict.fromkeys(name for name in (ACCEPTED, REJECTED) if (judged["verdict"] == name).any())]
    found += [f"{VERDICT}:{name}" for name in verdicts]
    return found + [f"{TAG}:{name}" for name in sorted(tags_of(judged)["tag"].unique())]


@st.cache_data(max_entries=4, show_spinner=False)
def _categories(run_path: str, version: object) -> list[str]:
    objects = state.images(Run(run_path)).objects
    return [*sorted(label_names(objects["category"]).dropna().unique()), UNLABELED] if len(objects) else []
