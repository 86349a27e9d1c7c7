"""What a frozen encoder says of images and boxes (paper section 3.2): embeddings, as rows of length 1.

Images and boxes are prepared as the encoder was trained (`Encoder.inputs`). The *projector* output describes whole
images (for neighbors), the pooled *backbone* feature describes regions (for pairs).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.object_masks import from_rle
from orl_explore.settings import InputSettings
from orl_explore.views import cropping, tensors
from orl_explore.views.cropping import crop_pixels
from orl_explore.views.parameters import Box

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from orl_explore.images.image_set import ImageSet

Progress = Callable[[int, int], None]


class Fading(NamedTuple):
    """What is done with pixels outside an object."""

    masks: Sequence[Sequence[str | None]]
    """Of each image, the masks of its boxes as counts of a compressed COCO RLE; None: nothing is faded."""
    strength: float
    """0 to 1: see `cropping.fade_outside`; the color is the encoder's mean."""


class _Crops(Dataset):
    """Item i: image row i of `rows` -> uint8 crops (n, 3, S, S), S the encoder's own side or `size`."""

    def __init__(
        self,
        images: ImageSet,
        rows: Sequence[int],
        boxes: Sequence[np.ndarray] | None,
        size: int,
        inputs: InputSettings,
        fading: Fading | None = None,
    ):
        self.images, self.rows, self.boxes, self.fading = images, rows, boxes, fading
        self.size, self.inputs = inputs.side(size), inputs

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        row = self.rows[index]
        if self.boxes is None:
            return tensors.to_tensor(cropping.center_view(self.images.load(row), self.size, self.inputs))[None]
        pixels = self.images.load_pixels(row)
        way = self.inputs.interpolation
        boxes = [tuple(box) for box in self.boxes[index].tolist()]
        if self.fading is None:
            crops = [crop_pixels(pixels, box, self.size, way) for box in boxes]
        else:
            crops = [
                crop_pixels(crop, (0, 0, *box[2:]), self.size, way) for crop, box in self._faded(pixels, boxes, index)
            ]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)

    def _faded(self, pixels: np.ndarray, boxes: list[Box], index: int) -> Iterator[tuple[np.ndarray, Box]]:
        """What each box shows, faded outside its mask, if it has one."""
        assert self.fading is not None
        height, width = pixels.shape[:2]
        for (x, y, w, h), counts in zip(boxes, self.fading.masks[index], strict=True):
            if counts is None:
                yield pixels[y : y + h, x : x + w], (x, y, w, h)
                continue
            mask = from_rle(counts, (width, height))
            color = self.inputs.mean
            yield cropping.fade_outside(pixels, (x, y, w, h), mask, self.fading.strength, color), (x, y, w, h)


class _Files(Dataset):
    """Item i: image file i -> uint8 (1, 3, S, S), the center crop or the whole image squeezed to a square."""

    def __init__(self, files: Sequence[Path], size: int, inputs: InputSettings, *, squeeze: bool):
        self.files, self.size, self.inputs = files, inputs.side(size), inputs
        self.view = cropping.squeezed_view if squeeze else cropping.center_view

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        from orl_explore.images.decoding import load_rgb

        return tensors.to_tensor(self.view(load_rgb(self.files[index]), self.size, self.inputs))[None]


def _first(batch: list[Tensor]) -> Tensor:
    return batch[0]


def _batches(loader: DataLoader, batch_size: int, done: Callable[[], None]) -> Iterator[Tensor]:
    """Regroup crops that arrive image by image into batches of a fixed size (the last one smaller)."""
    waiting: list[Tensor] = []
    count = 0
    for crops in loader:
        waiting.append(crops)
        count += len(crops)
        done()
        while count >= batch_size:
            pool = torch.cat(waiting)
            yield pool[:batch_size]
            waiting, count = [pool[batch_size:]], count - batch_size
    if count:
        yield torch.cat(waiting)


@torch.inference_mode()
def _embed(
    forward: Callable[[Tensor], Tensor],
    crops: _Crops | _Files,
    *,
    device: torch.device,
    batch_size: int,
    workers: int,
    bf16: bool,
    progress: Progress | None,
) -> Tensor:
    finished = 0

    def done() -> None:
        nonlocal finished
        finished += 1
        if progress:
            progress(finished, len(crops))

    loader = DataLoader(crops, batch_size=1, collate_fn=_first, num_workers=workers)
    autocast = torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()
    parts = []
    with autocast:
        for batch in _batches(loader, batch_size, done):
            vectors = forward(tensors.normalize(batch.to(device), crops.inputs))
            parts.append(nn.functional.normalize(vectors.float(), dim=1).cpu())
    return torch.cat(parts)


