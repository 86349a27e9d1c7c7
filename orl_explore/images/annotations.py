"""What becomes of every annotation: an object, or one more of those that are left out for the same reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from orl_explore.errors import OrlError
from orl_explore.images.findings import Findings, Tally
from orl_explore.images.image_source import Annotation, ImageSource, flag, printable, whole
from orl_explore.images.object_masks import to_rle
from orl_explore.images.packed_masks import BoxMask
from orl_explore.images.turning import Box, turned_box, turned_segmentation

CROWD: Final = "marked iscrowd"
SKIPPED: Final = "of an image that is skipped"
UNLISTED: Final = "of an image id that is not listed"
TWICE: Final = "that is the same as one in the file's other listing"
SECOND: Final = "of a second annotator of the same picture"
CANCELED: Final = "of an annotator who skipped the picture"
PREDICTED: Final = "of a prediction, not of a person"
POINTS: Final = "that are points or lines, which have no box"
UNREAD: Final = "of a kind that is not read"
PAGE: Final = "of another picture of the same task"
NO_PIXEL: Final = "with a mask that has no pixel in the picture"
NO_FILE: Final = "with a mask whose file is not there or not understood"
NO_MASK: Final = "with a mask that is not understood"
ALONE: Final = "without a box, and {}"
"""What one of these is left out for, where its mask would have given the box."""
BORNE: Final = (
    *(CROWD, SKIPPED, TWICE, SECOND, CANCELED, PREDICTED, POINTS, UNREAD, PAGE),
    *(ALONE.format(why) for why in (NO_PIXEL, NO_FILE, NO_MASK)),
)
"""Reasons that say nothing against the file."""

NO_BOX: Final = "without a box of four numbers"
FLAT: Final = "with a box of no width or height"
OUTSIDE: Final = "with a box outside its image"

BEYOND: Final = 1.0
"""Pixels that a box may reach beyond its image, as rounding does, before it is told that it was clipped."""


@dataclass
class _Known:
    """The usable images that a source's annotations can be of, by its own ids."""

    images: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    """Id, width, height, and the EXIF orientation by which its annotations have to be turned (1: not at all)."""
    listed: set[int] = field(default_factory=set)
    """All ids of the source, also of images that are skipped."""
    merged: set[int] = field(default_factory=set)
    """Ids of second listings."""
    notes: list[str] = field(default_factory=list)


@dataclass
class _Objects:
    """The columns of the objects table while it grows."""

    ids: list[Any] = field(default_factory=list)
    image_ids: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    segmentations: list[str | None] = field(default_factory=list)

    def table(self, sources: int) -> pd.DataFrame:
        ids, original = self.ids, None
        if len(set(map(str, ids))) < len(ids) or not all(type(one) is int and abs(one) < 2**63 for one in ids):
            if sources > 1 and all(type(one) is int and abs(one) < 2**63 for one in ids):
                original = pd.Series(ids, dtype=np.int64)
            ids = list(range(len(ids)))
        xywh = np.array(self.boxes, dtype=np.float32).reshape(-1, 4)
        columns = {
            "object_id": pd.Series(ids, dtype=np.int64),
            "image_id": pd.Series(self.image_ids, dtype=np.int64),
            **{name: xywh[:, column] for column, name in enumerate("xywh")},
            "category": pd.Series(self.categories, dtype="str"),
            "segmentation": pd.Series(self.segmentations, dtype="str"),
        }
        return pd.DataFrame(columns | ({} if original is None else {"original_id": original}))


