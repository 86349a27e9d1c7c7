"""kNN accuracy: an image has the class that most of its nearest training images have (by cosine of the features)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orl_explore import probes
from orl_explore.encoder import Encoder
from training.transfer.objects import ObjectCrops, embed_crops, read_objects
from training.transfer.setup import Setup


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How kNN judges."""

    image_size: int | None = None
    """Side that crops are resized to, pixels; None: as the run was trained."""
    k: tuple[int, ...] = (20, 200)
    """Numbers of neighbors that vote; the score is that of the first."""
    temperature: float = 0.07
    """A neighbor's vote weighs exp(cosine / temperature); 0: all weigh the same."""


def read(setup: Setup, settings: Settings) -> ObjectCrops:
    """Object crops of the run."""
    return read_objects(setup)


def judge(encoder: Encoder, data: ObjectCrops, settings: Settings, setup: Setup) -> dict[str, Any]:
    """Accuracy for each k, and of guessing the most frequent class."""
    assert settings.image_size
    x = embed_crops(encoder, data, data.crops, settings.image_size, setup)
    y, test = data.labels, data.test
    split = (x[~test], y[~test], x[test], y[test])
    by_k = {
        str(k): probes.knn_accuracy(*split, k=k, temperature=settings.temperature or float("inf")) for k in settings.k
    }
    return {
        "accuracy": by_k[str(settings.k[0])],
        "accuracy_chance": probes.majority_accuracy(y[~test], y[test]),
        "accuracy_by_k": by_k,
    }
