"""The ORL authors' files for tests, in their real layouts: four images with boxes, neighbors and pairs."""

from __future__ import annotations

import json
from pathlib import Path

SIZES = [(40, 30), (40, 30), (60, 50), (20, 20)]
"""Width and height of four images, file names 9.jpg, 4.jpg, 7.jpg, 2.jpg, ids 90, 40, 70, 20: in no order."""
NAMES = [9, 4, 7, 2]

RAW = [
    [[0, 0, 20, 20], [1, 1, 20, 20], [20, 0, 20, 30], [0, 0, 5, 5]],
    [5, 5, 30, 20],  # the only box of the second image: the authors' files have it without its list
    [[0, 0, 30, 30], [30, 20, 30, 30], [0, 0, 60, 10]],
    [[0, 0, 3, 3], [1, 1, 4, 4]],
]
"""With a least side of 10, a greatest aspect of 3 and a greatest IoU of 0.5, the filter drops: the second box of the
first image (IoU 361 / 439 with the first), its last one and both of the last image by their sides (of which the first
falls back), the third of the third image by its aspect of 6."""
REASONS = ["kept", "iou", "kept", "side", "kept", "kept", "kept", "aspect", "fallback", "side"]
KEPT = [[[0, 0, 20, 20], [20, 0, 20, 30]], [[5, 5, 30, 20]], [[0, 0, 30, 30], [30, 20, 30, 30]], [[0, 0, 3, 3]]]
NEAR = [[1, 2], [0, 2], [3, 0], [2, 1]]
"""Rows, not ids."""
PAIRS = [
    [[KEPT[row][-1] + KEPT[near][-1]] for near in nearest]  # one pair: its last box with the neighbor's last box
    for row, nearest in enumerate(NEAR)
]
INFO = {
    "bbox_min_size": 10,
    "bbox_max_aspect_ratio": 3,
    "bbox_max_iou": 0.5,
    "intra_bbox_num": 100,
    "knn_image_num": 2,
    "knn_bbox_pair_ratio": 0.1,
}


def mined() -> dict:
    """A correspondence file."""
    return {
        "info": dict(INFO),
        "images": {"file_name": [f"{name}.jpg" for name in NAMES], "id": [10 * name for name in NAMES]},
        "pseudo_annotations": {
            "image_id": [10 * name for name in NAMES],
            "bbox": json.loads(json.dumps(KEPT)),
            "knn_image_id": json.loads(json.dumps(NEAR)),
            "knn_bbox_pair": json.loads(json.dumps(PAIRS)),
        },
    }


def neighbors() -> dict:
    """A neighbor file."""
    content = mined()
    content["info"] = {"knn_image_num": 2}
    del content["pseudo_annotations"]["bbox"], content["pseudo_annotations"]["knn_bbox_pair"]
    return content


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def change(path: str, value: object):
    """A change of a correspondence file: `change("info.a", 1)`."""

    def apply(content: dict) -> dict:
        *parents, last = path.split(".")
        part = content
        for parent in parents:
            part = part[int(parent) if isinstance(part, list) else parent]
        part[int(last) if isinstance(part, list) else last] = value
        return content

    return apply
