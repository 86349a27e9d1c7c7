"""Tasks of Label Studio's JSON and JSON-MIN: regions in percent of the picture, and what is said of it in words."""

from __future__ import annotations

import contextlib
import itertools
import math
import urllib.parse
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from orl_explore.images.annotations import CANCELED, PAGE, POINTS, PREDICTED, SECOND
from orl_explore.images.file_names import url_parts
from orl_explore.images.image_source import NO_NUMBERS, Annotation, Entry, whole
from orl_explore.images.kinds import SUFFIXES
from orl_explore.images.label_columns import unread_keys
from orl_explore.images.packed_masks import BoxMask, brush_mask

BOOKKEEPING: Final = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time")
"""Fields of a JSON-MIN task that say nothing about what it shows."""
TASK_KEYS: Final = frozenset(
    (
        *("id", "data", "annotations", "completions", "predictions", "file_upload", "project", "inner_id", "overlap"),
        *("created_at", "updated_at", "updated_by", "completed_at", "last_comment_updated_at", "comment_authors"),
        *("total_annotations", "cancelled_annotations", "total_predictions", "comment_count", "is_labeled"),
        *("unresolved_comment_count", "annotators", "reviewers", "allow_skip", "annotations_ids"),
    )
)
RESULT_KEYS: Final = frozenset(
    (
        *("id", "value", "type", "from_name", "to_name", "source", "origin", "original_width", "original_height"),
        *("hidden", "locked", "selected", "readonly", "item_index"),
    )
)
REGION_KEYS: Final = frozenset(
    (
        *("x", "y", "width", "height", "rotation", "radiusX", "radiusY", "points", "closed", "vertices"),
        *("rle", "format", "original_width", "original_height"),
    )
)
"""Fields that are read, or say nothing about what a picture shows."""


def is_task(task: Any) -> bool:
    """Whether it is a task of Label Studio."""
    if not isinstance(task, dict):
        return False
    return isinstance(task.get("data"), dict) or (isinstance(task.get("image"), str) and "bbox" not in task)


def task_entry(path: Path, number: int, task: dict[str, Any]) -> Entry:
    """A picture with its regions and answers; `number`: of the task in the file."""
    data = task["data"] if isinstance(task.get("data"), dict) else task
    texts = [value for value in data.values() if isinstance(value, str)]
    pages = [one for value in data.values() if isinstance(value, list) for one in value if isinstance(one, str)]
    likely = (filter(_is_picture, texts), (text for text in texts if "/" in text), filter(_is_picture, pages), texts)
    address = next(itertools.chain(*likely), "")
    query = urllib.parse.parse_qs(url_parts(address).query)
    entry = Entry(query["d"][0] if "d" in query else address.partition("?")[0])
    said = {key: value for key, value in data.items() if value != address and key not in BOOKKEEPING}
    if data is task:  # JSON-MIN: lists and objects are what people have drawn and answered
        said = {key: value for key, value in said.items() if not isinstance(value, list | dict)}
    else:
        entry.unread += unread_keys([task], TASK_KEYS)
    entry.add_labels(said)
    for annotation, reason in _annotators(task):
        results = annotation.get("result")
        _results(entry, results if isinstance(results, list) else [], f"task {number} of {path.name}", reason)
    if data is task:
        for key, value in task.items():
            if isinstance(value, list) and any(not isinstance(one, dict) for one in value) and key not in BOOKKEEPING:
                entry.unread.append(key)
            for place, region in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(region, dict):
                    _region(entry, region, key, f"{key}[{place}] of task {number} of {path.name}", None)
    return entry


def _results(entry: Entry, results: list[Any], task: str, reason: str | None) -> None:
    """Take what one annotator has drawn and answered; several results of one id are about one region."""
    named = [result.get("id") for result in results if isinstance(result, dict) and _labels(result.get("value"))]
    for place, result in enumerate(results):
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict):
            kind = result.get("type") if isinstance(result, dict) else None
            entry.unread.append(str(kind or "results without a value"))
            continue
        name = str(result.get("from_name") or "label")
        if reason is None:
            entry.unread += [f"{key} of a region" for key in unread_keys([result], RESULT_KEYS)]
        if result.get("id") is not None and result["id"] in named and not _labels(value):
            if _answer(value) is not None:
                entry.unread.append(f"{name} of a region")
            continue
        facts = {**value, **{key: result.get(key) for key in ("original_width", "original_height")}}
        page = whole(result.get("item_index"))  # of the task's pictures, of which the first is read
        _region(entry, facts, name, f"result {place} of {task}", reason or (PAGE if page else None))


def _labels(value: Any) -> Any:
    """The labels of a region; None where it has none."""
    fields = value.items() if isinstance(value, dict) else ()
    return next((found for key, found in fields if key.endswith("labels") and found), None)


