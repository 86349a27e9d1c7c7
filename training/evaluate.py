"""What each step of a run was worth: `run` computes every figure, `summary_tables` shows them.

`evaluation/summary.json` holds one object. Figures are numbers between 0 and 1 unless said otherwise; a key is absent
where a run does not allow it (no annotations, a stage not run yet).

    seed      of the run; it also decides the split and the draws below
    counts    images, skipped, exact_duplicates, objects, categories; test_images and train_images of scene_map,
              test_crops and train_crops of the object figures (numbers)
    random    the untrained encoder that stages 1 and 3 start from, once one of them has been trained
    pretrained   the encoder that stage 2 mined with in place of stage 1's
    stage1    the image-level encoder
    stage3    the object-level encoder
        object_probe, object_knn      accuracy on crops of annotated objects, a linear probe and a vote of 20 neighbors
        scene_map                     mean average precision of the categories in whole images
        feature_std, feature_rank     pooled backbone features of whole images: standard deviation against 1/sqrt(d),
                                      effective rank (a number)
        and of stages 1 and 3, from their metrics.csv:
        epochs, seconds               numbers
        loss, loss_first              mean of the last and the first epoch (numbers)
        loss_NAME                     each loss that `loss` adds up, in the last epoch (image; intra, inter)
        std, rank, collapsed          of the projections after the last epoch, against 1/sqrt(d); effective rank; true
                                      when std is so low that the representation has collapsed
        loss_per_epoch, std_per_epoch, rank_per_epoch     lists of the same; null where an epoch has not ended
    stage2    what was mined; NAME_chance stands beside NAME
        context_agreement             neighbors with the query's own context (column `context` of the images)
        category_overlap              Jaccard overlap of the categories of a query and its neighbors
        hubness, largest_hub          skewness of how often an image is a neighbor; the largest count (numbers)
        near_duplicates               pairs of images more similar than 0.98 (a number), over the whole set
        recall_50, recall_70          annotated objects with a kept box of at least this IoU
        best_overlap                  IoU of an object with its closest kept box, on average
        proposals, kept, fallback, rejected_side, rejected_aspect, rejected_iou, rejected_count,
        regions, candidate_pairs, pairs      numbers: what is left after every step
        object_regions                kept boxes that are on an object
        object_pairs                  pairs of two boxes on objects
        mixed_pairs, unlabeled_pairs pairs of a box on an object with one that is on none; of two on none
        purity                        object pairs of equal category
        purity_neighbor_chance        the same for boxes drawn blindly from an image and one of its own neighbors
        purity_interval               95 % interval over images, [low, high]
        purity_by_rank                of an image's most similar pair with a neighbor, the second, ...: a list
                                      of up to 10, with purity, interval, pairs (a number)
        purity_by_category            the same by the category of the query, of the 20 most frequent ones
        corloc, corloc_support        images with objects whose first kept box, as found or by the support of its pairs,
                                      has an IoU of 0.5 with one
        corloc_interval, corloc_support_interval        as purity_interval
        recall_at_boxes               objects that one of the first N kept boxes meets at IoU 0.5, by N
        recall_at_boxes_interval      of each, as purity_interval
    chance    object_probe, object_knn, scene_map
    verdicts  sentences about what is of no use, such as an encoder that is worse than the untrained one
"""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import torch

from orl_explore.embedding import embed_images, embed_regions
from orl_explore.images.image_set import ImageSet
from orl_explore.judging import correspondence, diagnostics, discovery, probes, useless
from orl_explore.judging.diagnostics import COLLAPSED
from orl_explore.judging.intervals import Items, Scored, interval, resampled
from orl_explore.neighbors import count_near_duplicates
from orl_explore.runs.encoders import RunEncoder
from orl_explore.runs.files import atomic_write, write_json
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training.console import console, progress_bar
from training.machine import computing, data_workers, keep_to_share

MIN_CROP_SIDE: Final = 8
"""Objects with a shorter side below this are not judged, pixels."""

CATEGORIES: Final = 20
"""Categories that purity is told for, the most frequent ones; an interval over 100,000 images takes a second or two."""
FIGURES: Final = 5
"""That `feature_figures` gives."""

CACHE: Final = "evaluation/embeddings"
"""Where features of judged crops and images are kept, in a run."""

RANK_IMAGES: Final = 2048
"""Images that feature_std and feature_rank are taken over at most; a singular value decomposition is slow."""


