"""Write a simulated run as large as COCO train2017, to see whether the dashboard stands it.

Tables and arrays have the sizes that the published settings give (118,287 images, K = 10, about 17 kept boxes and 85
pairs an image); what is in them is random. Two things are smaller than in a real run: region embeddings are 64 wide
instead of 2048, and there are 60 proposals an image (7 M rows). A sample of the boxes is embedded and mapped by the
untrained encoder, stage 1 and stage 3, as wide as a ResNet-18's features, for the pages that compare encoders. Images
are a few hundred small JPEGs that many rows share. Ids are in no order, as in COCO's own files, and rows are grouped by
image in the order of the images table.

    python benchmarks/make_large_run.py /tmp/large/coco
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from orl_explore.encoder import Encoder
from orl_explore.images.image_set import ImageSet
from orl_explore.maps import object_map
from orl_explore.practice.scenes import make_scenes
from orl_explore.runs import region_embeddings
from orl_explore.runs.encoders import run_encoders
from orl_explore.runs.files import hash_file, known_hash, write_array, write_json
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES
from orl_explore.settings import Config, EncoderSettings, Stage1Settings, Stage2Settings, Stage3Settings

COCO_IMAGES = 118_287
SIZE = (640, 480)
ENCODER = {"backbone": "timm:resnet18", "hidden": 1024, "dim": 256}
FEATURES = 512  # of this backbone


def make_large_run(
    out: Path,
    *,
    images: int = COCO_IMAGES,
    pictures: int = 200,
    k: int = 10,
    boxes: int = 17,
    proposals: int = 60,
    pairs: int = 85,
    width: int = 64,
    seed: int = 0,
) -> Run:
    """Write the run.

    Args:
        out: folder of the run; it must not exist. The pictures go beside it, into NAME-pictures.
        images: rows of the images table.
        pictures: JPEG files that they share.
        k: neighbors per image.
        boxes: kept boxes per image on average; every image has one at least.
        proposals: raw boxes per image.
        pairs: pairs per image, a multiple of k or not.
        width: of the region embeddings.
        seed: of all that is random.
    """
    if out.exists():
        raise SystemExit(f"{out} exists: choose another folder, or delete it")
    rng = np.random.default_rng(seed)
    folder = out.parent / f"{out.name}-pictures"
    folder.mkdir(parents=True, exist_ok=True)
    scenes = make_scenes(folder / "scenes", count=min(pictures, images), size=160, seed=seed)
    files = sorted((scenes.parent / "images").iterdir())
    for number, file in enumerate(files):
        Image.open(file).convert("RGB").resize(SIZE).save(folder / f"{number:04d}.jpg", quality=80)
    shutil.rmtree(folder / "scenes")

    run = Run(out)
    ids = rng.permutation(images * 5)[:images].astype(np.int64) + 1
    contexts = np.array(["beach", "desk", "forest", "kitchen", "street", "workshop"])
    table = pd.DataFrame(
        {
            "image_id": ids,
            "file_name": np.char.mod("%04d.jpg", np.arange(images) % len(files)),
            "source": np.int16(0),
            "width": np.int32(SIZE[0]),
            "height": np.int32(SIZE[1]),
            "content_hash": np.char.mod("%032x", np.arange(images)),
            "context": contexts[rng.integers(0, len(contexts), images)],
        }
    )
    count = 7 * images
    corner, side = rng.uniform(0, 300, (count, 2)), rng.uniform(20, 180, (count, 2))
    objects = pd.DataFrame(
        {
            "object_id": np.arange(count),
            "image_id": np.repeat(ids, 7),
            "x": corner[:, 0],
            "y": corner[:, 1],
            "w": side[:, 0],
            "h": side[:, 1],
            "category": np.char.mod("category %d", rng.integers(0, 80, count)),
            "segmentation": None,
        }
    )
    skipped = pd.DataFrame(columns=["file_name", "reason"])
    run.set_images(ImageSet(table, objects, skipped, (folder.absolute(),)), ["simulated"])

    neighbor = (np.arange(images)[:, None] + rng.integers(1, images, (images, k))) % images  # (N, k), never itself
    similarity = -np.sort(-rng.uniform(0.4, 1, (images, k)), axis=1)
    run.write(
        "neighbors",
        pd.DataFrame(
            {
                "image_id": np.repeat(ids, k),
                "rank": np.tile(np.arange(k), images),
                "neighbor_id": ids[neighbor.ravel()],
                "similarity": similarity.ravel(),
            }
        ),
    )
    run.write(
        "proposals",
        _boxes(rng, images * proposals).assign(
            image_id=np.repeat(ids, proposals),
            rank=np.tile(np.arange(proposals), images),
            reason=np.array(["kept", "side", "aspect", "iou"])[rng.integers(0, 4, images * proposals)],
        ),
    )
    of_image = np.maximum(1, rng.poisson(boxes, images))  # regions of each image
    first = np.cumsum(of_image) - of_image
    total = int(of_image.sum())
    run.write("regions", _boxes(rng, total).assign(region_id=np.arange(total), image_id=np.repeat(ids, of_image)))
    query = np.repeat(np.arange(images), pairs)
    rank = np.tile(np.sort(np.arange(pairs) % k), images)  # pairs of the nearest neighbor first
    place = np.tile(pd.Series(np.sort(np.arange(pairs) % k)).groupby(np.sort(np.arange(pairs) % k)).cumcount(), images)
    key = neighbor[query, rank]
    run.write(
        "pairs",
        pd.DataFrame(
            {
                "image_id": ids[query],
                "neighbor_id": ids[key],
                "neighbor_rank": rank,
                "rank": place,
                "query_region": first[query] + rng.integers(0, 2**31, len(query)) % of_image[query],
                "key_region": first[key] + rng.integers(0, 2**31, len(query)) % of_image[key],
                "similarity": rng.uniform(0.3, 1, len(query)),
            }
        ),
    )
    for name, rows, columns, kind in (
        ("image_embeddings", images, ENCODER["dim"], np.float32),
        ("region_embeddings", total, width, np.float16),
    ):
        vectors = rng.standard_normal((rows, int(columns)), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        write_array(run.file(name), vectors.astype(kind))
    _stages(run, images, seed)
    _map(run, rng, total)
    for encoder in ("stage1", "untrained", "stage3"):  # the maps of the others lie on that of stage 1
        _embed(run, encoder, rng, total, seed)
    return run


def _map(run: Run, rng: np.random.Generator, regions: int, encoder: str = region_embeddings.MINED) -> None:
    """A map of as many regions as `orl map` draws at most, at random places: laying them out takes UMAP long."""
    rows = region_embeddings.sample(regions, limit=region_embeddings.LIMIT, seed=0)
    group = rng.integers(0, 12, len(rows))
    x, y = np.column_stack([np.cos(group), np.sin(group)]).T + rng.normal(0, 0.2, (2, len(rows)))
    table = pd.DataFrame({"region_id": rows, "x": x, "y": y, "cluster": group}).astype(TABLES["object_map"].columns)
    base = encoder in (region_embeddings.MINED, "stage1")
    aligned = {} if base else {"encoder": "stage1", "hash": known_hash(object_map.map_file(run, "stage1"))}
    made = object_map.ObjectMap(table, object_map.MapSettings(), regions, encoder, aligned)
    object_map.write_object_map(run, made, object_map.fingerprint(run, encoder))


def _embed(run: Run, encoder: str, rng: np.random.Generator, regions: int, seed: int) -> None:
    """Embeddings of the sample that `orl embed-regions` takes, around 80 random directions, and a map of them."""
    rows = region_embeddings.sample(regions, limit=region_embeddings.LIMIT, seed=seed)
    centers = rng.standard_normal((80, FEATURES), dtype=np.float32)
    vectors = centers[rng.integers(0, 80, len(rows))] + rng.standard_normal((len(rows), FEATURES), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    folder = region_embeddings.folder_of(run, encoder)
    write_array(folder / region_embeddings.VECTORS, vectors.astype(np.float16))
    write_array(folder / region_embeddings.IDS, rows)
    facts = {
        "encoder": encoder,
        "hash": run_encoders(run)["random" if encoder == "untrained" else encoder].hash(),
        "regions": region_embeddings.regions_fingerprint(run),
        "sample": {"count": len(rows), "of": regions, "seed": seed if len(rows) < regions else None},
        "size": 64,
        "precision": "fp32",
    }
    write_json(folder / region_embeddings.MANIFEST, facts)
    _map(run, rng, regions, encoder)


def _boxes(rng: np.random.Generator, count: int) -> pd.DataFrame:
    corner, side = rng.integers(0, (400, 300), (count, 2)), rng.integers(96, 180, (count, 2))
    return pd.DataFrame({"x": corner[:, 0], "y": corner[:, 1], "w": side[:, 0], "h": side[:, 1]})


def _stages(run: Run, images: int, seed: int) -> None:
    """Three finished stages: records, metrics of 800 epochs (fewer steps than the real 184,800), encoders, summary."""
    encoder = Encoder.random(EncoderSettings(**ENCODER), seed)  # type: ignore[arg-type]
    shared = {"encoder": EncoderSettings(**ENCODER), "image_size": 64, "epochs": 800}  # type: ignore[arg-type]
    config = Config(
        seed=seed,
        stage1=Stage1Settings(**shared),  # type: ignore[arg-type]
        stage2=Stage2Settings(image_size=64),
        stage3=Stage3Settings(**shared, patch_size=32),  # type: ignore[arg-type]
    )
    steps = np.arange(800 * 10)
    for stage in ("stage1", "stage3"):
        run.encoder_file(stage).parent.mkdir(parents=True, exist_ok=True)
        encoder.save(run.encoder_file(stage), stage=stage, image_size=64)
        loss = 4 * np.exp(-steps / 2000) + 1
        last = steps % 10 == 9
        frame = {
            "step": steps,
            "epoch": steps // 10,
            "lr": 0.4 * (1 + np.cos(np.pi * steps / len(steps))) / 2,
            "momentum": 1 - 0.01 * (1 + np.cos(np.pi * steps / len(steps))) / 2,
            "loss": loss * (3 if stage == "stage3" else 1),
            "loss_image": loss,
            **({"loss_intra": loss, "loss_inter": loss} if stage == "stage3" else {}),
            "std": np.where(last, 0.9, np.nan),
            "rank": np.where(last, 120.0, np.nan),
        }
        pd.DataFrame(frame).to_csv(run.path / stage / "metrics.csv", index=False)
    fingerprint = run.manifest()["images"]["fingerprint"]
    outputs = {
        "stage1": {"encoder": hash_file(run.encoder_file("stage1"))},
        "stage2": {"region_embeddings": hash_file(run.file("region_embeddings"))},
        "stage3": {"encoder": hash_file(run.encoder_file("stage3"))},
    }
    for stage in outputs:
        with run.working_on(stage, config=config.stage_dict(stage), seed=seed, inputs={"images": fingerprint}):
            run.note(stage, outputs=outputs[stage])
    judged = {"object_probe": 0.5, "object_knn": 0.4, "scene_map": 0.3, "feature_std": 0.7, "feature_rank": 150.0}
    (run.path / "evaluation").mkdir(exist_ok=True)
    write_json(
        run.path / "evaluation" / "summary.json",
        {
            "seed": seed,
            "counts": {"images": images, "skipped": 0, "objects": 7 * images, "categories": 80},
            "random": judged,
            "stage1": judged | {"epochs": 800, "loss": 1.0},
            "stage3": judged | {"epochs": 800, "loss": 3.0},
            "stage2": {"recall_50": 0.5, "purity": 0.4, "context_agreement": 0.2},
            "chance": {"object_probe": 0.1, "object_knn": 0.1, "scene_map": 0.05},
        },
    )


def main() -> None:
    """Write the run and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the run; it must not exist")
    parser.add_argument("--images", type=int, default=COCO_IMAGES, help=f"images (default: {COCO_IMAGES:,})")
    parser.add_argument("--pictures", type=int, default=200, help="JPEG files that they share (default: 200)")
    arguments = parser.parse_args()
    start = time.perf_counter()
    run = make_large_run(arguments.out, images=arguments.images, pictures=arguments.pictures)
    size = sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())
    print(f"{run.path}: {arguments.images:,} images, {size / 1e9:.2f} GB, in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
