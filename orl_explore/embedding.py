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
from torch.utils.data import Dataset

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.folding import fold_batch_norm
from orl_explore.images.object_masks import from_rle
from orl_explore.settings import InputSettings
from orl_explore.views import cropping, tensors
from orl_explore.views.cropping import crop_pixels
from orl_explore.views.loading import Batches
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
    """Item i: image row i of `rows` -> uint8 crops (n, 3, S, S) in each way that encoders want them cropped.

    A way is a side S and an interpolation; the image is decoded once for all.
    """

    def __init__(
        self,
        images: ImageSet,
        rows: Sequence[int],
        boxes: Sequence[np.ndarray] | None,
        size: int,
        inputs: Sequence[InputSettings],
        fading: Fading | None = None,
    ):
        self.images, self.rows, self.boxes, self.fading = images, rows, boxes, fading
        self.size, self.inputs = size, inputs

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[Tensor]:
        row = self.rows[index]
        if self.boxes is None:
            picture = self.images.load(row)
            views = [cropping.center_view(picture, way.side(self.size), way) for way in self.inputs]
            return [tensors.to_tensor(view)[None] for view in views]
        pixels, boxes = self.images.load_pixels(row), self.boxes[index].tolist()
        found = []
        for way in self.inputs:
            shown = [self._shown(pixels, tuple(box), index, place, way) for place, box in enumerate(boxes)]
            crops = [crop_pixels(what, box, way.side(self.size), way.interpolation) for what, box in shown]
            found.append(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2))
        return found

    def _shown(
        self, pixels: np.ndarray, box: Box, index: int, place: int, inputs: InputSettings
    ) -> tuple[np.ndarray, Box]:
        """What a box is cut out of, and where: the image, or the box alone, faded outside its mask, if it has one."""
        counts = self.fading.masks[index][place] if self.fading else None
        if self.fading is None or counts is None:
            return pixels, box
        mask = from_rle(counts, (pixels.shape[1], pixels.shape[0]))
        return cropping.fade_outside(pixels, box, mask, self.fading.strength, inputs.mean), (0, 0, *box[2:])


class _Files(Dataset):
    """Item i: image file i -> uint8 (1, 3, S, S), the center crop or the whole image squeezed to a square."""

    def __init__(self, files: Sequence[Path], size: int, inputs: InputSettings, *, squeeze: bool):
        self.files, self.size, self.inputs = files, inputs.side(size), [inputs]
        self.view = cropping.squeezed_view if squeeze else cropping.center_view

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> list[Tensor]:
        from orl_explore.images.decoding import load_rgb

        return [tensors.to_tensor(self.view(load_rgb(self.files[index]), self.size, self.inputs[0]))[None]]


def _first(batch: list[list[Tensor]]) -> list[Tensor]:
    return batch[0]


def _batches(loader: Batches, batch_size: int, done: Callable[[], None]) -> Iterator[list[Tensor]]:
    """Regroup crops that arrive image by image into batches of a fixed size (the last one smaller), in each way."""
    waiting: list[list[Tensor]] = []
    count = 0
    for crops in loader:
        waiting.append(crops)
        count += len(crops[0])
        done()
        while count >= batch_size:
            pools = [torch.cat(parts) for parts in zip(*waiting, strict=True)]
            yield [pool[:batch_size] for pool in pools]
            waiting, count = [[pool[batch_size:] for pool in pools]], count - batch_size
    if count:
        yield [torch.cat(parts) for parts in zip(*waiting, strict=True)]


@torch.inference_mode()
def _embed(
    forwards: Sequence[Callable[[Tensor], Tensor]],
    crops: _Crops | _Files,
    *,
    ways: Sequence[int] = (0,),
    device: torch.device,
    batch_size: int,
    workers: int,
    bf16: bool,
    progress: Progress | None,
) -> list[np.ndarray]:
    """What each of `forwards` says of the crops; `ways` are the crops that each of them takes."""
    finished = 0

    def done() -> None:
        nonlocal finished
        finished += 1
        if progress:
            progress(finished, len(crops))

    loader = Batches(crops, [[index] for index in range(len(crops))], collate=_first, workers=workers)
    autocast = torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()
    parts: list[list[Tensor]] = [[] for _ in forwards]
    with autocast:
        for batches in _batches(loader, batch_size, done):
            for forward, way, found in zip(forwards, ways, parts, strict=True):
                vectors = forward(tensors.normalize(batches[way].to(device), crops.inputs[way]))
                found.append(nn.functional.normalize(vectors.float(), dim=1).cpu())
    return [torch.cat(found).numpy() for found in parts]


