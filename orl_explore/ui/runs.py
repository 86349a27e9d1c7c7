"""Start page: all runs in a table; those that are chosen are laid over each other."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pandas as pd
import streamlit as st
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.figures import curves
from orl_explore.judging import run_table
from orl_explore.runs.run import Run
from orl_explore.ui import state
from orl_explore.ui.downloads import csv_button
from orl_explore.ui.overview import read_metrics

SIDE = 200
"""Longer side of a run's picture, pixels."""

SHOWN = 200
"""Runs in the table at most, the newest."""


def render(root: Path) -> None:
    """Show the page, of all runs in a folder."""
    names = state.list_runs(root)
    runs = {name: Run(root / name) for name in names[:SHOWN]}
    if len(names) > SHOWN:
        st.caption(f"The newest {SHOWN} of {len(names):,} runs.")
    table = run_table.table_of(runs)
    table[list(run_table.FIGURES)] *= 100
    table["settings that differ"] = list(run_table.own_settings(runs).values())
    table.insert(0, "picture", [_picture(run) for run in runs.values()])
    picked = st.dataframe(
        table,
        key=f"runs {root}",
        on_select="rerun",
        selection_mode="multi-row",
        row_height=64,
        height=min(420, 40 + 64 * len(table)),
        column_order=[
            "picture",
            "state",
            "images",
            "data",
            "encoder",
            *run_table.FIGURES,
            "settings that differ",
            "created",
        ],
        column_config={
            "picture": st.column_config.ImageColumn("picture", width=90),
            "images": st.column_config.NumberColumn(format="localized", width=80),
            "settings that differ": st.column_config.TextColumn(width="large"),
            "created": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
            **{name: st.column_config.NumberColumn(format="%.1f %%") for name in run_table.FIGURES},
        },
        alt="all runs, with state, data, encoder and key figures",
        placeholder=state.MISSING,
    )
    csv_button(table.drop(columns="picture"), "runs", index=True)
    chosen = [names[row] for row in picked["selection"]["rows"] if row < len(runs)]
    with st.container(horizontal=True, vertical_alignment="center"):
        if not chosen:
            st.caption("Tick runs to open them, or to lay several over each other.")
        for name in chosen[:6]:
            st.button(
                f"Open {state.plain(name)}",
                icon=":material/open_in_new:",
                key=f"open {name}",
                on_click=_open,
                args=(name,),
            )
    if len(chosen) > 1:
        _laid_over({name: runs[name] for name in chosen})


def _open(name: str) -> None:
    state.choose_run(name)
    state.go("overview")


def _laid_over(runs: dict[str, Run]) -> None:
    short = run_table.names_without_path(list(runs))
    runs = dict(zip(short, runs.values(), strict=True))
    st.subheader("Laid over each other", anchor=False)
    for stage, title in (("stage1", "Stage 1"), ("stage3", "Stage 3")):
        read = {name: read_metrics(run, stage) for name, run in runs.items()}
        metrics = {name: pd.DataFrame() if table is None else table for name, table in read.items()}
        if not any(map(len, metrics.values())):
            continue
        left, right = st.columns(2)
        for column, (what, words) in zip((left, right), (("loss", "loss"), ("std", "spread of features")), strict=True):
            figure = curves.laid_over(metrics, what, f"{title}: {words}")
            column.plotly_chart(figure, key=f"laid over {stage} {what}", alt=f"{words} of {title} in the chosen runs")
    with state.explained("settings of runs"):
        differing = run_table.differing_settings(runs)
        st.markdown("**Settings that differ**" if len(differing) else "These runs have the same settings.")
        if len(differing):
            st.dataframe(differing, alt="settings that differ between the chosen runs", placeholder=state.MISSING)
    measured = run_table.measured(runs)
    if len(measured):
        st.plotly_chart(curves.results(measured, list(runs)), key="laid over results", alt="results of the chosen runs")
    else:
        st.caption("None of these runs has been judged: `orl evaluate RUN` does that.")


def _picture(run: Run) -> str | None:
    """The summary picture, or else the first image, as a data URI; None where there is neither."""
    file = run.path / "summary.png"
    try:
        return _uri(str(run.path), state.version(file if file.exists() else run.require("images")))
    except OrlError:
        return None


@st.cache_data(max_entries=500, show_spinner=False)
def _uri(run_path: str, stamp: object) -> str | None:
    run, file = Run(run_path), Path(run_path) / "summary.png"
    try:
        picture = Image.open(file).convert("RGB") if file.exists() else run.images().load(0)
    except (OrlError, OSError, IndexError):
        return None
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