def object_table(
    opened: Sequence[ImageSource], table: pd.DataFrame, orientations: Sequence[int], *, complete: bool = True
) -> tuple[pd.DataFrame, Findings]:
    """Make objects of all annotations that can be used, and count the others.

    Args:
        opened: the sources.
        table: the usable images.
        orientations: EXIF orientation of each of them.
        complete: they are all images of the sources; of a part, nothing is counted.

    Returns:
        The objects (see `ImageSet`), and what was found.

    Raises:
        OrlError: most annotations of a source cannot be used, for other reasons than `BORNE`.
    """
    objects = _Objects()
    left_out, changed, given = Tally(), Tally(), 0
    notes: list[str] = []
    columns = [table[name].tolist() for name in ("image_id", "width", "height")]
    usable = {
        image_id: (width, height, turn) for image_id, width, height, turn in zip(*columns, orientations, strict=True)
    }
    for source in opened:
        notes += source.notes
        if not source.annotations:
            continue
        known = _known(source, usable)
        own = Tally()
        _collect(source, known, objects, own, changed)
        if complete:
            _refuse_most(source, own)
            notes += known.notes
        given += len(source.annotations)
        for what, (count, example) in own.counts.items():
            left_out.add(what, example, count)
    found = objects.table(len(opened))
    if not complete:
        return found, Findings()
    equal = found[found.duplicated(["image_id", *"xywh", "category"])]
    if len(equal):
        things = "1 object is" if len(equal) == 1 else f"{len(equal):,} objects are"
        notes.append(f"{things} the same as another by image, box and category, such as {equal['object_id'].iloc[0]}")
    return found, Findings(given, len(objects.ids), left_out.result(), changed.result(), tuple(notes))


def _refuse_most(source: ImageSource, left_out: Tally) -> None:
    borne: tuple[str, ...] = BORNE
    if sum(count for count, _ in left_out.counts.values()) < len(source.annotations):
        borne += (UNLISTED,)  # a file that was cut down to some of its images: what is of these is used
    judged = len(source.annotations) - sum(left_out.counts.get(reason, [0])[0] for reason in borne)
    bad = {what: found for what, found in left_out.counts.items() if what not in borne}
    count = sum(found[0] for found in bad.values())
    # Labels beside the pictures of a folder or list that was named for these: counted, and no reason to refuse them.
    if 2 * count > judged and not source.path.is_dir() and source.path.suffix.lower() != ".txt":
        reasons = "; ".join(f"{number:,} {what}, such as {example}" for what, (number, example) in bad.items())
        raise OrlError(
            f"{source.path}: {count:,} of {judged:,} annotations cannot be used ({reasons}): mend them, or name the"
            f" folder {source.root} instead to do without"
        )


def _known(source: ImageSource, usable: dict[int, tuple[int, int, int]]) -> _Known:
    """Which images the annotations of a source can be of, and which of these have to be turned."""
    known = _Known()
    turned: list[tuple[int, str]] = []
    either: list[int] = []
    exchanged: list[str] = []
    other: list[str] = []
    upright = False
    for file in source.files:
        own = file.image_id
        known.listed.add(own)
        final = source.ids.get(own, own)
        facts = usable.get(final)
        if facts is None or (file.reason and own not in source.ids) or own in known.images:
            continue
        width, height, orientation = facts
        known.images[own] = final, width, height, 1
        if own in source.ids and file.reason:
            known.merged.add(own)
        size = source.sizes.get(own)
        if size is None:
            continue
        if size == (width, height):
            if orientation > 4 and width != height:
                upright = True
            elif orientation > 1:
                either.append(own)
        elif size == (height, width):
            if orientation > 4:
                turned.append((own, file.name))
            else:
                exchanged.append(file.name)
        else:
            other.append(f"{file.name}, {width} x {height} px against {size[0]} x {size[1]}")
    turn = [own for own, _ in turned] + (either if turned and not upright else [])
    for own in turn:
        final, width, height, _ = known.images[own]
        known.images[own] = final, width, height, usable[final][2]
    for names, text in (
        (
            [name for _, name in turned],
            "has the sizes of {} before turning them upright: their boxes and masks are turned",
        ),
        (
            exchanged,
            "has width and height of {} exchanged, and the files do not say which way they were turned: boxes are taken"
            " as they stand",
        ),
        (other, "has another size for {} than the file: boxes are taken as they stand"),
    ):
        if names:
            images = f"{len(names):,} {'image' if len(names) == 1 else 'images'} (such as {names[0]})"
            known.notes.append(f"{source.path.name} {text.format(images)}")
    return known


