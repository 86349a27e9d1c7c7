"""Search from anything, on every page: an id or a file name, a picture, or a box drawn on a picture."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from PIL import Image

from orl_explore.boxes import BOX
from orl_explore.errors import OrlError
from orl_explore.numbers import similarity_text
from orl_explore.runs.files import hash_file
from orl_explore.runs.pair_query import PairQuery
from orl_explore.runs.run import Run
from orl_explore.runs.selections import regions_hash
from orl_explore.ui import chooser, keeping, pair_filters, picture_box, state, tiles

IMAGES = 6
REGIONS = 12
COLUMNS = 6

LOOKED_AT, OWN = "the image looked at", "a picture of my own"


def bar(run: Run) -> None:
    """The field that finds an image by its id or name, and the button that searches with a picture."""
    chooser.search_field(run)
    st.button("Search by picture", icon=":material/image_search:", key="search open", on_click=_open)
    if st.session_state.get("search by picture"):
        _dialog(run)


def _open() -> None:
    st.session_state["search by picture"] = True
    st.session_state["gallery open"] = False  # one dialog at a time


def _close() -> None:
    st.session_state["search by picture"] = False
    st.session_state.pop("search pasted", None)


@st.dialog("Search by picture", width="large", on_dismiss=_close)
def _dialog(run: Run) -> None:
    if not st.session_state.get("search by picture"):
        st.rerun()  # a choice runs the dialog alone, which would stay
    with state.explained(f"search in {run.path}"):
        source = st.segmented_control(
            "Search with",
            [OWN, LOOKED_AT],
            default=LOOKED_AT if st.session_state.get("page looks at an image") else OWN,
            required=True,
            key="search with",
        )
        data = _given() if source == OWN else None
        left, right = st.columns([2, 3], gap="medium")
        results = right.empty()  # what was found for another picture goes before this one is even read
        picture, of = None, "nothing"
        try:
            if source == LOOKED_AT:
                image_id = state.chosen_image(run)
                picture, of = state.images(run).load(state.row_of(run, image_id)), f"image {image_id}"
            elif data is not None:
                from orl_explore.maps.picture_search import read_picture

                picture, of = read_picture(data), hashlib.blake2b(data, digest_size=16).hexdigest()
        except OrlError as error:
            results.warning(state.sentence(str(error)), icon=":material/info:")
        with left:
            box, pasted = picture_box.draw(picture, key="search picture", of=of)
            if pasted is not None:
                st.session_state["search pasted"] = pasted
                st.rerun(scope="fragment")
            if picture is not None:
                st.caption(
                    f"Box at ({box[0]}, {box[1]}), {box[2]} × {box[3]} px. Click beside it to search with all of it."  # noqa: RUF001
                    if box
                    else "Draw a box on the picture to search with a part of it."
                )
        if picture is not None:
            with results.container():
                _results(run, picture, box, of)


def _given() -> bytes | None:
    """The bytes of a picture that was dropped, chosen or pasted, whichever came last."""
    st.file_uploader(
        "Drop a picture here, or choose one",
        max_upload_size=20,
        key="search file",
        on_change=lambda: st.session_state.pop("search pasted", None),
        help="Any picture that image sets read: JPEG under any name, PNG, WebP, BMP, TIFF, GIF, AVIF, and HEIC where"
        " its library is installed. It is looked at once and stored nowhere.",
    )
    if (pasted := st.session_state.get("search pasted")) is not None:
        return pasted
    file = st.session_state.get("search file")
    st.caption("Or paste one with Ctrl+V. It is looked at once and stored nowhere.")
    return None if file is None else file.getvalue()


@st.cache_resource(max_entries=2, show_spinner="Loading the encoder …")
def _encoder(file: str, version: tuple[str, int, int]) -> tuple[Any, str]:
    from orl_explore.encoder import Encoder

    return Encoder.load(Path(file)), hash_file(Path(file))


@st.cache_data(max_entries=32, show_spinner="Searching …")
def _found(
    run_path: str, of: str, box: tuple[int, int, int, int] | None, versions: object, _picture: Image.Image
) -> tuple[pd.DataFrame | str, pd.DataFrame | str]:
    """Images and boxes like a picture, or like a box on it; what cannot be searched, in words."""
    from orl_explore.maps.picture_search import searcher

    made = searcher(Run(run_path), lambda file: _encoder(str(file), state.version(file)))
    crop = _picture if box is None else _picture.crop((box[0], box[1], box[0] + box[2], box[1] + box[3]))
    answers: list[pd.DataFrame | str] = []
    for look in (lambda: made.images(crop, count=IMAGES), lambda: made.regions(_picture, box, count=REGIONS)):
        try:
            answers.append(look())
        except OrlError as error:
            answers.append(str(error))
    return answers[0], answers[1]


def _results(run: Run, picture: Image.Image, box: tuple[int, int, int, int] | None, of: str) -> None:
    # Before anything is found: what is newer counts as stale when it is kept.
    regions_of = regions_hash(run) if run.file("regions").exists() else ""
    files = [run.file(name) for name in ("image_embeddings", "region_embeddings")] + [run.mining_encoder_file()]
    versions = tuple(state.version(file) if file.exists() else None for file in files)
    images, regions = _found(str(run.path), of, box, versions, picture)
    st.markdown("**Most similar boxes**")
    if isinstance(regions, str):
        st.warning(state.sentence(regions), icon=":material/info:")
    else:
        table = state.table(run, "regions")
        rows = table.iloc[regions["region_id"].to_numpy()]
        shown = zip(
            rows["image_id"].tolist(), rows[BOX].to_numpy().tolist(), regions["similarity"].tolist(), strict=True
        )
        found = regions["region_id"].tolist()
        _grid(run, list(shown), "box", found)
        origin = f"most similar to {'a part of ' if box else ''}{of if of.startswith('image ') else 'a picture'}"
        keeping.keep_as(run, lambda: found, of=regions_of, origin=origin, key="search keep")
    st.markdown("**Most similar images**")
    if isinstance(images, str):
        st.warning(state.sentence(images), icon=":material/info:")
    else:
        pairs = zip(images["neighbor_id"].tolist(), images["similarity"].tolist(), strict=True)
        _grid(run, [(image_id, None, similarity) for image_id, similarity in pairs], "image")


def _grid(
    run: Run, found: list[tuple[int, list[int] | None, float]], kind: str, regions: list[int] | None = None
) -> None:
    images = state.sizes(run, [image_id for image_id, _, _ in found])
    sizes = [size if box is None else box[2:] for size, (_, box, _) in zip(images, found, strict=True)]
    places = tiles.places(sizes, f"search {kind}", columns=COLUMNS, gap="xsmall")
    with state.counting_tiles():
        for number, (place, (image_id, box, similarity)) in enumerate(zip(places, found, strict=True)):
            with place:
                name = state.file_name(run, image_id)
                alt = f"{kind} {number + 1} that is similar, of image {image_id}"
                st.image(state.tile(run, image_id, side=140, box=box), width="stretch", alt=alt)
                st.button(
                    similarity_text(similarity),
                    key=f"search {kind} {number}",
                    help=state.plain(f"Look at {'this box of ' if regions else ''}image {image_id}, {name}"),
                    on_click=_look,
                    args=(image_id, regions[number] if regions else None),
                    width="stretch",
                )


def _look(image_id: int, region: int | None) -> None:
    """Look at an image, or at a box of it, on this page where it can show that."""
    _close()
    if region is None:
        chooser.look_at(image_id)
    else:
        state.choose_image(image_id, region=str(region))
    if st.session_state.get("page") == "all_pairs":
        pair_filters.choose(PairQuery(image=image_id) if region is None else PairQuery(box=region))
    elif not st.session_state.get("page looks at an image", True):
        state.go("neighbors" if region is None else "proposals")
