"""Page: how stage 1 trained."""

from __future__ import annotations

import streamlit as st

from orl_explore.runs.run import Run
from orl_explore.ui import overview, state


def render(run: Run) -> None:
    """Show the page; it follows a stage that is running."""
    running = run.state("stage1").state in ("running", "waiting")

    @st.fragment(run_every=overview.REFRESH if running else None)
    @state.explained(f"stage 1 of {run.path}")
    def live() -> None:
        stage = run.state("stage1")
        with st.container(border=True):
            overview.show_stage(run, stage, (run.manifest()["images"] or {}).get("count", 0))
        overview.show_curves(run, stage)

    live()