def _collect(source: ImageSource, known: _Known, objects: _Objects, left_out: Tally, changed: Tally) -> None:
    """Take one source's annotations in turn. 860,000 of them take seconds, so the usual ones go straight through."""
    from pycocotools import mask

    images, categories, scale, text_ids = known.images, source.categories, source.scale, source.text_ids
    if scale is None and _are_shares(source.annotations):
        scale = 1.0
        known.notes.append(f"all boxes of {source.path.name} lie within 0..1: they are taken for shares of the image")
    labels = set(categories.values())
    by_name: dict[str, int] = {}
    # Where images have a second listing, everything that is there already: nothing is taken twice.
    rows = zip(objects.image_ids, objects.boxes, objects.categories, strict=True)
    listings = {same: row for row, same in enumerate(rows)} if known.merged else None

    def where(place: int, item: Any) -> str:
        return item.where if isinstance(item, Annotation) else f"annotations[{place}] of {source.path.name}"

    for place, item in enumerate(source.annotations):
        if type(item) is not dict and not (isinstance(item, Annotation) and item.left_out is None):
            reason = item.left_out if isinstance(item, Annotation) else "that are no objects of JSON"
            left_out.add(reason or "", where(place, item))
            continue
        image_id, spelled = item.get("image_id"), False
        if type(image_id) is not int:
            text = image_id.strip() if isinstance(image_id, str) else None
            image_id, spelled = (text_ids[text], False) if text in text_ids else (whole(image_id), True)
            if image_id is None and text:
                by_name = by_name or {file.name: file.image_id for file in source.files}
                image_id = by_name.get(text)
        facts = images.get(image_id) if image_id is not None else None
        if facts is None:
            if image_id is None:
                reason = "whose image_id is no whole number" if "image_id" in item else "without image_id"
            else:
                reason = SKIPPED if image_id in known.listed else UNLISTED
            left_out.add(reason, where(place, item))
            continue
        crowd = item.get("iscrowd")
        if crowd and (type(crowd) is not int or crowd != 1):
            is_crowd = flag(crowd)
            if is_crowd is None:
                left_out.add("whose iscrowd is neither 0 nor 1", where(place, item))
                continue
            crowd, spelled = is_crowd, True
        if crowd:
            left_out.add(CROWD, where(place, item))
            continue

        category, unnamed = item.get("category_id"), ""
        try:
            name = None if type(category) is bool else categories.get(category)
        except TypeError:
            name = None
        if type(category) is float:
            spelled = True
        if name is None:
            number = whole(category)
            if number is not None and number in categories:
                name, spelled = categories[number], True
            elif isinstance(category, str) and category in labels:
                name = category
            elif category is None or type(category) in (int, str):
                unnamed = "without a category" if category is None else "of a category that is not listed"
                name = f"category {printable(str(category))}"
            else:
                left_out.add("whose category_id is neither a number nor text", where(place, item))
                continue

        final, width, height, orientation = facts
        stored = (height, width) if orientation > 4 else (width, height)
        segmentation = item.get("segmentation")
        counts = None
        if segmentation:
            if isinstance(segmentation, BoxMask):
                segmentation = segmentation.in_picture(stored, scale)
            elif scale is not None:
                segmentation = _scaled_polygons(segmentation, scale, stored)
            if orientation > 1:
                segmentation = turned_segmentation(segmentation, orientation, stored, mask)
            counts = to_rle(segmentation, (width, height), mask)
        box = item.get("bbox")
        clipped, reason, beyond = clipped_box(box, (width, height), scale, orientation, stored)
        alone = clipped is None and counts is not None
        if clipped is None and counts is not None:
            x, y, w, h = mask.toBbox({"size": [height, width], "counts": counts.encode("ascii")}).tolist()
            clipped, beyond = (x, y, w, h), False
        if clipped is None:
            if isinstance(item.get("segmentation"), BoxMask) and reason == NO_BOX:
                reason = ALONE.format(_without_mask(item, segmentation))
            left_out.add(reason, where(place, item))
            continue
        if listings is not None:
            same = (final, clipped, name)
            if image_id in known.merged and same in listings:
                left_out.add(TWICE, where(place, item))
                if counts is not None and objects.segmentations[row := listings[same]] is None:
                    objects.segmentations[row] = counts
                    changed.add("with the mask of the same one in the other listing", where(place, item))
                continue
            listings[same] = len(objects.ids)
        # It is used, and what was changed can be told: not before.
        if unnamed:
            changed.add(unnamed, where(place, item))
        if alone:
            changed.add("with a mask alone: its box is used", where(place, item))
        if counts is None and item.get("segmentation"):
            changed.add(f"{_without_mask(item, segmentation)}: the box alone is used", where(place, item))
        if beyond:
            changed.add("with a box that reaches over the border: it is clipped", where(place, item))
        if orientation > 1:
            changed.add("turned with their image", where(place, item))
        if spelled:
            changed.add("with ids or flags written as text or fractions", where(place, item))
        objects.ids.append(item.get("id"))
        objects.image_ids.append(final)
        objects.boxes.append(clipped)
        objects.categories.append(name)
        objects.segmentations.append(counts)


