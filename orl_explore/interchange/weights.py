"""Encoders of other projects in, by their state dicts; encoders of this project out, for other libraries.

A file is read without running anything that is in it. Weights fit completely or are refused: every key is either taken,
or named as left out (heads, momentum copies), or the reason to refuse.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import pickle
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from orl_explore.encoder import Encoder, build_backbone, inputs_from
from orl_explore.errors import OrlError
from orl_explore.interchange.numbers_only import (
    conversion,
    is_pickle,
    read_numbers,
    refuse_compressed,
    refuse_others,
    short,
)
from orl_explore.settings import EncoderSettings, InputSettings

State = dict[str, Tensor]

ASIDE: Final = re.compile(r"optim|sched|scaler|loss|amp|history|meta|hyper|args|config|loops|callbacks|rng")
"""Names of what lies beside a nested state dict."""

log = logging.getLogger("orl_explore")

WRAPPERS: Final = ("state_dict", "model", "model_state_dict", "teacher", "student", "network", "net")
"""Keys under which checkpoints keep their state dict, in the order they are looked for."""

FOLLOWERS: Final = re.compile(r"target|momentum|encoder_k|_ema|ema_")
"""Networks that follow another one as a moving average: the one they follow is taken."""

HEADS: Final = re.compile(r"(fc|head|heads|classifier|last_linear|projection_head|prototypes)\.")
"""What may stand on top of a backbone's pooled feature, beside its layers."""

SEQUENTIAL: Final = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""Children of a torchvision ResNet by place, as lightly's Sequential names them."""

PROJECTORS: Final = {"fc0": "0", "bn0": "1", "fc1": "3"}
"""The authors' names of the projector's layers -> this project's."""

PROJECTOR_MARKS: Final = (("fc0", "bn0", "fc1"), ("0", "1", "3"))
"""Layers by which a projector of BYOL's shape is known, under the authors' names and this project's."""

DEPTH: Final = 8
"""Mappings within mappings that are looked into."""


@dataclass(frozen=True)
class Fit:
    """How a state dict fits an encoder.

    Attributes:
        network: prefix of the keys that were taken, such as `module.encoder_q.`.
        taken: key in the file -> key of the encoder.
        left_out: group of keys in the file -> how many of them are not used.
        made_up: batch counters that the file does not have; they start at 0 and change no output.
        stage: `stage3` when the file has predictors for boxes or says so itself, else `stage1`: any encoder can stand
            in for that.
    """

    network: str
    taken: dict[str, str]
    left_out: dict[str, int]
    made_up: list[str]
    stage: str

    def rows(self) -> list[tuple[str, str]]:
        """A line per group of keys: the keys, and what became of them."""
        groups = Counter(f"{key.partition('.')[0]}.*" for key in self.taken.values())
        rows = [(f"{self.network}* -> {group}", f"{count} taken") for group, count in groups.items()]
        rows += [(group, f"{count} left out") for group, count in self.left_out.items()]
        return rows + ([("*.num_batches_tracked", f"{len(self.made_up)} missing, set to 0")] if self.made_up else [])


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_state(path: Path) -> State:
    """Read the tensors of a checkpoint: `.safetensors`, or what `torch.save` wrote, without running code from it.

    Raises:
        OrlError: unreadable, or holds anything but tensors and plain values.
    """
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    if path.suffix.lower() in (".pkl", ".pickle"):
        raise is_pickle(path)
    refuse_others(path)
    refuse_compressed(path)
    try:
        # DINO and MoCo v3 store their arguments, a plain object, beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({found.group(1)})" if found else ""
        try:
            content, left_out = read_numbers(path)
        except ValueError as why:
            raise OrlError(
                f"{path} holds more than tensors and plain values{what}: it could run code, and is not read ({why})."
                f" Where you trust it: {conversion(path)}"
            ) from None
        log.warning(
            "%s: the numbers alone are read, without %s", path, _some([f"{n} x {name}" for name, n in left_out.items()])
        )
    except OSError as error:
        raise OrlError(f"{path} cannot be read ({error.strerror or error}): check its name and permissions") from None
    except Exception as error:  # torch raises anything from EOFError to RuntimeError on damaged files
        raise OrlError(f"{path} is no checkpoint, or is damaged ({short(error)}): fetch it again") from None
    return _unwrap(content, path)


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise OrlError(f"{path} is no safetensors file, or is damaged ({short(error)}): fetch it again") from None


