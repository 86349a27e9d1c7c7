"""Label files of pictures: YOLO's `.txt`, VOC's `.xml`, LabelMe's `.json`; beside them or in a folder next to theirs.

They change nothing about the pictures: ids and names stay those of the folder or list.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from orl_explore.images.annotations import POINTS
from orl_explore.images.class_files import ClassFiles, class_names
from orl_explore.images.file_names import folded
from orl_explore.images.image_source import (
    NO_NUMBERS,
    Annotation,
    ImageSource,
    SourceFile,
    bytes_of,
    decoded,
    printable,
    text_of,
    whole,
)
from orl_explore.images.label_columns import says, unread_keys, unread_note
from orl_explore.images.labelme import PICTURE_KEYS, SHAPE_KEYS, box_or_mask

PLACES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    ".txt": {"images": ("labels",), "jpegimages": ("labels",)},
    ".xml": {"images": ("annotations", "annotation", "annotations/xmls"), "jpegimages": ("annotations",)},
    "": {"images": ("annotations", "annotation")},
    ".json": {"images": ("labels", "annotations"), "jpegimages": ()},
}
"""By suffix of label files, what the folder of the pictures is called, and that of the labels in its place, in any
letter case. Stanford Dogs has VOC's files without a suffix, Oxford's pets have them one folder deeper."""

KINDS: Final = {"VOC": (".xml", ""), "LabelMe": (".json",), "YOLO": (".txt",)}
"""Suffixes of each kind of label files; the first kind that is there is read."""

ORPHAN: Final = "of a label file without a picture"
YOLO_KEYS: Final = frozenset(("image_id", "category_id", "bbox", "segmentation"))
VOC_KEYS: Final = frozenset(("folder", "filename", "path", "source", "owner", "size", "segmented", "object"))
VOC_OBJECT_KEYS: Final = frozenset(("name", "bndbox", "object", "id", "date"))
"""Fields that are read, or say nothing about what a picture shows."""

LOOKED_AT: Final = 50
"""Files by which it is decided whether they are labels: captions beside pictures are not."""


def read_label_files(source: ImageSource, *, orphans: bool = True) -> set[str]:
    """Give a folder or list the annotations that lie with its pictures, if there are any.

    Args:
        source: gets annotations, categories and notes.
        orphans: count the labels of pictures that the source does not have, too.

    Returns:
        The files that were read, or of which a note speaks: paths from the source's root.
    """
    readers = {"VOC": _read_voc, "LabelMe": _read_labelme, "YOLO": _read_yolo}
    settled: set[str] = set()
    read = None
    closed: dict[str, str] = {}
    for kind, suffixes in KINDS.items():
        found = _label_files(source, suffixes, orphans, closed)
        if found.files and read is None:
            unread: dict[str, str] = {}
            own = readers[kind](source, found.files, unread)
            settled |= own | _count_unread(source, dict(found.files), unread, suffixes[0])
            read = kind if own else None
            if own and source.annotations:
                settled.update(found.second)
                source.notes += found.notes()
        elif found.files:
            others = [os.path.relpath(path, source.root) for path, image_id in found.files if image_id is not None]
            source.notes.append(
                f"{_many(len(others), suffixes[0] + ' file')} named like pictures, such as {others[0]}: not read, as"
                f" {read} label files are"
            )
            settled.update(others)
    for reason, folders in _by_reason(source, closed).items():
        source.notes.append(
            f"{_many(len(folders), 'folder')} in which label files may lie cannot be listed ({reason}), such as"
            f" {folders[0]}: those are not read"
        )
    return settled


def _count_unread(source: ImageSource, owners: dict[str, int | None], unread: dict[str, str], suffix: str) -> set[str]:
    """Count the label files of pictures that could not be read, each as an annotation if others could; their names."""
    of_pictures = {path: reason for path, reason in unread.items() if reason and owners[path] is not None}
    by_reason = _by_reason(source, of_pictures)
    if source.annotations:
        for path, reason in of_pictures.items():
            what = f"that are whole label files, which cannot be read ({reason})"
            item = Annotation({"image_id": owners[path]}, os.path.relpath(path, source.root), what)
            source.annotations.append(item)
    else:
        source.notes += [
            f"{_many(len(names), suffix + ' file')} named like pictures cannot be read ({reason}), such as {names[0]}"
            for reason, names in by_reason.items()
        ]
    return {name for names in by_reason.values() for name in names}


def _note_unread(source: ImageSource, names: Iterable[str]) -> None:
    if note := unread_note(f"the label files of {source.path}", names):
        source.notes.append(note)


def _by_reason(source: ImageSource, paths: dict[str, str]) -> dict[str, list[str]]:
    """Paths from the source's root, by the reasons that are given for them."""
    found: dict[str, list[str]] = {}
    for path, reason in paths.items():
        found.setdefault(reason, []).append(os.path.relpath(path, source.root))
    return found


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@dataclass
class _Found:
    """Label files of a kind."""

    files: list[tuple[str, int | None]] = field(default_factory=list)
    """Paths, one a picture, and the id of each one's picture; None where there is no such picture."""
    second: list[str] = field(default_factory=list)
    """More files of the same pictures, from the source's root."""
    namesakes: list[tuple[str, str]] = field(default_factory=list)
    """Pictures of the same name but for the suffix: the one whose labels they are, and the other."""
    otherwise: list[tuple[str, str]] = field(default_factory=list)
    """Label files whose name is their picture's in another letter case or Unicode form, and the picture."""

    def notes(self) -> list[str]:
        """What is to be said of them."""
        notes = []
        if self.otherwise:
            file, picture = self.otherwise[0]
            notes.append(
                f"{_many(len(self.otherwise), 'label file')} found in another letter case or Unicode form ({file!r} is"
                f" of {picture!r})"
            )
        if self.second:
            notes.append(
                f"{_many(len(self.second), 'label file')} of pictures that have one already, such as {self.second[0]}:"
                " not read"
            )
        if self.namesakes:
            first, other = self.namesakes[0]
            notes.append(
                f"{_many(len(self.namesakes), 'picture')} with the name of another but for the suffix, such as {other}:"
                f" the label file is taken for {first}'s alone"
            )
        return notes


