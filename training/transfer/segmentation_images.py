"""Images and label maps as segmentation networks are trained and tested with them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from orl_explore.images.label_map import IGNORED
from orl_explore.runs.samples import Index
from orl_explore.settings import InputSettings
from orl_explore.views.cropping import Pixels
from training.transfer.label_maps import LabelMaps


class SegmentationImages(Dataset):
    """Item (epoch, row): an image, uint8 (3, h, w), its labels, int64 (h, w), and the row.

    In training, a random crop of the image resized at random; in tests, the resized image with labels of full size.

    Args:
        maps: the images.
        size: shorter and longer side that images are resized to fit into, pixels.
        crop: side of crops, pixels.
        colors: whether they are distorted, and no class may fill more than 75 % of a crop.
        inputs: whose mean color fills up what a crop lacks.
        seed: of the augmentation, which follows (seed, epoch, row); None: for a test.
    """

    def __init__(
        self,
        maps: LabelMaps,
        *,
        size: tuple[int, int],
        crop: int,
        colors: bool,
        inputs: InputSettings,
        seed: int | None,
    ):
        self.maps, self.size, self.crop, self.colors, self.seed = maps, size, crop, colors, seed
        self.color = np.rint(255 * np.array(inputs.mean)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: Index) -> tuple[Tensor, Tensor, int]:
        epoch, row = index
        pixels, labels = self.maps.load(row)
        if self.seed is None:
            pixels, _ = resized(pixels, labels, self.size, 1.0)
        else:
            pixels, labels = self._augmented(pixels, labels, np.random.default_rng([self.seed, epoch, row]))
        return torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(labels.astype(np.int64)), row

    def _augmented(
        self, pixels: Pixels, labels: NDArray[np.int16], rng: np.random.Generator
    ) -> tuple[Pixels, NDArray[np.int16]]:
        crop = self.crop
        pixels, labels = resized(pixels, labels, self.size, rng.uniform(0.5, 2.0))
        y, x = crop_at(labels, crop, rng, most=0.75 if self.colors else 1.0)
        pixels, labels = pixels[y : y + crop, x : x + crop], labels[y : y + crop, x : x + crop]
        if rng.random() < 0.5:
            pixels, labels = pixels[:, ::-1], labels[:, ::-1]
        if self.colors:
            pixels = distorted(pixels, rng)
        height, width = labels.shape
        whole = np.broadcast_to(self.color, (crop, crop, 3)).copy()
        whole[:height, :width] = pixels
        all_labels = np.full((crop, crop), IGNORED, np.int16)
        all_labels[:height, :width] = labels
        return whole, all_labels


def resized(
    pixels: Pixels, labels: NDArray[np.int16], size: tuple[int, int], ratio: float
) -> tuple[Pixels, NDArray[np.int16]]:
    """Fit an image into a shorter and a longer side, both times a ratio; labels by the nearest pixel."""
    import cv2

    height, width = labels.shape
    shorter, longer = (int(side * ratio) for side in size)
    scale = min(shorter / min(height, width), longer / max(height, width))
    to = (max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5)))
    return (
        np.asarray(cv2.resize(pixels, to, interpolation=cv2.INTER_LINEAR), np.uint8),
        np.asarray(cv2.resize(labels, to, interpolation=cv2.INTER_NEAREST), np.int16),
    )


def crop_at(labels: NDArray[np.int16], crop: int, rng: np.random.Generator, *, most: float) -> tuple[int, int]:
    """Draw the top and left of a crop; anew, up to ten times, while one class has `most` of its labeled pixels."""
    height, width = labels.shape
    y = x = 0
    for _ in range(11):
        y, x = (int(rng.integers(0, max(0, side - crop) + 1)) for side in (height, width))
        part = labels[y : y + crop, x : x + crop]
        counts = np.bincount(part[part != IGNORED])
        if most >= 1 or ((counts > 0).sum() > 1 and counts.max() < most * counts.sum()):
            break
    return y, x


def distorted(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Distort colors as SSD (Liu et al. 2016) does, each way with probability 0.5.

    Brightness is shifted by up to 32, contrast and saturation multiplied by 0.5 to 1.5, hue turned by up to 36 degrees;
    contrast comes before or after saturation and hue.
    """
    import cv2

    def scaled(image: NDArray, factor: float, shift: float = 0.0) -> Pixels:
        return (image.astype(np.float32) * factor + shift).clip(0, 255).astype(np.uint8)

    def contrast(image: Pixels) -> Pixels:
        return scaled(image, rng.uniform(0.5, 1.5)) if rng.random() < 0.5 else image

    pixels = np.ascontiguousarray(pixels)
    if rng.random() < 0.5:
        pixels = scaled(pixels, 1.0, rng.uniform(-32, 32))
    early = rng.random() < 0.5
    if early:
        pixels = contrast(pixels)
    saturate, turn = rng.random(2) < 0.5
    if saturate or turn:
        hsv: NDArray = np.array(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV))
        if saturate:
            hsv[..., 1] = scaled(hsv[..., 1], rng.uniform(0.5, 1.5))
        if turn:
            hsv[..., 0] = (hsv[..., 0].astype(np.int16) + rng.integers(-18, 18)) % 180
        pixels = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    return pixels if early else contrast(pixels)


def collate(batch: list[tuple[Tensor, Tensor, int]]) -> tuple[Tensor, Tensor, list[int]]:
    """Images and labels of a batch, one size, and their rows."""
    images, labels, rows = zip(*batch, strict=True)
    return torch.stack(images), torch.stack(labels), list(rows)
