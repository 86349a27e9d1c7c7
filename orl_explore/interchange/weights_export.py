"""Weights for other libraries: torchvision, timm, Detectron2, MMDetection, ONNX."""

from __future__ import annotations

import importlib.util
import json
import pickle
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.interchange.card import resnet_shape
from orl_explore.interchange.weights import State
from orl_explore.runs.files import atomic_write

# ---- out -------------------------------------------------------------------------------------------------------------


def backbone_state(encoder: Encoder) -> State:
    """Weights of the backbone under its library's own names, on the CPU."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.backbone.state_dict().items()}


def for_torchvision(encoder: Encoder, path: Path) -> None:
    """Write safetensors that `torchvision.models.NAME` with `fc = Identity()` loads strictly."""
    _require_torchvision(encoder)
    _save_safetensors(backbone_state(encoder), path)


def for_timm(encoder: Encoder, path: Path) -> None:
    """Write safetensors for `timm.create_model(NAME, num_classes=0, checkpoint_path=PATH)`.

    Raises:
        OrlError: timm has no such model, or names its layers otherwise.
    """
    import timm

    name = encoder.settings.backbone.removeprefix("timm:")
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=0).state_dict() if timm.is_model(name) else {}
    state = backbone_state(encoder)
    if {key: value.shape for key, value in theirs.items()} != {key: value.shape for key, value in state.items()}:
        raise OrlError(f"timm has no model that fits the backbone {encoder.settings.backbone}: export for torchvision")
    _save_safetensors(state, path)


def for_detectron2(encoder: Encoder, path: Path) -> None:
    """Write Detectron2's `.pkl`: numpy arrays under its ResNet's names, for `MODEL.WEIGHTS`."""
    _require_torchvision(encoder)
    model = {
        detectron2_name(name): tensor.numpy()
        for name, tensor in backbone_state(encoder).items()
        if not name.endswith("num_batches_tracked")
    }
    content = {"model": model, "__author__": "ORL Explore", "matching_heuristics": True}
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        _ArrayPickler(file, protocol=4).dump(content)


class _ArrayPickler(pickle.Pickler):
    """Writes arrays as calls of `numpy.ndarray`: NumPy's own way names a module that older versions do not have."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return np.ndarray, (value.shape, value.dtype.str, bytearray(value.tobytes()))
        return NotImplemented


def detectron2_name(name: str) -> str:
    """Detectron2's name of a torchvision ResNet's tensor: res2..res5, `shortcut`, and norms below their convolution."""
    name = re.sub(r"^layer(\d)\.", lambda match: f"res{int(match.group(1)) + 1}.", name)
    name = re.sub(r"\bdownsample\.0\.", "shortcut.", name)
    name = re.sub(r"\bdownsample\.1\.", "shortcut.norm.", name)
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    return name if name.startswith("res") else f"stem.{name}"


def for_mmdetection(encoder: Encoder, path: Path) -> None:
    """Write `.pth` for MMDetection's `init_cfg=dict(type="Pretrained", checkpoint=PATH)` of its ResNet.

    Raises:
        OrlError: it has no such network.
    """
    _require_torchvision(encoder)
    resnet_shape(encoder.settings.backbone, "mmdetection")
    with atomic_write(path) as temporary:
        torch.save({"meta": {"source": "ORL Explore"}, "state_dict": backbone_state(encoder)}, temporary)


class _Outputs(nn.Module):
    """What an ONNX file computes: the pooled feature and, where there is a projector, the projection."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder, self.names = encoder, ["features", "projection"] if encoder.settings.hidden else ["features"]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.encoder.features(images)
        return (features, self.encoder.projector(features))[: len(self.names)]


def for_onnx(encoder: Encoder, path: Path) -> None:
    """Write ONNX: normalized images (N, 3, H, W), any N, H and W -> features (N, width), and projection (N, dim).

    How images are normalized stands in the file's metadata: `input`, `mean` and `std`.

    Raises:
        OrlError: torch's exporter needs the packages onnx and onnxscript, which are not here.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise OrlError(
            f"torch writes ONNX by means of {' and '.join(missing)}: pip install onnx onnxscript onnxruntime"
        )
    model = _Outputs(encoder.cpu()).eval()
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 3, 64, 64),),
        input_names=["images"],
        output_names=model.names,
        dynamic_shapes={"images": {0: torch.export.Dim("batch"), 2: dynamic, 3: dynamic}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    shape: Any = program.model.graph.inputs[0].shape
    shape[2], shape[3] = "height", "width"  # the exporter takes no names for axes that it cannot prove anything of
    program.model.metadata_props.update(
        {
            "input": "RGB, divided by 255, minus mean, divided by std; (N, 3, H, W) float32",
            "mean": json.dumps(encoder.inputs.mean),
            "std": json.dumps(encoder.inputs.std),
            "encoder": json.dumps(asdict(encoder.settings)),
        }
    )
    with atomic_write(path) as temporary:
        program.save(temporary, external_data=False)


TARGETS: Final[dict[str, tuple[str, Callable[[Encoder, Path], None]]]] = {
    "torchvision": (".safetensors", for_torchvision),
    "timm": (".safetensors", for_timm),
    "detectron2": (".pkl", for_detectron2),
    "mmdetection": (".pth", for_mmdetection),
    "onnx": (".onnx", for_onnx),
}
"""Library -> suffix of its file, and what writes it."""


def _require_torchvision(encoder: Encoder) -> None:
    if encoder.settings.backbone.startswith("timm:"):
        raise OrlError(f"{encoder.settings.backbone} is not one of torchvision's ResNets: export it for timm")


def _save_safetensors(state: State, path: Path) -> None:
    from safetensors.torch import save

    with atomic_write(path) as temporary:
        temporary.write_bytes(save(state, {"format": "pt"}))  # save_file keeps others from reading
