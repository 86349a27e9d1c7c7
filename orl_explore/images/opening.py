"""Open images: what sources name becomes an `ImageSet`; files that cannot be used say why.

Every file is read and decoded once, here, so that later stages meet no surprises hours into a run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.images.annotations import object_table
from orl_explore.images.decoding import Unusable, examine, read_bytes
from orl_explore.images.deep import FULL, RangeMeter, Ranges
from orl_explore.images.image_set import ImageSet
from orl_explore.images.image_source import ImageSource, SourceFile, printable, shown
from orl_explore.images.sources import SHARED, bring_together, open_source

DARK: Final = 16
"""A picture is all dark when nothing in it is as bright as this, of 255."""


def open_images(
    sources: Sequence[Path],
    *,
    root: Path | None = None,
    label_field: str | None = None,
    minimum_side: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """Open folders, COCO jsons and list files as one image set, decoding every image once.

    A folder is searched recursively, hidden files and folders left out. The file names of a COCO json are
    looked up under `root`, else beside the json, in `images/` beside it, or where COCO itself and other tools keep
    them (see `locating.candidate_folders`): whichever folder has most of them. A list file (.txt) has one path a
    line, relative to `root` or else to the list's folder, or absolute; blank lines and lines that begin with `#` are
    passed over. A name that is not there as it stands is looked for as `file_names.WAYS` says.

    An image's id is its COCO id; in folders and lists, a 53-bit hash of its relative path, which stays when
    other files come and go. Rows are in the order of the sources; within a folder by path, within a json or
    list by its order. What becomes of a file that two sources name, `sources.bring_together` says. Objects keep their
    COCO ids when these are unique, else they are numbered from 0. Where a json has another size for an image than the
    file, the file is right; sizes from before turning it upright are turned, boxes and masks with them.

    Args:
        sources: folders, .json or .txt files.
        root: folder that the names in json and list files start from.
        label_field: of FiftyOne samples, the field that holds the annotations; None: the only one, or ground_truth.
        minimum_side: skip images with an edge shorter than this, pixels.
        progress: called as progress(files looked at, files in all).

    Raises:
        OrlError: a source is missing or unreadable, two folders hold the same image, fewer than two images are usable,
            or most annotations of a source are not.
    """
    opened, files = _list_files(sources, root, label_field)
    options = [
        f"{option}={value}" for option, value in (("--root", root), ("--field", label_field)) if value is not None
    ]
    return replace(_image_set(opened, files, minimum_side, progress), options=tuple(options))


def sample_images(
    sources: Sequence[Path],
    *,
    count: int,
    seed: int,
    root: Path | None = None,
    label_field: str | None = None,
    minimum_side: int = 32,
) -> tuple[ImageSet, int]:
    """Open a few images of a set, drawn at random, without reading the others.

    Args:
        sources: as for `open_images`, as are `root`, `label_field` and `minimum_side`.
        count: how many files to draw; of them, those that can be used.
        seed: same seed, same files.

    Returns:
        The images drawn, and how many files there are in all.

    Raises:
        OrlError: as `open_images`.
    """
    opened, files = _list_files(sources, root, label_field)
    drawn = np.random.default_rng(seed).permutation(len(files))[:count]
    chosen = [files[number] for number in sorted(drawn.tolist())]
    return _image_set(opened, chosen, minimum_side, None, complete=False), len(files)


def _list_files(
    sources: Sequence[Path], root: Path | None, label_field: str | None
) -> tuple[list[ImageSource], list[tuple[int, SourceFile]]]:
    """The sources, and all their files with the number of the source that each is from."""
    if not sources:
        raise OrlError("no images given: name a folder, a COCO json or a .txt list of files")
    paths = [Path(source) for source in sources]
    if root is not None and not root.is_dir():
        raise OrlError(f"there is no folder {root}: pass the folder of the images with --root (root=...)")
    opened = [open_source(path, root, label_field) for path in paths]
    if label_field is not None and not any(source.label_fields for source in opened):
        raise OrlError(f"--field {label_field} is about the samples.json of a FiftyOne data set: leave it out")
    bring_together(opened)
    named = [(number, file) for number, source in enumerate(opened) for file in source.files]
    return opened, [(number, file) for number, file in named if file.reason != SHARED]


@dataclass(frozen=True)
class _Look:
    """What is to be known of a usable file."""

    width: int
    height: int
    content_hash: str
    orientation: int
    extremes: tuple[float, float] | None = None
    """Its darkest and brightest value where these are suspicious, of 255; or, of more than 8 bits, in any case."""
    kind: str | None = None
    """Its kind of samples, where they have more than 8 bits and the file says no range."""
    samples: NDArray[Any] | None = None


def _image_set(
    opened: Sequence[ImageSource],
    files: Sequence[tuple[int, SourceFile]],
    minimum_side: int,
    progress: Callable[[int, int], None] | None,
    *,
    complete: bool = True,
) -> ImageSet:
    """Decode files and make a set of those that can be used; `complete`: they are all that the sources name."""
    rows: list[dict[str, Any]] = []
    orientations: list[int] = []
    skipped: list[dict[str, str]] = []
    looks: list[tuple[str, _Look]] = []
    meter = RangeMeter()
    verified = _verify([(opened[number].root, file) for number, file in files], minimum_side, progress)
    for (number, file), look in zip(files, verified, strict=True):
        if isinstance(look, str):
            skipped.append({"file_name": printable(file.name), "reason": printable(look)})
            continue
        image_id = opened[number].ids.get(file.image_id, file.image_id)
        facts = {"width": look.width, "height": look.height, "content_hash": look.content_hash}
        rows.append({**file.labels, "image_id": image_id, "file_name": file.name, "source": number, **facts})
        orientations.append(look.orientation)
        if look.kind is not None and look.samples is not None:
            meter.add(look.kind, look.samples)
        if look.extremes is not None:
            looks.append((file.name, replace(look, samples=None)))
    if len(rows) < 2:
        raise OrlError(_too_few([source.path for source in opened], len(rows), skipped))

    table = _image_table(rows)
    objects, findings = object_table(opened, table, orientations, complete=complete)
    ranges = meter.ranges()
    return ImageSet(
        table,
        objects,
        pd.DataFrame(skipped, columns=["file_name", "reason"], dtype="str"),
        tuple(source.root for source in opened),
        ranges,
        replace(
            findings,
            notes=tuple(map(printable, (*findings.notes, *_pixel_notes(looks, ranges), *_copies(table, complete)))),
        ),
    )


def _pixel_notes(looks: Sequence[tuple[str, _Look]], ranges: Ranges) -> list[str]:
    """What a person should know of the pixels of a set: measured ranges, and pictures on which there is nothing."""
    notes = []
    for kind, (low, high) in ranges.items():
        count = sum(look.kind == kind for _, look in looks)
        if (low, high) != FULL:
            notes.append(
                f"in {count:,} {'picture' if count == 1 else 'pictures'} with {kind} samples {low:,.6g} is black and"
                f" {high:,.6g} is white, as measured over all of them"
            )
    plain: dict[str, list[str]] = {}
    for name, look in looks:
        assert look.extremes
        low, high = look.extremes
        if look.kind is not None:
            black, white = ranges[look.kind]
            low, high = ((value - black) * 255 / (white - black) if white > black else 0.0 for value in (low, high))
        if low == high:
            plain.setdefault("of one color throughout", []).append(name)
        elif high < DARK:
            plain.setdefault(f"all dark, with nothing above {DARK - 1} of 255", []).append(name)
    for what, names in plain.items():
        noun = "picture is" if len(names) == 1 else "pictures are"
        notes.append(f"{len(names):,} {noun} {what}, such as {printable(names[0])}")
    return notes


def _copies(table: pd.DataFrame, complete: bool) -> list[str]:
    """A sentence about files with the same bytes as one before them."""
    copies = table["content_hash"].duplicated()
    if not complete or not copies.any():
        return []
    count, row = int(copies.sum()), int(np.flatnonzero(copies)[0])
    first = int(np.flatnonzero(table["content_hash"] == table["content_hash"][row])[0])
    if count == len(table) - 1:
        return [f"all {len(table):,} files are copies of one, {table['file_name'][first]}: there is nothing to learn"]
    files = "file is a copy of another" if count == 1 else "files are copies of others"
    return [f"{count:,} {files}, byte for byte, such as {table['file_name'][row]} of {table['file_name'][first]}"]


def report(images: ImageSet, *, limit: int | None = 20) -> str:
    """Say in plain text how many images are usable, how many are not, why, and which; and the same of annotations.

    Args:
        images: what was opened.
        limit: name this many skipped files; None names all.
    """
    skipped = images.skipped
    lines = [f"{len(images):,} usable, {len(skipped):,} skipped"]
    kinds = Counter(reason.split(":")[0] for reason in skipped["reason"])
    lines += [f"{count:>7,} {kind}" for kind, count in kinds.most_common()]
    named = skipped if limit is None else skipped.head(limit)
    lines += [shown(f"  {name}: {reason}") for name, reason in zip(named["file_name"], named["reason"], strict=True)]
    if len(named) < len(skipped):
        lines.append(f"  ... and {len(skipped) - len(named):,} more")
    return "\n".join(lines + images.findings.lines())


def _verify(
    files: Sequence[tuple[Path, SourceFile]], minimum_side: int, progress: Callable[[int, int], None] | None
) -> Iterator[_Look | str]:
    """Decode each file; give what is to be known of it, or the reason why it cannot be used."""

    def look(item: tuple[Path, SourceFile]) -> _Look | str:
        folder, file = item
        if file.reason:
            return file.reason
        if printable(file.name) != file.name:
            return "file name is not valid Unicode"
        try:
            data = read_bytes(folder / file.name)
            picture = examine(data, minimum_side)
            digest = blake2b(data, digest_size=16).hexdigest()
            deep = picture.deep
            if deep is None:
                assert picture.image
                return _Look(*picture.size, digest, picture.orientation, _suspicious(picture.image))
            samples = deep.samples()
        except Unusable as error:
            return str(error)
        extremes = float(samples.min()), float(samples.max())
        if deep.own_range is not None:
            low, high = deep.own_range
            extremes = tuple((value - low) * 255 / (high - low) for value in extremes)  # type: ignore[assignment]
            return _Look(*picture.size, digest, picture.orientation, extremes)
        return _Look(*picture.size, digest, picture.orientation, extremes, deep.kind, samples.copy())

    # Pillow decodes without holding the interpreter lock. Sixteen very large images still fit in memory.
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for done, facts in enumerate(pool.map(look, files), 1):
            if progress:
                progress(done, len(files))
            yield facts


def _suspicious(image: Image.Image) -> tuple[float, float] | None:
    """Darkest and brightest value of a picture that is all dark or all equal; None of others, by a few pixels."""
    few: Any = image.resize((4, 4), Image.Resampling.NEAREST).getextrema()
    if max(high for _, high in few) >= DARK and any(low != high for low, high in few):
        return None
    extremes: Any = image.getextrema()
    if all(low == high for low, high in extremes):
        return 0.0, 0.0
    high = max(high for _, high in extremes)
    return (-1.0, float(high)) if high < DARK else None


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
