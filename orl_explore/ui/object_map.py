"""Page: every kept box as a point of a map, as one encoder sees it, or two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.figures import object_map as map_figures
from orl_explore.figures import region_facts
from orl_explore.figures.object_map import Coloring
from orl_explore.figures.point_map import View, point_map
from orl_explore.judging.diagnostics import UNLABELED
from orl_explore.maps import object_map, similar_regions
from orl_explore.maps.alignment import AMONG, NEAR, found_again
from orl_explore.maps.layout import feature_neighbors
from orl_explore.maps.object_map import MapSettings
from orl_explore.maps.plane import plane
from orl_explore.runs.region_embeddings import MINED, RegionEmbeddings, embedded_encoders, read_region_embeddings
from orl_explore.runs.reviews import read_reviews, tags_of
from orl_explore.runs.run import Run
from orl_explore.runs.selections import read_selections, regions_hash, selected
from orl_explore.ui import chooser, map_address, map_filter, map_job, map_legend, map_region, state, waiting
from orl_explore.ui import point_map as component
from orl_explore.ui.map_legend import Legend

LABELS: Final = 20_000
"""Points of more regions than this are looked up in the annotations only when the map is colored by category."""

COLORS: Final = {
    "label": "category",
    "cluster": "cluster",
    "similarity": "similarity to the chosen region",
    "image": "image",
    "size": "size",
    "rank": "proposal rank",
    "verdict": "verdict",
    "review-tag": "tag of reviews",
    "kept": "neighbors that the map keeps",
    "shared": "neighbors that both encoders have",
}

SELECTION: Final = "in:"
"""Begins the colors that tell a named selection from all other regions."""

MODES: Final = {"beside": "side by side", "slide": "slide"}
LAYOUTS: Final = {"umap": "UMAP", "pca": "first two principal components"}

HELP: Final = (
    "Near points look alike to the encoder; distances between groups mean little. Click a point to choose it, draw"
    " around points to select them. Drag with Shift or the right button to move the map; zoom with the wheel while Ctrl"
    " is held or after a click on the map. Names below the map hide and show; a double click on one shows it alone."
)


def render(run: Run) -> None:
    """Show the page."""
    encoders = _encoders(run)
    of = regions_hash(run)  # first: what is read after it may be newer, and is then taken for stale
    map_region.forget_former(run, of)
    regions = state.table(run, "regions")
    image = st.container()
    columns = st.container(key="object map view").columns(
        [5, 5, 5.5, 6, 6, 5], gap="xsmall", vertical_alignment="bottom"
    )
    encoder, second, mode = _choose_view(run, encoders, columns)
    with columns[5].popover("Layout", width="stretch"):
        layout = map_address.choice(st, run, "layout", list(LAYOUTS), "umap", label="Layout", names=LAYOUTS.__getitem__)
        _settings(run, encoder)
    names = [name for name in (encoder, second) if name]
    seen = {name: waiting.version(object_map.map_file(run, name)) for name in names}
    tables = {name: _table(run, name) for name in names}
    for name in names:
        if "x" not in tables[name] and layout == "umap":
            _offer(run, name, seen[name])
        elif map_job.current(run, name):
            _watch(run, name)  # it is made anew with other settings
    if any("x" not in table for table in tables.values()):
        layout = "pca"
    ids = tables[encoder]["region_id"].to_numpy()
    if second:
        ids = np.intersect1d(ids, tables[second]["region_id"].to_numpy(), assume_unique=True)
    region = map_region.chosen(run, len(regions))
    color = _choose_color(run, tables[encoder], len(ids), second, columns[2])
    if color == "image":
        with image:
            chooser.choose(run)
    only = map_filter.choose(columns[3], run)
    facts = _facts(run, ids, len(ids) <= LABELS or color == "label" or map_filter.needs_labels(only))
    passing = map_filter.passing(run, only, facts)
    st.markdown(_title(run, names, layout, len(ids), len(regions), only, passing))
    data = _data(run, tables, names, mode, layout, color, region, facts, passing)
    legend = Legend(data["legend_key"], color, data["names"])
    map_legend.hidden(run, legend)  # here, so that a link to what it lacks is answered at the top
    component.show(data, key=f"object map drawing {run.path}")
    hint = " **Click the region to compare with.**" if color == "similarity" and region is None else ""
    st.caption(HELP + hint)
    map_region.panel(run, regions, facts, names, legend, color in ("similarity", "image"), of=of)


# ---- what is shown -------------------------------------------------------------------------------------------------


def _encoders(run: Run) -> list[str]:
    """Encoders that the regions are embedded by; what stage 2 mined with comes last."""
    found = embedded_encoders(run)
    if not found or run.file("region_embeddings").exists():
        run.require("region_embeddings")
        found.append(MINED)
    return found


def _choose_view(run: Run, encoders: list[str], places: list[Any]) -> tuple[str, str | None, Any]:
    best = object_map.best_of(encoders)
    encoder = map_address.choice(
        places[0], run, "encoder", encoders, best, label="Encoder", names=lambda name: map_region.name_of(run, name)
    )
    others = ["", *(name for name in encoders if name != encoder)]
    second = map_address.choice(
        places[1],
        run,
        "versus",
        others,
        "",
        label="Beside it",
        names=lambda name: map_region.name_of(run, name) if name else "none",
    )
    if not second:
        return encoder, None, "one"
    mode = map_address.choice(places[4], run, "view", list(MODES), "beside", label="View", names=MODES.__getitem__)
    return encoder, second, mode


def _title(
    run: Run,
    names: list[str],
    layout: str,
    count: int,
    of: int,
    only: Sequence[str],
    passing: NDArray[np.bool_] | None,
) -> str:
    shown = " and by ".join(map_region.name_of(run, name) for name in names)
    how_many = f"{count:,} regions" if count == of else f"a random sample of {count:,} of {of:,} regions"
    if passing is not None:
        how_many = f"{passing.sum():,} of {state.plain(map_filter.in_words(only))} among {how_many}"
    return f"**The objects as seen by {state.plain(shown)}** · {how_many}, {LAYOUTS[layout]}"


def _table(run: Run, encoder: str) -> pd.DataFrame:
    """A map's table; of an encoder without a map, its first two principal components."""
    found = _embeddings(run, encoder)
    file = object_map.map_file(run, encoder)
    return _read(str(run.path), encoder, object_map.fingerprint(run, encoder), waiting.version(file), found)


