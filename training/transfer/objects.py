"""Crops of the annotated objects of a run: what kNN and retrieval are judged on when no other data are named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from orl_explore.embedding import embed_regions
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.settings import Config
from training.console import progress_bar
from training.evaluate import MIN_CROP_SIDE, draw_crops, held_out_images
from training.transfer.setup import Setup, fingerprint, open_data, say


@dataclass(frozen=True, eq=False)
class ObjectCrops:
    """Objects of a run and their categories; those of `held_out` images are what is tested on.

    Attributes:
        images: the run's images.
        crops: image_id, category and x, y, w, h in whole pixels, grouped by image.
        test: (N,) bool.
    """

    images: ImageSet
    crops: pd.DataFrame
    test: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Category of each crop, (N,)."""
        return self.crops["category"].to_numpy(object)

    @property
    def fingerprint(self) -> str:
        """Of the images, the crops and the split."""
        columns = [self.crops[name].tolist() for name in ("image_id", "x", "y", "w", "h", "category")]
        return fingerprint([self.images.fingerprint, columns, self.test.tolist()])

    @property
    def facts(self) -> dict[str, Any]:
        """Numbers of crops and categories."""
        return {
            "kind": "object crops",
            "train": int((~self.test).sum()),
            "test": int(self.test.sum()),
            "classes": sorted(set(self.labels.tolist())),
        }


def read_objects(setup: Setup) -> ObjectCrops:
    """Draw crops of objects as `orl evaluate RUN` does, of the run or of COCO jsons, and split them by image.

    Raises:
        OrlError: there are no annotations, too few images, or an image has vanished.
    """
    images = open_data(setup.data, label_field=setup.label_field) if setup.data else setup.run.images()
    where = ", ".join(map(str, setup.data)) or str(setup.run.path)
    if not len(images.objects):
        raise OrlError(f"{where} has no annotated objects: name a COCO json with --data FILE")
    images.check_files()
    return split_objects(images, setup.config, where=where)


def split_objects(images: ImageSet, config: Config, *, where: str) -> ObjectCrops:
    """Draw crops and split them by image; `where` is what an error calls the images.

    Raises:
        OrlError: too few images with objects.
    """
    crops = draw_crops(images, config)
    if few := len(images.objects) - len(crops):
        say(
            where,
            f"{few:,} of {len(images.objects):,} objects are left out: smaller than {MIN_CROP_SIDE} px, or beyond"
            f" evaluate.max_crops ({config.evaluate.max_crops:,})",
        )
    test = crops["image_id"].isin(held_out_images(images, config)).to_numpy()
    if not test.any() or test.all():
        raise OrlError(f"{where} has objects in too few images to split them: annotate more")
    return ObjectCrops(images, crops, test)


def embed_crops(encoder: Encoder, data: ObjectCrops, crops: pd.DataFrame, size: int, setup: Setup) -> np.ndarray:
    """Pooled backbone features of some crops in fp32: (len(crops), width), rows of length 1."""
    with progress_bar(setup.title) as progress:
        return embed_regions(
            encoder, data.images, crops, size=size, device=setup.device, workers=setup.workers, progress=progress
        )
