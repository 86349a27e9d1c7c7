"""What is of no use is said: an encoder that sees nothing, or less than an untrained one; pictures that are all alike.

A figure beside others is easily passed over; these are sentences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.judging.diagnostics import effective_rank, representation_std
from orl_explore.numbers import percent_text

ALIKE: Final = 0.999
"""Mean cosine of two pictures from which on an encoder is said to take all pictures for the same."""

STRANGERS: Final = 3.5
"""Image loss of an epoch above which training has learned nothing."""

LOST: Final = 0.5
"""Share of the untrained network's spread or rank below which training has lost something."""

SCORES: Final = {"object_knn": "kNN on annotated objects", "object_probe": "linear probe on annotated objects"}
"""Figures by labels that a trained encoder should have higher than an untrained one."""


@dataclass(frozen=True)
class Spread:
    """How different plain pictures look to an encoder in eval mode."""

    std: float
    """See `diagnostics.representation_std`."""
    rank: float
    """See `diagnostics.effective_rank`."""
    similarity: float
    """Mean cosine of two pictures."""
    images: int

    def as_dict(self) -> dict[str, Any]:
        """For run.json, four digits."""
        return {name: float(f"{value:.4g}") for name, value in asdict(self).items()} | {"images": self.images}


def spread(vectors: NDArray[np.floating]) -> Spread:
    """Measure the spread of embeddings.

    Args:
        vectors: (N, d), at least two rows; rows of length 1.

    Raises:
        OrlError: vectors that are zero, NaN or infinite.
    """
    check_directions(vectors, "pictures")
    tensor = torch.from_numpy(np.asarray(vectors, np.float32))
    count = len(tensor)
    total = float(tensor.double().sum(dim=0).square().sum())
    similarity = (total - count) / (count * (count - 1))
    return Spread(representation_std(tensor), effective_rank(tensor), similarity, count)


def check_directions(vectors: NDArray[np.floating], what: str) -> int:
    """Count rows that have no direction although they are finite, if others have one.

    Args:
        vectors: (N, d).
        what: they are of, in the plural.

    Returns:
        How many rows are zero.

    Raises:
        OrlError: some are NaN or infinite, or all are zero.
    """
    lengths = np.linalg.norm(np.asarray(vectors, np.float32), axis=1)
    broken, zero = int((~np.isfinite(lengths)).sum()), int((lengths == 0).sum())
    for count, answer, bad in (
        (broken, "NaN or infinity", broken > 0),
        (zero, "zero", zero == len(lengths) and zero > 0),
    ):
        if bad:
            raise OrlError(
                f"the encoder answers {answer} for {count:,} of {len(lengths):,} {what}: it is of no use; train stage 1"
                " anew, with a lower --stage1.base_lr, or take another one with --encoder"
            )
    return zero


def of_training(title: str, trained: Spread, untrained: Spread) -> list[str]:
    """Sentences about an encoder that has just been trained, by what it and the untrained one see in plain pictures.

    Args:
        title: of the stage, such as "stage 1".
        trained: as the encoder sees some pictures.
        untrained: as the network that training began with sees the same.
    """
    if trained.similarity > ALIKE and trained.similarity > untrained.similarity:
        return [
            f"{title} is of no use: all pictures look alike to its encoder (mean cosine {trained.similarity:.4f}):"
            " lower base_lr, or see whether the pictures differ (`orl verify`)"
        ]
    worse = [
        f"{name} {mine:.3g} against {theirs:.3g}"
        for name, mine, theirs in (
            ("spread", trained.std, untrained.std),
            ("rank", trained.rank, untrained.rank),
        )
        if mine < LOST * theirs
    ]
    if not worse:
        return []
    return [
        f"{title} is worse than the untrained network at telling pictures apart: {', '.join(worse)}, on"
        f" {trained.images} plain pictures"
    ]


def of_loss(title: str, loss: float) -> list[str]:
    """Sentences about the image loss of the last epoch: 0 when two views of an image agree, 4 when they are strangers.

    Args:
        title: of the stage.
        loss: mean of `loss_image`.
    """
    if not loss > STRANGERS:  # nan, too
        return []
    return [
        f"{title}: two views of an image are hardly more alike than random vectors (loss {loss:.2f} of 4): lower"
        " base_lr, or train for longer"
    ]


def of_images(embeddings: NDArray[np.floating]) -> list[str]:
    """Sentences about the image embeddings that neighbors are looked for by."""
    count = len(embeddings)
    rows = np.linspace(0, count - 1, min(count, 4096)).astype(np.int64)
    found = spread(np.asarray(embeddings[rows]))
    if found.similarity <= ALIKE:
        return []
    return [
        f"all pictures look alike to the encoder (mean cosine {found.similarity:.4f}): neighbors mean nothing; is it"
        " trained, and do the pictures differ?"
    ]


def of_summary(summary: Mapping[str, Any]) -> list[str]:
    """Sentences about the figures of `orl evaluate`.

    Args:
        summary: what evaluation/summary.json holds.
    """
    said = []
    counts = summary.get("counts", {})
    copies, images = counts.get("exact_duplicates", 0), counts.get("images", 0)
    if copies:
        alike = copies == images - 1
        said.append(
            f"all {images:,} pictures are copies of one: there is nothing to learn"
            if alike
            else f"{copies:,} of {images:,} pictures are copies of others, byte for byte"
        )
    untrained = summary.get("random", {})
    for stage, title in (("stage1", "stage 1"), ("stage3", "stage 3")):
        figures = summary.get(stage, {})
        worse = [
            f"{name} {percent_text(figures[key])} against {percent_text(untrained[key])}"
            for key, name in SCORES.items()
            if key in figures and key in untrained and figures[key] < untrained[key] - margin(summary)
        ]
        if worse:
            said.append(f"{title} is worse than the untrained network: {', '.join(worse)}")
        elif figures.get("collapsed"):
            said.append(
                f"{title} has collapsed: its projections have {percent_text(figures['std'])} of a spread-out one's std"
            )
    return said


def margin(summary: Mapping[str, Any]) -> float:
    """Two standard errors of a share at so many test crops: less is chance."""
    crops = summary.get("counts", {}).get("test_crops", 0)
    return 2 * math.sqrt(0.25 / crops) if crops else 1.0
