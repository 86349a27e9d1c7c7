"""Any encoder by its name: one grammar for stage 2, `orl evaluate` and the dashboard.

    random, untrained            the network that the stages start from, before any training
    stage1, stage3               of the run in question; stage2: the one that took stage 1's place
    stage1@100                   as it was after 100 epochs, where the stage kept it (keep_every)
    RUN:stage1, RUN:stage3@20    of another run, by its folder
    embedded                     comes with this project: EfficientNet-Lite0, trained with the labels of ImageNet
    timm:NAME                    one of timm's, with the weights that timm fetches; timm:NAME@FILE with those of a file
    hf-hub:ORG/NAME              a model in timm's format from the Hugging Face Hub
    torchvision:NAME[.WEIGHTS]   a ResNet of torchvision's, with the weights that it fetches
    FILE                         this project's encoder.safetensors, or a checkpoint of the authors, torchvision, ...

A file that is called like one of these is meant by `./stage1`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError, typed
from orl_explore.pretrained import (
    Pretrained,
    differences_from_paper,
    embedded_file,
    embedding_widths,
    fetch_hub,
    fetch_timm,
    fetch_torchvision,
    load_embedded,
    timm_inputs,
    without_projector,
)
from orl_explore.runs.encoders import RunEncoder, run_encoders
from orl_explore.runs.files import known_hash
from orl_explore.runs.run import Run
from orl_explore.settings import Config

UNTRAINED: Final = ("random", "untrained")

FORMS: Final = {
    "random": "the untrained network that the stages start from (or: untrained)",
    "stage1, stage3": "of this run; stage1@EPOCH as a stage kept it on its way",
    "RUN:stage1": "of another run, by its folder; RUN:stage3@EPOCH likewise",
    "embedded": "EfficientNet-Lite0, trained with the labels of ImageNet; comes with this project, needs no network",
    "timm:NAME": "any of timm's models, with the weights that it fetches; timm:NAME@FILE with those of a file",
    "hf-hub:ORG/NAME": "a model in timm's format from the Hugging Face Hub",
    "torchvision:NAME[.WEIGHTS]": "a ResNet of torchvision's, with the weights that it fetches",
    "FILE": "weights of this project, the ORL authors, torchvision, MoCo, DINO, ...",
}
"""What can be named -> what that is."""

STAGE: Final = re.compile(r"(?:(?P<run>.+):)?(?P<stage>stage[123])(?:@(?P<epoch>\d+))?")

Kind = Literal["untrained", "stage", "embedded", "timm", "hf-hub", "torchvision", "file"]


@dataclass(frozen=True)
class NamedEncoder:
    """What a name stands for; nothing is read yet.

    Attributes:
        name: as it was typed.
        kind: which form of name it is.
        model: of timm, torchvision or the hub, by the name that they know it by.
        file: of weights, where they are in one; None where they are fetched or drawn.
        of_run: the run's encoder, or another run's.
    """

    name: str
    kind: Kind
    model: str = ""
    file: Path | None = None
    of_run: RunEncoder | None = None

    def load(self) -> Encoder:
        """Read, fetch or make the encoder, in eval mode.

        Raises:
            OrlError: no such model, weights or file; weights that do not fit; no network where that is needed.
        """
        return self._load().eval()

    def _load(self) -> Encoder:
        if self.of_run is not None:
            return self.of_run.load()
        if self.kind == "embedded":
            return load_embedded()
        if self.kind == "hf-hub":
            return fetch_hub(self.model)
        if self.kind == "torchvision":
            return fetch_torchvision(self.model)
        if self.file is None:
            return fetch_timm(self.model)
        return _timm_from(self.file, self.model) if self.kind == "timm" else _from_file(self.file)

    def hash(self) -> str:
        """What identifies it without loading it: of its file, with timm's name for that, or of its name.

        Raises:
            OrlError: its file is gone.
        """
        if self.of_run is not None:
            return self.of_run.hash()
        if self.file is not None:
            if not self.file.is_file():
                raise OrlError(f"there is no file {str(self.file)!r} any more: name one that is there")
            digest = known_hash(self.file)
            return digest if self.kind != "timm" else _digest(f"{self.model}@{digest}")
        return _digest(f"{self.kind}:{self.model}")

    @property
    def labels(self) -> str | None:
        """The data set whose labels it was trained with, where its name says so."""
        return "ImageNet" if self.kind in ("embedded", "torchvision") else None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# ---- names ---------------------------------------------------------------------------------------------------------


def find_encoder(name: str, run: Run | None = None, config: Config | None = None) -> NamedEncoder:
    """Find out what a name stands for, and that it is there as far as that can be seen without a network.

    Args:
        name: see the head of this module.
        run: whose stages are meant by `stage1`.
        config: shape and seed of the untrained encoder; without one, those that the run was begun with.

    Raises:
        OrlError: it is not there; or it is no name, and then the error says what is.
    """
    if name in UNTRAINED:
        return NamedEncoder(name, "untrained", of_run=_untrained(run, config))
    if name == "embedded":
        return NamedEncoder(name, "embedded", file=embedded_file())
    kind, _, rest = name.partition(":")
    if kind == "timm":
        model, _, weights = rest.partition("@")
        return NamedEncoder(name, "timm", model, Path(weights) if weights else None)
    if kind in ("hf-hub", "torchvision"):
        return NamedEncoder(name, "hf-hub" if kind == "hf-hub" else "torchvision", rest)
    if match := STAGE.fullmatch(name):
        found = _of_run(name, match, run)
        return NamedEncoder(name, "stage", file=found.file, of_run=found)
    file = Path(name)
    if (file / "run.json").exists():
        known = [f"{name}:{other}" for other in run_encoders(Run.open(file)) if other != "random"]
        raise OrlError(f"{name} is a run: name one of its encoders, {_either(known)}")
    if not file.is_file():
        raise OrlError(f"there is no encoder {name!r}: name {', '.join(list(FORMS)[:-1])}, or a file of weights")
    return NamedEncoder(name, "file", file=file)


def needs_stage(name: str | None, stage: str) -> bool:
    """Whether a name means an encoder of this stage of the run in question; None means stage 1's."""
    if name is None:
        return stage == "stage1"
    match = STAGE.fullmatch(name)
    return bool(match) and match["run"] is None and match["stage"] == stage  # type: ignore[index]


