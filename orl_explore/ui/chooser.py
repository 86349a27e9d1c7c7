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
from orl_explore.ui import image_filter, state, steps, tiles

GALLERY = 24
"""Thumbnails on a page of the gallery."""
COLUMNS = 8


def choose(run: Run, order: np.ndarray | None = None) -> int:
    """Let the reader choose an image, in the same way on every page; returns the chosen one's id.

    Args:
        run: the run.
        order: ids of all images in the order to walk through them; default: that of the run.
    """
    table = state.images(run).table
    image_id = state.chosen_image(run)
    ids = table["image_id"].to_numpy() if order is None else order
    row, place = state.row_of(run, image_id), int(np.flatnonzero(ids == image_id)[0])
    kept = image_filter.kept(run)
    after = place + 1
    if kept is not None:  # an image that is not among them stands between the two that are next to it
        among = kept[state.images(run).rows_of(ids)]
        place, after = int(among[:place].sum()), int(among[: place + 1].sum())
        ids = ids[among]
    targets = (
        ("Previous image", "chevron_left", place - 1, "P"),
        ("Next image", "chevron_right", after, "N"),
        ("Random image", "shuffle", int(np.random.default_rng().integers(len(ids))), None),
    )
    where = f"{place + 1:,} of {len(ids):,}" if after > place else f"none of the {len(ids):,}"
    where += "" if kept is None else " chosen"
    with st.container(horizontal=True, vertical_alignment="center", key="image-chooser", gap="small"):
        with st.container(width=64):
            picture(run, image_id, side=128)
        with st.container(width="stretch", gap=None):
            st.markdown(f"**{state.plain(str(table['file_name'].iat[row]))}**")
            size = f"{table['width'].iat[row]} × {table['height'].iat[row]} px"  # noqa: RUF001
            st.caption(f"Image {state.plain(str(image_id))} · {where} · {size}")
            steps.count(
                "image-chooser",
                {"choose Previous": (-1, "P"), "choose Next": (1, "N")},
                previous=place - 1,
                next=after,
                of=len(ids),
                says=f"Image {image_id}, {where}",
                on_step=lambda place: state.choose_image(int(ids[place])),
            )
        for label, icon, other, letter in targets:
            st.button(
                label,
                icon=f":material/{icon}:",
                key=f"choose {label.split()[0]}",
                disabled=not 0 <= other < len(ids),
                on_click=state.choose_image,
                args=(int(ids[min(max(other, 0), len(ids) - 1)]),),
                help=letter and f"{label}: Shift + {letter}",
            )
        st.button("Gallery", icon=":material/grid_view:", key="choose Gallery", on_click=_open_gallery)
    return image_id


def search_field(run: Run) -> None:
    """The field that finds an image by its id or its file name, on every page."""
    st.text_input(
        "Find an image",
        key="find image",
        placeholder="id or part of a file name",
        icon=":material/search:",
        on_change=_find,
        args=(run,),
        label_visibility="collapsed",
        width=260,
    )
    image_filter.show(run)
    if st.session_state.get("gallery open"):
        _gallery(run)


def _open_gallery() -> None:
    st.session_state["gallery open"] = True


def _close_gallery() -> None:
    st.session_state["gallery open"] = False


def _find(run: Run) -> None:
    """Go to what was typed: to the image itself where only one is meant, else to the gallery."""
    table = state.images(run).table
    text = str(st.session_state["find image"])
    found = find_images(table, text)
    exact = len(found) and text.strip() == str(table["image_id"].iat[found[0]])
    if text.strip() and (len(found) == 1 or exact):
        _pick(int(table["image_id"].to_numpy()[found[0]]))
        st.session_state["find image"] = ""
    else:
        _open_gallery()


def look_at(image_id: int) -> None:
    """Look at an image, in the way in which this page shows one. Made for callbacks."""
    state.choose_image(image_id, **st.session_state.get("page shows an image by", {}))


def _pick(image_id: int) -> None:
    look_at(image_id)
    _close_gallery()
    if not st.session_state.get("page looks at an image", True):
        state.go("neighbors")


@st.dialog("Images of this run", width="large", on_dismiss=_close_gallery)
def _gallery(run: Run) -> None:
    if not st.session_state.get("gallery open"):
        st.rerun()  # a choice runs the dialog alone, which would stay
    gallery(run)


def gallery(run: Run) -> None:
    """All images, or those that were searched for; a click chooses one."""
    table = state.images(run).table
    text = str(st.session_state.get("find image", ""))
    rows = find_images(table, text)
    kept = image_filter.kept(run)
    if kept is not None:
        rows = rows[kept[rows]]
    if not len(rows):
        among = "" if kept is None else f" among those with boxes of {image_filter.chosen(run)}"
        st.text(f"No image{among} has the id or the file name {text.strip()!r}.")
        return
    pages = math.ceil(len(rows) / GALLERY)
    page = 1
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(f"{len(rows):,} images" if len(rows) == len(table) else f"{len(rows):,} of {len(table):,} images")
        if pages > 1:  # another search begins at the first page
            page = st.pagination(pages, key=f"gallery page {text} {run.path.as_posix()}")
    shown = rows[(page - 1) * GALLERY : page * GALLERY]
    ids = [int(table["image_id"].to_numpy()[row]) for row in shown]
    places = tiles.places(state.sizes(run, ids), "gallery", columns=COLUMNS, gap="xsmall")
    for place, row, image_id in zip(places, shown, ids, strict=True):
        with place:
            picture(run, image_id, side=160)
            st.button(
                str(image_id) if len(str(image_id)) <= 7 else f"…{str(image_id)[-5:]}",
                key=f"gallery {image_id}",
                help=state.plain(f"Image {image_id}: {table['file_name'].iat[row]}"),
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
