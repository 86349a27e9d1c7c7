"""Boxes from other tools: COCO results, FiftyOne samples, CSV tables. They become proposals, best score first.

What is wrong in them is refused; `masked` has the formats of which what cannot be used is counted.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.images.findings import Findings, Tally
from orl_explore.images.image_set import ImageSet
from orl_explore.images.object_masks import to_rle
from orl_explore.interchange.jsonstream import stream_json
from orl_explore.interchange.names import ImageNames
from orl_explore.interchange.tables import Ragged

EDGE = 1.0
"""Pixels that a box may reach beyond its image, as rounding does; it is clipped."""


class Found(NamedTuple):
    """One box as another tool gives it."""

    entry: str
    """Where it stands, for messages."""
    row: int
    """Of its image."""
    box: tuple[float, float, float, float]
    """xywh, pixels."""
    score: float | None = None
    """None where there is none."""
    mask: str | None = None
    """`counts` of its mask as compressed RLE, at the image's size."""


@dataclass
class Ledger:
    """What became of the boxes of a file, and which of them are wanted."""

    min_score: float | None = None
    """Boxes below this are left out, and so are those without a score."""
    min_stability: float | None = None
    """The same for the `stability_score` of Segment Anything."""
    left_out: Tally = field(default_factory=Tally)
    changed: Tally = field(default_factory=Tally)
    """Used, but not as they stand."""

    def findings(self, used: int) -> Findings:
        """What there is to say when so many boxes were used."""
        left_out, changed = self.left_out.result(), self.changed.result()
        return Findings(used + sum(one.count for one in left_out), used, left_out, changed)


Reader = Callable[[Path, ImageSet, ImageNames, Ledger], Iterator[Found]]
"""File, images of the run, what finds them by name, and what counts -> the file's boxes."""


class Collected(NamedTuple):
    """Boxes by image, best score first, and what belongs to them."""

    boxes: Ragged
    masks: Masks
    findings: Findings


class Masks:
    """Texts of masks in the order of the boxes that they belong to, in a file.

    Args:
        file: where the texts are.
        spans: int64 (M, 2), first byte and length of each box's mask; length 0 where it has none.
        starts: int64 (G + 1,), as in `Ragged`.
    """

    def __init__(self, file: Path, spans: NDArray[np.int64], starts: NDArray[np.int64]):
        self._file, self._spans, self._starts = file, spans, starts

    def __len__(self) -> int:
        return int((self._spans[:, 1] > 0).sum())

    def groups(self) -> Iterator[tuple[int, NDArray[np.int64], list[str]]]:
        """Of each image that has masks: its row, the ranks of the boxes that have one, and these."""
        with self._file.open("rb") as file:
            for image, (first, last) in enumerate(itertools.pairwise(self._starts.tolist())):
                ranks = np.flatnonzero(self._spans[first:last, 1])
                texts = []
                for at, length in self._spans[first:last][ranks].tolist():
                    file.seek(at)
                    texts.append(file.read(length).decode("ascii"))
                if texts:
                    yield image, ranks, texts


def read_coco_results(path: Path, images: ImageSet, names: ImageNames, ledger: Ledger) -> Iterator[Found]:
    """Read COCO results: a list of objects with `image_id`, `bbox` and, as a rule, `score`; perhaps `segmentation`.

    Raises:
        OrlError: names the entry that lacks a key or is of an unknown image.
    """
    from pycocotools import mask

    row_of = dict(zip(images.table["image_id"].tolist(), range(len(images)), strict=True))
    sizes = images.table[["width", "height"]].to_numpy()
    for _, index, item in stream_json(path, ("",)):
        entry = f"{path}: [{index}]"
        if index is None or not isinstance(item, dict) or "image_id" not in item or "bbox" not in item:
            raise OrlError(f"{entry} lacks image_id or bbox: COCO results are a list of objects with both")
        row = row_of.get(item["image_id"]) if type(item["image_id"]) is int else None
        if row is None:
            raise OrlError(f"{entry} is of image {item['image_id']!r}, which is not in the run")
        score = None if item.get("score") is None else _number(item["score"], f"{entry}.score")
        counts = None
        if item.get("segmentation"):
            counts = to_rle(item["segmentation"], tuple(sizes[row].tolist()), mask)
            if counts is None:
                ledger.changed.add("with a mask that is not understood: the box alone is used", entry)
        yield Found(entry, row, _box(item["bbox"], entry), score, counts)


def read_fiftyone(path: Path, images: ImageSet, names: ImageNames, ledger: Ledger) -> Iterator[Found]:
    """Read the samples of a FiftyOne data set: the first field of each that holds detections, relative boxes in [0, 1].

    Raises:
        OrlError: names the sample of an unknown image, or the detection without a box.
    """
    sizes = images.table[["width", "height"]].to_numpy()
    for where, index, sample in stream_json(path, ("", "samples")):
        if where == "samples" and index is None:
            raise OrlError(f"{path}: samples is no list: is it the samples.json of a FiftyOne data set?")
        if where != "samples":
            continue
        entry = f"{path}: samples[{index}]"
        if not isinstance(sample, dict) or not isinstance(sample.get("filepath"), str):
            raise OrlError(f"{entry} has no filepath: is it the samples.json of a FiftyOne data set?")
        row = names.row(sample["filepath"])
        if row is None:
            raise OrlError(
                f"{entry} is {sample['filepath']!r}, which is not in the run{names.nearest(sample['filepath'])}"
            )
        width, height = sizes[row].tolist()
        fields = [value.get("detections") for value in sample.values() if isinstance(value, dict)]
        detections = next((value for value in fields if isinstance(value, list)), [])
        for place, detection in enumerate(detections):
            of = f"{entry}: detection {place}"
            x, y, w, h = _box(detection.get("bounding_box") if isinstance(detection, dict) else None, of)
            score = detection.get("confidence")
            pixels = (x * width, y * height, w * width, h * height)
            yield Found(of, row, pixels, None if score is None else _number(score, f"{of}.confidence"))


