"""Page: which boxes of an image and a neighbor were paired, why, what other settings would do, what a person says."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.diagnostics import BOX, region_categories, same_category
from orl_explore.errors import OrlError
from orl_explore.figures import pairs as figures
from orl_explore.pairs import compare_pairs, pair_image, region_slices, similarity_matrix, similarity_text
from orl_explore.reviews import (
    ACCEPTED,
    KEY,
    REJECTED,
    Pair,
    as_coco_text,
    as_csv,
    next_unreviewed,
    read_reviews,
    save_review,
)
from orl_explore.run import Run
from orl_explore.ui import state

SIDE = 560
"""Longer side of the two pictures, pixels."""
SHOWN = 60
"""Rows of crops at most; the most similar pairs."""
SIGNS = {ACCEPTED: "✓ accepted", REJECTED: "✗ rejected", "": ""}


@dataclass(frozen=True)
class Scene:
    """What the page knows of an image: its neighbors, and its pairs numbered from the most similar one."""

    run: Run
    image_id: int
    neighbors: pd.DataFrame
    pairs: pd.DataFrame
    slices: dict[int, tuple[int, int]]
    boxes: np.ndarray
    """Boxes of all regions of the run, row = region_id."""

    def own(self, image_id: int) -> tuple[int, int]:
        """First region of an image, and the one after its last."""
        return self.slices.get(image_id, (0, 0))

    def number(self, pair: Pair) -> int | None:
        """Number of a pair; None: stage 2 did not accept it."""
        table = self.pairs
        found = table["number"][(table["query_region"] == pair.query_region) & (table["key_region"] == pair.key_region)]
        return int(found.iloc[0]) if len(found) else None


def render(run: Run) -> None:
    """Show the page."""
    image_id = state.chosen_image(run)
    scene = _scene(run, image_id)
    reviews = _reviews(run)
    rank = _navigation(scene)
    if rank is None:
        st.info("Stage 2 left this image without a neighbor, so it has no pairs. Look at another image.")
        return
    neighbor_id = int(scene.neighbors["neighbor_id"].iloc[rank - 1])
    stamp = _version(run, "region_embeddings" if run.file("region_embeddings").exists() else "regions")
    similarity = _similarity(str(run.path), scene.own(image_id), scene.own(neighbor_id), stamp)
    chosen = _chosen(scene, neighbor_id, similarity)
    _status(scene, chosen, reviews)
    _pictures(scene, neighbor_id, rank, reviews, chosen, similarity)
    left, right = st.columns([6, 5], gap="medium")
    with left:
        _matrix(scene, neighbor_id, chosen, similarity)
    with right:
        _panel(scene, chosen, similarity, reviews)
    _list(scene, reviews)
    _what_if(scene)
    _export(run, reviews)


# ---- what is shown -------------------------------------------------------------------------------------------------


def _version(run: Run, name: str) -> tuple[str, int, int]:
    return state.version(run.require(name))


@st.cache_data(max_entries=64, show_spinner=False)
def _rows(run_path: str, name: str, image_id: int, stamp: tuple[str, int, int]) -> pd.DataFrame:
    return Run(run_path).read(name, image_id=image_id)


@st.cache_resource(max_entries=2, show_spinner=False)
def _regions(run_path: str, stamp: tuple[str, int, int]) -> tuple[dict[int, tuple[int, int]], np.ndarray]:
    regions = Run(run_path).read("regions", columns=["image_id", *BOX])
    return region_slices(regions["image_id"]), regions[BOX].to_numpy(np.int32)


@st.cache_data(max_entries=64, show_spinner=False)
def _similarity(run_path: str, query: tuple[int, int], key: tuple[int, int], stamp: tuple[str, int, int]) -> np.ndarray:
    run = Run(run_path)
    if not run.file("region_embeddings").exists():  # an imported run
        return np.full((query[1] - query[0], key[1] - key[0]), np.nan)
    vectors = run.read_array("region_embeddings")
    try:
        return similarity_matrix(np.array(vectors[slice(*query)]), np.array(vectors[slice(*key)]))
    except ValueError as error:
        raise OrlError(f"the region embeddings of {run_path} cannot be compared: {error}") from None


def _scene(run: Run, image_id: int) -> Scene:
    pairs = _rows(str(run.path), "pairs", image_id, _version(run, "pairs"))
    pairs = pairs.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)
    neighbors = _rows(str(run.path), "neighbors", image_id, _version(run, "neighbors")).sort_values("rank")
    slices, boxes = _regions(str(run.path), _version(run, "regions"))
    return Scene(run, image_id, neighbors, pairs.assign(number=np.arange(1, len(pairs) + 1)), slices, boxes)


def _reviews(run: Run) -> pd.DataFrame | None:
    """All reviews; None, with the reason shown, where there can be none."""
    if message := st.session_state.pop("pairs_problem", None):
        st.error(state.sentence(message))
    try:
        return read_reviews(run)
    except OrlError as error:
        st.warning(state.sentence(str(error)), icon=":material/info:")
        return None


def _categories(scene: Scene, image_ids: Sequence[int]) -> pd.Series | None:
    """Category by region of some images; None without labels."""
    return _labels(
        str(scene.run.path), tuple(sorted(image_ids)), _version(scene.run, "objects"), _version(scene.run, "regions")
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _labels(run_path: str, image_ids: tuple[int, ...], objects_stamp: object, boxes_stamp: object) -> pd.Series | None:
    run = Run(run_path)
    objects = state.table(run, "objects")
    objects = objects[objects["image_id"].isin(image_ids)]
    if not len(objects):
        return None
    slices, boxes = _regions(run_path, _version(run, "regions"))
    parts = []
    for image_id in image_ids:
        first, last = slices.get(image_id, (0, 0))
        part = pd.DataFrame(boxes[first:last], columns=BOX)
        parts.append(part.assign(region_id=np.arange(first, last), image_id=image_id))
    return region_categories(pd.concat(parts, ignore_index=True), objects)


def _chosen(scene: Scene, neighbor_id: int, similarity: np.ndarray) -> Pair:
    """The pair that the address names, else the best one stored with this neighbor, else the most similar boxes."""
    (first, last), (key_first, key_last) = scene.own(scene.image_id), scene.own(neighbor_id)
    query, _, key = st.query_params.get("pair", "").partition("-")
    if query.isdecimal() and key.isdecimal() and first <= int(query) < last and key_first <= int(key) < key_last:
        return Pair(scene.image_id, neighbor_id, int(query), int(key))
    stored = scene.pairs[scene.pairs["neighbor_id"] == neighbor_id]
    if len(stored):
        return Pair(scene.image_id, neighbor_id, *map(int, stored.iloc[0][["query_region", "key_region"]]))
    row, column = np.unravel_index(similarity.argmax(), similarity.shape)
    return Pair(scene.image_id, neighbor_id, first + int(row), key_first + int(column))


# ---- what changes it -----------------------------------------------------------------------------------------------


def _show_pair(query_region: int, key_region: int, rank: int | None = None, *, by: str = "") -> None:
    st.query_params["pair"] = f"{query_region}-{key_region}"
    if rank is not None:
        st.query_params["rank"] = str(rank)
    # A chart or table keeps what was clicked in it last and would not tell of a click there again: begin a new one.
    for kind in ("matrix", "list"):
        if kind != by and st.session_state.pop(f"pairs_{kind}_clicked", False):
            st.session_state[f"pairs_{kind}"] = st.session_state.get(f"pairs_{kind}", 0) + 1
    if by:
        st.session_state[f"pairs_{by}_clicked"] = True


def _show_image(image_id: int) -> None:
    state.choose_image(image_id)
    for key in ("pair", "rank"):
        st.query_params.pop(key, None)


def _rank_changed() -> None:
    st.query_params["rank"] = str(st.session_state["pair_rank"])
    st.query_params.pop("pair", None)


def _clicked(key: str) -> None:
    points = st.session_state[key]["selection"]["points"]
    if points and points[0].get("customdata"):
        query, region = points[0]["customdata"][:2]
        _show_pair(int(query), int(region), by="matrix")


def _picked(key: str, pairs: list[tuple[Pair, int]]) -> None:
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        pair, rank = pairs[rows[0]]
        _show_pair(pair.query_region, pair.key_region, rank, by="list")


def _decide(scene: Scene, pair: Pair, verdict: Any) -> None:
    try:
        reviews = save_review(scene.run, pair, verdict=verdict)
    except OrlError as error:
        st.session_state["pairs_problem"] = str(error)
        return
    if verdict and st.session_state.get("pairs_go_on", True) and scene.number(pair) is not None:
        _go_on(scene, pair, reviews)


def _go_on(scene: Scene, pair: Pair, reviews: pd.DataFrame) -> None:
    following = next_unreviewed(scene.pairs, reviews, pair)
    if following is not None:
        _show_pair(following.query_region, following.key_region, _rank_of(scene, following.neighbor_id))


def _write_note(scene: Scene, pair: Pair, key: str) -> None:
    try:
        save_review(scene.run, pair, note=st.session_state[key])
    except OrlError as error:
        st.session_state["pairs_problem"] = str(error)


def _rank_of(scene: Scene, neighbor_id: int) -> int:
    return scene.neighbors["neighbor_id"].tolist().index(neighbor_id) + 1


# ---- the parts of the page -----------------------------------------------------------------------------------------


def _navigation(scene: Scene) -> int | None:
    """Controls for image and neighbor; returns the place of the neighbor, counted from 1."""
    ids, row = state.images(scene.run).table["image_id"], state.row_of(scene.run, scene.image_id)
    places = list(range(1, len(scene.neighbors) + 1))
    wanted = st.query_params.get("rank", "1")
    if places:
        st.session_state["pair_rank"] = int(wanted) if wanted in map(str, places) else 1
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button(
            "Image",
            icon=":material/chevron_left:",
            on_click=_show_image,
            args=(int(ids.iloc[row - 1]),),
            key="previous image",
            help="previous image",
            shortcut="Shift+P",
        )
        st.button(
            "Image",
            icon=":material/chevron_right:",
            on_click=_show_image,
            args=(int(ids.iloc[(row + 1) % len(ids)]),),
            key="next image",
            help="next image",
            shortcut="Shift+N",
        )
        if places:
            st.segmented_control(
                "Neighbor, 1 = the nearest", places, required=True, key="pair_rank", on_change=_rank_changed
            )
    return st.session_state["pair_rank"] if places else None


def _link(scene: Scene, pair: Pair, similarity: float, chosen: Pair, rejected: set[Pair]) -> figures.Link:
    first, key_first = scene.own(scene.image_id)[0], scene.own(pair.neighbor_id)[0]
    return figures.Link(
        scene.number(pair),
        pair.query_region - first,
        pair.key_region - key_first,
        similarity,
        strong=pair == chosen,
        dashed=pair in rejected,
    )


def _links(
    scene: Scene, neighbor_id: int, chosen: Pair, similarity: np.ndarray, reviews: pd.DataFrame | None
) -> list[figures.Link]:
    rejected = set()
    if reviews is not None:
        rejected = {pair for pair, verdict in _verdicts(reviews).items() if verdict == REJECTED}
    stored = scene.pairs[scene.pairs["neighbor_id"] == neighbor_id]
    every = {Pair(*row[:4]): row[4] for row in stored[[*KEY, "similarity"]].itertuples(index=False, name=None)}
    if chosen not in every:
        every[chosen] = _value(scene, chosen, similarity)
    return [_link(scene, pair, value, chosen, rejected) for pair, value in every.items()]


def _value(scene: Scene, pair: Pair, similarity: np.ndarray) -> float:
    row, column = pair.query_region - scene.own(scene.image_id)[0], pair.key_region - scene.own(pair.neighbor_id)[0]
    return float(similarity[row, column])


def _pictures(
    scene: Scene, neighbor_id: int, rank: int, reviews: pd.DataFrame | None, chosen: Pair, similarity: np.ndarray
) -> None:
    run, table = scene.run, state.images(scene.run).table
    shown = []
    for image_id, words in (
        (scene.image_id, ""),
        (
            neighbor_id,
            f" · neighbor {rank}, similarity {similarity_text(scene.neighbors['similarity'].iloc[rank - 1])}",
        ),
    ):
        size = table[["width", "height"]].iloc[state.row_of(run, image_id)]
        shown.append(
            figures.Picture(
                state.thumbnail(run, image_id, side=SIDE),
                (int(size["width"]), int(size["height"])),
                _short(state.file_name(run, image_id)) + words,
            )
        )
    if not len(scene.pairs):
        st.info("Stage 2 accepted no pair of this image: its switches left none.")
    figure = figures.joined(
        shown[0],
        shown[1],
        scene.boxes[slice(*scene.own(scene.image_id))],
        scene.boxes[slice(*scene.own(neighbor_id))],
        _links(scene, neighbor_id, chosen, similarity, reviews),
        all_boxes=st.session_state.get("pairs_all_boxes", False),
    )
    st.plotly_chart(
        figure,
        key="pairs pictures",
        config={"displayModeBar": False, "scrollZoom": False},
        alt="image and neighbor, boxes of a pair joined by a line",
    )
    st.toggle("Show boxes without a pair, too", key="pairs_all_boxes")


def _short(name: str, length: int = 36) -> str:
    return name if len(name) <= length else "…" + name[1 - length :]


def _matrix(scene: Scene, neighbor_id: int, chosen: Pair, similarity: np.ndarray) -> None:
    query, keys = scene.own(scene.image_id), scene.own(neighbor_id)
    if np.isnan(similarity).all():
        st.info("This run was imported without embeddings, so only the pairs themselves are known.")
        return
    st.markdown("**All similarities**: click a cell to see its two boxes; numbers mark the accepted pairs.")
    key = f"pairs matrix {scene.image_id} {neighbor_id} {st.session_state.get('pairs_matrix', 0)}"
    st.plotly_chart(
        figures.matrix(
            similarity,
            range(*query),
            range(*keys),
            _links(scene, neighbor_id, chosen, similarity, None),
            chosen=(chosen.query_region - query[0], chosen.key_region - keys[0]),
        ),
        key=key,
        on_select=lambda: _clicked(key),
        selection_mode="points",
        config={"displayModeBar": False},
        alt="similarity of every box of the image with every box of the neighbor",
    )


def _panel(scene: Scene, chosen: Pair, similarity: np.ndarray, reviews: pd.DataFrame | None) -> None:
    number, value = scene.number(chosen), _value(scene, chosen, similarity)
    stored = scene.pairs[scene.pairs["number"] == number]
    if number is None:
        order = int((similarity > value).sum()) + 1
        where = f", place {order:,} of {similarity.size:,}" if not math.isnan(value) else ""
        st.markdown(f"**Not accepted by stage 2**: similarity {similarity_text(value)}{where}.")
    else:
        place = int(stored["rank"].iloc[0]) + 1
        st.markdown(
            f"**Pair {number}**, accepted by stage 2: similarity {similarity_text(value)}, place {place} with this"
            " neighbor."
        )
    categories = _categories(scene, [scene.image_id, chosen.neighbor_id])
    columns = st.columns(2)
    for column, image_id, region in (
        (columns[0], scene.image_id, chosen.query_region),
        (columns[1], chosen.neighbor_id, chosen.key_region),
    ):
        with column:
            st.image(state.thumbnail(scene.run, image_id, side=200, box=scene.boxes[region]))
            x, y, w, h = scene.boxes[region].tolist()
            category = None if categories is None else categories.get(region)
            known = "" if categories is None else (f" · {category}" if isinstance(category, str) else " · background")
            st.text(f"{w} × {h} at {x}, {y}{known}")  # noqa: RUF001
    if reviews is None:
        return
    own = reviews[(reviews[KEY] == list(chosen)).all(axis=1)] if len(reviews) else reviews
    verdict, note = (own["verdict"].iloc[0], own["note"].iloc[0]) if len(own) else ("", "")
    with st.container(horizontal=True):
        for label, new, icon, shortcut in (
            ("Accept", ACCEPTED, ":material/check:", "A"),
            ("Reject", REJECTED, ":material/close:", "X"),
        ):
            st.button(
                label,
                key=label,
                icon=icon,
                type="primary" if verdict == new else "secondary",
                on_click=_decide,
                args=(scene, chosen, "" if verdict == new else new),
                shortcut=shortcut,
                help="press again to take it back",
            )
        st.button(
            "Next",
            key="Next",
            icon=":material/skip_next:",
            on_click=_go_on,
            args=(scene, chosen, reviews),
            shortcut="N",
            help="the next pair of this image without a verdict",
        )
    key = f"note {'-'.join(map(str, chosen))}"
    if key not in st.session_state:
        st.session_state[key] = note
    st.text_input("Note", key=key, max_chars=2000, on_change=_write_note, args=(scene, chosen, key))
    st.toggle("Go on to the next pair after a verdict", value=True, key="pairs_go_on")


def _status(scene: Scene, chosen: Pair, reviews: pd.DataFrame | None) -> None:
    """One line at the top, so that a reviewer at the keyboard sees what a key did."""
    ids, row = state.images(scene.run).table["image_id"], state.row_of(scene.run, scene.image_id)
    words = [f"Image {row + 1:,} of {len(ids):,}"]
    if reviews is not None:
        verdicts = _verdicts(reviews)
        done = sum(bool(verdicts.get(Pair(*key))) for key in scene.pairs[KEY].itertuples(index=False, name=None))
        number = scene.number(chosen)
        words += [
            f"verdict on {'these boxes' if number is None else f'pair {number}'}: {verdicts.get(chosen) or 'none'}",
            f"{done} of {len(scene.pairs)} pairs of this image reviewed",
            f"in this run {(reviews['verdict'] == ACCEPTED).sum():,} accepted,"
            f" {(reviews['verdict'] == REJECTED).sum():,} rejected",
        ]
    st.text(" · ".join(words))


def _verdicts(reviews: pd.DataFrame) -> dict[Pair, str]:
    return {Pair(*row[:4]): row[4] for row in reviews[[*KEY, "verdict"]].itertuples(index=False, name=None)}


def _list(scene: Scene, reviews: pd.DataFrame | None) -> None:
    st.subheader("Pairs of this image with all neighbors", anchor=False)
    if not len(scene.pairs):
        st.text("none")
        return
    if len(scene.pairs) > SHOWN:
        st.text(f"The {SHOWN} most similar of {len(scene.pairs)}.")
    pairs = scene.pairs.head(SHOWN)
    table = _crop_table(scene, pairs)
    table.insert(0, "pair", pairs["number"].to_numpy())
    if reviews is not None:
        verdicts = _verdicts(reviews)
        table["verdict"] = [
            SIGNS[verdicts.get(Pair(*row), "")] for row in pairs[KEY].itertuples(index=False, name=None)
        ]
    targets = [(Pair(*row), _rank_of(scene, row[1])) for row in pairs[KEY].itertuples(index=False, name=None)]
    key = f"pairs list {scene.image_id} {st.session_state.get('pairs_list', 0)}"
    _show_table(table, key=key, on_select=lambda: _picked(key, targets))


def _crop_table(scene: Scene, pairs: pd.DataFrame) -> pd.DataFrame:
    """Crops, similarity, neighbor and, with labels, categories of some pairs of the image."""
    crops = _crops(scene, pairs)
    table = pd.DataFrame(
        {
            "image": [crops[region] for region in pairs["query_region"]],
            "neighbor": [crops[region] for region in pairs["key_region"]],
            "similarity": pairs["similarity"].to_numpy(),
            "neighbor rank": pairs["neighbor_rank"].to_numpy() + 1,
        }
    )
    categories = _categories(scene, [scene.image_id, *scene.neighbors["neighbor_id"].tolist()])
    if categories is not None:
        names = [
            categories.reindex(pairs[column]).fillna("background").tolist() for column in ("query_region", "key_region")
        ]
        table["on"] = [f"{a} = {b}" if a == b else f"{a} | {b}" for a, b in zip(*names, strict=True)]
    return table


def _crops(scene: Scene, pairs: pd.DataFrame) -> dict[int, str]:
    """Data URIs of the regions of some pairs; each image is read once."""
    wanted: dict[int, set[int]] = {scene.image_id: set(pairs["query_region"].tolist())}
    for neighbor_id, region in pairs[["neighbor_id", "key_region"]].to_numpy().tolist():
        wanted.setdefault(neighbor_id, set()).add(region)
    version = _version(scene.run, "regions")
    found: dict[int, str] = {}
    for image_id, some in wanted.items():
        regions = tuple(sorted(some))
        found.update(zip(regions, _crop_uris(str(scene.run.path), image_id, regions, version), strict=True))
    return found


@st.cache_data(max_entries=400, show_spinner=False)
def _crop_uris(run_path: str, image_id: int, regions: tuple[int, ...], stamp: tuple[str, int, int]) -> list[str]:
    run = Run(run_path)
    image = state.images(run).load(state.row_of(run, image_id))
    return figures.crop_uris(image, _regions(run_path, stamp)[1][list(regions)], side=112)


def _show_table(table: pd.DataFrame, *, key: str, on_select: Any = "ignore") -> None:
    st.dataframe(
        table,
        key=key,
        hide_index=True,
        row_height=84,
        height=min(460, 40 + 84 * len(table)),
        on_select=on_select,
        selection_mode="single-row",
        column_config={
            "pair": st.column_config.NumberColumn(width=50),
            "verdict": st.column_config.TextColumn(width=100),
            "image": st.column_config.ImageColumn(width=130),
            "neighbor": st.column_config.ImageColumn(width=130),
            "similarity": st.column_config.NumberColumn(format="%.3f"),
        },
    )


def _what_if(scene: Scene) -> None:
    if not scene.run.file("region_embeddings").exists():
        return
    st.subheader("What if stage 2 had other settings?", anchor=False)
    stage = scene.run.stage("stage2").get("config", {})
    most = max(len(scene.neighbors), 1)
    columns = st.columns(5, vertical_alignment="bottom")
    k = most
    if most > 1:
        k = columns[0].slider("Neighbors K", 1, most, value=most, key=f"what if K {most}")
    ratio = columns[1].slider(
        "Pairs per box", 0.01, 1.0, value=float(stage.get("pair_ratio", 0.1)), step=0.01, key="what if ratio"
    )
    least = columns[2].slider(
        "Similarity at least", -1.0, 1.0, value=float(stage.get("min_similarity") or -1), step=0.01, key="what if least"
    )
    mutual = columns[3].toggle("Mutual best", value=bool(stage.get("mutual")), key="what if mutual")
    one_to_one = columns[4].toggle("One to one", value=bool(stage.get("one_to_one")), key="what if one")
    try:
        other = pair_image(
            scene.image_id,
            scene.neighbors.head(k),
            scene.slices,
            scene.run.read_array("region_embeddings"),
            ratio=ratio,
            mutual=mutual,
            one_to_one=one_to_one,
            min_similarity=None if least <= -1 else least,
        )
    except ValueError as error:
        raise OrlError(f"the region embeddings of {scene.run.path} cannot be compared: {error}") from None
    gained, lost = compare_pairs(scene.pairs, other)
    gained = gained.sort_values("similarity", ascending=False, kind="stable")
    categories = _categories(scene, [scene.image_id, *scene.neighbors["neighbor_id"].tolist()])
    tiles = st.columns(4, vertical_alignment="top")
    tiles[0].metric("Pairs", len(other), delta=(len(other) - len(scene.pairs)) or None, delta_color="off", border=True)
    tiles[1].metric("Gained", len(gained), border=True)
    tiles[2].metric("Lost", len(lost), border=True)
    purity = stored = math.nan
    if categories is not None:
        purity, stored = same_category(other, categories), same_category(scene.pairs, categories)
    tiles[3].metric(
        "Of one category",
        "-" if math.isnan(purity) else f"{purity:.0%}",
        delta=None if math.isnan(purity - stored) or purity == stored else f"{(purity - stored) * 100:+.0f} points",
        help="Of the pairs that join two annotated objects, the share of one category; the stored pairs: "
        + ("no labels" if math.isnan(stored) else f"{stored:.0%}"),
        border=True,
    )
    for title, rows in (("Gained", gained), ("Lost", lost)):
        if len(rows):
            some = f", the {SHOWN} most similar" if len(rows) > SHOWN else ""
            with st.expander(f"{title}: {len(rows)} pairs{some}"):
                _show_table(_crop_table(scene, rows.head(SHOWN)), key=f"what if {title}")


def _export(run: Run, reviews: pd.DataFrame | None) -> None:
    if reviews is None or not len(reviews):
        return
    st.subheader("Reviews", anchor=False)
    st.text("Stage 3 leaves rejected pairs out and adds accepted ones with this command:")
    st.code(f"orl stage3 {shlex.quote(str(run.path))} --reviews use --overwrite", language="sh")
    with st.container(horizontal=True):
        for label, name, make in (
            ("Parquet", "reviews.parquet", lambda: run.file("reviews").read_bytes()),
            ("CSV", "reviews.csv", lambda: as_csv(read_reviews(run)).encode()),
            ("COCO json", "reviews.json", lambda: as_coco_text(run, read_reviews(run)).encode()),
        ):
            st.download_button(
                label, make, name, key=f"download {label}", icon=":material/download:", on_click="ignore"
            )
