"""Why an encoder finds two crops alike: what it says of their places, before pooling makes one feature of them.

Most networks end with a map of cells, each a vector for one place, and the feature that boxes are compared by is the
mean of these cells. A cosine of two means is a sum over pairs of cells, so that every place has a share of it that can
be told exactly. Where a network pools in another way, `FeatureMap.neglected` says what the shares leave out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orl_explore.boxes import BOX
from orl_explore.embedding import Progress
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.views.cropping import Pixels, crop_pixels
from orl_explore.views.tensors import normalize

CELLS: Final = 14
"""Cells along a side that a map has at least: crops are enlarged until it does."""

CLOSE: Final = 1e-4
"""Length of what may be left over, as a share of the pooled feature's, where the cells' mean is that feature."""


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """What an encoder says of a crop, place by place and as a whole.

    Attributes:
        cells: (h, w, D) float32: a vector for each place, the top row of the crop first. Where `neglected` is empty,
            their mean is `pooled`.
        pooled: (D',) float32: the encoder's own feature of the crop at this size.
        side: of the enlarged crop, pixels.
        own: (D',) float32: the encoder's feature of the crop at the size that stage 2 sees it, from which pairs are
            chosen.
        own_side: that size, pixels.
        neglected: what the mean of the cells leaves out of `pooled`, as a sentence; empty: nothing.
    """

    cells: NDArray[np.float32]
    pooled: NDArray[np.float32]
    side: int
    own: NDArray[np.float32]
    own_side: int
    neglected: str = ""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the cells, (D,)."""
        return self.cells.reshape(-1, self.cells.shape[2]).mean(axis=0, dtype=np.float64)

    def cell_at(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of the cell at a place, given as shares of the crop's width and height."""
        rows, columns = self.cells.shape[:2]
        return min(max(int(y * rows), 0), rows - 1), min(max(int(x * columns), 0), columns - 1)

    def place_of(self, row: int, column: int) -> tuple[float, float]:
        """The middle of a cell, as shares of the crop's width and height: (x, y)."""
        rows, columns = self.cells.shape[:2]
        return (column + 0.5) / columns, (row + 0.5) / rows


# ---- maps of crops -------------------------------------------------------------------------------------------------


def region_maps(
    encoder: Encoder,
    images: ImageSet,
    regions: Any,
    *,
    size: int = 224,
    cells: int = CELLS,
    progress: Progress | None = None,
) -> list[FeatureMap]:
    """Feature maps of boxes of a run (see `feature_maps`).

    Args:
        encoder: any.
        images: where the images are.
        regions: a table with columns image_id, x, y, w, h; any order.
        size: see `feature_maps`.
        cells: see `feature_maps`.
        progress: called as progress(boxes done, boxes in all).

    Raises:
        OrlError: an image cannot be read, or the encoder has no map.
    """
    rows = images.rows_of(regions["image_id"].to_numpy())
    found = []
    for row, box in zip(np.atleast_1d(rows).tolist(), regions[BOX].to_numpy(np.int64).tolist(), strict=True):
        found += feature_maps(encoder, [images.load_pixels(row)], [box], size=size, cells=cells)
        if progress:
            progress(len(found), len(regions))
    return found


@torch.inference_mode()
def feature_maps(
    encoder: Encoder,
    pixels: Sequence[Pixels],
    boxes: Sequence[Sequence[int]],
    *,
    size: int = 224,
    cells: int = CELLS,
) -> list[FeatureMap]:
    """What an encoder says of the places of boxes: each is cropped, as in stage 2, but enlarged.

    A network whose crops cannot be enlarged, as some transformers for one size, keeps the map that it has.

    Args:
        encoder: any; it is used in eval mode, where it is.
        pixels: the image of each box, uint8 (H, W, 3).
        boxes: xywh, N of them.
        size: side at which stage 2 sees crops, pixels, for an encoder that has no size of its own.
        cells: that a map has along each side at least.

    Raises:
        OrlError: the network's last features are no map of places.
    """
    encoder = encoder.to(memory_format=torch.channels_last).eval()
    device = next(encoder.parameters()).device
    own_side = encoder.inputs.side(size)

    def seen(side: int) -> Tensor:
        way = encoder.inputs.interpolation
        crops = [crop_pixels(image, tuple(box), side, way) for image, box in zip(pixels, boxes, strict=True)]  # type: ignore[arg-type]
        return normalize(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(device), encoder.inputs)

    own_cells, own = cells_and_feature(encoder.backbone, seen(own_side))
    side, found, pooled = own_side, own_cells, own
    if (factor := math.ceil(cells / min(own_cells.shape[1:3]))) > 1:
        try:
            found, pooled = cells_and_feature(encoder.backbone, seen(own_side * factor))
            side = own_side * factor
        except (AssertionError, RuntimeError):  # made for one size
            pass
    found, neglected = _as_pooled(encoder.backbone, found, pooled)
    arrays = [part.float().cpu().numpy() for part in (found, pooled, own)]
    return [
        FeatureMap(map_, whole, side, small, own_side, neglected) for map_, whole, small in zip(*arrays, strict=True)
    ]


def cells_and_feature(backbone: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The last map of a network before it pools, and its pooled feature.

    Args:
        backbone: one of torchvision's ResNets, or a model of timm's without its classifier.
        images: normalized (B, 3, S, S).

    Returns:
        (B, h, w, D) and (B, D').

    Raises:
        OrlError: what it pools is no map of places.
    """
    if hasattr(backbone, "forward_features"):  # timm's
        features = backbone.forward_features(images)  # type: ignore[operator]
        pooled = backbone.forward_head(features)  # type: ignore[operator]
        kept = int(getattr(backbone, "num_prefix_tokens", 0) or 0)
    else:
        seen: list[Tensor] = []
        layer = getattr(backbone, "avgpool", None)
        if layer is None:
            raise OrlError("this network does not say what it pools: take a ResNet of torchvision's or one of timm's")
        hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            pooled = backbone(images)
        finally:
            hook.remove()
        features, kept = seen[0], 0
    if isinstance(features, Tensor) and features.ndim == 4:
        channels_last = getattr(backbone, "output_fmt", "NCHW") == "NHWC"
        return (features if channels_last else features.permute(0, 2, 3, 1)), pooled
    if isinstance(features, Tensor) and features.ndim == 3:  # tokens (B, prefix + h * w, D)
        tokens = features[:, kept:]
        side = math.isqrt(tokens.shape[1])
        if side * side == tokens.shape[1]:
            return tokens.unflatten(1, (side, side)), pooled
    raise OrlError("the last features of this network are no map of places: take a ResNet, ConvNeXt, EfficientNet, ViT")


def _as_pooled(backbone: nn.Module, cells: Tensor, pooled: Tensor) -> tuple[Tensor, str]:
    """Cells whose mean is the pooled feature, where there are such; and what their mean neglects."""
    mean = cells.mean(dim=(1, 2))  # (B, D)
    if _close(mean, pooled):
        return cells, ""
    for norm in (getattr(getattr(backbone, "head", None), "norm", None), getattr(backbone, "fc_norm", None)):
        scaled = _normalized_like_mean(norm, cells, mean)
        if scaled is not None and _close(scaled.mean(dim=(1, 2)), pooled):
            return scaled, ""
    return cells, _other_pooling(backbone)


def _normalized_like_mean(norm: object, cells: Tensor, mean: Tensor) -> Tensor | None:
    """Cells after the normalization of their mean: with the mean's own deviation as the scale it is affine, and may as
    well come before the mean. None: not a normalization over channels.
    """
    from timm.layers import RmsNorm

    if not isinstance(norm, nn.LayerNorm | nn.RMSNorm | RmsNorm) or tuple(norm.normalized_shape) != cells.shape[3:]:
        return None
    if isinstance(norm, nn.LayerNorm):
        cells = cells - cells.mean(dim=3, keepdim=True)
        mean = mean - mean.mean(dim=1, keepdim=True)
    scaled = cells * (mean.square().mean(dim=1) + (norm.eps or 0)).rsqrt()[:, None, None, None]
    if norm.weight is not None:
        scaled = scaled * norm.weight
    bias = getattr(norm, "bias", None)
    return scaled if bias is None else scaled + bias


def _close(mean: Tensor, pooled: Tensor) -> bool:
    if mean.shape != pooled.shape:
        return False
    return bool(((mean - pooled).norm(dim=1) <= CLOSE * pooled.norm(dim=1)).all())


def _other_pooling(backbone: nn.Module) -> str:
    pool = getattr(backbone, "global_pool", "")
    if pool == "token":
        return (
            "its own feature is its class token, which has gathered what it wants from all places and is no mean of"
            " them: the shares are of the mean of the other tokens"
        )
    if pool == "map" or getattr(backbone, "attn_pool", None) is not None:
        return "it weighs places by attention when it pools: the shares are of their plain mean"
    if getattr(backbone, "conv_head", None) is not None:
        return "it transforms the mean of its cells once more after pooling: the shares are of that mean"
    kind = getattr(pool, "pool_type", pool)
    words = f" ({kind})" if isinstance(kind, str) and kind not in ("", "avg", "fast") else ""
    return f"it pools in another way than by the mean{words}: the shares are of the mean of its cells"


# ---- two maps ------------------------------------------------------------------------------------------------------


def cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Cosine of two vectors."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def similarity_to(a: FeatureMap, row: int, column: int, b: FeatureMap) -> NDArray[np.float32]:
    """Cosine of one cell of a map with every cell of another one: a heat map (h, w) over the other crop."""
    return (_unit(b.cells) @ _unit(a.cells[row, column])).astype(np.float32)


def similarities(a: FeatureMap, b: FeatureMap) -> NDArray[np.float32]:
    """Cosine of every cell of one map with every cell of another: (h of a, w of a, h of b, w of b)."""
    return np.tensordot(_unit(a.cells), _unit(b.cells), axes=(2, 2)).astype(np.float32)


def best_match(heat: NDArray[np.floating]) -> tuple[int, int]:
    """Row and column of the largest value of a heat map; of equals the first."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return int(row), int(column)


class Shares(NamedTuple):
    """What each cell adds to the cosine of two mean-pooled crops; either map adds up to it.

    Attributes:
        a: (h, w) float64 of the first crop's cells.
        b: (h, w) float64 of the second one's.
        cosine: of the means of the cells.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    cosine: float


def shares(a: FeatureMap, b: FeatureMap) -> Shares:
    """Divide the cosine of two crops among their cells.

    With f the mean of n cells x_i and g that of the other crop, cos(f, g) = sum_i x_i . g / (n |f| |g|): the term of
    cell i is its share. It is negative where a place points away from the other crop.

    Args:
        a: of one crop.
        b: of the other one, by the same encoder.
    """
    f, g = a.mean, b.mean
    lengths = np.linalg.norm(f) * np.linalg.norm(g)
    of_a = a.cells.astype(np.float64) @ g / (lengths * a.cells[..., 0].size)
    of_b = b.cells.astype(np.float64) @ f / (lengths * b.cells[..., 0].size)
    return Shares(of_a, of_b, float(f @ g / lengths))


def pca_colors(maps: Sequence[FeatureMap]) -> list[NDArray[np.uint8]]:
    """Color the cells of maps by their first three principal components, on one scale: alike places, alike colors.

    Components are those of all cells together, each cell scaled to length 1. From the 2nd to the 98th percentile, a
    component goes from none to all of red, green or blue.

    Args:
        maps: by one encoder.

    Returns:
        For each map uint8 (h, w, 3).
    """
    cells = np.concatenate([_unit(one.cells).reshape(-1, one.cells.shape[2]) for one in maps])
    centered = cells - cells.mean(axis=0)
    # By the Gram matrix: the cells are fewer than the numbers of each.
    values, vectors = np.linalg.eigh(centered @ centered.T)
    found = vectors[:, ::-1][:, :3] * np.sqrt(np.maximum(values[::-1][:3], 0))  # (cells, 3)
    found = np.pad(found, ((0, 0), (0, 3 - found.shape[1])))
    found *= np.where(found[np.abs(found).argmax(axis=0), np.arange(3)] < 0, -1, 1)  # the same colors every time
    low, high = np.percentile(found, [2, 98], axis=0)
    spread = np.where(high > low, high - low, 1)
    colors = np.rint(255 * ((found - low) / spread).clip(0, 1)).astype(np.uint8)
    ends = np.cumsum([one.cells[..., 0].size for one in maps])[:-1]
    return [part.reshape(*one.cells.shape[:2], 3) for part, one in zip(np.split(colors, ends), maps, strict=True)]


def _unit(cells: NDArray[np.float32]) -> NDArray[np.float64]:
    """Vectors along the last axis at length 1; those of no length stay as they are."""
    cells = cells.astype(np.float64)
    lengths = np.linalg.norm(cells, axis=-1, keepdims=True)
    return cells / np.where(lengths > 0, lengths, 1)