def _ready(encoder: Encoder, device: torch.device, size: int, *, bf16: bool) -> Encoder:
    """An encoder as it is called. In bf16, where weights are rounded anyway, its batch normalization is folded."""
    encoder = encoder.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    if not bf16:
        return encoder
    side, generator = encoder.inputs.side(size), torch.Generator().manual_seed(0)
    example = torch.randn(2, 3, side, side, generator=generator).to(device, memory_format=torch.channels_last)
    return fold_batch_norm(encoder, example)


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
    encoder = _ready(encoder, device, size, bf16=bf16)
    rows = range(len(images)) if rows is None else rows
    crops = _Crops(images, rows, None, size, [encoder.inputs])
    forward = encoder.features if features else encoder
    return _embed(
        [forward], crops, device=device, batch_size=batch_size, workers=workers, bf16=bf16, progress=progress
    )[0]


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
    return embed_regions_each(
        [encoder],
        images,
        regions,
        size=size,
        masks=masks,
        mask_outside=mask_outside,
        device=device,
        batch_size=batch_size,
        workers=workers,
        bf16=bf16,
        progress=progress,
    )[0]


def embed_regions_each(
    encoders: Sequence[Encoder],
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
) -> list[np.ndarray]:
    """What `embed_regions` says by each of several encoders; every image is decoded once for all of them.

    Returns:
        An array of float32 (R, width) an encoder, in their order.

    Raises:
        OrlError: the rows of an image are not next to each other, or it is not in the image set.
    """
    device = torch.device(device)
    encoders = [_ready(encoder, device, size, bf16=bf16) for encoder in encoders]
    ids = regions["image_id"].to_numpy()
    boxes = regions[["x", "y", "w", "h"]].to_numpy(np.int64)
    if not len(ids):
        return [np.zeros((0, encoder.width), np.float32) for encoder in encoders]
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    if len(set(ids[starts].tolist())) != len(starts):
        raise OrlError("regions of one image must stand together: sort the table by image_id")
    rows = images.rows_of(ids[starts]).tolist()
    fading = None
    if masks is not None and mask_outside:
        ends = np.r_[starts[1:], len(ids)]
        fading = Fading([masks[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)], mask_outside)
    inputs = list(dict.fromkeys(encoder.inputs for encoder in encoders))
    return _embed(
        [encoder.features for encoder in encoders],
        _Crops(images, rows, np.split(boxes, starts[1:]), size, inputs, fading),
        ways=[inputs.index(encoder.inputs) for encoder in encoders],
        device=device,
        batch_size=batch_size,
        workers=workers,
        bf16=bf16,
        progress=progress,
    )


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
    encoder = _ready(encoder, device, size, bf16=False)
    crops = _Files(files, size, encoder.inputs, squeeze=squeeze)
    return _embed(
        [forward or encoder.features],
        crops,
        device=device,
        batch_size=batch_size,
        workers=workers,
        bf16=False,
        progress=progress,
    )[0]


@torch.inference_mode()
def embed_picture(encoder: Encoder, picture: Image.Image, *, size: int = 224) -> np.ndarray:
    """Embed one picture that is in no image set, just as `embed_images` does on the CPU: float32 (dim,) of length 1."""
    crop = tensors.to_tensor(cropping.center_view(picture, encoder.inputs.side(size), encoder.inputs))[None]
    return nn.functional.normalize(encoder(tensors.normalize(crop, encoder.inputs)).float(), dim=1)[0].numpy()


@torch.inference_mode()
def embed_box(encoder: Encoder, picture: Image.Image, box: tuple[int, int, int, int], *, size: int = 224) -> np.ndarray:
    """Embed a box of one picture, just as `embed_regions` does on the CPU: float32 (width,) of length 1."""
    inputs = encoder.inputs
    crop = crop_pixels(np.array(picture.convert("RGB")), box, inputs.side(size), inputs.interpolation)
    batch = torch.from_numpy(crop).permute(2, 0, 1)[None]
    return nn.functional.normalize(encoder.features(tensors.normalize(batch, inputs)).float(), dim=1)[0].numpy()
