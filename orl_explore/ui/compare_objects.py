"""The page that compares encoders, on objects: figures, categories, one box with its nearest ones, what moved most."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.errors import OrlError
from orl_explore.figures import compare_objects as pictures
from orl_explore.judging import objects
from orl_explore.judging.comparison import Source
from orl_explore.judging.objects import Boxes, Change, Neighborhoods
from orl_explore.numbers import similarity_text
from orl_explore.runs import region_embeddings as stored
from orl_explore.runs.files import csv_text
from orl_explore.runs.region_embeddings import RegionEmbeddings
from orl_explore.runs.run import Run
from orl_explore.ui import encoders, pair_alike, state, tiles
from orl_explore.ui.compare_images import SIGNS

CELL = 72
"""Width of a crop, pixels."""

MOVED = 10
"""Boxes that moved most, shown at a time."""


def show(run: Run, pair: tuple[str, str], sources: tuple[Source, Source]) -> None:
    """What two encoders make of the same boxes."""
    boxes, key = shared(run, pair, sources)
    near = _near(key, boxes)
    titles = tuple(encoders.title(name) for name in pair)
    count = run.count("regions")
    sample = "" if len(boxes.region_ids) == count else f", a random sample of the run's {count:,}"
    st.caption(
        f"{len(boxes.region_ids):,} boxes that both have embedded{sample}. A: {state.plain(titles[0])}. B:"
        f" {state.plain(titles[1])}. Nearest boxes are those of other images, of {len(near.queries):,} boxes"
        f"{' on objects' if boxes.labels is not None else ''} the {objects.K} nearest ones each."
    )
    if boxes.labels is None:
        st.info("These images have no annotations, so that nothing says which encoder is right; only what changed.")
        first = _moved(run, near, None)
    else:
        found, table = _judged(key, run, near)
        _figures(found)
        category = _categories(table)
        if category is not None:
            _learned(near, category)
        first = _moved(run, near, category)
    _one_box(run, boxes, pair, first)


# ---- what is compared ----------------------------------------------------------------------------------------------


def shared(run: Run, pair: tuple[str, str], sources: tuple[Source, Source]) -> tuple[Boxes, tuple[Any, ...]]:
    """The boxes that two encoders have both embedded, and what identifies them for the caches.

    Raises:
        OrlError: one of them has not; the message names the command.
    """
    found, missing = [], []
    for name, source in zip(pair, sources, strict=True):
        try:
            found.append(_embeddings(run, name, source))
        except OrlError as error:
            missing.append((stored.canonical(name), error))
    if len(missing) == 2 and missing[0][0] != missing[1][0]:
        names = shlex.join([name for name, _ in missing])
        raise OrlError(
            f"the regions of {run.path} are not embedded by these encoders yet: run `orl embed-regions"
            f" {shlex.quote(str(run.path))} --encoder {names}` first"
        )
    if missing:
        raise missing[0][1]
    key = (str(run.path), *(source.hash() for source in sources), *(len(one.region_ids) for one in found))
    key = (*key, stored.regions_fingerprint(run), state.version(run.require("objects")))
    return _boxes(key, run, found[0], found[1]), key


def _embeddings(run: Run, name: str, source: Source) -> RegionEmbeddings:
    """Embeddings of the run's regions by an encoder: those of its name, else those that stage 2 mined with."""
    try:
        return stored.read_region_embeddings(run, name)
    except OrlError:
        if run.file("region_embeddings").exists():
            mined = stored.read_region_embeddings(run, stored.MINED)
            if mined.facts["hash"] == source.hash():
                return mined
        raise


@st.cache_resource(max_entries=2, show_spinner=False)
def _boxes(key: tuple[Any, ...], _run: Run, _a: RegionEmbeddings, _b: RegionEmbeddings) -> Boxes:
    return objects.shared_boxes(_run, _a, _b)


@st.cache_resource(max_entries=4, show_spinner="Finding nearest boxes ...")
def _near(key: tuple[Any, ...], _boxes: Boxes) -> Neighborhoods:
    return objects.neighborhoods(_boxes)


@st.cache_resource(max_entries=8, show_spinner="Fitting classifiers ...")
def _judged(key: tuple[Any, ...], _run: Run, _near: Neighborhoods) -> tuple[dict[str, Change], pd.DataFrame]:
    """Figures of the two encoders, of all boxes and by category."""
    probed = objects.kept_probe(_run, _near.boxes, [str(part) for part in key[1:-1]])
    return objects.figures(_near, probed), objects.by_category(_near, probed)


# ---- figures -------------------------------------------------------------------------------------------------------


