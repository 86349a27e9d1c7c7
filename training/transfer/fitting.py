"""Training with labels, on any number of devices: what linear, semi-supervised and supervised training share."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import BatchSampler, Dataset, Sampler, default_collate

from orl_explore.errors import OrlError
from orl_explore.judging.intervals import Scored
from orl_explore.runs.samples import Index, StepSampler
from orl_explore.settings import InputSettings, ViewSettings
from orl_explore.views import cropping, parameters, pillow, tensors
from orl_explore.views.loading import Batches
from orl_explore.views.tensors import IMAGENET, normalize
from training.callbacks import Checkpoints
from training.console import progress_bar
from training.machine import check_batch, is_main_process
from training.trainer import make_trainer, quiet_lightning, resume_training
from training.transfer.setup import Setup

CROP_AND_FLIP = ViewSettings(color_jitter=0.0, gray=0.0, blur=(0.0, 0.0), solarize=(0.0, 0.0))
"""The augmentation of supervised training on ImageNet: a random crop of 8% to 100% of the area, flipped or not."""

COLORS_TOO = dataclasses.replace(CROP_AND_FLIP, color_jitter=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0)
"""The same, with brightness, contrast and saturation of every view drawn from 1 -+ 0.4."""

COLOR_VARIANCES = np.array([0.2175, 0.0188, 0.0045])
COLOR_DIRECTIONS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]],
)
"""Principal components of ImageNet's colors, RGB from 0 to 1: a component a column (Krizhevsky et al. 2012)."""


class LabeledViews(Dataset):
    """Item (epoch, row): a random view of an image, decided by (seed, epoch, row); item row: its center crop.

    Args:
        load: gives the image of a row.
        labels: (N,) class of each row.
        size: side of the view, pixels.
        seed: of the random views.
        inputs: how the encoder resizes images; of random views, only their interpolation is its own.
        augment: how views are drawn.
        color_noise: standard deviation of the PCA color noise, in shares of the components' variances; 0: none. It
            comes as `shift`, (3,) to be added to a view in 0..1, as it may leave that range.
    """

    def __init__(
        self,
        load: Callable[[int], Image.Image],
        labels: NDArray[np.int64],
        *,
        size: int,
        seed: int,
        inputs: InputSettings = IMAGENET,
        augment: ViewSettings = CROP_AND_FLIP,
        color_noise: float = 0.0,
    ):
        self.load, self.labels, self.size, self.seed, self.augment = load, labels, size, seed, augment
        self.inputs, self.color_noise = inputs, color_noise

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Index | int) -> dict[str, Any]:
        shift: NDArray[np.float64] = np.zeros(3)
        if isinstance(index, tuple):
            epoch, row = index
            image = self.load(row)
            rng = np.random.default_rng([self.seed, epoch, row])
            view = parameters.sample_view(rng, self.augment, view=0, image_size=image.size)
            image = pillow.render_view(image, view, self.size, self.inputs.interpolation)
            if self.color_noise:
                shift = color_shift(rng, self.color_noise)
        else:
            row = index
            image = cropping.center_view(self.load(row), self.size, self.inputs)
        return {
            "image": tensors.to_tensor(image),
            "shift": torch.from_numpy(shift.astype(np.float32)),
            "label": int(self.labels[row]),
        }