def run(run: Run, config: Config) -> dict[str, Any]:
    """Judge a run by what it has, and write evaluation/summary.json.

    Object crops and whole images, at most `config.evaluate.max_crops` of each, are embedded with pooled backbone
    features and split by image into a part that probes are fitted on and a part that they are tested on. Embeddings are
    kept in evaluation/embeddings/, so that judging again costs the probes alone.

    Args:
        run: a run whose images are set; stages that are missing are left out.
        config: settings; `config.evaluate`, the size and shape of stage 1's encoder and the run-wide ones are used.

    Returns:
        What summary.json holds: see the head of this module.

    Raises:
        OrlError: the run has no images yet, or they have vanished.
    """
    images = run.images()
    images.check_files()
    crops, rows = draw_crops(images, config), draw_images(images, config)
    categories = category_matrix(images, rows)  # (N, C)
    held_out = held_out_images(images, config)
    crop_test = crops["image_id"].isin(held_out).to_numpy()
    image_test = images.table["image_id"].iloc[rows].isin(held_out).to_numpy()
    labels = crops["category"].to_numpy(object)

    summary: dict[str, Any] = {
        "seed": config.seed,
        "counts": {
            "images": len(images),
            "skipped": len(images.skipped),
            "exact_duplicates": diagnostics.exact_duplicates(images.table),
            "objects": len(images.objects),
            "categories": images.objects["category"].nunique(),
            "train_crops": int((~crop_test).sum()),
            "test_crops": int(crop_test.sum()),
            "train_images": int((~image_test).sum()),
            "test_images": int(image_test.sum()),
        },
    }
    judged = encoders(run, config)
    if judged:
        console.print(
            f"judging {', '.join(judged)} by {len(rows):,} images"
            + (f" and {len(crops):,} objects" if len(crops) else ", which have no annotations: their spread alone")
        )
    for name, encoder in judged.items():
        crop_x, image_x = embed_judged(encoder, images, crops, rows, config, cache=run.path / CACHE, title=name)
        of_crops = _Split(crop_x, labels, crop_test)
        of_images = _Split(image_x, categories, image_test)
        summary[name] = training_figures(run, name)
        with progress_bar(f"probes of {name}") as progress:
            for done, (key, figure) in enumerate(feature_figures(of_crops, of_images, seed=config.seed), 1):
                summary[name][key] = figure
                progress(done, FIGURES)
    if mined := mining_figures(run, images):
        summary["stage2"] = mined
    majority = probes.majority_accuracy(labels[~crop_test], labels[crop_test])
    summary["chance"] = {
        "object_probe": majority,
        "object_knn": majority,
        "scene_map": probes.prevalence(categories[~image_test], categories[image_test]),
    }
    summary = _plain(summary)
    summary["verdicts"] = useless.of_summary(summary)
    for sentence in summary["verdicts"]:
        console.print(f"careful: {sentence}", markup=False)
    write_json(run.path / "evaluation" / "summary.json", summary)
    return summary


# ---- what is judged ------------------------------------------------------------------------------------------------


def held_out_images(images: ImageSet, config: Config) -> np.ndarray:
    """Ids of the images that probes are tested on."""
    ids = images.table["image_id"].to_numpy()
    order = np.random.default_rng([config.seed, 0]).permutation(len(ids))
    return ids[order[: round(config.evaluate.test_share * len(ids))]]


def draw_images(images: ImageSet, config: Config) -> np.ndarray:
    """Rows of the whole images that are judged, ascending."""
    count = min(config.evaluate.max_crops, len(images))
    return np.sort(np.random.default_rng([config.seed, 1]).choice(len(images), count, replace=False))


def draw_crops(images: ImageSet, config: Config) -> pd.DataFrame:
    """Objects that are judged: image_id, category and x, y, w, h in whole pixels, grouped by image."""
    objects = images.objects
    large = np.flatnonzero(objects[["w", "h"]].min(axis=1) >= MIN_CROP_SIDE)
    count = min(config.evaluate.max_crops, len(large))
    drawn = np.sort(np.random.default_rng([config.seed, 2]).choice(large, count, replace=False)) if count else large
    crops = objects.iloc[drawn].sort_values("image_id", kind="stable")
    sizes = images.table.set_index("image_id").loc[crops["image_id"], ["width", "height"]].to_numpy()
    boxes = crops[["x", "y", "w", "h"]].to_numpy(np.float64)
    start = np.floor(boxes[:, :2]).astype(np.int64)  # outwards to whole pixels: what the annotation touches
    end = np.minimum(np.ceil(boxes[:, :2] + boxes[:, 2:]).astype(np.int64), sizes)
    frame = pd.DataFrame(np.hstack([start, end - start]), columns=["x", "y", "w", "h"])
    return frame.assign(image_id=crops["image_id"].to_numpy(), category=crops["category"].to_numpy())


def category_matrix(images: ImageSet, rows: np.ndarray) -> np.ndarray:
    """Which categories are in which images: (len(rows), C) of 0 and 1, categories in alphabetical order."""
    ids = images.table["image_id"].iloc[rows]
    table = pd.crosstab(images.objects["image_id"], images.objects["category"])
    return (table.reindex(ids, fill_value=0).to_numpy() > 0).astype(np.int64)


