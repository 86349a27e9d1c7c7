"""The upper bound: an encoder of the run's shape, trained with the labels of the run's own training crops."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.runs.files import atomic_write
from orl_explore.settings import ViewSettings
from training.console import console
from training.machine import is_main_process
from training.transfer.fitting import LabeledViews, fit_heads
from training.transfer.objects import ObjectCrops, read_objects
from training.transfer.semi import FineTuned
from training.transfer.setup import Setup, fingerprint

VIEWS = ViewSettings(crop_scale=(0.3, 1.0), blur=(0.0, 0.0), solarize=(0.0, 0.0))
"""How crops are augmented: they are objects already, so milder than whole images; colors as strongly as in stage 1."""


@dataclass(frozen=True, kw_only=True)
class SupervisedSettings:
    """How the supervised encoder is trained. It follows no paper: it only has to be a bound that is hard to reach."""

    epochs: int = 20
    """Passes over the training crops."""
    lr: float = 0.1
    """Learning rate at the start; it falls to 0 along a cosine."""
    batch_size: int = 64
    """Crops per optimizer step."""
    momentum: float = 0.9
    """Nesterov momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay."""

    def __post_init__(self):
        if self.lr <= 0 or self.epochs < 1 or self.batch_size < 2:
            raise OrlError("supervised needs lr and epochs above 0, and batch_size of 2 or more")


class Crops:
    """Called with a row, reads that crop of an object."""

    def __init__(self, data: ObjectCrops, rows: np.ndarray):
        self.images = data.images
        row_of = dict(zip(data.images.table["image_id"].tolist(), range(len(data.images)), strict=True))
        table = data.crops.iloc[rows]
        self.image_rows = [row_of[image_id] for image_id in table["image_id"].tolist()]
        self.boxes = table[["x", "y", "w", "h"]].to_numpy(np.int64).tolist()

    def __call__(self, row: int) -> Image.Image:
        """Crop of a row."""
        x, y, w, h = self.boxes[row]
        return self.images.load(self.image_rows[row]).crop((x, y, x + w, y + h))


def supervised_file(setup: Setup, settings: SupervisedSettings) -> Path:
    """Train the encoder on crops of images that are not held out, unless that was done before; where it is.

    Raises:
        OrlError: the run has no annotated objects.
    """
    data = read_objects(dataclasses.replace(setup, data=()))
    shape = dataclasses.replace(setup.config.stage1.encoder, hidden=0)
    size = setup.config.stage1.image_size
    drawn = [shape.backbone, shape.init, size, setup.seed, dataclasses.asdict(VIEWS)]
    key = fingerprint([data.fingerprint, dataclasses.asdict(settings), *drawn])[:10]
    file = setup.folder / f"supervised-{key}.safetensors"
    if file.exists():
        return file
    rows = np.flatnonzero(~data.test)
    classes, labels = np.unique(data.labels[rows].astype(str), return_inverse=True)
    if len(classes) < 2:
        raise OrlError("the supervised encoder needs objects of two categories or more")
    console.print(f"training the supervised encoder on {len(rows):,} crops of {len(classes)} categories")
    encoder = Encoder.random(shape, seed=setup.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setup.seed)
        network = FineTuned(encoder, len(classes))
    fit_heads(
        network,
        LabeledViews(Crops(data, rows), labels.astype(np.int64), size=size, seed=setup.seed, augment=VIEWS),
        None,
        groups=network.groups(settings.lr, 1.0),
        factor=lambda epoch: (1 + math.cos(math.pi * epoch / settings.epochs)) / 2,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        sgd={"momentum": settings.momentum, "weight_decay": settings.weight_decay, "nesterov": True},
        setup=dataclasses.replace(setup, title="supervised"),
        precision=setup.config.precision,
        folder=setup.folder / f"supervised-{key}",
    )
    if is_main_process():
        encoder.settings = dataclasses.replace(shape, dim=encoder.width)
        encoder.backbone.load_state_dict(network.backbone.state_dict())
        with atomic_write(file) as temporary:
            encoder.save(temporary, stage="supervised", image_size=size, settings=dataclasses.asdict(settings))
    return file
