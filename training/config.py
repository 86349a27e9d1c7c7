"""Settings of a run: one frozen dataclass per stage, whose defaults are the paper's.

A YAML file in `training/configs/` changes what it names and nothing else, so the difference from the paper is the file
itself. Unknown keys are refused.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from orl_explore.byol import learning_rate_factor
from orl_explore.encoder import EncoderSettings
from orl_explore.errors import OrlError
from orl_explore.runs.run import atomic_write, differing_keys
from orl_explore.views.parameters import ViewSettings
from orl_explore.views.renderers import RENDERERS, Augment

CONFIGS = Path(__file__).parent / "configs"
COMPUTE = ("augment", "compile", "gradient_checkpointing")
"""Settings of stages 1 and 3 that change nothing beyond rounding: a run may go on with others."""

EXACT_IMAGES = 1_000_000
"""Images up to which `stage2.index: auto` searches exactly."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What stages 1 and 3 have in common (method: stage 1)."""

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    """Shape of the networks."""
    views: ViewSettings = field(default_factory=ViewSettings)
    """Strength of the augmentations."""
    image_size: int = 224
    """Side of a whole-image view, pixels."""
    epochs: int = 800
    """Passes over the images."""
    batch_size: int = 512
    """Images per optimizer step, over all devices."""
    accumulate: int = 1
    """Not in the paper: forward passes that an optimizer step is split into, to fit the memory; batch statistics are
    those of a pass, the learning rate stays that of the whole batch."""
    base_lr: float = 0.4
    """Learning rate at a batch of 512; the rate used is base_lr * batch_size / 512 (`learning_rate()`)."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 1e-4
    """Weight decay, on all parameters."""
    warmup_epochs: float = 4.0
    """Epochs of linear warm-up from 1e-4 of the learning rate."""
    ema: float = 0.99
    """EMA momentum of the target network at the first step; it rises to 1."""
    checkpoint_steps: int = 500
    """Optimizer steps between checkpoints: what a killed job loses at most."""
    augment: Augment = "cpu"
    """Where views are drawn, all the same to within rounding. "pil": Pillow, the reference; "cpu": OpenCV and torch,
    faster; "device": crops on the CPU, the rest where the network is."""
    compile: bool = False
    """Compile the backbone with torch.compile: minutes at the start, faster steps afterwards."""
    gradient_checkpointing: bool = False
    """Compute the backbone's activations twice instead of keeping them: less memory, slower steps, the same result."""
    knn_every: int = 0
    """Not in the paper: epochs between kNN accuracies on object crops while training, in knn.csv; 0: never. Labels
    are looked at for that alone."""
    keep_every: int = 0
    """Not in the paper: epochs between encoders that are kept, in encoders/, to be compared in the dashboard; 0: only
    the last is."""

    def learning_rate(self) -> float:
        """Full learning rate, after the warm-up."""
        return self.base_lr * self.batch_size / 512

    def steps_per_epoch(self, images: int) -> int:
        """Optimizer steps in an epoch; the last incomplete batch is left out.

        Raises:
            OrlError: fewer images than a batch.
        """
        if images < self.batch_size:
            raise OrlError(
                f"{images} images do not fill a batch of {self.batch_size}: "
                f"add images, or a smaller batch, for example --{self._stage}.batch_size {max(2, images // 2)}"
            )
        return images // self.batch_size

    def total_steps(self, images: int) -> int:
        """Optimizer steps in all."""
        return self.epochs * self.steps_per_epoch(images)

    def learning_rate_at(self, step: int, images: int) -> float:
        """Learning rate of a step (from 0)."""
        warmup = round(self.warmup_epochs * self.steps_per_epoch(images))
        return self.learning_rate() * learning_rate_factor(step, self.total_steps(images), warmup)

    @property
    def _stage(self) -> str:
        return type(self).__name__.removesuffix("Config").lower()

    def __post_init__(self):
        _check_positive(
            self, self._stage, "image_size", "epochs", "batch_size", "accumulate", "base_lr", "checkpoint_steps"
        )
        if self.augment not in RENDERERS:
            raise OrlError(f"{self._stage}.augment is {self.augment!r}: choose one of {', '.join(RENDERERS)}")
        if self.batch_size < 2:
            raise OrlError(f"{self._stage}.batch_size is 1: batch normalization needs at least 2 images")
        if self.batch_size % self.accumulate or self.batch_size < 2 * self.accumulate:
            raise OrlError(
                f"{self._stage}.accumulate is {self.accumulate}: it must divide the batch of {self.batch_size} into"
                " equal passes of at least 2 images"
            )
        for name in ("knn_every", "keep_every"):
            if getattr(self, name) < 0:
                raise OrlError(f"{self._stage}.{name} is {getattr(self, name)}: it must be 0 or more epochs")
        for name in ("ema", "momentum", "weight_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise OrlError(f"{self._stage}.{name} is {getattr(self, name)}: it must lie between 0 and 1")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise OrlError(
                f"{self._stage}.warmup_epochs is {self.warmup_epochs}: it must be below the {self.epochs} epochs"
            )


