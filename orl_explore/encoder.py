"""The encoder: a ResNet backbone and BYOL's projector (paper sections 3.1 and 4.1), and what it sees in images.

Stage 2 uses both of its outputs: the *projector* output describes whole images (for neighbors), the pooled *backbone*
feature describes regions (for pairs).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orl_explore.errors import OrlError, typed
from orl_explore.nested import from_dict
from orl_explore.settings import EncoderSettings, InputSettings


def build_backbone(name: str) -> tuple[nn.Module, int]:
    """Make an untrained network that ends with its pooled feature; returns it and the feature's width.

    Args:
        name: a ResNet of torchvision's, or `timm:NAME` for any model of timm's, which pools in its own way. Vision
            transformers of timm's made for one size take others, too, where timm can interpolate their positions.

    Raises:
        OrlError: no such network.
    """
    if name.startswith("timm:"):
        import timm

        if not timm.is_model(name[5:]):
            raise OrlError(f"timm has no model {name[5:]!r}: try timm:resnet26d, or resnet50 for torchvision's")
        backbone = timm_backbone(name[5:])
        return backbone, int(getattr(backbone, "head_hidden_size", backbone.num_features))  # type: ignore[arg-type]
    import torchvision

    known = [n for n in torchvision.models.list_models(module=torchvision.models) if "resne" in n]
    if name not in known:
        raise OrlError(f"torchvision has no ResNet {name!r}: choose one of {', '.join(known)}, or timm:NAME")
    backbone = torchvision.models.get_model(name)
    width = backbone.fc.in_features
    backbone.fc = nn.Identity()
    return backbone, width


def timm_backbone(name: str, **options: Any) -> nn.Module:
    """One of timm's models without its classifier, dynamic in size where it is made for one size and can be."""
    import timm

    config = timm.models.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:  # only then: asking others would cost them random numbers
        try:
            return timm.create_model(name, num_classes=0, dynamic_img_size=True, **options)
        except TypeError:  # not a vision transformer that knows this argument
            pass
    return timm.create_model(name, num_classes=0, **options)


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


def initialize_as_published(backbone: nn.Module) -> None:
    """Draw an untrained ResNet's weights anew: convolutions and linear layers Kaiming normal by fan-in, BN 1 and 0.

    torchvision's own draw, by fan-out, makes the first convolution 4.6 times smaller, the 1 x 1 convolutions that
    expand half as large, those that reduce twice as large. Batch normalization hides the scale from the output, not
    from the effective learning rate. The last normalization of a residual branch is not set to zero.
    """
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def inputs_from(facts: Mapping[str, Any]) -> InputSettings:
    """How an encoder is fed, from what its file says of it; the paper's where it says nothing.

    Raises:
        ValueError: what stands there is impossible.
    """
    try:
        return from_dict(InputSettings, facts.get("inputs", {}))
    except OrlError as error:
        raise ValueError(str(error)) from None


def _again(path: Path) -> str:
    """How to come by an encoder again: of a run, or one that a stage has kept of an epoch, by its stage."""
    folder = path.parent.parent if path.parent.name == "encoders" else path.parent
    if folder.name in ("stage1", "stage2", "stage3"):
        return f"`{typed(folder.name, folder.parent, '--overwrite')}` makes it anew"
    return "fetch it again, or make it again with what made it"


class Encoder(nn.Module):
    """Backbone and projector; calling it gives the projector's output.

    Attributes:
        inputs: how images are prepared for it; as in the paper, unless it was trained elsewhere.
    """

    def __init__(self, settings: EncoderSettings):
        super().__init__()
        self.settings, self.inputs = settings, InputSettings()
        self.backbone, self.width = build_backbone(settings.backbone)
        if settings.init == "paper" and hasattr(self.backbone, "layer4"):  # other networks start as their authors say
            initialize_as_published(self.backbone)
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

    @classmethod
    def empty(cls, settings: EncoderSettings) -> Encoder:
        """Make an encoder for weights that are loaded next; until then those of torchvision's ResNets are arbitrary."""
        if settings.backbone.startswith("timm:"):  # which may have more to it than a file of weights holds
            return cls.random(settings, seed=0)
        with torch.device("meta"):
            made = cls(settings)
        return made.to_empty(device="cpu")

    def save(self, path: Path, **provenance: object) -> None:
        """Write weights as safetensors; settings, provenance (any JSON values) and, where they are not the paper's,
        inputs travel as JSON in its metadata.
        """
        from safetensors.torch import save

        facts = {"settings": asdict(self.settings), "provenance": provenance}
        if self.inputs != InputSettings():
            facts["inputs"] = asdict(self.inputs)
        # A single entry: safetensors writes several in an order of its own each time, and equal encoders would differ.
        metadata = {"encoder": json.dumps(facts)}
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        path.write_bytes(save(state, metadata))  # save_file keeps others from reading, whatever the umask says

    @classmethod
    def load(cls, path: Path) -> Encoder:
        """Read an encoder written by `save`, in eval mode; without inputs in the file, they are the paper's.

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
            raise OrlError(f"{path} is damaged or not a safetensors file ({error}): {_again(path)}") from None
        if "encoder" not in metadata:
            raise OrlError(
                f"{path} holds weights without settings: it is no encoder.safetensors of a run; what `orl export` made"
                " loads as the model card beside it says"
            )
        try:
            facts = json.loads(metadata["encoder"])
            encoder = cls.empty(EncoderSettings(**facts["settings"]))
            encoder.load_state_dict(state)
            encoder.inputs = inputs_from(facts)
        except (TypeError, LookupError, ValueError, RuntimeError):  # other settings, or other weights
            raise OrlError(f"{path} was made by another version of this project: {_again(path)}") from None
        return encoder.eval()
