"""Page: which boxes of an image and a neighbor were paired, why, what other settings would do, what a person says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.figures import pairs as figures
from orl_explore.runs.reviews import KEY, Pair
from orl_explore.runs.run import Run
from orl_explore.ui import (
    address,
    below,
    chooser,
    matrix_cells,
    pair_alike,
    pair_review,
    pair_rule,
    pair_scene,
    pair_what_if,
    state,
    tiles,
)
from orl_explore.ui.pair_scene import SHOWN, Scene, crop_table, show_pair, show_table


def render(run: Run) -> None:
    """Show the page."""
    scene = pair_scene.load(run, chooser.choose(run))
    reviews = pair_review.reviews_of(run)
    rank = _choose_neighbor(scene)
    if rank is None:
        st.info("Stage 2 left this image without a neighbor, so it has no pairs. Look at another image.")
        return
    neighbor_id = int(scene.neighbors["neighbor_id"].iloc[rank - 1])
    similarity = pair_scene.similarity_of(scene, neighbor_id)
    chosen = _chosen(scene, neighbor_id, similarity)
    _pictures(scene, neighbor_id, reviews, chosen, similarity)
    pair_review.panel(scene, chosen, similarity, reviews)
    below.show(
        pair_scene.BELOW,
        lambda: _below(scene, neighbor_id, chosen, similarity, reviews),
        of=f"{run.path} {scene.image_id} {neighbor_id}",
        height=900,
    )


def _below(scene: Scene, neighbor_id: int, chosen: Pair, similarity: np.ndarray, reviews: pd.DataFrame | None) -> None:
    _matrix(scene, neighbor_id, chosen, similarity, reviews)
    parts = {
        "Pairs with all neighbors": lambda: _list(scene, reviews),
        pair_alike.TITLE: lambda: pair_alike.show(scene, chosen),
        pair_rule.WHAT_IF: lambda: pair_what_if.show(scene, neighbor_id),
        "Reviews": lambda: pair_review.export(scene.run, reviews),
    }
    if scene.run.given():
        del parts[pair_rule.WHAT_IF]  # no settings have led to them
    with st.container(key=pair_scene.TABS):
        state.tabs(
            parts,
            key="pairs tab",
            parameter="tab",
            default=pair_alike.TITLE if pair_alike.is_asked_for() else None,
        )


def _chosen(scene: Scene, neighbor_id: int, similarity: np.ndarray) -> Pair:
    """The pair that the address names, else the best one stored with this neighbor, else the most similar boxes."""
    (first, last), (key_first, key_last) = scene.own(scene.image_id), scene.own(neighbor_id)
    wanted = address.get("pair")
    if wanted is not None:
        query, key = map(state.number, [*wanted.split("-"), ""][:2])
        if query is not None and key is not None and first <= query < last and key_first <= key < key_last:
            return Pair(scene.image_id, neighbor_id, query, key)
        state.fall_back(f"Image and neighbor have no pair of boxes {wanted[:40]}: their best one is shown.")
        address.put(pair=None)
    stored = scene.pairs[scene.pairs["neighbor_id"] == neighbor_id]
    if len(stored):
        return Pair(scene.image_id, neighbor_id, *map(int, stored.iloc[0][["query_region", "key_region"]]))
    row, column = np.unravel_index(similarity.argmax(), similarity.shape)
    return Pair(scene.image_id, neighbor_id, first + int(row), key_first + int(column))


# ---- what changes it -----------------------------------------------------------------------------------------------


def _go_to_rank(rank: int) -> None:
    address.put(rank=str(rank), pair=None)


def _picked(key: str, pairs: list[tuple[Pair, int]]) -> None:
    rows = state.sent(key, "selection", "rows") or []
    if rows:
        pair, rank = pairs[rows[0]]
        show_pair(pair.query_region, pair.key_region, rank, listed=True)


# ---- the parts of the page -----------------------------------------------------------------------------------------


def _choose_neighbor(scene: Scene) -> int | None:
    """Let the reader choose a neighbor; returns its place, counted from 1, or None where there are none."""
    places = list(range(1, len(scene.neighbors) + 1))
    if not places:
        return None
    text = address.get("rank") or "1"
    wanted = state.number(text)
    if wanted not in places:
        state.fall_back(f"This image has {len(places)} neighbors, not one of place {text[:40]}: the nearest is shown.")
        address.put(rank=None)
        wanted = 1
    # Buttons, as they keep no value: a value that is set here could cross with one that the browser says.
    with st.container(horizontal=True, vertical_alignment="center", gap="xxsmall", key="pairs neighbor"):
        st.markdown("Neighbor", width="content")
        for place in places:
            st.button(
                str(place),
                key=f"neighbor {place}",
                type="primary" if place == wanted else "secondary",
                help="the nearest" if place == 1 else None,
                on_click=_go_to_rank,
                args=(place,),
            )
        st.toggle("All boxes", key="pairs_all_boxes", help="also those without a pair, gray")
    return wanted


def _link(scene: Scene, pair: Pair, similarity: float, chosen: Pair, verdict: str) -> figures.Link:
    first, key_first = scene.own(scene.image_id)[0], scene.own(pair.neighbor_id)[0]
    return figures.Link(
        scene.number(pair),
        pair.query_region - first,
        pair.key_region - key_first,
        similarity,
        strong=pair == chosen,
        verdict=verdict,
    )


def _links(
    scene: Scene, neighbor_id: int, chosen: Pair, similarity: np.ndarray, reviews: pd.DataFrame | None
) -> list[figures.Link]:
    verdicts = {} if reviews is None else pair_review.verdicts_of(reviews, scene.image_id)
    stored = scene.pairs[scene.pairs["neighbor_id"] == neighbor_id]
    every = {Pair(*row[:4]): row[4] for row in stored[[*KEY, "similarity"]].itertuples(index=False, name=None)}
    if chosen not in every:
        every[chosen] = scene.value(chosen, similarity)
    return [_link(scene, pair, value, chosen, verdicts.get(pair, "")) for pair, value in every.items()]


def _pictures(
    scene: Scene, neighbor_id: int, reviews: pd.DataFrame | None, chosen: Pair, similarity: np.ndarray
) -> None:
    if not len(scene.pairs):
        chosen_none = "Stage 2 accepted no pair of this image: its switches left none."
        st.info("No pair of this image was given." if scene.run.given() else chosen_none)
    pictures = pair_scene.pictures(scene, neighbor_id)
    figure = figures.joined(
        *pictures,
        scene.boxes[slice(*scene.own(scene.image_id))],
        scene.boxes[slice(*scene.own(neighbor_id))],
        _links(scene, neighbor_id, chosen, similarity, reviews),
        all_boxes=st.session_state.get("pairs_all_boxes", False),
    )
    with st.container(key="pairs frame", gap=None):
        tiles.chart(
            figure,
            (figures.aspect(*pictures), 1),
            key="pairs pictures",
            above=490,
            config={"displayModeBar": False, "scrollZoom": False},
            alt="image and neighbor, boxes of a pair joined by a line",
        )


def _matrix(scene: Scene, neighbor_id: int, chosen: Pair, similarity: np.ndarray, reviews: pd.DataFrame | None) -> None:
    query, keys = scene.own(scene.image_id), scene.own(neighbor_id)
    if not pair_scene.has_embeddings(scene):
        with state.explained(f"matrix of {scene.run.path}"):  # only the pairs themselves are known
            scene.run.require("region_embeddings")
        return
    st.markdown("**All similarities**: click a cell to see its two boxes; numbers mark the pairs.")
    cell = chosen.query_region - query[0], chosen.key_region - keys[0]
    links = _links(scene, neighbor_id, chosen, similarity, reviews)
    with st.container(key="pairs matrix", gap=None):
        st.plotly_chart(
            figures.matrix(similarity, links, chosen=cell),
            key=f"pairs matrix {scene.image_id} {neighbor_id}",
            config={"displayModeBar": False},
            alt="similarity of every box of the image with every box of the neighbor",
        )
        matrix_cells.show(
            "pairs-matrix",
            title="similarity matrix",
            of=f"{scene.run.path.name} {scene.image_id} {neighbor_id}",
            shape=similarity.shape,
            at=cell,
            on_choose=lambda row, column: show_pair(query[0] + row, keys[0] + column),
        )


def _list(scene: Scene, reviews: pd.DataFrame | None) -> None:
    if not len(scene.pairs):
        st.text("none")
        return
    if len(scene.pairs) > SHOWN:
        st.text(f"The {SHOWN} most similar of {len(scene.pairs)}.")
    pairs = scene.pairs.head(SHOWN)
    table = crop_table(scene, pairs)
    table.insert(0, "pair", pairs["number"].to_numpy())
    if reviews is not None:
        verdicts = pair_review.verdicts_of(reviews, scene.image_id)
        table["verdict"] = [
            pair_review.SIGNS[verdicts.get(Pair(*row), "")] for row in pairs[KEY].itertuples(index=False, name=None)
        ]
        if len(noted := reviews[reviews["note"] != ""]):
            table["note"] = pairs[KEY].merge(noted, on=KEY, how="left")["note"].fillna("").to_numpy()
    targets = [(Pair(*row), scene.rank_of(row[1])) for row in pairs[KEY].itertuples(index=False, name=None)]
    key = f"pairs list {scene.image_id} {st.session_state.get('pairs_list', 0)}"
    show_table(table, key=key, alt="pairs of this image with all neighbors", on_select=lambda: _picked(key, targets))
