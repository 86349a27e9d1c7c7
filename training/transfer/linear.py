"""Linear classification on a frozen backbone: the last layer, or every stage of a ResNet by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.decoding import load_rgb
from training.transfer.fitting import LabeledViews, fit_heads, step_decay
from training.transfer.folders import Folders, Labeled, read_folders
from training.transfer.setup import Setup

PRESETS: Final[dict[str, dict[str, Any]]] = {
    "imagenet": {"epochs": 28, "steps": (8, 16, 24)},
    "places205": {"epochs": 14, "steps": (4, 8, 12)},
    "inaturalist18": {"epochs": 84, "steps": (24, 48, 72)},
}
"""Lengths of training that the literature uses with each data set."""

GRIDS: Final = {"res1": 12, "res2": 6, "res3": 4, "res4": 3, "res5": 2}
"""Side of the grid that each stage's output is pooled to: about 9,000 numbers in a ResNet-50 (Goyal et al. 2019)."""


@dataclass(frozen=True, kw_only=True)
class LinearSettings:
    """How linear classification judges."""

    image_size: int | None = None
    """Side of what the encoder sees, pixels; None: as the run was trained (224 in the paper)."""
    preset: Literal["imagenet", "places205", "inaturalist18"] = "imagenet"
    """Whose epochs and steps are used where these are not given."""
    epochs: int | None = None
    """Passes over the training images; None: the preset's (28, 14 or 84)."""
    steps: tuple[int, ...] | None = None
    """Epochs from which on the learning rate is multiplied by gamma; None: the preset's (8, 16, 24 for ImageNet)."""
    gamma: float = 0.1
    """What the learning rate is multiplied by at each step."""
    layers: Literal["last", "all"] = "last"
    """last: the pooled feature; all: also res1 (before the max pooling) to res5, each with a classifier of its own."""
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
        )


def classifier(width: int, classes: int) -> nn.Linear:
    """Make a linear classifier that starts near 0: weights of standard deviation 0.01, no bias yet."""
    layer = nn.Linear(width, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


class LinearProbe(nn.Module):
    """A frozen backbone with linear classifiers behind batch normalization that learns nothing.

    Args:
        encoder: its backbone is used in eval mode, whatever mode this module is in.
        classes: how many.
        layers: `last` or `all`.

    Raises:
        OrlError: the backbone has not the stages of a ResNet.
    """

    def __init__(self, encoder: Encoder, classes: int, layers: str = "last"):
        super().__init__()
        self.backbone, self.inputs = encoder.backbone.eval().requires_grad_(False), encoder.inputs
        self.all_layers = layers == "all"
        self.stages: dict[str, Tensor] = {}
        if self.all_layers:
            for name, module in _stages(encoder).items():
                if name == "res1":
                    module.register_forward_pre_hook(lambda _, given: self.stages.update(res1=given[0]))
                else:
                    module.register_forward_hook(lambda _, __, out, name=name: self.stages.update({name: out}))
        side = encoder.inputs.side(64)
        with torch.no_grad():
            widths = {name: x.shape[1] for name, x in self.features(torch.zeros(2, 3, side, side)).items()}
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.BatchNorm1d(width, affine=False), classifier(width, classes))
                for name, width in widths.items()
            }
        )

    def train(self, mode: bool = True) -> LinearProbe:
        """Set the mode of the classifiers; the backbone stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """What each classifier sees: (B, numbers) by its name; `last` is the pooled feature."""
        found = {"last": self.backbone(images)}
        if self.all_layers:
            for name, side in GRIDS.items():
                found[name] = nn.functional.adaptive_avg_pool2d(self.stages[name].float(), side).flatten(1)
            self.stages.clear()
        return found

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (B, classes) by the name of the classifier, of normalized images (B, 3, S, S)."""
        with torch.no_grad():
            features = self.features(images)
        return {name: head(features[name]) for name, head in self.heads.items()}


def _stages(encoder: Encoder) -> dict[str, nn.Module]:
    """The max pooling, whose input is res1, and the four stages, whose outputs are res2 to res5."""
    names = {"res1": "maxpool", **{f"res{n + 1}": f"layer{n}" for n in range(1, 5)}}
    modules = dict(encoder.backbone.named_modules())
    missing = [name for name in names.values() if name not in modules]
    if missing:
        raise OrlError(f"{encoder.settings.backbone} has no {missing[0]}, so it is no ResNet: use --linear.layers last")
    return {stage: modules[name] for stage, name in names.items()}


def read(setup: Setup, settings: LinearSettings) -> Folders:
    """Labeled images in a folder per class."""
    return read_folders(setup.data)


def views_of(part: Labeled, size: int, setup: Setup) -> LabeledViews:
    """Views of labeled files."""
    return LabeledViews(Files(part), part.labels, size=size, seed=setup.seed)


class Files:
    """Called with a row, reads that file; a class, as processes that read data need something they can be sent."""

    def __init__(self, part: Labeled):
        self.files = part.files

    def __call__(self, row: int) -> Image.Image:
        """Image of a row; raises OrlError for one that cannot be used."""
        return load_rgb(self.files[row])


def judge(encoder: Encoder, data: Folders, settings: LinearSettings, setup: Setup) -> dict[str, Any]:
    """Top-1 and top-5 accuracy on val of each classifier; the score is that of the pooled feature."""
    settings = settings.resolved()
    assert settings.image_size
    assert settings.epochs
    assert settings.steps is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setup.seed)
        probe = LinearProbe(encoder, len(data.classes), settings.layers)
    found = fit_heads(
        probe,
        views_of(data.train, settings.image_size, setup),
        views_of(data.val, settings.image_size, setup),
        groups=[{"params": list(probe.heads.parameters()), "lr": settings.lr}],
        factor=step_decay(settings.steps, settings.gamma),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        sgd={"momentum": settings.momentum, "weight_decay": settings.weight_decay, "nesterov": True},
        setup=setup,
        precision="fp32",  # features of an untrained encoder differ too little for bf16
        folder=setup.folder,
    )
    return _figures(found, data) | {"epochs": settings.epochs, "steps": list(settings.steps)}


def _figures(found: Mapping[str, Mapping[str, float]], data: Folders) -> dict[str, Any]:
    return {
        "top1": found["last"]["top1"],
        "top1_chance": most_frequent(data),
        "top5": found["last"]["top5"],
        "top1_by_layer": {name: accuracies["top1"] for name, accuracies in found.items()},
    }


def most_frequent(data: Folders) -> float:
    """Accuracy of always answering the class with most training images."""
    from orl_explore.judging.probes import majority_accuracy

    return majority_accuracy(data.train.labels, data.val.labels)