def _answer(value: dict[str, Any]) -> Any:
    """What is said in words or numbers; None: nothing."""
    for key in ("choices", "text", "taxonomy", "rating", "number", "datetime"):
        found = value.get(key)
        if isinstance(found, str | int | float):
            return found
        if isinstance(found, list) and found:
            return ", ".join("/".join(map(str, one)) if isinstance(one, list) else str(one) for one in found)
    return None


def _annotators(task: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str | None]]:
    """What persons and models have drawn on a picture, and why it is not read; the first person's is."""
    reason = None
    annotations = task.get("annotations") or task.get("completions")
    for annotation in annotations if isinstance(annotations, list) else ():
        if isinstance(annotation, dict) and annotation.get("was_cancelled"):
            yield annotation, CANCELED
        elif isinstance(annotation, dict):
            yield annotation, reason
            reason = SECOND
    predictions = task.get("predictions")
    for prediction in predictions if isinstance(predictions, list) else ():
        if isinstance(prediction, dict):
            yield prediction, PREDICTED


def _is_picture(text: str) -> bool:
    return url_parts(text).path.lower().endswith(SUFFIXES) or "?d=" in text


def _region(entry: Entry, value: dict[str, Any], name: str, where: str, reason: str | None) -> None:
    """Add one region, or the picture's own label, to an entry; `reason`: why it is not read."""
    if not {"x", "points", "rle", "vertices"} & value.keys():  # about the whole picture
        answer = _answer(value)
        if reason is not None or answer is None:
            entry.unread.append(f"{name} {reason}" if reason else name)
        elif name in entry.labels:
            entry.labels[name] = f"{entry.labels[name]}, {answer}"
        else:
            entry.labels[name] = answer
        return
    sides = whole(value.get("original_width")), whole(value.get("original_height"))
    if reason != PAGE and sides[0] and sides[1] and min(sides[0], sides[1]) > 0:
        entry.size = sides[0], sides[1]
    labels = _labels(value)
    if isinstance(labels, list):
        entry.unread += ["second label of a region"] * (len(labels) - 1 if reason is None else 0)
        labels = labels[0]
    item = Annotation({"category_id": labels}, where, reason or _without_box(value))
    with contextlib.suppress(*NO_NUMBERS):  # without a box, it will be counted as such
        item.update(_shape(value, entry.size or (1, 1)))
    entry.items.append(item)
    if item.left_out is None:
        facts = {key: one for key, one in value.items() if not key.endswith("labels")}
        entry.unread += [f"{key} of a region" for key in unread_keys([facts], REGION_KEYS)]


def _without_box(value: dict[str, Any]) -> str | None:
    """Why a region of this kind has no box here; None: it should have one."""
    point = "x" in value and not {"height", "radiusX", "points"} & value.keys()
    return POINTS if point or "vertices" in value else None


def _shape(value: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Box, polygon or mask of a region, in percent."""
    if value.get("rle") or not {"x", "points"} & value.keys():
        return {"segmentation": BoxMask([0, 0, 100, 100], partial(brush_mask, value.get("rle") or [], *size))}
    if isinstance(value.get("points"), list):
        return {"segmentation": [[float(number) for pair in value["points"] for number in pair]]}
    if "radiusX" in value:
        in_percent = [float(value[key]) for key in ("x", "y", "radiusX", "radiusY")]
        in_pixels = [one * side for one, side in zip(in_percent, size * 2, strict=True)]
        box = ellipse_box(in_pixels, math.radians(float(value.get("rotation") or 0)))
        return {"bbox": [one / side for one, side in zip(box, size * 2, strict=True)]}
    x, y, w, h = (float(value[key]) for key in ("x", "y", "width", "height"))
    if not (angle := float(value.get("rotation") or 0)):
        return {"bbox": [x, y, w, h]}
    corners = [(0.0, 0.0), (w, 0.0), (w, h), (0.0, h)]
    turned = rotated([(a * size[0], b * size[1]) for a, b in corners], angle)  # about the first corner, in pixels
    return {"segmentation": [[number for a, b in turned for number in (x + a / size[0], y + b / size[1])]]}


def rotated(points: Iterable[tuple[float, float]], degrees: float) -> list[tuple[float, float]]:
    """Points turned clockwise about the origin, y pointing down."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in points]


def ellipse_box(center_and_axes: Iterable[float], radians: float) -> list[float]:
    """The xywh around an ellipse, from its center, its half axes, and the angle by which it is turned about it."""
    x, y, a, b = center_and_axes
    cos, sin = math.cos(radians), math.sin(radians)
    half_width, half_height = math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)
    return [x - half_width, y - half_height, 2 * half_width, 2 * half_height]