def _unwrap(content: Any, path: Path) -> State:
    """The innermost mapping of names to tensors; of several beside each other, all, each with its name before it."""
    for _ in range(DEPTH):  # a pickled mapping can hold itself
        if not isinstance(content, Mapping) or any(isinstance(value, Tensor) for value in content.values()):
            break
        key = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if key is None:
            inner = {name: value for name, value in content.items() if _leads_to_tensors(name, value)}
            if len(inner) > 1:
                parts = {name: _unwrap(value, path) for name, value in inner.items()}
                content = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}
                break
            if not inner:
                break
            key = next(iter(inner))
        content = content[key]
    items = content.items() if isinstance(content, Mapping) else ()
    state = {str(key): value for key, value in items if isinstance(value, Tensor)}
    if not state:
        raise OrlError(f"{path} holds no state dict: it needs tensors by name, at the top or under `state_dict`")
    for key, tensor in state.items():
        if not _is_plain(tensor):
            raise OrlError(f"{path}: {key} is no plain array of real numbers, as weights are: save it as one")
    return _without_wrappers(state)


def _leads_to_tensors(name: Any, value: Any, depth: int = DEPTH) -> bool:
    """Whether something under this name can be a state dict, or holds one."""
    if not isinstance(name, str) or ASIDE.search(name) or not isinstance(value, Mapping) or not depth:
        return False
    own = any(isinstance(key, str) and isinstance(one, Tensor) for key, one in value.items())
    return own or any(_leads_to_tensors(key, one, depth - 1) for key, one in value.items())


def _without_wrappers(state: State) -> State:
    """Names without what `torch.compile`, FSDP and DDP put into them, unless two would become the same."""
    names = [
        re.sub(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.", "", key) for key in state
    ]
    names = [re.sub(r"(?<=\.)module\.", "", name) for name in names]
    return dict(zip(names, state.values(), strict=True)) if len(set(names)) == len(names) else state


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is dense, real, in memory, and not a small storage that is spread to any size by its strides."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_complex() or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


# ---- in --------------------------------------------------------------------------------------------------------------


def read_encoder(path: Path, *, backbone: str | None = None, network: str | None = None) -> tuple[Encoder, Fit]:
    """Make an encoder of a checkpoint of this project, the ORL authors, torchvision, timm, MoCo, DINO, lightly, ...

    Args:
        path: the file.
        backbone: name of the backbone (see `EncoderSettings`); None finds the torchvision ResNet that fits.
        network: prefix of the keys to take, where a file holds several networks.

    Returns:
        The encoder in eval mode, and which keys it was made of. It is fed as this project's file says, others as in the
        paper. Without a projector of this project's shape in the file
        it has none (`hidden` is 0): images are compared by their pooled backbone features.

    Raises:
        OrlError: unreadable, several networks to choose from, or keys that are missing, left over or of another shape.
    """
    state = read_state(path)
    settings, provenance, inputs = _own_metadata(path)
    object_level = any(re.search(r"(local_\w+_head|inter_predictor)\.", key) for key in state)
    network = _choose_network(state, path, network)
    groups = Counter[str]()
    names: dict[str, str] = {}  # key of the encoder -> key in the file
    sequential = f"{network}4.0.conv1.weight" in state
    projector = _projector_prefix(state, network)
    if projector is None:
        _refuse_left_projector(state, path, network)
    for key in state:
        if projector and key.startswith(projector):
            layer, _, rest = key[len(projector) :].partition(".")
            name = f"projector.{PROJECTORS.get(layer, layer)}.{rest}"
        elif not key.startswith(network) or HEADS.match(key[len(network) :]):
            groups[_group(key, network)] += 1
            continue
        else:
            layer, _, rest = key[len(network) :].partition(".")
            name = f"backbone.{SEQUENTIAL.get(layer, layer) if sequential else layer}.{rest}"
        if name in names:
            raise OrlError(f"{path} has both {names[name]} and {key} for {name}: save one of the two networks alone")
        names[name] = key
    tensors = {name: state[key] for name, key in names.items()}
    settings = _settings(tensors, path, backbone or (settings.backbone if settings else None))
    with torch.device("meta"):
        expected = Encoder(settings).state_dict()
    made_up = [name for name in expected if name not in tensors and name.endswith("num_batches_tracked")]
    tensors |= {name: torch.tensor(0) for name in made_up}
    _refuse_misfit(path, settings.backbone, expected, tensors, names)
    encoder = Encoder.empty(settings)
    encoder.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()})
    encoder.inputs = inputs
    stage = "stage3" if object_level or provenance.get("stage") == "stage3" else "stage1"
    return encoder.eval(), Fit(network, {key: name for name, key in names.items()}, dict(groups), made_up, stage)


