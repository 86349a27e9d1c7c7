"""Mask R-CNN with a feature pyramid on an encoder's backbone (torchvision's), and its training with Lightning."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import lightning
import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.runs.samples import Index
from orl_explore.views import tensors
from training.transfer.precise_bn import reestimate

SCHEDULES: Final = {"1x": 90_000, "2x": 180_000}


@dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """How Mask R-CNN is fine-tuned; the defaults are those of COCO's 1x."""

    schedule: Literal["1x", "2x"] = "1x"
    """90,000 or 180,000 steps."""
    iterations: int | None = None
    """Not in the protocol: another number of steps than the schedule's."""
    head: Literal["4conv1fc", "fc"] = "4conv1fc"
    """Box head: four convolutions and one linear layer, or two linear layers, which Detectron2 has where nothing is
    said."""
    precise_bn: int = 200
    """Batches that statistics of batch normalization are estimated on before the test; 0: they stay as training left
    them."""
    batch_size: int = 16
    """Images per optimizer step, over all devices."""
    accumulate: int = 1
    """Not in the protocol: forward passes that a step is split into, to fit the memory."""
    lr: float = 0.02
    """Learning rate, for a batch of 16; for another batch, change it in proportion."""
    warmup: int = 1000
    """Steps of linear warm-up from 1e-3 of the learning rate; it falls to a tenth after 2/3 and 8/9 of all steps."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 1e-4
    """Weight decay of all but batch normalization."""
    train_sizes: tuple[int, ...] = (640, 672, 704, 736, 768, 800)
    """Shorter side that images are resized to, drawn for each; tests use the last one. Pixels."""
    max_size: int = 1333
    """Longer side at most, pixels."""
    anchors: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Side of the anchors on each of the five levels, pixels."""
    channels: int = 256
    """Width of the pyramid and of both heads' convolutions; the box head's linear layers are four times as wide."""
    regions: int = 512
    """Regions of an image that the heads' losses are made of."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "fp32"
    """Number format of the forward passes."""
    checkpoint_steps: int = 1000
    """Steps between checkpoints: what a killed job loses at most."""

    def __post_init__(self):
        for name in ("batch_size", "accumulate", "lr", "max_size", "channels", "regions", "checkpoint_steps"):
            if not getattr(self, name) > 0:
                raise OrlError(f"detection.{name} is {getattr(self, name)}: it must be above 0")
        if self.precise_bn < 0:
            raise OrlError(f"detection.precise_bn is {self.precise_bn}: it must be 0 or more")
        if self.iterations is not None and self.iterations < 1:
            raise OrlError(f"detection.iterations is {self.iterations}: it must be 1 or more")
        if self.batch_size % self.accumulate:
            raise OrlError(f"detection.accumulate is {self.accumulate}: it must divide the batch of {self.batch_size}")
        if len(self.anchors) != 5 or min(self.anchors) < 1:
            raise OrlError(f"detection.anchors is {list(self.anchors)}: it needs a side for each of the five levels")
        if not self.train_sizes or not 32 <= min(self.train_sizes) <= max(self.train_sizes) <= self.max_size:
            raise OrlError(
                f"detection.train_sizes is {list(self.train_sizes)}: give sides of 32 px or more, and at most"
                f" max_size, {self.max_size}"
            )

    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.iterations or SCHEDULES[self.schedule]

    def learning_rate_factor(self, step: int) -> float:
        """Share of the learning rate that a step (from 0) uses."""
        warm = 1.0 if step >= self.warmup else 1e-3 + (1 - 1e-3) * step / self.warmup
        steps = self.steps()
        return warm * 0.1 ** ((3 * step >= 2 * steps) + (9 * step >= 8 * steps))


STAGES = {"layer1": "0", "layer2": "1", "layer3": "2", "layer4": "3"}
"""Stages of a ResNet -> levels of the pyramid, strides 4 to 32; a fifth is pooled from the last."""


def mask_rcnn(encoder: Encoder, classes: int, settings: DetectionSettings, *, seed: int) -> MaskRCNN:
    """Put a pyramid and Mask R-CNN's heads on a copy of an encoder's backbone; every layer is trained.

    Batch normalization, which Lightning synchronizes over devices, follows the convolutions of the pyramid and of both
    heads, too.

    Args:
        encoder: its backbone is a ResNet with the stages layer1 .. layer4.
        classes: categories, background not counted.
        settings: of the protocol.
        seed: of the new layers.

    Raises:
        OrlError: the backbone has no such stages.
    """
    body = copy.deepcopy(encoder.backbone).cpu()
    if missing := set(STAGES) - {name for name, _ in body.named_children()}:
        raise OrlError(
            f"{encoder.settings.backbone} has no {sorted(missing)[0]}: detection needs a ResNet with the stages layer1"
            " to layer4, as torchvision's and timm's have"
        )
    with torch.inference_mode():
        maps = IntermediateLayerGetter(body.eval(), STAGES)(torch.zeros(1, 3, 64, 64))
    body.train().requires_grad_(True)
    width = settings.channels
    anchors = AnchorGenerator(tuple((size,) for size in settings.anchors), ((0.5, 1.0, 2.0),) * len(settings.anchors))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskRCNN(
            BackboneWithFPN(
                body, STAGES, [level.shape[1] for level in maps.values()], width, norm_layer=nn.BatchNorm2d
            ),
            min_size=settings.train_sizes,  # the last one in tests
            max_size=settings.max_size,
            image_mean=encoder.inputs.mean,
            image_std=encoder.inputs.std,
            rpn_anchor_generator=anchors,
            rpn_head=_in_fp32(RPNHead(width, anchors.num_anchors_per_location()[0])),
            rpn_post_nms_top_n_train=1000,
            box_head=FastRCNNConvFCHead((width, 7, 7), [width] * 4, [4 * width], norm_layer=nn.BatchNorm2d)
            if settings.head == "4conv1fc"
            else TwoMLPHead(7 * 7 * width, 4 * width),
            box_predictor=_in_fp32(FastRCNNPredictor(4 * width, classes + 1)),
            box_batch_size_per_image=settings.regions,
            mask_head=MaskRCNNHeads(width, [width] * 4, 1, norm_layer=nn.BatchNorm2d),
            mask_predictor=_in_fp32(MaskRCNNPredictor(width, width, classes + 1)),
        )


def _in_fp32(head: nn.Module) -> nn.Module:
    """Let a head put out fp32 in mixed precision, too: torchvision gives boxes its type, and bf16 would round them."""
    head.register_forward_hook(lambda head, inputs, output: _to_fp32(output))
    return head


def _to_fp32(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float()
    return type(output)(map(_to_fp32, output))


# ---- data ------------------------------------------------------------------------------------------------------------


class DetectionImages(Dataset):
    """An image, uint8 (3, H, W), and its objects: `boxes` (n, 4) xyxy, `labels` (n,) from 1, `masks` (n, H, W) uint8.

    Args:
        images: the images.
        label_of: category -> label.
        seed: of the mirroring, which follows (seed, epoch, image_id); None: never mirrored.
    """

    def __init__(self, images: ImageSet, label_of: Mapping[str, int], seed: int | None):
        self.images, self.seed = images, seed
        self.image_ids = images.table["image_id"].to_numpy()
        objects = images.objects
        row_of = dict(zip(self.image_ids.tolist(), range(len(images)), strict=True))
        rows = objects["image_id"].map(row_of).to_numpy(np.int64)
        order = np.argsort(rows, kind="stable")
        self.starts = np.searchsorted(rows[order], np.arange(len(images) + 1))
        self.boxes = objects[["x", "y", "w", "h"]].to_numpy(np.float32)[order]
        self.labels = objects["category"].map(label_of).to_numpy(np.int64)[order]
        self.masks = objects["segmentation"].to_numpy(object)[order]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Index) -> tuple[Tensor, dict[str, Any]]:
        epoch, row = index
        image = tensors.to_tensor(self.images.load(row))  # (3, H, W)
        height, width = image.shape[1:]
        own = slice(self.starts[row], self.starts[row + 1])
        x, y, w, h = torch.from_numpy(self.boxes[own]).unbind(1)
        masks = torch.zeros(len(x), height, width, dtype=torch.uint8)
        for number, counts in enumerate(self.masks[own]):
            masks[number] = torch.from_numpy(coco_mask.decode({"size": [height, width], "counts": counts}))
        image_id = int(self.image_ids[row])
        if self.seed is not None and np.random.default_rng([self.seed, epoch, image_id]).random() < 0.5:
            image, masks, x = image.flip(2), masks.flip(2), width - x - w
        boxes = torch.stack([x, y, x + w, y + h], dim=1)  # (n, 4)
        labels = torch.from_numpy(self.labels[own])
        return image, {"boxes": boxes, "labels": labels, "masks": masks, "image_id": image_id}


def collate(batch: list[tuple[Tensor, dict[str, Any]]]) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """Images have sizes of their own: lists instead of a stack."""
    return [image for image, _ in batch], [target for _, target in batch]


# ---- training --------------------------------------------------------------------------------------------------------


class DetectionTraining(lightning.LightningModule):
    """Optimizer steps of Mask R-CNN, and its detections on test images.

    Args:
        model: what is trained.
        settings: of the protocol.
        seed: of what is random within a step: the images' scale and the anchors and regions that losses are made of.

    Attributes:
        found: detections on the test images that this process has seen.
        precise: batches to estimate the statistics of batch normalization on before the test.
    """

    precise: Iterable[tuple[list[Tensor], list[dict[str, Any]]]] = ()

    def __init__(self, model: MaskRCNN, settings: DetectionSettings, *, seed: int):
        super().__init__()
        self.model, self.config, self.seed = model, settings, seed
        self.total_steps = settings.steps()
        self.found: list[dict[str, Any]] = []

    def ends_step(self, batch_idx: int) -> bool:
        """Whether this forward pass was the last one of an optimizer step."""
        return (batch_idx + 1) % self.config.accumulate == 0

    def training_step(self, batch: tuple[list[Tensor], list[dict[str, Any]]], batch_idx: int) -> Tensor:
        """Sum of the five losses of a batch."""
        images, targets = batch
        with self._drawing(self.global_step, batch_idx % self.config.accumulate):
            losses = self.model([image / 255 for image in images], targets)
        loss = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(loss):
            named = ", ".join(f"{name} {value.item():.3g}" for name, value in losses.items())
            raise OrlError(
                f"the loss became {loss.item()} at step {self.global_step} ({named}): try a lower --detection.lr, a"
                " longer --detection.warmup, or --detection.precision fp32"
            )
        return loss

    @contextmanager
    def _drawing(self, step: int, part: int) -> Iterator[None]:
        """Seed torchvision's draws by (seed, step, part, rank), so that a resumed training is the same."""
        entropy = [self.seed, step, part, self.global_rank]
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))
            yield

    def on_test_start(self) -> None:
        """Estimate the statistics of batch normalization anew, synchronized over devices as in training."""
        if self.trainer.world_size > 1 and self.device.type == "cuda":  # Lightning does so for training alone
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        reestimate(
            self.model,
            map(self._unlearned, range(self.total_steps, self.total_steps + self.config.precise_bn), self.precise),
        )

    def _unlearned(self, step: int, batch: tuple[list[Tensor], list[dict[str, Any]]]) -> Callable[[], object]:
        """A forward pass as in training, of which nothing is learned."""

        def forward() -> None:
            images, targets = self.trainer.strategy.batch_to_device(batch)
            with self._drawing(step, 0), self.trainer.precision_plugin.forward_context():
                self.model([image / 255 for image in images], targets)

        return forward

    def test_step(self, batch: tuple[list[Tensor], list[dict[str, Any]]], batch_idx: int) -> None:
        """Keep what is found in a batch."""
        images, targets = batch
        for target, found in zip(targets, self.model([image / 255 for image in images]), strict=True):
            x0, y0, x1, y1 = found["boxes"].float().cpu().unbind(1)
            boxes = torch.stack([x0, y0, x1 - x0, y1 - y0], dim=1).tolist()
            solid = (found["masks"][:, 0] > 0.5).byte().cpu().numpy()  # (n, H, W)
            rles = coco_mask.encode(np.asfortranarray(solid.transpose(1, 2, 0)))
            scores, labels = found["scores"].tolist(), found["labels"].tolist()
            for box, score, label, rle in zip(boxes, scores, labels, rles, strict=True):
                self.found.append(
                    {
                        "image_id": target["image_id"],
                        "category_id": label,
                        "score": score,
                        "bbox": box,
                        "segmentation": rle,
                    }
                )

    def configure_optimizers(self) -> Any:
        """SGD with warm-up and two steps; parameters of batch normalization do not decay."""
        config = self.config
        norms = [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        spared = {id(parameter) for module in norms for parameter in module.parameters()}
        groups = [
            {"params": [p for p in self.parameters() if id(p) not in spared], "weight_decay": config.weight_decay},
            {"params": [p for p in self.parameters() if id(p) in spared], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, config.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
