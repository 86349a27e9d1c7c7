"""Image files for tests: noise to save, and a COCO json of three pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

RNG_SEED = 0


def noise(size: tuple[int, int] = (64, 48), seed: int = RNG_SEED) -> Image.Image:
    """Noise compresses badly, so that cutting the file in half cuts the picture."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def save(path: Path, image: Image.Image | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (noise(seed=len(path.name)) if image is None else image).save(path, **options)
    return path


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def good_pair(folder: Path) -> None:
    save(folder / "good1.png")
    save(folder / "good2.jpg")


JPEG, PNG, GIF, WEBP = (encoded(noise(), name) for name in ("JPEG", "PNG", "GIF", "WEBP"))


def write_coco(folder: Path, name: str = "annotations.json", **changes: object) -> Path:
    """Three 64 x 48 images whose order is neither that of their ids nor of their names."""
    for file in ("a.png", "b.png", "c.png"):
        save(folder / file)
    content: dict[str, object] = {
        "images": [
            {"id": 20, "file_name": "b.png", "width": 64, "height": 48, "context": "kitchen", "license": 1},
            {"id": 3, "file_name": "a.png", "width": 64, "height": 48, "context": "street", "views": [1]},
            {"id": 100, "file_name": "c.png", "width": 64, "height": 48},
        ],
        "annotations": [
            {"id": 7, "image_id": 3, "category_id": 1, "bbox": [10, 10, 20, 10], "iscrowd": 0},
            {"id": 5, "image_id": 20, "category_id": 2, "bbox": [1.5, 2, 3, 4]},
        ],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "bus"}],
    }
    if "images" in changes:
        content["annotations"] = []  # of images that are not listed, most of the file cannot be used
    file = folder / name
    file.write_text(json.dumps(content | changes))
    return file
