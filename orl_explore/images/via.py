"""Jsons of the VGG Image Annotator (VIA), versions 1 and 2: regions of pictures, and what people say of them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from orl_explore.images.annotations import POINTS
from orl_explore.images.image_source import NO_NUMBERS, Annotation, Entry
from orl_explore.images.label_columns import says, unread_keys
from orl_explore.images.label_studio import ellipse_box

CATEGORIES: Final = ("category", "class", "label", "name", "type", "object")
"""What people call the attribute that says what a region shows, the likeliest first."""
VIA_KEYS: Final = frozenset(("filename", "size", "regions", "file_attributes", "fileref", "base64_img_data"))
"""Fields of a picture that are read, or say nothing about what it shows."""


def via_pictures(content: Any) -> dict[str, Any] | None:
    """The pictures of an annotation json or of a project, by their keys; None where it is of another tool."""
    pictures = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    if not isinstance(pictures, dict) or not any(_is_picture(one) for one in pictures.values()):
        return None
    return pictures


def _is_picture(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("filename"), str) and "regions" in value


def via_entries(path: Path, content: dict[str, Any]) -> tuple[list[Entry], list[str]]:
    """Pictures with their regions, and what is to be said of these.

    Args:
        path: of the json, for messages.
        content: of the json; `via_pictures` knows it.
    """
    pictures = via_pictures(content) or {}
    names: Counter[str] = Counter()
    for picture in pictures.values():
        for _, region in _regions(picture):
            attributes = region.get("region_attributes") if isinstance(region, dict) else None
            for name, value in attributes.items() if isinstance(attributes, dict) else ():
                names[name] += _text(value) is not None
    ranked = sorted(+names, key=lambda name: (-names[name], _rank(name)))
    chosen = ranked[0] if ranked else None
    notes = []
    if len(ranked) > 1:
        others = ", ".join(f"{name} ({names[name]:,})" for name in ranked[1:])
        notes.append(
            f"categories of {path.name} are its regions' {chosen} ({names[ranked[0]]:,}); not read are {others}"
        )
    options = _options(content, chosen)
    return [_entry(path, key, picture, chosen, options) for key, picture in pictures.items()], notes


def _rank(name: str) -> int:
    return CATEGORIES.index(name.casefold()) if name.casefold() in CATEGORIES else len(CATEGORIES)


def _options(content: dict[str, Any], name: str | None) -> dict[str, Any]:
    """What the project says in words of the values of an attribute."""
    found: Any = content
    for key in ("_via_attributes", "region", name, "options"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _entry(path: Path, key: str, picture: Any, attribute: str | None, options: dict[str, Any]) -> Entry:
    if not isinstance(picture, dict) or not isinstance(picture.get("filename"), str):
        return Entry(key)
    entry = Entry(picture["filename"])
    entry.add_labels({name: value for name, value in picture.items() if name not in VIA_KEYS})
    about = picture.get("file_attributes")
    for name, value in about.items() if isinstance(about, dict) else ():
        if (text := _text(value)) is not None and name:
            entry.labels[name] = text
        elif says(value):
            entry.unread.append(name)
    for place, region in _regions(picture):
        item = Annotation({}, f"regions[{place}] of {entry.name} in {path.name}")
        entry.items.append(item)
        if not isinstance(region, dict):
            item.left_out = "that are no objects of JSON"
            continue
        attributes = region.get("region_attributes")
        others = attributes.items() if isinstance(attributes, dict) else ()
        unread = [name for name, value in others if _text(value) is None and says(value)]
        unread += unread_keys([region], {"shape_attributes", "region_attributes"})
        entry.unread += [f"{name} of a region" for name in unread]
        value = _text(attributes.get(attribute)) if isinstance(attributes, dict) else None
        item["category_id"] = (_text(options.get(value)) or value) if value is not None else None
        with contextlib.suppress(*NO_NUMBERS):  # without a box, it will be counted as such
            if region["shape_attributes"]["name"] in ("point", "polyline"):
                item.left_out = POINTS
            item.update(_shape(region["shape_attributes"]))
    return entry


def _regions(picture: Any) -> Iterator[tuple[Any, Any]]:
    """Place and content of the regions: version 1 has them by number as text, version 2 as a list."""
    regions = picture.get("regions") if isinstance(picture, dict) else None
    if isinstance(regions, dict):
        return iter(regions.items())
    return enumerate(regions if isinstance(regions, list) else () if regions is None else (regions,))


def _text(value: Any) -> str | None:
    """An attribute's value; of check boxes, all that are ticked."""
    if isinstance(value, dict):
        return ", ".join(sorted(name for name, ticked in value.items() if ticked)) or None
    return (str(value).strip() or None) if isinstance(value, str | int | float) else None


def _shape(shape: dict[str, Any]) -> dict[str, Any]:
    """Box or polygon of a region, in pixels; nothing of lines and points."""
    kind = shape["name"]
    if kind == "polygon":
        points = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
        return {"segmentation": [[float(number) for point in points for number in point]]}
    if kind == "rect":
        return {"bbox": [float(shape[key]) for key in ("x", "y", "width", "height")]}
    if kind == "circle":
        shape = {**shape, "rx": shape["r"], "ry": shape["r"]}
    if kind in ("circle", "ellipse"):
        numbers = (float(shape[key]) for key in ("cx", "cy", "rx", "ry"))
        return {"bbox": ellipse_box(numbers, float(shape.get("theta") or 0))}
    return {}
