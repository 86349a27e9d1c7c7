"""Keep boxes under a name: one field and one button, wherever boxes were chosen."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from numpy.typing import ArrayLike

from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from orl_explore.runs.selections import NAME_LENGTH, save_selection
from orl_explore.ui import state


def keep_as(
    run: Run,
    regions: Callable[[], ArrayLike],
    *,
    of: str,
    origin: str,
    key: str,
    label: str = "Keep these boxes as",
    after: Callable[[], object] | None = None,
) -> None:
    """A field for a name, and what becomes of it.

    Args:
        run: the run.
        regions: gives their numbers, once they are to be kept.
        of: hash of the regions table that these are from.
        origin: where they are from, in words.
        key: of the widgets.
        label: of the field.
        after: is called once they were kept, to draw anew what else shows selections.
    """
    field, says = f"{key} name", f"{key} says"

    def keep() -> None:
        name = " ".join(str(st.session_state[field]).split())
        try:
            count = save_selection(run, name, regions(), origin=origin, of=of)
        except OrlError as error:
            st.session_state[says] = (True, str(error))
            return
        st.session_state[says] = (False, f"Done: {count:,} boxes are kept as {name}.")
        st.session_state[field] = ""
        st.session_state[f"{key} kept"] = True

    with st.form(f"{key} form", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(label, placeholder="a name", max_chars=NAME_LENGTH, key=field, width=320)
        st.form_submit_button("Keep", icon=":material/bookmark_add:", on_click=keep)
    if st.session_state.pop(f"{key} kept", False) and after is not None:
        after()
    if said := st.session_state.pop(says, None):
        (st.warning if said[0] else st.success)(state.sentence(said[1]))
