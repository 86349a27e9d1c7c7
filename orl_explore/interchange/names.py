"""Which image of a run another tool means: by id, by file name, or by the file name alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.images.file_names import DOUBTFUL, FileNames, Spelling
from orl_explore.images.image_set import ImageSet
from orl_explore.images.image_source import whole


class ImageNames:
    """Finds images by name: exactly, or in the ways of `images.file_names`, or by the file name alone.

    Args:
        images: the run's.
    """

    def __init__(self, images: ImageSet):
        self._table = images.table
        names = images.table["file_name"].tolist()
        self._row = {name: row for row, name in enumerate(names)}
        self._names = FileNames(names)
        self._found: dict[str, int | None] = {}
        self._claims: dict[int, str] = {}
        self._by_stem: dict[Any, str] = {}
        self.spelling = Spelling()

    def row(self, name: str) -> int | None:
        """Row of the image with this path, or else of the only one that it can mean; None: there is none.

        Raises:
            OrlError: it could be an image that another name was taken for.
        """
        exact = self._row.get(name)
        if exact is not None:
            return exact
        if name not in self._found:
            match = self._names.find(name, by_file_name=True)
            if match.index is not None:
                known = self._names.names[match.index]
                first = self._claims.setdefault(match.index, name) if match.way in DOUBTFUL else name
                if first != name:
                    raise OrlError(f"{first!r} and {name!r} both fit the image {known}: write its path as it is there")
                self.spelling.add(match.way, name, known)
            self._found[name] = match.index
        return self._found[name]

    def row_of_id(self, image_id: Any) -> int | None:
        """Row of the image that an id of another tool means; None: there is none, or there are several.

        An id is the run's own, or one that an image had in its json (the column `original_id`); else it is the name of
        a file, or that without its suffix, as Ultralytics writes, also as a number.
        """
        rows = self._rows_of_id(image_id)
        return rows[0] if len(rows) == 1 else None

    def is_ambiguous(self, image_id: Any) -> bool:
        """Whether an id of another tool could mean several images."""
        return len(self._rows_of_id(image_id)) > 1

    def _rows_of_id(self, image_id: Any) -> list[int]:
        key = id_key(image_id)
        if key is None:
            return []
        if rows := self._ids.get(key):
            return rows
        if isinstance(image_id, str) and (row := self.row(image_id.strip())) is not None:
            return [row]
        rows = self._stems.get(key, [])
        if len(rows) == 1:
            self._by_stem.setdefault(key, self._names.names[rows[0]])
        return rows

    @cached_property
    def _ids(self) -> dict[Any, list[int]]:
        found: dict[Any, list[int]] = {}
        for column in ("image_id", "original_id"):
            for row, value in enumerate(self._table[column].tolist() if column in self._table else ()):
                rows = found.setdefault(id_key(value), [])
                if row not in rows:
                    rows.append(row)
        return found

    @cached_property
    def _stems(self) -> dict[Any, list[int]]:
        found: dict[Any, list[int]] = {}
        for row, name in enumerate(self._names.names):
            found.setdefault(id_key(name.rpartition("/")[2].rpartition(".")[0]), []).append(row)
        return found

    def notes(self, where: str) -> list[str]:
        """Lines that say how many names and ids were found in another form."""
        lines = [self.spelling.note(where)]
        if self._by_stem:
            image_id, name = next(iter(self._by_stem.items()))
            lines.append(
                f"{len(self._by_stem):,} image ids of {where} are names of files without their suffix ({image_id!r} is"
                f" {name!r})"
            )
        return [line for line in lines if line]

    def nearest(self, name: str) -> str:
        """The name most like one that is not there, for the end of a message: " (the nearest is x.jpg)"; or nothing."""
        found = self._names.nearest(name)
        return f" (the nearest name there is {found!r})" if found else ""


def id_key(value: Any) -> int | str | None:
    """What ids are compared by: the number, also where it is written as text, or else the text; None: it is no id."""
    number = whole(value)
    if number is not None:
        return number
    return value.strip() or None if isinstance(value, str) else None


def match_images(
    images: ImageSet, names: Sequence[str], *, where: str, say: Callable[[str], None] = lambda _: None
) -> NDArray[np.int64]:
    """Rows of the images that a list of file names means.

    Args:
        images: the run's.
        names: each at most once.
        where: the list, for messages.
        say: is told, in one line, how many names were found in another form.

    Raises:
        OrlError: names an entry that is not among the images, or twice there.
    """
    known = ImageNames(images)
    rows = np.empty(len(names), np.int64)
    first: dict[int, int] = {}
    for index, name in enumerate(names):
        row = known.row(name)
        if row is None:
            raise OrlError(
                f"{where}[{index}] is {name!r}, which is not among the images{known.nearest(name)}: pass the images"
                " that the file is about"
            )
        if row in first:
            raise OrlError(f"{where}[{index}] is {name!r}, the image that [{first[row]}] is already: fetch it again")
        first[row] = index
        rows[index] = row
    if note := known.spelling.note(where):
        say(note)
    return rows


def renumber(images: ImageSet, ids: NDArray[np.int64]) -> ImageSet:
    """Give images the ids that a file has for them, and their objects too: int64 (N,), one per row.

    Raises:
        OrlError: an id stands for two images.
    """
    if len(np.unique(ids)) < len(ids):
        raise OrlError("an image id stands for two images: fetch the file again")
    new = dict(zip(images.table["image_id"].tolist(), ids.tolist(), strict=True))
    objects = images.objects.assign(image_id=images.objects["image_id"].map(new).astype(np.int64))
    return dataclasses.replace(images, table=images.table.assign(image_id=ids), objects=objects)