@dataclass(frozen=True, kw_only=True)
class Stage1Config(TrainConfig):
    """Stage 1: image-level pre-training with BYOL (paper section 3.1)."""


@dataclass(frozen=True, kw_only=True)
class Stage2Config:
    """Stage 2: which regions of which images correspond (paper section 3.2)."""

    encoder: str | None = None
    """Another encoder in place of stage 1's: timm:NAME, timm:NAME@FILE, torchvision:NAME[.WEIGHTS] or a file."""
    image_size: int = 224
    """Side that image crops and regions are resized to before embedding, pixels."""
    neighbors: int = 10
    """K: nearest neighbors kept for each image."""
    index: Literal["auto", "exact", "ivf"] = "auto"
    """Neighbor search: "exact" compares all images with all; "ivf" looks into the likely lists of an index and misses
    some neighbors (run.json says how many); "auto" takes it above a million images."""
    proposals: Literal["fast", "opencv"] = "fast"
    """Selective search: "fast" is this project's own, compiled; "opencv" the reference, several times slower."""
    max_side: int | None = None
    """Not in the paper: search images scaled down to this longer side, pixels; faster, but small objects are missed."""
    min_side: int = 96
    """Boxes with a shorter side below this are dropped, pixels of the original image."""
    max_aspect: float = 3.0
    """Boxes longer than this times their width (or the other way) are dropped."""
    max_iou: float = 0.5
    """Boxes that overlap a kept one by more than this are dropped."""
    max_boxes: int = 100
    """Boxes kept for an image at most."""
    pair_ratio: float = 0.1
    """Pairs kept for a neighbor, as a share of the number of query boxes (at least one pair)."""
    mutual: bool = False
    """Not in the paper: keep only pairs that are each other's best match."""
    one_to_one: bool = False
    """Not in the paper: let no box be in two pairs with the same neighbor."""
    min_similarity: float | None = None
    """Not in the paper: drop pairs below this cosine similarity."""
    max_image_similarity: float | None = None
    """Not in the paper: leave out neighbors above this cosine similarity, as near-duplicates."""
    batch_size: int = 256
    """Crops per forward pass."""
    shard_images: int = 512
    """Images per part: what a killed job loses at most."""

    def __post_init__(self):
        _check_positive(self, "stage2", "image_size", "neighbors", "max_boxes", "batch_size", "shard_images")
        if self.max_side is not None:
            _check_positive(self, "stage2", "max_side")
        if not 0 < self.pair_ratio <= 1:
            raise OrlError(f"stage2.pair_ratio is {self.pair_ratio}: it must lie above 0 and at most at 1")

    def searches_lists(self, images: int) -> bool:
        """Whether neighbors of so many images are searched by an inverted file."""
        return self.index == "ivf" or (self.index == "auto" and images > EXACT_IMAGES)