def embed_images(
    encoder: Encoder,
    images: ImageSet,
    rows: Sequence[int] | None = None,
    *,
    size: int = 224,
    features: bool = False,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    bf16: bool = False,
    progress: Progress | None = None,
) -> np.ndarray:
    """Embed whole images for neighbor search (method: stage 2, step 1).

    Args:
        encoder: a frozen encoder; it is used in eval mode.
        images: where the images are.
        rows: which images, by row; all of them by default.
        size: side of the center crop, pixels, for an encoder that has no size of its own (`encoder.inputs`); the
            shorter side is first resized to size * 256/224, or as the encoder was trained.
        features: give the pooled backbone feature instead of the projector's output.
        device: where the encoder runs.
        batch_size: images per forward pass.
        workers: processes that decode images; 0 decodes in this one.
        bf16: run the network in bfloat16.
        progress: called as progress(images done, images in all).

    Returns:
        float32 (N, dim), rows of length 1.
    """
    device = torch.device(device)
    encoder = encoder.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    rows = range(len(images)) if rows is None else rows
    crops = _Crops(images, rows, None, size, encoder.inputs)
    forward = encoder.features if features else encoder
    return _embed(
        forward, crops, device=device, batch_size=batch_size, workers=workers, bf16=bf16, progress=progress
    ).numpy()


def embed_regions(
    encoder: Encoder,
    images: ImageSet,
    regions: pd.DataFrame,
    *,
    size: int = 224,
    masks: Sequence[str | None] | None = None,
    mask_outside: float = 0.0,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    bf16: bool = False,
    progress: Progress | None = None,
) -> np.ndarray:
    """Embed boxes once per image with the pooled backbone feature (method: stage 2, step 4).

    Args:
        encoder: a frozen encoder; it is used in eval mode.
        images: where the images are.
        regions: columns image_id, x, y, w, h, grouped by image; any order of images.
        size: side that every box is resized to, pixels, for an encoder that has no size of its own.
        masks: of each box, the counts of a compressed COCO RLE at its image's size, or None.
        mask_outside: how far what lies outside them is faded to the encoder's mean color, 0 to 1.
        device: where the encoder runs.
        batch_size: boxes per forward pass.
        workers: processes that decode and crop; 0 does it in this one.
        bf16: run the network in bfloat16.
        progress: called as progress(images done, images in all).

    Returns:
        float32 (R, width), rows of length 1, row i = row i of `regions`.

    Raises:
        OrlError: the rows of an image are not next to each other, or it is not in the image set.
    """
    device = torch.device(device)
    encoder = encoder.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    ids = regions["image_id"].to_numpy()
    boxes = regions[["x", "y", "w", "h"]].to_numpy(np.int64)
    if not len(ids):
        return np.zeros((0, encoder.width), np.float32)
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    if len(set(ids[starts].tolist())) != len(starts):
        raise OrlError("regions of one image must stand together: sort the table by image_id")
    rows = images.rows_of(ids[starts]).tolist()
    fading = None
    if masks is not None and mask_outside:
        ends = np.r_[starts[1:], len(ids)]
        fading = Fading([masks[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)], mask_outside)
    crops = _Crops(images, rows, np.split(boxes, starts[1:]), size, encoder.inputs, fading)
    return _embed(
        encoder.features,
        crops,
        device=device,
        batch_size=batch_size,
        workers=workers,
        bf16=bf16,
        progress=progress,
    ).numpy()


def embed_files(
    encoder: Encoder,
    files: Sequence[Path],
    *,
    size: int = 224,
    squeeze: bool = False,
    forward: Callable[[Tensor], Tensor] | None = None,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    progress: Progress | None = None,
) -> np.ndarray:
    """Embed image files that are in no image set, in fp32.

    Args:
        encoder: a frozen encoder; it is used in eval mode.
        files: paths.
        size: side of what the encoder sees, pixels, if it has none of its own.
        squeeze: resize the whole image to a square, after what comes before the center crop (its shorter side to
            size * 256/224); otherwise take the center crop, as `embed_images` does.
        forward: normalized images (B, 3, S, S) -> vectors (B, d) by this encoder; default: its pooled feature.
        device: where the encoder runs.
        batch_size: images per forward pass.
        workers: processes that decode images; 0 decodes in this one.
        progress: called as progress(images done, images in all).

    Returns:
        float32 (len(files), d), rows of length 1; d is the encoder's width unless `forward` says otherwise.

    Raises:
        OrlError: names the first file that cannot be used, and why.
    """
    device = torch.device(device)
    if not len(files):
        return np.zeros((0, encoder.width), np.float32)
    encoder = encoder.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    crops = _Files(files, size, encoder.inputs, squeeze=squeeze)
    return _embed(
        forward or encoder.features,
        crops,
        device=device,
        batch_size=batch_size,
        workers=workers,
        bf16=False,
        progress=progress,
    ).numpy()


@torch.inference_mode()
def embed_picture(encoder: Encoder, picture: Image.Image, *, size: int = 224) -> np.ndarray:
    """Embed one picture that is in no image set, just as `embed_images` does on the CPU: float32 (dim,) of length 1."""
    crop = tensors.to_tensor(cropping.center_view(picture, encoder.inputs.side(size), encoder.inputs))[None]
    return nn.functional.normalize(encoder(tensors.normalize(crop, encoder.inputs)).float(), dim=1)[0].numpy()
