"""The page of pairs: why an encoder finds two boxes alike, place by place, for each encoder of the run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.boxes import BOX
from orl_explore.images.image_source import whole
from orl_explore.judging import alike, comparison
from orl_explore.judging.alike import FeatureMap
from orl_explore.judging.comparison import Source
from orl_explore.numbers import similarity_text
from orl_explore.runs.reviews import Pair
from orl_explore.runs.run import Run
from orl_explore.ui import address, below, encoders, pair_places, state
from orl_explore.ui.pair_places import Place, Seen
from orl_explore.ui.pair_scene import BELOW, TABS, Scene

TITLE = "Why are these two alike?"

MOST = 4
"""Encoders side by side at most."""

BY, LOOK = "by", "look"
"""Parameters of the address: which encoders are asked, and what is shown of them."""


def show(scene: Scene, chosen: Pair) -> None:
    """The two boxes of the chosen pair, or two others that the address names, as encoders see them."""
    _leave_out_what_is_not_there(scene)
    names = _encoders(scene.run)
    if not names:
        st.info("Choose an encoder to ask.")
        return
    _shown(scene, (chosen.query_region, chosen.key_region), names)


def open_boxes(run: Run, first: int, second: int) -> None:
    """Look at any two boxes here, and the image of the first, from any page. Made for callbacks."""
    image_id = state.region_of(run, first)[0]
    st.session_state["pairs tab"] = TITLE
    state.choose_image(image_id, boxes=f"{first}-{second}", place=None, tab=state.tab_in_address(TITLE))
    below.bring_into_view(BELOW, TABS)
    state.go("pairs")


def is_asked_for() -> bool:
    """Whether the address names boxes to look at."""
    return address.get("boxes") is not None


# ---- what is looked at ---------------------------------------------------------------------------------------------


def _named(scene: Scene) -> tuple[int, int] | None:
    """The two boxes that the address names, where the run has them."""
    found = [whole(text) for text in (address.get("boxes") or "").split("-")]
    there = [number for number in found if number is not None and 0 <= number < len(scene.boxes)]
    return (there[0], there[1]) if len(there) == len(found) == 2 else None


def _leave_out_what_is_not_there(scene: Scene) -> None:
    if is_asked_for() and _named(scene) is None:
        state.fall_back(f"This run has no two boxes {str(address.get('boxes'))[:40]}: those of the pair are shown.")
        address.put(boxes=None)


def _boxes(scene: Scene, pair: tuple[int, int]) -> tuple[int, int]:
    """Numbers of the two boxes; any two of the run can be typed."""
    shown = _named(scene) or pair
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for side, letter in enumerate("AB"):
            _field(scene, pair, shown, side, f"Box {letter}, by its region_id")
        st.button(
            "Back to the pair",
            icon=":material/undo:",
            key="alike back",
            disabled=shown == pair,
            on_click=_forget,
        )
    return shown


def _field(scene: Scene, pair: tuple[int, int], shown: tuple[int, int], side: int, label: str) -> None:
    key = f"alike box {side} of {pair}"

    def write(number: int) -> str | None:
        now = _named(scene) or pair  # both fields may have been typed in before the page followed
        boxes = (number, now[1]) if side == 0 else (now[0], number)
        return None if boxes == pair else f"{boxes[0]}-{boxes[1]}"

    changed = state.follow(key, "boxes", read=lambda _: shown[side], write=write)

    def typed() -> None:
        before = address.get("boxes")
        changed()
        if address.get("boxes") != before:
            address.put(place=None)

    st.number_input(label, 0, len(scene.boxes) - 1, key=key, on_change=typed, width=180)


def _forget() -> None:
    address.put(boxes=None, place=None)


def _encoders(run: Run) -> dict[str, Source]:
    """Which encoders are asked, by name: those that the address names, else the run's own."""
    found = encoders.sources(run, others=False)
    own = [name for name in encoders.OWN if name in found] or list(found)[:1]
    default, key = own[-MOST:], f"alike encoders {run.path}"

    def read(text: str | None) -> list[str]:
        names = [] if text is None else text.split(",")
        named = [name for name in names if name in found][:MOST]
        if named != names:
            others = "the others" if named else "its own"
            state.fall_back(f"This run does not have all of the encoders {str(text)[:60]}: {others} are asked.")
            address.put(**{BY: ",".join(named) or None})
        return named or default

    def write(names: list[str]) -> str | None:
        return ",".join(names) if names and names != default else None

    changed = state.follow(key, BY, read=read, write=write)
    names = st.multiselect(
        "Encoders", list(found), format_func=encoders.title, key=key, max_selections=MOST, on_change=changed
    )
    return {name: found[name] for name in sorted(names, key=list(found).index)}


