"""The page that compares encoders: the pairs that stage 2 would mine with either, and how pure they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.judging import comparison, objects
from orl_explore.judging.comparison import Source
from orl_explore.judging.objects import Boxes, Change
from orl_explore.numbers import similarity_text
from orl_explore.pairs import compare_pairs
from orl_explore.runs.region_embeddings import command_for_all
from orl_explore.runs.run import Run
from orl_explore.ui import compare_images, encoders, pair_rule, state, tiles
from orl_explore.ui.compare_boxes import CELL, crop, why
from orl_explore.ui.compare_objects import changes_table, figures_table, shared
from orl_explore.ui.downloads import csv_button

FEW = 2
"""Boxes of an image, on average, below which a sample says nothing about pairs."""

SHOWN = 4
"""Pairs gained and lost that are shown."""


def show(run: Run, pair: tuple[str, str], sources: tuple[Source, Source]) -> None:
    """Pairs by two encoders: common, gained and lost."""
    boxes, key = shared(run, pair, sources)
    images = len(np.unique(boxes.image_ids))
    if len(boxes.region_ids) < FEW * images:
        st.info(
            f"The encoders have embedded {len(boxes.region_ids):,} boxes of {images:,} images: too few of an image to"
            f" say what stage 2 would pair. `{command_for_all(run, pair)}` embeds all of them."
        )
        return
    titles = (encoders.title(pair[0]), encoders.title(pair[1]))
    if not compare_images.are_embedded(run, sources, titles):
        return
    mined = tuple(
        _mined((*key, number, source.hash()), run, boxes, number, source) for number, source in enumerate(sources)
    )
    _show(run, boxes, mined[0], mined[1])


@st.cache_resource(max_entries=4, show_spinner="Mining pairs ...")
def _mined(key: tuple[Any, ...], _run: Run, _boxes: Boxes, number: int, _source: Source) -> pd.DataFrame:
    stage = _run.stage("stage2").get("config", {})
    near = comparison.neighbors_of(_run, _source)[:, : int(stage.get("neighbors", comparison.K))]
    ids = _run.images().table["image_id"].to_numpy(np.int64)
    neighbors = pd.DataFrame(
        {
            "image_id": np.repeat(ids, near.shape[1]),
            "neighbor_id": ids[near.ravel()],
            "rank": np.tile(np.arange(near.shape[1]), len(ids)),
        }
    )
    vectors = (_boxes.a, _boxes.b)[number]
    return objects.mined_pairs(_boxes, vectors, neighbors, pair_rule.rule_of(_run).pairing())


def _show(run: Run, boxes: Boxes, a: pd.DataFrame, b: pd.DataFrame) -> None:
    gained, lost = compare_pairs(a, b)
    sampled = len(boxes.region_ids) < run.count("regions")
    st.caption(
        "With each encoder's own neighbors of images and its own boxes, by the settings of this run's stage 2; nothing"
        " is written."
        + (" Only boxes of the sample are paired: compare A with B, not with the run's own pairs." if sampled else "")
    )
    for column, name, rows in zip(
        st.columns(4), ("Pairs by A", "Pairs by B", "Gained", "Lost"), (a, b, gained, lost), strict=True
    ):
        column.metric(name, f"{len(rows):,}", border=True)
        if rows is a or rows is b:  # those of the others stand below their pictures
            csv_button(rows, name.lower().replace(" ", "-"), place=column)
    found = purities(boxes, a, b, gained, lost)
    if found:
        st.markdown(state.markdown_table(figures_table(found)))
        st.caption(
            "Of the pairs that join two boxes on objects, the percentage of one category, ± one standard error over"
            " images. In the second row, A stands for the pairs that B has lost and B for those that it has gained."
        )
        csv_button(changes_table(found), "purity-of-pairs", index=True)
    for name, rows in (("Gained", gained), ("Lost", lost)):
        st.markdown(f"**{name}**, the most similar of {len(rows):,}")
        best = rows.sort_values("similarity", ascending=False, kind="stable").drop_duplicates("image_id").head(SHOWN)
        line = st.container(horizontal=True, gap="small")
        regions, values = best[["query_region", "key_region"]].to_numpy(), best["similarity"]
        with state.counting_tiles():
            for (query, key), value in zip(regions.tolist(), values, strict=True):
                with line.container(border=True, width=2 * CELL + 40, gap="xsmall"):
                    sizes = [state.region_of(run, region)[1][2:] for region in (query, key)]
                    places = tiles.places(sizes, f"pairs {name} {query} {key}", columns=2)
                    for place, region in zip(places, (query, key), strict=True):
                        with place:
                            crop(run, region, boxes)
                            if boxes.labels is not None:
                                st.caption(state.plain(str(boxes.labels[boxes.rows_of(np.array([region]))[0]])))
                    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                        st.caption(similarity_text(value))
                        why(run, query, key, f"{name} {query} {key}")
        csv_button(rows, f"pairs-{name.lower()}")


def purities(
    boxes: Boxes, a: pd.DataFrame, b: pd.DataFrame, gained: pd.DataFrame, lost: pd.DataFrame
) -> dict[str, Change]:
    """Purity of all pairs by A and by B, and of those that only A or only B has; none without labels."""
    found = {}
    for name, first, second in (("purity of all pairs", a, b), ("purity of lost and gained pairs", lost, gained)):
        items = objects.purity_items(boxes, first), objects.purity_items(boxes, second)
        if items[0] is not None and items[1] is not None:
            found[name] = objects.change(items[0], items[1])
    return found
