"""How the claim is judged: encoders on images that no stage has trained on, with what intervals need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from claim_data import Data

from orl_explore.embedding import embed_images, embed_regions
from orl_explore.encoder import Encoder
from orl_explore.images.image_set import ImageSet
from orl_explore.judging import probes
from orl_explore.judging.intervals import Items, Ranked, Scored, write_items
from orl_explore.runs.files import write_json
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training import evaluate
from training.machine import data_workers
from training.transfer import in_context, miou
from training.transfer.label_maps import BACKGROUND, ObjectMaps
from training.transfer.retrieval import ranked_precision
from training.transfer.setup import Setup

FIGURES = {
    "probe": "linear probe",
    "knn": "kNN",
    "retrieval": "retrieval",
    "scene_map": "scene mAP",
    "in_context": "in-context mIoU",  # where masks are known; results from before this was measured lack it
}


def judge(encoder: Encoder, train: ImageSet, data: Data, config: Config, out: Path, facts: dict) -> None:
    """Write OUT.json, every figure with its interval over images, and OUT.npz, from which differences are computed."""
    items: dict[str, Items] = {}
    crops, x = _objects(encoder, train, config)
    labels = crops["category"].to_numpy(object)
    categories = sorted(train.objects["category"].unique())
    scenes = _scenes(encoder, train, config)
    present = _present(train, categories)
    for name, images in data.tests.items():
        test_crops, test_x = _objects(encoder, images, config)
        test_labels, unit = test_crops["category"].to_numpy(object), test_crops["image_id"].to_numpy()
        right = probes.linear_right(x, labels, test_x, test_labels, seed=config.seed)
        items[f"probe/{name}"] = Scored.of(right, unit=unit)
        items[f"knn/{name}"] = Scored.of(probes.knn_right(x, labels, test_x, test_labels), unit=unit)
        found, _ = ranked_precision(test_x, test_labels, unit, np.arange(len(unit)))
        some = ~np.isnan(found)
        items[f"retrieval/{name}"] = Scored.of(found[some], unit=unit[some], group=test_labels[some])
        scores = probes.multilabel_scores(scenes, present, _scenes(encoder, images, config))
        items[f"scene_map/{name}"] = Ranked.of(scores, 2 * _present(images, categories) - 1)
    items |= {f"in_context/{name}": of for name, of in _in_context(encoder, train, data, config, out).items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    intervals = write_items(out.with_suffix(".npz"), items)
    figures = {name: {"value": of.value(), "interval": intervals[name]} for name, of in items.items()}
    write_json(out.with_suffix(".json"), {**facts, "figures": figures})


def _in_context(encoder: Encoder, train: ImageSet, data: Data, config: Config, out: Path) -> dict[str, Items]:
    """Segmentation of the test images by the most similar patches of the training images, if all have masks."""
    sets = [train, *data.tests.values()]
    if not all(len(images.objects) and images.objects["segmentation"].notna().all() for images in sets):
        return {}
    categories = sorted(set(pd.concat([images.objects["category"] for images in sets])))
    label_of = {name: number for number, name in enumerate(categories, start=1)}
    classes = (BACKGROUND, *categories)
    setup = Setup(Run(out.parent), config, (), "in-context", out.parent)
    settings = in_context.InContextSettings()
    size = round(in_context.ENLARGED * encoder.inputs.side(config.stage1.image_size))
    encoder = encoder.to(setup.device).eval()
    cells, side = in_context.grid(encoder, size, setup)
    maps = {name: ObjectMaps(images, label_of, {}) for name, images in data.tests.items()}
    memory = in_context.remember(encoder, ObjectMaps(train, label_of, {}), len(classes), cells, side, settings, setup)
    return {
        name: miou.figures(in_context.segment(encoder, memory, of, side, settings, setup), classes)["items"]["miou"]
        for name, of in maps.items()
    }


def chance(train: ImageSet, data: Data, config: Config, out: Path) -> None:
    """Write OUT: the share of test objects that are of the training objects' commonest category."""
    labels = evaluate.draw_crops(train, config)["category"].to_numpy(object)
    shares = {
        name: probes.majority_accuracy(labels, evaluate.draw_crops(images, config)["category"].to_numpy(object))
        for name, images in data.tests.items()
    }
    figures = {f"{figure}/{name}": {"value": share} for figure in ("probe", "knn") for name, share in shares.items()}
    write_json(out, {"seed": config.seed, "figures": figures})


def embedding_options(config: Config) -> dict[str, Any]:
    """In float32, on a GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {"size": config.stage1.image_size, "device": device, "workers": data_workers(config)}


def _objects(encoder: Encoder, images: ImageSet, config: Config) -> tuple[pd.DataFrame, np.ndarray]:
    """Objects, and their features."""
    crops = evaluate.draw_crops(images, config)
    return crops, embed_regions(encoder, images, crops, **embedding_options(config))


def _scenes(encoder: Encoder, images: ImageSet, config: Config) -> np.ndarray:
    """Features of whole images."""
    return embed_images(encoder, images, features=True, **embedding_options(config))


def _present(images: ImageSet, categories: list[str]) -> np.ndarray:
    """Which categories are in which images, (N, C) of 0 and 1."""
    table = pd.crosstab(images.objects["image_id"], images.objects["category"])
    return (table.reindex(images.table["image_id"], columns=categories, fill_value=0).to_numpy() > 0).astype(np.int64)
