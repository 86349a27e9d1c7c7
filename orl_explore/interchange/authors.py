"""The ORL authors' JSON files: proposals, neighbors and correspondences, in and out.

Formats and their quirks are in `docs/interchange.md`. Files of any size are read and written in bounded memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.boxes import FALLBACK, KEPT, filter_boxes, is_kept
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.interchange.jsonstream import stream_json
from orl_explore.interchange.tables import BOX, Ragged, TableWriter
from orl_explore.runs.run import Run

SETTINGS: Final = {
    "min_side": "bbox_min_size",
    "max_aspect": "bbox_max_aspect_ratio",
    "max_iou": "bbox_max_iou",
    "max_boxes": "intra_bbox_num",
    "neighbors": "knn_image_num",
    "pair_ratio": "knn_bbox_pair_ratio",
}
"""A setting of stage 2 -> its name in the files' `info`."""

WHOLE: Final = ("min_side", "max_boxes", "neighbors")
"""Settings that are whole numbers."""

BLOCK: Final = 1000
"""Images whose pairs are looked up at a time."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class MinedFile:
    """What a neighbor or correspondence file says; row i is its image i.

    Attributes:
        path: the file.
        info: its settings, under the authors' names.
        file_names: of the images.
        ids: int64 (N,), the ids of the images.
        neighbors: int64 (N, K), rows of the neighbors, nearest first.
        boxes: N groups of kept boxes, xywh; None in a neighbor file.
        pairs: N * K groups of query xywh and key xywh; None in a neighbor file.
    """

    path: Path
    info: dict[str, Any]
    file_names: list[str]
    ids: NDArray[np.int64]
    neighbors: NDArray[np.int64]
    boxes: Ragged | None
    pairs: Ragged | None

    def settings(self) -> dict[str, Any]:
        """Settings of stage 2 that the file was made with, as far as it says."""
        return {
            ours: int(self.info[theirs]) if ours in WHOLE else float(self.info[theirs])
            for ours, theirs in SETTINGS.items()
            if theirs in self.info
        }


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_mined(path: Path, scratch: Path, *, progress: Progress | None = None) -> MinedFile:
    """Read a neighbor or correspondence file; boxes and pairs go to files in `scratch`.

    Raises:
        OrlError: names the entry that is missing, of the wrong length, not a whole number or out of range.
    """
    columns = ("images.file_name", "images.id", "pseudo_annotations.image_id", "pseudo_annotations.knn_image_id")
    boxes_key, pairs_key = "pseudo_annotations.bbox", "pseudo_annotations.knn_bbox_pair"
    lists: dict[str, list[Any]] = {column: [] for column in columns}
    ragged: dict[str, Ragged] = {}
    info: Any = {}
    per_image = 0
    in_lists = {*columns, boxes_key, pairs_key}
    for where, index, value in stream_json(path, ("", "images", "pseudo_annotations", *in_lists)):
        if index is None:
            if where in in_lists:
                raise OrlError(f"{path}: {where} is no list: is it a file of the ORL authors' code?")
            info = value if where == "info" else info
            continue
        if where not in in_lists:
            raise OrlError(f"{path}: {where or 'all of it'} is a list: is it a file of the ORL authors' code?")
        entry = f"{path}: {where}[{index}]"
        if where == boxes_key:
            boxes = ragged.setdefault(where, Ragged(scratch / "boxes", 4)) if index == 0 else ragged[where]
            boxes.add(_whole(value, 4, entry))
        elif where == pairs_key:
            pairs = ragged.setdefault(where, Ragged(scratch / "pairs", 8)) if index == 0 else ragged[where]
            of_image = _pairs(value, entry)
            if index and len(of_image) != per_image:
                raise OrlError(f"{entry} has pairs with {len(of_image)} neighbors, those before with {per_image}")
            per_image = len(of_image)
            for group in of_image:
                pairs.add(group)
        else:
            lists[where].append(value)
        if progress and lists["images.id"]:
            progress(index + 1, len(lists["images.id"]))

    names, ids, image_ids, neighbors = (lists[column] for column in columns)
    count = len(ids)
    lengths = {column: len(values) for column, values in lists.items()}
    if boxes_key in ragged or pairs_key in ragged:
        lengths[boxes_key] = len(ragged.get(boxes_key, ()))
        lengths[pairs_key] = len(ragged.get(pairs_key, ())) // max(per_image, 1)
    for column, length in lengths.items():
        if length != count or not count:
            raise OrlError(f"{path}: {column} has {length} entries, images.id has {count}: fetch or write it again")
    _check_each(path, "images.file_name", names, lambda value: isinstance(value, str), "text")
    _check_each(path, "images.id", ids, lambda value: type(value) is int and abs(value) < 2**63, "whole number")
    id_array = np.array(ids, np.int64)
    if len(np.unique(id_array)) < count:
        raise OrlError(f"{path}: images.id has an id twice: fetch or write it again")
    for index, (image_id, expected) in enumerate(zip(image_ids, ids, strict=True)):
        if image_id != expected:
            raise OrlError(
                f"{path}: pseudo_annotations.image_id[{index}] is {image_id!r}, but images.id[{index}] is {expected}"
            )
    if not isinstance(info, dict):
        raise OrlError(f"{path}: info is no object: is it a file of the ORL authors' code?")
    for ours, name in SETTINGS.items():
        value = info.get(name, 1)
        if type(value) not in (int, float) or not 0 < value < 2**31 or (ours in WHOLE and value != int(value)):
            kind = "whole number" if ours in WHOLE else "number"
            raise OrlError(f"{path}: info.{name} is {value!r}: it must be a {kind} above 0")
    rows = _neighbor_rows(path, neighbors, info.get("knn_image_num"))
    if pairs_key in ragged and per_image != rows.shape[1]:
        raise OrlError(
            f"{path}: {pairs_key} is about {per_image} neighbors per image, knn_image_id about {rows.shape[1]}"
        )
    finished = {name: part.finish() for name, part in ragged.items()}
    return MinedFile(path, info, names, id_array, rows, finished.get(boxes_key), finished.get(pairs_key))


def read_proposals(paths: Sequence[Path], scratch: Path, *, progress: Progress | None = None) -> Ragged:
    """Read proposal files, one after the other: a group of xywh boxes per image, in the order of the files.

    COCO+ comes as two files, train2017 and unlabeled2017. A single box of an image may stand without its list.

    Raises:
        OrlError: names the entry that is no box.
    """
    found = Ragged(scratch / "proposals", 4)
    for path in paths:
        before = len(found)
        for where, index, value in stream_json(path, ("", "bbox")):
            if where != "bbox" or index is None:
                raise OrlError(f"{path} has {where or 'a value'} where only a list `bbox` is expected")
            found.add(_whole(value, 4, f"{path}: bbox[{index}]"))
            if progress:
                progress(len(found), len(found))
        if len(found) == before:
            raise OrlError(f"{path}: bbox has 0 entries: fetch or write it again")
    return found.finish()


def _whole(value: Any, width: int, entry: str) -> NDArray[np.int32]:
    """Rows of whole numbers, int32 (n, width), of a list of lists; a single row may stand without its list."""
    if value == []:
        return np.zeros((0, width), np.int32)
    try:
        array = np.array(value)
        kinds = set(map(type, value if array.ndim == 1 else itertools.chain.from_iterable(value)))
    except (ValueError, TypeError):  # rows of different lengths, or no rows
        raise OrlError(f"{entry} is no list of {width} numbers each") from None
    if not kinds <= {int, float}:  # NumPy would take true for 1
        raise OrlError(f"{entry} is no list of {width} whole numbers each")
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.rint(array)).all():
        array = array.clip(-(2**40), 2**40).astype(np.int64)
    if array.ndim == 1:
        array = array[None]
    if array.dtype.kind not in "iu" or array.ndim != 2 or array.shape[1] != width:
        raise OrlError(f"{entry} is no list of {width} whole numbers each")
    if (array > 2**31 - 1).any() or (array < -(2**31)).any():
        raise OrlError(f"{entry} has a number beyond all images")
    return array.astype(np.int32)


def _pairs(value: Any, entry: str) -> list[NDArray[np.int32]]:
    """Pairs of one image with each of its neighbors, int32 (P, 8)."""
    if not isinstance(value, list):
        raise OrlError(f"{entry} is no list")
    try:  # all at once, which is several times faster
        flat = _whole([pair for group in value for pair in group], 8, entry)
        lengths = [len(group) for group in value]
    except (OrlError, TypeError):
        flat, lengths = np.zeros((0, 8), np.int32), [1]
    if len(flat) == sum(lengths):
        return np.split(flat, np.cumsum(lengths)[:-1]) if lengths else []
    return [_whole(group, 8, f"{entry}[{rank}]") for rank, group in enumerate(value)]  # names the one that is wrong


def _check_each(path: Path, column: str, values: list[Any], fine: Callable[[Any], bool], kind: str) -> None:
    for index, value in enumerate(values):
        if not fine(value):
            raise OrlError(f"{path}: {column}[{index}] is {value!r}, no {kind}: fetch or write it again")


def _neighbor_rows(path: Path, neighbors: list[Any], expected: Any) -> NDArray[np.int64]:
    """Neighbors as an array (N, K), each a row of the images, none an image's own and none twice."""
    count = len(neighbors)
    width = expected
    for index, row in enumerate(neighbors):
        entry = f"{path}: pseudo_annotations.knn_image_id[{index}]"
        if not isinstance(row, list) or not row:
            raise OrlError(f"{entry} is no list of neighbors: fetch or write it again")
        width = len(row) if width is None else width
        if len(row) != width:
            raise OrlError(f"{entry} has {len(row)} neighbors instead of {width}: fetch or write it again")
        for neighbor in row:
            if type(neighbor) is not int or not 0 <= neighbor < count:
                raise OrlError(f"{entry} has {neighbor!r}, which is no row of the {count} images")
        if index in row:
            raise OrlError(f"{entry} has {index}, the image itself")
        if len(set(row)) < len(row):
            raise OrlError(f"{entry} has a neighbor twice")
    return np.array(neighbors, np.int64).reshape(count, -1)


