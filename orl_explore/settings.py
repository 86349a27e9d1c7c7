"""Settings: one frozen dataclass a stage, whose defaults are the paper's; `Config` holds those of a whole run.

A config file in `training/configs/` changes what it names and nothing else, so that the difference from the paper is
the file itself.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from orl_explore.errors import OrlError
from orl_explore.nested import at_key, differing_keys, listed
from orl_explore.ranges import check_choice, check_positive, check_range


@dataclass(frozen=True)
class ViewSettings:
    """How strongly views are distorted; the defaults are the paper's, for images of 224 px."""

    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Share of the image area that a random crop covers (least, most)."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Aspect ratio w/h of a random crop (least, most)."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    color_jitter: float = 0.8
    """Probability that brightness, contrast, saturation and hue are jittered."""
    brightness: float = 0.4
    """Brightness factor is drawn from 1 -+ this."""
    contrast: float = 0.4
    """Contrast factor is drawn from 1 -+ this."""
    saturation: float = 0.2
    """Saturation factor is drawn from 1 -+ this."""
    hue: float = 0.1
    """Hue shift is drawn from -+ this, as a share of the color circle."""
    gray: float = 0.2
    """Probability that all color is removed."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Standard deviation of the Gaussian blur, in pixels of the view."""
    blur: tuple[float, float] = (1.0, 0.1)
    """Probability of blur in view 1 and in view 2."""
    solarize: tuple[float, float] = (0.0, 0.2)
    """Probability of solarization in view 1 and in view 2."""

    def check(self, group: str) -> None:
        """Look whether views can be drawn so.

        Args:
            group: what the names of the settings begin with: `stage1.views`, say.

        Raises:
            OrlError: a setting is out of its range.
        """
        check_range(self, group, 0, 1, "crop_scale", above=True, pair=True)
        check_range(self, group, 0, math.inf, "crop_ratio", above=True, pair=True)
        check_range(self, group, 0, 1, "flip", "color_jitter", "brightness", "contrast", "saturation")
        check_range(self, group, 0, 0.5, "hue")
        check_range(self, group, 0, math.inf, "blur_sigma", pair=True)
        check_range(self, group, 0, 1, "gray", "blur", "solarize")

    @cached_property
    def color_ranges(self) -> tuple[tuple[str, float, float], ...]:
        """The color operations, each with the least value of its factor and the width of its range."""
        around_1 = (("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation))
        ranges = [(name, 1 - value, 1 + value) for name, value in around_1] + [("hue", -self.hue, self.hue)]
        return tuple((name, low, high - low) for name, low, high in ranges)


@dataclass(frozen=True)
class EncoderSettings:
    """Shape of the encoder; the defaults are the paper's."""

    backbone: str = "resnet50"
    """A torchvision ResNet by name, or `timm:NAME` for a ResNet, ConvNeXt, vision transformer, ... of timm's."""
    hidden: int = 4096
    """Width of the hidden layer of projector and predictors; 0: no projector, as imported backbones have none."""
    dim: int = 256
    """Width of the projector's output; without a projector, that of the backbone."""
    init: Literal["paper", "torchvision"] = "paper"
    """Weights that an untrained ResNet starts with. "paper": convolutions Kaiming normal by fan-in, as published;
    "torchvision": as torchvision, or timm, makes it: by fan-out, in timm's with the last normalization of a residual
    branch at zero. Projector and predictors are Kaiming normal by fan-in either way."""


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """How an encoder is fed; the defaults are the paper's, and those of every encoder that is trained here."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from red, green and blue, as shares of 255; the defaults of mean and deviation are ImageNet's."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """What is left is divided by this."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How images and boxes are resized, antialiased either way."""
    crop: float = 224 / 256
    """Side of the square that is cut out of a whole image, as a share of that image after resizing; boxes are seen
    whole."""
    crop_mode: Literal["center", "squash", "border"] = "center"
    """What is resized to this square's size divided by `crop`: the shorter side; both sides; or the longer side, with
    the mean color around the image."""
    rounding: Literal["nearest", "down"] = "nearest"
    """How sides after resizing become whole pixels; "down" as torchvision and timm do it."""
    size: int | None = None
    """Side of what it sees, pixels; None: whatever is asked for."""

    def __post_init__(self):
        if len(self.mean) != 3 or len(self.std) != 3 or not min(self.std) > 0:
            raise OrlError(
                f"inputs.mean is {self.mean} and inputs.std {self.std}: they must be 3 numbers each, std > 0"
            )
        check_choice(self, "inputs", "interpolation", ("bilinear", "bicubic"))
        check_choice(self, "inputs", "crop_mode", ("center", "squash", "border"))
        check_choice(self, "inputs", "rounding", ("nearest", "down"))
        check_range(self, "inputs", 0, 1, "crop", above=True)
        check_positive(self, "inputs", "size")

    def side(self, wanted: int) -> int:
        """Side at which this encoder sees images where `wanted` pixels are asked for: its own, if it has one."""
        return self.size or wanted


Augment = Literal["pil", "cpu", "device"]
Optimizer = Literal["sgd", "adamw", "lars"]


COMPUTE = ("augment", "compile", "gradient_checkpointing")
"""Settings of stages 1 and 3 that change nothing beyond rounding: a run may go on with others."""

LATER = {
    "accumulate": 1,
    "index": "auto",
    "encoder": None,
    "encoder_size": None,
    "init": None,
    "optimizer": "sgd",
    "mask_outside": 0.0,
}
"""Settings that did not exist at first: with these values a stage is what it was without them, so older runs go on."""

MOST_ADAMW = 0.02
"""Highest `base_lr` that AdamW is let train with."""

EXACT_IMAGES = 1_000_000
"""Images up to which `stage2.index: auto` searches exactly."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What stages 1 and 3 have in common (method: stage 1)."""

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    """Shape of the networks."""
    init: str | None = None
    """Not in the paper: begin with the weights of an encoder of this shape: embedded, timm:NAME, another run's as
    RUN:stage3, a file, ...; docs/training.md lists what can be named. None: from scratch."""
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
    optimizer: Optimizer = "sgd"
    """"sgd" as in the paper; "adamw", for transformers; "lars", for large batches. The last two do not decay biases and
    normalization, and AdamW needs a far lower base_lr."""
    momentum: float = 0.9
    """Momentum of SGD and LARS; first beta of AdamW."""
    weight_decay: float = 1e-4
    """Weight decay, with SGD on all parameters."""
    warmup_epochs: float = 4.0
    """Epochs of linear warm-up from 1e-4 of the learning rate."""
    schedule: Literal["epoch", "step"] = "epoch"
    """Cosine of the learning rate. "epoch": over all epochs, one value an epoch, multiplied by the warm-up, as
    published; "step": one value a step, beginning after the warm-up."""
    drop_last: bool = False
    """Leave the last batch of an epoch out where it is incomplete; the paper keeps it."""
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
        """Optimizer steps in an epoch.

        Raises:
            OrlError: fewer images than a batch.
        """
        require_filled_batches(images, self)
        return images // self.batch_size if self.drop_last else -(-images // self.batch_size)

    def total_steps(self, images: int) -> int:
        """Optimizer steps in all."""
        return self.epochs * self.steps_per_epoch(images)

    def smaller_batch(self, images: int) -> str:
        """Options of a batch that so few images fill."""
        size, passes = max(2, images // 2), self.accumulate
        fewer = "" if size >= 2 * passes else f" --{self._stage}.accumulate 1"
        return f"--{self._stage}.batch_size {size if fewer else size - size % passes}{fewer}"

    @property
    def _stage(self) -> str:
        return type(self).__name__.removesuffix("Settings").lower()

    def __post_init__(self):
        check_positive(
            self, self._stage, "image_size", "epochs", "batch_size", "accumulate", "base_lr", "checkpoint_steps"
        )
        check_choice(self, self._stage, "augment", get_args(Augment))
        check_choice(self, self._stage, "optimizer", get_args(Optimizer))
        check_choice(self, self._stage, "schedule", ("epoch", "step"))
        if self.optimizer == "adamw" and self.base_lr > MOST_ADAMW:
            raise OrlError(
                f"{self._stage}.base_lr is {self.base_lr}, which is for SGD: AdamW wants one of about a thousandth, for"
                f" example --{self._stage}.base_lr 0.001 --{self._stage}.weight_decay 0.05"
            )
        if self.batch_size < 2:
            raise OrlError(f"{self._stage}.batch_size is 1: batch normalization needs at least 2 images")
        if self.batch_size % self.accumulate or self.batch_size < 2 * self.accumulate:
            raise OrlError(
                f"{self._stage}.accumulate is {self.accumulate}: it must divide the batch of {self.batch_size} into"
                " equal passes of at least 2 images"
            )
        check_range(self, self._stage, 0, math.inf, "knn_every", "keep_every")
        check_range(self, self._stage, 0, 1, "ema", "momentum", "weight_decay")
        check_range(self.encoder, f"{self._stage}.encoder", 0, math.inf, "hidden")
        check_range(self.encoder, f"{self._stage}.encoder", 1 if self.encoder.hidden else 0, math.inf, "dim")
        self.views.check(f"{self._stage}.views")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise OrlError(
                f"{self._stage}.warmup_epochs is {self.warmup_epochs}: it must be below the {self.epochs} epochs"
            )


@dataclass(frozen=True, kw_only=True)
class Stage1Settings(TrainSettings):
    """Stage 1: image-level pre-training with BYOL (paper section 3.1)."""


@dataclass(frozen=True, kw_only=True)
class Stage2Settings:
    """Stage 2: which regions of which images correspond (paper section 3.2)."""

    encoder: str | None = None
    """Another encoder in place of stage 1's: embedded, timm:NAME, torchvision:NAME[.WEIGHTS], another run's as
    RUN:stage1, a file of weights, ...; docs/training.md lists what can be named."""
    encoder_size: int | None = None
    """Side that another encoder sees image crops and regions at, pixels; None: the one it was trained for. Where
    nothing says which, and for stage 1's own, it is image_size."""
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
    mask_outside: float = 0.0
    """Not in the paper: how far what lies outside a box's mask is faded before the box is embedded, 0 (not at all) to 1
    (a single color); only for imported boxes that have masks."""
    batch_size: int = 256
    """Crops per forward pass."""
    shard_images: int = 512
    """Images per part: what a killed job loses at most."""

    def __post_init__(self):
        check_positive(self, "stage2", "image_size", "neighbors", "max_boxes", "batch_size", "shard_images")
        check_positive(self, "stage2", "max_side", "encoder_size")
        if self.encoder_size is not None and self.encoder is None:
            raise OrlError(
                f"stage2.encoder_size is {self.encoder_size}, which is for another encoder than stage 1's: name one"
                " with --stage2.encoder, or set --stage2.image_size"
            )
        check_range(self, "stage2", 0, 1, "mask_outside", "max_iou")
        check_range(self, "stage2", 0, 1, "pair_ratio", above=True)
        check_range(self, "stage2", 0, math.inf, "min_side")
        check_range(self, "stage2", -1, 1, "min_similarity", "max_image_similarity")
        if not self.max_aspect >= 1:
            raise OrlError(f"stage2.max_aspect is {self.max_aspect}: it must be at least 1, the aspect of a square")

    def searches_lists(self, images: int) -> bool:
        """Whether neighbors of so many images are searched by an inverted file."""
        return self.index == "ivf" or (self.index == "auto" and images > EXACT_IMAGES)


@dataclass(frozen=True, kw_only=True)
class Stage3Settings(TrainSettings):
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
    without: str | None = None
    """Not in the paper: a selection (`orl select RUN`) whose boxes are left out, and pairs with one of them."""

    def __post_init__(self):
        super().__post_init__()
        check_positive(self, "stage3", "patch_size")
        check_range(self, "stage3", 0, math.inf, "image_weight", "intra_weight", "inter_weight")


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """How the steps are judged on annotated images; labels are used for nothing else."""

    max_crops: int = 6000
    """Object crops used at most, drawn at random."""
    test_share: float = 0.3
    """Share of the images that the probes are tested on."""

    def __post_init__(self):
        check_positive(self, "evaluate", "max_crops")
        if not 0 <= self.test_share < 1:
            raise OrlError(f"evaluate.test_share is {self.test_share}: it must be at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run."""

    seed: int = 0
    """Everything random in the run derives from it."""
    precision: Literal["auto", "paper", "bf16", "fp16", "fp32"] = "auto"
    """Number format of the forward passes. "auto": bf16 where the device has it, else fp16 on a GPU and fp32 on a
    processor; "paper": training in fp16 with loss scaling on a GPU, stage 2 in fp32."""
    workers: int | None = None
    """Processes that prepare images, for each device; default: by the cores that are free (docs/training.md)."""
    devices: int | Literal["auto"] = "auto"
    """Devices (GPUs, or processes without one) to train on."""
    stage1: Stage1Settings = field(default_factory=Stage1Settings)
    """Image-level pre-training."""
    stage2: Stage2Settings = field(default_factory=Stage2Settings)
    """Correspondence discovery."""
    stage3: Stage3Settings = field(default_factory=Stage3Settings)
    """Object-level pre-training."""
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    """Judging."""

    def __post_init__(self):
        if not 0 <= self.seed < 2**63:
            raise OrlError(f"seed is {self.seed}: it must be 0 or more, and at most {2**63 - 1}")
        if self.workers is not None and self.workers < 0:
            raise OrlError(f"workers is {self.workers}: it must be 0 or more; 0 does without further processes")
        if self.devices != "auto" and self.devices < 1:
            raise OrlError(f"devices is {self.devices}: it must be at least 1, or auto")

    @property
    def region_dtype(self) -> Literal["float16", "float32"]:
        """How embeddings of regions are stored."""
        return "float32" if self.precision == "paper" else "float16"

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, as YAML and JSON hold them (tuples as lists)."""
        return listed(dataclasses.asdict(self))

    def stage_dict(self, stage: str) -> dict[str, Any]:
        """What a stage's result depends on; how it is spread over workers and devices is not part of that."""
        left_out = (*COMPUTE, "knn_every", "keep_every")  # the last two look on and change nothing
        settings = {
            name: value
            for name, value in self.as_dict()[stage].items()
            if name not in left_out and not (name in LATER and value == LATER[name])
        }
        return {"precision": self.precision, "seed": self.seed, **settings}

    def compute_dict(self, stage: str) -> dict[str, Any]:
        """How a stage is computed, where there is a choice: part of its record, though not of what it depends on."""
        return {name: value for name, value in self.as_dict()[stage].items() if name in COMPUTE}

    def differences(self) -> dict[str, tuple[Any, Any]]:
        """What is not as published: dotted key -> (published value, this config's)."""
        paper, own = as_published().as_dict(), self.as_dict()
        return {key: (at_key(paper, key), at_key(own, key)) for key in differing_keys(paper, own)}


def as_published() -> Config:
    """Everything as the authors did it, and slowly where the defaults are faster but for rounding: coco_paper.yaml."""
    return Config(
        precision="paper",
        stage1=Stage1Settings(augment="pil"),
        stage2=Stage2Settings(proposals="opencv"),
        stage3=Stage3Settings(augment="pil"),
    )


def require_filled_batches(images: int, *stages: TrainSettings) -> None:
    """Raise an `OrlError` where so many images do not fill a stage's batch, with the options for all such stages."""
    large = [stage for stage in stages if images < stage.batch_size]
    if large:
        sizes = " or ".join(dict.fromkeys(str(stage.batch_size) for stage in large))
        smaller = f", or a smaller batch, for example {' '.join(stage.smaller_batch(images) for stage in large)}"
        raise OrlError(f"{images} images do not fill a batch of {sizes}: add images{smaller if images > 1 else ''}")
