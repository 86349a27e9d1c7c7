"""Label files of pictures: YOLO's `.txt`, VOC's `.xml`, LabelMe's `.json`; beside them or in a folder next to theirs.

They change nothing about the pictures: ids and names stay those of the folder or list.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from orl_explore.images.image_source import Annotation, ImageSource, decoded, printable, whole

PLACES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    ".txt": {"images": ("labels",), "jpegimages": ("labels",)},
    ".xml": {"images": ("Annotations", "annotations"), "jpegimages": ("Annotations",)},
    ".json": {"images": ("labels", "annotations"), "jpegimages": ()},
}
"""By kind of label file, what the folder of the pictures is called, and that of the labels in its place."""

CLASS_FILES: Final = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "_darknet.labels")
ORPHAN: Final = "of a label file without a picture"
LOOKED_AT: Final = 50
"""Files by which it is decided whether they are labels: captions beside pictures are not."""


def read_label_files(source: ImageSource, *, orphans: bool = True) -> set[str]:
    """Give a folder or list the annotations that lie with its pictures, if there are any.

    Args:
        source: gets annotations, categories and notes.
        orphans: count the labels of pictures that the source does not have, too.

    Returns:
        The files that were read, of those that could be other annotation files: paths from the source's root.
    """
    found = {suffix: _label_files(source, suffix, orphans) for suffix in PLACES}
    if found[".xml"] and _read_voc(source, found[".xml"]):
        return set()
    if found[".json"] and (read := _read_labelme(source, found[".json"])):
        return read
    if texts := found[".txt"]:
        _read_yolo(source, texts)
    return set()


def _label_files(source: ImageSource, suffix: str, orphans: bool) -> list[tuple[str, int | None]]:
    """Label files of a kind, and the id of the picture of each; None where there is no such picture."""
    folders: dict[str, dict[str, int]] = {}
    for file in source.files:
        if file.reason is None:
            folder, _, name = (source.root / file.name).as_posix().rpartition("/")
            folders.setdefault(folder, {})[name.rpartition(".")[0]] = file.image_id
    found: dict[str, int | None] = {}
    for folder, pictures in folders.items():
        for place in _places(folder, suffix):
            try:
                names = sorted(os.listdir(place))  # noqa: PTH208
            except OSError:
                continue
            for name in names:
                if name.lower().endswith(suffix) and (orphans or name.rpartition(".")[0] in pictures):
                    path, image_id = f"{place}/{name}", pictures.get(name.rpartition(".")[0])
                    found[path] = image_id if found.get(path) is None else found[path]
    return list(found.items()) if any(image_id is not None for image_id in found.values()) else []


def _places(folder: str, suffix: str) -> Iterator[str]:
    """Where the labels of the pictures in a folder may lie."""
    yield folder
    parts = folder.split("/")
    for at in range(len(parts) - 1, -1, -1):
        if others := PLACES[suffix].get(parts[at].lower()):
            for other in others:
                yield "/".join([*parts[:at], other, *parts[at + 1 :]])
            return


def _read(path: str) -> str | None:
    try:
        return decoded(Path(path).read_bytes())
    except (OSError, UnicodeDecodeError):
        return None


# ---- YOLO ----------------------------------------------------------------------------------------------------------


def _read_yolo(source: ImageSource, files: list[tuple[str, int | None]]) -> None:
    with_picture = [path for path, image_id in files if image_id is not None]
    lines = [line for path in with_picture[:LOOKED_AT] for line in _lines(path)]
    if not lines or 2 * sum(_yolo(line) is not None for _, line in lines) <= len(lines):
        if lines:
            source.notes.append(
                f"{len(with_picture):,} text files beside the pictures of {source.path} are no YOLO labels: not read"
            )
        return
    source.scale = 1.0
    for path, image_id in files:
        own = list(_lines(path))
        if image_id is None and 2 * sum(_yolo(line) is not None for _, line in own) <= len(own):
            continue  # a list of classes, or of files
        for number, line in own:
            where = f"line {number} of {os.path.relpath(path, source.root)}"
            item = Annotation({"image_id": image_id, **(_yolo(line) or {})}, where)
            item.left_out = ORPHAN if image_id is None else "that are no YOLO labels" if len(item) == 1 else None
            source.annotations.append(item)
    source.categories = _class_names(source.root)
    source.notes.append(f"annotations of {source.path}: YOLO labels in {len(with_picture):,} files")


def _lines(path: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate((_read(path) or "").splitlines(), 1):
        if line.strip():
            yield number, line


def _yolo(line: str) -> dict[str, Any] | None:
    """A line as an annotation in shares of the image: a class, then center and size, or a polygon; else None."""
    words = line.split()
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        return None
    category = whole(words[0])
    if category is None or not all(-1 <= number <= 2 for number in numbers):
        return None
    if len(numbers) in (4, 5):  # the fifth is a confidence
        x, y, w, h = numbers[:4]
        return {"category_id": category, "bbox": [x - w / 2, y - h / 2, w, h]}
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        return {"category_id": category, "segmentation": [numbers]}
    return None


def _class_names(root: Path) -> dict[Any, str]:
    """Names of classes by number, from the file that YOLO tools write into or above the folder; empty without one."""
    for folder in (root, root.parent, root.parent.parent):
        for name in CLASS_FILES:
            text = _read(str(folder / name))
            if text is None:
                continue
            names: Any = (
                _yaml_names(text) if name.endswith((".yaml", ".yml")) else [line.strip() for line in text.splitlines()]
            )
            if isinstance(names, list):
                names = dict(enumerate(names))
            if names:
                return {number: name for number, name in names.items() if name}
    return {}


def _yaml_names(text: str) -> dict[int, str]:
    """The entry `names` of a YOLO data.yaml, in the few forms in which tools write it."""
    found = re.search(r"^names\s*:[ \t]*(.*)$((?:\n(?:[ \t]+|-|\s*#).*|\n[ \t]*$)*)", text, re.MULTILINE)
    if not found:
        return {}
    inline, block = re.sub(r"\s+#.*", "", found[1]).strip(), found[2]
    if inline[:1] in ("[", "{"):
        closing = "]" if inline[0] == "[" else "}"
        entries = (inline + block).replace("\n", " ")[1:].partition(closing)[0].split(",")
    else:
        entries = [line.strip().removeprefix("- ") for line in block.splitlines() if not line.strip().startswith("#")]
    names: dict[int, str] = {}
    for entry in filter(None, (entry.strip() for entry in entries)):
        key = re.match(r"""['"]?(\d+)['"]?\s*:\s*(.*)""", entry)
        number, name = (int(key[1]), key[2]) if key else (len(names), entry)
        names[number] = re.sub(r"\s+#.*", "", name).strip().strip("'\"")
    return names