def _label_files(source: ImageSource, suffixes: Sequence[str], orphans: bool, closed: dict[str, str]) -> _Found:
    """Look for label files; without any of a picture there are none. Folders that cannot be listed go to `closed`."""
    folders: dict[str, dict[str, SourceFile]] = {}
    namesakes: list[tuple[str, str]] = []
    for file in source.files:
        if file.reason is None:
            folder, _, name = (source.root / file.name).as_posix().rpartition("/")
            first = folders.setdefault(folder, {}).setdefault(name.rpartition(".")[0], file)
            if first is not file:
                namesakes.append((first.name, file.name))
    owners: dict[str, int | None] = {}
    labeled: dict[str, str] = {}  # picture -> its label file
    second: list[str] = []
    found_otherwise: list[tuple[str, str]] = []
    named = functools.cache(functools.partial(_named, closed))  # thousands of folders may lie in one
    for folder, pictures in folders.items():
        stems = [
            (f"{place}/{name}", name.rpartition(".")[0] if suffix else name)
            for suffix in suffixes
            for place in _places(folder, suffix, named)
            for name in _entries(place, closed)
            if name.lower().endswith(suffix) and (suffix or name in pictures or "." not in name)
        ]
        stems.sort(key=lambda item: item[1] not in pictures)  # exact names come first
        forms = _in_other_forms(pictures) if stems and stems[-1][1] not in pictures else {}
        for path, stem in stems:
            picture = pictures.get(stem) or forms.get(folded(stem))
            if picture is None:
                if orphans:
                    owners.setdefault(path, None)
            elif labeled.setdefault(picture.name, path) != path:
                second.append(os.path.relpath(path, source.root))
            elif owners.get(path) is None:
                owners[path] = picture.image_id
                if stem not in pictures:
                    found_otherwise.append((os.path.relpath(path, source.root), picture.name))
    if not labeled:
        return _Found()
    return _Found(list(owners.items()), second, [pair for pair in namesakes if pair[0] in labeled], found_otherwise)


def _in_other_forms(pictures: dict[str, SourceFile]) -> dict[str, SourceFile | None]:
    """Pictures by their names in any letter case and Unicode form; None where that is the name of several."""
    found: dict[str, SourceFile | None] = {}
    for stem, picture in pictures.items():
        form = folded(stem)
        found[form] = None if form in found else picture
    return found