def known_encoders(run: Run | None = None) -> dict[str, str]:
    """What can be named as an encoder, each with a sentence: those of a run, and what else there is.

    Args:
        run: whose encoders stand first, by the names that are there; None: the forms of names alone.
    """
    if run is None:
        return dict(FORMS)
    found = {"random": FORMS["random"]}
    for name, encoder in run_encoders(run).items():
        if encoder.stage == "random":
            continue
        if encoder.epoch is not None:
            found[name] = f"{encoder.stage[:5]} {encoder.stage[5:]} of this run after {encoder.epoch} epochs"
        elif encoder.stage == "stage2":
            named = run.stage("stage2").get("pretrained", {}).get("encoder", "another encoder")
            found[name] = f"what this run's stage 2 mined with in place of stage 1's: {named}"
        else:
            found[name] = f"{encoder.stage[:5]} {encoder.stage[5:]} of this run"
    return found | {form: sentence for form, sentence in FORMS.items() if form != "stage1, stage3"}


def _untrained(run: Run | None, config: Config | None) -> RunEncoder:
    if config is not None:
        return RunEncoder(run.path if run else Path(), "random", config.stage1.encoder, config.seed)
    known = run_encoders(run) if run else {}
    if "random" not in known:
        raise OrlError("there is no untrained encoder without a run that was begun: name a run, or another encoder")
    return known["random"]


