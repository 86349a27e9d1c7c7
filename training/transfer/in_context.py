"""In-context segmentation: a patch of a test image has the labels of the most similar patches of labeled images.

Nothing is trained. The settings are those of Balazevic et al., "Towards in-context scene understanding" (NeurIPS 2023,
arXiv 2306.01667); docs/transfer.md says where this departs from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.label_map import IGNORED
from orl_explore.judging.alike import cells_and_feature
from orl_explore.views.cropping import crop_pixels
from orl_explore.views.loading import Batches
from orl_explore.views.tensors import normalize
from training.console import progress_bar
from training.transfer import miou
from training.transfer.label_maps import LabelMaps, Segmentation, read_maps
from training.transfer.setup import Setup

ENLARGED: Final = 512 / 224
"""Side of images as a multiple of the size that the encoder was trained with: transformers for 224 px see 512 px."""


@dataclass(frozen=True, kw_only=True)
class InContextSettings:
    """How in-context segmentation judges."""

    image_size: int | None = None
    """Side that images are squeezed to, pixels, in whole cells of the encoder's map; None: 512/224 times the size that
    the run, or the encoder, was trained with (512 in the paper)."""
    k: int = 30
    """Nearest patches that vote."""
    temperature: float = 0.02
    """A neighbor's vote weighs exp(cosine / temperature), divided by the sum over all neighbors."""
    memory: int = 102_400
    """Patches of training images that are searched, at most; equally many of each image, rare classes first. The
    paper has 10,240,000."""
    batch_size: int = 16
    """Images per forward pass."""

    def __post_init__(self):
        for name in ("k", "memory", "batch_size"):
            if getattr(self, name) < 1:
                raise OrlError(f"in-context.{name} is {getattr(self, name)}: it must be 1 or more")
        if not self.temperature > 0:
            raise OrlError(f"in-context.temperature is {self.temperature}: it must be above 0")


def read(setup: Setup, settings: InContextSettings) -> Segmentation:
    """Label maps of the run, of COCO jsons, or in a benchmark's own folders."""
    return read_maps(setup)


