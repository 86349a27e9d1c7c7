"""Images in: a folder, a COCO json or a list file becomes an `ImageSet`; files that cannot be used say why.

Every file is read and decoded once, here, so that later stages meet no surprises hours into a run.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.images.decoding import Unusable, decode, decode_pixels, read_bytes
from orl_explore.images.object_masks import to_rle

T = TypeVar("T")

JPEG_SUFFIXES: Final = (".jpg", ".jpeg", ".jpe", ".jfif")
NETPBM_SUFFIXES: Final = (".ppm", ".pgm", ".pbm", ".pnm")
OTHER_SUFFIXES: Final = (".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
SUFFIXES: Final = JPEG_SUFFIXES + NETPBM_SUFFIXES + OTHER_SUFFIXES
"""What counts as an image in a folder. Pillow cannot read HEIC: it is here to be reported, not overlooked."""

BOOKKEEPING: Final = {"license", "coco_url", "flickr_url", "date_captured"}
"""Fields of a COCO image that say nothing about what it shows: not taken over as label columns."""


# ---- the image set -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that are known to decode, with their annotations when there are any.

    Attributes:
        table: one row per image: `image_id` int64, `file_name` str (POSIX, relative to its root; absolute where
            a list file names a file outside it), `source` int16 (index into `roots`), `width` and `height`
            int32 (pixels, EXIF orientation applied), `content_hash` str (of the file's bytes); then a column
            for every label that a COCO json gives its images, e.g. `context`.
        objects: annotated objects: `object_id` and `image_id` int64, `x`, `y`, `w`, `h` float32 (pixels of the
            upright image, clipped to it), `category` str, `segmentation` str (the `counts` of a compressed COCO
            RLE at image size; missing where there is none). Empty without annotations; crowds are left out.
        skipped: files that cannot be used: `file_name` str, `reason` str.
        roots: the folder of each source.
    """

    table: pd.DataFrame
    objects: pd.DataFrame
    skipped: pd.DataFrame
    roots: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.table)

    def rows_of(self, image_ids: ArrayLike) -> NDArray[np.intp]:
        """Rows of some images, of the shape of `image_ids`.

        Raises:
            OrlError: one of them is not in the set.
        """
        wanted = np.asarray(image_ids)
        if wanted.size and not np.can_cast(wanted.dtype, np.int64):  # fractions, or more digits than an id can have
            raise OrlError(f"there is no image {image_ids!s}")
        rows = self._index.get_indexer(pd.Index(wanted.ravel())).reshape(wanted.shape)
        if (rows < 0).any():
            raise OrlError(f"there is no image {wanted[rows < 0].flat[0]}")
        return rows

    @cached_property
    def _index(self) -> pd.Index:
        """The image ids, as something that they are looked up in."""
        return pd.Index(self.table["image_id"])

    def path(self, row: int) -> Path:
        """Where the file of a row is."""
        return Path(self._path(row))

    def _path(self, row: int) -> str:
        sources, names, _ = self._columns
        return os.path.join(self._folders[sources[row]], names[row].as_py())  # noqa: PTH118 - four times as fast

    @cached_property
    def _folders(self) -> list[str]:
        return [str(root) for root in self.roots]

    @cached_property
    def _columns(self) -> tuple[Any, Any, Any]:
        """Source, file name, and (width, height), by row: a table is slow to ask for single values."""
        sizes = self.table[["width", "height"]].to_numpy()
        return self.table["source"].to_numpy(), pa.array(self.table["file_name"]), sizes

    def load(self, row: int) -> Image.Image:
        """Read the image of a row as RGB, EXIF orientation applied.

        Raises:
            OrlError: the file has vanished, or was damaged or replaced since the set was made.
        """
        image = self._decode(row, decode)
        self._check_size(row, image.size)
        return image

    def load_pixels(self, row: int) -> NDArray[np.uint8]:
        """Read the image of a row as `load` does, but as uint8 (H, W, 3), and faster where it is a JPEG.

        Raises:
            OrlError: the file has vanished, or was damaged or replaced since the set was made.
        """
        pixels = self._decode(row, decode_pixels)
        self._check_size(row, pixels.shape[1::-1])
        return pixels

    def _decode(self, row: int, decoder: Callable[[bytes], T]) -> T:
        path = self._path(row)
        try:
            return decoder(read_bytes(path))
        except Unusable as error:
            raise OrlError(f"{path} was usable before ({error}): put it back, or begin a new run") from None

    def _check_size(self, row: int, size: tuple[int, ...]) -> None:
        width, height = self._columns[2][row].tolist()
        if size != (width, height):
            raise OrlError(
                f"{self.path(row)} was {width} x {height} px before: put the old file back, or begin a new run"
            )

    def subset(self, rows: Sequence[int]) -> ImageSet:
        """Keep these rows, in this order, and their objects."""
        table = self.table.iloc[list(rows)].reset_index(drop=True)
        objects = self.objects[self.objects["image_id"].isin(table["image_id"])].reset_index(drop=True)
        return ImageSet(table, objects, self.skipped, self.roots)

    def check_files(self) -> None:
        """Look, without reading, whether every file is still there.

        Raises:
            OrlError: names the first one that is not.
        """
        for row in range(len(self)):
            path = self.path(row)
            if not path.is_file():
                raise OrlError(f"{path} is gone: put it back, or begin a new run without it")

    @cached_property
    def fingerprint(self) -> str:
        """Hex hash of ids, names, sizes and contents, in order: changes when any byte of any image does.

        Where the folders lie does not matter, so a data set may move.
        """
        digest = blake2b(digest_size=16)
        columns = [self.table[name] for name in ("image_id", "file_name", "width", "height", "content_hash")]
        for values in zip(*columns, strict=True):
            digest.update(json.dumps([str(value) for value in values]).encode())
        return digest.hexdigest()


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


