"""Page: the neighbors of an image, and how they are spread over the run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore import neighbors as library
from orl_explore.figures import neighbors as figures
from orl_explore.images.grouping import Groups
from orl_explore.images.labels import Labels
from orl_explore.numbers import similarity_text
from orl_explore.runs.run import Run
from orl_explore.ui import chooser, state, tiles

COLUMNS = 5
"""Neighbors in a line."""
HUBS = 10
"""Hubs shown."""
PAIRS = 6
"""Near-duplicates on a page."""


@dataclass(frozen=True)
class _Whole:
    """What the page needs of all neighbors together: worked out once per table."""

    of_image: Groups
    counts: np.ndarray
    edges: np.ndarray
    hubs: pd.DataFrame


@st.cache_resource(max_entries=4, show_spinner="Reading the neighbors …")
def _whole(run_path: str, version: tuple[str, int, int]) -> _Whole:
    table = state.table(Run(run_path), "neighbors")
    counts, edges = figures.histogram(table["similarity"])
    return _Whole(Groups(table["image_id"].to_numpy()), counts, edges, library.hubs(table))


def render(run: Run) -> None:
    """Show the page."""
    image_id = chooser.choose(run)
    table = state.table(run, "neighbors")
    whole = _whole(str(run.path), state.version(run.require("neighbors")))
    found = table.iloc[whole.of_image.rows(image_id)].sort_values("rank")
    own = chooser.labels(run, image_id)

    query, others = st.columns([1, 3.6])
    with query.container(gap="xsmall", key="whole image"):
        st.markdown("**This image**")
        chooser.picture(run, image_id, side=400)
        _describe(own)
    with others:
        words = "neighbors**, as they were given" if run.given() else "nearest neighbors**, the most similar first"
        st.markdown(f"**Its {len(found)} {words}")
        if not len(found):
            st.info(
                "This image has no neighbors: all that are near it count as near-duplicates in this run's settings."
            )
        _grid(run, found, own, key="walk")

    state.tabs(
        {
            "Similarities": lambda: st.plotly_chart(
                figures.similarities(whole.counts, whole.edges, found["similarity"].tolist()),
                key="similarities",
                alt="histogram of the similarities of all neighbors",
            ),
            "Hubs": lambda: _hubs(run, whole, image_id),
            "Near-duplicates": lambda: _twins(run),
        },
        key="neighbors tab",
        parameter="tab",
    )


def _grid(run: Run, found: pd.DataFrame, own: Labels | None, *, key: str) -> None:
    """Neighbors in lines of `COLUMNS`, each with its labels and a button that walks on to it."""
    rows = list(zip(found["rank"].tolist(), found["neighbor_id"].tolist(), found["similarity"].tolist(), strict=True))
    sizes = state.sizes(run, [neighbor_id for _, neighbor_id, _ in rows])
    places = tiles.places(sizes, key, columns=COLUMNS)
    for place, (rank, neighbor_id, similarity) in zip(places, rows, strict=True):
        with place:
            chooser.picture(run, neighbor_id, side=240)
            st.markdown(f"**{similarity_text(similarity)}** :gray[no. {rank + 1}]")
            _describe(chooser.labels(run, neighbor_id), own)
            st.button(
                f"Walk on to {neighbor_id}",
                key=f"{key} {rank}",
                on_click=state.choose_image,
                args=(neighbor_id,),
                help=state.plain(state.file_name(run, neighbor_id)),
                width="stretch",
            )


def _describe(labels: Labels, own: Labels | None = None) -> None:
    """Context and categories of an image; beside those of another image, with signs for what they share."""
    lines = []
    if labels.context is not None:
        same = None if own is None else own.same_context(labels)
        sign = {None: "", True: ":green[:material/check_circle:] ", False: ":orange[:material/cancel:] "}[same]
        lines.append(sign + state.plain(labels.context))
    if labels.categories and own is not None and own.categories:
        shared = own.shared(labels)
        rest = [state.plain(name) for name in labels.categories if name not in shared]
        named = [f":green[:material/check:]**{state.plain(name)}**" for name in shared] + rest
        lines.append(", ".join(named))
    elif labels.categories:
        lines.append(", ".join(map(state.plain, labels.categories)))
    if lines:
        st.caption("  \n".join(lines))


def _hubs(run: Run, whole: _Whole, image_id: int) -> None:
    counts = whole.hubs
    mine = int(counts.loc[counts["image_id"] == image_id, "count"].sum())
    total, queries = int(counts["count"].sum()), len(state.images(run))
    st.markdown(
        f"Images that are most often a neighbor, and how often. On average an image is one {total / queries:.1f}"
        f" times; this image **{mine:,} times**; {queries - len(counts):,} never are."
        " A few images that are everybody's neighbor make poor pairs."
    )
    top = counts[["image_id", "count"]].head(HUBS).to_numpy().tolist()
    places = tiles.places(state.sizes(run, [other for other, _ in top]), "hubs", columns=HUBS, gap="xsmall")
    for place, (other, count) in zip(places, top, strict=True):
        with place:
            chooser.picture(run, other, side=160)
            st.button(
                f"{count:,} times",
                key=f"hub {other}",
                help=state.plain(state.file_name(run, other)),
                on_click=state.choose_image,
                args=(other,),
                width="stretch",
            )


@st.cache_data(max_entries=8, show_spinner=False)
def _duplicates(run_path: str, version: tuple[str, int, int], threshold: float) -> pd.DataFrame:
    return library.duplicate_pairs(state.table(Run(run_path), "neighbors"), threshold=threshold)


def _twins(run: Run) -> None:
    threshold = st.slider("More similar than", 0.8, 1.0, 0.98, 0.005, format="%.3f", key="twins")
    pairs = _duplicates(str(run.path), state.version(run.require("neighbors")), threshold)
    if not len(pairs):
        known = state.table(run, "neighbors", ["similarity"])["similarity"].notna().any()
        st.text("No two neighbors are so similar." if known else "The similarities are not part of an imported run.")
        return
    pages, page = math.ceil(len(pairs) / PAIRS), 1
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(f"{len(pairs):,} pairs of images, the most similar first")
        if pages > 1:  # another number of pages begins at the first
            page = st.pagination(pages, key=f"twins page {pages} {run.path.as_posix()}")
    shown = pairs.iloc[(page - 1) * PAIRS : page * PAIRS]
    rows = list(zip(*(shown[name].to_numpy().tolist() for name in ("first", "second", "similarity")), strict=True))
    for start in range(0, len(rows), 3):
        for column, (first, second, similarity) in zip(st.columns(3), rows[start : start + 3], strict=False):
            with column.container(border=True, gap="xsmall"):
                st.markdown(f"**{similarity_text(similarity)}**")
                sizes, name = state.sizes(run, [first, second]), f"twins {first} {second}"
                halves = tiles.places(sizes, name, columns=2, gap="xsmall")
                for half, other in zip(halves, (first, second), strict=True):
                    with half:
                        chooser.picture(run, other, side=200)
                        st.button(
                            "Look",
                            key=f"twin {first} {second} {other}",
                            on_click=state.choose_image,
                            args=(other,),
                            help=state.plain(state.file_name(run, other)),
                            width="stretch",
                        )