def percent(value: float, error: float | None = None, *, signed: bool = False) -> str:
    """A share as people read it, with its standard error."""
    if math.isnan(value):
        return "-"
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return text if error is None or math.isnan(error) else f"{text} ± {100 * error:.1f}"


def figures_table(found: dict[str, Change]) -> pd.DataFrame:
    """Figures as text, in percent: A, B, the change and, where it is known, chance; and of how many items."""
    rows = {
        name: {
            "A": percent(one.a, one.error_a),
            "B": percent(one.b, one.error_b),
            "change": percent(one.b - one.a, one.error, signed=True),
            "chance": percent(one.chance),
            "of": f"{one.items:,}",
        }
        for name, one in found.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.drop(columns="chance") if (table["chance"] == "-").all() else table


def _figures(found: dict[str, Change]) -> None:
    if not found:
        return
    st.markdown(state.markdown_table(figures_table(found)))
    with st.container(horizontal=True, vertical_alignment="center"):
        _explain_figures()
        download(pd.DataFrame([one._asdict() for one in found.values()], index=list(found)), "figures", index=True)


def _explain_figures() -> None:
    st.caption(
        "Percent, ± one standard error over images. A change of less than two of its standard errors is none. Its error"
        " is smaller than those of A and B, as both are judged on the same boxes.",
        width="stretch",
    )


def download(table: pd.DataFrame, name: str, *, index: bool = False) -> None:
    """A button that offers a table as CSV."""
    st.download_button(
        "CSV",
        lambda: csv_text(table.reset_index() if index else table).encode(),
        f"{name}.csv",
        key=f"compare download {name}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


FIGURES = {"nearest": "nearest", "knn": "kNN", "linear": "linear"}
"""Figures of a category -> what the table calls them."""


def _categories(table: pd.DataFrame) -> str | None:
    """The table of categories; returns the one that is looked at."""
    names = table["category"].tolist()
    if not names:
        return None
    st.markdown("#### By category, clear and large changes first")
    shown = table[["category", "boxes"]].copy()
    for name, words in FIGURES.items():
        if f"{name}_a" in table:
            shown[f"{words} A"] = 100 * table[f"{name}_a"]
            shown[f"{words} B"] = 100 * table[f"{name}_b"]
            pairs = zip(table[f"{name}_change"], table[f"{name}_error"], strict=True)
            shown[f"{words} change"] = [percent(value, error, signed=True) for value, error in pairs]
    key = f"compare categories {st.session_state.get('compare categories turn', 0)}"

    def clicked() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows:
            st.query_params["category"] = names[rows[0]]

    st.dataframe(
        shown,
        key=key,
        hide_index=True,
        height=min(420, 38 + 35 * len(shown)),
        on_select=clicked,
        selection_mode="single-row",
        column_config={
            name: st.column_config.NumberColumn(format="%.1f") for name in shown.columns if name.endswith((" A", " B"))
        },
        placeholder=state.MISSING,
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "*nearest*: percent of the nearest boxes that are of the box's own category. Click a row.", width="stretch"
        )
        download(table, "categories")
    wanted = st.query_params.get("category")
    if wanted is not None and wanted not in names:
        state.fall_back(f"No box is on a {wanted[:40]}: {names[0]} is shown.")
        st.query_params.pop("category")
        wanted = None
    st.session_state["compare category"] = wanted or names[0]

    def chosen() -> None:
        st.query_params["category"] = st.session_state["compare category"]
        st.session_state["compare categories turn"] = st.session_state.get("compare categories turn", 0) + 1

    return st.selectbox("Category", names, key="compare category", on_change=chosen, width=320)


def sentence(near: Neighborhoods, category: str) -> str:
    """What changed of a category from A to B, in words."""
    moved = near.moved()
    own = moved[moved["category"] == category]
    unit = own["image_id"].to_numpy()
    scored = [objects.Scored.of(own[name].to_numpy(), unit=unit) for name in ("alike_a", "alike_b")]
    found = objects.change(*scored)
    difference = found.b - found.a
    clear = abs(difference) > 2 * found.error
    verb = "knows as well as A" if not clear else "knows better than A" if difference > 0 else "knows less well than A"
    text = (
        f"B {verb} what a {category} is: of the {near.a.shape[1]} nearest boxes of one,"
        f" {near.a.shape[1] * found.a:.1f} are {category} by A and {near.b.shape[1] * found.b:.1f} by B, a change of"
        f" {percent(difference, found.error, signed=True)} points, over {len(own):,} boxes."
    )
    company = near.company(category)
    others = company[company["nearest"] != category]
    changes = []
    for words, rows in (("fewer", others[others["change"] < 0].iloc[::-1]), ("more", others[others["change"] > 0])):
        some = rows.head(3)
        parts = [
            f"{name} ({100 * a:.1f} to {100 * b:.1f} %)"
            for name, a, b in zip(some["nearest"], some["a"], some["b"], strict=True)
        ]
        changes += [f"{words} are {', '.join(parts)}"] if parts else []
    return f"{text} Of the nearest boxes, {'; '.join(changes)}." if changes else text


def _learned(near: Neighborhoods, category: str) -> None:
    st.markdown(f"#### What changed about {state.plain(category)}")
    st.markdown(state.plain(sentence(near, category)))
    company = near.company(category)
    st.plotly_chart(
        pictures.company(company, category),
        key="compare company",
        config={"displayModeBar": False},
        alt=f"what the nearest boxes of {category} are on, by A and by B",
    )
    download(company, f"nearest-of-{category}")


# ---- boxes ---------------------------------------------------------------------------------------------------------


ORDERS = {"most gained": "change", "most lost": "-change", "fewest nearest boxes kept": "kept"}


def _moved(run: Run, near: Neighborhoods, category: str | None) -> int:
    """The boxes of a category, or all, that moved most; returns the first of them."""
    st.markdown(f"#### What moved most{'' if category is None else ': ' + state.plain(category)}")
    table = near.moved()
    if category is not None:
        table = table[table["category"] == category]
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
    for place, region, text in zip(cells(run, regions, "moved"), regions, words, strict=True):
        with place:
            crop(run, region, near.boxes)
            st.caption(text)
            look(region, f"moved {region}")
    download(table, "moved")
    return int(table["region_id"].iloc[0])


@st.fragment
def _one_box(run: Run, boxes: Boxes, pair: tuple[str, str], first: int) -> None:
    """The box that the address names, else the first of those that moved, and the boxes nearest to it by either.

    Drawn alone when another box is chosen in it: nothing above depends on that.
    """
    if state.is_leaving():
        st.rerun()
    with state.explained("comparison of boxes"):
        _box_and_nearest(run, boxes, pair, first)


def _box_and_nearest(run: Run, boxes: Boxes, pair: tuple[str, str], first: int) -> None:
    st.markdown("#### One box")
    region = state.number(st.query_params.get("region"))
    row = -1 if region is None else int(boxes.rows_of(np.array([region]))[0])
    if row < 0:
        if region is not None:
            st.caption(f"Region {region} is not among these boxes: another one is shown.{_more(run, boxes, pair)}")
        row = int(boxes.rows_of(np.array([first]))[0])
    region = int(boxes.region_ids[row])
    st.session_state["compare region"] = region

    def typed() -> None:
        state.set_parameters(region=str(st.session_state["compare region"]))

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
                    why(run, region, int(boxes.region_ids[near_row]), f"{letter} {near_row}")
        tables.append(
            pd.DataFrame({"by": letter, "region_id": boxes.region_ids[own], "cosine": cosines, "sign": signs})[own >= 0]
        )
    download(pd.concat(tables), f"nearest-of-{region}")


def _more(run: Run, boxes: Boxes, pair: tuple[str, str]) -> str:
    """How a sample becomes all boxes, in a sentence of Markdown."""
    if len(boxes.region_ids) == run.count("regions"):
        return ""
    return f" They are a random sample: `{stored.command_for_all(run, pair)}` embeds all boxes of the run."


def cells(run: Run, regions: Sequence[int], name: str) -> list[Any]:
    """Places for the crops of some regions in a row."""
    sizes = [state.region_of(run, region)[1][2:] for region in regions]
    return tiles.cells(sizes, f"objects {name}", width=CELL)


def why(run: Run, first: int, second: int, name: str) -> None:
    """A button that asks why two regions are alike."""
    st.button(
        f"Why are {first} and {second} alike?",
        icon=":material/question_mark:",
        key=f"compare why {name}",
        help="Why are these two alike?",
        type="tertiary",
        on_click=pair_alike.open_boxes,
        args=(run, first, second),
    )


def crop(run: Run, region: int, boxes: Boxes) -> None:
    """The picture of a region."""
    image_id, box = state.region_of(run, region)
    label = "" if boxes.labels is None else f", {boxes.labels[boxes.rows_of(np.array([region]))[0]]}"
    st.image(state.thumbnail(run, image_id, side=144, box=box), width="stretch", alt=f"region {region}{label}")


def look(region: int, name: str) -> None:
    """A button that looks at a region."""
    st.button(
        f"Look at region {region}",
        icon=":material/visibility:",
        key=f"compare look at {name}",
        help=f"Look at region {region}",
        type="tertiary",
        on_click=state.set_parameters,
        kwargs={"region": str(region)},
    )