def _list_files(sources: Sequence[Path], root: Path | None) -> tuple[list[_Source], list[tuple[int, _File]]]:
    """The sources, and all their files with the number of the source that each is from."""
    if not sources:
        raise OrlError("no images given: name a folder, a COCO json or a .txt list of files")
    paths = [Path(source) for source in sources]
    if root is not None and not root.is_dir():
        raise OrlError(f"there is no folder {root}: pass the folder of the images as root")
    opened = [_open_source(path, root) for path in paths]
    _refuse_overlap(paths, opened)
    return opened, [(number, file) for number, source in enumerate(opened) for file in source.files]


def _image_set(
    paths: Sequence[Path],
    opened: Sequence[_Source],
    files: Sequence[tuple[int, _File]],
    minimum_side: int,
    progress: Callable[[int, int], None] | None,
) -> ImageSet:
    """Decode files and make a set of those that can be used."""
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    verified = _verify([(opened[number].root, file) for number, file in files], minimum_side, progress)
    for (number, file), facts in zip(files, verified, strict=True):
        if isinstance(facts, str):
            skipped.append({"file_name": _printable(file.name), "reason": _printable(facts)})
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
    files: Sequence[tuple[Path, _File]], minimum_side: int, progress: Callable[[int, int], None] | None
) -> Iterator[dict[str, Any] | str]:
    """Decode each file; give its width, height and content_hash, or the reason why it cannot be used."""

    def look(item: tuple[Path, _File]) -> dict[str, Any] | str:
        folder, file = item
        if file.reason:
            return file.reason
        if _printable(file.name) != file.name:
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


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


# ---- sources -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """A file as its source names it; with a `reason` where that alone makes it unusable."""

    name: str
    image_id: int
    labels: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class _Source:
    root: Path
    files: list[_File]
    annotations: list[dict[str, Any]] = field(default_factory=list)
    categories: dict[Any, str] = field(default_factory=dict)


def _open_source(path: Path, root: Path | None) -> _Source:
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise OrlError(f"there is no {path}: name a folder, a COCO json or a .txt list of files")
    if path.suffix.lower() == ".json":
        return _open_coco(path, root)
    if path.suffix.lower() == ".txt":
        return _open_list(path, root)
    raise OrlError(f"{path} is neither a folder, nor a COCO .json, nor a .txt list of files: pass its folder")


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - also removes `..`, and leaves symbolic links as they are