def color_shift(rng: np.random.Generator, deviation: float) -> NDArray[np.float64]:
    """Draw what PCA color noise adds to a whole view, RGB from 0 to 1: (3,)."""
    return COLOR_DIRECTIONS @ (rng.normal(0.0, deviation, 3) * COLOR_VARIANCES)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier says of test images.

    Attributes:
        places: (N,) at which place the class of each image is: 0 is the best one; 5 stands for all from there on.
    """

    places: NDArray[np.uint8]

    @property
    def top1(self) -> float:
        """Share of images whose class is the best one."""
        return float((self.places == 0).mean())

    @property
    def top5(self) -> float:
        """Share of images whose class is among the best five."""
        return float((self.places < 5).mean())

    @property
    def items(self) -> Scored:
        """Of `top1`, for its interval."""
        return Scored.of(self.places == 0)


class EachOnce(Sampler[int]):
    """Every world-th row from `rank` on: together the processes see every row once, none twice."""

    def __init__(self, count: int, *, rank: int, world: int):
        self.rows = range(rank, count, world)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)


class Heads(lightning.LightningModule):
    """SGD on the summed cross entropy of one or several classifiers.

    Args:
        network: normalized images (B, 3, S, S) -> logits (B, C) by the name of the classifier; its attribute `inputs`
            says how images are normalized.
        groups: parameters and learning rates, as torch's optimizers take them.
        factor: epoch, with a fraction -> what learning rates are multiplied by.
        steps_per_epoch: optimizer steps.
        epochs: passes.
        sgd: further arguments of SGD.
    """

    def __init__(
        self,
        network: Any,
        *,
        groups: Sequence[Mapping[str, Any]],
        factor: Callable[[float], float],
        steps_per_epoch: int,
        epochs: int,
        sgd: Mapping[str, Any],
    ):
        super().__init__()
        self.network, self.groups, self.factor, self.sgd = network, groups, factor, sgd
        self.steps_per_epoch, self.total_steps = steps_per_epoch, epochs * steps_per_epoch
        self.places: dict[str, list[NDArray[np.uint8]]] = {}

    def ends_step(self, batch_idx: int) -> bool:
        """Each batch is an optimizer step."""
        return True

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Sum of the classifiers' cross entropies."""
        logits = self.network(_shown(batch, self.network.inputs))
        losses = [nn.functional.cross_entropy(each.float(), batch["label"]) for each in logits.values()]
        loss = torch.stack(losses).sum()
        if not torch.isfinite(loss):
            raise OrlError(f"the loss became {loss.item()} at step {self.global_step}: lower the learning rate")
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Note for each image at which place its class is: 0 is the best one; 5 or more counts as 5."""
        label = batch["label"][:, None]
        for name, logits in self.network(_shown(batch, self.network.inputs)).items():
            best = logits.topk(min(5, logits.shape[1]), dim=1).indices
            places = torch.where((best == label).any(dim=1), (best == label).int().argmax(dim=1), 5)
            self.places.setdefault(name, []).append(places.to("cpu", torch.uint8).numpy())

    def configure_optimizers(self) -> Any:
        """SGD whose learning rates follow `factor`."""
        optimizer = torch.optim.SGD([dict(group) for group in self.groups], **self.sgd)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.factor(step / self.steps_per_epoch))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _shown(batch: dict[str, Tensor], inputs: InputSettings) -> Tensor:
    """What networks see of a batch of `LabeledViews`: (B, 3, S, S)."""
    return (
        normalize(batch["image"], inputs) + (batch["shift"] / batch["shift"].new_tensor(inputs.std))[:, :, None, None]
    )


class _Bar(Callback):
    """Moves a bar with every optimizer step (in the first process)."""

    def __init__(self, update: Callable[[int, int], None]):
        self.update = update

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.is_global_zero:
            self.update(trainer.global_step, module.total_steps)


def step_decay(milestones: Sequence[int], gamma: float) -> Callable[[float], float]:
    """Learning-rate factor that is multiplied by gamma when each of these epochs begins."""
    return lambda epoch: gamma ** sum(epoch >= milestone for milestone in milestones)


def fit_heads(
    network: nn.Module,
    train: LabeledViews,
    val: LabeledViews | None,
    *,
    groups: Sequence[Mapping[str, Any]],
    factor: Callable[[float], float],
    epochs: int,
    batch_size: int,
    sgd: Mapping[str, Any],
    setup: Setup,
    precision: str,
    folder: Path,
) -> dict[str, Answers]:
    """Train a network with labels, from the newest checkpoint in the folder if there is one, and test it.

    Args:
        network: normalized images -> logits by the name of the classifier, see `Heads`; holds the trained weights
            afterwards.
        train: what it learns.
        val: what it is tested on; None: nothing.
        groups: parameters and learning rates.
        factor: epoch -> what learning rates are multiplied by.
        epochs: passes over the training images.
        batch_size: images per optimizer step over all devices; of fewer images, as many as the devices share equally.
        sgd: further arguments of SGD.
        setup: seed, devices, workers and the title of the bar.
        precision: one of Config.precision.
        folder: gets `checkpoints/` while it trains; removed at the end.

    Returns:
        What the classifiers say of `val`, by their name.

    Raises:
        OrlError: the devices cannot share the batch, the loss is no longer finite, or an image cannot be read.
    """
    quiet_lightning()
    for message in (".*no `val_dataloader`.*", ".*in eval mode at the start of training.*"):  # both on purpose
        warnings.filterwarnings("ignore", message)
    config = setup.config
    trainer = make_trainer(config, folder, precision=precision, limit_val_batches=1.0)
    rank, world = trainer.global_rank, trainer.world_size
    check_batch(f"{setup.protocol}.batch_size", batch_size, world=world, least=min(2, batch_size))
    if world > 1 and len(train) < 2 * world:
        raise OrlError(f"{len(train)} training images are too few for {world} processes: take --devices 1")
    batch_size = min(batch_size, len(train) // world * world)
    steps = len(train) // batch_size
    module = Heads(network, groups=groups, factor=factor, steps_per_epoch=steps, epochs=epochs, sgd=sgd)
    resume = resume_training(folder, module)
    checkpoint, start_step = resume.file, resume.step
    loading: dict[str, Any] = {
        "collate": default_collate,
        "workers": setup.workers,
        "pin_memory": torch.cuda.is_available(),
    }
    sampler = StepSampler(
        len(train),
        batch_size=batch_size,
        epochs=epochs,
        seed=setup.seed,
        start_step=start_step,
        rank=rank,
        world=world,
        drop_last=True,
    )
    try:
        if checkpoint and start_step == module.total_steps:  # killed between the last step and the test
            module.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"])
        else:
            with progress_bar(setup.title) as progress:
                checkpoints = Checkpoints(folder / "checkpoints", every=max(steps, 100), own=resume.own)
                trainer.callbacks += [_Bar(progress), checkpoints]  # type: ignore[attr-defined]
                loader = Batches(train, sampler, **loading)
                trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
        found: dict[str, Answers] = {}
        if val is not None:
            rows = EachOnce(len(val), rank=rank, world=world)
            batches = BatchSampler(rows, min(256, batch_size), drop_last=False)
            trainer.validate(module, Batches(val, batches, **loading), verbose=False)
            own = {name: np.concatenate(places) for name, places in module.places.items()}
            parts: list[Any] = [own]
            if world > 1:
                parts = [None] * world
                torch.distributed.all_gather_object(parts, own)
            for name in parts[0]:  # the first process has seen an image
                places = np.empty(len(val), np.uint8)
                for first, part in enumerate(parts):  # as EachOnce shared them out
                    places[first::world] = part.get(name, ())
                found[name] = Answers(places)
    except SystemExit:  # Lightning's answer to Ctrl+C, after which it would have all further ones ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    if is_main_process():
        shutil.rmtree(folder, ignore_errors=True)  # of no use once the figures are there
    return found