def _of_run(name: str, match: re.Match[str], run: Run | None) -> RunEncoder:
    """A trained encoder of a run.

    Raises:
        OrlError: there is no such run, or it has no such encoder.
    """
    if match["run"]:
        run = Run.open(Path(match["run"]))
    if run is None:
        raise OrlError(f"{name} is an encoder of a run: name it RUN:{name}, for example runs/demo:{name}")
    known = run_encoders(run)
    wanted = name[match.start("stage") :]
    if wanted in known:
        return known[wanted]
    prefix = f"{match['run']}:" if match["run"] else ""
    kept = [f"{prefix}{other}" for other in known if other.startswith(f"{match['stage']}@")]
    if match["epoch"] and kept:
        raise OrlError(f"{run.path} has not kept {wanted}: choose {_either(kept)}")
    if match["epoch"]:
        raise OrlError(
            f"{run.path} has kept no encoder of {match['stage']} on its way: give --{match['stage']}.keep_every N"
            f" before it is trained, or take {prefix}{match['stage']}"
        )
    if match["stage"] == "stage2":
        raise OrlError(f"stage 2 of {run.path} mined with no other encoder than stage 1's: name {prefix}stage1")
    raise OrlError(f"{run.path} has no encoder of {match['stage']} yet: run `{typed(match['stage'], run.path)}` first")


def _either(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "of which it has none yet"


# ---- in stage 1's place --------------------------------------------------------------------------------------------


def load_pretrained(
    name: str, *, image_size: int, size: int | None = None, run: Run | None = None, config: Config | None = None
) -> Pretrained:
    """Load an encoder that takes the place of stage 1's.

    Args:
        name: see the head of this module.
        image_size: side of crops for an encoder that has no size of its own, pixels.
        size: side of crops in place of its own, pixels; None: its own.
        run: whose stages are meant by `stage1`.
        config: shape and seed of the untrained encoder.

    Raises:
        OrlError: no such model, weights or file; weights that do not fit; a model that cannot see crops of this size.
    """
    named = find_encoder(name, run, config)
    encoder = named.load()
    if size is not None:
        encoder.inputs = dataclasses.replace(encoder.inputs, size=size)
    image_dim, region_dim = embedding_widths(encoder, name, image_size)
    if not encoder.settings.hidden:
        encoder.settings = dataclasses.replace(encoder.settings, dim=region_dim)
    if named.of_run is not None and run is not None and named.of_run.is_of(run):
        differs = [f"stage 2 mined with {name} of this run and not with the last encoder of stage 1"]
    else:
        differs = differences_from_paper(encoder, image_dim, named.labels)
    return Pretrained(name, encoder, image_dim, region_dim, named.labels, tuple(differs), named.file)


def _from_file(path: Path) -> Encoder:
    from orl_explore.interchange.weights import is_own, read_encoder

    return Encoder.load(path) if is_own(path) else read_encoder(path)[0]


def _timm_from(path: Path, model: str) -> Encoder:
    """One of timm's models with the weights in a file; ResNets as other projects save them, others as timm does."""
    from orl_explore.interchange.weights import is_own, read_encoder, read_state

    encoder = without_projector(f"timm:{model}")
    if not path.is_file():
        raise OrlError(f"there is no file {str(path)!r} with weights of timm:{model}: name one that is there")
    if hasattr(encoder.backbone, "conv1"):
        found = read_encoder(path, backbone=f"timm:{model}")[0]
        if not is_own(path):
            found.inputs = timm_inputs(encoder.backbone, f"timm:{model}")
        return found
    state = {key.removeprefix("module."): value for key, value in read_state(path).items()}
    expected = encoder.backbone.state_dict()
    head = str(getattr(encoder.backbone, "pretrained_cfg", {}).get("classifier") or "head")
    misfits = [key for key in expected if key not in state or state[key].shape != expected[key].shape]
    misfits += [key for key in state if key not in expected and not key.startswith(f"{head}.")]
    if misfits:
        raise OrlError(f"{path} does not fit timm:{model}: {misfits[0]} is missing, left over or of another shape")
    encoder.backbone.load_state_dict({key: state[key] for key in expected})
    encoder.inputs = timm_inputs(encoder.backbone, f"timm:{model}")
    return encoder
