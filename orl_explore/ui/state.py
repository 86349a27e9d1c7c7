"""What pages share: the runs that may be opened, tables held in memory, and the image that is looked at."""

from __future__ import annotations

import functools
import io
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from orl_explore.boxes import BOX
from orl_explore.errors import OrlError
from orl_explore.figures import drawing
from orl_explore.images.image_set import ImageSet
from orl_explore.runs.run import Run
from orl_explore.ui import address

LIVE = "live"
"""Containers whose key begins with this word do not fade while the server works: it does so every second or two."""

MISSING = "-"
"""What tables show where there is no value."""

DEPTH = 3
"""Folders below the runs folder in which runs are looked for."""


def plain(text: str) -> str:
    """Escape what Streamlit's Markdown would turn into formatting, links, math or HTML."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|$~:&^])", r"\\\1", text)


def sentence(text: str) -> str:
    """An error as Markdown: what stands in backticks is code, the rest is shown as it is."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without its partner
        return plain(text)
    return "".join(f"`{part}`" if number % 2 and part else plain(part) for number, part in enumerate(parts))


def markdown_table(table: pd.DataFrame) -> str:
    """A table of texts in Markdown, its index as the first column; nothing in it is markup."""
    cells = [["", *table.columns], *([name, *row] for name, row in zip(table.index, table.to_numpy(), strict=True))]
    lines = [f"| {' | '.join(plain(str(text)) for text in line)} |" for line in cells]
    return "\n".join([lines[0], "|---|" + "---:|" * len(table.columns), *lines[1:]])


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Show errors as sentences where they occur; every part of a page that runs by itself stands in one of these."""
    try:
        yield
    except OrlError as error:
        st.warning(sentence(str(error)), icon=":material/info:")
    except Exception:
        logging.getLogger(__name__).exception("%s", what)
        st.error("This page could not be drawn. The terminal that runs the app says why.", icon=":material/error:")


def tabs(
    parts: Mapping[str, Callable[[], object]], *, key: str, default: str | None = None, parameter: str | None = None
) -> None:
    """Show tabs, each with what draws it, of which only the one that is looked at is drawn: nobody waits for others.

    Args:
        parts: by their titles.
        key: of the tabs.
        default: title of the one to open, where the address names none.
        parameter: of the address, which names the tab that is open.
    """
    names, usual = {tab_in_address(title): title for title in parts}, default or next(iter(parts))
    wanted = None if parameter is None else address.get(parameter)
    if parameter is not None and wanted is not None and wanted not in names:
        fall_back(f"There is no tab {wanted[:60]} here: {usual} is shown.")
        address.put(**{parameter: None})
    changed: Any = "rerun"
    if parameter is not None:
        # Not as a default: tabs of another default are other tabs to Streamlit, and a click on these ones is lost.
        changed = follow(key, parameter, read=lambda text: names.get(text or "", usual), write=tab_in_address)
        default = None
    made = st.tabs(list(parts), default=default, key=key, on_change=changed)
    for tab, draw in zip(made, parts.values(), strict=True):
        if tab.open:
            with tab:
                draw()


def tab_in_address(title: str) -> str:
    """What the address calls a tab."""
    return "-".join(re.findall(r"\w+", title.lower()))


def list_runs(root: Path) -> list[str]:
    """Names of the runs in a folder, relative to it, newest first; links that lead out of it are left out."""
    found = []
    for depth in range(1, DEPTH + 1):
        for manifest in root.glob("/".join(["*"] * depth) + "/run.json"):
            folder = manifest.parent
            hidden = any(part.startswith(".") for part in folder.relative_to(root).parts)  # such as an import at work
            if not hidden and folder.resolve().is_relative_to(root.resolve()):
                found.append((manifest.stat().st_mtime, folder.relative_to(root).as_posix()))
    return [name for _, name in sorted(found, reverse=True)]


def open_run(root: Path, name: str) -> Run:
    """Open one of the runs that `list_runs` names.

    Raises:
        OrlError: it is none of them, or is damaged.
    """
    if name not in list_runs(root):
        raise OrlError(f"there is no run {name} in {root}")
    return Run.open(root / name)


def version(path: Path) -> tuple[str, int, int]:
    """What identifies a file's content for the caches: path, time of change and size.

    Files of a run are replaced, never edited in place.
    """
    stat = path.stat()
    return str(path.absolute()), stat.st_mtime_ns, stat.st_size


@st.cache_resource(max_entries=16, show_spinner=False)
def _table(run_path: str, name: str, columns: tuple[str, ...] | None, stamp: tuple[str, int, int]) -> pd.DataFrame:
    return Run(run_path).read(name, columns=columns)


def table(run: Run, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A whole table, held in memory until its file changes. It is shared: never change it.

    Raises:
        OrlError: the table is not there yet; the message names the command that makes it.
    """
    return _table(str(run.path), name, tuple(columns) if columns else None, version(run.require(name)))