def encoders(run: Run, config: Config) -> dict[str, RunEncoder]:
    """What is judged, by the names of summary.json: what the run has, the untrained encoder beside trained ones."""
    trained = {stage: RunEncoder(run.path, stage) for stage in ("stage1", "stage3") if run.encoder_file(stage).exists()}
    found = {"random": RunEncoder(run.path, "random", config.stage1.encoder, config.seed)} if trained else {}
    if run.encoder_file("stage2").exists():
        found["pretrained"] = RunEncoder(run.path, "stage2")
    return found | trained


def embed_judged(
    encoder: RunEncoder,
    images: ImageSet,
    crops: pd.DataFrame,
    rows: np.ndarray,
    config: Config,
    *,
    cache: Path | None = None,
    title: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled backbone features of crops (len(crops), width) and whole images (len(rows), width), of length 1.

    In fp32, whatever the run's precision: features of an untrained encoder differ so little from each other that bf16
    would blur them, and the comparison would be unfair.

    Args:
        encoder: loaded only where its features are not known.
        images: where the pixels are.
        crops: boxes, grouped by image.
        rows: whole images.
        config: size of crops for an encoder that has none of its own, and workers.
        cache: folder where features are kept, a file an encoder; those of other crops or images are replaced.
        title: what the bar calls it.
    """
    size = config.stage1.image_size
    digest = blake2b(f"{encoder.hash()} {images.fingerprint} {size}".encode(), digest_size=16)
    digest.update(pd.util.hash_pandas_object(crops, index=False).to_numpy().tobytes() + rows.tobytes())
    file = cache / f"{encoder.name}.npz" if cache else None
    if file and file.exists():
        with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(file) as known:
            if str(known["made_from"]) == digest.hexdigest():
                return known["crops"], known["images"]
    on_gpu = torch.cuda.is_available()
    options: dict[str, Any] = {
        "size": size,
        "device": "cuda" if on_gpu else "cpu",
        "batch_size": 256 if on_gpu else 32,
        "workers": data_workers(config),
    }
    crop_images = crops["image_id"].nunique()
    total = crop_images + len(rows)
    loaded = encoder.load()
    with progress_bar(f"embeddings of {title}") as progress, computing(config):

        def from_here(before: int) -> Callable[[int, int], None]:
            def told(done: int, _: int) -> None:
                keep_to_share(config)
                progress(before + done, total)

            return told

        of_crops = embed_regions(loaded, images, crops, progress=from_here(0), **options)
        whole = embed_images(loaded, images, rows.tolist(), features=True, progress=from_here(crop_images), **options)
    if file:
        with atomic_write(file) as temporary, temporary.open("wb") as out:
            np.savez(out, crops=of_crops, images=whole, made_from=np.array(digest.hexdigest()))
    return of_crops, whole


# ---- figures -------------------------------------------------------------------------------------------------------


class _Split(NamedTuple):
    """Features, what they are of, and which of them are tested on."""

    x: np.ndarray
    y: np.ndarray
    test: np.ndarray

    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Features and labels to fit on, features and labels to test on."""
        return self.x[~self.test], self.y[~self.test], self.x[self.test], self.y[self.test]


def feature_figures(crops: _Split, images: _Split, *, seed: int) -> Iterator[tuple[str, float]]:
    """Figures of an encoder, one by one, as each takes a while."""
    some = torch.from_numpy(images.x[:RANK_IMAGES])
    yield "feature_std", diagnostics.representation_std(some)
    yield "feature_rank", diagnostics.effective_rank(some)
    yield "object_probe", probes.linear_probe(*crops.parts(), seed=seed)
    yield "object_knn", probes.knn_accuracy(*crops.parts())
    yield "scene_map", probes.multilabel_map(*images.parts())


def training_figures(run: Run, stage: str) -> dict[str, Any]:
    """How a training stage went, from its metrics.csv; nothing where there is none."""
    file = run.path / stage / "metrics.csv"
    metrics = pd.read_csv(file) if file.exists() else pd.DataFrame()
    if metrics.empty:
        return {}
    epochs = metrics.groupby("epoch")
    losses = epochs[[name for name in metrics.columns.tolist() if name.startswith("loss")]].mean()
    state = epochs[["std", "rank"]].last()
    return {
        "epochs": len(losses),
        "seconds": run.stage(stage).get("seconds", math.nan),
        "loss_first": losses["loss"].iloc[0],
        **{str(name): mean for name, mean in losses.iloc[-1].items()},
        "std": state["std"].iloc[-1],
        "rank": state["rank"].iloc[-1],
        "collapsed": bool(state["std"].iloc[-1] < COLLAPSED),
        "loss_per_epoch": losses["loss"].tolist(),
        "std_per_epoch": state["std"].tolist(),
        "rank_per_epoch": state["rank"].tolist(),
    }


def mining_figures(run: Run, images: ImageSet) -> dict[str, Any]:
    """What stage 2 found, as far as it has come; by labels where there are any."""
    figures: dict[str, Any] = {}
    if not run.file("neighbors").exists():
        return figures
    neighbors = run.read("neighbors")
    if "context" in images.table:
        agreement = diagnostics.neighbor_agreement(neighbors, images.table.set_index("image_id")["context"])
        figures |= {"context_agreement": agreement.value, "context_agreement_chance": agreement.chance}
    overlap = diagnostics.category_overlap(neighbors, images.objects)
    hubness = diagnostics.hubness(neighbors)
    figures |= {
        "category_overlap": overlap.value,
        "category_overlap_chance": overlap.chance,
        "hubness": hubness.skewness,
        "largest_hub": hubness.largest,
    }
    if run.file("image_embeddings").exists():
        figures["near_duplicates"] = count_near_duplicates(run.read_array("image_embeddings"))
    elif neighbors["similarity"].notna().all():  # an imported run need not know them
        figures["near_duplicates"] = diagnostics.near_duplicates(neighbors)
    if not run.file("regions").exists():
        return figures
    regions = run.read("regions")
    recall = diagnostics.proposal_recall(images.objects, regions)
    figures |= {
        "recall_50": recall.at[0.5],
        "recall_70": recall.at[0.7],
        "best_overlap": recall.average_best_overlap,
    }
    if not run.file("pairs").exists():
        return figures
    columns = ["image_id", "neighbor_id", "neighbor_rank", "rank", "query_region", "key_region", "similarity"]
    pairs = run.read("pairs", columns=columns)
    figures |= diagnostics.funnel(run.read("proposals", columns=["reason"]), regions, neighbors, pairs)
    if len(images.objects):
        region_object = diagnostics.on_object(regions, images.objects)
        purity = diagnostics.pair_purity(pairs, regions, region_object, images.objects)
        figures |= {
            "object_regions": float((region_object >= 0).mean()),
            "object_pairs": purity.objects.value,
            "object_pairs_chance": purity.objects.chance,
            "mixed_pairs": purity.mixed,
            "unlabeled_pairs": purity.unlabeled,
            "purity": purity.purity.value,
            "purity_chance": purity.purity.chance,
            "purity_neighbor_chance": purity.neighbor_chance,
            **discovery_figures(images, regions, pairs),
            **correspondence_figures(images, regions, pairs),
        }
    return figures


def discovery_figures(images: ImageSet, regions: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Any]:
    """Whether the first boxes of images are on objects, by two orders of the boxes."""
    ids, objects = images.table["image_id"].to_numpy(), images.objects
    figures: dict[str, Any] = {}
    for name, ordered in (("corloc", regions), ("corloc_support", discovery.by_support(regions, pairs))):
        if (items := discovery.corloc(ids, objects, ordered)) is not None:
            figures[name] = items.value()
            figures[f"{name}_interval"] = within(items)
    found = discovery.recall_at(ids, objects, regions)
    return figures | {
        "recall_at_boxes": {str(count): items.value() for count, items in found.items()},
        "recall_at_boxes_interval": {str(count): within(items) for count, items in found.items()},
    }


def correspondence_figures(images: ImageSet, regions: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Any]:
    """Purity with its interval, by rank, and by the category of the query."""
    ids = images.table["image_id"].to_numpy()
    found = correspondence.object_pairs(pairs, diagnostics.region_categories(regions, images.objects))
    if not len(found):
        return {}
    ranks = correspondence.purity_by_rank(ids, found)
    categories = correspondence.purity_by_category(ids, found)
    return {
        "purity_interval": within(Scored.of_images(found["same"], found["image_id"], ids)),
        "purity_by_rank": [_told(items) for _, items in sorted(ranks.items())],
        "purity_by_category": {name: _told(items) for name, items in list(categories.items())[:CATEGORIES]},
    }


def _told(items: Scored) -> dict[str, Any]:
    return {"purity": items.value(), "interval": within(items), "pairs": len(items.score)}


def within(items: Items) -> list[float]:
    """95 % interval over images of a share, [low, high], within 0 and 1."""
    low, high = interval(resampled(items), items.value())
    return [min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0)]


def _plain(value: Any) -> Any:
    """JSON values: numpy's numbers as Python's, figures rounded to six digits, keys without a figure (nan) left out."""
    if isinstance(value, dict):
        plain = {key: _plain(item) for key, item in value.items()}
        return {key: item for key, item in plain.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
