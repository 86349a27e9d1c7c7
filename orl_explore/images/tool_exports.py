"""What labeling tools export that is no COCO json: jsons of FiftyOne, Label Studio, CreateML and VIA, CVAT's xml."""

from __future__ import annotations

import contextlib
import math
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orl_explore.errors import OrlError
from orl_explore.images.annotations import CANCELED, PREDICTED, SECOND
from orl_explore.images.file_names import FileNames, Spelling, list_files
from orl_explore.images.image_source import Annotation, Entry, ImageSource, SourceFile, path_id, printable, whole
from orl_explore.images.kinds import SUFFIXES
from orl_explore.images.label_columns import label_columns, unread_note
from orl_explore.images.locating import candidate_folders, locate
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
    if isinstance(content, list) and content and all(_is_task(task) for task in content):
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
    seen: set[int] = set()
    for entry, labels, found, reason in zip(entries, columns, names, reasons, strict=True):
        name = entry.name if found is None else found
        image_id = path_id(name)
        if image_id in seen:
            reason = reason or "listed twice"
        seen.add(image_id)
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
    if note := spelling.note(path.name):
        source.notes.append(note)
    return source


# ---- FiftyOne ------------------------------------------------------------------------------------------------------


def _fiftyone_labels(path: Path, root: Path | None, content: dict[str, Any]) -> ImageSource:
    """FiftyOne's `labels.json` beside `data/`: labels by file name without suffix."""
    classes = content["classes"] if isinstance(content.get("classes"), list) else []
    entries = []
    for name, labels in content["labels"].items():
        entry = Entry(name)
        if isinstance(labels, list):
            for number, label in enumerate(labels):
                item = _fiftyone_detection(label, f"labels[{name!r}][{number}] of {path.name}")
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
            for kind in ("detections", "polylines"):
                if isinstance(value, dict) and isinstance(value.get(kind), list):
                    fields[name] += len(value[kind])
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
        value = sample.get(label_field)
        for kind in ("detections", "polylines"):
            things = value.get(kind) if isinstance(value, dict) else None
            for place, thing in enumerate(things if isinstance(things, list) else ()):
                entry.items.append(
                    _fiftyone_detection(thing, f"samples[{number}].{label_field}[{place}] of {path.name}")
                )
        for name, other in sample.items():
            several = other.get("classifications") if isinstance(other, dict) else None
            labels = [
                one.get("label") for one in (several if isinstance(several, list) else [other]) if isinstance(one, dict)
            ]
            if texts := [printable(label) for label in labels if isinstance(label, str)]:
                entry.labels[name] = ", ".join(texts)
        entries.append(entry)
    return entries


def _fiftyone_detection(thing: Any, where: str) -> Annotation:
    if not isinstance(thing, dict):
        return Annotation({}, where, "that are no objects of JSON")
    item = Annotation({"category_id": thing.get("label"), "bbox": thing.get("bounding_box")}, where)
    if isinstance(thing.get("points"), list):  # a polyline
        item["segmentation"] = [
            [number for pair in line for number in pair] for line in thing["points"] if _pairs(line)
        ]
    return item


def _pairs(line: Any) -> bool:
    return isinstance(line, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in line)


# ---- Label Studio --------------------------------------------------------------------------------------------------


def _is_task(task: Any) -> bool:
    if not isinstance(task, dict):
        return False
    return isinstance(task.get("data"), dict) or (isinstance(task.get("image"), str) and "bbox" not in task)


def _label_studio(path: Path, root: Path | None, tasks: list[dict[str, Any]]) -> ImageSource:
    """Label Studio's JSON and JSON-MIN: tasks with a picture's address and regions in percent of it."""
    entries = [_task(path, number, task) for number, task in enumerate(tasks)]
    source = _source(path, root, entries, scale=100.0)
    if not any(file.reason is None for file in source.files):
        # Uploaded pictures have eight digits before their name, which those on the disk need not have.
        for entry in entries:
            folder, slash, name = entry.name.rpartition("/")
            entry.name = folder + slash + re.sub(r"^[0-9a-f]{8}-", "", name)
        source = _source(path, root, entries, scale=100.0)
    return source