@st.cache_resource(max_entries=8, show_spinner=False)
def _read(run_path: str, encoder: str, made_from: str, version: object, _found: RegionEmbeddings) -> pd.DataFrame:
    try:
        table = object_map.read_object_map(Run(run_path), encoder).table
    except OrlError:
        table = pd.DataFrame({"region_id": _found.region_ids})
    if "pca_x" not in table:
        flat = plane(_found.vectors[_found.rows_of(table["region_id"].to_numpy())])
        table = table.assign(pca_x=flat[:, 0], pca_y=flat[:, 1])
    return table


def _embeddings(run: Run, encoder: str) -> RegionEmbeddings:
    return read_region_embeddings(run, encoder)


def _facts(run: Run, ids: np.ndarray, labeled: bool) -> pd.DataFrame:
    """What is known of the regions on the map; shared, never change it."""
    versions = tuple(state.version(run.require(name)) for name in ("regions", "images", "objects"))
    return _gather(str(run.path), versions, labeled, hash(ids.tobytes()), ids)


@st.cache_resource(max_entries=4, show_spinner="Looking up what the regions are on ...")
def _gather(run_path: str, versions: object, labeled: bool, which: int, _ids: np.ndarray) -> pd.DataFrame:
    run = Run(run_path)
    images = state.images(run)
    found = region_facts.region_facts(run, _ids, images, state.table(run, "regions"))
    labels = region_facts.labels_of(found, images) if labeled else None
    return found if labels is None else found.assign(label=labels.to_numpy())


# ---- colors --------------------------------------------------------------------------------------------------------


def _choose_color(run: Run, table: pd.DataFrame, count: int, second: str | None, place: Any) -> str:
    offered = dict(COLORS)
    if not len(state.images(run).objects):
        del offered["label"]
    for name, there in (
        ("cluster", "cluster" in table),
        ("kept", "kept" in table),
        ("shared", second is not None),
        ("rank", run.file("proposals").exists()),
        ("verdict", run.file("reviews").exists()),
        ("review-tag", _has_tags(run)),
    ):
        if not there:
            del offered[name]
    offered |= {f"{SELECTION}{name}": f"selection: {name}" for name in _selections(run)}
    further = [name for name in state.table(run, "regions").columns if name not in _OWN]
    offered |= {name: name for name in further}
    default = next(iter(offered)) if count <= LABELS or "cluster" not in offered else "cluster"
    return map_address.choice(place, run, "color", list(offered), default, label="Color", names=offered.__getitem__)


