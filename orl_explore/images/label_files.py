"""Label files of a folder's pictures: YOLO's `.txt` and VOC's `.xml`, beside them or in a folder next to theirs.

They change nothing about the pictures: ids and names stay those of the folder.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from orl_explore.images.image_source import Annotation, ImageSource, whole

PLACES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    ".txt": {"images": ("labels",), "jpegimages": ("labels",)},
    ".xml": {"images": ("Annotations", "annotations"), "jpegimages": ("Annotations",)},
}
"""By kind of label file, what the folder of the pictures is called, and that of the labels in its place."""

CLASS_FILES: Final = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "_darknet.labels")
ORPHAN: Final = "of a label file without a picture"
LOOKED_AT: Final = 50
"""Text files by which it is decided whether they are YOLO's: captions beside pictures are not."""


def read_label_files(source: ImageSource) -> None:
    """Give a folder the annotations that lie with its pictures, if there are any."""
    found = {suffix: _label_files(source, suffix) for suffix in PLACES}
    if found[".xml"] and _read_voc(source, found[".xml"]):
        return
    if texts := found[".txt"]:
        _read_yolo(source, texts)


def _label_files(source: ImageSource, suffix: str) -> list[tuple[str, int | None]]:
    """Label files of a kind, and the id of the picture of each; None where there is no such picture."""
    folders: dict[str, dict[str, int]] = {}
    for file in source.files:
        if file.reason is None:
            folder, _, name = f"{source.root.as_posix()}/{file.name}".rpartition("/")
            folders.setdefault(folder, {})[name.rpartition(".")[0]] = file.image_id
    found: dict[str, int | None] = {}
    for folder, pictures in folders.items():
        for place in _places(folder, suffix):
            try:
                names = sorted(os.listdir(place))  # noqa: PTH208
            except OSError:
                continue
            for name in names:
                if name.lower().endswith(suffix):
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
        return Path(path).read_text("utf-8-sig")
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
