"""Which image of a run another tool means: by id, by file name, or by the file name alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet


class ImageNames:
    """Finds images by name.

    Args:
        images: the run's.
    """

    def __init__(self, images: ImageSet):
        names = images.table["file_name"].tolist()
        self._row = {name: row for row, name in enumerate(names)}
        bases = [PurePosixPath(name).name for name in names]
        once = {base for base, count in Counter(bases).items() if count == 1}
        self._row_of_base = {base: row for row, base in enumerate(bases) if base in once}

    def row(self, name: str) -> int | None:
        """Row of the image with this path, or else of the only one with this file name; None: there is none."""
        name = name.replace("\\", "/")
        found = self._row.get(name)
        return self._row_of_base.get(PurePosixPath(name).name) if found is None else found


def match_images(images: ImageSet, names: Sequence[str], *, where: str) -> NDArray[np.int64]:
    """Rows of the images that a list of file names means.

    Args:
        images: the run's.
        names: each at most once.
        where: the list, for messages.

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
                f"{where}[{index}] is {name!r}, which is not among the images: pass the images that the file is about"
            )
        if row in first:
            raise OrlError(f"{where}[{index}] is {name!r}, the image that [{first[row]}] is already: fetch it again")
        first[row] = index
        rows[index] = row
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