def _task(path: Path, number: int, task: dict[str, Any]) -> Entry:
    data = task["data"] if isinstance(task.get("data"), dict) else task
    texts = [value for value in data.values() if isinstance(value, str)]
    address = next((text for text in texts if _is_picture(text)), texts[0] if texts else "")
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)
    entry = Entry(query["d"][0] if "d" in query else address.partition("?")[0])
    for annotation, reason in _annotators(task):
        results = annotation.get("result")
        for place, result in enumerate(results if isinstance(results, list) else ()):
            if isinstance(result, dict) and isinstance(result.get("value"), dict):
                facts = {**result["value"], **{key: result.get(key) for key in ("original_width", "original_height")}}
                where = f"result {place} of task {number} of {path.name}"
                _region(entry, facts, str(result.get("from_name") or "label"), where, reason)
    if not isinstance(task.get("data"), dict):  # JSON-MIN
        for key, regions in task.items():
            for place, region in enumerate(regions if isinstance(regions, list) else ()):
                if isinstance(region, dict):
                    _region(entry, region, key, f"{key}[{place}] of task {number} of {path.name}", None)
    return entry


def _annotators(task: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str | None]]:
    """What persons and models have drawn on a picture, and why it is not read; the first person's is."""
    reason = None
    annotations = task.get("annotations") or task.get("completions")
    for annotation in annotations if isinstance(annotations, list) else ():
        if isinstance(annotation, dict) and annotation.get("was_cancelled"):
            yield annotation, CANCELED
        elif isinstance(annotation, dict):
            yield annotation, reason
            reason = SECOND
    predictions = task.get("predictions")
    for prediction in predictions if isinstance(predictions, list) else ():
        if isinstance(prediction, dict):
            yield prediction, PREDICTED


def _is_picture(text: str) -> bool:
    return urllib.parse.urlsplit(text).path.lower().endswith(SUFFIXES) or "?d=" in text


def _region(entry: Entry, value: dict[str, Any], name: str, where: str, reason: str | None) -> None:
    """Add one region, or the picture's own label, to an entry; `reason`: why it is not read."""
    choices = value.get("choices")
    if isinstance(choices, list) and choices and "x" not in value:
        if reason is None:
            entry.labels.setdefault(name, printable(str(choices[0])))
        return
    if not {"x", "points", "rle", "vertices"} & value.keys():
        return  # text, ratings and the like are about the whole picture
    sides = whole(value.get("original_width")), whole(value.get("original_height"))
    if sides[0] and sides[1] and min(sides[0], sides[1]) > 0:
        entry.size = sides[0], sides[1]
    labels = next((found for key, found in value.items() if key.endswith("labels") and found), None)
    item = Annotation({"category_id": labels[0] if isinstance(labels, list) else labels}, where, reason)
    with contextlib.suppress(TypeError, ValueError, KeyError):  # without a box, it will be counted as such
        item.update(_shape(value, entry.size or (1, 1)))
    entry.items.append(item)


