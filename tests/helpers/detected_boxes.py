"""Objects and detections as COCO has them, and the smallest settings of Mask R-CNN."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

SMALL = {
    **{"batch_size": 4, "train_sizes": (64,), "channels": 16, "regions": 8, "iterations": 3, "warmup": 2},
    **{"checkpoint_steps": 1, "precise_bn": 2},
}


def rle(x: int, y: int, w: int, h: int) -> dict:
    mask = np.zeros((200, 200), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    return coco_mask.encode(mask)


def truth(*objects: tuple[int, tuple[int, int, int, int], int]) -> dict:
    """Two images of 200 px, two categories; objects are (category, box, is a crowd), all in image 1."""
    annotations = [
        {
            "id": number,
            "image_id": 1,
            "category_id": category,
            "bbox": list(box),
            "area": box[2] * box[3],
            "segmentation": rle(*box),
            "iscrowd": crowd,
        }
        for number, (category, box, crowd) in enumerate(objects, start=1)
    ]
    images = [{"id": number, "width": 200, "height": 200} for number in (1, 2)]
    categories = [{"id": 1, "name": "mug"}, {"id": 2, "name": "key"}]
    return {"images": images, "categories": categories, "annotations": annotations}


def found(category: int, box, score: float, *, image_id: int = 1, mask=None) -> dict:
    return {
        "image_id": image_id,
        "category_id": category,
        "bbox": list(box),
        "score": score,
        "segmentation": rle(*(mask or box)),
    }
