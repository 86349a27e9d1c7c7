"""Only the images that hold boxes of a named selection: what the image chooser and the gallery go through."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from orl_explore.runs.selections import read_selections, selected
from orl_explore.ui import address, state

PARAMETER = "only"
"""Of the address: the name of the selection."""


def show(run: Run) -> None:
    """Let the reader choose a selection, where the run has any."""
    found = names(run)
    if not found:
        return
    wanted = address.get(PARAMETER)
    st.session_state["only images of"] = wanted if wanted in found else ""

    def changed() -> None:
        address.hear("only images of", PARAMETER, st.session_state["only images of"] or None)

    st.selectbox(
        "Images with boxes of",
        ["", *found],
        key="only images of",
        format_func=lambda name: f"only of {name}" if name else "all images",
        on_change=changed,
        label_visibility="collapsed",
        width=180,
    )


def chosen(run: Run) -> str | None:
    """The selection that the address names; one that the run lacks is told, and dropped."""
    wanted = address.get(PARAMETER)
    if wanted is not None and wanted not in names(run):
        state.fall_back(f"This run has no selection {wanted[:40]}: all images are shown.")
        address.put(**{PARAMETER: None})
        return None
    return wanted


def kept(run: Run) -> NDArray[np.bool_] | None:
    """Which images are gone through, by row of the images table; None: all of them."""
    name = chosen(run)
    if name is None:
        return None
    versions = [state.version(run.require(table)) for table in ("selections", "regions", "images")]
    return _kept(str(run.path), name, versions)


@st.cache_data(max_entries=16, show_spinner=False)
def _kept(run_path: str, name: str, versions: Any) -> NDArray[np.bool_]:
    run = Run(run_path)
    owners = state.table(run, "regions")["image_id"].to_numpy()[selected(run, name)]
    found = np.zeros(len(state.images(run)), bool)
    found[state.images(run).rows_of(np.unique(owners))] = True
    return found


def names(run: Run) -> list[str]:
    """Names of the run's selections; none where they are of other regions than the run has now."""
    if not run.file("selections").exists():
        return []
    try:
        return _named(str(run.path), [state.version(run.require(table)) for table in ("selections", "regions")])
    except OrlError:  # the tab Selections of All pairs says so
        return []


@st.cache_data(max_entries=16, show_spinner=False)
def _named(run_path: str, versions: Any) -> list[str]:
    return read_selections(Run(run_path))["name"].tolist()
