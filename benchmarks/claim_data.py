"""What the claim is measured on: images to train on, held-out images with known and with new instances; and pairs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orl_explore.boxes import BOX
from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images
from orl_explore.judging.diagnostics import on_object
from orl_explore.pairs import region_slices
from orl_explore.practice.scenes import make_scenes

HELD_OUT = 0.2  # of the images, or as many scenes beside them: never trained on, by any stage
NEW_INSTANCES = 0.25  # of a category's instances are only in scenes of their own
ORACLE_PAIRS = 10  # an image


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


# ---- boxes ---------------------------------------------------------------------------------------------------------


def annotated_boxes(images: ImageSet) -> pd.DataFrame:
    """The annotated objects as regions, in whole pixels; the image itself where it has none."""
    rows = []
    of = images.objects.groupby("image_id")
    known = set(of.groups)
    for image_id, width, height in images.table[["image_id", "width", "height"]].itertuples(index=False):
        boxes = of.get_group(image_id)[BOX].to_numpy() if image_id in known else np.array([[0, 0, width, height]])
        start = np.floor(boxes[:, :2])
        end = np.minimum(np.ceil(boxes[:, :2] + boxes[:, 2:]), [width, height])
        rows += [(image_id, *box) for box in np.hstack([start, np.maximum(end - start, 1)]).astype(int).tolist()]
    return _numbered(rows)


def random_boxes(images: ImageSet, regions: pd.DataFrame, *, min_side: int, seed: int) -> pd.DataFrame:
    """As many boxes an image as `regions` has, of any place, size and shape that stage 2's filter lets pass."""
    rng = np.random.default_rng([seed, 20])
    counts = regions["image_id"].value_counts()
    rows = []
    for image_id, width, height in images.table[["image_id", "width", "height"]].itertuples(index=False):
        for _ in range(int(counts.get(image_id, 1))):
            least = min(min_side, width, height)
            w, h = rng.integers(least, width + 1), rng.integers(least, height + 1)
            w, h = min(w, 3 * h), min(h, 3 * w)
            rows.append((image_id, int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), int(w), int(h)))
    return _numbered(rows)


def _numbered(rows: list[tuple[int, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["image_id", *BOX])
    return frame.assign(region_id=np.arange(len(frame)))


# ---- pairs that no encoder chose -----------------------------------------------------------------------------------


def random_pairs(images: ImageSet, regions: pd.DataFrame, pairs: pd.DataFrame, *, anywhere: bool, seed: int):
    """As many pairs as an encoder's, of boxes drawn blindly: of the same two images or, `anywhere`, of any two."""
    rng = np.random.default_rng([seed, 21])
    slices = region_slices(regions["image_id"])
    ids = images.table["image_id"].to_numpy()
    neighbor = pairs["neighbor_id"].to_numpy()
    if anywhere:
        neighbor = rng.choice(ids, len(pairs))
        own = neighbor == pairs["image_id"].to_numpy()
        neighbor[own] = ids[(np.searchsorted(ids, neighbor[own]) + 1) % len(ids)]
    return pd.DataFrame(
        {
            "image_id": pairs["image_id"].to_numpy(),
            "neighbor_id": neighbor,
            "query_region": [int(rng.integers(*slices[image])) for image in pairs["image_id"].tolist()],
            "key_region": [int(rng.integers(*slices[image])) for image in neighbor.tolist()],
        }
    )


def oracle_pairs(images: ImageSet, regions: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The most that pairs can give: of each image up to `ORACLE_PAIRS` boxes on an object, each paired with a box on
    an object of the same category in any other image.
    """
    rng = np.random.default_rng([seed, 22])
    categories = images.objects.set_index("object_id")["category"]
    found = on_object(regions, images.objects).to_numpy()
    on = regions[found >= 0].assign(category=categories[found[found >= 0]].to_numpy())
    of = {
        str(name): (rows["region_id"].to_numpy(), rows["image_id"].to_numpy()) for name, rows in on.groupby("category")
    }
    rows = []
    for image_id, own in on.groupby("image_id"):
        drawn = own.iloc[rng.permutation(len(own))[:ORACLE_PAIRS]]
        for query, category in drawn[["region_id", "category"]].itertuples(index=False):
            keys, owners = of[category]
            for key in rng.integers(len(keys), size=20).tolist():
                if owners[key] != image_id:
                    rows.append((image_id, owners[key], query, keys[key]))
                    break
    return pd.DataFrame(rows, columns=["image_id", "neighbor_id", "query_region", "key_region"])
