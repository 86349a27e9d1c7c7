"""What stage 3 sees of an image, again: the very sample of an epoch, and what the current weights make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from orl_explore.errors import OrlError, typed
from orl_explore.images.image_set import ImageSet
from orl_explore.nested import from_dict
from orl_explore.orl import ORL
from orl_explore.runs.encoders import training_inputs
from orl_explore.runs.reviews import KEY
from orl_explore.runs.run import Run
from orl_explore.runs.samples import ObjectViews, StepSampler, left_out, pairs_to_train_on
from orl_explore.settings import Stage3Settings
from orl_explore.views.renderers import collate, finish
from orl_explore.views.tensors import normalize

PAIRS = {"image": ("view1", "view2"), "intra": ("intra1", "intra2"), "inter": ("inter1", "inter2")}
"""Loss -> the two views it compares."""


def stage3_settings(run: Run) -> tuple[Stage3Settings, int]:
    """Settings and seed of stage 3: those it was begun with, else those of the run.

    Raises:
        OrlError: there are neither.
    """
    if record := run.stage("stage3"):
        compute = record.get("compute", {"augment": "pil"})  # before there was a choice
        return from_dict(Stage3Settings, {**record["config"], **compute}), int(record["seed"])
    if "config" not in run.manifest():
        raise OrlError(f"{run.path} has no settings of stage 3 yet: run `{typed('stage3', run.path)}` first")
    config = run.config()
    return config.stage3, config.seed


class StoredPairs:
    """The pairs of a run, read from its table when they are asked for: to look at some images of many."""

    def __init__(self, run: Run, images: ImageSet):
        self._run = run
        self._ids = images.table["image_id"].to_numpy()
        self._row_of = pd.Series(np.arange(len(images)), index=self._ids)
        self.rows = np.sort(self._row_of[run.image_ids("pairs")].to_numpy())

    def of(self, row: int) -> np.ndarray:
        """As `Pairs.of`."""
        pairs = self._run.read("pairs", image_id=int(self._ids[row]), columns=KEY[1:])
        return np.column_stack([self._row_of[pairs["neighbor_id"]], pairs[["query_region", "key_region"]]])


def object_views(run: Run, images: ImageSet) -> ObjectViews:
    """What stage 3 draws from, for looking at single images: pairs are read as they are needed.

    Raises:
        OrlError: stage 2 is missing, or left no pair.
    """
    config, seed = stage3_settings(run)
    regions = run.read("regions", columns=["image_id", "x", "y", "w", "h"])
    changed = config.reviews or config.without
    pairs = pairs_to_train_on(run, config) if changed else StoredPairs(run, images)
    return ObjectViews(images, regions, pairs, config, seed, without=left_out(run, config))


def pictures(samples: ObjectViews, epoch: int, row: int) -> dict[str, Tensor]:
    """The six pictures that stage 3 sees of an image in an epoch, by name, drawn as training draws them.

    Args:
        samples: what `object_views` gives.
        epoch: from 0.
        row: of the images table; one of `samples.rows`.

    Returns:
        The inputs of `ORL.forward`, uint8 (3, S, S) each.
    """
    drawn = collate([samples[epoch, int(np.searchsorted(samples.rows, row))]])
    return {name: finish(drawn[name])[0] for pair in PAIRS.values() for name in pair}


def step_of(samples: ObjectViews, epoch: int, row: int) -> tuple[int | None, np.ndarray]:
    """Optimizer step that sees an image in an epoch, and the rows of the images table in its batch.

    With `drop_last` an epoch leaves out what does not fill its last batch: then the step is None, and the rows are
    those left out. What fills up a last batch a second time is not among the rows.
    """
    size = samples.config.batch_size
    sampler = StepSampler(
        len(samples),
        batch_size=size,
        epochs=samples.config.epochs,
        seed=samples.seed,
        drop_last=samples.config.drop_last,
    )
    order = samples.rows[sampler.order(epoch)]
    place = int(np.flatnonzero(order == row)[0])
    batch = place // size
    step = epoch * sampler.steps_per_epoch + batch if batch < sampler.steps_per_epoch else None
    return step, order[batch * size : (batch + 1) * size]


@dataclass(frozen=True)
class Losses:
    """What the current weights make of a sample."""

    image: dict[str, float]
    """Of the one image: 0..8 each."""
    batch: dict[str, float]
    """Mean over the batch that it was computed in."""
    size: int
    """Images in that batch."""
    step: int
    """Optimizer steps behind the weights."""


def current_losses(run: Run, samples: ObjectViews, epoch: int, row: int, *, limit: int = 32) -> Losses:
    """Compute the three losses of the newest checkpoint on the sample of an image.

    Batch normalization in train mode makes an image's loss depend on its batch: taken is the batch that stage 3 sees
    the image in, or `limit` images of it.

    Args:
        run: a run whose stage 3 has left a checkpoint.
        samples: what `object_views` gives.
        epoch: from 0.
        row: of the images table.
        limit: images in the batch at most.

    Raises:
        OrlError: no checkpoint, or one that does not fit.
    """
    networks, step = load_networks(run, samples.config)
    _, batch = step_of(samples, epoch, row)
    rows = [row, *[int(other) for other in batch if other != row]][: max(2, limit)]
    if len(rows) < 2:  # left over alone at the end of an epoch
        rows += [int(other) for other in samples.rows if other != row][: max(2, limit) - 1]
    numbers = np.searchsorted(samples.rows, rows)
    drawn = collate([samples[epoch, int(number)] for number in numbers])
    found = per_image_losses(networks, {name: finish(drawn[name]) for pair in PAIRS.values() for name in pair})
    return Losses(
        image={name: float(values[0]) for name, values in found.items()},
        batch={name: float(values.mean()) for name, values in found.items()},
        size=len(rows),
        step=step,
    )


def load_networks(run: Run, config: Stage3Settings) -> tuple[ORL, int]:
    """Networks of stage 3's newest checkpoint, in train mode, and the optimizer steps behind them.

    Raises:
        OrlError: there is no checkpoint, or it is damaged or of other networks.
    """
    from orl_explore.runs.checkpoints import latest_checkpoint

    path, step = latest_checkpoint(run.path / "stage3" / "checkpoints")
    if path is None:
        raise OrlError(f"stage 3 has no checkpoint yet: `{typed('stage3', run.path)}` makes one")
    try:
        state = _weights(path)
        with torch.random.fork_rng(devices=[]):
            networks = ORL(config.encoder)
        networks.load_state_dict(state)
        networks.online.inputs = training_inputs(run.stage("stage3"))
    except Exception as error:  # pickle, zip and torch each raise their own
        raise OrlError(
            f"{path} cannot be read ({' '.join(str(error).split())[:200]}): while stage 3 is running, try again;"
            f" else `{typed('stage3', run.path, '--overwrite')}` makes it anew"
        ) from None
    return networks.train(), step


def _weights(path: Path) -> Mapping[str, Any]:
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    return {name.removeprefix("networks."): tensor for name, tensor in state.items()}


@torch.no_grad()
def per_image_losses(networks: ORL, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The three losses image by image, (B,) each; their means are what `ORL.forward` gives.

    Args:
        networks: in train mode.
        drawn: the six inputs of `ORL.forward` by name, uint8 (B, 3, S, S).
    """
    predictors = {
        "image": networks.image_predictor,
        "intra": networks.intra_predictor,
        "inter": networks.inter_predictor,
    }
    found = {}
    for name, pair in PAIRS.items():
        view1, view2 = (normalize(drawn[view], networks.online.inputs) for view in pair)
        online = [networks.online(view) for view in (view1, view2)]
        target = [networks.target(view) for view in (view1, view2)]
        found[name] = _distance(predictors[name](online[0]), target[1]) + _distance(
            predictors[name](online[1]), target[0]
        )
    return found


def _distance(prediction: Tensor, target: Tensor) -> Tensor:
    return 2 - 2 * functional.cosine_similarity(prediction.float(), target.float(), dim=1)  # (B,)
