"""Page: two encoders on what this run has found. What does the second know of objects that the first does not?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from orl_explore.errors import OrlError
from orl_explore.judging import comparison, published, results
from orl_explore.judging.comparison import Source
from orl_explore.runs.run import Run
from orl_explore.ui import address, compare_images, compare_objects, compare_pairs, encoders, state
from orl_explore.ui.downloads import csv_button

MEANINGFUL = (("stage1", "stage3"), ("random", "stage3"), ("random", "stage1"), ("random", "stage2"))
"""What is compared at first: the first of these that a run has. Stage 1 against stage 3 is what the paper is about."""


def render(run: Run) -> None:
    """Show the page."""
    found = encoders.sources(run)
    if not comparison.compared_encoders(run):
        raise OrlError(f"this run has no encoder: stage 1 is {run.state('stage1').sentence}")
    pair = _choose(run, found)
    if pair is None:
        st.info(
            "This run has one encoder, and there is nothing to compare it with. `orl evaluate` judges one by itself;"
            " encoders of other runs in the same folder can be chosen here."
        )
        _judged(run)
        return
    if "stage3" not in comparison.compared_encoders(run):
        st.info(state.sentence(f"There is no encoder of stage 3: it is {run.state('stage3').sentence}."))
    chosen, titles = (found[pair[0]], found[pair[1]]), (encoders.title(pair[0]), encoders.title(pair[1]))
    if pair[0] == pair[1]:
        st.warning("A and B are the same encoder: choose another one for either.", icon=":material/info:")
    state.tabs(
        {
            "Objects": lambda: _explained(compare_objects.show, run, pair, chosen),
            "Pairs that stage 2 would mine": lambda: _explained(compare_pairs.show, run, pair, chosen),
            "Whole images": lambda: compare_images.show(run, chosen, titles),
            "What each encoder is worth": lambda: _judged(run),
        },
        key="compare tab",
        parameter="tab",
    )


def _explained(show: Callable[..., None], *what: Any) -> None:
    """Draw a tab; what it lacks leaves the other ones as they are."""
    with state.explained("comparison of encoders"):
        show(*what)


def _choose(run: Run, found: dict[str, Source]) -> tuple[str, str] | None:
    """Two encoders by their names: those of the address, else the most meaningful; None where all are the same one."""
    names = list(found)
    default = _default(found)
    if default is None:
        return None
    made = []
    for column, letter, usual in zip(st.columns(2), "ab", default, strict=True):
        wanted = address.get(letter)
        if wanted is not None and wanted not in names:
            state.fall_back(f"There is no encoder {wanted[:60]} here: {encoders.title(usual)} is shown.")
            address.put(**{letter: None})
            wanted = None
        key = f"{letter} of {run.path}"
        st.session_state[key] = wanted or usual
        address.put(**{letter: wanted or usual})
        made.append(
            column.selectbox(
                f"Encoder {letter.upper()}",
                names,
                format_func=encoders.title,
                key=key,
                on_change=_chosen,
                args=(key, letter),
            )
        )
    return made[0], made[1]


def _chosen(key: str, letter: str) -> None:
    address.hear(key, letter, st.session_state[key])


def _default(found: dict[str, Source]) -> tuple[str, str] | None:
    """Two encoders that are not the same one by another name."""
    for first, second in MEANINGFUL:
        if first in found and second in found:
            return first, second
    own, *others = found
    return next(((own, name) for name in others if found[name].hash() != found[own].hash()), None)


# ---- tables --------------------------------------------------------------------------------------------------------


def _judged(run: Run) -> None:
    st.markdown("**Measured on this run**")
    try:
        table = results.evaluation_table(results.read_summary(run))
    except OrlError as error:
        st.info(state.sentence(str(error)))
    else:
        st.markdown(state.markdown_table(table.map(_number)))
        csv_button(table, "worth", index=True)
        st.caption("Probe and kNN are asked about annotated objects here, and about proposal boxes under *Objects*.")
        if "chance" in table and table["chance"].isna().all():
            st.caption("Without annotations nothing can be judged by labels.")
    transfer = results.text_table(results.read_results(run), run)
    if len(transfer):
        st.markdown("**Transfer protocols, measured on this run's encoders**")
        st.dataframe(transfer, hide_index=True, placeholder=state.MISSING)
        csv_button(transfer, "transfer")
        st.caption(
            state.sentence(
                "Percent, with 95 % intervals over the test images; from evaluation/transfer/."
                " docs/transfer.md says how each is measured."
            )
        )
    st.markdown("**Published by others, not measured here**")
    by_others = published.published_table()
    st.dataframe(by_others, hide_index=True, placeholder=state.MISSING)
    csv_button(by_others, "published")
    st.caption(
        "A dash: in that source, but not copied here. Of other data and networks: not to be compared with those above."
    )


def _number(value: float) -> str:
    """A share or a loss with three digits, a count without; nothing where nothing was measured."""
    return "" if pd.isna(value) else f"{value:.3f}" if value < 10 and value % 1 else f"{value:.0f}"