def _without_mask(item: Any, unpacked: Any) -> str:
    """Why the segmentation of an annotation gives no mask; `unpacked`: what a packed one has in it."""
    given = item["segmentation"]
    if not isinstance(given, BoxMask):
        return NO_MASK
    if isinstance(unpacked, dict):
        return NO_PIXEL
    return NO_FILE if given.in_file else NO_MASK


def clipped_box(
    value: Any, size: tuple[int, int], scale: float | None, orientation: int, stored: tuple[int, int]
) -> tuple[Box | None, str, bool]:
    """Clip an annotation's xywh to the upright image; else why it is no box. Last, whether it reaches far beyond."""
    try:
        x, y, w, h = map(float, value if isinstance(value, list | tuple) else ())
    except (TypeError, ValueError, OverflowError):
        return None, NO_BOX, False
    if not (w > 0 and h > 0):  # also false for NaN
        return None, FLAT if w <= 0 or h <= 0 else NO_BOX, False
    if scale is not None:
        x, y, w, h = x * stored[0] / scale, y * stored[1] / scale, w * stored[0] / scale, h * stored[1] / scale
    if orientation > 1:
        x, y, w, h = turned_box((x, y, w, h), orientation, stored)
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, size[0]), min(y + h, size[1])
    if not (right > left and bottom > top):
        return None, OUTSIDE if x == x and y == y else NO_BOX, False
    beyond = x < -BEYOND or y < -BEYOND or x + w > size[0] + BEYOND or y + h > size[1] + BEYOND
    return (left, top, right - left, bottom - top), "", beyond


def _are_shares(annotations: Sequence[Any]) -> bool:
    """Whether all boxes are smaller than a pixel and within the first one: shares of the image instead of pixels."""
    found = False
    for item in annotations:
        box = item.get("bbox") if isinstance(item, dict) else None
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
            continue
        x, y, w, h = box
        if not (x >= 0 and y >= 0 and 0 < w < 1 and 0 < h < 1 and x + w <= 1.001 and y + h <= 1.001):
            return False
        found = True
    return found


def _scaled_polygons(segmentation: Any, scale: float, size: tuple[int, int]) -> Any:
    """Polygons in shares of the image -> in pixels; anything else as it is."""
    if not isinstance(segmentation, list):
        return segmentation
    polygons = []
    for points in segmentation:
        try:
            pairs = np.array(points, dtype=np.float64).reshape(-1, 2)
        except (TypeError, ValueError):
            continue
        in_pixels = pairs.size and np.abs(pairs).max() > 2 * scale
        polygons.append((pairs if in_pixels else pairs * np.array(size) / scale).reshape(-1).tolist())
    return polygons