@st.cache_resource(max_entries=4, show_spinner=False)
def _images(run_path: str, stamp: tuple[str, int, int]) -> ImageSet:
    return Run(run_path).images()


def images(run: Run) -> ImageSet:
    """The images of a run, held in memory."""
    return _images(str(run.path), version(run.require("images")))


def row_of(run: Run, image_id: int) -> int:
    """Row of an image in the images table.

    Raises:
        OrlError: no such image.
    """
    return int(images(run).rows_of(image_id))


def file_name(run: Run, image_id: int) -> str:
    """File name of an image."""
    of_run = images(run)
    return str(of_run.table["file_name"].iloc[int(of_run.rows_of(image_id))])


def sizes(run: Run, image_ids: Sequence[int]) -> list[list[int]]:
    """Width and height of images, pixels."""
    of_run = images(run)
    found: list[list[int]] = of_run.table[["width", "height"]].iloc[of_run.rows_of(image_ids)].to_numpy().tolist()
    return found


def region_of(run: Run, region: int) -> tuple[int, tuple[int, ...]]:
    """Image and box (xywh) of a region; none of what may be millions of rows is copied."""
    regions = table(run, "regions")
    image_id, *box = (int(regions[name].to_numpy()[region]) for name in ("image_id", *BOX))
    return image_id, tuple(box)


@st.cache_data(max_entries=2000, show_spinner=False)
def _jpeg(run_path: str, image_id: int, side: int, box: tuple[int, int, int, int] | None, stamp: object) -> bytes:
    run = Run(run_path)
    picture = images(run).load(row_of(run, image_id))
    if box is not None:
        x, y, w, h = box
        picture = picture.crop((x, y, x + w, y + h))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    if max(picture.size) < side // 2:  # enlarge small pictures and crops so that they can be seen
        scale = side / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def thumbnail(run: Run, image_id: int, *, side: int = 200, box: Sequence[int] | np.ndarray | None = None) -> bytes:
    """An image, or a box (xywh) of it, as a JPEG whose longer side is about `side` pixels."""
    as_tuple = None if box is None else (int(box[0]), int(box[1]), int(box[2]), int(box[3]))
    return _jpeg(str(run.path), int(image_id), side, as_tuple, version(run.require("images")))


def tile(run: Run, image_id: int, *, side: int = 200, box: Sequence[int] | np.ndarray | None = None) -> bytes:
    """As `thumbnail`, for one of several pictures: one that cannot be read any more is a tile that says so."""
    try:
        picture, is_read = thumbnail(run, image_id, side=side, box=box), True
    except OrlError:
        picture, is_read = _unreadable(side), False
    if (read := _read.get()) is not None:
        read.append(is_read)
    return picture


_read: ContextVar[list[bool] | None] = ContextVar("tiles that were read", default=None)


@contextmanager
def counting_tiles() -> Iterator[None]:
    """Say, below what is drawn here, how many of its tiles stand for pictures that cannot be read any more."""
    read: list[bool] = []
    token = _read.set(read)
    try:
        yield
    finally:
        _read.reset(token)
    if unread := read.count(False):
        st.caption(f"Pictures that cannot be read any more: {unread} of {len(read)}.")


