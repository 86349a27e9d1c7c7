"""Mean intersection over union (mIoU) of label maps, counted by torchmetrics, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from orl_explore.errors import OrlError
from orl_explore.images.label_map import IGNORED
from orl_explore.judging.intervals import Segmented

Counted = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Of an image, (C,) each: pixels that are right, that are of a class or were given it, and that are of it."""


def count(predicted: Tensor, truth: Tensor, classes: int) -> Counted:
    """Compare the classes (H, W) that the pixels of an image were given with their own; IGNORED ones do not count."""
    counted = multiclass_confusion_matrix(
        predicted.flatten(), truth.flatten().long(), classes, ignore_index=IGNORED, validate_args=False
    )
    matrix = counted.cpu().numpy().astype(np.int64)  # (C, C): a row for each true class
    right, own = matrix.diagonal(), matrix.sum(axis=1)
    return right, own + matrix.sum(axis=0) - right, own


def figures(counted: Sequence[Counted], classes: Sequence[str]) -> dict[str, Any]:
    """mIoU over the classes that are in the test images or were given to them, that of each class, and more.

    Args:
        counted: of each test image.
        classes: their names.

    Raises:
        OrlError: no pixel has a class.
    """
    right, union, own = (np.stack(parts) for parts in zip(*counted, strict=True))  # (N, C) each
    items = Segmented(len(right), right, union)
    by_class = items.by_class()[0]
    total = own.sum(axis=0)
    if not total.any():
        raise OrlError("no pixel of the test images has a class: there is nothing to judge by")
    return {
        "miou": items.value(),
        "miou_chance": float(total.max() / total.sum() / (total > 0).sum()),  # all of the most frequent class
        "pixel_accuracy": float(right.sum() / total.sum()),
        "miou_by_class": {
            name: float(value) for name, value in zip(_distinct(classes), by_class, strict=True) if not np.isnan(value)
        },
        "items": {"miou": items},
    }


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of which none is another's, in their order: of two `door`, the second is `door (2)`."""
    found: list[str] = []
    for name in names:
        number, own = 1, name
        while own in found:
            number += 1
            own = f"{name} ({number})"
        found.append(own)
    return found


def as_labels(scores: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Enlarge scores of classes (C, h, w) to (H, W) bilinearly, and give each pixel the class of the highest one."""
    enlarged = torch.nn.functional.interpolate(scores[None], size, mode="bilinear", align_corners=align_corners)
    return enlarged[0].argmax(dim=0)
