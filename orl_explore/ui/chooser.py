"""The image that the pages look at: shown, searched for, picked out of a gallery; and what is known of it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.errors import OrlError
from orl_explore.images.grouping import Groups
from orl_explore.images.labels import Labels, labels_of
from orl_explore.images.search import find_images
from orl_explore.runs.run import Run
from orl_explore.ui import state

GALLERY = 24
"""Thumbnails on a page of the gallery."""
COLUMNS = 8


def choose(run: Run) -> int:
    """Let the reader choose an image; returns the chosen one's id."""
    images = state.images(run).table
    try:
        image_id = state.chosen_image(run)
    except OrlError as error:
        st.warning(
            f"The link leads nowhere, {state.plain(str(error))}: the first one is shown.", icon=":material/info:"
        )
        image_id = int(images["image_id"].iloc[0])
    row = state.row_of(run, image_id)
    ids = images["image_id"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "Find an image",
            key="find image",
            placeholder="id or part of a file name",
            icon=":material/search:",
            on_change=_find,
            args=(run,),
            label_visibility="collapsed",
        )
        for label, icon, other in (
            ("Previous", "chevron_left", row - 1),
            ("Next", "chevron_right", row + 1),
            ("Random", "shuffle", int(np.random.default_rng().integers(len(ids)))),
        ):
            st.button(
                label,
                icon=f":material/{icon}:",
                key=f"choose {label}",
                disabled=not 0 <= other < len(ids),
                on_click=state.choose_image,
                args=(int(ids.iloc[min(max(other, 0), len(ids) - 1)]),),
            )
    gallery = st.expander("Gallery", icon=":material/grid_view:", key="gallery open", on_change="rerun")
    if gallery.open:
        with gallery:
            _gallery(run)
    size = f"{images['width'].iat[row]} x {images['height'].iat[row]} pixels"
    st.caption(f"Image {image_id} · {state.plain(str(images['file_name'].iat[row]))} · {size}")
    return image_id


def _find(run: Run) -> None:
    """Go to what was typed: to the image itself where only one is meant, else to the gallery."""
    table = state.images(run).table
    text = str(st.session_state["find image"])
    found = find_images(table, text)
    exact = len(found) and text.strip() == str(table["image_id"].iat[found[0]])
    if text.strip() and (len(found) == 1 or exact):
        state.choose_image(int(table["image_id"].to_numpy()[found[0]]))
        st.session_state["find image"] = ""
        st.session_state["gallery open"] = False
    else:
        st.session_state["gallery open"] = True


def _pick(image_id: int) -> None:
    state.choose_image(image_id)
    st.session_state["gallery open"] = False


def _gallery(run: Run) -> None:
    table = state.images(run).table
    text = str(st.session_state.get("find image", ""))
    rows = find_images(table, text)
    if not len(rows):
        st.text(f"No image has the id or the file name {text.strip()!r}.")
        return
    pages = math.ceil(len(rows) / GALLERY)
    page = 1
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(f"{len(rows):,} of {len(table):,} images" if text.strip() else f"{len(rows):,} images")
        if pages > 1:  # another search begins at the first page
            page = st.pagination(pages, key=f"gallery page {text} {run.path.as_posix()}")
    shown = rows[(page - 1) * GALLERY : page * GALLERY]
    grid = st.container(key=f"{state.EVEN} gallery")
    for start in range(0, len(shown), COLUMNS):
        for column, row in zip(grid.columns(COLUMNS, gap="xsmall"), shown[start : start + COLUMNS], strict=False):
            with column:
                image_id = int(table["image_id"].to_numpy()[row])
                picture(run, image_id, side=160)
                st.button(
                    str(image_id) if image_id < 10**7 else "Show",
                    key=f"gallery {image_id}",
                    help=state.plain(str(table["file_name"].iat[row])),
                    on_click=_pick,
                    args=(image_id,),
                    width="stretch",
                )


def picture(run: Run, image_id: int, *, side: int = 240) -> None:
    """Show an image as wide as its column; where its file cannot be read, say so in its place."""
    try:
        st.image(state.thumbnail(run, image_id, side=side), width="stretch", alt=f"image {image_id}")
    except OrlError as error:
        st.text(str(error))


@st.cache_resource(max_entries=4, show_spinner=False)
def _objects_by_image(run_path: str, version: tuple[str, int, int]) -> Groups:
    return Groups(state.images(Run(run_path)).objects["image_id"].to_numpy())


def _object_rows(run: Run, image_id: int) -> np.ndarray:
    return _objects_by_image(str(run.path), state.version(run.require("objects"))).rows(image_id)


def objects_of(run: Run, *image_ids: int) -> pd.DataFrame:
    """Annotated objects of some images; no rows without annotations."""
    return state.images(run).objects.iloc[np.concatenate([_object_rows(run, image_id) for image_id in image_ids])]


def labels(run: Run, image_id: int) -> Labels:
    """Context and categories of an image."""
    images = state.images(run)
    return labels_of(images.table, state.row_of(run, image_id), images.objects, _object_rows(run, image_id))
