"""The encoder: a ResNet backbone and BYOL's projector (paper sections 3.1 and 4.1), and what it sees in images.

Stage 2 uses both of its outputs: the *projector* output describes whole images (for neighbors), the pooled *backbone*
feature describes regions (for pairs).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from orl_explore.errors import OrlError
from orl_explore.views import parameters
from orl_explore.views.cropping import crop_pixels

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from orl_explore.images.image_set import ImageSet

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EncoderSettings:
    """Shape of the encoder; the defaults are the paper's."""

    backbone: str = "resnet50"
    """A torchvision ResNet by name, or `timm:NAME` for one of timm's."""
    hidden: int = 4096
    """Width of the hidden layer of projector and predictors; 0: no projector, as imported backbones have none."""
    dim: int = 256
    """Width of the projector's output; without a projector, that of the backbone."""


def build_backbone(name: str) -> tuple[nn.Module, int]:
    """Make an untrained ResNet that ends with its pooled feature; returns it and the feature's width.

    Raises:
        OrlError: no such ResNet.
    """
    if name.startswith("timm:"):
        import timm

        if not timm.is_model(name[5:]):
            raise OrlError(f"timm has no model {name[5:]!r}: try timm:resnet26d, or resnet50 for torchvision's")
        backbone = timm.create_model(name[5:], num_classes=0)
        return backbone, int(backbone.num_features)  # type: ignore[arg-type]
    import torchvision

    known = [n for n in torchvision.models.list_models(module=torchvision.models) if "resne" in n]
    if name not in known:
        raise OrlError(f"torchvision has no ResNet {name!r}: choose one of {', '.join(known)}, or timm:NAME")
    backbone = torchvision.models.get_model(name)
    width = backbone.fc.in_features
    backbone.fc = nn.Identity()
    return backbone, width


def mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    """Make BYOL's projector or predictor: Linear, BN, ReLU, Linear without bias, Kaiming-normal weights (fan-in)."""
    layers = nn.Sequential(
        nn.Linear(width, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out, bias=False),
    )
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return layers


class Encoder(nn.Module):
    """Backbone and projector; calling it gives the projector's output."""

    def __init__(self, settings: EncoderSettings):
        super().__init__()
        self.settings = settings
        self.backbone, self.width = build_backbone(settings.backbone)
        self.projector = mlp(self.width, settings.hidden, settings.dim) if settings.hidden else nn.Identity()

    def features(self, images: Tensor) -> Tensor:
        """Pooled backbone features (B, width) of normalized images (B, 3, H, W)."""
        return self.backbone(images)

    def forward(self, images: Tensor) -> Tensor:
        """Projector outputs (B, dim) of normalized images (B, 3, H, W)."""
        return self.projector(self.features(images))

    @classmethod
    def random(cls, settings: EncoderSettings, seed: int) -> Encoder:
        """Make the untrained encoder that training with this seed starts from; the global generator is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(settings)

    def save(self, path: Path, **provenance: object) -> None:
        """Write weights as safetensors; settings and provenance (any JSON values) travel as JSON in its metadata."""
        from safetensors.torch import save_file

        # A single entry: safetensors writes several in an order of its own each time, and equal encoders would differ.
        metadata = {"encoder": json.dumps({"settings": asdict(self.settings), "provenance": provenance})}
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, path, metadata=metadata)

    @classmethod
    def load(cls, path: Path) -> Encoder:
        """Read an encoder written by `save`, in eval mode.

        Raises:
            OrlError: missing file, or not an encoder of this project.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except FileNotFoundError:
            raise OrlError(f"no encoder at {path}: run `orl stage1 RUN` first") from None
        except SafetensorError as error:
            raise OrlError(f"{path} is damaged or not a safetensors file ({error}): make it again") from None
        if "encoder" not in metadata:
            raise OrlError(f"{path} holds weights without this project's settings: it was not made by `orl`")
        try:
            encoder = cls.random(EncoderSettings(**json.loads(metadata["encoder"])["settings"]), seed=0)
            encoder.load_state_dict(state)
        except (TypeError, LookupError, ValueError, RuntimeError):  # other settings, or other weights
            raise OrlError(f"{path} was made by another version of this project: make it again") from None
        return encoder.eval()


class _Crops(Dataset):
    """Item i: image row i of `rows` -> uint8 crops (n, 3, size, size)."""

    def __init__(self, images: ImageSet, rows: Sequence[int], size: int, boxes: Sequence[np.ndarray] | None):
        self.images, self.rows, self.size, self.boxes = images, rows, size, boxes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        row = self.rows[index]
        if self.boxes is None:
            return parameters.to_tensor(parameters.center_view(self.images.load(row), self.size))[None]
        pixels = self.images.load_pixels(row)
        crops = [crop_pixels(pixels, tuple(box), self.size) for box in self.boxes[index].tolist()]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)


class _Files(Dataset):
    """Item i: image file i -> uint8 (1, 3, size, size), the center crop or the whole image squeezed to a square."""

    def __init__(self, files: Sequence[Path], size: int, *, squeeze: bool):
        self.files, self.size, self.squeeze = files, size, squeeze

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        from orl_explore.images.decoding import load_rgb

        image = load_rgb(self.files[index])
        whole = (0, 0, image.width, image.height)
        square = (
            parameters.crop_image(image, whole, self.size) if self.squeeze else parameters.center_view(image, self.size)
        )
        return parameters.to_tensor(square)[None]


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
            vectors = forward(parameters.normalize(batch.to(device)))
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
        size: side of the center crop, pixels; the shorter side is first resized to size * 256/224.
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
    crops = _Crops(images, rows, size, None)
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
        size: side that every box is resized to, pixels.
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
    crops = _Crops(images, images.rows_of(ids[starts]).tolist(), size, np.split(boxes, starts[1:]))
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
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    progress: Progress | None = None,
) -> np.ndarray:
    """Embed image files that are in no image set, with the pooled backbone feature, in fp32.

    Args:
        encoder: a frozen encoder; it is used in eval mode.
        files: paths.
        size: side of what the encoder sees, pixels.
        squeeze: resize the whole image to a square; otherwise take the center crop, as `embed_images` does.
        device: where the encoder runs.
        batch_size: images per forward pass.
        workers: processes that decode images; 0 decodes in this one.
        progress: called as progress(images done, images in all).

    Returns:
        float32 (len(files), width), rows of length 1.

    Raises:
        OrlError: names the first file that cannot be used, and why.
    """
    device = torch.device(device)
    if not len(files):
        return np.zeros((0, encoder.width), np.float32)
    encoder = encoder.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    crops = _Files(files, size, squeeze=squeeze)
    return _embed(
        encoder.features,
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
    crop = parameters.to_tensor(parameters.center_view(picture, size))[None]
    return nn.functional.normalize(encoder(parameters.normalize(crop)).float(), dim=1)[0].numpy()
