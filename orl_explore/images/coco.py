"""COCO jsons: images with ids and labels, and annotations as they stand there."""

from __future__ import annotations

import json
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

from orl_explore.errors import OrlError
from orl_explore.images.image_source import ImageSource, SourceFile, decoded, path_id, printable, whole
from orl_explore.images.label_columns import conflict_note, label_columns, merge_labels, unread_keys, unread_note
from orl_explore.images.locating import candidate_folders, locate

BOOKKEEPING: Final = {"license", "coco_url", "flickr_url", "date_captured", "id", "file_name", "width", "height"}
"""Fields of a COCO image that say nothing about what it shows: not taken over as label columns."""

LISTS: Final = ("images", "annotations", "categories", "licenses")
"""Lists of a COCO json that are read, or say nothing about an image."""
ANNOTATION_KEYS: Final = frozenset(
    (
        *("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd"),
        *("area", "num_keypoints", "isbbox", "width", "height"),  # which others say, too, or the picture
        *("instance", "visible"),  # of practice scenes, for whoever judges pairs of things
    )
)
"""Fields of an annotation that are read, or say nothing more."""


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OrlError: it is none, or cannot be read.
    """
    try:
        return json.loads(decoded(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise OrlError(f"{path} is no JSON, or ends too early ({error}): fetch or write it again") from None
    except OSError as error:
        raise OrlError(f"{path} cannot be read ({error.strerror}): check its permissions") from None


def open_coco(path: Path, root: Path | None, content: Any) -> ImageSource:
    """What a COCO json names.

    Args:
        path: the file.
        root: where its images are; None looks beside it.
        content: of the file.

    Raises:
        OrlError: it is no COCO json, or none of its images is found.
    """
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise OrlError(f"{path} is no COCO file (it has no list `images`): pass one, or the images' folder")
    images = content["images"]
    keys = _told_apart([_id_and_name(path, number, image) for number, image in enumerate(images)], images)
    annotations, categories = content.get("annotations") or [], content.get("categories") or []
    if not isinstance(annotations, list) or not isinstance(categories, list):
        raise OrlError(f"{path}: `annotations` and `categories` must be lists: is it a COCO file?")
    try:
        named = [(_category_id(category["id"]), printable(str(category["name"]))) for category in categories]
        names = dict(named)
    except (TypeError, KeyError):
        raise OrlError(f"{path}: a category lacks its `id` or `name`: is it a COCO file?") from None

    located = locate(path, [name for _, name in keys], candidate_folders(path, root))
    source = ImageSource(path, located.root, [], annotations, names)
    if double := [(number, name) for number, name in named if names[number] != name]:
        number, name = double[0]
        source.notes.append(
            f"categories of {path.name} share an id, such as {name} and {names[number]}, {number}: all its objects are"
            f" {names[number]}"
        )
    columns, notes = label_columns(path.name, [_labels(image) for image in images])
    source.notes += notes
    lists = (name for name, value in content.items() if isinstance(value, list) and name not in LISTS for _ in value)
    for whose, unread in (
        (path.name, chain(lists, (name for image in images for name in _unread(image)))),
        (f"{path.name}'s annotations", unread_keys(annotations, ANNOTATION_KEYS)),
        (f"{path.name}'s categories", unread_keys(categories, {"id", "name", "supercategory"})),
    ):
        if note := unread_note(whose, unread):
            source.notes.append(note)
    owner: dict[int, str] = {}
    first: dict[str, tuple[int, dict[str, Any]]] = {}
    conflicts: Counter[str] = Counter()
    shared: list[str] = []
    for (image_id, name), image, labels, found, reason in zip(
        keys, images, columns, located.names, located.reasons, strict=True
    ):
        if printable(name) != name:
            reason = "file name is not valid Unicode"
        elif found is not None and image_id in owner:
            reason = f"listed twice: image id {image_id} is already {owner[image_id]}"
            if owner[image_id] != found:
                shared.append(found)
            else:
                merge_labels(first[found][1], labels, conflicts)
        elif found is not None and found in first:
            reason = f"listed twice: already image id {first[found][0]}"
            source.ids[image_id] = first[found][0]
            if size := _size(image):
                source.sizes[image_id] = size
            merge_labels(first[found][1], labels, conflicts)
        elif found is not None:
            owner[image_id], first[found] = found, (image_id, labels)
            if size := _size(image):
                source.sizes[image_id] = size
        if whole(image["id"]) != image_id:
            text = image["id"].strip()
            source.text_ids[text], labels["original_id"] = image_id, printable(text)
        source.files.append(SourceFile(found if found is not None and not reason else name, image_id, labels, reason))
    # An id of an image that was not found may be that of a second listing, too: the file that is there has it.
    source.ids = {other: image_id for other, image_id in source.ids.items() if other not in owner}
    source.notes += _listing_notes(source, shared)
    source.notes += conflict_note(f"a second listing in {path.name}", "the first", conflicts)
    if note := located.spelling.note(path.name):
        source.notes.append(note)
    return source


def _id_and_name(path: Path, number: int, image: Any) -> tuple[int, str]:
    try:
        image_id = image["id"]
        name = image["file_name"] if "file_name" in image else _name_of_url(image["coco_url"])  # LVIS has the latter
    except (TypeError, KeyError):
        raise OrlError(f"{path}: images[{number}] lacks `id` or `file_name`: is it a COCO file?") from None
    found = image_id if type(image_id) is int and abs(image_id) < 2**63 else whole(image_id)
    if found is None and isinstance(image_id, str) and image_id.strip():
        found = path_id(image_id.strip())
    if found is None or not isinstance(name, str):
        raise OrlError(f"{path}: images[{number}] needs a whole number or text as `id`, and text as `file_name`")
    return found, name


def _told_apart(keys: Sequence[tuple[int, str]], images: Sequence[Any]) -> list[tuple[int, str]]:
    """Ids and names of images, where ids that are text and the same number, "7" and "007", are those of two images."""
    spelled: dict[int, set[str]] = {}
    for (image_id, _), image in zip(keys, images, strict=True):
        spelled.setdefault(image_id, set()).add(str(image["id"]).strip())
    told_apart = []
    for (image_id, name), image in zip(keys, images, strict=True):
        text = image["id"].strip() if isinstance(image["id"], str) else str(image_id)
        other = len(spelled[image_id]) > 1 and text != str(image_id)
        told_apart.append((path_id(text) if other else image_id, name))
    return told_apart


def _name_of_url(url: Any) -> Any:
    return urllib.parse.unquote(url.rpartition("/")[2]) if isinstance(url, str) else None


def _category_id(value: Any) -> Any:
    """A category's id as annotations are compared with it: a number, also where it is written as text."""
    number = whole(value)
    return value if number is None else number


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height by the json; None where it does not say both."""
    width, height = image.get("width"), image.get("height")
    if type(width) is not int or type(height) is not int:
        width, height = whole(width), whole(height)
    return (width, height) if width and height and width > 0 and height > 0 else None


def _labels(image: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in image.items()
        if isinstance(value, str | int | float)
        and name not in BOOKKEEPING
        and not (name == "image_id" and value == image["id"])
    }


def _unread(image: dict[str, Any]) -> Iterator[str]:
    """Fields that say something, and can be no label column."""
    for name, value in image.items():
        if isinstance(value, list | dict) and value and name not in BOOKKEEPING:
            yield name


def _listing_notes(source: ImageSource, shared: Sequence[str]) -> list[str]:
    notes = []
    if source.text_ids:
        text, image_id = next(iter(source.text_ids.items()))
        notes.append(
            f"{len(source.text_ids):,} image ids of {source.path.name} are text: they get numbers, such as {image_id}"
            f" for {printable(text)}, and the column original_id keeps them"
        )
    if source.ids:
        other, image_id = next(iter(source.ids.items()))
        notes.append(
            f"{len(source.ids):,} of {source.path.name}'s image ids are a second listing of a file, whose objects go to"
            f" the first (id {other} to {image_id})"
        )
    if shared:
        notes.append(
            f"{len(shared):,} files of {source.path.name} have the image id of another file, such as {shared[0]}: they"
            " are left out, and all objects of that id are taken for the other's"
        )
    return notes
