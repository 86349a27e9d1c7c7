"""Page: every kept box as a point of a map; a click finds what is similar, a lasso shows what is inside."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
import streamlit as st

from orl_explore.boxes import BOX
from orl_explore.errors import OrlError
from orl_explore.figures import drawing, style
from orl_explore.figures import object_map as map_figures
from orl_explore.judging import diagnostics
from orl_explore.maps import object_map, similar_regions
from orl_explore.maps.object_map import MapSettings, ObjectMap
from orl_explore.runs.files import csv_text
from orl_explore.runs.run import Run
from orl_explore.ui import chooser, map_mouse, state, waiting

SIMILAR = 12
LABELS = 20_000
"""Points of more regions than this are looked up in the annotations only when the map is colored by label."""
COLUMNS, ROWS = 10, 3

COLORS = {
    "label": "label",
    "cluster": "cluster",
    "similarity": "similarity to the chosen region",
    "image": "image",
    "size": "size",
}


def render(run: Run) -> None:
    """Show the page."""
    run.require("region_embeddings")
    regions = state.table(run, "regions")
    try:
        made = _object_map(run)
    except OrlError as error:
        st.info(state.sentence(str(error)), icon=":material/info:")
        st.write(f"Or make the map of this run's {len(regions):,} regions here; that takes a minute or so.")
        with st.container(border=True, width=560):
            _settings(run, MapSettings())
        waiting.watch(run)
        return
    chooser.choose(run)
    points = _points(run, made)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _map(run, made, points, _chosen(run, len(regions)))
    with right:
        _region(run, regions, points)
    _selection(run, regions, points)


# ---- the map -------------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=4, show_spinner=False)
def _read(run_path: str, version: object) -> ObjectMap:
    return object_map.read_object_map(Run(run_path))


def _object_map(run: Run) -> ObjectMap:
    made_from = object_map.fingerprint(run)
    return _read(str(run.path), (made_from, state.version(run.require("object_map"))))


@st.cache_resource(max_entries=4, show_spinner="Looking up what the regions are on ...")
def _gather(run_path: str, version: object, labeled: bool) -> pd.DataFrame:
    run = Run(run_path)
    made, images = _object_map(run), state.images(run)
    points = made.table.merge(state.table(run, "regions")[["region_id", "image_id", *BOX]], on="region_id", how="left")
    points = points.rename(columns={"x_x": "x", "y_x": "y", "x_y": "left", "y_y": "top"})
    sizes = images.table.set_index("image_id")[["width", "height"]].loc[points["image_id"]].to_numpy(float)
    points["share"] = 100 * points["w"].to_numpy() * points["h"].to_numpy() / sizes.prod(axis=1)
    boxes = points[["region_id", "image_id", "w", "h"]].assign(x=points["left"], y=points["top"])
    labels = diagnostics.region_labels(boxes, images) if labeled else None
    if labels is not None:
        points["label"] = labels.to_numpy()
    return points


def _points(run: Run, made: ObjectMap) -> pd.DataFrame:
    """The map's table with region, image, label and size; shared, never change it."""
    versions = tuple(state.version(run.require(name)) for name in ("object_map", "regions", "images", "objects"))
    labeled = len(made.table) <= LABELS or _color(_colors(run, len(made.table))) == "label"
    return _gather(str(run.path), (made.regions, versions), labeled)


def _colors(run: Run, count: int) -> list[str]:
    """What the map can be colored by; the first one is shown at first."""
    names = [name for name in COLORS if name != "label" or len(state.images(run).objects)]
    return names if count <= LABELS else sorted(names, key=lambda name: name != "cluster")


def _color(options: list[str]) -> str:
    chosen = st.session_state.get("object map color")
    return chosen if chosen in options else options[0]


def _key(run: Run, name: str) -> str:
    return f"object map {name} {run.path}"


def _chosen(run: Run, count: int) -> int | None:
    region = st.session_state.get(_key(run, "region"))
    return region if region is not None and region < count else None


def _map(run: Run, made: ObjectMap, points: pd.DataFrame, region: int | None) -> None:
    first, second = st.columns([3, 2], vertical_alignment="bottom")
    options = _colors(run, len(points))
    color = first.selectbox("Color", options, format_func=COLORS.__getitem__, key="object map color")
    with second.popover("UMAP", icon=":material/tune:", width="stretch"):
        _settings(run, made.settings)
    shown = f"{len(points):,} regions"
    if len(points) < made.regions:
        shown = f"A random sample of {len(points):,} of all {made.regions:,} regions"
    hint = " Pick the region to compare with: click a point." if color == "similarity" and region is None else ""
    st.caption(
        f"{shown}; near points look alike, distances between groups mean little. Rest on a point, click it, or draw"
        f" around some with the lasso of the toolbar; its cross of arrows goes back to clicking.{hint}"
    )
    st.plotly_chart(
        _figure(run, made, points, color, region),
        key=_key(run, "chart"),  # `map_mouse` finds it by this
        on_select=lambda: _select(run),
        selection_mode=("box", "lasso"),
        config={"scrollZoom": True, "displaylogo": False, "displayModeBar": True},
        alt=f"map of {len(points)} regions, colored by {COLORS[color]}",
    )