def _shape(value: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Box or polygon of a region, in percent."""
    if isinstance(value.get("points"), list):
        return {"segmentation": [[float(number) for pair in value["points"] for number in pair]]}
    if "radiusX" in value:
        x, y, a, b = (float(value[key]) for key in ("x", "y", "radiusX", "radiusY"))
        return {"bbox": [x - a, y - b, 2 * a, 2 * b]}
    x, y, w, h = (float(value[key]) for key in ("x", "y", "width", "height"))
    if not (angle := float(value.get("rotation") or 0)):
        return {"bbox": [x, y, w, h]}
    corners = [(0.0, 0.0), (w, 0.0), (w, h), (0.0, h)]
    turned = _rotated([(a * size[0], b * size[1]) for a, b in corners], angle)  # about the first corner, in pixels
    return {"segmentation": [[number for a, b in turned for number in (x + a / size[0], y + b / size[1])]]}


def _rotated(points: Iterable[tuple[float, float]], degrees: float) -> list[tuple[float, float]]:
    """Points turned clockwise about the origin, y pointing down."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in points]


# ---- CreateML ------------------------------------------------------------------------------------------------------


def _is_createml(task: dict[str, Any]) -> bool:
    items = task.get("annotations")
    return isinstance(items, list) and any(isinstance(item, dict) and "coordinates" in item for item in items)


def _createml(path: Path, number: int, task: dict[str, Any]) -> Entry:
    """A picture of a CreateML json: boxes by center and size, in pixels."""
    entry = Entry(str(task.get("image") or task.get("imagefilename") or ""))
    items = task.get("annotations")
    for place, thing in enumerate(items if isinstance(items, list) else ()):
        item = Annotation({}, f"[{number}].annotations[{place}] of {path.name}")
        if isinstance(thing, dict):
            item["category_id"] = thing.get("label")
            with contextlib.suppress(TypeError, ValueError, KeyError):  # without a box, it will be counted as such
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
        if shape.tag == "tag":
            tags = [entry.labels["tag"]] if "tag" in entry.labels else []
            entry.labels["tag"] = ", ".join([*tags, printable(shape.get("label", ""))])
            continue
        where = f"{shape.tag} {number} of {entry.name} in {path.name}"
        item = Annotation({"category_id": shape.get("label")}, where)
        with contextlib.suppress(TypeError, ValueError, KeyError):  # without a box, it will be counted as such
            item.update(_cvat_shape(shape, entry.size))
        entry.items.append(item)
    return entry


def _cvat_shape(shape: ElementTree.Element, size: tuple[int, int] | None) -> dict[str, Any]:
    """Box, polygon or mask of a shape, in pixels; nothing of lines and points."""

    def numbers(*names: str) -> Iterator[float]:
        return (float(shape.attrib[name]) for name in names)

    if shape.tag == "polygon":
        return {"segmentation": [[float(n) for pair in shape.attrib["points"].split(";") for n in pair.split(",")]]}
    if shape.tag == "ellipse":
        x, y, a, b = numbers("cx", "cy", "rx", "ry")
        return {"bbox": [x - a, y - b, 2 * a, 2 * b]}
    if shape.tag == "box":
        left, top, right, bottom = numbers("xtl", "ytl", "xbr", "ybr")
        if not (angle := float(shape.get("rotation") or 0)):
            return {"bbox": [left, top, right - left, bottom - top]}
        x, y, a, b = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
        turned = _rotated([(-a, -b), (a, -b), (a, b), (-a, b)], angle)  # about its center
        return {"segmentation": [[n for p, q in turned for n in (x + p, y + q)]]}
    if shape.tag == "mask" and size:
        left, top, width, height = (int(n) for n in numbers("left", "top", "width", "height"))
        runs = [int(run) for run in shape.attrib["rle"].split(",")]
        if min(runs) < 0 or sum(runs) > width * height or not (0 < width <= size[0] and 0 < height <= size[1]):
            return {}
        crop = np.zeros(width * height, np.uint8)
        ends = np.cumsum(runs)
        for start, end in zip(ends[0::2], ends[1::2], strict=False):
            crop[start:end] = 1
        whole_mask = np.zeros((size[1], size[0]), np.uint8)
        whole_mask[top : top + height, left : left + width] = crop.reshape(height, width)
        flat = np.r_[0, whole_mask.T.reshape(-1), 0]
        changes = np.flatnonzero(np.diff(flat))
        counts = np.diff(np.r_[0, changes, size[0] * size[1]]).tolist()
        return {"segmentation": {"size": [size[1], size[0]], "counts": counts}}
    return {}