def _has_tags(run: Run) -> bool:
    try:
        return bool(len(tags_of(read_reviews(run))))
    except OrlError:  # no pairs, or reviews of others, as RoI pairs says
        return False


def _selections(run: Run) -> list[str]:
    try:
        return read_selections(run)["name"].tolist()
    except OrlError:  # of other regions than the run has now: All pairs says so
        return []


_OWN: Final = {"region_id", "image_id", "x", "y", "w", "h"}


def _data(
    run: Run,
    tables: dict[str, pd.DataFrame],
    names: list[str],
    mode: Any,
    layout: str,
    color: str,
    region: int | None,
    facts: pd.DataFrame,
    passing: NDArray[np.bool_] | None,
) -> dict[str, Any]:
    ids = facts["region_id"].to_numpy()
    compared = region if color == "similarity" else None
    image_id = state.chosen_image(run) if color == "image" else None
    version: list[object] = [waiting.version(object_map.map_file(run, name)) for name in names]
    version += [object_map.fingerprint(run, name) for name in names]
    version += [state.version(run.file("reviews"))] if color in ("verdict", "review-tag") else []
    version += [state.version(run.file("selections"))] if color.startswith(SELECTION) else []
    key = str((str(run.path), names, layout, version))
    which = hash((ids.tobytes(), b"" if passing is None else passing.tobytes(), "label" in facts))
    return _draw(key, mode, color, compared, image_id, which, run, tables, names, layout, facts, passing)


@st.cache_resource(max_entries=6, show_spinner=False)
def _draw(
    key: str,
    mode: Any,
    color: str,
    region: int | None,
    image_id: int | None,
    which: int,
    _run: Run,
    _tables: dict[str, pd.DataFrame],
    _names: list[str],
    _layout: str,
    _facts: pd.DataFrame,
    _passing: NDArray[np.bool_] | None,
) -> dict[str, Any]:
    x, y = ("x", "y") if _layout == "umap" else ("pca_x", "pca_y")
    ids = _facts["region_id"].to_numpy()
    rows = {name: _tables[name].set_index("region_id").loc[ids] for name in _names}
    views = [View(map_region.name_of(_run, name), rows[name][x], rows[name][y]) for name in _names]
    facts, table = _facts, rows[_names[0]]
    if color == "shared":
        table = table.assign(shared=_shared((key, hash(ids.tobytes())), _run, _names, ids))
    if _passing is not None:
        facts, table = facts[_passing].reset_index(drop=True), table[_passing]
    coloring = _coloring(_run, _names, table, facts, color, region, image_id)
    alt = f"map of {len(facts)} regions, colored by {coloring.title}"
    return point_map(
        ids, views, coloring, passing=_passing, mode=mode, labels=_facts.get("label"), alt=alt, key=key + mode
    )


def _coloring(
    run: Run,
    names: list[str],
    table: pd.DataFrame,
    facts: pd.DataFrame,
    color: str,
    region: int | None,
    image_id: int | None,
) -> Coloring:
    title, ids = COLORS.get(color, color), facts["region_id"].to_numpy()
    if color == "similarity":
        found = _embeddings(run, names[0])
        own = -1 if region is None else int(found.rows_of(np.array([region]))[0])
        if own < 0:
            return map_figures.coloring_of_groups(pd.Series(map_figures.OTHERS, index=range(len(ids))), "all regions")
        values = similar_regions.similarities(found.vectors, own, found.rows_of(ids))
        return map_figures.coloring_of_values(values, title)
    if image_id is not None:
        there = run.file("neighbors").exists()
        near = run.read("neighbors", image_id=image_id)["neighbor_id"].tolist() if there else []
        return map_figures.coloring_of_image(facts["image_id"], image_id, near)
    if color.startswith(SELECTION):
        name = color.removeprefix(SELECTION)
        inside, others = np.isin(ids, selected(run, name)), f"not in {name}"
        column = pd.Series(np.where(inside, name, others), dtype=object)
        return map_figures.coloring_of_groups(column, "selection", none=others)
    if color == "size":
        return map_figures.coloring_of_values(facts["share"].to_numpy(), "% of the image")
    if color == "rank":
        return map_figures.coloring_of_values(region_facts.ranks_of(run, ids).astype(float), title)
    if color == "verdict":
        return map_figures.coloring_of_groups(region_facts.verdicts_of(run, ids), title, none=region_facts.NOT_REVIEWED)
    if color == "review-tag":
        return map_figures.coloring_of_groups(region_facts.tags_of(run, ids), title, none=region_facts.NO_TAG)
    if color == "kept":
        return map_figures.coloring_of_values(table["kept"].to_numpy(), title, limits=(0, 1))
    if color == "shared":
        return map_figures.coloring_of_values(table["shared"].to_numpy(), title, limits=(0, 1))
    column = table[color] if color in table else facts[color]
    if pd.api.types.is_float_dtype(column):
        return map_figures.coloring_of_values(column.to_numpy(), title)
    if color == "cluster":
        column = column.map(lambda number: f"cluster {number}")
    none = UNLABELED if color == "label" else map_figures.NO_VALUE
    return map_figures.coloring_of_groups(column.reset_index(drop=True), title, none=none)


