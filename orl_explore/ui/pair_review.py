"""The page of pairs: what a person says of them, kept in the run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.errors import OrlError, typed
from orl_explore.numbers import similarity_text
from orl_explore.runs.reviews import (
    ACCEPTED,
    KEY,
    REJECTED,
    Pair,
    as_coco_text,
    as_csv,
    count_tags,
    of_images,
    read_reviews,
    save_review,
    tags_of,
)
from orl_explore.runs.run import Run
from orl_explore.ui import pair_rule, pair_walk, reviewer, state
from orl_explore.ui.downloads import csv_button
from orl_explore.ui.pair_scene import Scene

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


def verdicts_of(reviews: pd.DataFrame, image_id: int) -> dict[Pair, str]:
    """Verdict by pair, of the pairs of an image."""
    own = of_images(reviews, [image_id])[[*KEY, "verdict"]]
    return {Pair(*row[:4]): row[4] for row in own.itertuples(index=False, name=None)}


def status(scene: Scene, reviews: pd.DataFrame | None) -> None:
    """How far the review is, of this image and of the run."""
    if reviews is None:
        return
    verdicts = verdicts_of(reviews, scene.image_id)
    done = sum(bool(verdicts.get(Pair(*key))) for key in scene.pairs[KEY].itertuples(index=False, name=None))
    st.caption(
        f"{done} of {len(scene.pairs)} pairs of this image reviewed · in this run"
        f" {(reviews['verdict'] == ACCEPTED).sum():,} accepted, {(reviews['verdict'] == REJECTED).sum():,} rejected"
    )


def panel(scene: Scene, chosen: Pair, similarity: np.ndarray, reviews: pd.DataFrame | None) -> None:
    """What a decision on a pair takes: the two boxes, why stage 2 decided as it did, and what a person says."""
    left, right = st.columns([4, 3], gap="medium")
    with left:
        if reviews is not None:
            pair_walk.show(scene, chosen, similarity, reviewer.name(scene.run))
            note, who = st.columns([5, 4], gap="small")
            with note:
                _note(scene, chosen, reviews)
            reviewer.field(who, scene.run)
    with right:
        _why(scene, chosen, similarity)
        status(scene, reviews)


def _why(scene: Scene, chosen: Pair, similarity: np.ndarray) -> None:
    number, value = scene.number(chosen), scene.value(chosen, similarity)
    words = f"**{scene.origin(None)}**" if number is None else f"**Pair {number}**, {scene.origin(number)}"
    why = pair_rule.reason(scene, chosen, similarity)
    st.markdown(f"{words}: similarity {similarity_text(value)}.  \n{state.plain(why)}")
    pair_rule.switches(scene, chosen, similarity)


def _note(scene: Scene, chosen: Pair, reviews: pd.DataFrame) -> None:
    own = reviews[(reviews[KEY] == list(chosen)).all(axis=1)] if len(reviews) else reviews
    key = f"note {scene.of} {'-'.join(map(str, chosen))}"
    if key not in st.session_state:
        st.session_state[key] = own["note"].iloc[0] if len(own) else ""
    st.text_input(
        "Note",
        key=key,
        max_chars=2000,
        placeholder="A note on this pair",
        label_visibility="collapsed",
        on_change=_write_note,
        args=(scene, chosen, key),
    )


def _write_note(scene: Scene, pair: Pair, key: str) -> None:
    try:
        who = reviewer.name(scene.run)
        save_review(scene.run, pair, note=st.session_state[key], reviewer=who, of=scene.of)
    except OrlError as error:
        st.session_state["pairs_problem"] = str(error)


def export(run: Run, reviews: pd.DataFrame | None) -> None:
    """What the reviews are for, and all of them as files."""
    if reviews is None or not len(reviews):
        st.caption("No pair of this run has been reviewed yet.")
        return
    st.text("Stage 3 leaves rejected pairs out and adds accepted ones with this command:")
    st.code(typed("stage3", run.path, "--reviews", "use", "--overwrite"), language="sh")
    with st.container(horizontal=True):
        for label, name, make in (
            ("Parquet", "reviews.parquet", lambda: run.file("reviews").read_bytes()),
            ("CSV", "reviews.csv", lambda: as_csv(read_reviews(run)).encode()),
            ("COCO json", "reviews.json", lambda: as_coco_text(run, read_reviews(run)).encode()),
        ):
            st.download_button(
                label, make, name, key=f"download {label}", icon=":material/download:", on_click="ignore"
            )
    tags = count_tags(reviews)
    if not len(tags):
        st.caption("A word behind a # in a note is a tag: tagged pairs are found by it on All pairs, and counted here.")
        return
    st.dataframe(tags, hide_index=True, width="content", alt="tags, with the pairs that have each")
    csv_button(lambda: tags_of(read_reviews(run)), "tags", label="Tagged pairs as CSV", type="secondary")
