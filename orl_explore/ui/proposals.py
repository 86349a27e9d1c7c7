"""Page: the boxes of an image, what the filter does to them, and whether the objects are among those it keeps."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.boxes import BOX, FALLBACK, KEPT, REASONS, filter_boxes, iou, is_kept
from orl_explore.figures import boxes as figures
from orl_explore.images.labels import category_label
from orl_explore.images.object_masks import from_rle
from orl_explore.numbers import percent_text, points_text
from orl_explore.runs.caps import caps
from orl_explore.runs.masks import has_masks, masks_of_image
from orl_explore.runs.run import Run
from orl_explore.ui import address, chooser, proposers, state, tiles

if TYPE_CHECKING:  # torch comes with it, which takes seconds: first when something is judged
    from orl_explore.judging.diagnostics import Recall

DROPPED = [reason for reason in REASONS if reason not in (KEPT, FALLBACK)]
THRESHOLDS = (0.5, 0.7)
JUDGED = 2000
"""Images at most that the run's own settings are judged on; of more, every so many-th."""
TRIED = 100
"""The same for settings of the reader's, for which every box is filtered anew."""
MEANING = {
    "min_side": "boxes whose shorter side is below this are dropped",
    "max_aspect": "boxes longer than this times their shorter side are dropped",
    "max_iou": "boxes that overlap one already kept by more than this are dropped",
    "max_boxes": "once so many are kept, all later boxes are dropped",
}


def render(run: Run) -> None:
    """Show the page."""
    image_id = chooser.choose(run)
    state.tabs(
        {"Boxes of this run": lambda: _own(run, image_id), "Two proposers": lambda: proposers.render(run, image_id)},
        key="proposals tab",
        parameter="tab",
    )


def _own(run: Run, image_id: int) -> None:
    found = run.read("proposals", image_id=image_id)
    raw = found[BOX].to_numpy()
    objects = chooser.objects_of(run, image_id)
    if said := caps(run.stage("stage2").get("config", {})):
        st.caption(state.plain(" ".join(said)))

    left, right = st.columns([1.5, 1], gap="medium")
    with right:
        own = defaults(run.stage("stage2"))
        settings = _sliders(run, own)
        reasons = filter_boxes(raw, **settings)
        same = (reasons == found["reason"].to_numpy()).all()
        _kept(found, reasons, changed=not same)
        counts = figures.count_reasons(reasons)
        st.plotly_chart(figures.funnel(counts), key="funnel", alt="what each test of the filter left")
    with left:
        _picture(run, image_id, raw, reasons, objects, counts)
    if len(state.images(run).objects):
        _objects(run, objects, raw[is_kept(reasons)], settings if settings != own else None)
    else:
        st.caption("These images have no annotated objects to judge the boxes by.")