@st.cache_resource(max_entries=2, show_spinner=False)
def _shared(key: object, _run: Run, _names: list[str], _ids: np.ndarray) -> np.ndarray:
    """Share of each region's 15 nearest by the first encoder that are among its 50 nearest by the second."""
    nearest = []
    for name, count in zip(_names, (NEAR, AMONG), strict=True):
        found = _embeddings(_run, name)
        nearest.append(feature_neighbors(found.vectors[found.rows_of(_ids)], count)[0])
    return found_again(*nearest)


# ---- making a map --------------------------------------------------------------------------------------------------


def _offer(run: Run, encoder: str, seen: object) -> None:
    """Say that there is no map yet, and make it beside what is shown meanwhile."""
    name = map_region.name_of(run, encoder)
    job = map_job.current(run, encoder)
    if job is None:
        left, right = st.columns([4, 1], vertical_alignment="center")
        left.info(
            f"There is no current UMAP by {state.plain(name)} yet; the first two principal components are shown, which"
            " keep few neighbors. UMAP takes a minute or so.",
            icon=":material/info:",
        )
        if right.button("Make the map", type="primary", key=f"object map make {encoder}", width="stretch"):
            map_job.start(run, encoder, MapSettings())
            st.rerun()
        waiting.watch(object_map.map_file(run, encoder), seen)  # `orl explore` or `orl map` may be about to make it
        return
    _watch(run, encoder)


@st.fragment(run_every=1.0)
def _watch(run: Run, encoder: str) -> None:
    job = map_job.current(run, encoder)
    if job is None:
        return
    if not job.done:
        st.progress(job.percent / 100, f"{map_region.name_of(run, encoder)}: {job.text}")
    elif job.error is None:
        map_job.forget(run, encoder)
        st.rerun()
    else:
        st.warning(state.sentence(job.error), icon=":material/info:")
        if st.button("Leave it", key=f"object map leave {encoder}"):
            map_job.forget(run, encoder)
            st.rerun()


def _settings(run: Run, encoder: str) -> None:
    try:
        now = object_map.read_object_map(run, encoder).settings
    except OrlError:
        now = MapSettings()
    with st.form(map_address.key_of(run, "settings"), border=False):
        neighbors = st.slider(
            "Neighbors kept together",
            2,
            100,
            min(now.neighbors, 100),
            help="Few show fine structure, many show the whole (n_neighbors).",
        )
        min_dist = st.slider(
            "Least distance of points",
            0.0,
            1.0,
            now.min_dist,
            0.05,
            help="Small values pack groups tightly (min_dist).",
        )
        metrics = list(object_map.METRICS)
        metric = st.selectbox("Metric", metrics, metrics.index(now.metric))
        clusters = st.slider(
            "Clusters", 2, 28, max(2, min(now.clusters, 28)), help="Groups that k-means finds in the embeddings."
        )
        if not st.form_submit_button("Compute the map", type="primary"):
            return
    new = asdict(now) | {"neighbors": neighbors, "min_dist": min_dist, "metric": metric, "clusters": clusters}
    map_job.start(run, encoder, MapSettings(**new))
    st.rerun()
