"""COCO's average precision of boxes and masks, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from orl_explore.judging.intervals import Detected

FIGURES: Final = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
"""AP over IoU 0.5, 0.55 .. 0.95, at 0.5, at 0.75; and of objects with an area below 32^2, up to 96^2, above that."""


def average_precision(truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Judge detections, at most 100 an image, as COCO does.

    Args:
        truth: images, categories and annotations with masks as compressed RLE, as in a COCO json; crowds are ignored
            regions.
        detections: of any of these images: image_id, category_id, score, bbox (xywh, pixels), segmentation (RLE).

    Returns:
        `box_` and `mask_` with each of FIGURES, in 0..1 and left out where no object is of that size; and
        `box_ap_by_category` and `mask_ap_by_category`. Beside them `items`: what of `box_ap` and `mask_ap` each image
        has, for their intervals.
    """
    figures: dict[str, Any] = {"items": {}}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints a table of its own
        for prefix, kind, field in (("box", "bbox", "bbox"), ("mask", "segm", "segmentation")):
            # Masks without their boxes: else an object's size would be that of its box.
            found = [{name: item[name] for name in ("image_id", "category_id", "score", field)} for item in detections]
            stats, by_category, items = _evaluate(truth, found, kind)
            for name, value in zip(FIGURES, stats, strict=True):
                if not math.isnan(value):
                    figures[f"{prefix}_{name}"] = value
            figures[f"{prefix}_ap_by_category"] = by_category
            figures["items"][f"{prefix}_ap"] = items
    return figures


def _evaluate(
    truth: Mapping[str, Any], found: list[dict[str, Any]], kind: str
) -> tuple[list[float], dict[str, float], Detected]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = {**truth, "annotations": [dict(item) for item in truth["annotations"]]}
    coco.createIndex()
    names = {category["id"]: category["name"] for category in truth["categories"]}
    present = {item["category_id"] for item in truth["annotations"] if not item["iscrowd"]}
    if not found:  # pycocotools cannot load an empty list
        return [0.0] * len(FIGURES), {names[number]: 0.0 for number in sorted(present)}, _items(truth, [], 1)
    evaluation = COCOeval(coco, coco.loadRes(found), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats = [float(value) if value >= 0 else math.nan for value in evaluation.stats[: len(FIGURES)]]
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, category): all sizes, 100 detections
    of_category = zip(evaluation.params.catIds, np.moveaxis(precision, 2, 0), strict=True)
    by_category = {names[number]: float(values.mean()) for number, values in of_category if number in present}
    of_all_sizes = [each for each in evaluation.evalImgs if each and each["aRng"] == evaluation.params.areaRng[0]]
    return stats, by_category, _items(truth, of_all_sizes, len(evaluation.params.iouThrs))


def _items(truth: Mapping[str, Any], matched: Sequence[Mapping[str, Any]], thresholds: int) -> Detected:
    """Detections as pycocotools matched them, an image and a category after the other, and the objects there are."""
    row_of = {image["id"]: row for row, image in enumerate(truth["images"])}
    counts = Counter(
        (row_of[item["image_id"]], item["category_id"]) for item in truth["annotations"] if not item["iscrowd"]
    )
    bits = (1 << np.arange(thresholds, dtype=np.uint16))[:, None]  # (T, 1)
    columns: list[list[Any]] = [[], [], [], [], []]
    for each in sorted(matched, key=lambda each: row_of[each["image_id"]]):  # as pycocotools joins equal scores
        right = np.asarray(each["dtMatches"], bool).reshape(thresholds, -1)  # (T, n)
        used = ~np.asarray(each["dtIgnore"], bool).reshape(thresholds, -1)
        count = right.shape[1]
        of_each = (
            np.full(count, row_of[each["image_id"]]),
            np.full(count, each["category_id"]),
            np.asarray(each["dtScores"], np.float64),
            ((right & used) * bits).sum(axis=0),
            ((~right & used) * bits).sum(axis=0),
        )
        for column, values in zip(columns, of_each, strict=True):
            column.append(values)
    kinds = (np.int32, np.int32, np.float64, np.uint16, np.uint16)
    joined = [np.concatenate([[], *column]).astype(kind) for column, kind in zip(columns, kinds, strict=True)]
    objects = np.array([[*key, count] for key, count in counts.items()], np.int32).reshape(-1, 3)
    image, category, score, right_bits, wrong_bits = joined
    object_image, object_category, count_of = np.ascontiguousarray(objects.T)
    return Detected(
        len(row_of),
        image,
        category,
        score,
        right_bits,
        wrong_bits,
        object_image,
        object_category,
        count_of,
        thresholds,
    )
