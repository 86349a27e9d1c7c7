"""What labeling tools export that is no COCO json: jsons of FiftyOne, Label Studio, CreateML and VIA, CVAT's xml."""

from __future__ import annotations

import contextlib
import math
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from orl_explore.errors import OrlError
from orl_explore.images.annotations import POINTS, UNREAD
from orl_explore.images.file_names import FileNames, Spelling, list_files
from orl_explore.images.image_source import (
    NO_NUMBERS,
    Annotation,
    Entry,
    ImageSource,
    SourceFile,
    path_id,
    printable,
    whole,
)
from orl_explore.images.kinds import SUFFIXES
from orl_explore.images.label_columns import conflict_note, label_columns, merge_labels, unread_keys, unread_note
from orl_explore.images.label_studio import ellipse_box, is_task, rotated, task_entry
from orl_explore.images.locating import candidate_folders, locate
from orl_explore.images.packed_masks import BoxMask, file_mask, numpy_mask, run_mask
from orl_explore.images.via import via_entries, via_pictures


def export_kind(content: Any) -> str | None:
    """Whose json it is; None where it is of no tool that is known here. COCO's are `coco.open_coco`'s."""
    if isinstance(content, dict):
        if isinstance(content.get("images"), list):
            return None
        if isinstance(content.get("labels"), dict):
            return "FiftyOne labels"
        if isinstance(content.get("samples"), list):
            return "FiftyOne samples"
        return None if via_pictures(content) is None else "VIA"
    if isinstance(content, list) and content and all(is_task(task) for task in content):
        return "CreateML" if any(_is_createml(task) for task in content) else "Label Studio"
    return None


def open_export(path: Path, root: Path | None, content: Any, label_field: str | None = None) -> ImageSource | None:
    """What the json of a tool names; None where it is of none that is known here.

    Args:
        path: the file.
        root: where its images are; None looks beside it.
        content: of the file.
        label_field: of FiftyOne samples, the field that holds the annotations; None: the only one, or ground_truth.

    Raises:
        OrlError: the file is damaged, or none of its images is found; which field is meant cannot be told.
    """
    notes: list[str] = []
    match export_kind(content):
        case "FiftyOne labels":
            source = _fiftyone_labels(path, root, content)
        case "FiftyOne samples":
            fields = _fields(content["samples"])
            chosen = _chosen_field(path, fields, label_field)
            source = _source(path, root, _fiftyone_samples(path, content["samples"], chosen), scale=1.0)
            source.label_fields = dict(fields)
            if len(fields) > 1:
                others = ", ".join(f"{name} ({count:,})" for name, count in fields.items() if name != chosen)
                notes.append(
                    f"annotations of {path.name} are those of its field {chosen} ({fields[chosen]:,}); --field takes"
                    f" another: {others}"
                )
        case "VIA":
            entries, notes = via_entries(path, content)
            source = _source(path, root, entries, scale=None)
        case "CreateML":
            entries = [_createml(path, number, task) for number, task in enumerate(content)]
            source = _source(path, root, entries, scale=None)
        case "Label Studio":
            source = _label_studio(path, root, content)
        case _:
            return None
    source.notes += notes
    return source


def _source(path: Path, root: Path | None, entries: Sequence[Entry], *, scale: float | None) -> ImageSource:
    located = locate(path, [entry.name for entry in entries], candidate_folders(path, root), line=True)
    return _assemble(path, located.root, entries, located.names, located.reasons, located.spelling, scale)


def _assemble(
    path: Path,
    root: Path,
    entries: Sequence[Entry],
    names: Sequence[str | None],
    reasons: Sequence[str | None],
    spelling: Spelling,
    scale: float | None,
) -> ImageSource:
    """A source of pictures that go by their paths, as those of a folder do."""
    source = ImageSource(path, root, [], scale=scale)
    columns, source.notes = label_columns(path.name, [entry.labels for entry in entries])
    if note := unread_note(path.name, (name for entry in entries for name in entry.unread)):
        source.notes.append(note)
    seen: dict[int, dict[str, Any]] = {}
    conflicts: Counter[str] = Counter()
    for entry, labels, found, reason in zip(entries, columns, names, reasons, strict=True):
        name = entry.name if found is None else found
        image_id = path_id(name)
        if image_id not in seen:
            seen[image_id] = labels
        elif reason is None:
            reason = "listed twice"
            merge_labels(seen[image_id], labels, conflicts)
        source.files.append(SourceFile(name, image_id, labels, reason))
        if entry.size and image_id not in source.sizes:
            source.sizes[image_id] = entry.size
        for item in entry.items:
            item["image_id"] = image_id
            category = item.get("category_id")
            if isinstance(category, str):
                item["category_id"] = category = printable(category)
                source.categories[category] = category
            source.annotations.append(item)
    source.notes += conflict_note(f"a second listing in {path.name}", "the first", conflicts)
    if note := spelling.note(path.name):
        source.notes.append(note)
    return source


