"""What the training stages draw from: every sample is decided by (seed, epoch, image_id) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import pandas as pd
from torch.utils.data import Dataset, Sampler

from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.orl import Sample, draw_sample, render_sample
from orl_explore.runs.reviews import KEY, apply_reviews, read_reviews
from orl_explore.runs.run import Run
from orl_explore.runs.selections import selected
from orl_explore.settings import Stage1Settings, Stage3Settings
from orl_explore.views import parameters
from orl_explore.views.renderers import RENDERERS, View

Index = tuple[int, int]
"""(epoch, row of the images table)."""


class StepSampler(Sampler[list[Index]]):
    """The batches of a whole training run, `accumulate` of them per optimizer step, starting at any step.

    The order of an epoch derives from (seed, epoch), so that a resumed run goes on in mid-epoch with the very batch
    that comes next. With several processes each takes every world-th image of a batch. The last batch of an epoch may
    be smaller; images from the beginning of the epoch fill it up until all forward passes of all processes are equal,
    and have the two images that batch normalization needs.
    """

    def __init__(
        self,
        images: int,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        start_step: int = 0,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        drop_last: bool = False,
    ):
        self.images, self.batch_size, self.epochs, self.seed = images, batch_size, epochs, seed
        self.accumulate = accumulate
        self.start_step, self.rank, self.world = start_step, rank, world
        self.steps_per_epoch = images // batch_size if drop_last else -(-images // batch_size)

    def __len__(self) -> int:
        return self.epochs * self.steps_per_epoch * self.accumulate

    def order(self, epoch: int) -> np.ndarray:
        """Rows in the order in which an epoch visits them."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.images)

    def batch(self, order: np.ndarray, number: int) -> np.ndarray:
        """Rows of a batch, all processes together."""
        rows = order[number * self.batch_size : (number + 1) * self.batch_size]
        if len(rows) == self.batch_size:
            return rows
        passes = self.world * self.accumulate
        return np.r_[rows, order[: max(2 * passes, -(-len(rows) // passes) * passes) - len(rows)]]

    def __iter__(self) -> Iterator[list[Index]]:
        order = lru_cache(maxsize=1)(self.order)
        for step in range(self.start_step, self.epochs * self.steps_per_epoch):
            epoch, batch = divmod(step, self.steps_per_epoch)
            rows = self.batch(order(epoch), batch)
            for part in np.array_split(rows[self.rank :: self.world], self.accumulate):
                yield [(epoch, int(row)) for row in part]


class ImageViews(Dataset):
    """Stage 1: two views of an image, uint8 (3, S, S) each, or left to the device: see `renderers`."""

    def __init__(self, images: ImageSet, config: Stage1Settings, seed: int):
        self.images, self.config, self.seed = images, config, seed
        self.image_ids = images.table["image_id"].to_numpy()
        self.image_sizes = images.table[["width", "height"]].to_numpy()
        self.renderer = RENDERERS[config.augment]

    def __getitem__(self, index: Index) -> dict[str, View | int]:
        epoch, row = index
        image_id = int(self.image_ids[row])
        rng = np.random.default_rng([self.seed, epoch, image_id % 2**64])
        image = self.renderer.load(self.images, row)
        settings, size = self.config.views, self.config.image_size
        width, height = (int(side) for side in self.image_sizes[row])
        sampled = [parameters.sample_view(rng, settings, view=view, image_size=(width, height)) for view in (0, 1)]
        view1, view2 = (self.renderer.draw(image, view, size) for view in sampled)
        return {"image_id": image_id, "view1": view1, "view2": view2}


def _order(rows: np.ndarray) -> np.ndarray | slice:
    """What sorts these rows; where they stand sorted, as stage 2 leaves them, a slice of all, which copies nothing."""
    return slice(None) if (rows[1:] >= rows[:-1]).all() else np.argsort(rows, kind="stable")


class Pairs(Protocol):
    """Where stage 3 finds the pairs of an image."""

    rows: np.ndarray
    """Rows of the images that have a pair, ascending."""

    def of(self, row: int) -> np.ndarray:
        """Pairs of an image in the order of the table, (n, 3): row of the neighbor, region here, region there."""


class HeldPairs:
    """All pairs, held as arrays in 32 bits: COCO has ten million."""

    def __init__(self, pairs: pd.DataFrame, row_of: pd.Series):
        rows = row_of[pairs["image_id"]].to_numpy()
        order = _order(rows)
        columns = (row_of[pairs["neighbor_id"]], pairs["query_region"], pairs["key_region"])
        self._pairs = np.stack([column.to_numpy(np.int32)[order] for column in columns], axis=1)
        self._starts = np.searchsorted(rows[order], np.arange(len(row_of) + 1))
        self.rows = np.flatnonzero(np.diff(self._starts))

    def of(self, row: int) -> np.ndarray:
        """As `Pairs.of`."""
        return self._pairs[self._starts[row] : self._starts[row + 1]]


class ObjectViews(Dataset):
    """Stage 3: two views of an image, a box and its jittered copy, and a pair of corresponding boxes.

    Images without any pair (possible only with stage 2's optional switches, reviews or selections) are left out; `rows`
    are the others.

    Args:
        images: of the run.
        regions: its table, row = region_id.
        pairs: what to train on; none of them has a box that is left out.
        config: settings of the stage.
        seed: everything random derives from it.
        without: regions that are left out.
    """

    def __init__(
        self,
        images: ImageSet,
        regions: pd.DataFrame,
        pairs: pd.DataFrame | Pairs,
        config: Stage3Settings,
        seed: int,
        *,
        without: Sequence[int] | np.ndarray = (),
    ):
        self.images, self.config, self.seed = images, config, seed
        self.image_ids = images.table["image_id"].to_numpy()
        self.image_sizes = images.table[["width", "height"]].to_numpy()
        self.renderer = RENDERERS[config.augment]
        row_of = pd.Series(np.arange(len(images)), index=self.image_ids)
        # Regions stand grouped by image, in any order of images: keep arrays and where each image begins.
        starts = np.arange(len(images) + 1)
        region_rows = row_of[regions["image_id"]].to_numpy()
        order = _order(region_rows)
        self.all_boxes = regions[["x", "y", "w", "h"]].to_numpy(np.int32)
        if len(without):
            stays = np.ones(len(regions), bool)
            stays[np.asarray(without)] = False
            order = np.arange(len(regions))[order]
            order = order[stays[order]]
        self.boxes = self.all_boxes[order]
        self.box_starts = np.searchsorted(region_rows[order], starts)
        self.pairs = HeldPairs(pairs, row_of) if isinstance(pairs, pd.DataFrame) else pairs
        self.row_of = row_of.to_dict()
        self.rows = self.pairs.rows
        if not len(self.rows):
            raise OrlError(
                "stage 2 left no pair: loosen its switches (mutual, one_to_one, min_similarity, max_image_similarity)"
                " and mine again"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, epoch: int, row: int) -> Sample:
        """Decide what stage 3 sees of an image in an epoch; `row` counts the images table."""
        boxes = self.boxes[self.box_starts[row] : self.box_starts[row + 1]]
        neighbor, query, key = self.pairs.of(row).T
        pairs = np.column_stack([self.image_ids[neighbor], self.all_boxes[query], self.all_boxes[key]])
        image_id = int(self.image_ids[row])
        width, height = self.image_sizes[row]
        return draw_sample(
            np.random.default_rng([self.seed, epoch, image_id % 2**64]),
            self.config.views,
            image_id=image_id,
            image_size=(int(width), int(height)),
            boxes=boxes,
            pairs=pairs,
        )

    def __getitem__(self, index: Index) -> dict[str, View | int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[Index]) -> list[dict[str, View | int]]:
        """The samples of a batch, which a loader asks for at once."""
        # All are decided before the first is drawn: between two images, whose pixels push all else out of the
        # processor's caches, deciding takes two to three times as long.
        rows = [int(self.rows[place]) for _, place in indices]
        samples = [self.sample(epoch, row) for (epoch, _), row in zip(indices, rows, strict=True)]
        return [self._render(sample, row) for sample, row in zip(samples, rows, strict=True)]

    def _render(self, sample: Sample, row: int) -> dict[str, View | int]:
        image, neighbor = (self.renderer.load(self.images, r) for r in (row, self.row_of[sample.neighbor_id]))
        drawn = render_sample(
            sample,
            image,
            neighbor,
            image_size=self.config.image_size,
            patch_size=self.config.patch_size,
            renderer=self.renderer,
        )
        return {"image_id": sample.image_id, **drawn}


def left_out(run: Run, config: Stage3Settings) -> np.ndarray:
    """Regions that the settings leave out of stage 3, ascending.

    Raises:
        OrlError: the run has no such selection.
    """
    return np.zeros(0, np.int64) if config.without is None else selected(run, config.without)


def pairs_to_train_on(run: Run, config: Stage3Settings) -> pd.DataFrame:
    """The pairs that stage 2 found, as people have corrected them where the settings say so: columns `KEY`, or more.

    Raises:
        OrlError: stage 2 is missing, or the reviews or the selection are of other pairs or leave none.
    """
    if config.reviews:
        pairs = apply_reviews(run, run.read("pairs"), read_reviews(run))
    else:
        pairs = run.read("pairs", columns=KEY)
    if config.without is not None:
        without = left_out(run, config)
        pairs = pairs[~(pairs["query_region"].isin(without) | pairs["key_region"].isin(without))]
        if not len(pairs):
            raise OrlError(f"every pair has a box of the selection {config.without!r}: choose fewer to leave out")
    return pairs.reset_index(drop=True)
