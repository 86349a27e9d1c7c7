"""What `orl evaluate` prints: the figures of evaluation/summary.json as tables."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from orl_explore.numbers import percent_text

# ---- on the console ------------------------------------------------------------------------------------------------

ENCODER_ROWS: Final = (
    ("linear probe on annotated objects", "object_probe", "%"),
    ("kNN on annotated objects", "object_knn", "%"),
    ("scene mAP", "scene_map", "%"),
    ("feature rank", "feature_rank", ".1f"),
    ("projection std (1 = spread out)", "std", ".2f"),
    ("projection rank", "rank", ".1f"),
    ("loss, last epoch", "loss", ".3f"),
    ("loss by epoch", "loss_per_epoch", "curve"),
    ("epochs", "epochs", "d"),
)
"""Label, key and format of each row of the table of encoders."""

MINING_ROWS: Final = (
    ("neighbors of the same context", "context_agreement", "%", "the neighbor shows the same kind of scene"),
    ("shared categories of neighbors", "category_overlap", "%", "shared / all categories of an image and a neighbor"),
    ("hubness", "hubness", ".2f", "far above 0: a few images are everybody's neighbors"),
    ("near-duplicate images", "near_duplicates", ",d", "pairs of images with a similarity above 0.98"),
    ("proposals", "proposals", ",d", "boxes that selective search found"),
    ("kept boxes", "regions", ",d", "left after the filter by size, aspect and overlap"),
    ("recall at IoU 0.5", "recall_50", "%", "objects that some kept box fits roughly"),
    ("recall at IoU 0.7", "recall_70", "%", "objects that some kept box fits well"),
    ("images whose first box is on an object", "corloc", "%", "CorLoc, boxes in the order in which they were found"),
    ("the same, by support of pairs", "corloc_support", "%", "boxes in the order of what their pairs add up to"),
    ("kept boxes on objects", "object_regions", "%", "the others are unlabeled"),
    ("candidate pairs", "candidate_pairs", ",d", "every box of an image with every box of each neighbor"),
    ("accepted pairs", "pairs", ",d", "the most similar ones"),
    ("pairs of two objects", "object_pairs", "%", "both boxes are on an object"),
    ("pairs of unlabeled boxes", "unlabeled_pairs", "%", "neither box is on an object"),
    ("purity", "purity", "%", "pairs of two objects that are of the same category"),
    ("purity of blind matching", "purity_neighbor_chance", "%", "the same for random boxes of the same neighbors"),
)
"""Label, key, format and meaning of each row of the table of stage 2."""


def summary_tables(summary: dict[str, Any]) -> list[RenderableType]:
    """What to print: the encoders side by side, and what stage 2 mined, with chance beside each figure; and warnings.

    Args:
        summary: what `run` gives.
    """
    names = [name for name in ("random", "pretrained", "stage1", "stage3") if name in summary]
    table = Table(title="What each encoder is worth", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name.replace("stage", "stage "), justify="right")
    table.add_column("chance", justify="right", style="dim")
    for label, key, form in ENCODER_ROWS:
        cells = [_cell(summary[name].get(key), form) for name in names]
        if any(cells):
            table.add_row(label, *cells, _cell(summary["chance"].get(key), form))
    lengths = {summary[name].get("epochs") for name in names} - {None}
    if len(lengths) > 1:
        table.caption = "Not at equal epochs: the stages cannot be compared fairly."
    shown: list[RenderableType] = [table] if names else []
    for name in names:
        if summary[name].get("collapsed"):
            title = name.replace("stage", "stage ")
            shown.append(f"[bold red]{title} has collapsed[/]: lower its base_lr, or raise ema, and train it again.")

    mined = summary.get("stage2", {})
    if mined:
        table = Table(title="What stage 2 mined", title_justify="left")
        table.add_column("")
        table.add_column("figure", justify="right")
        table.add_column("chance", justify="right", style="dim")
        table.add_column("what it means")
        for label, key, form, meaning in MINING_ROWS:
            if key in mined:
                table.add_row(label, _cell(mined[key], form), _cell(mined.get(f"{key}_chance"), form), meaning)
        captions = []
        if by_rank := mined.get("purity_by_rank"):
            parts = [percent_text(one["purity"]) for one in by_rank]
            low, high = mined["purity_interval"]
            captions.append(
                f"Purity by rank, the most similar pairs first: {', '.join(parts)}; of all,"
                f" {percent_text(low)} to {percent_text(high)} (95 % over images)."
            )
        if intervals := mined.get("recall_at_boxes_interval"):
            parts = [
                f"{count}: {percent_text(mined['recall_at_boxes'][count])}"
                f" ({percent_text(low)} to {percent_text(high)})"
                for count, (low, high) in intervals.items()
            ]
            captions.append(f"Objects that one of the first N boxes meets at IoU 0.5, by N: {', '.join(parts)}.")
        if captions:
            table.caption = "\n".join(captions)
        shown.append(table)
    if not summary["counts"]["objects"]:
        shown.append("Without annotations nothing can be judged by labels: give a COCO json as --images for that.")
    return shown


def _cell(value: Any, form: str) -> str:
    if value is None:
        return ""
    if form == "%":
        return percent_text(value)
    return sparkline(value) if form == "curve" else format(value, form)


def sparkline(values: list[float | None], *, width: int = 12) -> str:
    """Draw a curve in one line of text, its range as high as the line."""
    finite = np.array([value for value in values if value is not None])
    if not len(finite):
        return ""
    picked = finite[np.linspace(0, len(finite) - 1, min(width, len(finite))).round().astype(int)]
    height = (picked - picked.min()) / (np.ptp(picked) or 1)  # 0..1
    return "".join("▁▂▃▄▅▆▇█"[level] for level in (height * 7).round().astype(int))
