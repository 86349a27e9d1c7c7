"""Linear classification on a frozen backbone: every stage of a ResNet by itself, or the pooled feature."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.decoding import load_rgb
from orl_explore.settings import InputSettings
from orl_explore.views.tensors import IMAGENET
from training.transfer.fitting import COLORS_TOO, CROP_AND_FLIP, LabeledViews, fit_heads, step_decay
from training.transfer.folders import Folders, Labeled, read_folders
from training.transfer.setup import Setup
from training.transfer.stages import POOLS, StageMaps, pool_map, pooling_of

PRESETS: Final[dict[str, dict[str, Any]]] = {
    "imagenet": {"epochs": 28, "steps": (8, 16, 24), "colors": True},
    "places205": {"epochs": 14, "steps": (4, 8, 12), "colors": False},
    "inaturalist18": {"epochs": 84, "steps": (24, 48, 72), "colors": False},
}
"""Lengths of training that the literature uses with each data set, and whether colors are distorted."""

COLOR_NOISE: Final = 0.1
"""Standard deviation of the PCA color noise, where colors are distorted."""


@dataclass(frozen=True, kw_only=True)
class LinearSettings:
    """How linear classification judges."""

    image_size: int | None = None
    """Side of what the encoder sees, pixels; None: as the run was trained (224 in the paper)."""
    preset: Literal["imagenet", "places205", "inaturalist18"] = "imagenet"
    """Whose epochs, steps and colors are used where these are not given."""
    epochs: int | None = None
    """Passes over the training images; None: the preset's (28, 14 or 84)."""
    steps: tuple[int, ...] | None = None
    """Epochs from which on the learning rate is multiplied by gamma; None: the preset's (8, 16, 24 for ImageNet)."""
    gamma: float = 0.1
    """What the learning rate is multiplied by at each step."""
    layers: Literal["all", "last"] = "all"
    """all: res1 (before the max pooling) to res5, each with a classifier of its own, and the score is that of res5;
    last: the pooled feature alone, for other networks than ResNets."""
    colors: bool | None = None
    """Training views with color jitter and PCA color noise; None: as the preset has it (ImageNet's alone)."""
    lr: float = 0.01
    """Learning rate at the start."""
    batch_size: int = 256
    """Images per optimizer step, over all devices."""
    momentum: float = 0.9
    """Nesterov momentum of SGD."""
    weight_decay: float = 1e-4
    """Weight decay of the classifiers."""

    def __post_init__(self):
        if self.lr <= 0 or self.batch_size < 1 or (self.epochs is not None and self.epochs < 1):
            raise OrlError("linear.lr, linear.batch_size and linear.epochs must be above 0")

    def resolved(self) -> LinearSettings:
        """With the preset's epochs and steps in the place of None."""
        preset = PRESETS[self.preset]
        return dataclasses.replace(
            self,
            epochs=preset["epochs"] if self.epochs is None else self.epochs,
            steps=preset["steps"] if self.steps is None else self.steps,
            colors=preset["colors"] if self.colors is None else self.colors,
        )