def read_csv(path: Path, images: ImageSet, names: ImageNames, ledger: Ledger) -> Iterator[Found]:
    """Read a CSV table with a header: `image_id` or `file_name`, and `x`, `y`, `w`, `h`; `score` may follow.

    Raises:
        OrlError: names the column that is missing, or the line of an unknown image or without numbers.
    """
    row_of = {str(image_id): row for row, image_id in enumerate(images.table["image_id"].tolist())}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            columns = set(lines.fieldnames or ())
            if not {"x", "y", "w", "h"} <= columns or not {"image_id", "file_name"} & columns:
                raise OrlError(f"{path} needs a first line with the columns file_name or image_id, and x, y, w, h")
            if len(columns) < len(lines.fieldnames or ()):
                raise OrlError(f"{path} has a column twice in its first line: write it again")
            for line in lines:
                entry = f"{path}: line {lines.line_num}"
                by_id = "image_id" in columns
                name = line["image_id" if by_id else "file_name"] or ""
                row = row_of.get(name.strip()) if by_id else names.row(name.strip())
                if row is None:
                    nearest = "" if by_id else names.nearest(name.strip())
                    raise OrlError(f"{entry} is of image {name!r}, which is not in the run{nearest}")
                if None in line:
                    raise OrlError(f"{entry} has more values than the first line has columns")
                box = _box([_parsed(line[column]) for column in ("x", "y", "w", "h")], entry)
                score = line.get("score") or None
                yield Found(entry, row, box, score and _number(_parsed(score), f"{entry}: score"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OrlError(f"{path} cannot be read as CSV ({error}): write it again, as UTF-8") from None


def collect(found: Iterator[Found], images: ImageSet, scratch: Path, ledger: Ledger) -> Collected:
    """Group boxes by image, best score first (equal ones in the order found, those without a score as if it were 0).

    Corners are rounded to the nearest pixel; a box that rounds to nothing is one pixel wide or high.

    Args:
        found: what a reader gives.
        images: the run's.
        scratch: a folder for what does not stay in memory.
        ledger: what the reader counted in; its `min_score` is asked for here.

    Raises:
        OrlError: names a box that is empty or more than a pixel outside its image.
    """
    sizes = images.table[["width", "height"]].to_numpy()
    rows: list[NDArray[Any]] = []
    block: list[tuple[int, int, int, int, int, float, int, int]] = []
    file, written = scratch / "masks", 0
    texts = file.open("wb")
    for entry, row, (x, y, w, h), score, mask in found:
        if ledger.min_score is not None and (score is None or score < ledger.min_score):
            reason = "without a score" if score is None else f"with a score below {ledger.min_score:g}"
            ledger.left_out.add(reason, entry)
            continue
        width, height = sizes[row].tolist()
        inside = x >= -EDGE and y >= -EDGE and x + w <= width + EDGE and y + h <= height + EDGE
        if not (inside and w > 0 and h > 0):
            box = [round(value, 2) for value in (x, y, w, h)]
            raise OrlError(f"{entry} has the box {box}, empty or outside its image of {width} x {height} px")
        left, top = min(max(round(x), 0), width - 1), min(max(round(y), 0), height - 1)
        right, bottom = min(max(round(x + w), left + 1), width), min(max(round(y + h), top + 1), height)
        length = texts.write(mask.encode("ascii")) if mask else 0
        block.append((row, left, top, right - left, bottom - top, score or 0.0, written, length))
        written += length
        if len(block) == 100_000:
            rows.append(np.array(block))
            block = []
    texts.close()
    table = np.concatenate([np.empty((0, 8)), *rows, np.array(block).reshape(-1, 8)])
    table = table[np.lexsort((-table[:, 5], table[:, 0]))]  # stable: the order found decides last
    bounds = np.searchsorted(table[:, 0], np.arange(len(images) + 1))
    boxes = Ragged(scratch / "proposals", 4)
    for first, last in itertools.pairwise(bounds.tolist()):
        boxes.add(table[first:last, 1:5].astype(np.int32))
    masks = Masks(file, table[:, 6:].astype(np.int64), bounds)
    return Collected(boxes.finish(), masks, ledger.findings(len(table)))


def _box(value: Any, entry: str) -> tuple[float, float, float, float]:
    if not isinstance(value, list) or len(value) != 4:
        raise OrlError(f"{entry} has no box of four numbers")
    x, y, w, h = (_number(number, f"{entry}: box") for number in value)
    return x, y, w, h


def _parsed(text: str | None) -> float | str | None:
    """The number that a text spells, or else the text."""
    try:
        return float(text or "")
    except ValueError:
        return text


def _number(value: Any, entry: str) -> float:
    if type(value) not in (int, float) or not -1e300 < value < 1e300:
        raise OrlError(f"{entry} is {value!r}, which is no number")
    return float(value)
