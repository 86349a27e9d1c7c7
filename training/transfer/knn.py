"""kNN accuracy: an image has the class that most of its nearest training images have (by cosine of the features)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.judging import probes
from orl_explore.judging.intervals import Scored
from training.transfer.folders import Folders, read_folders
from training.transfer.objects import ObjectCrops, embed_crops, read_objects
from training.transfer.setup import Setup


@dataclass(frozen=True, kw_only=True)
class KnnSettings:
    """How kNN judges."""

    image_size: int | None = None
    """Side that crops are resized to, pixels; None: as the run was trained."""
    k: tuple[int, ...] = (20, 200)
    """Numbers of neighbors that vote; the score is that of the first."""
    temperature: float = 0.07
    """A neighbor's vote weighs exp(cosine / temperature); 0: all weigh the same."""

    def __post_init__(self):
        if not self.k or min(self.k) < 1 or not self.temperature >= 0:
            raise OrlError("knn needs k of 1 or more, and a temperature of 0 or more")


def read(setup: Setup, settings: KnnSettings) -> ObjectCrops | Folders:
    """Object crops of the run or of a COCO json; or labeled images in a folder per class."""
    if setup.data and setup.data[0].suffix != ".json":
        return read_folders(setup.data)
    return read_objects(setup)


def judge(encoder: Encoder, data: ObjectCrops | Folders, settings: KnnSettings, setup: Setup) -> dict[str, Any]:
    """Accuracy for each k, and of guessing the most frequent class."""
    assert settings.image_size
    train_y: NDArray
    test_y: NDArray
    if isinstance(data, Folders):
        train_x, test_x = data.embed(encoder, settings.image_size, setup)
        train_y, test_y = data.train.labels, data.val.labels
    else:
        x = embed_crops(encoder, data, data.crops, settings.image_size, setup)
        train_x, test_x = x[~data.test], x[data.test]
        train_y, test_y = data.labels[~data.test], data.labels[data.test]
    split = (train_x, train_y, test_x, test_y)
    by_k = {str(k): probes.knn_right(*split, k=k, temperature=settings.temperature or float("inf")) for k in settings.k}
    right = by_k[str(settings.k[0])]
    image = None if isinstance(data, Folders) else data.crops["image_id"].to_numpy()[data.test]
    return {
        "accuracy": float(right.mean()),
        "accuracy_chance": probes.majority_accuracy(train_y, test_y),
        "accuracy_by_k": {k: float(each.mean()) for k, each in by_k.items()},
        "items": {"accuracy": Scored.of(right, unit=image)}
        | {f"accuracy_by_k/{k}": Scored.of(each, unit=image) for k, each in by_k.items()},
    }