def _places(folder: str, suffix: str, named: Callable[[str, str], list[str]]) -> Iterator[str]:
    """Where the labels of the pictures in a folder may lie; `named` is `_named`, without its first argument."""
    if suffix:
        yield folder
    parts = folder.split("/")
    for at in range(len(parts) - 1, -1, -1):
        if others := PLACES[suffix].get(parts[at].lower()):
            for other in others:
                for place in named("/".join(parts[:at]), other):
                    yield "/".join([place, *parts[at + 1 :]])
            return


def _named(closed: dict[str, str], parent: str, path: str) -> list[str]:
    """Folders below another, by their path in small letters."""
    found = [parent]
    for name in path.split("/"):
        found = [
            f"{folder}/{entry}"
            for folder in found
            for entry in _entries(folder or "/", closed)
            if entry.lower() == name
        ]
    return found


def _entries(folder: str, closed: dict[str, str]) -> list[str]:
    """Names in a folder, sorted; none where it cannot be listed, which `closed` tells unless there is none."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        closed[folder] = error.strerror or type(error).__name__
        return []


# ---- YOLO ----------------------------------------------------------------------------------------------------------


def _read_yolo(source: ImageSource, files: list[tuple[str, int | None]], unread: dict[str, str]) -> set[str]:
    """Read YOLO's label files of pictures, or say that their text files are none."""
    with_picture = [path for path, image_id in files if image_id is not None]
    looked_at = itertools.islice(filter(None, (_lines(path, unread) for path in with_picture)), LOOKED_AT)
    lines = [line for own in looked_at for line in own]
    if not lines or 2 * sum(_yolo(line) is not None for _, line in lines) <= len(lines):
        if lines:
            source.notes.append(
                f"{len(with_picture):,} text files beside the pictures of {source.path} are no YOLO labels: not read"
            )
        return {os.path.relpath(path, source.root) for path in with_picture}
    read = set()
    source.scale = 1.0
    names_for = functools.cache(functools.partial(class_names, source, ClassFiles(source, set(with_picture))))
    for path, image_id in files:
        own = _lines(path, unread)
        if path in unread or (image_id is None and 2 * sum(_yolo(line) is not None for _, line in own) <= len(own)):
            continue  # a list of classes, or of files
        read.add(name := os.path.relpath(path, source.root))
        names = names_for(path.rpartition("/")[0]) if own else {}
        for number, line in own:
            where = f"line {number} of {name}"
            item = Annotation({"image_id": image_id, **(_yolo(line) or {})}, where)
            item.left_out = ORPHAN if image_id is None else "that are no YOLO labels" if len(item) == 1 else None
            if (category := names.get(item.get("category_id"))) is not None:
                item["category_id"] = category
                source.categories[category] = category
            source.annotations.append(item)
    count = sum(path not in unread for path in with_picture)
    source.notes.append(f"annotations of {source.path}: YOLO labels in {count:,} files")
    _note_unread(source, unread_keys(source.annotations, YOLO_KEYS))
    return read


def _lines(path: str, unread: dict[str, str]) -> list[tuple[int, str]]:
    """Lines of a label file that are not empty, and their numbers; what is no UTF-8 in them can be no number."""
    lines = decoded(bytes_of(path, unread), "replace").splitlines()
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _yolo(line: str) -> dict[str, Any] | None:
    """A line as an annotation in shares of the image: a class, then center and size, or a polygon; else None.

    Behind a box may stand its confidence, or keypoints: two shares each, and 0, 1 or 2 for how visible it is. Which of
    them it is, is a field of its own.
    """
    words = line.split()
    try:
        first, *numbers = map(float, words)
    except ValueError:
        return None
    category = whole(first)  # which numpy.savetxt writes as 0.0e+00
    if category is None or not all(-1 <= number <= 2 for number in numbers):
        return None
    visible = numbers[6::3] if len(numbers) % 3 == 1 else []
    keypoints = set(visible) <= {0, 1, 2} and (2 in visible or (visible and len(numbers) % 2))
    if len(numbers) in (4, 5) or keypoints:
        x, y, w, h = numbers[:4]
        more = {} if len(numbers) == 4 else {"confidence" if len(numbers) == 5 else "keypoints": True}
        return {"category_id": category, "bbox": [x - w / 2, y - h / 2, w, h], **more}
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        return {"category_id": category, "segmentation": [numbers]}
    return None


# ---- VOC -----------------------------------------------------------------------------------------------------------