# ---- into a run ------------------------------------------------------------------------------------------------------


def write_neighbors(run: Run, images: ImageSet, mined: MinedFile) -> None:
    """Write the neighbors table; similarities are not in the file, so that column is NaN."""
    ids = images.table["image_id"].to_numpy()
    count, k = mined.neighbors.shape
    run.write(
        "neighbors",
        pd.DataFrame(
            {
                "image_id": np.repeat(ids, k),
                "rank": np.tile(np.arange(k), count),
                "neighbor_id": ids[mined.neighbors.ravel()],
                "similarity": np.full(count * k, np.nan),
            }
        ),
    )


def write_regions(run: Run, images: ImageSet, boxes: Ragged) -> None:
    """Write the regions table: kept boxes, group i belongs to row i of the images."""
    ids = images.table["image_id"].to_numpy()
    with TableWriter(run, "regions") as table:
        for image, image_id in enumerate(ids.tolist()):
            group = boxes.group(image)
            numbers = np.arange(boxes.starts[image], boxes.starts[image + 1])
            table.add(region_id=numbers, image_id=image_id, **dict(zip(BOX, group.T, strict=True)))


def write_proposals(
    run: Run,
    images: ImageSet,
    raw: Ragged | None,
    kept: Ragged | None,
    *,
    settings: dict[str, Any],
    progress: Progress | None = None,
) -> None:
    """Write the proposals table, and the regions table where the kept boxes are not known.

    Args:
        run: where to.
        images: group i of the boxes belongs to row i.
        raw: all boxes in the order found; None: only the kept ones are known and become the proposals.
        kept: boxes of a correspondence file; None: the filter decides.
        settings: of the filter, see `orl_explore.boxes.filter_boxes`.
        progress: called as progress(images done, images in all).

    Raises:
        OrlError: the filter keeps other boxes than `kept`.
    """
    chosen = None if kept is not None else Ragged(run.path / ".kept", 4)
    with TableWriter(run, "proposals") as table:
        for image, row in enumerate(images.table.itertuples(index=False)):
            boxes = _first_boxes(raw, kept, image)
            if raw is not None and not len(boxes):  # as stage 2 does where it finds none
                boxes = np.array([[0, 0, row.width, row.height]], np.int32)
            reasons = filter_boxes(boxes, **settings)
            if raw is None:  # the filter did its work elsewhere
                reasons = np.array([FALLBACK if len(reasons) == 1 and reasons[0] == FALLBACK else KEPT] * len(boxes))
            elif kept is not None and not np.array_equal(boxes[is_kept(reasons)], kept.group(image)):
                raise OrlError(
                    f"of the proposals of image {row.file_name} the filter keeps {int(is_kept(reasons).sum())} boxes,"
                    f" and not the {len(kept.group(image))} of the correspondence file: the two are not of one run"
                )
            if chosen is not None:
                chosen.add(boxes[is_kept(reasons)])
            table.add(
                image_id=row.image_id,
                rank=np.arange(len(boxes)),
                **dict(zip(BOX, boxes.T, strict=True)),
                reason=reasons.astype(object),
            )
            if progress:
                progress(image + 1, len(images))
    if chosen is not None:
        write_regions(run, images, chosen.finish())
        chosen.file.unlink()


