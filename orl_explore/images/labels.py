"""Find images by what a person types, and what is known of one beyond its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def find_images(images: pd.DataFrame, text: str) -> NDArray[np.int64]:
    """Rows of the images that a person means: the one with this id first, then file names with this text in them.

    Args:
        images: columns image_id, file_name.
        text: an id, or a part of a file name; capitals do not matter.
    """
    text = text.strip()
    if not text:
        return np.arange(len(images))
    named = images["file_name"].str.contains(text, case=False, regex=False).to_numpy(bool)
    found = np.flatnonzero(named)
    if text.isascii() and text.isdigit() and len(text) < 19:
        same = np.flatnonzero(images["image_id"].to_numpy() == int(text))
        found = np.r_[same, found[~np.isin(found, same)]]
    return found


@dataclass(frozen=True)
class Labels:
    """What is known of one image beyond its pixels."""

    context: str | None
    """Kind of place; None where unknown."""
    categories: tuple[str, ...]
    """Categories of its annotated objects, in alphabetical order."""

    def same_context(self, other: Labels) -> bool | None:
        """Whether both are of one context; None when one of them is unknown."""
        return None if self.context is None or other.context is None else self.context == other.context

    def shared(self, other: Labels) -> tuple[str, ...]:
        """Categories that are on both."""
        return tuple(name for name in self.categories if name in other.categories)


def labels_of(images: pd.DataFrame, row: int, objects: pd.DataFrame, rows: NDArray[np.int64]) -> Labels:
    """The labels of an image.

    Args:
        images: column context, where the images have one.
        row: the image.
        objects: column category.
        rows: of its objects.
    """
    context: Any = images["context"].iat[row] if "context" in images else None
    context = None if context is None or pd.isna(context) else str(context)
    return Labels(context, tuple(sorted({str(name) for name in objects["category"].iloc[rows]})))
