"""Fields that a source gives its images, as columns of the images table; and which fields are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Final

from orl_explore.images.image_source import printable

OWN_COLUMNS: Final = ("image_id", "file_name", "source", "width", "height", "content_hash", "original_id")
"""Columns of the images table that are no labels."""

UNSET: Final = ("", "0", "false", "none", "unspecified")
"""Text that says nothing, in small letters: VOC's poses are `Unspecified`, Roboflow's supercategories `none`."""

NAMED: Final = 10
"""Fields that a note names at most."""


def label_columns(source: str, images: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Give labels names that are free and valid Unicode, and text that is so, too.

    Args:
        source: the file's name, for notes.
        images: labels of each image, by the names that they have there.

    Returns:
        The same with names of columns: `source`, which is one already, becomes `source_label`; and a note of those.
    """
    given = dict.fromkeys(name for labels in images for name in labels)
    columns = {name: name for name in given if printable(name) == name and name not in OWN_COLUMNS}
    for name in given:
        if name not in columns:
            column = printable(name)
            while column in OWN_COLUMNS or column in columns.values():
                column += "_label"
            columns[name] = column
    named = [(printable(name), column) for name, column in columns.items()]
    changed = [f"{name} is {column}" for name, column in named if name != column]
    notes = [f"fields of {source} become columns of another name: {', '.join(changed)}"] if changed else []
    return [
        {columns[name]: printable(value) if isinstance(value, str) else value for name, value in labels.items()}
        for labels in images
    ], notes


def unread_keys(things: Iterable[Any], known: Set[str]) -> Iterator[str]:
    """Names of the fields of some objects that say something and are not read, each as often as it is there.

    Args:
        things: as a json has them; those that are no objects have no fields. There may be a million.
        known: fields that are read, or say nothing about a picture.
    """
    for thing in things:
        if isinstance(thing, dict) and not thing.keys() <= known:
            for name, value in thing.items():
                if name not in known and says(value):
                    yield name


def says(value: Any) -> bool:
    """Whether a field is set: not empty, no and not 0, also as text, as tools write of what nobody has filled in."""
    if isinstance(value, str):
        return value.strip().casefold() not in UNSET
    return any(value.values() if isinstance(value, dict) else value) if isinstance(value, dict | list) else bool(value)


def unread_note(source: str, names: Iterable[str]) -> str | None:
    """A sentence on what a source says that becomes neither a label nor an annotation; None: nothing.

    Args:
        source: the file's name, or the part of it.
        names: of each such thing, as often as it is there.
    """
    counts = Counter(names)
    return f"not read of {source}: {_listed(counts)}" if counts else None


def merge_labels(first: dict[str, Any], second: Mapping[str, Any], conflicts: Counter[str]) -> None:
    """Give an image what another listing says of it, too; where both say something, the first one's stays.

    Args:
        first: the image's labels, by columns.
        second: those of the other listing. What its id was is none.
        conflicts: counts the columns in which they say different things.
    """
    for name, value in second.items():
        if name != "original_id" and first.setdefault(name, value) != value:
            conflicts[name] += 1


def conflict_note(second: str, first: str, conflicts: Counter[str]) -> list[str]:
    """A sentence on what `merge_labels` did not take of one listing, as another was before it; nothing: none."""
    if not conflicts:
        return []
    return [f"where {second} says something else of a picture than {first}, it is not taken: {_listed(conflicts)}"]


def _listed(counts: Counter[str]) -> str:
    """The most frequent names, and how often each is there; of the others, how many they are."""
    named = ", ".join(f"{printable(name)} ({count:,})" for name, count in counts.most_common(NAMED))
    others = len(counts) - NAMED
    return f"{named} and {others:,} {'other' if others == 1 else 'others'}" if others > 0 else named
