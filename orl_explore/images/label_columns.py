"""Fields that a source gives its images, as columns of the images table; and which fields are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from orl_explore.images.image_source import printable

OWN_COLUMNS: Final = ("image_id", "file_name", "source", "width", "height", "content_hash", "original_id")
"""Columns of the images table that are no labels."""


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


def unread_note(source: str, names: Iterable[str]) -> str | None:
    """A sentence on what a source says of its images that is neither a label nor an annotation; None: nothing.

    Args:
        source: the file's name.
        names: of each such thing, as often as it is there.
    """
    counts = Counter(map(printable, names))
    if not counts:
        return None
    return f"not read of {source}: {', '.join(f'{name} ({count:,})' for name, count in counts.most_common())}"
