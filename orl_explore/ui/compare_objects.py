"""The page that compares encoders, on objects: figures, categories, one box with its nearest ones, what moved most."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import streamlit as st

from orl_explore.errors import OrlError, typed
from orl_explore.figures import compare_objects as pictures
from orl_explore.judging import kept_probes, objects
from orl_explore.judging.comparison import Source
from orl_explore.judging.objects import Boxes, Change, Neighborhoods
from orl_explore.runs import region_embeddings as stored
from orl_explore.runs.region_embeddings import RegionEmbeddings
from orl_explore.runs.run import Run
from orl_explore.ui import address, compare_boxes, encoders, map_address, map_filter, state
from orl_explore.ui.downloads import csv_button


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
        first = compare_boxes.moved(run, near, None)
    else:
        found, table = _judged(key, run, near)
        _figures(found)
        category = _categories(run, pair, table)
        if category is not None:
            _learned(near, table[table["category"] == category].iloc[0], (titles[0], titles[1]))
        first = compare_boxes.moved(run, near, category)
    compare_boxes.one_box(run, boxes, pair, first)


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
        command = typed("embed-regions", run.path, "--encoder", *(name for name, _ in missing))
        raise OrlError(f"the regions of {run.path} are not embedded by these encoders yet: run `{command}` first")
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
    probed = kept_probes.kept_probe(_run, _near.boxes, [str(part) for part in key[1:-1]])
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


def changes_table(found: dict[str, Change]) -> pd.DataFrame:
    """Figures as numbers, with all that is known of each."""
    return pd.DataFrame([one._asdict() for one in found.values()], index=list(found))


def _figures(found: dict[str, Change]) -> None:
    if not found:
        return
    st.markdown(state.markdown_table(figures_table(found)))
    with st.container(horizontal=True, vertical_alignment="center"):
        _explain_figures()
        csv_button(changes_table(found), "figures", index=True)


def _explain_figures() -> None:
    st.caption(
        "Percent, ± one standard error over images. A change of less than two of its standard errors is none. Its error"
        " is smaller than those of A and B, as both are judged on the same boxes. They are boxes that stage 2 proposed;"
        " *What each encoder is worth* is asked about annotated objects.",
        width="stretch",
    )


FIGURES = {"nearest": "nearest", "knn": "kNN", "linear": "linear"}
"""Figures of a category -> what the table calls them."""

SAID = {"nearest": "its nearest boxes", "knn": "kNN", "linear": "the linear probe"}
"""What a sentence calls them."""


def _categories(run: Run, pair: tuple[str, str], table: pd.DataFrame) -> str | None:
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
        rows = state.sent(key, "selection", "rows") or []
        if rows:
            address.put(category=names[rows[0]])

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
            "*nearest*: percent of the nearest boxes that are of the box's own category. *kNN*, *linear*: as above, on"
            " proposal boxes. First come categories with a change of more than two errors in any of them. Click a row.",
            width="stretch",
        )
        csv_button(table, "categories")
    wanted = address.get("category")
    if wanted is not None and wanted not in names:
        state.fall_back(f"No box is on an object called {wanted[:40]!r}: {names[0]} is shown.")
        address.put(category=None)
        wanted = None
    st.session_state["compare category"] = wanted or names[0]

    def chosen() -> None:
        if address.hear("compare category", "category", st.session_state["compare category"]):
            st.session_state["compare categories turn"] = st.session_state.get("compare categories turn", 0) + 1

    with st.container(horizontal=True, vertical_alignment="bottom"):
        category = st.selectbox("Category", names, key="compare category", on_change=chosen, width=320)
        _map_link(run, pair, category)
    return category


def _map_link(run: Run, pair: tuple[str, str], category: str) -> None:
    """To the boxes of a category on the maps by both encoders."""
    embedded = stored.embedded_encoders(run)
    names = [name if name in embedded else stored.MINED for name in map(stored.canonical, pair)]
    state.link(
        "object_map",
        "See on the map",
        icon=":material/scatter_plot:",
        help="Object map by both encoders, side by side, with all other boxes far back.",
        encoder=names[0],
        versus=names[1] if names[1] != names[0] else None,
        color="label",
        show=map_address.listed([map_filter.of_category(category)]),
    )


def sentence(near: Neighborhoods, row: pd.Series, titles: tuple[str, str]) -> str:
    """What changed of a category from A to B, in words.

    Args:
        near: the nearest boxes by both.
        row: the category's in `objects.by_category`, so that a figure is the same in the table and here.
        titles: what A and B are called.
    """
    category, k = str(row["category"]), near.a.shape[1]
    a, b, difference, error = (float(row[f"nearest_{name}"]) for name in ("a", "b", "change", "error"))
    count = (
        f"{row['asked']:,} boxes" if row["asked"] == row["boxes"] else f"{row['asked']:,} of its {row['boxes']:,} boxes"
    )
    if math.isnan(difference):
        return f"None of the {row['boxes']:,} boxes on {category} is among those whose nearest boxes were found."
    text = (
        f"{verdict(row, titles)} Of the {k} nearest boxes of one, {k * a:.1f} are {category} by A and {k * b:.1f} by B,"
        f" a change of {percent(difference, error, signed=True)} points, over {count}."
    )
    company = near.company(category)
    others = company[(company["nearest"] != category) & (company["change"].abs() > 2 * company["error"])]
    changes = []
    for words, rows in (("fewer", others[others["change"] < 0].iloc[::-1]), ("more", others[others["change"] > 0])):
        some = rows.head(3)
        parts = [
            f"{name} ({100 * a:.1f} to {100 * b:.1f} %)"
            for name, a, b in zip(some["nearest"], some["a"], some["b"], strict=True)
        ]
        changes += [f"{words} are {', '.join(parts)}"] if parts else []
    return f"{text} Of the nearest boxes, {'; '.join(changes)}." if changes else text


def verdict(row: pd.Series, titles: tuple[str, str]) -> str:
    """Whether B knows a category better than A, as a sentence: by all figures whose change is clear.

    Args:
        row: the category's in `objects.by_category`.
        titles: what A and B are called.
    """
    category, a, b = row["category"], f"A ({titles[0]})", f"B ({titles[1]})"
    if math.isnan(row["nearest_error"]):
        return f"The boxes on {category} are of one image, from which nothing follows about others."
    better: list[str] = []
    worse: list[str] = []
    for name, words in SAID.items():
        difference = float(row.get(f"{name}_change", math.nan))
        if abs(difference) > 2 * row.get(f"{name}_error", math.nan):
            (better if difference > 0 else worse).append(words)
    if not better and not worse:
        return f"Nothing shows that {b} knows {category} better than {a}, or less well."
    parts = [(f"better than {a}", better), (f"less well than {a}", worse)]
    said = [f"{how} by {_all(words)}" for how, words in parts if words]
    return f"{b} knows {category} {', '.join(said)}."


def _all(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _learned(near: Neighborhoods, row: pd.Series, titles: tuple[str, str]) -> None:
    category = str(row["category"])
    st.markdown(f"#### What changed about {state.plain(category)}")
    st.markdown(state.plain(sentence(near, row, titles)))
    if not row["asked"]:
        return
    company = near.company(category)
    st.plotly_chart(
        pictures.company(company, category, (f"A · {titles[0]}", f"B · {titles[1]}")),
        key="compare company",
        config={"displayModeBar": False},
        alt=f"what the nearest boxes of {category} are on, by A and by B",
    )
    csv_button(company, f"nearest-of-{category}")
