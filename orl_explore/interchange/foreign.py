"""Boxes from other tools: COCO results, FiftyOne samples, CSV tables. They become proposals, best score first.

Every box is used or counted by reason; `masked` has the formats with masks.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.images.annotations import BORNE, clipped_box
from orl_explore.images.findings import Findings, Tally
from orl_explore.images.image_set import ImageSet
from orl_explore.images.object_masks import to_rle
from orl_explore.interchange.jsonstream import stream_json
from orl_explore.interchange.names import ImageNames
from orl_explore.interchange.tables import Ragged

ELSEWHERE: Final = "of images that are not in the run"
CLIPPED: Final = "with a box that reaches over the border: it is clipped"
AMBIGUOUS: Final = "whose image_id stands for several images"


class Found(NamedTuple):
    """One box as another tool gives it."""

    entry: str
    """Where it stands, for messages."""
    row: int
    """Of its image."""
    box: Any
    """xywh, pixels; it may be anything that is no box."""
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
    label_field: str | None = None
    """The field of a FiftyOne data set that holds the boxes; None: there is one alone."""
    strict: bool = False
    """Refuse a file with a box that cannot be used as it stands."""
    left_out: Tally = field(default_factory=Tally)
    changed: Tally = field(default_factory=Tally)
    """Used, but not as they stand."""
    unwanted: set[str] = field(default_factory=set)
    """Reasons that were asked for."""

    def leave_out(self, what: str, entry: str) -> None:
        """Count a box that cannot be used; or, if `strict`, refuse it.

        Raises:
            OrlError: the latter.
        """
        self._refuse(what, entry)
        self.left_out.add(what, entry)

    def alter(self, what: str, entry: str) -> None:
        """Count a box that is used, but not as it stands; or, if `strict`, refuse it.

        Raises:
            OrlError: the latter.
        """
        self._refuse(what, entry)
        self.changed.add(what, entry)

    def do_without(self, what: str, entry: str) -> None:
        """Count a box that is not wanted."""
        self.unwanted.add(what)
        self.left_out.add(what, entry)

    def _refuse(self, what: str, entry: str) -> None:
        if self.strict:
            raise OrlError(
                f"{entry} is one {what.partition(':')[0]}: mend it, or leave --strict out to have it counted"
            )

    def findings(self, used: int) -> Findings:
        """What there is to say when so many boxes were used.

        Raises:
            OrlError: most of those that were wanted, and are of the run's images, cannot be used.
        """
        left_out, changed = self.left_out.result(), self.changed.result()
        bad = [one for one in left_out if one.what not in {*BORNE, ELSEWHERE, *self.unwanted}]
        count = sum(one.count for one in bad)
        if count > used:
            reasons = "; ".join(f"{one.count:,} {one.what}, such as {one.example}" for one in bad)
            raise OrlError(f"{count:,} of {count + used:,} boxes cannot be used ({reasons}): make the file again")
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
        OrlError: none of them is of an image of the run.
    """
    from pycocotools import mask

    sizes = images.table[["width", "height"]].to_numpy()
    given, known = 0, 0
    other: Any = None
    for _, index, item in stream_json(path, ("",)):
        entry = f"{path}: [{index}]"
        given += 1
        if index is None or not isinstance(item, dict):
            ledger.leave_out("that are no objects of JSON", entry)
            continue
        name = item.get("image_id", item.get("file_name"))
        row = names.row_of_id(name)
        if row is None:
            other = name if other is None else other
            ledger.leave_out(AMBIGUOUS if names.is_ambiguous(name) else ELSEWHERE, entry)
            continue
        known += 1
        counts = None
        if item.get("segmentation"):
            counts = to_rle(item["segmentation"], tuple(sizes[row].tolist()), mask)
            if counts is None:
                ledger.alter("with a mask that is not understood: the box alone is used", entry)
        yield Found(entry, row, item.get("bbox"), _score(item.get("score"), entry, ledger), counts)
    _refuse_others(path, given, known, other, names)


def read_fiftyone(path: Path, images: ImageSet, names: ImageNames, ledger: Ledger) -> Iterator[Found]:
    """Read the samples of a FiftyOne data set: the field of each that holds detections, relative boxes in [0, 1].

    Raises:
        OrlError: several fields hold detections and the ledger does not say which is meant, a sample has no filepath,
            or none is of an image of the run.
    """
    wanted = _detections_field(path, ledger.label_field)
    sizes = images.table[["width", "height"]].to_numpy()
    given, known = 0, 0
    other: Any = None
    for where, index, sample in stream_json(path, ("", "samples")):
        if where != "samples":
            continue
        entry = f"{path}: samples[{index}]"
        if not isinstance(sample, dict) or not isinstance(sample.get("filepath"), str):
            raise OrlError(f"{entry} has no filepath: is it the samples.json of a FiftyOne data set?")
        row = names.row(sample["filepath"])
        value = sample.get(wanted) if wanted else None
        detections = value.get("detections") if isinstance(value, dict) else None
        for place, detection in enumerate(detections if isinstance(detections, list) else ()):
            of = f"{entry}.{wanted}[{place}]"
            given += 1
            if row is None:
                other = sample["filepath"] if other is None else other
                ledger.leave_out(ELSEWHERE, of)
                continue
            known += 1
            if not isinstance(detection, dict):
                ledger.leave_out("that are no objects of JSON", of)
                continue
            width, height = sizes[row].tolist()
            box: Any = detection.get("bounding_box")
            with contextlib.suppress(TypeError, ValueError, OverflowError):  # without a box, it will be counted as such
                box = [float(value) * side for value, side in zip(box, (width, height) * 2, strict=True)]
            yield Found(of, row, box, _score(detection.get("confidence"), of, ledger))
    _refuse_others(path, given, known, other, names)