FIFTYONES_OWN: Final = ("id", "filepath", "media_type", "metadata", "created_at", "last_modified_at")
"""Fields of a FiftyOne sample that say nothing about what it shows."""
FIFTYONE_KEYS: Final = frozenset(
    ("_cls", "_id", "id", "label", "bounding_box", "points", "mask", "mask_path", "closed", "filled")
)
FIFTYONE_LABEL_KEYS: Final = frozenset(("_cls", "_id", "id", "label", "value"))
CREATEML_KEYS: Final = frozenset(("image", "imagefilename", "annotations"))
CVAT_IMAGE_KEYS: Final = frozenset(("id", "name", "width", "height", "task_id", "job_id"))
CVAT_KEYS: Final = frozenset(
    (
        *("label", "source", "points", "xtl", "ytl", "xbr", "ybr", "cx", "cy", "rx", "ry", "rotation"),
        *("rle", "left", "top", "width", "height"),
    )
)
"""Fields that are read, or say nothing about what a picture shows."""


# ---- FiftyOne ------------------------------------------------------------------------------------------------------


def _fiftyone_labels(path: Path, root: Path | None, content: dict[str, Any]) -> ImageSource:
    """FiftyOne's `labels.json` beside `data/`: labels by file name without suffix."""
    classes = content["classes"] if isinstance(content.get("classes"), list) else []
    entries = []
    for name, labels in content["labels"].items():
        entry = Entry(name)
        if isinstance(labels, list):
            entry.unread += [f"{key} of an object" for key in unread_keys(labels, FIFTYONE_KEYS)]
            for number, label in enumerate(labels):
                item = _fiftyone_detection(label, path.parent, f"labels[{name!r}][{number}] of {path.name}")
                category = whole(item.get("category_id"))
                if category is not None and 0 <= category < len(classes):
                    item["category_id"] = str(classes[category])
                entry.items.append(item)
        elif labels is not None:
            category = whole(labels)
            known = category is not None and 0 <= category < len(classes)
            entry.labels["label"] = printable(str(classes[category or 0] if known else labels))
        entries.append(entry)
    best = candidate_folders(path, root)[0]
    names: list[str | None] = []
    for folder in candidate_folders(path, root):
        files = [file for file in list_files(folder) if file.lower().endswith(SUFFIXES)] if folder.is_dir() else []
        stems = FileNames([file.rpartition(".")[0] for file in files])
        matches = stems.find_all([entry.name.removesuffix(Path(entry.name).suffix) for entry in entries])
        exact = FileNames(files).find_all([entry.name for entry in entries])
        found = [
            files[match.index] if match.index is not None else files[other.index] if other.index is not None else None
            for match, other in zip(exact, matches, strict=True)
        ]
        if sum(name is not None for name in found) > sum(name is not None for name in names):
            best, names = folder, found
    names = names or [None] * len(entries)
    reasons = [None if name is not None else "no such file" for name in names]
    return _assemble(path, best, entries, names, reasons, Spelling(), 1.0)


def _fields(samples: list[Any]) -> dict[str, int]:
    """Fields of FiftyOne samples that hold detections or polylines, and how many, by name."""
    fields: Counter[str] = Counter()
    for sample in samples:
        for name, value in sample.items() if isinstance(sample, dict) else ():
            kind, things = _things(value)
            if kind in ("detections", "polylines"):
                fields[name] += len(things)
    return dict(sorted(fields.items()))


def _chosen_field(path: Path, fields: dict[str, int], wanted: str | None) -> str:
    found = ", ".join(f"{name} ({count:,})" for name, count in fields.items())
    if wanted is not None and wanted not in fields:
        raise OrlError(f"{path} has no detections in a field {wanted!r}, but in: {found or 'none'}")
    if wanted is None and len(fields) > 1 and "ground_truth" not in fields:
        raise OrlError(
            f"{path} has detections in several fields, {found}: choose one, as in --field {next(iter(fields))}"
            " (label_field=...)"
        )
    return wanted or ("ground_truth" if "ground_truth" in fields else next(iter(fields), ""))


