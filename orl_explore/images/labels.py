"""What is known of an image beyond its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.images.label_columns import OWN_COLUMNS

NO_CATEGORY: Final = "(unlabeled)"
"""What a box on no annotated object, or on one of no category, is called; in parentheses, as a category may be called
unlabeled."""

NAMELESS: Final = "(no name)"
"""What a category with an empty name is called."""


def category_label(name: Any) -> str:
    """A category as people read it: one without a name has one, and none looks like another or like none.

    A missing one is no category: an object of none counts as no annotated object, for figures and readers alike.
    """
    if pd.isna(name):
        return NO_CATEGORY
    text = str(name)
    if not text.strip():
        return NAMELESS
    return f"{text} (a category)" if text in (NO_CATEGORY, NAMELESS) else text


@dataclass(frozen=True)
class Labels:
    """What is known of one image beyond its pixels."""

    context: str | None
    """Kind of place; None where unknown."""
    categories: tuple[str, ...]
    """Categories of its annotated objects that have one, in alphabetical order."""

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
    return Labels(context, tuple(sorted({category_label(name) for name in objects["category"].iloc[rows].dropna()})))


def label_column(images: pd.DataFrame) -> str | None:
    """The column of labels that encoders are judged and maps colored by: `context`, else the first with 2 to 50 texts.

    Args:
        images: the images table.
    """
    candidates = [name for name in images.columns.tolist() if name not in OWN_COLUMNS]
    for name in sorted(candidates, key=lambda name: name != "context"):
        if name == "context" or (images[name].dtype != float and 2 <= images[name].nunique() <= 50):
            return name
    return None