@dataclass(frozen=True, kw_only=True)
class Stage3Config(TrainConfig):
    """Stage 3: object-level pre-training from scratch (paper section 3.3)."""

    patch_size: int = 96
    """Side that boxes are resized to, pixels."""
    image_weight: float = 1.0
    """Weight of the image-level loss."""
    intra_weight: float = 1.0
    """Weight of the intra-RoI loss."""
    inter_weight: float = 1.0
    """Weight of the inter-RoI loss."""
    reviews: Literal["use"] | None = None
    """Not in the paper: "use" leaves out pairs that a person rejected and adds those that a person accepted."""

    def __post_init__(self):
        super().__post_init__()
        _check_positive(self, "stage3", "patch_size")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How the steps are judged on annotated images; labels are used for nothing else."""

    max_crops: int = 6000
    """Object crops used at most, drawn at random."""
    test_share: float = 0.3
    """Share of the images that the probes are tested on."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run."""

    seed: int = 0
    """Everything random in the run derives from it."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Number format of the forward passes; auto: bf16 where the device has it, else fp16 on a GPU."""
    workers: int | None = None
    """Processes that prepare images; default: one per core, at most 8 per device."""
    devices: int | Literal["auto"] = "auto"
    """Devices (GPUs, or processes without one) to train on."""
    stage1: Stage1Config = field(default_factory=Stage1Config)
    """Image-level pre-training."""
    stage2: Stage2Config = field(default_factory=Stage2Config)
    """Correspondence discovery."""
    stage3: Stage3Config = field(default_factory=Stage3Config)
    """Object-level pre-training."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Judging."""

    def __post_init__(self):
        if self.seed < 0:
            raise OrlError(f"seed is {self.seed}: it must be 0 or more")
        if self.workers is not None and self.workers < 0:
            raise OrlError(f"workers is {self.workers}: it must be 0 or more; 0 does without further processes")
        if self.devices != "auto" and self.devices < 1:
            raise OrlError(f"devices is {self.devices}: it must be at least 1, or auto")

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, as YAML and JSON hold them (tuples as lists)."""
        return _listed(dataclasses.asdict(self))

    def stage_dict(self, stage: str) -> dict[str, Any]:
        """What a stage's result depends on; how it is spread over workers and devices is not part of that."""
        settings = {name: value for name, value in self.as_dict()[stage].items() if name not in COMPUTE}
        if settings.get("accumulate") == 1:  # the same as before this setting existed: such runs go on
            del settings["accumulate"]
        if settings.get("index") == "auto":  # likewise
            del settings["index"]
        for name in ("knn_every", "keep_every"):  # look on, change nothing
            settings.pop(name, None)
        if stage == "stage2" and settings["encoder"] is None:  # likewise
            del settings["encoder"]
        return {"precision": self.precision, "seed": self.seed, **settings}

    def compute_dict(self, stage: str) -> dict[str, Any]:
        """How a stage is computed, where there is a choice: part of its record, though not of what it depends on."""
        return {name: value for name, value in self.as_dict()[stage].items() if name in COMPUTE}

    def to_yaml(self) -> str:
        """The resolved config, every value written out."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False)

    def save(self, path: Path) -> None:
        """Write it as YAML, atomically."""
        with atomic_write(path) as temporary:
            temporary.write_text(self.to_yaml(), encoding="utf-8")

    def differences(self) -> dict[str, tuple[Any, Any]]:
        """What departs from the paper: dotted key -> (paper's value, this config's)."""
        paper, own = Config().as_dict(), self.as_dict()
        return {key: (_at(paper, key), _at(own, key)) for key in differing_keys(paper, own)}


def _check_positive(settings: object, prefix: str, *names: str) -> None:
    for name in names:
        if not getattr(settings, name) > 0:  # so NaN is refused, too
            raise OrlError(f"{prefix}.{name} is {getattr(settings, name)}: it must be above 0")


def config_names() -> list[str]:
    """Names of the configs that come with the project."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def find_config(name: str) -> Path:
    """Path of a config by name or path.

    Raises:
        OrlError: there is none.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise OrlError(f"no config file {name}")
        return path
    if name not in config_names():
        near = difflib.get_close_matches(name, config_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(config_names())}, or a .yaml file"
        raise OrlError(f"no config {name!r}: {hint}")
    return CONFIGS / f"{name}.yaml"


def load_config(name: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a config and apply command-line overrides such as `--stage1.epochs 5`.

    Args:
        name: a config's name, a YAML file, or None for the paper's values.
        overrides: arguments as typed on the command line.

    Raises:
        OrlError: an unknown key (with the nearest valid one), a value of the wrong type or out of range.
    """
    import jsonargparse

    arguments = list(overrides)
    for argument in arguments:
        if argument.startswith("--"):
            check_key(argument[2:].partition("=")[0], where="on the command line")
    parser = config_parser()
    base = None
    try:
        if name is not None:
            path = find_config(str(name))
            for key in _leaves(_read_yaml(path)):
                check_key(key, where=f"in {path}")
            base = parser.parse_path(str(path))
        parsed = parser.instantiate(parser.parse_args(arguments, namespace=base))
    except jsonargparse.ArgumentError as error:
        raise OrlError(f"config: {' '.join(str(error).split())}") from None
    return Config(**vars(parsed))


def config_parser(**options: Any) -> Any:
    """A parser of every setting, with its docstring as help; options go to jsonargparse.ArgumentParser."""
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = jsonargparse.ArgumentParser(exit_on_error=False, **options)
    parser.add_class_arguments(Config)
    return parser


def check_key(key: str, *, where: str) -> None:
    """Refuse a dotted key that is no setting.

    Raises:
        OrlError: names the nearest valid key.
    """
    known = list(_leaves(Config().as_dict()))
    if key in known:
        return
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5) or [
        k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]
    ]
    hint = f"did you mean {near[0]}?" if near else "`orl config` lists them all"
    raise OrlError(f"unknown setting {key!r} {where}: {hint}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise OrlError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise OrlError(f"{path} must hold keys and values, such as `seed: 0`")
    return values


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of nested dictionaries."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _listed(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def _at(values: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values