# ---- VOC -----------------------------------------------------------------------------------------------------------


def _read_voc(source: ImageSource, files: list[tuple[str, int | None]]) -> bool:
    """Read VOC's label files; False where not one of them is one."""
    read = 0
    for path, image_id in files:
        name = os.path.relpath(path, source.root)
        try:
            tree = ElementTree.parse(path).getroot()
        except (ElementTree.ParseError, OSError, ValueError):
            tree = None
        if tree is None or tree.tag != "annotation":
            if image_id is not None:
                source.annotations.append(Annotation({"image_id": image_id}, name, "that are no VOC label files"))
            continue
        read += image_id is not None
        size = [whole((tree.findtext(f"size/{side}") or "").strip()) for side in ("width", "height")]
        if image_id is not None and size[0] and size[1]:
            source.sizes[image_id] = size[0], size[1]
        for number, thing in enumerate(tree.iter("object")):
            item = Annotation({"image_id": image_id, **_voc(thing)}, f"object {number} of {name}")
            item.left_out = ORPHAN if image_id is None else None
            source.categories.setdefault(item.get("category_id"), str(item.get("category_id")))
            source.annotations.append(item)
    if not read:
        source.annotations.clear()
        return False
    source.notes.append(f"annotations of {source.path}: VOC label files of {read:,} pictures")
    return True


def _voc(thing: ElementTree.Element) -> dict[str, Any]:
    """An object as an annotation. Its corners count pixels from 1, and both are inside."""
    found: dict[str, Any] = {"category_id": (thing.findtext("name") or "").strip() or None}
    try:
        left, top, right, bottom = (
            float(thing.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError:
        return found
    return {**found, "bbox": [left - 1, top - 1, right - left + 1, bottom - top + 1]}


# ---- LabelMe -------------------------------------------------------------------------------------------------------


def _read_labelme(source: ImageSource, files: list[tuple[str, int | None]]) -> set[str]:
    """Read LabelMe's files of pictures; those that were one, from the source's root."""
    read: set[str] = set()
    if not any('"shapes"' in (_read(path) or "") for path, image_id in files[:LOOKED_AT] if image_id is not None):
        return read  # other jsons beside pictures may be many and large
    for path, image_id in files:
        content: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(_read(path) or "")
        shapes = content.get("shapes") if isinstance(content, dict) else None
        if image_id is None or not isinstance(shapes, list):
            continue
        name = os.path.relpath(path, source.root)
        read.add(name)
        size = whole(content.get("imageWidth")), whole(content.get("imageHeight"))
        if size[0] and size[1]:
            source.sizes[image_id] = size[0], size[1]
        for number, shape in enumerate(shapes):
            item = Annotation({"image_id": image_id}, f"shapes[{number}] of {name}")
            if isinstance(shape, dict):
                item["category_id"] = category = printable(str(shape.get("label")))
                source.categories[category] = category
                with contextlib.suppress(TypeError, ValueError):  # without a box, it will be counted as such
                    item.update(_labelme(shape))
            source.annotations.append(item)
    if read:
        source.notes.append(f"annotations of {source.path}: LabelMe files of {len(read):,} pictures")
    return read


def _labelme(shape: dict[str, Any]) -> dict[str, Any]:
    """Box or polygon of a shape; nothing of lines and points."""
    points = [(float(x), float(y)) for x, y in shape["points"]] if isinstance(shape.get("points"), list) else []
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon":
        return {"segmentation": [[number for point in points for number in point]]}
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return {"bbox": [x - radius, y - radius, 2 * radius, 2 * radius]}
    if kind in ("rectangle", "mask") and len(points) in (2, 4):
        left, top = (min(axis) for axis in zip(*points, strict=True))
        right, bottom = (max(axis) for axis in zip(*points, strict=True))
        return {"bbox": [left, top, right - left, bottom - top]}
    return {}
