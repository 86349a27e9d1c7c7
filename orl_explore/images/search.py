"""Find images by what a person types."""

from __future__ import annotations

import re

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
    if re.fullmatch(r"[+-]?[0-9]{1,19}", text) and -(2**63) <= int(text) < 2**63:
        same = np.flatnonzero(images["image_id"].to_numpy() == int(text))
        found = np.r_[same, found[~np.isin(found, same)]]
    return found