def _figure(run: Run, made: ObjectMap, points: pd.DataFrame, color: str, region: int | None) -> Any:
    compared = region if color == "similarity" else None
    image_id = state.chosen_image(run) if color == "image" else None
    version = (made.regions, state.version(run.require("object_map")))
    return _draw(str(run.path), version, color, compared, image_id, points)


@st.cache_resource(max_entries=6, show_spinner=False)
def _draw(
    run_path: str, version: object, color: str, region: int | None, image_id: int | None, _points: pd.DataFrame
) -> Any:
    run, points = Run(run_path), _points
    if color == "similarity":
        if region is None:
            return map_figures.by_group(points.assign(none=map_figures.OTHERS), "none")
        rows = points["region_id"].to_numpy()
        values = similar_regions.similarities(run.read_array("region_embeddings"), region, rows)
        return map_figures.by_value(points.assign(similarity=values), "similarity", "similarity")
    if image_id is not None:
        near = run.read("neighbors", image_id=image_id) if run.file("neighbors").exists() else pd.DataFrame()
        similar = dict(zip(near["neighbor_id"], near["similarity"], strict=True)) if len(near) else {}
        return map_figures.by_image(points, image_id, similar)
    if color == "size":
        return map_figures.by_value(points, "share", "% of the image")
    return map_figures.by_group(points, color)


def _select(run: Run) -> None:
    """Remember what was drawn around: the chart forgets it when its colors change."""
    event = st.session_state[_key(run, "chart")]["selection"]
    if event.get("box") or event.get("lasso"):
        st.session_state[_key(run, "picked")] = [int(data[0]) for data in state.custom_data(event["points"])]
        st.session_state[_key(run, "page")] = 1


def _settings(run: Run, now: MapSettings) -> None:
    with st.form(_key(run, "settings"), border=False):
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
    bar = st.progress(0.0, "Finding neighbors ...")

    def show(done: int, total: int) -> None:
        bar.progress(min(done / total, 1.0), f"Laying out: round {done} of {total}")

    object_map.make_object_map(run, MapSettings(**new), progress=show)
    st.session_state.pop(_key(run, "picked"), None)
    st.rerun()


# ---- one region ----------------------------------------------------------------------------------------------------


@st.fragment
def _region(run: Run, regions: pd.DataFrame, points: pd.DataFrame) -> None:
    """What is chosen, and what is like it; a click on the map runs nothing but this."""
    if st.session_state.pop(_key(run, "leave"), False):
        st.rerun()  # more changes than this part of the page
    region = _chosen(run, len(regions))
    st.number_input(
        "Region",
        min_value=0,
        max_value=len(regions) - 1,
        value=None,
        step=1,
        key=_key(run, "region"),
        placeholder="click a point",
        on_change=lambda: _choose(run, _chosen(run, len(regions))),
        help="The region whose crop is shown: click a point of the map, or type its number.",
    )
    with state.explained("region of the object map"):
        if region is None:
            with st.container(border=True):
                st.markdown(":material/ads_click: **Nothing is chosen yet**")
                st.write(
                    "Rest on a point: its crop appears beside the mouse. Click it: the crop stays here, above the most"
                    " similar crops of the whole set."
                )
        else:
            _details(run, regions, points, region)
            _similar(run, regions, region)
    with state.explained("the mouse on the object map"):
        map_mouse.listen(run, regions, _place(points, region), lambda clicked: _choose(run, clicked))


def _choose(run: Run, region: int | None) -> None:
    st.session_state[_key(run, "region")] = region
    # Colored by what is chosen, the map is another one.
    st.session_state[_key(run, "leave")] = st.session_state.get("object map color") in ("similarity", "image")
    if region is not None:
        state.choose_image(int(state.table(run, "regions")["image_id"].iloc[region]))


def _open_pairs(run: Run, image_id: int) -> None:
    st.session_state[_key(run, "leave")] = True
    state.go("pairs", image_id)


def _place(points: pd.DataFrame, region: int | None) -> tuple[float, float] | None:
    """Where a region stands on the map; None where it is none of those drawn."""
    row = None if region is None else _row(points, region)
    return None if row is None else (float(points["x"].iloc[row]), float(points["y"].iloc[row]))


def _row(points: pd.DataFrame, region: int) -> int | None:
    row = int(points["region_id"].searchsorted(region))
    return row if row < len(points) and points["region_id"].iloc[row] == region else None


