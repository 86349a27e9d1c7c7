"""The class of every pixel of an image, from the masks of its objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.images.object_masks import from_rle

IGNORED: Final = -1
"""Label of pixels that nothing is learned from and nothing is judged by."""


def label_map(
    objects: pd.DataFrame, size: tuple[int, int], label_of: Mapping[str, int], crowds: Sequence[str] = ()
) -> NDArray[np.int16]:
    """Label each pixel with the category of the smallest object on it, by the pixels of its mask; 0 is the background.

    Where only an object without a mask may be, or a crowd, pixels are IGNORED.

    Args:
        objects: of one image: columns x, y, w, h, category, segmentation.
        size: width and height of the image.
        label_of: category -> label.
        crowds: regions of many objects, as counts of compressed RLEs.

    Returns:
        int16 (H, W).
    """
    width, height = size
    labels = np.zeros((height, width), np.int16)
    for counts in crowds:
        labels[from_rle(counts, size)] = IGNORED
    no_mask = objects["segmentation"].isna()
    for x, y, w, h in objects.loc[no_mask, ["x", "y", "w", "h"]].to_numpy(np.float64):
        labels[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = IGNORED
    masked = objects[~no_mask]
    masks = [from_rle(counts, size) for counts in masked["segmentation"].tolist()]
    found = zip(masks, masked["category"].tolist(), strict=True)
    for mask, category in sorted(found, key=lambda one: int(one[0].sum()), reverse=True):
        labels[mask] = label_of[category]
    return labels
