"""What a page shows while the run has not made what it needs: how far the work is. The page comes to life by itself."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from orl_explore.runs.tables import ARRAYS, TABLES
from orl_explore.ui import overview, state

INTERVAL = 1.0
"""Seconds between two looks at the run."""


def wait(run: Run, error: OrlError) -> None:
    """Say why a page cannot be shown yet, or how far the run is, and show the page when that has changed."""
    seen = made(run)

    @st.fragment(run_every=INTERVAL)
    def look() -> None:
        if made(run) != seen:
            st.rerun()
        if not tell(run):
            st.warning(state.sentence(str(error)), icon=":material/info:")

    look()


def version(file: Path) -> object:
    """What identifies a file's content; None while there is no file."""
    return state.version(file) if file.exists() else None


def watch(file: Path, seen: object) -> None:
    """Show the page anew when a file is another than the page has seen (`version`), whichever process made it."""

    @st.fragment(run_every=INTERVAL)
    def look() -> None:
        if version(file) != seen:
            st.rerun()

    look()


def tell(run: Run) -> bool:
    """Say how far a run is that is at work; whether it is."""
    manifest = run.manifest()
    if manifest["images"] is None:
        st.info("No pictures have been read yet. This page fills as soon as its part is there.")
        return True
    working = [name for name in manifest["stages"] if run.state(name).state == "running"]
    for name in working:
        st.info(f"{overview.STAGES[name]} is at work. This page fills as soon as its part is there.")
        overview.progress_of_parts(run, name)
    return bool(working)


def made(run: Run) -> list[str]:
    """What the run has by now: its tables and arrays, and the state of each stage."""
    there = [name for name in (*TABLES, *ARRAYS) if run.file(name).exists()]
    return there + [f"{name} {run.state(name).state}" for name in run.manifest()["stages"]]
