"""What the claim is measured on: images to train on, and held-out images with known and with new instances."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images
from orl_explore.practice.scenes import make_scenes

HELD_OUT = 0.2  # of the images, or as many scenes beside them: never trained on, by any stage
NEW_INSTANCES = 0.25  # of a category's instances are only in scenes of their own


@dataclass(frozen=True)
class Data:
    """`train` is the json whose images all stages train on; `tests` are image sets that encoders are judged on."""

    train: Path
    root: Path | None
    tests: dict[str, ImageSet]


def scenes(folder: Path, *, seed: int, count: int, disguise: bool) -> Data:
    """Practice scenes: `count` to train on, and beside them scenes of the same and of new instances."""
    kind: dict[str, Any] = {"holdout": NEW_INSTANCES, "disguise": disguise}
    if disguise:
        kind["instances"] = 8  # six of them to train on, as by default
    more = round(HELD_OUT / (1 - HELD_OUT) * count)
    sets = {"train": ("train", seed, count), "known": ("train", 1000 + seed, more), "new": ("test", seed, more)}
    for name, (part, own_seed, wanted) in sets.items():
        if not (folder / name / "annotations.json").exists():
            make_scenes(folder / name, count=wanted, seed=own_seed, part=part, **kind)
    tests = {name: open_images([folder / name / "annotations.json"]) for name in ("known", "new")}
    return Data(folder / "train" / "annotations.json", None, tests)


def instances(labels: Path) -> dict[int, str]:
    """Which thing each object of a json is, by the object's id; empty where it does not say, as of photographs."""
    return {one["id"]: one["instance"] for one in json.loads(labels.read_text())["annotations"] if "instance" in one}


def photographs(folder: Path, *, seed: int, sources: Sequence[Path], min_side: int = 32) -> Data:
    """Photographs of COCO jsons, a fifth of each held out; boxes with a side below `min_side` pixels do not count.

    A json with its images in the folder `images` beside it, as those of practice scenes. All instances are new.
    """
    root = Path(os.path.commonpath([source.resolve().parent for source in sources]))
    parts: dict[str, dict[str, Any]] = {name: {"images": [], "annotations": []} for name in ("train", "known")}
    names = sorted({c["name"] for source in sources for c in json.loads(source.read_text())["categories"]})
    for number, source in enumerate(sources):
        content = json.loads(source.read_text())
        called = {category["id"]: category["name"] for category in content["categories"]}
        images = sorted(content["images"], key=lambda image: image["id"])
        order = np.random.default_rng([seed, number]).permutation(len(images))
        held_out = {images[row]["id"] for row in order[: round(HELD_OUT * len(images))]}
        own_id = {image["id"]: row + 1_000_000 * (number + 1) for row, image in enumerate(images)}
        for image in images:
            part = parts["known" if image["id"] in held_out else "train"]
            file = (source.resolve().parent / "images" / image["file_name"]).relative_to(root)
            part["images"].append(image | {"id": own_id[image["id"]], "file_name": file.as_posix()})
        for annotation in content["annotations"]:
            if min(annotation["bbox"][2:]) < min_side or annotation.get("iscrowd"):
                continue
            part = parts["known" if annotation["image_id"] in held_out else "train"]
            plain = {name: annotation[name] for name in ("bbox", "area") if name in annotation}
            category = names.index(called[annotation["category_id"]]) + 1
            owner = own_id[annotation["image_id"]]
            own = {"id": len(part["annotations"]) + 1, "image_id": owner, "category_id": category, "iscrowd": 0}
            part["annotations"].append(plain | own)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
        (folder / f"{name}.json").write_text(json.dumps(part | {"categories": categories}))
    return Data(folder / "train.json", root, {"known": open_images([folder / "known.json"], root=root)})