def _view() -> str:
    """What is shown of them: what the address names, else the places."""

    def read(text: str | None) -> str:
        if text is not None and text not in views:
            state.fall_back(f"There is no view {text[:40]} of two boxes: {views[first].lower()} are shown.")
            address.put(**{LOOK: None})
        return text if text in views else first

    key = "alike view"
    views, first = pair_places.VIEWS, next(iter(pair_places.VIEWS))
    changed = state.follow(key, LOOK, read=read, write=str)
    chosen = st.segmented_control(
        "View",
        list(views),
        format_func=views.__getitem__,
        required=True,
        key=key,
        label_visibility="collapsed",
        on_change=changed,
    )
    return str(chosen)


def _place() -> Place | None:
    """The place that the address names."""
    wanted = address.get("place")
    found = None if wanted is None else Place.read(wanted)
    if wanted is not None and found is None:
        state.fall_back(f"There is no place {wanted[:40]} in two boxes: where most of the likeness is, is shown.")
        address.put(place=None)
    return found


# ---- the pictures --------------------------------------------------------------------------------------------------


@st.fragment
def _shown(scene: Scene, pair: tuple[int, int], names: dict[str, Source]) -> None:
    """A fragment: other boxes, another place or view leave the rest of the page as it is."""
    with state.explained("why two boxes are alike"):
        regions = _boxes(scene, pair)
        view = _view()
        image_ids = [_image_of(scene, region) for region in regions]
        size = comparison.image_size(scene.run)
        seen = [_seen(scene, regions, image_ids, name, source, size) for name, source in names.items()]
        crops = [
            state.thumbnail(scene.run, image_id, side=2 * pair_places.SIDE, box=scene.boxes[region])
            for image_id, region in zip(image_ids, regions, strict=True)
        ]
        st.caption(EXPLAINED[view])
        pair_places.show(
            (crops[0], crops[1]),
            tuple(tuple(scene.boxes[region][2:].tolist()) for region in regions),  # type: ignore[arg-type]
            seen,
            view=view,
            place=_place(),
            name=f"{scene.run.path} {regions} {','.join(names)}",
            on_place=lambda place: address.put(place=str(place)),
        )
        for one in seen:
            if one.maps[0].neglected:
                st.caption(f"**{one.title}**: {one.maps[0].neglected}.")
        if any(one.maps[0].side != one.maps[0].own_side for one in seen):
            st.caption(
                "Crops are enlarged, so that their maps have enough cells, which changes the cosine: *as mined* is that"
                " of the crops that stage 2 sees."
            )


EXPLAINED = {
    "places": "Move the mouse over a crop, or click to keep a place: colors on the other crop show how similar its"
    " places are to that one; the most similar has a ring. With keys: Tab to a crop, then arrows.",
    "colors": "The first three principal components of all cells of the two crops, as red, green and blue: places of"
    " one color are alike to the encoder. Colors of different encoders have nothing to do with each other.",
    "shares": "What each place adds to the cosine of the two crops: blue adds, orange takes away. The shares of either"
    " crop add up to the cosine.",
}


def _image_of(scene: Scene, region: int) -> int:
    return _images_of_regions(str(scene.run.path), state.version(scene.run.require("regions")))[region]


@st.cache_resource(max_entries=2, show_spinner=False)
def _images_of_regions(run_path: str, stamp: object) -> np.ndarray:
    return Run(run_path).read("regions", columns=["image_id"])["image_id"].to_numpy()


def _seen(scene: Scene, regions: tuple[int, int], image_ids: list[int], name: str, source: Source, size: int) -> Seen:
    """What one encoder says of the two boxes."""
    digest = source.hash()
    maps = [
        _map(digest, str(scene.run.path), int(image_id), tuple(scene.boxes[region].tolist()), size, source)
        for image_id, region in zip(image_ids, regions, strict=True)
    ]
    mined, enlarged = alike.cosine(maps[0].own, maps[1].own), alike.shares(*maps).cosine
    rows, columns = maps[0].cells.shape[:2]
    facts = f"cosine {similarity_text(enlarged)} at {maps[0].side} px, {rows} x {columns} cells"
    if maps[0].side != maps[0].own_side:
        facts += f"; {similarity_text(mined)} as mined, at {maps[0].own_side} px"
    elif maps[0].neglected:
        facts += f"; {similarity_text(mined)} as mined"
    return Seen(encoders.title(name), facts, (maps[0], maps[1]))


@st.cache_resource(max_entries=48, show_spinner="Asking the encoder ...")
def _map(
    digest: str, run_path: str, image_id: int, box: tuple[int, int, int, int], size: int, _source: Source
) -> FeatureMap:
    run = Run(run_path)
    region = pd.DataFrame([box], columns=BOX).assign(image_id=image_id)
    (found,) = alike.region_maps(encoders.load(digest, _source), state.images(run), region, size=size)
    return found
