"""Runs of plain pictures, each of one color, and where a color lies in a drawing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageColor

from orl_explore.figures.drawing import PALETTE
from orl_explore.images.opening import open_images
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES

VERMILLION, BLUE, GREEN = (ImageColor.getrgb(color) for color in PALETTE[:3])
WHITE = (255, 255, 255)


def paint(number: int) -> tuple[int, int, int]:
    """The color of image `number`; no other part of a picture has it."""
    return 40, 210, 100 + number


def solid(size: tuple[int, int] = (60, 60), color: Any = (128, 128, 128)) -> Image.Image:
    return Image.new("RGB", size, color)


def where(image: Image.Image, color: tuple[int, ...]) -> np.ndarray:
    return (np.asarray(image) == color).all(axis=2)


def extent(image: Image.Image, color: tuple[int, ...]) -> tuple[int, int, int, int]:
    """xywh of the pixels of a color."""
    rows, columns = np.nonzero(where(image, color))
    x, y = columns.min(), rows.min()
    return int(x), int(y), int(columns.max() - x + 1), int(rows.max() - y + 1)


def make_run(
    path: Path,
    sizes: Sequence[tuple[int, int]] = ((240, 240),) * 3,
    *,
    contexts: Sequence[str | None] | None = None,
    boxes: Sequence[tuple[int, int, int, int]] = ((20, 30, 100, 80), (130, 60, 90, 170)),
    pairs: Sequence[tuple[int, int]] = ((0, 1), (1, 0)),
    stages: Sequence[str] = ("stage1", "stage3"),
) -> Run:
    """A run by hand. Image i has color paint(i) and id 10 + i; its neighbors are the images after it, in a circle.

    Args:
        boxes: kept ones of every image, cut to its size.
        pairs: with the neighbor of rank n, pair n joins these two boxes, of the image and of the neighbor.
    """
    (path / "images").mkdir(parents=True)
    entries = []
    for number, size in enumerate(sizes):
        solid(size, paint(number)).save(path / "images" / f"{number}.png")
        entry = {"id": 10 + number, "file_name": f"{number}.png"}
        entries.append(entry | ({"context": contexts[number]} if contexts and contexts[number] else {}))
    (path / "images.json").write_text(json.dumps({"images": entries}))
    run = Run(path / "run")
    run.set_images(open_images([path / "images.json"]), ["images.json"])

    count, tables = len(sizes), {name: [] for name in ("neighbors", "proposals", "regions", "pairs")}
    for number, (width, height) in enumerate(sizes):
        for rank, (x, y, w, h) in enumerate(boxes):
            x, y = min(x, width - 1), min(y, height - 1)
            box = {"x": x, "y": y, "w": min(w, width - x), "h": min(h, height - y), "image_id": 10 + number}
            tables["regions"].append({"region_id": number * len(boxes) + rank, **box})
            tables["proposals"].append({"rank": rank, "reason": "kept", **box})
        for rank in range(count - 1):
            other = (number + 1 + rank) % count
            ids = {"image_id": 10 + number, "neighbor_id": 10 + other}
            tables["neighbors"].append({**ids, "rank": rank, "similarity": 0.9 - rank / 10})
            if rank < len(pairs):
                regions = [image * len(boxes) + box for image, box in zip((number, other), pairs[rank], strict=True)]
                pair = {"query_region": regions[0], "key_region": regions[1], "neighbor_rank": rank, "rank": 0}
                tables["pairs"].append({**ids, **pair, "similarity": 0.8})
    for name, rows in tables.items():
        run.write(name, pd.DataFrame(rows, columns=list(TABLES[name].columns)))
    for name in ("stage2", *stages):
        run.note(name, state="finished")
    for name in stages:
        write_metrics(run, name)
    return run


def write_metrics(run: Run, stage: str) -> None:
    """Two epochs of two steps; std and rank only in the last step of each, as the trainers write it."""
    (run.path / stage).mkdir()
    (run.path / stage / "metrics.csv").write_text(
        "step,epoch,lr,momentum,loss,loss_image,std,rank\n"
        "0,0,0.1,0.99,4,4,,\n1,0,0.1,0.99,2,2,0.5,10\n2,1,0.1,0.99,2,2,,\n3,1,0.1,0.99,1,1,0.75,12\n"
    )
