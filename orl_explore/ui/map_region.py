"""Below the object map: the chosen region with what is most similar to it, and the crops of the selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.boxes import BOX
from orl_explore.errors import typed
from orl_explore.figures import drawing, style
from orl_explore.maps import similar_regions
from orl_explore.numbers import similarity_text
from orl_explore.runs.region_embeddings import MINED, command_for_all, name_of, read_region_embeddings
from orl_explore.runs.run import Run
from orl_explore.ui import address, below, keeping, map_address, map_legend, point_map, state, tiles
from orl_explore.ui.downloads import csv_button
from orl_explore.ui.map_legend import Legend

SIMILAR: Final = 6
COLUMNS, ROWS = 10, 3

CHOSEN: Final = "object-map-chosen"
"""Container of the chosen region, which comes into view when it is chosen from a list."""

ORDERS: Final = {"typical": "most typical first", "label": "category", "size": "size", "image": "image"}


def chosen(run: Run, count: int) -> int | None:
    """The region that the address names, or that was chosen since."""

    def read(text: str) -> int | None:
        number = state.number(text)
        if number is not None and 0 <= number < count:
            return number
        state.fall_back(f"This run has no region {text[:40]}: none is chosen.")
        return None

    map_address.follow(run, "region", read)
    region = st.session_state.get(map_address.key_of(run, "region"))
    return region if region is not None and region < count else None


def selected(run: Run, count: int) -> list[int]:
    """The regions that were drawn around, or that the address names."""

    def read(text: str) -> list[int] | None:
        found = map_address.unpacked(text, count)
        if found is None:
            state.fall_back(f"The link selects regions that this run does not have ({text[:40]}): none is selected.")
        return found

    map_address.follow(run, "selected", read)
    found = st.session_state.get(map_address.key_of(run, "selected")) or []
    return [region for region in found if region < count]


def forget_former(run: Run, of: str) -> None:
    """Forget what was chosen and drawn around on a map of other regions, whose numbers are of other boxes now.

    Args:
        run: the run.
        of: hash of its table of regions.
    """
    held = map_address.key_of(run, "regions")
    if st.session_state.get(held, of) != of:
        for name in ("region", "selected"):
            st.session_state[map_address.key_of(run, name)] = None
            map_address.write(run, name, None)
        state.fall_back("Stage 2 was made anew: what was chosen on the map before is of other boxes, and forgotten.")
    st.session_state[held] = of


@st.fragment
def panel(
    run: Run,
    regions: pd.DataFrame,
    facts: pd.DataFrame,
    encoders: Sequence[str],
    legend: Legend,
    recolors: bool,
    *,
    of: str,
) -> None:
    """What is chosen and selected on the map; a click there runs nothing but this.

    Args:
        run: the run.
        regions: its table of regions.
        facts: of the regions on the map.
        encoders: whose map is shown, one or two.
        legend: of the map.
        recolors: whether the map's colors depend on what is chosen, so that a choice has to run the whole page.
        of: hash of the table of regions.
    """
    if st.session_state.pop(map_address.key_of(run, "leave"), False):
        st.rerun()  # more changes than this part of the page

    def choose(region: int | None) -> None:
        st.session_state[map_address.key_of(run, "region")] = region
        st.session_state[map_address.key_of(run, "leave")] = recolors
        if region is not None:  # first, as it forgets what belongs to another image
            state.choose_image(int(regions["image_id"].iloc[region]))
        map_address.write(run, "region", None if region is None else str(region))

    def field_changed() -> None:
        key = map_address.key_of(run, "region")
        found = st.session_state.get(key)
        text = None if found is None else str(found)
        if not address.hear(key, "region", text, take=lambda: choose(found)):
            st.session_state[key] = state.number(address.get("region"))

    def select(found: list[int]) -> None:
        st.session_state[map_address.key_of(run, "selected")] = found
        st.session_state.pop(map_address.key_of(run, "page"), None)
        map_address.write(run, "selected", map_address.packed(found))

    region, picked = chosen(run, len(regions)), selected(run, len(regions))

    def bring(region: int) -> None:
        choose(region)
        below.bring_into_view(CHOSEN)

    def draw() -> None:
        left, right = st.columns([2, 3], gap="medium")
        with left:
            st.number_input(
                "Region",
                min_value=0,
                max_value=len(regions) - 1,
                value=None,
                step=1,
                key=map_address.key_of(run, "region"),
                placeholder="click a point",
                on_change=field_changed,
                help="The region whose crop is shown: click a point of the map, or type its number.",
            )
            with state.explained("region of the object map"):
                if region is None:
                    with st.container(border=True):
                        st.markdown(":material/ads_click: **Nothing is chosen yet**")
                        st.write(
                            "Rest on a point: its crop appears beside the mouse. Click it: the crop stays here, beside"
                            " the most similar ones."
                        )
                else:
                    _details(run, regions, facts, region, mined=encoders[0] == MINED)
        with right, state.explained("crops like the region"):
            if region is not None:
                for encoder in encoders:
                    with state.counting_tiles():
                        _similar(run, regions, region, encoder, bring)

    below.show(CHOSEN, draw, of=str(run.path), height=0, within_fragment=True)
    with state.explained("the selection on the object map"):
        if picked:
            with state.counting_tiles():
                _selection(run, facts, picked, encoders[0], bring, select, of)
    with state.explained("the mouse on the object map"):
        point_map.answer(
            run,
            regions,
            chosen=region,
            selected=picked,
            legend=legend.key,
            hidden=map_legend.hidden(run, legend),
            on_click=choose,
            on_select=select,
            on_hide=lambda numbers: map_legend.hide(run, legend, numbers),
        )


def _open(run: Run, page: str, image_id: int) -> None:
    st.session_state[map_address.key_of(run, "leave")] = True
    state.go(page, image_id)


def _label(facts: pd.DataFrame, region: int) -> str | None:
    row = int(facts["region_id"].searchsorted(region))
    there = "label" in facts and row < len(facts) and facts["region_id"].iloc[row] == region
    return str(facts["label"].iloc[row]) if there else None


def _details(run: Run, regions: pd.DataFrame, facts: pd.DataFrame, region: int, *, mined: bool) -> None:
    row = regions.iloc[region]
    image_id, box = int(row["image_id"]), row[BOX].to_numpy(int)
    picture = state.images(run).load(state.row_of(run, image_id))
    line = max(2, max(picture.size) // 120)
    crop, whole = tiles.places([box[2:].tolist(), picture.size], "chosen", columns=2)
    crop.image(state.thumbnail(run, image_id, side=280, box=box), width="stretch", alt=f"crop of region {region}")
    boxed = drawing.draw_boxes(picture, [box], [""], [style.PALETTE[1]], line=line)
    whole.image(boxed, width="stretch", alt=f"image {image_id}, region {region} framed")
    label = _label(facts, region)
    st.markdown(f"**Region {region}**" + (f" · {state.plain(label)}" if label else ""))
    st.caption(
        f"{box[2]} x {box[3]} px at ({box[0]}, {box[1]}) of image {image_id},"
        f" {state.plain(state.file_name(run, image_id))}"
    )
    if region not in facts["region_id"].to_numpy():
        more = f" `{typed('map', run.path, '--limit', len(regions))}` puts all on it." if mined else ""
        st.caption(
            f"It is not on the map, which has a random sample of {len(facts):,} of {len(regions):,} regions.{more}"
        )
    with st.container(horizontal=True):
        for page, icon in (("pairs", ":material/join_inner:"), ("proposals", ":material/crop_free:")):
            st.button(
                f"{page.capitalize()} of this image",
                icon=icon,
                key=f"object map {page}",
                on_click=_open,
                args=(run, page, image_id),
            )


@st.cache_data(max_entries=200, show_spinner=False)
def _nearest(run_path: str, encoder: str, region: int, made: str) -> pd.DataFrame | None:
    found = read_region_embeddings(Run(run_path), encoder)
    row = int(found.rows_of(np.array([region]))[0])
    if row < 0:
        return None
    nearest = similar_regions.most_similar(found.vectors, row, count=SIMILAR)
    return nearest.assign(region_id=found.region_ids[nearest["region_id"]])


def _similar(run: Run, regions: pd.DataFrame, region: int, encoder: str, choose: Callable[[int], None]) -> None:
    st.markdown(f"**Most similar by {state.plain(name_of(run, encoder))}**")
    made = str(read_region_embeddings(run, encoder).facts)
    found = _nearest(str(run.path), encoder, region, made)
    if found is None:
        embedded = len(read_region_embeddings(run, encoder).region_ids)
        st.caption(
            f"Region {region} is not in the random sample of {embedded:,} of {len(regions):,} regions that this encoder"
            f" has embedded. `{command_for_all(run, [encoder])}` embeds all of them."
        )
        return
    sizes = [state.region_of(run, int(other))[1][2:] for other in found["region_id"]]
    places = tiles.places(sizes, f"similar {encoder}", columns=SIMILAR)
    for number, (place, (other, similarity)) in enumerate(zip(places, found.itertuples(index=False), strict=True)):
        row = regions.iloc[int(other)]
        with place:
            crop = state.tile(run, int(row["image_id"]), side=180, box=row[BOX].to_numpy(int))
            st.image(crop, width="stretch", alt=f"crop of region {other}")
            st.button(
                similarity_text(similarity),
                key=f"object map similar {encoder} {number}",
                help=f"Region {other}: choose it. The number is the cosine of the embeddings.",
                on_click=choose,
                args=(int(other),),
                width="stretch",
            )


# ---- the selection -------------------------------------------------------------------------------------------------


def _selection(
    run: Run,
    facts: pd.DataFrame,
    picked: list[int],
    encoder: str,
    choose: Callable[[int], None],
    select: Callable[[list[int]], None],
    of: str,
) -> None:
    table = facts[facts["region_id"].isin(picked)].reset_index(drop=True)
    st.divider()
    left, middle, clear, right = st.columns([4, 2, 1, 1], vertical_alignment="bottom")
    left.subheader(f"Selection: {len(table):,} regions", anchor=False)
    if "label" in table:
        counts = table["label"].value_counts()
        left.caption(", ".join(f"{state.plain(str(name))} {count:,}" for name, count in counts[:8].items()))
    if beside := len(picked) - len(table):
        left.caption(f"{beside:,} more were selected, which are not among the {len(facts):,} regions on this map.")
    offered = [name for name in ORDERS if name != "label" or "label" in table]
    order = middle.selectbox(
        "Order",
        offered,
        format_func=ORDERS.__getitem__,
        key=map_address.key_of(run, "order"),
        help="Most typical: most similar to the mean of the selection.",
    )
    clear.button("Clear", icon=":material/close:", key="object map clear", on_click=select, args=([],), width="stretch")
    if table.empty:
        return
    keeping.keep_as(
        run,
        lambda: table["region_id"],
        of=of,
        origin=f"drawn on the map of {name_of(run, encoder)}",
        key="object map keep",
        after=st.rerun,  # the colors of the map have it, too
    )
    table = _ordered(run, table, encoder, order)
    csv_button(lambda: _export(run, table), "regions", place=right, type="secondary", width="stretch")
    size = COLUMNS * ROWS
    pages = -(-len(table) // size)
    page = 1
    if pages > 1:
        key = map_address.key_of(run, "page")
        if st.session_state.get(key, 1) > pages:
            st.session_state[key] = pages
        page = st.pagination(pages, key=key)
    rows = table.iloc[(page - 1) * size : page * size]
    boxes = rows[["left", "top", "w", "h"]].to_numpy(int)
    places = tiles.places(boxes[:, 2:].tolist(), "selection", columns=COLUMNS)
    for number, (place, region) in enumerate(zip(places, rows["region_id"], strict=True)):
        with place:
            crop = state.tile(run, int(rows["image_id"].iloc[number]), side=140, box=boxes[number])
            st.image(crop, width="stretch", alt=f"crop of region {region}")
            label = str(rows["label"].iloc[number]) if "label" in rows else ""
            st.button(
                str(region),
                key=f"object map selected {number}",
                help=f"Region {region}{': ' + state.plain(label) if label else ''}. Choose it.",
                on_click=choose,
                args=(int(region),),
                width="stretch",
            )


def _ordered(run: Run, table: pd.DataFrame, encoder: str, order: str) -> pd.DataFrame:
    if order == "typical":
        found = read_region_embeddings(run, encoder)
        rows = found.rows_of(table["region_id"].to_numpy())
        vectors = np.asarray(found.vectors[np.maximum(rows, 0)], np.float32)
        scores = vectors @ vectors.mean(axis=0)
        return table.iloc[np.argsort(-scores, kind="stable")]
    column = {"label": "label", "size": "share", "image": "image_id"}[order]
    return table.sort_values(column, ascending=order != "size", kind="stable")


def _export(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    names = {image_id: state.file_name(run, image_id) for image_id in table["image_id"].unique().tolist()}
    return pd.DataFrame(
        {
            "region_id": table["region_id"],
            "image_id": table["image_id"],
            "file_name": table["image_id"].map(names),
            **{name: table[column] for name, column in zip(BOX, ("left", "top", "w", "h"), strict=True)},
            **({"label": table["label"]} if "label" in table else {}),
        }
    )
