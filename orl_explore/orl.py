"""Stage 3: object-level pre-training (paper section 3.3): one sample, and the three losses on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from orl_explore.boxes import jitter_box
from orl_explore.byol import TwinNetworks
from orl_explore.settings import EncoderSettings, ViewSettings
from orl_explore.views import parameters
from orl_explore.views.parameters import Box, ViewParameters
from orl_explore.views.renderers import RENDERERS, Renderer, View


class ORL(TwinNetworks):
    """Shared twin networks and three predictors: for whole images, intra-RoI pairs and inter-RoI pairs."""

    def __init__(self, settings: EncoderSettings):
        super().__init__(settings)
        self.image_predictor = self.make_predictor()
        self.intra_predictor = self.make_predictor()
        self.inter_predictor = self.make_predictor()

    def forward(
        self, view1: Tensor, view2: Tensor, intra1: Tensor, intra2: Tensor, inter1: Tensor, inter2: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Compare the three kinds of pairs; the loss is their sum (equation 5).

        Args:
            view1: whole-image views, normalized, (B, 3, H, W); view2 likewise.
            view2: the second view of the same images.
            intra1: patches of one box per image, (B, 3, P, P).
            intra2: patches of its jittered copy.
            inter1: patches of a query box in the image.
            inter2: patches of the corresponding box in a neighbor image.

        Returns:
            Losses by name (scalars 0..8) and the online projections of view 1, (B, dim).
        """
        image_loss, projection = self.pair_loss(view1, view2, self.image_predictor)
        intra_loss, _ = self.pair_loss(intra1, intra2, self.intra_predictor)
        inter_loss, _ = self.pair_loss(inter1, inter2, self.inter_predictor)
        return {"image": image_loss, "intra": intra_loss, "inter": inter_loss}, projection


@dataclass(frozen=True)
class Sample:
    """What stage 3 sees for one image in one epoch: decided, not yet drawn."""

    image_id: int
    neighbor_id: int
    views: tuple[ViewParameters, ViewParameters]
    """Two random crops of the whole image."""
    intra: tuple[ViewParameters, ViewParameters]
    """A box and its jittered copy, both in the image."""
    inter: tuple[ViewParameters, ViewParameters]
    """The query box in the image and the key box in the neighbor."""


def draw_sample(
    rng: np.random.Generator,
    settings: ViewSettings,
    *,
    image_id: int,
    image_size: tuple[int, int],
    boxes: np.ndarray,
    pairs: np.ndarray,
) -> Sample:
    """Draw one training sample of an image (method: stage 3).

    Args:
        rng: source of all randomness; derive it from (seed, epoch, image_id).
        settings: strength of the distortions.
        image_id: the image.
        image_size: its (width, height).
        boxes: its kept boxes, int (Q, 4) xywh.
        pairs: its correspondences, int64 (P, 9): neighbor_id, query xywh, key xywh.
    """
    neighbors = np.unique(pairs[:, 0])
    neighbor_id = int(neighbors[rng.integers(len(neighbors))])
    of_neighbor = pairs[pairs[:, 0] == neighbor_id]
    pair = of_neighbor[rng.integers(len(of_neighbor))]
    query, key = _box(pair[1:5]), _box(pair[5:9])
    box = _box(boxes[rng.integers(len(boxes))])
    jittered = _box(jitter_box(np.array(box), image_size=image_size, rng=rng))

    def patch(box: Box, view: int) -> ViewParameters:
        return parameters.sample_view(rng, settings, view=view, box=box)

    return Sample(
        image_id,
        neighbor_id,
        views=(
            parameters.sample_view(rng, settings, view=0, image_size=image_size),
            parameters.sample_view(rng, settings, view=1, image_size=image_size),
        ),
        intra=(patch(box, 0), patch(jittered, 1)),
        inter=(patch(query, 0), patch(key, 1)),
    )


def render_sample(
    sample: Sample,
    image: Any,
    neighbor: Any,
    *,
    image_size: int = 224,
    patch_size: int = 96,
    renderer: Renderer = RENDERERS["pil"],
) -> dict[str, View]:
    """Draw a sample: the six inputs of `ORL.forward` by name, each uint8 (3, S, S) or left to the device.

    Args:
        sample: what to draw.
        image: the sample's image, as the renderer's `load` gives it: a Pillow image by default.
        neighbor: its neighbor, likewise.
        image_size: side of the views, pixels.
        patch_size: side of the patches, pixels.
        renderer: how to draw.
    """
    return {
        "view1": renderer.draw(image, sample.views[0], image_size),
        "view2": renderer.draw(image, sample.views[1], image_size),
        "intra1": renderer.draw(image, sample.intra[0], patch_size),
        "intra2": renderer.draw(image, sample.intra[1], patch_size),
        "inter1": renderer.draw(image, sample.inter[0], patch_size),
        "inter2": renderer.draw(neighbor, sample.inter[1], patch_size),
    }


def _box(values: np.ndarray) -> Box:
    x, y, w, h = (int(v) for v in values)
    return x, y, w, h