def _read_voc(source: ImageSource, files: list[tuple[str, int | None]], unread: dict[str, str]) -> set[str]:
    """Read VOC's label files; those that were read, none where not one of them is of a picture."""
    read, pictures, unsaid = set(), 0, list[str]()
    for path, image_id in files:
        name = os.path.relpath(path, source.root)
        tree = _tree(bytes_of(path, unread))
        if tree is None or tree.tag != "annotation":
            if image_id is not None and path not in unread:
                source.annotations.append(Annotation({"image_id": image_id}, name, "that are no VOC label files"))
                read.add(name)
            continue
        read.add(name)
        pictures += image_id is not None
        size = [whole((tree.findtext(f"size/{side}") or "").strip()) for side in ("width", "height")]
        if image_id is not None and size[0] and size[1]:
            source.sizes[image_id] = size[0], size[1]
        unsaid += [f"{key} of a picture" for key in _unsaid(tree, VOC_KEYS)]
        for number, thing in enumerate(tree.iter("object")):
            unsaid += _unsaid(thing, VOC_OBJECT_KEYS)
            item = Annotation({"image_id": image_id, **_voc(thing)}, f"object {number} of {name}")
            item.left_out = ORPHAN if image_id is None else None
            if (category := item.get("category_id")) is not None:
                source.categories[category] = category
            source.annotations.append(item)
    if not pictures:
        source.annotations.clear()
        return set()
    source.notes.append(f"annotations of {source.path}: VOC label files of {pictures:,} pictures")
    _note_unread(source, unsaid)
    return read


def _tree(data: bytes) -> ElementTree.Element | None:
    """The root of an xml, in whatever encoding it says, of which the parser knows a few; None where it is none."""
    try:
        said = re.match(rb"""\s*<\?xml[^>]*?encoding=["']([\w.-]+)["'][^>]*?\?>""", data)
        return ElementTree.fromstring(data[said.end() :].decode(said[1].decode()) if said else data)
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _unsaid(thing: ElementTree.Element, known: frozenset[str]) -> Iterator[str]:
    """As `unread_keys`, of what stands within an element."""
    return (field.tag for field in thing if field.tag not in known and says(len(field) or field.text))


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


def _read_labelme(source: ImageSource, files: list[tuple[str, int | None]], unread: dict[str, str]) -> set[str]:
    """Read LabelMe's files of pictures; those that were one, from the source's root."""
    read: set[str] = set()
    texts = filter(None, (text_of(path, unread) for path, image_id in files if image_id is not None))
    if not any('"shapes"' in text for text in itertools.islice(texts, LOOKED_AT)):
        return read  # other jsons beside pictures may be many and large
    pictures, unsaid = 0, list[str]()
    for path, image_id in files:
        text = text_of(path, unread)
        content: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(text)
        shapes = content.get("shapes") if isinstance(content, dict) else None
        name = os.path.relpath(path, source.root)
        if not isinstance(shapes, list):
            if image_id is not None and path not in unread and (content is None or '"shapes"' in text):
                source.annotations.append(Annotation({"image_id": image_id}, name, "that are no LabelMe files"))
                read.add(name)
            continue
        read.add(name)
        pictures += image_id is not None
        size = whole(content.get("imageWidth")), whole(content.get("imageHeight"))
        if image_id is not None and size[0] and size[1]:
            source.sizes[image_id] = size[0], size[1]
        unsaid += [f"{key} of a picture" for key in unread_keys([content], PICTURE_KEYS)]
        unsaid += unread_keys(shapes, SHAPE_KEYS)
        for number, shape in enumerate(shapes):
            where = f"shapes[{number}] of {name}"
            item = Annotation({"image_id": image_id}, where, ORPHAN if image_id is None else None)
            if isinstance(shape, dict):
                if shape.get("shape_type") in ("point", "points", "line", "linestrip"):
                    item.left_out = item.left_out or POINTS
                if shape.get("label") is not None:
                    item["category_id"] = category = printable(str(shape["label"]))
                    source.categories[category] = category
                with contextlib.suppress(*NO_NUMBERS):  # without a box, it will be counted as such
                    item.update(box_or_mask(shape))
                unsaid += ["mask"] * bool(shape.get("mask") and not item.get("segmentation"))
            source.annotations.append(item)
    if read:
        source.notes.append(f"annotations of {source.path}: LabelMe files of {pictures:,} pictures")
        _note_unread(source, unsaid)
    return read
