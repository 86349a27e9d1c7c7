"""Open images: what sources name becomes an `ImageSet`; files that cannot be used say why.

Every file is read and decoded once, here, so that later stages meet no surprises hours into a run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orl_explore.errors import OrlError
from orl_explore.images.decoding import Unusable, decode, read_bytes
from orl_explore.images.image_set import ImageSet
from orl_explore.images.object_masks import to_rle
from orl_explore.images.sources import ImageSource, SourceFile, open_source, printable, refuse_overlap


def open_images(
    sources: Sequence[Path],
    *,
    root: Path | None = None,
    minimum_side: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """Open folders, COCO jsons and list files as one image set, decoding every image once.

    A folder is searched recursively, hidden files and folders left out. The file names of a COCO json are
    looked up under `root`, else beside the json, in `images/` beside it, or where COCO itself keeps them
    (`train2017/` next to `annotations/instances_train2017.json`): whichever folder has most of them. A list
    file (.txt) has one path a line, relative to `root` or else to the list's folder, or absolute; blank lines
    and lines that begin with `#` are passed over.

    An image's id is its COCO id; in folders and lists, a 53-bit hash of its relative path, which stays when
    other files come and go. Rows are in the order of the sources; within a folder by path, within a json or
    list by its order. Objects keep their COCO ids when these are unique, else they are numbered from 0. Where
    a json has another size for an image than the file, the file is right.

    Args:
        sources: folders, .json or .txt files.
        root: folder that the names in json and list files start from.
        minimum_side: skip images with an edge shorter than this, pixels.
        progress: called as progress(files looked at, files in all).

    Raises:
        OrlError: a source is missing or unreadable, two sources hold the same image, or fewer than two images
            are usable.
    """
    opened, files = _list_files(sources, root)
    return _image_set([Path(source) for source in sources], opened, files, minimum_side, progress)


def sample_images(
    sources: Sequence[Path], *, count: int, seed: int, root: Path | None = None, minimum_side: int = 32
) -> tuple[ImageSet, int]:
    """Open a few images of a set, drawn at random, without reading the others.

    Args:
        sources: as for `open_images`, as are `root` and `minimum_side`.
        count: how many files to draw; of them, those that can be used.
        seed: same seed, same files.

    Returns:
        The images drawn, and how many files there are in all.

    Raises:
        OrlError: as `open_images`.
    """
    opened, files = _list_files(sources, root)
    drawn = np.random.default_rng(seed).permutation(len(files))[:count]
    chosen = [files[number] for number in sorted(drawn.tolist())]
    return _image_set([Path(source) for source in sources], opened, chosen, minimum_side, None), len(files)


def _list_files(sources: Sequence[Path], root: Path | None) -> tuple[list[ImageSource], list[tuple[int, SourceFile]]]:
    """The sources, and all their files with the number of the source that each is from."""
    if not sources:
        raise OrlError("no images given: name a folder, a COCO json or a .txt list of files")
    paths = [Path(source) for source in sources]
    if root is not None and not root.is_dir():
        raise OrlError(f"there is no folder {root}: pass the folder of the images as root")
    opened = [open_source(path, root) for path in paths]
    refuse_overlap(paths, opened)
    return opened, [(number, file) for number, source in enumerate(opened) for file in source.files]


def _image_set(
    paths: Sequence[Path],
    opened: Sequence[ImageSource],
    files: Sequence[tuple[int, SourceFile]],
    minimum_side: int,
    progress: Callable[[int, int], None] | None,
) -> ImageSet:
    """Decode files and make a set of those that can be used."""
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    verified = _verify([(opened[number].root, file) for number, file in files], minimum_side, progress)
    for (number, file), facts in zip(files, verified, strict=True):
        if isinstance(facts, str):
            skipped.append({"file_name": printable(file.name), "reason": printable(facts)})
        else:
            row = {"image_id": file.image_id, "file_name": file.name, "source": number, **facts}
            rows.append({**file.labels, **row})
    if len(rows) < 2:
        raise OrlError(_too_few(paths, len(rows), skipped))

    table = _image_table(rows)
    return ImageSet(
        table,
        _object_table(opened, table),
        pd.DataFrame(skipped, columns=["file_name", "reason"], dtype="str"),
        tuple(source.root for source in opened),
    )


def report(images: ImageSet, *, limit: int | None = 20) -> str:
    """Say in plain text how many images are usable, how many are not, why, and which.

    Args:
        images: what was opened.
        limit: name this many skipped files; None names all.
    """
    skipped = images.skipped
    lines = [f"{len(images):,} usable, {len(skipped):,} skipped"]
    kinds = Counter(reason.split(":")[0] for reason in skipped["reason"])
    lines += [f"{count:>7,} {kind}" for kind, count in kinds.most_common()]
    named = skipped if limit is None else skipped.head(limit)
    lines += [f"  {name}: {reason}" for name, reason in zip(named["file_name"], named["reason"], strict=True)]
    if len(named) < len(skipped):
        lines.append(f"  ... and {len(skipped) - len(named):,} more")
    return "\n".join(lines)


def _verify(
    files: Sequence[tuple[Path, SourceFile]], minimum_side: int, progress: Callable[[int, int], None] | None
) -> Iterator[dict[str, Any] | str]:
    """Decode each file; give its width, height and content_hash, or the reason why it cannot be used."""

    def look(item: tuple[Path, SourceFile]) -> dict[str, Any] | str:
        folder, file = item
        if file.reason:
            return file.reason
        if printable(file.name) != file.name:
            return "file name is not valid Unicode"
        try:
            data = read_bytes(folder / file.name)
            width, height = decode(data, minimum_side).size
        except Unusable as error:
            return str(error)
        return {"width": width, "height": height, "content_hash": blake2b(data, digest_size=16).hexdigest()}

    # Pillow decodes without holding the interpreter lock. Sixteen very large images still fit in memory.
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for done, facts in enumerate(pool.map(look, files), 1):
            if progress:
                progress(done, len(files))
            yield facts


def _too_few(paths: Sequence[Path], usable: int, skipped: Sequence[dict[str, str]]) -> str:
    count = "no usable image" if usable == 0 else "only one usable image"
    where = ", ".join(str(path) for path in paths)
    if not skipped:
        return f"{count} in {where}: at least two are needed, with names such as photo.jpg or photo.png"
    reasons = "; ".join(f"{item['file_name']}: {item['reason']}" for item in skipped[:3])
    more = f"; and {len(skipped) - 3:,} more" if len(skipped) > 3 else ""
    return f"{count} in {where}: at least two are needed. Skipped: {reasons}{more}"


# ---- tables ------------------------------------------------------------------------------------------------


def _image_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    types: dict[str, Any] = {
        "image_id": np.int64,
        "file_name": "str",
        "source": np.int16,
        "width": np.int32,
        "height": np.int32,
        "content_hash": "str",
    }
    columns = {name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in types.items()}
    labels = dict.fromkeys(name for row in rows for name in row if name not in types)
    return pd.DataFrame(columns | {name: _label_column([row.get(name) for row in rows]) for name in labels})


def _label_column(values: Sequence[Any]) -> pd.Series:
    column = pd.Series(values)
    if column.dtype != object:
        return column
    # Text beside numbers, or truth values with gaps: a Parquet column has one type.
    return pd.Series([None if value is None else str(value) for value in values], dtype="str")


def _object_table(opened: Sequence[ImageSource], table: pd.DataFrame) -> pd.DataFrame:
    from pycocotools import mask

    parts: dict[str, list[Any]] = {name: [] for name in ("object_id", "image_id", "category", "segmentation")}
    boxes: list[tuple[float, float, float, float]] = []
    for number, source in enumerate(opened):
        of_source = table[table["source"] == number]
        columns = [of_source[name].tolist() for name in ("image_id", "width", "height")]
        size_of = {image_id: (width, height) for image_id, width, height in zip(*columns, strict=True)}
        for item in source.annotations:
            size = size_of.get(item["image_id"])
            box = _clipped(item.get("bbox"), size) if size else None
            if size is None or box is None:
                continue
            boxes.append(box)
            parts["object_id"].append(item.get("id"))
            parts["image_id"].append(item["image_id"])
            category = item.get("category_id")
            parts["category"].append(source.categories.get(category, f"category {category}"))
            parts["segmentation"].append(to_rle(item.get("segmentation"), size, mask))
    ids = parts["object_id"]
    if len(set(ids)) < len(ids) or not all(type(number) is int and abs(number) < 2**63 for number in ids):
        ids = list(range(len(ids)))
    xywh = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    return pd.DataFrame(
        {
            "object_id": pd.Series(ids, dtype=np.int64),
            "image_id": pd.Series(parts["image_id"], dtype=np.int64),
            **{name: xywh[:, column] for column, name in enumerate("xywh")},
            "category": pd.Series(parts["category"], dtype="str"),
            "segmentation": pd.Series(parts["segmentation"], dtype="str"),
        }
    )


def _clipped(box: Any, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Clip an annotation's xywh to the image; None when nothing is left of it or it is no box."""
    try:
        x, y, w, h = (float(value) for value in box)
    except (TypeError, ValueError, OverflowError):
        return None
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, size[0]), min(y + h, size[1])
    if not (w > 0 and h > 0 and right > left and bottom > top):  # also false for NaN
        return None
    return left, top, right - left, bottom - top
