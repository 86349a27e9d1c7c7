"""Pictures and the files that labeling tools write of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from orl_explore.images.image_set import ImageSet

BOXES = ["x", "y", "w", "h"]

VOC = """<annotation><filename>x.jpg</filename><size><width>96</width><height>64</height></size>
<object><name>cup</name><difficult>1</difficult>
<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
<object><name>bus</name></object></annotation>"""
"""Two objects in VOC's form: one has a box, from column 10 and row 20 on, of 20 x 20 px."""


def pictures(*paths: Path) -> None:
    """96 x 64 px each, all different."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(map(ord, path.as_posix()))
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)).save(path)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


def coco(path: Path, *names: str) -> Path:
    images = [{"id": number, "file_name": name, "width": 96, "height": 64} for number, name in enumerate(names)]
    annotations = [{"id": n, "image_id": n, "category_id": 1, "bbox": [n, 1, 20, 20]} for n in range(len(names))]
    return write(path, {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]})


def fiftyone(path: Path, images: Path) -> Path:
    """A data set of all pictures of a folder beside it, whose objects are in two fields."""
    thing = {"label": "cup", "bounding_box": [0.1, 0.1, 0.5, 0.5]}
    fields = {"ground_truth": {"detections": [thing]}, "predictions": {"detections": [thing, thing]}}
    samples = [{"filepath": f"{images.name}/{file.name}", **fields} for file in sorted(images.iterdir())]
    return write(path, {"samples": samples})


def add_up(images: ImageSet) -> None:
    findings = images.findings
    assert findings.used == len(images.objects)
    assert findings.given == findings.used + sum(one.count for one in findings.left_out)


def as_brush(pixels: np.ndarray, lengths: tuple[int, ...] = (3, 4, 8, 16), *, literal: bool = False) -> list[int]:
    """As Label Studio packs what is painted: RGBA bytes in blocks, each with the shortest length that takes it."""
    values = (pixels.astype(np.uint8) * 255).repeat(4).tolist()
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{length - 1:04b}" for length in lengths)
    while values:
        run = next((n for n, value in enumerate(values) if value != values[0]), len(values))
        run = min(run if not literal else len(values), 1 << lengths[-1])
        size = next(n for n, length in enumerate(lengths) if run <= 1 << length)
        bits += f"{not literal:b}{size:02b}{run - 1:0{lengths[size]}b}"
        bits += "".join(f"{value:08b}" for value in (values[:run] if literal else values[:1]))
        values = values[run:]
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]