def _first_boxes(raw: Ragged | None, kept: Ragged | None, image: int) -> NDArray[np.int32]:
    source = kept if raw is None else raw
    assert source is not None
    return source.group(image)


def write_pairs(run: Run, images: ImageSet, mined: MinedFile, *, progress: Progress | None = None) -> None:
    """Write the pairs table; each box of a pair must be among the kept boxes of its image.

    Raises:
        OrlError: names the pair whose box is not.
    """
    assert mined.boxes is not None
    assert mined.pairs is not None
    ids = images.table["image_id"].to_numpy()
    count, k = mined.neighbors.shape
    regions = _BoxIndex(mined.boxes)
    starts = mined.pairs.starts
    with TableWriter(run, "pairs") as table:
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            values = np.asarray(mined.pairs.values[starts[start * k] : starts[stop * k]])  # (P, 8)
            lengths = np.diff(starts[start * k : stop * k + 1])  # pairs of each image with each neighbor
            if not lengths.all():
                image, rank = divmod(start * k + int(np.flatnonzero(lengths == 0)[0]), k)
                raise OrlError(f"{mined.path}: pseudo_annotations.knn_bbox_pair[{image}][{rank}] has no pair")
            group = np.repeat(np.arange(start * k, stop * k), lengths)  # (P,)
            image, rank = np.divmod(group, k)
            place = np.arange(len(group)) + starts[start * k] - starts[group]  # among the pairs of the two images
            neighbor = mined.neighbors[image, rank]
            found = {}
            for name, row, boxes in (("query", image, values[:, :4]), ("key", neighbor, values[:, 4:])):
                found[name] = regions.find(row, boxes)
                if (found[name] < 0).any():
                    bad = int(np.flatnonzero(found[name] < 0)[0])
                    entry = f"knn_bbox_pair[{image[bad]}][{rank[bad]}][{place[bad]}]"
                    raise OrlError(
                        f"{mined.path}: pseudo_annotations.{entry} has the {name} box {boxes[bad].tolist()}, which is"
                        f" none of bbox[{row[bad]}]"
                    )
            table.add(
                image_id=ids[image],
                neighbor_id=ids[neighbor],
                neighbor_rank=rank,
                rank=place,
                query_region=found["query"],
                key_region=found["key"],
                similarity=np.float32(np.nan),
            )
            if progress:
                progress(stop, count)