def classifier(width: int, classes: int) -> nn.Linear:
    """Make a linear classifier that starts near 0: weights of standard deviation 0.01, no bias yet."""
    layer = nn.Linear(width, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


class LinearProbe(nn.Module):
    """A frozen backbone with linear classifiers behind batch normalization that learns nothing.

    Each channel is normalized as one, over all cells of its map.

    Args:
        encoder: its backbone is used in eval mode, whatever mode this module is in.
        classes: how many.
        layers: `all` or `last`.
        size: side of the images, pixels.

    Attributes:
        pooling: how the map of each stage is pooled, in words.
        numbers: how many each classifier sees.

    Raises:
        OrlError: the backbone has not the stages of a ResNet.
    """

    def __init__(self, encoder: Encoder, classes: int, layers: str = "all", *, size: int = 224):
        super().__init__()
        self.backbone, self.inputs = encoder.backbone.eval().requires_grad_(False), encoder.inputs
        side = encoder.inputs.side(size)
        self.stages = tuple(POOLS) if layers == "all" else ()
        self.maps = StageMaps(encoder, self.stages, hint="use --linear.layers last")
        self.pooling = {"last": "global average"}
        with torch.no_grad():
            self.backbone(torch.zeros(1, 3, side, side))
            if self.stages:
                found = self.maps.take()
                self.pooling = {stage: pooling_of(stage, found[stage].shape[2:]) for stage in self.stages}
            shapes = {name: x.shape for name, x in self.features(torch.zeros(1, 3, side, side)).items()}
        self.numbers = {name: math.prod(shape[1:]) for name, shape in shapes.items()}
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.BatchNorm2d(shape[1], affine=False), nn.Flatten(), classifier(self.numbers[name], classes)
                )
                for name, shape in shapes.items()
            }
        )

    def train(self, mode: bool = True) -> LinearProbe:
        """Set the mode of the classifiers; the backbone stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """What each classifier sees: maps (B, C, cells, cells) by its name; `last` is the pooled feature, one cell."""
        pooled = self.backbone(images)
        if not self.stages:
            return {"last": pooled[:, :, None, None]}
        found = self.maps.take()
        return {stage: pool_map(found[stage], stage) for stage in self.stages}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (B, classes) by the name of the classifier, of normalized images (B, 3, S, S)."""
        with torch.no_grad():
            features = self.features(images)
        return {name: head(features[name]) for name, head in self.heads.items()}


def read(setup: Setup, settings: LinearSettings) -> Folders:
    """Labeled images in a folder per class."""
    return read_folders(setup.data)


def views_of(
    part: Labeled, size: int, setup: Setup, inputs: InputSettings = IMAGENET, *, colors: bool = False
) -> LabeledViews:
    """Views of labeled files, resized as an encoder does it: cropped and flipped in training, with distorted colors if
    asked.
    """
    augment, noise = (COLORS_TOO, COLOR_NOISE) if colors else (CROP_AND_FLIP, 0.0)
    return LabeledViews(
        Files(part), part.labels, size=size, seed=setup.seed, inputs=inputs, augment=augment, color_noise=noise
    )


class Files:
    """Called with a row, reads that file; a class, as processes that read data need something they can be sent."""

    def __init__(self, part: Labeled):
        self.files = part.files

    def __call__(self, row: int) -> Image.Image:
        """Image of a row; raises OrlError for one that cannot be used."""
        return load_rgb(self.files[row])


def judge(encoder: Encoder, data: Folders, settings: LinearSettings, setup: Setup) -> dict[str, Any]:
    """Top-1 and top-5 accuracy on val of each classifier; the score is that of res5, or of the pooled feature."""
    settings = settings.resolved()
    assert settings.image_size
    assert settings.epochs
    assert settings.steps is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setup.seed)
        probe = LinearProbe(encoder, len(data.classes), settings.layers, size=settings.image_size)
    found = fit_heads(
        probe,
        views_of(data.train, settings.image_size, setup, encoder.inputs, colors=bool(settings.colors)),
        views_of(data.val, settings.image_size, setup, encoder.inputs),
        groups=[{"params": list(probe.heads.parameters()), "lr": settings.lr}],
        factor=step_decay(settings.steps, settings.gamma),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        sgd={"momentum": settings.momentum, "weight_decay": settings.weight_decay, "nesterov": True},
        setup=setup,
        precision="fp32",  # features of an untrained encoder differ too little for bf16
        folder=setup.folder,
    )
    last = found["last" if settings.layers == "last" else "res5"]
    return {
        "top1": last.top1,
        "top1_chance": most_frequent(data),
        "top5": last.top5,
        "top1_by_layer": {name: tested.top1 for name, tested in found.items()},
        "pooling": probe.pooling,
        "numbers": probe.numbers,
        "epochs": settings.epochs,
        "steps": list(settings.steps),
        "colors": settings.colors,
        "items": {"top1": last.items} | {f"top1_by_layer/{name}": tested.items for name, tested in found.items()},
    }


def most_frequent(data: Folders) -> float:
    """Accuracy of always answering the class with most training images."""
    from orl_explore.judging.probes import majority_accuracy

    return majority_accuracy(data.train.labels, data.val.labels)
