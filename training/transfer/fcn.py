"""A fully convolutional network (FCN) on an encoder's dilated ResNet, and its training with Lightning."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.label_map import IGNORED
from orl_explore.views.tensors import normalize
from training.transfer import miou


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the data set, and the table that a figure shall stand in, decide.

    Attributes:
        iterations, lr, weight_decay: of SGD with a batch of 16.
        schedule: step: a tenth after 70 % and after 90 % of all steps; poly: a falling power of 0.9, down to 1e-4.
        size: shorter and longer side that images are resized to fit into, pixels.
        crop: side of the training crops, pixels.
        stride: of the backbone's last map; the stages after it are dilated.
        channels, dilation: of the head's two 3 x 3 convolutions.
        concat: a third one sees the backbone's map again.
        dropout: before the classifier.
        auxiliary: weight of the loss of a small head on the third stage; 0: there is none.
        colors: brightness, contrast, saturation and hue are distorted, and no class fills more than 75 % of a crop.
        align_corners: when maps are enlarged.
        slide: tests go over the image in windows of the crop's size with this stride, pixels; 0: all at once.
    """

    iterations: int
    lr: float
    weight_decay: float
    schedule: Literal["step", "poly"]
    size: tuple[int, int]
    crop: int
    stride: Literal[8, 16]
    channels: int
    dilation: int
    concat: bool
    dropout: float
    auxiliary: float
    colors: bool
    align_corners: bool
    slide: int


MOCO: Final = Recipe(
    iterations=30_000,
    lr=0.003,
    weight_decay=1e-4,
    schedule="step",
    size=(513, 2049),
    crop=513,
    stride=16,
    channels=256,
    dilation=6,
    concat=False,
    dropout=0.0,
    auxiliary=0.0,
    colors=False,
    align_corners=True,
    slide=0,
)
FCN_D8: Final = Recipe(
    iterations=20_000,
    lr=0.01,
    weight_decay=5e-4,
    schedule="poly",
    size=(512, 2048),
    crop=512,
    stride=8,
    channels=512,
    dilation=1,
    concat=True,
    dropout=0.1,
    auxiliary=0.4,
    colors=True,
    align_corners=False,
    slide=0,
)
CITIES: Final[dict[str, Any]] = {"size": (1025, 2049), "crop": 769, "align_corners": True, "slide": 513}

RECIPES: Final = {
    "voc12": MOCO,
    "cityscapes": dataclasses.replace(MOCO, iterations=90_000, lr=0.01, **CITIES),
    "voc12-d8": FCN_D8,
    "cityscapes-d8": dataclasses.replace(FCN_D8, iterations=40_000, **CITIES),
    "ade20k-d8": dataclasses.replace(FCN_D8, iterations=80_000),
}
"""Without a suffix MoCo's (He et al. 2020, appendix), in the numbers of SlotCon's configs for MMSegmentation; `-d8`
MMSegmentation's FCN-D8, which DenseCL (VOC, Cityscapes) and SlotCon (ADE20K) use."""


