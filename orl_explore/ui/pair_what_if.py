"""The page of pairs: what stage 2 would have paired with other settings."""

from __future__ import annotations

import math

import pandas as pd
import streamlit as st

from orl_explore.errors import OrlError
from orl_explore.figures import pairs as figures
from orl_explore.judging.diagnostics import same_category
from orl_explore.judging.verdicts import Rule
from orl_explore.numbers import percent_text, points_text
from orl_explore.pairs import compare_pairs, pair_image
from orl_explore.ui import pair_rule, tiles
from orl_explore.ui.pair_scene import SHOWN, Scene, categories_of, crop_table, has_embeddings, pictures, show_table


def show(scene: Scene, neighbor_id: int) -> None:
    """Controls, and what they change in the pairs of the image; `neighbor_id` is the neighbor that the page shows."""
    if not has_embeddings(scene):
        st.caption("Other settings cannot be tried without the embeddings of the boxes.")
        return
    other = _pair_again(scene)
    gained, lost = compare_pairs(scene.pairs, other)
    gained = gained.sort_values("similarity", ascending=False, kind="stable")
    _tiles(scene, other, gained, lost)
    if not len(gained) and not len(lost):
        st.caption("These settings give the stored pairs.")
        return
    _drawn(scene, neighbor_id, other, gained, lost)
    for title, rows in (("Gained", gained), ("Lost", lost)):
        if len(rows):
            some = f", the {SHOWN} most similar" if len(rows) > SHOWN else ""
            table = st.expander(f"{title}: {len(rows)} pairs{some}", key=f"what if {title} open", on_change="rerun")
            if table.open:
                with table:
                    show_table(
                        crop_table(scene, rows.head(SHOWN)), key=f"what if {title}", alt=f"pairs {title.lower()}"
                    )


def _pair_again(scene: Scene) -> pd.DataFrame:
    """Pairs of the image with the settings that the reader chooses, worked out from the stored embeddings."""
    most = max(len(scene.neighbors), 1)
    rule = pair_rule.rule_in_address(scene.run, most)
    stored = pair_rule.rule_of(scene.run)
    # The address has the last word, so that a link shows what it says; the controls write to it.
    st.session_state["what if K"] = min(rule.neighbors or most, most)
    st.session_state["what if ratio"] = min(max(round(rule.ratio, 2), 0.01), 1.0)
    st.session_state["what if least"] = -1.0 if rule.min_similarity is None else round(rule.min_similarity, 2)
    st.session_state["what if mutual"], st.session_state["what if one"] = rule.mutual, rule.one_to_one

    def changed() -> None:
        k, least = st.session_state["what if K"], st.session_state["what if least"]
        pair_rule.to_address(
            scene.run,
            Rule(
                ratio=st.session_state["what if ratio"],
                mutual=st.session_state["what if mutual"],
                one_to_one=st.session_state["what if one"],
                min_similarity=None if least <= -1 else least,
                neighbors=None if k >= most else k,
            ),
        )

    columns = st.columns(5, vertical_alignment="bottom")
    if most > 1:
        columns[0].slider("Neighbors K", 1, most, key="what if K", on_change=changed)
    columns[1].slider("Pairs per box", 0.01, 1.0, step=0.01, key="what if ratio", on_change=changed)
    columns[2].slider("Similarity at least", -1.0, 1.0, step=0.01, key="what if least", on_change=changed)
    columns[3].toggle("Mutual best", key="what if mutual", on_change=changed)
    columns[4].toggle("One to one", key="what if one", on_change=changed)
    if rule != stored:
        st.button(
            "The settings of the run",
            icon=":material/undo:",
            key="what if stored",
            on_click=pair_rule.to_address,
            args=(scene.run, stored),
        )
    try:
        return pair_image(
            scene.image_id,
            scene.neighbors.head(rule.neighbors or most),
            scene.slices,
            scene.run.read_array("region_embeddings"),
            **rule.pairing(),
        )
    except ValueError as error:
        raise OrlError(f"the region embeddings of {scene.run.path} cannot be compared: {error}") from None


def _tiles(scene: Scene, other: pd.DataFrame, gained: pd.DataFrame, lost: pd.DataFrame) -> None:
    tiles = st.columns(4, vertical_alignment="top")
    tiles[0].metric("Pairs", len(other), delta=(len(other) - len(scene.pairs)) or None, delta_color="off", border=True)
    tiles[1].metric("Gained", len(gained), border=True)
    tiles[2].metric("Lost", len(lost), border=True)
    categories = categories_of(scene, [scene.image_id, *scene.neighbors["neighbor_id"].tolist()])
    purity = stored = math.nan
    if categories is not None:
        purity, stored = same_category(other, categories), same_category(scene.pairs, categories)
    tiles[3].metric(
        "Of one category",
        percent_text(purity),
        delta=None if math.isnan(purity - stored) or purity == stored else points_text(purity - stored),
        help="Of the pairs that join two annotated objects, the share of one category; the stored pairs: "
        + ("no labels" if math.isnan(stored) else percent_text(stored)),
        border=True,
    )


def _drawn(scene: Scene, neighbor_id: int, other: pd.DataFrame, gained: pd.DataFrame, lost: pd.DataFrame) -> None:
    """Draw what changes with one neighbor: the one that the page shows, unless only others change."""
    changes = pd.concat([gained, lost])["neighbor_id"].value_counts()
    options = [number for number in scene.neighbors["neighbor_id"].tolist() if number in changes.index]
    counts = {name: rows["neighbor_id"].value_counts() for name, rows in (("gained", gained), ("lost", lost))}

    def title(number: int) -> str:
        words = [f"{count.get(number, 0)} {name}" for name, count in counts.items()]
        return f"neighbor {scene.rank_of(number)}: {', '.join(words)}"

    shown = st.selectbox(
        "Changes with",
        options,
        index=options.index(neighbor_id) if neighbor_id in options else 0,
        format_func=title,
        key=f"what if neighbor {scene.image_id} {neighbor_id} {len(options)}",
        width=320,
    )
    kept = other.merge(scene.pairs[["query_region", "key_region"]], on=["query_region", "key_region"])
    first, key_first = scene.own(scene.image_id)[0], scene.own(shown)[0]
    links = [
        figures.Link(None, query - first, key - key_first, similarity, change=name)
        for name, rows in (("kept", kept), ("lost", lost), ("gained", gained))
        for query, key, similarity in rows.loc[
            rows["neighbor_id"] == shown, ["query_region", "key_region", "similarity"]
        ].itertuples(index=False, name=None)
    ]
    own, other_boxes = (scene.boxes[slice(*scene.own(number))] for number in (scene.image_id, shown))
    drawn = pictures(scene, shown)
    tiles.chart(
        figures.joined(*drawn, own, other_boxes, links),
        (figures.aspect(*drawn), 1),
        key="what if pictures",
        above=300,
        config={"displayModeBar": False, "scrollZoom": False},
        alt=f"{title(shown)}, drawn on the two images",
    )
    st.caption(":green[**Gained**: solid lines]; :orange[**lost**: dashed lines]; :gray[thin gray lines: kept].")
