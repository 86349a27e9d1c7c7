"""COCO's average precision of boxes and masks, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

FIGURES: Final = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
"""AP over IoU 0.5, 0.55 .. 0.95, at 0.5, at 0.75; and of objects with an area below 32^2, up to 96^2, above that."""


def average_precision(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]
) -> dict[str, float | dict[str, float]]:
    """Judge detections, at most 100 an image, as COCO does.

    Args:
        truth: images, categories and annotations with masks as compressed RLE, as in a COCO json; crowds are ignored
            regions.
        detections: of any of these images: image_id, category_id, score, bbox (xywh, pixels), segmentation (RLE).

    Returns:
        `box_` and `mask_` with each of FIGURES, in 0..1 and left out where no object is of that size; and
        `box_ap_by_category` and `mask_ap_by_category`.
    """
    figures: dict[str, float | dict[str, float]] = {}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints a table of its own
        for prefix, kind, field in (("box", "bbox", "bbox"), ("mask", "segm", "segmentation")):
            # Masks without their boxes: else an object's size would be that of its box.
            found = [{name: item[name] for name in ("image_id", "category_id", "score", field)} for item in detections]
            stats, by_category = _evaluate(truth, found, kind)
            for name, value in zip(FIGURES, stats, strict=True):
                if not math.isnan(value):
                    figures[f"{prefix}_{name}"] = value
            figures[f"{prefix}_ap_by_category"] = by_category
    return figures


def _evaluate(truth: Mapping[str, Any], found: list[dict[str, Any]], kind: str) -> tuple[list[float], dict[str, float]]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = {**truth, "annotations": [dict(item) for item in truth["annotations"]]}
    coco.createIndex()
    names = {category["id"]: category["name"] for category in truth["categories"]}
    present = {item["category_id"] for item in truth["annotations"] if not item["iscrowd"]}
    if not found:  # pycocotools cannot load an empty list
        return [0.0] * len(FIGURES), {names[number]: 0.0 for number in sorted(present)}
    evaluation = COCOeval(coco, coco.loadRes(found), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats = [float(value) if value >= 0 else math.nan for value in evaluation.stats[: len(FIGURES)]]
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, category): all sizes, 100 detections
    of_category = zip(evaluation.params.catIds, np.moveaxis(precision, 2, 0), strict=True)
    return stats, {names[number]: float(values.mean()) for number, values in of_category if number in present}