@dataclass(frozen=True, kw_only=True)
class SegmentationSettings:
    """How an FCN is trained."""

    preset: Literal["voc12", "cityscapes", "voc12-d8", "cityscapes-d8", "ade20k-d8"] = "voc12"
    """Whose head, schedule, sizes and augmentation are used; None elsewhere stands for the preset's value."""
    backbone: Literal["fine-tuned", "frozen"] = "fine-tuned"
    """Whether the backbone learns, too, or is used as it is."""
    iterations: int | None = None
    """Optimizer steps."""
    batch_size: int = 16
    """Images per optimizer step, over all devices."""
    accumulate: int = 1
    """Not in the protocol: forward passes that a step is split into, to fit the memory."""
    lr: float | None = None
    """Learning rate at the start."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float | None = None
    """Weight decay of all weights."""
    size: tuple[int, int] | None = None
    """Shorter and longer side that images are resized to fit into, keeping their shape; in training times 0.5 to 2."""
    crop: int | None = None
    """Side of the training crops, pixels."""
    channels: int | None = None
    """Width of the head."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "fp32"
    """Number format of the forward passes."""
    checkpoint_steps: int = 1000
    """Steps between checkpoints: what a killed job loses at most."""

    def __post_init__(self):
        for name in ("iterations", "batch_size", "accumulate", "lr", "crop", "channels", "checkpoint_steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OrlError(f"segmentation.{name} is {value}: it must be above 0")
        if self.batch_size % self.accumulate or self.batch_size // self.accumulate < 2:
            raise OrlError(
                f"segmentation.batch_size is {self.batch_size}: each of {self.accumulate} passes needs equally many"
                " images, and at least 2"
            )
        if self.size is not None and not 0 < self.size[0] <= self.size[1]:
            raise OrlError(f"segmentation.size is {list(self.size)}: give the shorter side, then the longer one")

    def recipe(self) -> Recipe:
        """The preset's, with what was given in its place."""
        given = {field.name: getattr(self, field.name, None) for field in dataclasses.fields(Recipe)}
        return dataclasses.replace(RECIPES[self.preset], **{k: v for k, v in given.items() if v is not None})

    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.recipe().iterations

    def learning_rate_factor(self, step: int) -> float:
        """Share of the learning rate that a step (from 0) uses."""
        recipe = self.recipe()
        if recipe.schedule == "step":
            return 0.1 ** ((10 * step >= 7 * recipe.iterations) + (10 * step >= 9 * recipe.iterations))
        least = 1e-4 / recipe.lr
        return (1 - least) * max(0.0, 1 - step / recipe.iterations) ** 0.9 + least


# ---- the network -----------------------------------------------------------------------------------------------------


class Fcn(nn.Module):
    """A dilated backbone and a head that gives every cell of its map scores of the classes.

    Args:
        encoder: its backbone is a ResNet with the stages layer1 .. layer4, of which a copy is made.
        classes: how many.
        recipe: of the head.
        frozen: the backbone stays as it is, in eval mode.
        seed: of the head's weights.

    Raises:
        OrlError: the backbone has no such stages, or cannot be dilated.
    """

    def __init__(self, encoder: Encoder, classes: int, recipe: Recipe, *, frozen: bool, seed: int):
        super().__init__()
        self.inputs, self.recipe, self.frozen, self.classes = encoder.inputs, recipe, frozen, classes
        body = copy.deepcopy(encoder.backbone).cpu().eval()
        name = encoder.settings.backbone
        if missing := {"layer3", "layer4"} - {child for child, _ in body.named_children()}:
            raise OrlError(
                f"{name} has no {sorted(missing)[0]}: segmentation needs a ResNet with the stages layer1 to layer4, as"
                " torchvision's and timm's have; --protocol in-context takes any network"
            )
        dilate(body, recipe.stride)
        self.body = IntermediateLayerGetter(body, {"layer3": "third", "layer4": "last"})
        with torch.inference_mode():
            maps = self.body(torch.zeros(1, 3, 64, 64))
        if maps["last"].shape[2] != 64 // recipe.stride:
            raise OrlError(f"{name} cannot be dilated to a stride of {recipe.stride}: take a ResNet of torchvision's")
        body.requires_grad_(not frozen)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = Head(maps["last"].shape[1], classes, recipe)
            self.auxiliary = None
            if recipe.auxiliary:
                small = dataclasses.replace(recipe, channels=max(1, recipe.channels // 2), concat=False, dilation=1)
                self.auxiliary = Head(maps["third"].shape[1], classes, small, convolutions=1)
        self.train()

    def train(self, mode: bool = True) -> Fcn:
        """Set the mode; a frozen backbone stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.body.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores (B, C, H, W) of normalized images (B, 3, H, W), and those of the auxiliary head in training."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.body(images)
        size = images.shape[2:]
        auxiliary = self._enlarged(self.auxiliary(maps["third"]), size) if self.auxiliary and self.training else None
        return self._enlarged(self.head(maps["last"]), size), auxiliary

    def _enlarged(self, scores: Tensor, size: Any) -> Tensor:
        return nn.functional.interpolate(
            scores.float(), tuple(size), mode="bilinear", align_corners=self.recipe.align_corners
        )

    def segment(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Classes (H, W), int64, of one normalized image (1, 3, h, w) that had this height and width before."""
        scores = self._slid(image) if self.recipe.slide else self(image)[0]
        return miou.as_labels(scores[0], size, align_corners=self.recipe.align_corners)

    def _slid(self, image: Tensor) -> Tensor:
        """Mean scores of overlapping windows, (1, C, h, w)."""
        crop, stride = self.recipe.crop, self.recipe.slide
        height, width = image.shape[2:]
        total = image.new_zeros(1, self.classes, height, width)
        seen = image.new_zeros(1, 1, height, width)
        for bottom in window_ends(height, crop, stride):
            for right in window_ends(width, crop, stride):
                place = (
                    slice(None),
                    slice(None),
                    slice(max(0, bottom - crop), bottom),
                    slice(max(0, right - crop), right),
                )
                total[place] += self(image[place])[0]
                seen[place] += 1
        return total / seen


def window_ends(length: int, crop: int, stride: int) -> list[int]:
    """Where windows of a size end that lie a stride apart and cover a length; the last one ends with it."""
    return [min(start + crop, length) for start in range(0, max(length - crop, 0) + stride, stride)]


class Head(nn.Sequential):
    """3 x 3 convolutions with batch normalization, and a classifier of each cell."""

    def __init__(self, width: int, classes: int, recipe: Recipe, *, convolutions: int = 2):
        channels, rate = recipe.channels, recipe.dilation
        widths = [width, *[channels] * (convolutions - 1)]
        deep = nn.Sequential(*(_convolution(each, channels, rate) for each in widths))
        classifier = nn.Conv2d(channels, classes, 1)
        nn.init.normal_(classifier.weight, std=0.01)
        assert classifier.bias is not None
        nn.init.zeros_(classifier.bias)
        super().__init__(
            _Seen(deep, _convolution(width + channels, channels, 1)) if recipe.concat else deep,
            nn.Dropout2d(recipe.dropout),
            classifier,
        )


class _Seen(nn.Module):
    """Convolutions, and one that sees their input again."""

    def __init__(self, deep: nn.Module, joined: nn.Module):
        super().__init__()
        self.deep, self.joined = deep, joined

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(torch.cat([x, self.deep(x)], dim=1))


def _convolution(width: int, channels: int, rate: int) -> nn.Sequential:
    layer = nn.Conv2d(width, channels, 3, padding=rate, dilation=rate, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def dilate(resnet: nn.Module, stride: int) -> None:
    """Let the last stages keep the size of their map, down to this stride of it: 3 x 3 kernels are spread instead.

    The first kernel of a stage, which had a stride, still sees the spacing of the stage before.
    """
    spacing = 1
    for name in ("layer3", "layer4") if stride == 8 else ("layer4",):
        stage = resnet.get_submodule(name)
        before, spacing = spacing, 2 * spacing
        for layer in list(stage.modules()):
            if isinstance(layer, nn.Conv2d):
                rate = before if layer.stride == (2, 2) else spacing
                layer.stride = (1, 1)
                if layer.kernel_size == (3, 3):
                    layer.dilation = layer.padding = (rate, rate)
            for child, pool in list(layer.named_children()):  # beside the branch, in some ResNets
                if isinstance(pool, nn.AvgPool2d) and pool.kernel_size == pool.stride == 2:
                    setattr(layer, child, SpreadAverage(before))


class SpreadAverage(nn.Module):
    """Mean of each cell with those to its right, below and between, this far away; maps keep their size."""

    def __init__(self, spacing: int):
        super().__init__()
        self.spacing = spacing

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same; beyond the edge the last cells go on."""
        s = self.spacing
        wide = nn.functional.pad(x, (0, s, 0, s), mode="replicate")
        return (wide[..., :-s, :-s] + wide[..., s:, :-s] + wide[..., :-s, s:] + wide[..., s:, s:]) / 4


# ---- training --------------------------------------------------------------------------------------------------------


class SegmentationTraining(lightning.LightningModule):
    """Optimizer steps of an FCN, and what it says of test images.

    Args:
        model: what is trained.
        settings: of the protocol.
        seed: of dropout.

    Attributes:
        found: row and `miou.Counted` of the test images that this process has seen.
    """

    def __init__(self, model: Fcn, settings: SegmentationSettings, *, seed: int):
        super().__init__()
        self.model, self.config, self.seed = model, settings, seed
        self.total_steps = settings.steps()
        self.found: list[tuple[int, miou.Counted]] = []

    def ends_step(self, batch_idx: int) -> bool:
        """Whether this forward pass was the last one of an optimizer step."""
        return (batch_idx + 1) % self.config.accumulate == 0

    def training_step(self, batch: tuple[Tensor, Tensor, list[int]], batch_idx: int) -> Tensor:
        """Cross entropy over all pixels; ignored ones add 0 and count."""
        images, labels, _ = batch
        with self._drawing(batch_idx % self.config.accumulate):
            scores, auxiliary = self.model(normalize(images, self.model.inputs))
        loss = pixel_loss(scores, labels)
        if auxiliary is not None:
            loss = loss + self.model.recipe.auxiliary * pixel_loss(auxiliary, labels)
        if not torch.isfinite(loss):
            raise OrlError(f"the loss became {loss.item()} at step {self.global_step}: lower --segmentation.lr")
        return loss

    @contextmanager
    def _drawing(self, part: int) -> Iterator[None]:
        """Seed dropout by (seed, step, part, rank), so that a resumed training is the same."""
        entropy = [self.seed, self.global_step, part, self.global_rank]
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))
            yield

    def test_step(self, batch: tuple[Tensor, Tensor, list[int]], batch_idx: int) -> None:
        """Compare what is said of an image with its labels."""
        image, (labels,), (row,) = batch
        predicted = self.model.segment(normalize(image, self.model.inputs), (labels.shape[0], labels.shape[1]))
        self.found.append((row, miou.count(predicted, labels, self.model.classes)))

    def configure_optimizers(self) -> Any:
        """SGD on everything that learns."""
        recipe = self.config.recipe()
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(
            learning, lr=recipe.lr, momentum=self.config.momentum, weight_decay=recipe.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.config.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def pixel_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy (B, C, H, W) against (B, H, W), divided by the number of all pixels, as MMSegmentation does."""
    return nn.functional.cross_entropy(scores, labels, ignore_index=IGNORED, reduction="none").mean()