def defaults(record: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the filter that a run's stage 2 was made with; the filter's own where it does not say."""
    own = inspect.signature(filter_boxes).parameters
    config = record.get("config", {})
    return {name: config.get(name, own[name].default) for name in ("min_side", "max_aspect", "max_iou", "max_boxes")}


def _sliders(run: Run, start: Mapping[str, Any]) -> dict[str, Any]:
    """The filter's settings as the reader wants them; the run's own at first."""
    # Ranges hang on the run, not the image, so that walking from image to image leaves the sliders where they are.
    ranges: dict[str, tuple[str, Any, Any, Any, str]] = {
        "min_side": ("Least side, pixels", 0, max(200, 2 * round(start["min_side"])), 1, "%d"),
        "max_aspect": ("Greatest aspect", 1.0, max(8.0, 2.0 * start["max_aspect"]), 0.1, "%.1f"),
        "max_iou": ("Greatest IoU", 0.0, 1.0, 0.01, "%.2f"),
        "max_boxes": ("Most boxes", 1, max(200, 2 * start["max_boxes"]), 1, "%d"),
    }
    keys = {name: f"filter {run.path.as_posix()} {name}" for name in ranges}
    chosen = {}
    for column, names in zip(st.columns(2), (("min_side", "max_aspect"), ("max_iou", "max_boxes")), strict=True):
        for name in names:
            label, low, high, step, form = ranges[name]
            kind = type(low)
            st.session_state.setdefault(keys[name], kind(start[name]))
            chosen[name] = column.slider(label, low, high, step=step, format=form, key=keys[name], help=MEANING[name])

    def reset() -> None:
        for name, key in keys.items():
            st.session_state[key] = type(ranges[name][1])(start[name])

    st.button(
        "The run's own settings",
        icon=":material/restart_alt:",
        key="filter reset",
        on_click=reset,
        disabled=all(chosen[name] == type(ranges[name][1])(start[name]) for name in keys),
    )
    return chosen


def _kept(found: pd.DataFrame, reasons: np.ndarray, *, changed: bool) -> None:
    now, before = int(is_kept(reasons).sum()), int(is_kept(found["reason"]).sum())
    text = f"**{now:,} of {len(found):,} boxes are kept**"
    st.markdown(text + (f"; the run kept {before:,}. Nothing is written." if changed else ", as in the run."))


def _picture(
    run: Run, image_id: int, raw: np.ndarray, reasons: np.ndarray, objects: pd.DataFrame, counts: Mapping[str, int]
) -> None:
    place = st.container()  # the picture comes first, what may be drawn on it below
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        shown = st.pills(
            "Also show dropped boxes",
            DROPPED,
            selection_mode="multi",
            format_func=lambda reason: f"{figures.LOOKS[reason].name} ({counts[reason]:,})",
            key="dropped",
            wrap=True,
        )
        truth = bool(len(objects)) and st.toggle("Annotated objects", value=True, key="truth")
        masks = has_masks(run) and st.toggle("Masks", value=True, key="masks", help="of the boxes that are drawn")
    drawn = [*shown, FALLBACK, KEPT]
    boxes, looks, labels = [], [], []
    overlaps = iou(raw, objects[BOX].to_numpy()) if len(objects) else None
    categories = [category_label(name) for name in objects["category"]]
    for reason in drawn:
        for row in np.flatnonzero(reasons == reason):
            x, y, w, h = raw[row]
            label = f"box {row + 1}: {figures.LOOKS[reason].name}\n{w} x {h} at ({x}, {y})"
            if overlaps is not None:
                best = int(overlaps[row].argmax())
                label += f"\nIoU {overlaps[row, best]:.2f} with {categories[best]}"
            boxes.append(raw[row])
            looks.append(figures.LOOKS[reason])
            labels.append(label)
    if truth:
        for box, category in zip(objects[BOX].to_numpy(), categories, strict=True):
            boxes.append(box)
            looks.append(figures.LOOKS["object"])
            labels.append(f"object: {category}")
    marked = marked_box(run, image_id)
    if marked is not None:
        boxes.append(np.array(marked))
        looks.append(figures.LOOKS["marked"])
        labels.append(f"region {address.get('region')}")
    picture = state.images(run).load(state.row_of(run, image_id))
    overlay = None
    if masks:
        of_image = masks_of_image(run, image_id)
        shown_ranks = np.intersect1d(of_image.index, np.flatnonzero(np.isin(reasons, drawn)))
        found = [from_rle(of_image[rank], picture.size) for rank in shown_ranks]
        overlay = figures.mask_overlay(found, picture.size)
    made = figures.image_with_boxes(picture, np.array(boxes).reshape(-1, 4), looks, labels, overlay=overlay)
    with place:
        alt = "the image with its boxes"
        tiles.chart(made, picture.size, key="boxes", above=400, alt=alt, config={"displaylogo": False})


def marked_box(run: Run, image_id: int) -> tuple[int, ...] | None:
    """The region that the address names, if it is one of this image: what a search found, or the object map."""
    wanted = address.get("region")
    if wanted is None:
        return None
    number = state.number(wanted)
    if number is None or not 0 <= number < run.count("regions"):
        state.fall_back(f"This run has no region {wanted[:40]}: none is marked.")
        address.put(region=None)
        return None
    owner, box = state.region_of(run, number)
    return box if owner == image_id else None


def _objects(run: Run, objects: pd.DataFrame, kept: np.ndarray, changed: dict[str, Any] | None) -> None:
    """Whether the objects of the image, and those of all images, have a box; `changed`: settings not the run's."""
    st.subheader("Are the objects among the kept boxes?", anchor=False)
    left, right = st.columns([1.5, 1], gap="medium")
    best = iou(objects[BOX].to_numpy(), kept).max(axis=1, initial=0) if len(objects) else np.zeros(0)
    with left:
        if len(objects):
            found = {f"IoU ≥ {limit}": best >= limit for limit in THRESHOLDS}
            table = pd.DataFrame(
                {"object": [category_label(name) for name in objects["category"]], "best IoU": best, **found}
            )
            st.dataframe(
                table,
                hide_index=True,
                column_config={"best IoU": st.column_config.ProgressColumn(format="%.2f", min_value=0, max_value=1)},
                placeholder=state.MISSING,
                alt="annotated objects, and how well the best kept box meets each",
            )
        else:
            st.caption("This image has no annotated objects.")
    with right:
        st.caption("Share of objects that a kept box meets: in this image, with the settings above")
        for limit, column in zip(THRESHOLDS, st.columns(2), strict=True):
            value = percent_text((best >= limit).mean() if len(objects) else None)
            column.metric(f"IoU ≥ {limit}", value, border=True)
        _all_images(run, changed)


def _all_images(run: Run, changed: dict[str, Any] | None) -> None:
    versions = tuple(state.version(run.require(name)) for name in ("objects", "regions", "proposals"))
    limit, total = (JUDGED if changed is None else TRIED), len(state.images(run))
    stored = _recall(str(run.path), limit, versions)
    made = stored if changed is None else _recall_with(str(run.path), limit, versions, **changed)
    whose = "the settings of the run" if changed is None else "the settings above"
    which = f"In all {total:,} images" if total <= limit else f"In {limit:,} of all {total:,} images, evenly spread"
    against = "" if changed is None else "; below, the change against the settings of the run"
    st.caption(f"{which}, {made.objects:,} objects, with {whose}{against}")
    for threshold, column in zip(THRESHOLDS, st.columns(2), strict=True):
        change = made.at[threshold] - stored.at[threshold]
        column.metric(
            f"IoU ≥ {threshold}",
            percent_text(made.at[threshold]),
            delta=None if changed is None else points_text(change),
            delta_color="off" if not change else "normal",
            border=True,
        )


def _spread(run_path: str, limit: int) -> np.ndarray:
    """Ids of all images, or of so many, evenly spread over the images table."""
    ids = state.images(Run(run_path)).table["image_id"].to_numpy()
    return ids[np.linspace(0, len(ids) - 1, min(limit, len(ids))).round().astype(int)]


def _of(table: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    return table.loc[table["image_id"].isin(ids), ["image_id", *BOX]]


@st.cache_data(max_entries=8, show_spinner="Judging the boxes of all images …")
def _recall(run_path: str, limit: int, versions: object) -> Recall:
    from orl_explore.judging.diagnostics import proposal_recall

    run, ids = Run(run_path), _spread(run_path, limit)
    return proposal_recall(_of(state.images(run).objects, ids), _of(state.table(run, "regions"), ids))


@st.cache_data(max_entries=64, show_spinner="Judging these settings …")
def _recall_with(run_path: str, limit: int, versions: object, **settings: Any) -> Recall:
    from orl_explore.judging.diagnostics import recall_with

    objects = _of(state.images(Run(run_path)).objects, _spread(run_path, limit))
    return recall_with(_raw(run_path, limit, versions), objects, **settings)


@st.cache_resource(max_entries=2, show_spinner=False)
def _raw(run_path: str, limit: int, versions: object) -> pd.DataFrame:
    run, columns = Run(run_path), ["image_id", *BOX]
    parts = [run.read("proposals", image_id=i, columns=columns) for i in _spread(run_path, limit).tolist()]
    return pd.concat(parts, ignore_index=True)