def _group(key: str, network: str) -> str:
    """What a key is counted under: the first part of its name, below the network's prefix or `module.`."""
    prefix = network if key.startswith(network) else "module." if key.startswith("module.") else ""
    first, _, rest = key[len(prefix) :].partition(".")
    return f"{prefix}{first}{'.*' if rest else ''}"


def is_own(path: Path) -> bool:
    """Whether this project wrote a file of weights, settings included; damaged and missing files are nobody's."""
    return path.suffix.lower() == ".safetensors" and bool(_metadata(path))


def _metadata(path: Path) -> str:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("encoder", "")
    except (SafetensorError, OSError):
        return ""


def _own_metadata(path: Path) -> tuple[EncoderSettings | None, dict[str, Any], InputSettings]:
    """Settings, provenance and inputs that this project writes into its files; for files of others, the paper's inputs
    alone.
    """
    text = _metadata(path) if path.suffix.lower() == ".safetensors" else ""
    if not text:
        return None, {}, InputSettings()
    try:
        found = json.loads(text)
        settings, provenance = EncoderSettings(**found["settings"]), dict(found["provenance"])
        if not isinstance(settings.backbone, str):
            raise TypeError
        return settings, provenance, inputs_from(found)
    except (ValueError, TypeError, LookupError, RecursionError):
        raise OrlError(f"{path} was made by another version of this project: export it again") from None


def _choose_network(state: State, path: Path, wanted: str | None) -> str:
    """Prefix of the backbone's keys: where a convolution sees an image's three channels."""
    found = []
    for key, tensor in state.items():
        match = re.fullmatch(r"(.*?)(conv1|conv1\.0|0)\.weight", key)
        if not match or tensor.ndim != 4 or tensor.shape[1] != 3:
            continue
        if match.group(2) != "0" or f"{match.group(1)}4.0.conv1.weight" in state:
            found.append(match.group(1))
    if wanted is not None:
        wanted = wanted if not wanted or wanted.endswith(".") else f"{wanted}."
        if wanted not in found:
            raise OrlError(f"{path} has no network {wanted!r}: choose one of {', '.join(map(repr, found)) or 'none'}")
        return wanted
    leaders = [prefix for prefix in found if not FOLLOWERS.search(prefix)] or found
    if not leaders:
        raise OrlError(f"{path} has no ResNet in it: no convolution named conv1 that sees three channels")
    first = leaders[0]
    if any(not _same(state, first, other) for other in leaders[1:]):  # the authors name one network twice
        raise OrlError(f"{path} has several networks: choose one with --network {' or '.join(map(repr, leaders))}")
    with_projector = [prefix for prefix in leaders if _projector_prefix(state, prefix)]
    return with_projector[0] if with_projector else first


