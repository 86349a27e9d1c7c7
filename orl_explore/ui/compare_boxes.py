"""The page that compares encoders, box by box: what moved most, and one box with its nearest ones by either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.judging import objects
from orl_explore.judging.objects import Boxes, Neighborhoods
from orl_explore.numbers import similarity_text
from orl_explore.runs import region_embeddings as stored
from orl_explore.runs.run import Run
from orl_explore.ui import address, below, encoders, pair_alike, state, tiles
from orl_explore.ui.compare_images import SIGNS
from orl_explore.ui.downloads import csv_button

CELL = 72
"""Width of a crop, pixels."""

ONE_BOX = "compare-one-box"
"""Container of the box that is looked at, which comes into view when another one is."""

MOVED = 10
"""Boxes that moved most, shown at a time."""

ORDERS = {"most gained": "change", "most lost": "-change", "fewest nearest boxes kept": "kept"}


def moved(run: Run, near: Neighborhoods, category: str | None) -> int:
    """The boxes of a category, or all, that moved most; returns the first of them."""
    table = near.moved()
    if category is not None:
        table = table[table["category"] == category]
    if not len(table):
        return int(near.boxes.region_ids[0])
    st.markdown(f"#### What moved most{'' if category is None else ': ' + state.plain(category)}")
    labeled = "change" in table
    order = "kept"
    if labeled:
        chosen = st.segmented_control(
            "Order", list(ORDERS), default="most gained", required=True, key="compare order of boxes",
            label_visibility="collapsed",
        )  # fmt: skip
        order = ORDERS[str(chosen)]
        st.caption("Below each: how many of its nearest boxes are of its own category by A, and by B.")
    else:
        st.caption(f"Below each: how many of its {near.a.shape[1]} nearest boxes are kept from A to B.")
    table = table.sort_values(order.removeprefix("-"), ascending=order != "change", kind="stable")
    k, shown = near.a.shape[1], table.head(MOVED)
    if labeled:
        words = [f"{k * a:.0f} → {k * b:.0f}" for a, b in zip(shown["alike_a"], shown["alike_b"], strict=True)]
    else:
        words = [f"{k * kept:.0f} of {k}" for kept in shown["kept"]]
    regions = shown["region_id"].tolist()
    with state.counting_tiles():
        for place, region, text in zip(cells(run, regions, "moved"), regions, words, strict=True):
            with place:
                crop(run, region, near.boxes)
                st.caption(text)
                look(region, f"moved {region}")
    csv_button(table, "moved")
    return int(table["region_id"].iloc[0])


def one_box(run: Run, boxes: Boxes, pair: tuple[str, str], first: int) -> None:
    """The box that the address names, else the first of those that moved, and the boxes nearest to it by either."""
    below.show(ONE_BOX, lambda: _one_box(run, boxes, pair, first), of=str(run.path), height=0)


@st.fragment
def _one_box(run: Run, boxes: Boxes, pair: tuple[str, str], first: int) -> None:
    """Drawn alone when another box is chosen in it: nothing above depends on that."""
    if state.is_leaving():
        st.rerun()
    with state.explained("comparison of boxes"), state.counting_tiles():
        _box_and_nearest(run, boxes, pair, first)


def _box_and_nearest(run: Run, boxes: Boxes, pair: tuple[str, str], first: int) -> None:
    st.markdown("#### One box")
    wanted = address.get("region")
    region = state.number(wanted)
    if wanted is not None and region is None:
        state.fall_back(f"This run has no region {wanted[:40]}: another one is shown.")
        address.put(region=None)
    row = -1 if region is None else int(boxes.rows_of(np.array([region]))[0])
    if row < 0:
        if region is not None:
            st.caption(f"Region {region} is not among these boxes: another one is shown.{_more(run, boxes, pair)}")
        row = int(boxes.rows_of(np.array([first]))[0])
    region = int(boxes.region_ids[row])
    st.session_state["compare region"] = region

    def typed() -> None:
        address.hear("compare region", "region", str(st.session_state["compare region"]))

    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width=96):
            crop(run, region, boxes)
        st.number_input("Region", 0, int(boxes.region_ids[-1]), key="compare region", on_change=typed, width=160)
        label = "" if boxes.labels is None else f" · {state.plain(str(boxes.labels[row]))}"
        st.markdown(f"**Region {region}**{label}")
    found = [objects.nearest(vectors, boxes.image_ids, np.array([row])) for vectors in (boxes.a, boxes.b)]
    rows, values = [part[0][0] for part in found], [part[1][0] for part in found]
    st.caption(f"{len(np.intersect1d(*rows)):,} of {objects.K} nearest boxes are kept from A to B.")
    tables = []
    titles = [encoders.title(name) for name in pair]
    for letter, title, own, other, cosines in zip("AB", titles, rows, rows[::-1], values, strict=True):
        st.markdown(f"**{letter}** · {state.plain(title)}")
        signs = np.where(np.isin(own, other), "kept", "lost" if letter == "A" else "gained")
        there = own >= 0
        places = cells(run, boxes.region_ids[own[there]].tolist(), letter)
        for place, near_row, sign, cosine in zip(places, own[there], signs[there], cosines[there], strict=True):
            with place:
                crop(run, int(boxes.region_ids[near_row]), boxes)
                st.markdown(SIGNS[str(sign)])
                if boxes.labels is not None:
                    same = "=" if boxes.labels[near_row] == boxes.labels[row] else "≠"
                    st.caption(f"{same} {state.plain(str(boxes.labels[near_row]))}")
                st.caption(similarity_text(cosine))
                with st.container(horizontal=True, gap=None):
                    look(int(boxes.region_ids[near_row]), f"{letter} {near_row}")
                    why(run, region, int(boxes.region_ids[near_row]), f"{letter} {near_row}", back_to=ONE_BOX)
        tables.append(
            pd.DataFrame({"by": letter, "region_id": boxes.region_ids[own], "cosine": cosines, "sign": signs})[own >= 0]
        )
    csv_button(pd.concat(tables), f"nearest-of-{region}")


def _more(run: Run, boxes: Boxes, pair: tuple[str, str]) -> str:
    """How a sample becomes all boxes, in a sentence of Markdown."""
    if len(boxes.region_ids) == run.count("regions"):
        return ""
    return f" They are a random sample: `{stored.command_for_all(run, pair)}` embeds all boxes of the run."


def cells(run: Run, regions: Sequence[int], name: str) -> list[Any]:
    """Places for the crops of some regions in a row."""
    sizes = [state.region_of(run, region)[1][2:] for region in regions]
    return tiles.cells(sizes, f"objects {name}", width=CELL)


def why(run: Run, first: int, second: int, name: str, *, back_to: str | None = None) -> None:
    """A button that asks why two regions are alike; on their return, readers are at the part `back_to`."""

    def ask() -> None:
        if back_to is not None:
            below.bring_into_view(back_to)
        pair_alike.open_boxes(run, first, second)

    st.button(
        f"Why are {first} and {second} alike?",
        icon=":material/question_mark:",
        key=f"compare why {name}",
        help="Why are these two alike?",
        type="tertiary",
        on_click=ask,
    )


def crop(run: Run, region: int, boxes: Boxes) -> None:
    """The picture of a region."""
    image_id, box = state.region_of(run, region)
    label = "" if boxes.labels is None else f", {boxes.labels[boxes.rows_of(np.array([region]))[0]]}"
    st.image(state.tile(run, image_id, side=144, box=box), width="stretch", alt=f"region {region}{label}")


def look(region: int, name: str) -> None:
    """A button that looks at a region."""
    st.button(
        f"Look at region {region}",
        icon=":material/visibility:",
        key=f"compare look at {name}",
        help=f"Look at region {region}",
        type="tertiary",
        on_click=_look_at,
        args=(region,),
    )


def _look_at(region: int) -> None:
    address.put(region=str(region))
    below.bring_into_view(ONE_BOX)
