"""Detection and segmentation: Mask R-CNN with a feature pyramid, all layers fine-tuned, judged by COCO's AP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from pycocotools import mask as coco_mask

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from training.console import progress_bar
from training.evaluate import held_out_images
from training.machine import is_main_process
from training.transfer.average_precision import average_precision
from training.transfer.crowds import Crowd, read_crowds
from training.transfer.mask_rcnn import DetectionSettings
from training.transfer.setup import Setup, fingerprint, open_data, say
from training.transfer.steps import Loader, fit_and_test


@dataclass(frozen=True, eq=False)
class Detections:
    """Images with objects that have masks, and what is true of the test images.

    Attributes:
        train: images with at least one object.
        test: images that AP is measured on, with or without objects.
        categories: of both, sorted; labels count from 1.
        truth: of the test images, as a COCO json: annotations have masks as compressed RLE; with crowds.
        without_mask: objects that were left out, as their masks are missing or damaged.
    """

    train: ImageSet
    test: ImageSet
    categories: tuple[str, ...]
    truth: dict[str, Any]
    without_mask: int

    @property
    def labels(self) -> dict[str, int]:
        """Category -> label, from 1; 0 is the background."""
        return {name: number for number, name in enumerate(self.categories, start=1)}

    @cached_property
    def fingerprint(self) -> str:
        """Of the images, the objects and their masks."""
        columns = ["image_id", "x", "y", "w", "h", "category", "segmentation"]
        objects = self.train.objects[columns].to_numpy().tolist()
        return fingerprint([self.train.fingerprint, self.test.fingerprint, self.categories, objects, self.truth])

    @property
    def facts(self) -> dict[str, Any]:
        """Numbers of images, objects and categories."""
        return {
            "kind": "objects with masks",
            "train": len(self.train),
            "test": len(self.test),
            "train_objects": len(self.train.objects),
            "test_objects": sum(not item["iscrowd"] for item in self.truth["annotations"]),
            "without_mask": self.without_mask,
            "skipped": len(self.train.skipped) + len(self.test.skipped),
            "classes": list(self.categories),
        }


# ---- data ------------------------------------------------------------------------------------------------------------


def read(setup: Setup, settings: DetectionSettings) -> Detections:
    """Read COCO jsons, `--data TRAIN.json TEST.json`, or split the run's own annotated images.

    Raises:
        OrlError: no objects with masks, or too few images.
    """
    if not setup.data:
        images = setup.run.images()
        images.check_files()
        held_out = images.table["image_id"].isin(held_out_images(images, setup.config)).to_numpy()
        train, test = (images.subset(part.nonzero()[0].tolist()) for part in (~held_out, held_out))
        where, crowds = str(setup.run.path), list[Crowd]()
    else:
        if len(setup.data) != 2 or any(path.suffix.lower() != ".json" for path in setup.data):
            raise OrlError("detection is trained on one COCO json and tested on another: --data TRAIN.json TEST.json")
        with progress_bar("reading images") as progress:
            train, test = (open_data([path], progress, label_field=setup.label_field) for path in setup.data)
        where = " and ".join(map(str, setup.data))
        crowds = read_crowds(setup.data[1], test)
    return _with_masks(train, test, crowds, settings, where)


def _with_masks(
    train: ImageSet, test: ImageSet, crowds: list[Crowd], settings: DetectionSettings, where: str
) -> Detections:
    parts = [images.objects for images in (train, test)]
    # Boxes below half a pixel have no corners left once they are rounded.
    masked = [part[part["segmentation"].notna() & (part[["w", "h"]].min(axis=1) >= 0.5)] for part in parts]
    if not all(map(len, masked)):
        raise OrlError(
            f"{where}: training and test images both need objects with masks (`segmentation`): annotate more of them,"
            " or name COCO jsons with --data TRAIN.json TEST.json"
        )
    categories = tuple(sorted(set(pd.concat(masked)["category"])))
    total = len(train)
    with_objects = train.table["image_id"].isin(masked[0]["image_id"]).to_numpy().nonzero()[0].tolist()
    train = _with_objects(train, masked[0]).subset(with_objects)
    if len(train) < settings.batch_size:
        raise OrlError(
            f"{where}: {len(train)} training images with objects do not fill a batch of {settings.batch_size}: add"
            f" images, or a smaller batch, such as --detection.batch_size {max(1, len(train) // 2)}"
        )
    test = _with_objects(test, masked[1])
    truth = ground_truth(test, categories, crowds)
    if without := sum(map(len, parts)) - sum(map(len, masked)):
        say(where, f"{without:,} of {sum(map(len, parts)):,} objects are left out, as they have no mask, or no width")
    if empty := total - len(train):
        say(where, f"{empty:,} of {total:,} training images are left out, as they have no object with a mask")
    return Detections(train, test, categories, truth, without)


def _with_objects(images: ImageSet, objects: pd.DataFrame) -> ImageSet:
    return ImageSet(images.table, objects.reset_index(drop=True), images.skipped, images.roots)


def ground_truth(images: ImageSet, categories: tuple[str, ...], crowds: Sequence[Crowd]) -> dict[str, Any]:
    """The objects of images as the content of a COCO json; the area of an object is that of its mask.

    Args:
        images: all objects have masks.
        categories: their ids count from 1, in this order.
        crowds: regions that are ignored.
    """
    columns = (images.table[name].tolist() for name in ("image_id", "width", "height"))
    sizes = {image_id: [height, width] for image_id, width, height in zip(*columns, strict=True)}
    fields = (images.objects[name].tolist() for name in ("image_id", "category", "segmentation"))
    boxes = images.objects[["x", "y", "w", "h"]].to_numpy(np.float64).tolist()
    objects: list[dict[str, Any]] = [
        {
            "image_id": image_id,
            "category": category,
            "bbox": box,
            "segmentation": {"size": sizes[image_id], "counts": counts},
            "iscrowd": 0,
        }
        for image_id, category, counts, box in zip(*fields, boxes, strict=True)
    ]
    number = {name: number for number, name in enumerate(categories, start=1)}
    annotations: list[dict[str, Any]] = []
    judged = [crowd for crowd in crowds if crowd.category in number]
    for item in objects + [_as_annotation(crowd, sizes[crowd.image_id]) for crowd in judged]:
        mask = item["segmentation"]
        annotations.append(
            {
                **{key: item[key] for key in ("image_id", "bbox", "segmentation", "iscrowd")},
                "id": len(annotations) + 1,  # pycocotools takes 0 for no match
                "category_id": number[item["category"]],
                "area": float(coco_mask.area(mask)),
            }
        )
    return {
        "images": [{"id": image_id, "height": size[0], "width": size[1]} for image_id, size in sizes.items()],
        "categories": [{"id": number, "name": name} for name, number in number.items()],
        "annotations": annotations,
    }


def _as_annotation(crowd: Crowd, size: list[int]) -> dict[str, Any]:
    mask = {"size": size, "counts": crowd.counts}
    box = coco_mask.toBbox(mask).tolist()
    facts = {"image_id": crowd.image_id, "category": crowd.category, "iscrowd": 1}
    return {**facts, "bbox": box, "segmentation": mask}


# ---- judging ---------------------------------------------------------------------------------------------------------


def judge(encoder: Encoder, data: Detections, settings: DetectionSettings, setup: Setup) -> dict[str, Any]:
    """Fine-tune Mask R-CNN on the training images, and measure AP of boxes and masks on the test images.

    A killed training goes on from its last checkpoint.
    """
    from training.transfer.mask_rcnn import DetectionImages, DetectionTraining, collate, mask_rcnn

    model = mask_rcnn(encoder, len(data.categories), settings, seed=setup.seed)
    training = DetectionTraining(model, settings, seed=setup.seed)

    def prepare(loader: Loader) -> None:
        steps = settings.steps()
        training.precise = loader(steps, steps + settings.precise_bn) if settings.precise_bn else ()

    found = fit_and_test(
        training,
        DetectionImages(data.train, data.labels, setup.seed),
        DetectionImages(data.test, data.labels, None),
        settings=settings,
        setup=setup,
        collate=collate,
        prepare=prepare,
    )
    figures = average_precision(data.truth, found) if is_main_process() else {}
    return training.trainer.strategy.broadcast(figures)
