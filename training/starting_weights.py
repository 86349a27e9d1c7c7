"""Weights that stages 1 and 3 begin with in place of random ones: `--stage1.init WHICH`, `--stage3.init WHICH`."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from torch import nn

from orl_explore.byol import TwinNetworks
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.interchange.encoders import NamedEncoder, find_encoder, needs_stage
from orl_explore.pretrained import embedding_widths
from orl_explore.runs.checkpoints import latest_checkpoint
from orl_explore.runs.encoders import training_inputs
from orl_explore.runs.run import Run
from orl_explore.settings import Config

LATER: Final = {"stage1": ("stage1", "stage2", "stage3"), "stage3": ("stage3",)}
"""Stages of a run that one of its stages cannot begin with, as they come after its beginning."""

SHOWN: Final = 4
"""Tensors that an error names at most."""


def starting_input(run: Run, config: Config, stage: str) -> dict[str, str]:
    """What a stage depends on by its start: the hash of the encoder that it begins with; nothing from scratch.

    A stage that was begun goes on, and a finished one stays finished, if what it began with is gone.

    Raises:
        OrlError: there is no such encoder, or it is one that this stage comes before.
    """
    name = getattr(config, stage).init
    if name is None:
        return {}
    known = run.stage(stage).get("init", {})
    try:
        return {"init": _named(run, config, stage).hash()}
    except OrlError:
        if known.get("encoder") != name:
            raise
        return {"init": known["hash"]}


def begin_with(networks: TwinNetworks, run: Run, config: Config, stage: str) -> dict[str, Any] | None:
    """Give networks the weights that a stage begins with, on both sides; unless a checkpoint goes on from later ones.

    An encoder without a projector leaves that as it was drawn; predictors are always new. Networks then see pictures
    normalized as the encoder's were.

    Args:
        networks: just made; changed in place.
        run: the run.
        config: its settings.
        stage: `stage1` or `stage3`.

    Returns:
        What run.json says of it, for key `init`; None from scratch.

    Raises:
        OrlError: there is no such encoder, or its shape is another; networks that cannot see views of their size.
    """
    name = getattr(config, stage).init
    facts = None
    if name is not None:
        known, checkpoint = run.stage(stage).get("init"), latest_checkpoint(run.folder(stage) / "checkpoints")[0]
        if checkpoint and known:
            facts = known
        else:
            named = _named(run, config, stage)
            found = named.load()
            facts = {"encoder": name, "hash": named.hash(), **_copy(found, networks.online, name, stage)}
            networks.target.load_state_dict(networks.online.state_dict())
        networks.online.inputs = training_inputs({"init": facts})
    _check_sizes(networks, config, stage)
    return facts


def _named(run: Run, config: Config, stage: str) -> NamedEncoder:
    name = getattr(config, stage).init
    own = next((later for later in LATER[stage] if needs_stage(name, later)), None)
    if own is None:
        named = find_encoder(name, run, config)
        if named.of_run is None or not named.of_run.is_of(run) or named.of_run.stage not in LATER[stage]:
            return named
    raise OrlError(
        f"{stage}.init is {name}, which this run has only after {stage} was begun: name another run's, RUN:stage3, or"
        " another encoder that `orl encoders` lists"
    )


def _copy(found: Encoder, online: Encoder, name: str, stage: str) -> dict[str, Any]:
    """Copy backbone and, if there is one, projector; returns what is recorded."""
    theirs = found.state_dict()
    expected = {
        key: tensor
        for key, tensor in online.state_dict().items()
        if found.settings.hidden or key.startswith("backbone.")
    }
    misfits = [key for key in expected if key not in theirs or theirs[key].shape != expected[key].shape]
    misfits += [key for key in theirs if key not in expected]
    if misfits:
        raise _unfit(found, online, name, stage, misfits)
    online.load_state_dict(theirs, strict=False)
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(theirs):
        digest.update(key.encode())
        digest.update(theirs[key].contiguous().cpu().numpy().tobytes())
    return {
        "backbone": found.settings.backbone,
        "weights": digest.hexdigest(),
        "projector": bool(found.settings.hidden),
        "mean": list(found.inputs.mean),
        "std": list(found.inputs.std),
    }


def _unfit(found: Encoder, online: Encoder, name: str, stage: str, misfits: list[str]) -> OrlError:
    theirs, own = found.state_dict(), online.state_dict()

    def shape(state: dict[str, Any], key: str) -> str:
        return "x".join(map(str, state[key].shape)) or "a number" if key in state else "missing"

    shown = ", ".join(f"{key} ({shape(theirs, key)} there, {shape(own, key)} here)" for key in misfits[:SHOWN])
    more = f" and {len(misfits) - SHOWN:,} more" if len(misfits) > SHOWN else ""
    if any(key.startswith("backbone.") for key in misfits):
        advice = f"--{stage}.encoder.backbone {found.settings.backbone}"
    else:
        advice = f"--{stage}.encoder.hidden {found.settings.hidden} --{stage}.encoder.dim {found.settings.dim}"
    return OrlError(f"{name} is of another shape than {stage}.encoder: {shown}{more}; add {advice}")


def _check_sizes(networks: TwinNetworks, config: Config, stage: str) -> None:
    """Try backbones that may not take every size, as transformers do not, before anything is recorded."""
    if isinstance(getattr(networks.online.backbone, "layer4", None), nn.Module):  # a ResNet
        return
    settings = getattr(config, stage)
    for name in ("image_size", "patch_size"):
        if hasattr(settings, name):
            side, setting = getattr(settings, name), f"--{stage}.{name}"
            embedding_widths(networks.online, networks.settings.backbone, side, setting=setting)
    networks.train()
