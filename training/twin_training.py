"""One training step of stages 1 and 3, as a LightningModule: losses, optimizer, schedule, moving average."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning
import torch

from orl_explore.byol import TwinNetworks, learning_rate_at, target_momentum
from orl_explore.errors import OrlError
from orl_explore.settings import TrainSettings
from orl_explore.views.renderers import finish
from orl_explore.views.tensors import normalize
from training.optimizers import make_optimizer


class TwinTraining(lightning.LightningModule):
    """Optimizer steps of BYOL or ORL (method: stage 1 and stage 3).

    Args:
        networks: takes normalized views by name, returns losses by name and projections.
        config: the stage's settings.
        images: images in an epoch.
        weights: weight of each loss, by name.
    """

    def __init__(self, networks: TwinNetworks, config: TrainSettings, *, images: int, weights: Mapping[str, float]):
        super().__init__()
        self.networks, self.config, self.weights = networks, config, dict(weights)
        self.total_steps = config.total_steps(images)
        self.steps_per_epoch = config.steps_per_epoch(images)
        self.learning_rate_at = partial(learning_rate_at, config, images=images)  # of a step

    def ends_step(self, batch_idx: int) -> bool:
        """Whether this forward pass was the last one of an optimizer step; each is, unless gradients accumulate."""
        return (batch_idx + 1) % self.config.accumulate == 0

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Losses of one batch of views, by name."""
        image_ids = batch.pop("image_id")
        inputs = self.networks.online.inputs
        losses, projection = self.networks(**{name: normalize(finish(view), inputs) for name, view in batch.items()})
        loss = sum(self.weights[name] * losses[name] for name in losses)
        if not torch.isfinite(loss):
            raise OrlError(
                f"the loss became {loss.item()} at step {self.global_step}, on images {image_ids.tolist()[:8]} ...:"
                " the last good checkpoint is kept; try a lower base_lr, or precision fp32"
            )
        return {"loss": loss, "losses": {n: v.detach() for n, v in losses.items()}, "projection": projection}

    def configure_optimizers(self) -> Any:
        """SGD, or what the settings say, with warm-up and cosine decay."""
        config = self.config
        optimizer = make_optimizer(self.networks, config, fused=self.device.type == "cuda")
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.learning_rate_at(step) / config.learning_rate()
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the target network: both belong to one step, so that every checkpoint holds both."""
        step = self.global_step
        super().optimizer_step(*args, **kwargs)
        self.networks.update_target(target_momentum(step, self.total_steps, self.config.ema))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Never let a checkpoint with broken weights take the place of a good one."""
        for name, tensor in checkpoint["state_dict"].items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise OrlError(
                    f"weights of {name} are no longer finite at step {self.global_step}:"
                    " the last good checkpoint is kept; try a lower base_lr, or precision fp32"
                )