@functools.cache
def _unreadable(side: int) -> bytes:
    """The tile, as a JPEG, that stands for a picture that cannot be read any more."""
    buffer = io.BytesIO()
    drawing.unreadable(side).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def custom_data(points: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """The custom data of each point that was selected in a chart; points without any are left out.

    The browser hands custom data back as a number, as a list, or, where it was sent as bytes, by position.
    """
    found = [point["customdata"] for point in points if point.get("customdata") is not None]
    return [list(item.values()) if isinstance(item, dict) else np.ravel(item).tolist() for item in found]


_FITS = range(-(2**63), 2**63)
"""What an id can be."""


def sent(key: str, *names: str) -> Any:
    """What the browser sent of a component or a chart, by its names; None if it sent nothing of the kind.

    Also where the state is gone: what comes from a page that the reader is leaving may find nothing left of it.
    """
    found = st.session_state.get(key)
    for name in names:
        found = (found or {}).get(name)
    return found


def fall_back(sentence: str) -> None:
    """Say that the link asks for what this run does not have, and what is shown in its place; for this once."""
    st.warning(plain(sentence), icon=":material/info:")


def number(text: str | None) -> int | None:
    """A whole number of an address, of any sign and as many digits as an id can have; None where it is none."""
    try:
        value = int(text) if text is not None and len(text) < 40 else None
    except ValueError:
        return None
    return value if value is not None and value in _FITS else None


def chosen_image(run: Run) -> int:
    """The image that all pages look at: the one the address names, else the first of the run, which is then said."""
    wanted, ids = address.get("image"), images(run).table["image_id"]
    first = int(ids.iloc[0])
    if wanted is None:
        return first
    value = number(wanted)
    if value is not None:
        try:
            row_of(run, value)
        except OrlError:
            value = None
    if value is None:
        fall_back(f"There is no image {wanted[:40]} in this run: its first one is shown.")
        choose_image(first)
        return first
    return value


def follow(
    key: str, parameter: str, *, read: Callable[[str | None], Any], write: Callable[[Any], str | None]
) -> Callable[[], None]:
    """Let a widget and the address follow each other: links, and the browser's way back, show the same again.

    The widget gets a value only where the address changed by itself, and to another one than it has. One that is set in
    every run would take back what the reader has chosen meanwhile.

    Args:
        key: of the widget.
        parameter: of the address.
        read: makes a value of the parameter's text; of None where the address does not name it.
        write: makes the text of a value; None: the address does not name it.

    Returns:
        The widget's `on_change`.
    """
    wanted, heard, given = address.get(parameter), *(f"{key} {what}" for what in _FOLLOWED)
    if key not in st.session_state or wanted != st.session_state.get(heard):
        value = read(wanted)
        if key not in st.session_state or st.session_state[key] != value:
            st.session_state[key] = st.session_state[given] = value
        st.session_state[heard] = address.get(parameter)  # what leads nowhere, `read` takes away

    def changed() -> None:
        value = st.session_state.get(key)  # Streamlit tells of a widget that has just left with its page, too,
        if value is None or (given in st.session_state and value == st.session_state.pop(given)):  # and of one set here
            return
        text = write(value)
        if text == st.session_state.get(heard):  # and again of one that it was slow to hear of
            return
        if address.hear(key, parameter, text):
            st.session_state[heard] = text
        else:
            st.session_state[key] = st.session_state[given] = read(address.get(parameter))

    return changed


_FOLLOWED = ("in address", "given")


def choose_run(name: str) -> None:
    """Look at another run from now on, from its first image. Made for callbacks."""
    if st.session_state.get("address", {}).get("run") != name:
        st.session_state["address"] = {}
    address.put(run=name)


def choose_image(image_id: int, **also: str | None) -> None:
    """Look at another image from now on; the address follows, with what else is to change. Made for `on_click`.

    A rank, a pair, a region, two boxes and a place in them belong to the image before, and go.
    """
    changes: dict[str, str | None] = {"image": str(image_id)}
    if address.get("image") != str(image_id):
        changes = dict.fromkeys(address.OF_IMAGE) | changes
    address.put(**changes | also)


def component_key(name: str) -> str:
    """A name as Streamlit takes it for a component: it refuses two underscores in a row, and runs may have them."""
    return name.replace("__", "_ _")


def is_leaving() -> bool:
    """Whether another page was asked for: a fragment, which is drawn without the page, has to leave that to it."""
    return "go to" in st.session_state


def go(page: str, image_id: int | None = None) -> None:
    """Open a page, at an image. Made for `on_click`."""
    st.session_state["go to"] = page
    if image_id is not None:
        choose_image(image_id)


def link(page: str, label: str, *, icon: str, help: str, **shown: str | None) -> None:
    """A link to another page of the same run, with what it is to show by the parameters of its address.

    They follow those of this page: Streamlit gives this page the new address first, which is where Back leads.
    """
    named = address.parameters() | {key: value for key, value in shown.items() if value is not None}
    st.page_link(st.session_state["pages"][page], label=label, icon=icon, help=help, query_params=named)
