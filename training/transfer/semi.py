"""Semi-supervised classification: the whole network is fine-tuned on the few images that a list names."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from training.transfer.fitting import fit_heads, step_decay
from training.transfer.folders import Folders, Labeled, read_folders, read_list
from training.transfer.linear import classifier, most_frequent, views_of
from training.transfer.setup import Setup, fingerprint


@dataclass(frozen=True, kw_only=True)
class SemiSettings:
    """How semi-supervised classification judges."""

    image_size: int | None = None
    """Side of what the network sees, pixels; None: as the run was trained (224 in the paper)."""
    lists: tuple[str, ...] = ("1percent.txt", "10percent.txt")
    """Files that name the labeled images, one a line; in DATA, or with a path. The score is that of the first."""
    epochs: int = 20
    """Passes over the labeled images."""
    steps: tuple[int, ...] = (12, 16)
    """Epochs from which on learning rates are multiplied by gamma."""
    gamma: float = 0.2
    """What they are multiplied by."""
    lr: float = 0.01
    """Learning rate of the backbone."""
    head_factor: float = 100.0
    """The classifier's learning rate is this times that of the backbone; the literature tries 1, 10 and 100."""
    batch_size: int = 256
    """Images per optimizer step, over all devices; of fewer images, all."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 0.0
    """Weight decay; published settings have 5e-4, 1e-4 or, those of the ORL authors, none."""

    def __post_init__(self):
        if self.lr <= 0 or self.head_factor <= 0 or self.batch_size < 2 or self.epochs < 1 or not self.lists:
            raise OrlError("semi needs lr, head_factor and epochs above 0, batch_size of 2 or more, and a list")


@dataclass(frozen=True, eq=False)
class SemiData:
    """A data set, and the labeled parts of it by the name of their list."""

    folders: Folders
    labeled: dict[str, Labeled]

    @property
    def fingerprint(self) -> str:
        """Of the data set and the lists."""
        lists = [
            [name, [f"{file.parent.name}/{file.name}" for file in part.files]] for name, part in self.labeled.items()
        ]
        return fingerprint([self.folders.fingerprint, lists])

    @property
    def facts(self) -> dict[str, Any]:
        """Those of the data set, and how many images each list names."""
        return self.folders.facts | {"labeled": {name: len(part) for name, part in self.labeled.items()}}


class FineTuned(nn.Module):
    """A backbone that learns, with a linear classifier."""

    def __init__(self, encoder: Encoder, classes: int):
        super().__init__()
        self.backbone, self.inputs = copy.deepcopy(encoder.backbone), encoder.inputs
        self.head = classifier(encoder.width, classes)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (B, classes) as `head`, of normalized images (B, 3, S, S)."""
        return {"head": self.head(self.backbone(images))}

    def groups(self, lr: float, head_factor: float) -> list[dict[str, Any]]:
        """Parameters with their learning rates: `lr` for the backbone, `head_factor` times that for the classifier."""
        return [
            {"params": list(self.backbone.parameters()), "lr": lr},
            {"params": list(self.head.parameters()), "lr": lr * head_factor},
        ]


def read(setup: Setup, settings: SemiSettings) -> SemiData:
    """Labeled images in a folder per class, and the lists."""
    folders = read_folders(setup.data)
    labeled = {}
    for name in settings.lists:
        file = Path(name) if Path(name).is_file() else folders.root / name
        if not file.is_file():
            raise OrlError(
                f"there is no list {file}: put one there, or name yours with --semi.lists, for example"
                f" --semi.lists [{folders.root}/mine.txt]"
            )
        if file.stem in labeled:
            raise OrlError(f"two of the lists are called {file.stem}: give them names of their own")
        labeled[file.stem] = read_list(folders, file)
    return SemiData(folders, labeled)


def judge(encoder: Encoder, data: SemiData, settings: SemiSettings, setup: Setup) -> dict[str, Any]:
    """Top-1 and top-5 accuracy on val after fine-tuning on each list."""
    assert settings.image_size
    found = {}
    for name, part in data.labeled.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setup.seed)
            network = FineTuned(encoder, len(data.folders.classes))
        place = setup.named(name)
        found[name] = fit_heads(
            network,
            views_of(part, settings.image_size, place, encoder.inputs),
            views_of(data.folders.val, settings.image_size, place, encoder.inputs),
            groups=network.groups(settings.lr, settings.head_factor),
            factor=step_decay(settings.steps, settings.gamma),
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            sgd={"momentum": settings.momentum, "weight_decay": settings.weight_decay},
            setup=place,
            precision="fp32",
            folder=place.folder,
        )["head"]
    first = next(iter(found))
    return {
        "top1": found[first].top1,
        "top1_chance": most_frequent(data.folders),
        "top1_by_list": {name: tested.top1 for name, tested in found.items()},
        "top5_by_list": {name: tested.top5 for name, tested in found.items()},
        "items": {"top1": found[first].items}
        | {f"top1_by_list/{name}": tested.items for name, tested in found.items()},
    }
