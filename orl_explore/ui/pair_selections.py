"""Named selections on the page All pairs: kept from what is shown, combined, exported, judged."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

import streamlit as st

from orl_explore.errors import OrlError, typed
from orl_explore.interchange.selection_files import as_coco, table_of
from orl_explore.runs.files import csv_text, json_text
from orl_explore.runs.pair_query import AllPairs, PairQuery
from orl_explore.runs.reviews import ACCEPTED, REJECTED, Verdict, save_verdicts
from orl_explore.runs.run import Run
from orl_explore.runs.selections import COMBINATIONS, combine, read_selections, remove_selection, save_selection
from orl_explore.ui import pair_filters, state

SIDES = {"both": "both boxes", "query": "boxes of images", "key": "boxes of neighbors"}


def show(pairs: AllPairs, query: PairQuery) -> None:
    """All selections of the run, and what can be done with them."""
    if said := st.session_state.pop("selections say", None):
        (st.warning if said[0] else st.success)(state.sentence(said[1]))
    with st.form("keep selection", border=False):
        name = st.text_input("Keep the boxes of all these pairs as", placeholder="a name", max_chars=80)
        left, right = st.columns([3, 2], vertical_alignment="bottom")
        side = left.selectbox("Which", list(SIDES), format_func=SIDES.__getitem__, label_visibility="collapsed")
        if right.form_submit_button("Keep", width="stretch"):
            _try(
                lambda: (
                    f"{save_selection(pairs.run, name, pairs.regions(query, side=side), origin=_origin(query))} boxes"
                )
            )
            st.rerun()
    found = read_selections(pairs.run)
    if not len(found):
        st.caption("No selection yet: filter pairs, or draw around points of the object map, and keep their boxes.")
        return
    chosen = st.dataframe(
        found[["name", "boxes", "origin"]],
        hide_index=True,
        key=f"selections {pairs.run.path}",
        on_select="rerun",
        selection_mode="multi-row",
        height=min(240, 40 + 36 * len(found)),
        placeholder=state.MISSING,
        alt="named selections of boxes",
    )
    names = [found["name"].iloc[row] for row in chosen["selection"]["rows"] if row < len(found)]
    if not names:
        st.caption("Mark one to use it, or several to combine them.")
    elif len(names) == 1:
        _one(pairs, names[0])
    else:
        _several(pairs.run, names)


def _origin(query: PairQuery) -> str:
    return f"pairs {query.text() or 'all'}"


def _try(action: Any) -> None:
    try:
        st.session_state["selections say"] = (False, f"Done: {action()}.")
    except OrlError as error:
        st.session_state["selections say"] = (True, str(error))


def _judge(pairs: AllPairs, name: str, verdict: Verdict) -> None:
    def act() -> str:
        touched = pairs.pairs(PairQuery(selection=name))
        reviewer = st.session_state.get("reviewer", "")
        save_verdicts(pairs.run, [(pair, verdict) for pair in touched], reviewer=reviewer)
        return f"{len(touched):,} pairs {verdict}"

    _try(act)


def _one(pairs: AllPairs, name: str) -> None:
    run = pairs.run
    with st.container(horizontal=True):
        st.button("Show its pairs", on_click=pair_filters.choose, args=(PairQuery(selection=name),))
        st.button("Reject all pairs that touch it", on_click=_judge, args=(pairs, name, REJECTED))
        st.button("Accept them", on_click=_judge, args=(pairs, name, ACCEPTED))
        st.button("Forget it", on_click=_try, args=(lambda: _forget(run, name),))
    with st.container(horizontal=True):
        for label, suffix, make in (
            ("Parquet", "parquet", lambda: _parquet(run, name)),
            ("CSV", "csv", lambda: csv_text(table_of(run, name)).encode()),
            ("COCO json", "json", lambda: _json(run, name)),
        ):
            st.download_button(
                label,
                make,
                f"selection.{suffix}",
                key=f"selection {label}",
                icon=":material/download:",
                on_click="ignore",
            )
    st.caption("Stage 3 without its boxes, and a folder of its crops:")
    without = typed("stage3", run.path, "--stage3.without", name, "--overwrite")
    st.code(f"{without}\n{typed('select', run.path, name, '--export', 'crops')}", language="sh")


def _forget(run: Run, name: str) -> str:
    remove_selection(run, name)
    return f"{name} is forgotten"


def _parquet(run: Run, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        table_of(run, name).to_parquet(Path(folder) / "table", index=False)
        return (Path(folder) / "table").read_bytes()


def _json(run: Run, name: str) -> bytes:
    return json_text(as_coco(run, name)).encode()


def _several(run: Run, names: list[str]) -> None:
    with st.form("combine selections", border=False):
        how = st.selectbox("Combine them", list(COMBINATIONS), help="difference: the first without the others")
        name = st.text_input("under the name", max_chars=80)
        if st.form_submit_button("Keep"):
            _try(lambda: f"{combine(run, name, cast(Any, how), names)} boxes")
            st.rerun()