def _label(points: pd.DataFrame, region: int) -> str | None:
    row = _row(points, region)
    return None if row is None or "label" not in points else str(points["label"].iloc[row])


def _details(run: Run, regions: pd.DataFrame, points: pd.DataFrame, region: int) -> None:
    row = regions.iloc[region]
    image_id, box = int(row["image_id"]), row[BOX].to_numpy(int)
    picture = state.images(run).load(state.row_of(run, image_id))
    line = max(2, max(picture.size) // 120)
    crop, whole = st.container(key=f"{state.EVEN} chosen").columns(2)
    crop.image(state.thumbnail(run, image_id, side=280, box=box), width="stretch", alt=f"crop of region {region}")
    boxed = drawing.draw_boxes(picture, [box], [""], [style.PALETTE[1]], line=line)
    whole.image(boxed, width="stretch", alt="its image")
    label = _label(points, region)
    st.markdown(f"**Region {region}**" + (f" · {state.plain(label)}" if label else ""))
    st.caption(
        f"{box[2]} x {box[3]} px at ({box[0]}, {box[1]}) of image {image_id},"
        f" {state.plain(state.file_name(run, image_id))}"
    )
    st.button(
        "Pairs of this image",
        icon=":material/join_inner:",
        key="object map pairs",
        on_click=_open_pairs,
        args=(run, image_id),
    )


@st.cache_data(max_entries=200, show_spinner=False)
def _nearest(run_path: str, region: int, version: object) -> pd.DataFrame:
    return similar_regions.most_similar(Run(run_path).read_array("region_embeddings"), region, count=SIMILAR)


def _similar(run: Run, regions: pd.DataFrame, region: int) -> None:
    found = _nearest(str(run.path), region, state.version(run.require("region_embeddings")))
    st.subheader("Most similar crops", anchor=False)
    st.caption(
        f"Of all {len(regions):,} regions, by the cosine of the embeddings. A button opens the pairs of its image."
    )
    columns = st.container(key=f"{state.EVEN} similar").columns(SIMILAR // 3, gap="small")
    for number, (other, similarity) in enumerate(found.itertuples(index=False)):
        row = regions.iloc[int(other)]
        image_id = int(row["image_id"])
        with columns[number % len(columns)]:
            crop = state.thumbnail(run, image_id, side=180, box=row[BOX].to_numpy(int))
            st.image(crop, width="stretch", alt=f"crop of region {other}")
            st.button(
                f"{similarity:.3f}",
                key=f"object map similar {number}",
                help=f"Region {other} of image {image_id}: open its pairs.",
                on_click=_open_pairs,
                args=(run, image_id),
                width="stretch",
            )


def _selection(run: Run, regions: pd.DataFrame, points: pd.DataFrame) -> None:
    picked = [region for region in st.session_state.get(_key(run, "picked"), []) if region < len(regions)]
    if not picked:
        return
    table = points[points["region_id"].isin(picked)]
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    left.subheader(f"Selection: {len(table):,} regions", anchor=False)
    names = {image_id: state.file_name(run, image_id) for image_id in table["image_id"].unique().tolist()}
    export = pd.DataFrame(
        {
            "region_id": table["region_id"],
            "image_id": table["image_id"],
            "file_name": table["image_id"].map(names),
            **{name: table[column] for name, column in zip(BOX, ("left", "top", "w", "h"), strict=True)},
            **({"label": table["label"]} if "label" in table else {}),
            "cluster": table["cluster"],
            "map_x": table["x"],
            "map_y": table["y"],
        }
    )
    right.download_button(
        "CSV",
        csv_text(export),
        file_name="regions.csv",
        mime="text/csv",
        icon=":material/download:",
        key="object map csv",
        width="stretch",
    )
    if "label" in table:
        counts = table["label"].value_counts()
        left.caption(", ".join(f"{state.plain(str(name))} {count:,}" for name, count in counts[:8].items()))
    size = COLUMNS * ROWS
    pages = -(-len(table) // size)
    page = 1
    if pages > 1:
        key = _key(run, "page")
        st.session_state[key] = min(st.session_state.get(key, 1), pages)
        page = st.pagination(pages, key=key)
    columns = st.container(key=f"{state.EVEN} selection").columns(COLUMNS)
    rows = table.iloc[(page - 1) * size : page * size]
    boxes = rows[["left", "top", "w", "h"]].to_numpy(int)
    for number, (region, image_id) in enumerate(zip(rows["region_id"], rows["image_id"], strict=True)):
        with columns[number % COLUMNS]:
            crop = state.thumbnail(run, image_id, side=140, box=boxes[number])
            st.image(crop, width="stretch", alt=f"crop of region {region}")
            label = _label(points, region)
            st.caption(f"{region}" + (f" {state.plain(label)}" if label else ""))