def _detections_field(path: Path, wanted: str | None) -> str | None:
    """The field of a FiftyOne data set whose detections are meant; None: it has none.

    Raises:
        OrlError: which one it is cannot be told, or there is no such field.
    """
    counts: dict[str, int] = {}
    for where, index, sample in stream_json(path, ("", "samples")):
        if where == "samples" and index is None:
            raise OrlError(f"{path}: samples is no list: is it the samples.json of a FiftyOne data set?")
        for name, value in sample.items() if where == "samples" and isinstance(sample, dict) else ():
            if isinstance(value, dict) and isinstance(value.get("detections"), list):
                counts[name] = counts.get(name, 0) + len(value["detections"])
    found = ", ".join(f"{name} ({count:,} boxes)" for name, count in sorted(counts.items()))
    if wanted is not None and wanted not in counts:
        raise OrlError(f"{path} has no detections in a field {wanted!r}, but in: {found or 'none'}")
    if wanted is None and len(counts) > 1:
        raise OrlError(f"{path} has detections in several fields, {found}: choose one, as in --field {max(counts)}")
    return wanted or next(iter(counts), None)


def read_csv(path: Path, images: ImageSet, names: ImageNames, ledger: Ledger) -> Iterator[Found]:
    """Read a CSV table with a header: `image_id` or `file_name`, and `x`, `y`, `w`, `h`; `score` may follow.

    Values may be separated by commas, semicolons or tabs, numbers then have decimal points or commas; the names of the
    columns may be in capital letters.

    Raises:
        OrlError: names the column that is missing; or no line is of an image of the run.
    """
    given, known = 0, 0
    other: Any = None
    try:
        with path.open(encoding=_encoding(path), newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            lines = csv.DictReader(file, delimiter=delimiter)
            lines.fieldnames = [name.strip().lower() for name in lines.fieldnames or ()]
            columns = set(lines.fieldnames or ())
            if not {"x", "y", "w", "h"} <= columns or not {"image_id", "file_name"} & columns:
                raise OrlError(f"{path} needs a first line with the columns file_name or image_id, and x, y, w, h")
            if len(columns) < len(lines.fieldnames or ()):
                raise OrlError(f"{path} has a column twice in its first line: write it again")
            by_id = "image_id" in columns
            for line in lines:
                entry = f"{path}: line {lines.line_num}"
                name = (line["image_id" if by_id else "file_name"] or "").strip()
                row = names.row_of_id(name) if by_id else names.row(name)
                given += 1
                if row is None:
                    other = name if other is None else other
                    ledger.leave_out(AMBIGUOUS if by_id and names.is_ambiguous(name) else ELSEWHERE, entry)
                    continue
                known += 1
                if None in line:
                    ledger.leave_out("with more values than the first line has columns", entry)
                    continue
                values = [line.get(column) for column in ("x", "y", "w", "h", "score")]
                if delimiter != ",":
                    values = [value and value.replace(",", ".") for value in values]
                yield Found(entry, row, values[:4], _score(values[4] or None, entry, ledger))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OrlError(f"{path} cannot be read as CSV ({error}): write it again, as UTF-8") from None
    _refuse_others(path, given, known, other, names)


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _refuse_others(path: Path, given: int, known: int, other: Any, names: ImageNames) -> None:
    if given and not known:
        raise OrlError(
            f"{path}: none of its {given:,} boxes is of an image of the run; theirs are such as"
            f" {str(other)[:80]!r}{names.nearest(str(other)[:200])}: import boxes of the run's own images"
        )


def _score(value: Any, entry: str, ledger: Ledger) -> float | None:
    """A score, also one that is written as text; None: there is none."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if value is not None and math.isfinite(number := float(value)):
            return number
    if value is not None:
        ledger.alter("with a score that is no number: it is taken for none", entry)
    return None


def collect(found: Iterator[Found], images: ImageSet, scratch: Path, ledger: Ledger) -> Collected:
    """Group boxes by image, best score first (equal ones in the order found, those without a score as if it were 0).

    Boxes are clipped to their image. Corners are rounded to the nearest pixel; a box that rounds to nothing is one
    pixel wide or high.

    Args:
        found: what a reader gives.
        images: the run's.
        scratch: a folder for what does not stay in memory.
        ledger: what the reader counted in; its `min_score` is asked for here.

    Raises:
        OrlError: most boxes cannot be used; or one cannot, and the ledger is `strict`.
    """
    sizes = images.table[["width", "height"]].to_numpy()
    rows: list[NDArray[Any]] = []
    block: list[tuple[int, int, int, int, int, float, int, int]] = []
    file, written = scratch / "masks", 0
    texts = file.open("wb")
    for entry, row, given, score, mask in found:
        if ledger.min_score is not None and (score is None or score < ledger.min_score):
            reason = "without a score" if score is None else f"with a score below {ledger.min_score:g}"
            ledger.do_without(reason, entry)
            continue
        width, height = sizes[row].tolist()
        box, why, beyond = clipped_box(given, (width, height), None, 1, (width, height))
        if box is None:
            ledger.leave_out(why, entry)
            continue
        if beyond:
            ledger.alter(CLIPPED, entry)
        x, y, w, h = box
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
