"""The page of pairs: what a person says of them, kept in the run."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.errors import OrlError
from orl_explore.judging.diagnostics import UNLABELED
from orl_explore.pairs import similarity_text
from orl_explore.runs.reviews import (
    ACCEPTED,
    KEY,
    REJECTED,
    Pair,
    as_coco_text,
    as_csv,
    next_unreviewed,
    read_reviews,
    save_review,
)
from orl_explore.runs.run import Run
from orl_explore.ui import pair_rule, state
from orl_explore.ui.pair_scene import Scene, categories_of, show_pair

AHEAD = 100
"""Images that are looked through for the next pair without a verdict."""
SIGNS = {ACCEPTED: "✓ accepted", REJECTED: "✗ rejected", "": ""}


def reviews_of(run: Run) -> pd.DataFrame | None:
    """All reviews; None, with the reason shown, where there can be none."""
    if message := st.session_state.pop("pairs_problem", None):
        st.error(state.sentence(message))
    try:
        return read_reviews(run)
    except OrlError as error:
        st.warning(state.sentence(str(error)), icon=":material/info:")
        return None


def verdicts_of(reviews: pd.DataFrame) -> dict[Pair, str]:
    """Verdict by pair."""
    return {Pair(*row[:4]): row[4] for row in reviews[[*KEY, "verdict"]].itertuples(index=False, name=None)}


def status(scene: Scene, chosen: Pair, reviews: pd.DataFrame | None) -> None:
    """One line at the top, so that a reviewer at the keyboard sees what a key did."""
    ids, row = state.images(scene.run).table["image_id"], state.row_of(scene.run, scene.image_id)
    words = [f"Image {row + 1:,} of {len(ids):,}"]
    if reviews is not None:
        verdicts = verdicts_of(reviews)
        done = sum(bool(verdicts.get(Pair(*key))) for key in scene.pairs[KEY].itertuples(index=False, name=None))
        number = scene.number(chosen)
        words += [
            f"verdict on {'these boxes' if number is None else f'pair {number}'}: {verdicts.get(chosen) or 'none'}",
            f"{done} of {len(scene.pairs)} pairs of this image reviewed",
            f"in this run {(reviews['verdict'] == ACCEPTED).sum():,} accepted,"
            f" {(reviews['verdict'] == REJECTED).sum():,} rejected",
        ]
    st.text(" · ".join(words))


def panel(scene: Scene, chosen: Pair, similarity: np.ndarray, reviews: pd.DataFrame | None) -> None:
    """The two boxes of a pair, and what a person says of them."""
    number, value = scene.number(chosen), scene.value(chosen, similarity)
    words = "**Not accepted by stage 2**" if number is None else f"**Pair {number}**, accepted by stage 2"
    why = pair_rule.reason(scene, chosen, similarity)
    st.markdown(f"{words}: similarity {similarity_text(value)}.  \n{state.plain(why)}")
    pair_rule.switches(scene, chosen, similarity)
    categories = categories_of(scene, [scene.image_id, chosen.neighbor_id])
    columns = st.container(key=f"{state.EVEN} crops").columns(2)
    for column, image_id, region in (
        (columns[0], scene.image_id, chosen.query_region),
        (columns[1], chosen.neighbor_id, chosen.key_region),
    ):
        with column:
            st.image(state.thumbnail(scene.run, image_id, side=200, box=scene.boxes[region]))
            x, y, w, h = scene.boxes[region].tolist()
            category = None if categories is None else categories.get(region)
            known = "" if categories is None else (f" · {category}" if isinstance(category, str) else f" · {UNLABELED}")
            st.text(f"{w} × {h} at {x}, {y}{known}")  # noqa: RUF001
    if reviews is None:
        return
    own = reviews[(reviews[KEY] == list(chosen)).all(axis=1)] if len(reviews) else reviews
    verdict, note = (own["verdict"].iloc[0], own["note"].iloc[0]) if len(own) else ("", "")
    with st.container(horizontal=True):
        for label, new, icon, shortcut in (
            ("Accept", ACCEPTED, ":material/check:", "A"),
            ("Reject", REJECTED, ":material/close:", "X"),
        ):
            st.button(
                label,
                key=label,
                icon=icon,
                type="primary" if verdict == new else "secondary",
                on_click=_decide,
                args=(scene, chosen, "" if verdict == new else new),
                shortcut=shortcut,
                help="press again to take it back",
            )
        st.button(
            "Next",
            key="Next",
            icon=":material/skip_next:",
            on_click=_go_on,
            args=(scene, chosen, reviews),
            shortcut="N",
            help="the next pair without a verdict, of this image or of the following ones",
        )
    key = f"note {'-'.join(map(str, chosen))}"
    if key not in st.session_state:
        st.session_state[key] = note
    st.text_input("Note", key=key, max_chars=2000, on_change=_write_note, args=(scene, chosen, key))
    st.toggle("Go on to the next pair after a verdict", value=True, key="pairs_go_on")


def _decide(scene: Scene, pair: Pair, verdict: Any) -> None:
    try:
        reviews = save_review(scene.run, pair, verdict=verdict, reviewer=st.query_params.get("reviewer", ""))
    except OrlError as error:
        st.session_state["pairs_problem"] = str(error)
        return
    if verdict and st.session_state.get("pairs_go_on", True) and scene.number(pair) is not None:
        _go_on(scene, pair, reviews)


def _go_on(scene: Scene, pair: Pair, reviews: pd.DataFrame) -> None:
    following = next_unreviewed(scene.pairs, reviews, pair)
    if following is not None:
        show_pair(following.query_region, following.key_region, scene.rank_of(following.neighbor_id))
        return
    # All of this image are judged: the next one that has a pair without a verdict.
    ids, row = state.images(scene.run).table["image_id"].tolist(), state.row_of(scene.run, scene.image_id)
    for image_id in [*ids[row + 1 :], *ids[:row]][:AHEAD]:
        pairs = scene.run.read("pairs", image_id=image_id).sort_values("similarity", ascending=False, kind="stable")
        following = next_unreviewed(pairs, reviews, None)
        if following is not None:
            state.choose_image(image_id)
            rank = int(pairs.loc[pairs["neighbor_id"] == following.neighbor_id, "neighbor_rank"].iloc[0])
            show_pair(following.query_region, following.key_region, rank + 1)
            return


def _write_note(scene: Scene, pair: Pair, key: str) -> None:
    try:
        save_review(scene.run, pair, note=st.session_state[key], reviewer=st.query_params.get("reviewer", ""))
    except OrlError as error:
        st.session_state["pairs_problem"] = str(error)


def export(run: Run, reviews: pd.DataFrame | None) -> None:
    """What the reviews are for, and all of them as files."""
    if reviews is None or not len(reviews):
        st.caption("No pair of this run has been reviewed yet.")
        return
    st.text("Stage 3 leaves rejected pairs out and adds accepted ones with this command:")
    st.code(f"orl stage3 {shlex.quote(str(run.path))} --reviews use --overwrite", language="sh")
    with st.container(horizontal=True):
        for label, name, make in (
            ("Parquet", "reviews.parquet", lambda: run.file("reviews").read_bytes()),
            ("CSV", "reviews.csv", lambda: as_csv(read_reviews(run)).encode()),
            ("COCO json", "reviews.json", lambda: as_coco_text(run, read_reviews(run)).encode()),
        ):
            st.download_button(
                label, make, name, key=f"download {label}", icon=":material/download:", on_click="ignore"
            )
