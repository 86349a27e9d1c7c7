"""What a folder, a COCO json or a list file names: files with their ids, labels and annotations, nothing decoded."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from orl_explore.errors import OrlError

JPEG_SUFFIXES: Final = (".jpg", ".jpeg", ".jpe", ".jfif")
NETPBM_SUFFIXES: Final = (".ppm", ".pgm", ".pbm", ".pnm")
OTHER_SUFFIXES: Final = (".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
SUFFIXES: Final = JPEG_SUFFIXES + NETPBM_SUFFIXES + OTHER_SUFFIXES
"""What counts as an image in a folder. Pillow cannot read HEIC: it is here to be reported, not overlooked."""

BOOKKEEPING: Final = {"license", "coco_url", "flickr_url", "date_captured"}
"""Fields of a COCO image that say nothing about what it shows: not taken over as label columns."""


def printable(name: str) -> str:
    """A name with what is not valid Unicode in it replaced by question marks."""
    return name.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class SourceFile:
    """A file as its source names it; with a `reason` where that alone makes it unusable."""

    name: str
    image_id: int
    labels: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class ImageSource:
    """A folder, json or list: where its names start from, its files, and a json's annotations as they stand there."""

    root: Path
    files: list[SourceFile]
    annotations: list[dict[str, Any]] = field(default_factory=list)
    categories: dict[Any, str] = field(default_factory=dict)


def open_source(path: Path, root: Path | None) -> ImageSource:
    """Read what a source names.

    Raises:
        OrlError: it is missing, unreadable, or nothing that names images.
    """
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


def _open_folder(path: Path) -> ImageSource:
    path = _absolute(path)
    files: list[SourceFile] = []
    seen: set[str] = set()  # real paths: a link to a parent folder would otherwise never end

    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename, path)
        files.append(SourceFile(name, _path_id(name), reason=f"cannot be read: {error.strerror}"))

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
                files.append(SourceFile(relative, _path_id(relative)))
    return ImageSource(path, sorted(files, key=lambda file: file.name))


def _open_list(path: Path, root: Path | None) -> ImageSource:
    folder = _absolute(path.parent if root is None else root)
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise OrlError(f"{path} cannot be read as a list of files ({error}): make it UTF-8 text") from None
    files: list[SourceFile] = []
    seen: set[str] = set()
    for line in lines:
        if not line or line.startswith("#"):
            continue
        target = _absolute(folder / line)
        name = (target.relative_to(folder) if target.is_relative_to(folder) else target).as_posix()
        files.append(SourceFile(name, _path_id(name), reason="listed twice" if name in seen else None))
        seen.add(name)
    return ImageSource(folder, files)


def _open_coco(path: Path, root: Path | None) -> ImageSource:
    content = _read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise OrlError(f"{path} is no COCO file (it has no list `images`): pass one, or the images' folder")
    files: list[SourceFile] = []
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
        files.append(SourceFile(name if reason else inside, image_id, _labels(image), reason))

    annotations, categories = content.get("annotations") or [], content.get("categories") or []
    if not isinstance(annotations, list) or not isinstance(categories, list):
        raise OrlError(f"{path}: `annotations` and `categories` must be lists: is it a COCO file?")
    try:
        names = {category["id"]: printable(str(category["name"])) for category in categories}
    except (TypeError, KeyError):
        raise OrlError(f"{path}: a category lacks its `id` or `name`: is it a COCO file?") from None
    folder = _find_root(path, root, [file.name for file in files if not file.reason])
    return ImageSource(folder, files, [item for item in annotations if _is_annotation(item)], names)


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
        name: printable(value) if isinstance(value, str) else value
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


def refuse_overlap(paths: Sequence[Path], opened: Sequence[ImageSource]) -> None:
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
