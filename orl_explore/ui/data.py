"""Page: the images of a run, and what was left out of them."""

from __future__ import annotations

import streamlit as st

from orl_explore.runs.run import Run
from orl_explore.ui import chooser, overview, state


def render(run: Run) -> None:
    """Show the page."""
    images = state.images(run)
    title = overview.data_title(run)
    objects = f", {len(images.objects):,} annotated objects" if len(images.objects) else ", no annotations"
    st.markdown(f"**{title}{objects}**")
    overview.show_data(run)
    if not st.session_state.get("gallery open"):  # the same, in front of the page
        chooser.gallery(run)