class _BoxIndex:
    """Finds boxes among those of an image, many at once, with 16 bytes of memory per box."""

    def __init__(self, boxes: Ragged):
        self._boxes = boxes
        keys = np.concatenate(
            [np.empty(0, np.uint64)]
            + [self._key(np.full(len(boxes.group(image)), image), boxes.group(image)) for image in range(len(boxes))]
        )
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    @staticmethod
    def _key(image: NDArray[np.integer], boxes: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Mix image and box to 64 bits; two may collide, so what is found is compared."""
        key = image.astype(np.uint64)
        for column in boxes.T:
            key = (key ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
        return key

    def find(self, image: NDArray[np.int64], boxes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Row of each box (P, 4) among all boxes, the first where an image has it twice; -1 where there is none."""
        if not len(self._keys):
            return np.full(len(boxes), -1, np.int64)
        place = np.searchsorted(self._keys, self._key(image, boxes)).clip(max=len(self._keys) - 1)
        rows = self._order[place]
        starts = self._boxes.starts
        right = (starts[image] <= rows) & (rows < starts[image + 1]) & (self._boxes.values[rows] == boxes).all(axis=1)
        for wrong in np.flatnonzero(~right):
            same = np.flatnonzero((self._boxes.group(int(image[wrong])) == boxes[wrong]).all(axis=1))
            rows[wrong] = starts[image[wrong]] + same[0] if len(same) else -1
        return rows
