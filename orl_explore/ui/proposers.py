"""Tab of the page Proposals: the boxes of two proposers on one image, and what each is worth on all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from orl_explore.boxes import BOX, KEPT, iou
from orl_explore.errors import typed
from orl_explore.figures import boxes as figures
from orl_explore.images.labels import category_label
from orl_explore.runs.run import Run
from orl_explore.ui import chooser, state, tiles

if TYPE_CHECKING:
    from orl_explore.judging.proposers import Proposer

MET = 0.5
"""IoU from which on a box has found an object."""


def render(run: Run, image_id: int) -> None:
    """Show the tab."""
    from orl_explore.judging.proposers import judged_proposers  # torch comes with it

    found = {proposer.folder.name: proposer for proposer in judged_proposers(run)}
    if len(found) < 2:
        st.info(
            "No two proposers have been judged on these images yet. This puts the run's boxes beside those of a file:"
        )
        st.code(typed("compare-proposals", run.path, "run", "FILE"), language="sh")
        st.caption(
            "FILE can be a COCO data set or results (MaskCut, CutLER, ...), a folder of Segment Anything's files, a"
            " CSV, another run on the same images, or `opencv` for OpenCV's own search."
        )
        return
    names = list(found)
    first, second = st.columns(2, gap="medium")
    chosen = []
    for place, (column, label) in enumerate(((first, "A"), (second, "B"))):
        with column:
            name = st.selectbox(
                label, names, index=place, format_func=lambda folder: _label(found[folder]), key=f"proposer {label}"
            )
            chosen.append(found[name])
            _picture(run, image_id, chosen[-1], label)
    _figures(*chosen)


def _label(proposer: Proposer) -> str:
    name = "this run's boxes" if proposer.name == "run" else proposer.name.rstrip("/").rpartition("/")[2]
    limits = [
        f"{what} ≥ {proposer.facts['made'][f'min_{what}']:g}"
        for what in ("score", "stability")
        if proposer.facts["made"].get(f"min_{what}") is not None
    ]
    return ", ".join([name, *limits, f"{proposer.facts['count']:,} images"])


def _picture(run: Run, image_id: int, proposer: Proposer, label: str) -> None:
    regions = proposer.regions()
    own = regions.loc[regions["image_id"] == image_id, BOX].to_numpy()
    if not len(own):
        st.caption("This image is not among those that were judged; choose another one, or raise `--limit`.")
        return
    objects = chooser.objects_of(run, image_id)
    truth = objects[BOX].to_numpy()
    best = iou(truth, own).max(axis=1, initial=0) if len(objects) else np.zeros(0)
    boxes, looks, labels = (
        list(own),
        [figures.LOOKS[KEPT]] * len(own),
        [f"{w} x {h} at ({x}, {y})" for x, y, w, h in own],
    )
    for box, category, met in zip(truth, objects["category"], best, strict=True):
        boxes.append(box)
        looks.append(figures.LOOKS["object" if met >= MET else "missed"])
        labels.append(f"object: {category_label(category)}\nbest IoU {met:.2f}")
    picture = state.images(run).load(state.row_of(run, image_id))
    made = figures.image_with_boxes(picture, np.array(boxes).reshape(-1, 4), looks, labels)
    alt = f"the image with the boxes of {label}"
    tiles.chart(made, picture.size, key=f"boxes {label}", above=360, alt=alt, config={"displaylogo": False})


def _figures(first: Proposer, second: Proposer) -> None:
    from orl_explore.judging.proposers import side_by_side_text

    table = side_by_side_text(first, second)
    st.dataframe(table, hide_index=True, placeholder=state.MISSING, alt="the two proposers, judged")
    st.caption(
        "With 95 % intervals over images. Both went through the run's filter; pairs join each image with the nearest"
        " ones among those judged."
        + ("" if len(table) > 1 else " These images have no annotated objects, so nothing else can be judged.")
    )