def _same(state: State, first: str, second: str) -> bool:
    ours = {key[len(first) :]: value for key, value in state.items() if key.startswith(first)}
    theirs = {key[len(second) :]: value for key, value in state.items() if key.startswith(second)}
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def _refuse_left_projector(state: State, path: Path, network: str) -> None:
    """Refuse to leave a projector of this project's shape behind, which images would be compared by.

    Raises:
        OrlError: there is one, under another name than beside the backbone.
    """
    found = [
        key.removesuffix(f"{mark[0]}.weight")
        for mark in PROJECTOR_MARKS
        for key in state
        if re.search(rf"(^|\.)(neck|projector)\.{mark[0]}\.weight$", key) and not FOLLOWERS.search(key)
        if all(f"{key.removesuffix(f'{mark[0]}.weight')}{name}.weight" in state for name in mark)
    ]
    if found:
        raise OrlError(
            f"{path} has a projector, {found[0]}*, that is not beside the backbone {network}*, and would be left"
            f" behind: name both alike, backbone.* and projector.*, or leave the projector out of the file"
        )


def _projector_prefix(state: State, network: str) -> str | None:
    """Prefix of a projector of BYOL's shape that belongs to a backbone."""
    if network.endswith("online_net.0."):
        candidates = [f"{network[:-2]}1."]
    elif network.endswith("backbone."):
        candidates = [f"{network.removesuffix('backbone.')}{name}." for name in ("neck", "projector")]
    else:
        return None
    return next(
        (
            prefix
            for prefix in candidates
            for names in PROJECTOR_MARKS
            if all(f"{prefix}{name}.weight" in state for name in names)
        ),
        None,
    )


def _settings(tensors: State, path: Path, backbone: str | None) -> EncoderSettings:
    first, last = tensors.get("projector.0.weight"), tensors.get("projector.3.weight")
    backbone = backbone or _find_backbone(tensors, path)
    if first is not None and last is not None and first.ndim == last.ndim == 2:
        return EncoderSettings(backbone, hidden=first.shape[0], dim=last.shape[0])
    with torch.device("meta"):
        return EncoderSettings(backbone, hidden=0, dim=build_backbone(backbone)[1])


@functools.cache
def _backbone_shapes(name: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: value.shape for key, value in build_backbone(name)[0].state_dict().items()}


def _find_backbone(tensors: State, path: Path) -> str:
    """The torchvision ResNet with most keys of these names and shapes; all of them must fit later."""
    import torchvision

    shapes = {name.removeprefix("backbone."): tensor.shape for name, tensor in tensors.items()}
    scores = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        if "resne" in name:
            expected = _backbone_shapes(name)
            common = sum(shapes.get(key) == shape for key, shape in expected.items())
            scores[name] = common / max(len(expected), len(shapes))
    best = max(scores, key=lambda name: scores[name])
    if scores[best] < 0.5:
        raise OrlError(f"{path} fits no ResNet of torchvision's: name the backbone, such as --backbone timm:resnet26d")
    return best


def _refuse_misfit(path: Path, backbone: str, expected: State, found: State, names: Mapping[str, str]) -> None:
    missing = [name for name in expected if name not in found]
    left = [names[name] for name in found if name not in expected]
    shapes = [
        f"{names[name]} {tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    kinds = [
        f"{names[name]} {found[name].dtype} instead of {tensor.dtype}"
        for name, tensor in expected.items()
        if name in found and tensor.is_floating_point() and not found[name].is_floating_point()
    ]
    bad = [names[name] for name, tensor in found.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    below = [names[name] for name, tensor in found.items() if name.endswith("running_var") and (tensor < 0).any()]
    problems = [
        ("missing", missing),
        ("unexpected", left),
        ("of another shape", shapes),
        ("of another type", kinds),
        ("not finite", bad),
        ("variances below 0", below),
    ]
    if any(keys for _, keys in problems):
        said = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in problems if keys)
        raise OrlError(f"{path} does not fit {backbone}, and is not loaded in part: {said}")


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.float().isfinite().all())  # in fp32, as torch has no such test for numbers of 8 bits


def _some(keys: list[str], limit: int = 6) -> str:
    return ", ".join(keys[:limit]) + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