def _path_id(name: str) -> int:
    """53 bits, so that JavaScript and JSON readers keep them exactly."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()) >> 11


def _open_folder(path: Path) -> _Source:
    path = _absolute(path)
    files: list[_File] = []
    seen: set[str] = set()  # real paths: a link to a parent folder would otherwise never end

    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename, path)
        files.append(_File(name, _path_id(name), reason=f"cannot be read: {error.strerror}"))

    for folder, subfolders, names in os.walk(path, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                relative = (Path(folder) / name).relative_to(path).as_posix()
                files.append(_File(relative, _path_id(relative)))
    return _Source(path, sorted(files, key=lambda file: file.name))


def _open_list(path: Path, root: Path | None) -> _Source:
    folder = _absolute(path.parent if root is None else root)
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise OrlError(f"{path} cannot be read as a list of files ({error}): make it UTF-8 text") from None
    files: list[_File] = []
    seen: set[str] = set()
    for line in lines:
        if not line or line.startswith("#"):
            continue
        target = _absolute(folder / line)
        name = (target.relative_to(folder) if target.is_relative_to(folder) else target).as_posix()
        files.append(_File(name, _path_id(name), reason="listed twice" if name in seen else None))
        seen.add(name)
    return _Source(folder, files)


def _open_coco(path: Path, root: Path | None) -> _Source:
    content = _read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise OrlError(f"{path} is no COCO file (it has no list `images`): pass one, or the images' folder")
    files: list[_File] = []
    owner: dict[int, str] = {}
    id_of: dict[str, int] = {}
    for number, image in enumerate(content["images"]):
        try:
            image_id, name = image["id"], image["file_name"]
        except (TypeError, KeyError):
            raise OrlError(f"{path}: images[{number}] lacks `id` or `file_name`: is it a COCO file?") from None
        if type(image_id) is not int or abs(image_id) >= 2**63 or not isinstance(name, str):
            raise OrlError(f"{path}: images[{number}] needs a whole number as `id` and text as `file_name`")
        reason = None
        path_inside = Path(os.path.normpath(name))
        inside = path_inside.as_posix()
        if path_inside.is_absolute() or path_inside.parts[:1] == ("..",):
            reason = "leaves its folder: the annotation file names a path outside"
        elif image_id in owner:
            reason = f"listed twice: image id {image_id} is already {owner[image_id]}"
        elif inside in id_of:
            reason = f"listed twice: already image id {id_of[inside]}"
        else:
            owner[image_id], id_of[inside] = inside, image_id
        files.append(_File(name if reason else inside, image_id, _labels(image), reason))

    annotations, categories = content.get("annotations") or [], content.get("categories") or []
    if not isinstance(annotations, list) or not isinstance(categories, list):
        raise OrlError(f"{path}: `annotations` and `categories` must be lists: is it a COCO file?")
    try:
        names = {category["id"]: _printable(str(category["name"])) for category in categories}
    except (TypeError, KeyError):
        raise OrlError(f"{path}: a category lacks its `id` or `name`: is it a COCO file?") from None
    folder = _find_root(path, root, [file.name for file in files if not file.reason])
    return _Source(folder, files, [item for item in annotations if _is_annotation(item)], names)


def _is_annotation(item: Any) -> bool:
    if not isinstance(item, dict) or item.get("iscrowd"):
        return False
    return isinstance(item.get("image_id"), int) and isinstance(item.get("category_id"), int | str | None)


def _read_json(path: Path) -> Any:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return json.load(file)
    except (ValueError, RecursionError) as error:
        raise OrlError(f"{path} is no JSON, or ends too early ({error}): fetch or write it again") from None
    except OSError as error:
        raise OrlError(f"{path} cannot be read ({error.strerror}): check its permissions") from None


def _labels(image: dict[str, Any]) -> dict[str, Any]:
    ours = BOOKKEEPING | {"id", "file_name", "image_id", "source", "width", "height", "content_hash"}
    scalars = {name: value for name, value in image.items() if isinstance(value, str | int | float)}
    return {
        name: _printable(value) if isinstance(value, str) else value
        for name, value in scalars.items()
        if name not in ours
    }


def _find_root(path: Path, root: Path | None, names: Sequence[str]) -> Path:
    """Find the folder that has most of the files of a COCO json."""
    split = path.stem.split("_")[-1]  # instances_train2017 -> train2017
    if root is None:
        folder = path.parent
        candidates = [folder, folder / "images", folder / split, folder.parent / split]
    else:
        candidates = [root, root / split]
    candidates = [_absolute(candidate) for candidate in candidates]
    # Text instead of Path: with 100,000 names, that is one second against ten.
    counts = [sum(os.path.isfile(f"{folder}/{name}") for name in names) for folder in candidates]  # noqa: PTH113
    if names and not any(counts):
        where = ", ".join(str(candidate) for candidate in candidates)
        raise OrlError(f"no image of {path} (such as {names[0]}) is in {where}: pass their folder as root")
    return candidates[counts.index(max(counts))]


def _refuse_overlap(paths: Sequence[Path], opened: Sequence[_Source]) -> None:
    """Refuse the same id or the same file out of two sources; within one source, `listed twice` has dealt with it."""
    by_path: dict[Path, int] = {}
    by_id: dict[int, tuple[int, str]] = {}
    for number, source in enumerate(opened):
        for file in source.files:
            if file.reason:
                continue
            # Paths first: a source named twice has no parent folder to look for.
            place = source.root / file.name
            first = by_path.setdefault(place, number)
            if first != number:
                raise OrlError(f"{place} is in both {paths[first]} and {paths[number]}: pass only one of them")
            first, name = by_id.setdefault(file.image_id, (number, file.name))
            if (first, name) == (number, file.name):
                continue
            both = f"{paths[first]} and {paths[number]}"
            if paths[first].is_dir() and paths[number].is_dir():
                parent = os.path.commonpath([opened[first].root, source.root])
                raise OrlError(f"{file.name} is in both {both}: pass their common parent, {parent}, instead")
            raise OrlError(f"image id {file.image_id} is in both {both}: renumber one, or pass only one of them")


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


def _object_table(opened: Sequence[_Source], table: pd.DataFrame) -> pd.DataFrame:
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
