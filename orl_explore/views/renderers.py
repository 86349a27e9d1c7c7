"""How the views of a batch are drawn: three ways to the same pictures, chosen by `augment` in the settings.

`pil` is the reference. `cpu` does the same on arrays, several times as fast. `device` leaves all but the crops to the
device that trains. Parameters are drawn by `views.sample_view` in each case, so that all three show the same view, to
within rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import default_collate

from orl_explore.images.image_set import ImageSet
from orl_explore.settings import Augment
from orl_explore.views import device
from orl_explore.views.cropping import crop_pixels
from orl_explore.views.device import Crops
from orl_explore.views.parameters import ViewParameters
from orl_explore.views.pillow import render_view
from orl_explore.views.tensors import to_tensor

View = Tensor | Crops
"""A view that is ready, uint8 (3, S, S), or one that still has to be distorted; or a batch of them."""


@dataclass(frozen=True)
class Renderer:
    """How images are read and views drawn."""

    load: Callable[[ImageSet, int], Any]
    """Image set and row -> what `draw` takes."""
    draw: Callable[[Any, ViewParameters, int], View]
    """Image, parameters, side in pixels -> a view."""


def _draw_pil(image: Any, parameters: ViewParameters, size: int) -> Tensor:
    return to_tensor(render_view(image, parameters, size))


def _draw_fast(pixels: Any, parameters: ViewParameters, size: int) -> Tensor:
    from orl_explore.views import arrays  # imports OpenCV

    return torch.from_numpy(arrays.render_view(pixels, parameters, size)).permute(2, 0, 1)


def _draw_crops(pixels: Any, parameters: ViewParameters, size: int) -> Crops:
    crop = crop_pixels(pixels, parameters.box, size)
    return Crops(torch.from_numpy(crop).permute(2, 0, 1), device.pack(parameters))


RENDERERS: Final[Mapping[Augment, Renderer]] = {
    "pil": Renderer(ImageSet.load, _draw_pil),
    "cpu": Renderer(ImageSet.load_pixels, _draw_fast),
    "device": Renderer(ImageSet.load_pixels, _draw_crops),
}


def collate(samples: Sequence[Mapping[str, View | int]]) -> dict[str, Any]:
    """Samples -> a batch, as `default_collate` does, with pixels kept in channels-last order (B, 3, S, S)."""
    # Pixels lie as (S, S, 3) in memory; stacking them as they lie is twenty times as fast as turning each round.
    batch: dict[str, Any] = default_collate(
        [{name: _permute(view, 1, 2, 0) for name, view in s.items()} for s in samples]
    )
    return {name: _permute(view, 0, 3, 1, 2) for name, view in batch.items()}


def _permute(view: Any, *order: int) -> Any:
    if isinstance(view, Crops):
        return Crops(view.pixels.permute(order), view.distortions)
    return view.permute(order) if isinstance(view, Tensor) and view.dim() == len(order) else view


def finish(view: View) -> Tensor:
    """A batch of views as uint8 (B, 3, S, S): distorted here, if the workers have left that to the device."""
    return device.distort(view) if isinstance(view, Crops) else view
