"""Any encoder in place of stage 1's: named as `timm:NAME`, `torchvision:NAME`, or a file.

`load_pretrained` gives the encoder and what its use costs in comparability with runs that trained stage 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings
from orl_explore.views.tensors import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class Pretrained:
    """An encoder from elsewhere.

    Attributes:
        name: as it was asked for.
        encoder: in eval mode; without a projector of this project's shape, it has none.
        image_dim: width of image embeddings.
        region_dim: width of region embeddings.
        differs: sentences on what is no longer as in the paper.
    """

    name: str
    encoder: Encoder
    image_dim: int
    region_dim: int
    differs: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """What run.json says about it."""
        return {
            "encoder": self.name,
            "backbone": self.encoder.settings.backbone,
            "image_dim": self.image_dim,
            "region_dim": self.region_dim,
            "differs": list(self.differs),
        }


def without_projector(backbone: str) -> Encoder:
    """An untrained encoder that ends with its backbone's pooled feature."""
    return Encoder.random(EncoderSettings(backbone, hidden=0, dim=0), seed=0)


def fetch_timm(name: str) -> Encoder:
    """One of timm's models with the weights that timm fetches.

    Raises:
        OrlError: no such model, no weights of it, or no network.
    """
    import timm

    encoder = without_projector(f"timm:{name}")  # says so where timm has no such model
    if not timm.is_model_pretrained(name):
        raise OrlError(f"timm has no weights for {name}: name a file of your own, --encoder timm:{name}@FILE")
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # of the hub, of its client, of the network below it
        raise _unfetched(f"timm:{name}", f"timm:{name}@FILE", error) from None
    encoder.backbone = model
    return encoder


def fetch_torchvision(name: str) -> Encoder:
    """A ResNet of torchvision with the weights that torchvision fetches; `name` may end with `.WEIGHTS`.

    Raises:
        OrlError: no such model, no such weights, or no network.
    """
    import torchvision

    model, _, wanted = name.partition(".")
    encoder = without_projector(model)  # says so where torchvision has no such ResNet
    known = torchvision.models.get_model_weights(model)
    if wanted and wanted not in known.__members__:
        raise OrlError(
            f"torchvision has no weights {wanted!r} of {model}: choose one of {', '.join(known.__members__)}"
        )
    try:
        state = (known[wanted] if wanted else known["DEFAULT"]).get_state_dict(check_hash=True, weights_only=True)
    except Exception as error:  # of the network
        raise _unfetched(f"torchvision:{name}", "FILE", error) from None
    encoder.backbone.load_state_dict({key: value for key, value in state.items() if not key.startswith("fc.")})
    return encoder


def _unfetched(name: str, instead: str, error: Exception) -> OrlError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return OrlError(
        f"the weights of {name} could not be fetched ({reason}): where there is no network, fetch them elsewhere and"
        f" type --encoder {instead}"
    )


@torch.inference_mode()
def embedding_widths(encoder: Encoder, name: str, image_size: int) -> tuple[int, int]:
    """Widths of what it says about images and about regions, by trying."""
    try:
        features = encoder.eval().features(torch.zeros(1, 3, image_size, image_size))
        projected = encoder.projector(features)
    except Exception as error:  # a transformer for one size, or too many halvings
        reason = " ".join(str(error).split())[:160]
        raise OrlError(
            f"{name} cannot see crops of {image_size} px ({reason}): choose another size with --stage2.image_size"
        ) from None
    if features.ndim != 2:
        raise OrlError(f"{name} gives no pooled feature but an array of shape {tuple(features.shape)}: take another")
    return projected.shape[1], features.shape[1]


def differences_from_paper(encoder: Encoder, image_dim: int) -> list[str]:
    """What is no longer as in the paper."""
    found = [
        "the encoder was not trained by this run: it may have seen other images, other settings, or labels, so figures"
        " of stages 2 and 3 compare with runs of the same encoder only"
    ]
    if not encoder.settings.hidden:
        found.append(
            f"it has no projector: image neighbors come from the pooled feature, {image_dim} numbers, and not from a"
            " projector's output"
        )
    config = getattr(encoder.backbone, "pretrained_cfg", None) or {}
    mean, std = tuple(config.get("mean", IMAGENET_MEAN)), tuple(config.get("std", IMAGENET_STD))
    if (mean, std) != (IMAGENET_MEAN, IMAGENET_STD):
        found.append(f"timm gives it images normalized by {mean} and {std}, here it sees ImageNet's mean and deviation")
    return found