def _fiftyone_samples(path: Path, samples: list[Any], label_field: str) -> list[Entry]:
    """FiftyOne's `samples.json`: a list with `filepath`, and fields that hold detections, of which one is read."""
    entries = []
    for number, sample in enumerate(samples):
        if not isinstance(sample, dict) or not isinstance(sample.get("filepath"), str):
            raise OrlError(f"{path}: samples[{number}] has no filepath: is it the samples.json of a FiftyOne data set?")
        entry = Entry(sample["filepath"])
        for name, value in sample.items():
            where = f"samples[{number}].{name}[{{}}] of {path.name}"
            _fiftyone_field(entry, name, value, name == label_field, path.parent, where)
        entries.append(entry)
    return entries


def _fiftyone_field(entry: Entry, name: str, value: Any, chosen: bool, folder: Path, where: str) -> None:
    """Take a field of a sample: things with boxes where it is the chosen one, keypoints as left out, else labels."""
    if name in FIFTYONES_OWN or name.startswith("_"):
        return
    kind, things = _things(value)
    if kind in ("detections", "polylines") and chosen:
        entry.items += [_fiftyone_detection(thing, folder, where.format(place)) for place, thing in enumerate(things)]
        entry.unread += [f"{key} of {name}" for key in unread_keys(things, FIFTYONE_KEYS)]
    elif kind == "keypoints":
        entry.items += [Annotation({}, where.format(place), POINTS) for place in range(len(things))]
    elif kind == "labels":
        said = [one for one in things if isinstance(one, str | int | float)]
        if len(said) == len(things) == 1:
            entry.labels[name] = said[0]
        elif said:
            entry.labels[name] = ", ".join(map(str, said))
        entry.unread += [name] * (len(things) - len(said))
        own = value.get("classifications", [value]) if isinstance(value, dict) else []
        labeled = [one for one in own if isinstance(one, dict) and {"label", "value"} & one.keys()]
        entry.unread += [f"{key} of {name}" for key in unread_keys(labeled, FIFTYONE_LABEL_KEYS)]
    elif kind is None and value not in (None, [], {}):
        entry.unread.append(name)


def _things(value: Any) -> tuple[str | None, list[Any]]:
    """What a field of a sample holds, one or several: detections, polylines, keypoints, or labels; None: else."""
    if isinstance(value, str | int | float):
        return "labels", [value]
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):  # tags
        return "labels", value
    if not isinstance(value, dict):
        return None, []
    for kind in ("detections", "polylines", "keypoints"):
        if isinstance(value.get(kind), list):
            return kind, value[kind]
    several = value.get("classifications")
    if isinstance(several, list):
        return "labels", [one.get("label") if isinstance(one, dict) else None for one in several]
    if "bounding_box" in value:
        return "detections", [value]
    if isinstance(points := value.get("points"), list):
        return "polylines" if points and all(map(_pairs, points)) else "keypoints", [value]
    found = [value[key] for key in ("label", "value") if isinstance(value.get(key), str | int | float)]
    return ("labels", found[:1]) if found else (None, [])


def _fiftyone_detection(thing: Any, folder: Path, where: str) -> Annotation:
    if not isinstance(thing, dict):
        return Annotation({}, where, "that are no objects of JSON")
    item = Annotation({"category_id": thing.get("label"), "bbox": thing.get("bounding_box")}, where)
    if mask := thing.get("mask"):
        item["segmentation"] = BoxMask(thing.get("bounding_box"), partial(numpy_mask, mask))
    elif name := thing.get("mask_path"):
        item["segmentation"] = BoxMask(thing.get("bounding_box"), partial(file_mask, folder, name), in_file=True)
    if isinstance(thing.get("points"), list):  # a polyline
        item["segmentation"] = [
            [number for pair in line for number in pair] for line in thing["points"] if _pairs(line)
        ]
    return item


def _pairs(line: Any) -> bool:
    return isinstance(line, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in line)


# ---- Label Studio --------------------------------------------------------------------------------------------------


def _label_studio(path: Path, root: Path | None, tasks: list[dict[str, Any]]) -> ImageSource:
    """Label Studio's JSON and JSON-MIN: tasks with a picture's address and regions in percent of it."""
    entries = [task_entry(path, number, task) for number, task in enumerate(tasks)]
    source = _source(path, root, entries, scale=100.0)
    if not any(file.reason is None for file in source.files):
        # Uploaded pictures have eight digits before their name, which those on the disk need not have.
        for entry in entries:
            folder, slash, name = entry.name.rpartition("/")
            entry.name = folder + slash + re.sub(r"^[0-9a-f]{8}-", "", name)
        source = _source(path, root, entries, scale=100.0)
    return source


# ---- CreateML ------------------------------------------------------------------------------------------------------