def judge(encoder: Encoder, data: Segmentation, settings: InContextSettings, setup: Setup) -> dict[str, Any]:
    """mIoU over all classes, the background included, and that of each."""
    assert settings.image_size
    encoder = encoder.to(setup.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    cells, side = grid(encoder, settings.image_size, setup)
    with progress_bar(f"{setup.title}: memory") as progress:
        memory = remember(encoder, data.train, len(data.classes), cells, side, settings, setup, progress)
    with progress_bar(f"{setup.title}: segmenting") as progress:
        counted = segment(encoder, memory, data.test, side, settings, setup, progress)
    return miou.figures(counted, data.classes) | {
        "memory": len(memory.patches),
        "cells": cells,
        "side": side,
    }


def segment(
    encoder: Encoder,
    memory: Memory,
    maps: LabelMaps,
    side: int,
    settings: InContextSettings,
    setup: Setup,
    progress: Callable[[int, int], None] | None = None,
) -> list[miou.Counted]:
    """Give the pixels of images the labels that a memory has for their patches, and compare them with their own.

    Args:
        encoder: in eval mode, where it runs.
        memory: of the same encoder.
        maps: the images.
        side: that images are squeezed to, pixels.
        settings: of the protocol.
        setup: where it runs, and workers.
        progress: called as progress(images done, images in all).
    """
    counted: list[miou.Counted] = []
    for patches, truths in _patches(encoder, maps, side, settings, setup):
        scores = memory.vote(patches.flatten(0, 2), settings.k, settings.temperature)  # (B h w, C)
        for found, truth in zip(scores.view(*patches.shape[:3], -1), truths, strict=True):
            predicted = miou.as_labels(found.permute(2, 0, 1), (truth.shape[0], truth.shape[1]))
            counted.append(miou.count(predicted, truth.to(predicted.device), scores.shape[1]))
        if progress:
            progress(len(counted), len(maps))
    return counted


# ---- the memory ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Memory:
    """Patches of training images and what is on them.

    Attributes:
        patches: (M, D) float32, rows of length 1.
        labels: (M, C) float32: the share of each class in a patch's labeled pixels.
    """

    patches: Tensor
    labels: Tensor

    def vote(self, queries: Tensor, k: int, temperature: float) -> Tensor:
        """Labels (Q, C) of patches (Q, D) of length 1: the mean of the labels of the k most similar ones.

        Neighbors are weighted by the softmax of cosine / temperature.
        """
        found = []
        rows = max(1, 200_000_000 // len(self.patches))  # as many similarities at once as memory bears
        for some in queries.split(rows):
            similarity, nearest = (some @ self.patches.T).topk(min(k, len(self.patches)), dim=1)
            weights = torch.softmax(similarity / temperature, dim=1)  # (q, k)
            found.append(torch.einsum("qk,qkc->qc", weights, self.labels[nearest]))
        return torch.cat(found)


def remember(
    encoder: Encoder,
    maps: LabelMaps,
    classes: int,
    cells: int,
    side: int,
    settings: InContextSettings,
    setup: Setup,
    progress: Callable[[int, int], None] | None = None,
) -> Memory:
    """Patches of all training images, as many of each as `settings.memory` has room for.

    Args:
        encoder: in eval mode, where it runs.
        maps: the training images.
        classes: how many there are.
        cells: a side of the encoder's map.
        side: that images are squeezed to, pixels.
        settings: of the protocol.
        setup: seed, where it runs, and workers.
        progress: called as progress(images done, images in all).

    Raises:
        OrlError: no patch has a labeled pixel.
    """
    share = max(1, settings.memory // len(maps))
    if settings.memory < len(maps):  # not even one each: some images
        rows = np.random.default_rng([setup.seed, 4]).permutation(len(maps))[: settings.memory]
        maps = _Some(maps, np.sort(rows))
    patches: list[Tensor] = []
    labels: list[Tensor] = []
    for found, truths in _patches(encoder, maps, side, settings, setup):
        for cell_features, truth in zip(found.flatten(1, 2), truths, strict=True):  # (h w, D)
            counts = patch_labels(truth.numpy(), cells, classes)
            rng = np.random.default_rng([setup.seed, 5, len(labels)])
            kept = torch.from_numpy(choose(counts, share, rng))
            patches.append(cell_features[kept.to(found.device)])
            own = torch.from_numpy(counts)[kept].float()
            labels.append((own / own.sum(dim=1, keepdim=True)).to(found.device))
        if progress:
            progress(len(labels), len(maps))
    memory = Memory(torch.cat(patches), torch.cat(labels))
    if not len(memory.patches):
        raise OrlError("no pixel of the training images has a class: there is nothing to compare with")
    return memory


def patch_labels(labels: NDArray[np.int16], cells: int, classes: int) -> NDArray[np.int64]:
    """Pixels of each class in each cell of a label map, (cells * cells, C), row by row; IGNORED ones do not count.

    Args:
        labels: (H, W).
        cells: a side.
        classes: how many.
    """
    height, width = labels.shape
    down = np.arange(height) * cells // height  # the cell that each row of pixels is in, to the pixel
    across = np.arange(width) * cells // width
    place = (down[:, None] * cells + across[None]).ravel() * classes + labels.ravel()
    return np.bincount(place[labels.ravel() != IGNORED], minlength=cells * cells * classes).reshape(-1, classes)


def choose(counts: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Patches of an image to keep, ascending: at random, the more probably the rarer their classes are in the image.

    A patch's classes are weighed by how many patches of the image show them, and the lowest products of this weight and
    a number drawn from 0 to 1 stay. Patches without any labeled pixel never do.

    Args:
        counts: (P, C) pixels of each class.
        most: patches at most.
        rng: decides the draw.
    """
    shown = counts > 0
    weight = shown @ shown.sum(axis=0)  # (P,)
    usable = np.flatnonzero(weight)
    if len(usable) <= most:
        return usable
    drawn = weight[usable] * rng.random(len(usable))
    return np.sort(usable[np.argpartition(drawn, most)[:most]])


# ---- patches ---------------------------------------------------------------------------------------------------------


def grid(encoder: Encoder, wanted: int, setup: Setup) -> tuple[int, int]:
    """Cells a side of the encoder's map, and the side in pixels that gives them: whole cells, closest to `wanted`.

    Raises:
        OrlError: the network's last features are no map of places, or it cannot see images of this size.
    """
    trained = encoder.inputs.side(setup.config.stage1.image_size)
    stride = trained / _cells(encoder, trained)
    side = max(1, round(wanted / stride)) * round(stride)
    try:
        return _cells(encoder, side), side
    except (AssertionError, RuntimeError) as error:
        raise OrlError(
            f"{encoder.settings.backbone} cannot see images of {side} px ({' '.join(str(error).split())[:120]}): it was"
            f" made for others, --in-context.image_size {trained}"
        ) from None


@torch.inference_mode()
def _cells(encoder: Encoder, side: int) -> int:
    device = next(encoder.parameters()).device
    return cells_and_feature(encoder.backbone, torch.zeros(1, 3, side, side, device=device))[0].shape[1]


class _Some(LabelMaps):
    """Some rows of label maps."""

    def __init__(self, maps: LabelMaps, rows: NDArray[np.intp]):
        self.maps, self.rows = maps, rows.tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, row: int) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        return self.maps.load(self.rows[row])

    def names(self) -> list[list[Any]]:
        return self.maps.names()


class _Squeezed(Dataset):
    """Item i: image i squeezed to uint8 (3, S, S), and its labels, int16 (H, W)."""

    def __init__(self, maps: LabelMaps, side: int, interpolation: str):
        self.maps, self.side, self.interpolation = maps, side, interpolation

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        pixels, labels = self.maps.load(row)
        height, width = labels.shape
        image = crop_pixels(pixels, (0, 0, width, height), self.side, self.interpolation)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(labels)


def _together(batch: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, list[Tensor]]:
    return torch.stack([image for image, _ in batch]), [labels for _, labels in batch]


@torch.inference_mode()
def _patches(
    encoder: Encoder, maps: LabelMaps, side: int, settings: InContextSettings, setup: Setup
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Patch features (B, h, w, D) of length 1, and the label maps of their images, in order."""
    order = range(len(maps))
    rows = [list(order[start : start + settings.batch_size]) for start in order[:: settings.batch_size]]
    images = _Squeezed(maps, side, encoder.inputs.interpolation)
    for batch, truth in Batches(images, rows, collate=_together, workers=setup.workers):
        found, _ = cells_and_feature(encoder.backbone, normalize(batch.to(setup.device), encoder.inputs))
        yield nn.functional.normalize(found.float(), dim=3), truth
