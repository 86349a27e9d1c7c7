"""Stage 1: BYOL (paper section 3.1), and the twin networks that stage 3 shares with it."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from orl_explore.encoder import Encoder, mlp
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings, TrainSettings


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """2 - 2 cos(prediction, target), mean over the batch; the target gets no gradient. (B, D), (B, D) -> scalar."""
    cosine = functional.cosine_similarity(prediction.float(), target.detach().float(), dim=1)  # (B,)
    return (2 - 2 * cosine).mean()


def _checkpointed(block: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    contexts = (contextlib.nullcontext(), _without_running_statistics(block))
    return checkpoint(forward, x, use_reentrant=False, context_fn=lambda: contexts)


@contextlib.contextmanager
def _without_running_statistics(block: nn.Module) -> Iterator[None]:
    """Let batch normalization use the batch's statistics, as ever, but not count the batch a second time."""
    before = [(m, m.momentum, m.num_batches_tracked) for m in block.modules() if isinstance(m, _BatchNorm)]
    for norm, _, count in before:
        norm.momentum, norm.num_batches_tracked = 0.0, None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count


class TwinNetworks(nn.Module):
    """An online encoder trained by gradient and a target encoder that follows it as a moving average."""

    def __init__(self, settings: EncoderSettings):
        super().__init__()
        if not settings.hidden:
            raise OrlError(
                "an encoder without a projector cannot be trained: set encoder.hidden 4096 and encoder.dim 256"
            )
        self.settings = settings
        self.online = Encoder(settings)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def make_predictor(self) -> nn.Sequential:
        """Make a predictor: an MLP that only the online side has."""
        return mlp(self.settings.dim, self.settings.hidden, self.settings.dim)

    def pair_loss(self, view1: Tensor, view2: Tensor, predictor: nn.Module) -> tuple[Tensor, Tensor]:
        """Compare two views in both directions; equation 1 of the paper with its mirror image.

        Every view is a forward pass of its own, in train mode on both sides, so that each has its own batch
        statistics.

        Args:
            view1: normalized images (B, 3, H, W).
            view2: the images that correspond to them, of the same shape.
            predictor: the MLP for this kind of pair.

        Returns:
            The loss, a scalar between 0 and 8, and the online projections of view 1, (B, dim), detached.
        """
        projection1, projection2 = self.online(view1), self.online(view2)  # (B, dim)
        with torch.no_grad():
            target1, target2 = self.target(view1), self.target(view2)  # (B, dim)
        loss = negative_cosine(predictor(projection1), target2) + negative_cosine(predictor(projection2), target1)
        return loss, projection1.detach()

    def save_memory(self) -> None:
        """Let each block of the online backbone compute its activations twice instead of keeping them.

        Losses, gradients and running statistics stay what they are.

        Raises:
            OrlError: the backbone is neither a ResNet nor one of timm's that knows this, without batch normalization.
        """
        backbone = self.online.backbone
        if hasattr(backbone, "set_grad_checkpointing") and not any(
            isinstance(m, _BatchNorm) for m in backbone.modules()
        ):
            backbone.set_grad_checkpointing()  # type: ignore[operator]
            return
        found = [getattr(self.online.backbone, f"layer{number}", None) for number in range(1, 5)]
        layers = [layer for layer in found if isinstance(layer, nn.Sequential)]
        if len(layers) < 4:
            raise OrlError(
                f"gradient checkpointing does not know {self.settings.backbone!r}: leave it off for this one"
            )
        for block in (block for layer in layers for block in layer):
            block.forward = partial(_checkpointed, block, block.forward)

    def compile_backbones(self) -> None:
        """Compile both backbones at their first use; names and weights stay as they are."""
        for encoder in (self.online, self.target):
            encoder.backbone.compile(dynamic=False)  # views and patches have sizes of their own: one program for each

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """Move the target's parameters (not its BN statistics) towards the online network's."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()), 1 - momentum)


class BYOL(TwinNetworks):
    """Image-level pre-training: one predictor, two views of the whole image."""

    def __init__(self, settings: EncoderSettings):
        super().__init__(settings)
        self.predictor = self.make_predictor()

    def forward(self, view1: Tensor, view2: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Losses by name and the online projections of view 1, from normalized views (B, 3, H, W)."""
        loss, projection = self.pair_loss(view1, view2, self.predictor)
        return {"image": loss}, projection


def target_momentum(step: int, total_steps: int, base: float = 0.99) -> float:
    """EMA momentum after optimizer step `step` (from 0): rises from `base` to 1 along half a cosine."""
    return 1 - (1 - base) * (math.cos(math.pi * step / total_steps) + 1) / 2


def learning_rate_factor(
    step: int, total_steps: int, warmup_steps: int, *, steps_per_epoch: int | None = None, start: float = 1e-4
) -> float:
    """Learning rate of step `step` (from 0) as a share of the full one.

    With `steps_per_epoch`, as published: a cosine over all epochs, from 1 to nearly 0, with one value an epoch, times a
    linear warm-up per step. Without, a cosine per step to 0 that begins where the warm-up ends.
    """
    warmup = start + (1 - start) * step / warmup_steps if step < warmup_steps else 1.0
    if steps_per_epoch:
        return warmup * (1 + math.cos(math.pi * (step // steps_per_epoch) / (total_steps // steps_per_epoch))) / 2
    if step < warmup_steps:
        return warmup
    return (1 + math.cos(math.pi * (step - warmup_steps) / max(1, total_steps - warmup_steps))) / 2


def learning_rate_at(settings: TrainSettings, step: int, images: int) -> float:
    """Learning rate of a step (from 0) of a training on so many images."""
    steps_per_epoch = settings.steps_per_epoch(images)
    factor = learning_rate_factor(
        step,
        settings.total_steps(images),
        round(settings.warmup_epochs * steps_per_epoch),
        steps_per_epoch=steps_per_epoch if settings.schedule == "epoch" else None,
    )
    return settings.learning_rate() * factor