def _is_createml(task: dict[str, Any]) -> bool:
    items = task.get("annotations")
    return isinstance(items, list) and any(isinstance(item, dict) and "coordinates" in item for item in items)


def _createml(path: Path, number: int, task: dict[str, Any]) -> Entry:
    """A picture of a CreateML json: boxes by center and size, in pixels, and what else is said."""
    entry = Entry(str(task.get("image") or task.get("imagefilename") or ""))
    entry.add_labels({key: value for key, value in task.items() if key not in CREATEML_KEYS})
    items = task.get("annotations")
    for place, thing in enumerate(items if isinstance(items, list) else ()):
        entry.unread += [f"{key} of an object" for key in unread_keys([thing], {"label", "coordinates"})]
        item = Annotation({}, f"[{number}].annotations[{place}] of {path.name}")
        if isinstance(thing, dict):
            item["category_id"] = thing.get("label")
            with contextlib.suppress(*NO_NUMBERS):  # without a box, it will be counted as such
                x, y, w, h = (float(thing["coordinates"][key]) for key in ("x", "y", "width", "height"))
                item["bbox"] = [x - w / 2, y - h / 2, w, h]
        entry.items.append(item)
    return entry


# ---- CVAT ----------------------------------------------------------------------------------------------------------


def open_cvat(path: Path, root: Path | None) -> ImageSource:
    """What a CVAT xml ("CVAT for images") names.

    Raises:
        OrlError: it is another xml.
    """
    try:
        tree = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise OrlError(f"{path} is no XML, or ends too early ({error}): export it again") from None
    if tree.tag == "annotation":
        raise OrlError(f"{path} is the label file of one picture: name the folder of all of them")
    if tree.tag != "annotations" or tree.find("image") is None:
        raise OrlError(f"{path} is no export of CVAT for images: export it as such, or as COCO")
    return _source(path, root, [_cvat_image(path, image) for image in tree.iter("image")], scale=None)


def _cvat_image(path: Path, image: ElementTree.Element) -> Entry:
    width, height = whole(image.get("width", "")), whole(image.get("height", ""))
    entry = Entry(image.get("name", ""), size=(width, height) if width and height else None)
    for number, shape in enumerate(image):
        entry.unread += [f"attribute {one.get('name')}" for one in shape.iter("attribute")]
        if shape.tag == "tag":
            tags = [entry.labels["tag"]] if "tag" in entry.labels else []
            entry.labels["tag"] = ", ".join([*tags, printable(shape.get("label", ""))])
            continue
        where = f"{shape.tag} {number} of {entry.name} in {path.name}"
        item = Annotation({"category_id": shape.get("label")}, where)
        if shape.tag not in ("box", "polygon", "ellipse", "mask"):
            item.left_out = POINTS if shape.tag in ("points", "polyline", "skeleton") else UNREAD
        else:
            entry.unread += [f"{key} of a shape" for key in unread_keys([shape.attrib], CVAT_KEYS)]
        with contextlib.suppress(*NO_NUMBERS):  # without a box, it will be counted as such
            item.update(_cvat_shape(shape))
        entry.items.append(item)
    entry.add_labels({key: value for key, value in image.attrib.items() if key not in CVAT_IMAGE_KEYS})
    return entry


def _cvat_shape(shape: ElementTree.Element) -> dict[str, Any]:
    """Box, polygon or mask of a shape, in pixels; nothing of lines and points."""

    def numbers(*names: str) -> Iterator[float]:
        return (float(shape.attrib[name]) for name in names)

    if shape.tag == "polygon":
        return {"segmentation": [[float(n) for pair in shape.attrib["points"].split(";") for n in pair.split(",")]]}
    if shape.tag == "ellipse":
        return {"bbox": ellipse_box(numbers("cx", "cy", "rx", "ry"), math.radians(float(shape.get("rotation") or 0)))}
    if shape.tag == "box":
        left, top, right, bottom = numbers("xtl", "ytl", "xbr", "ybr")
        if not (angle := float(shape.get("rotation") or 0)):
            return {"bbox": [left, top, right - left, bottom - top]}
        x, y, a, b = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
        turned = rotated([(-a, -b), (a, -b), (a, b), (-a, b)], angle)  # about its center
        return {"segmentation": [[n for p, q in turned for n in (x + p, y + q)]]}
    if shape.tag == "mask":
        left, top, width, height = (int(n) for n in numbers("left", "top", "width", "height"))
        runs = [int(run) for run in shape.attrib["rle"].split(",")]
        return {"segmentation": BoxMask((left, top, width, height), partial(run_mask, runs, width, height))}
    return {}
