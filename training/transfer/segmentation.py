"""Semantic segmentation: an FCN on the encoder's ResNet, fine-tuned or on the frozen backbone, judged by mIoU."""

from __future__ import annotations

import dataclasses
from typing import Any

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from training.transfer import miou
from training.transfer.fcn import Fcn, SegmentationSettings, SegmentationTraining
from training.transfer.label_maps import Segmentation, read_maps
from training.transfer.segmentation_images import SegmentationImages, collate
from training.transfer.setup import Setup
from training.transfer.steps import fit_and_test


def read(setup: Setup, settings: SegmentationSettings) -> Segmentation:
    """Label maps of the run, of COCO jsons, or in a benchmark's own folders.

    Raises:
        OrlError: too few images for a batch.
    """
    data = read_maps(setup)
    if len(data.train) < settings.batch_size:
        raise OrlError(
            f"{len(data.train)} training images do not fill a batch of {settings.batch_size}: add images, or a smaller"
            f" batch, such as --segmentation.batch_size {max(2, len(data.train) // 2)}"
        )
    return data


def judge(encoder: Encoder, data: Segmentation, settings: SegmentationSettings, setup: Setup) -> dict[str, Any]:
    """mIoU over all classes, the background included, and that of each.

    A killed training goes on from its last checkpoint.
    """
    recipe = settings.recipe()
    frozen = settings.backbone == "frozen"
    model = Fcn(encoder, len(data.classes), recipe, frozen=frozen, seed=setup.seed)
    shown: dict[str, Any] = {name: getattr(recipe, name) for name in ("size", "crop", "colors")}
    found = fit_and_test(
        SegmentationTraining(model, settings, seed=setup.seed),
        SegmentationImages(data.train, **shown, inputs=encoder.inputs, seed=setup.seed),
        SegmentationImages(data.test, **shown, inputs=encoder.inputs, seed=None),
        settings=settings,
        setup=setup,
        collate=collate,
    )
    counted = [each for _, each in sorted(found, key=lambda one: one[0])]
    return miou.figures(counted, data.classes) | {"recipe": dataclasses.asdict(recipe)}
