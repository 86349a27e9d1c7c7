"""How much faster are regions embedded than by a loop over boxes?

The loop is what one writes first: for each box, Pillow cuts it out and resizes it, torchvision makes a normalized
tensor, and the boxes of an image go through the network. `embed_regions` is what stage 2 calls, in float32 and, as
stage 2 does unless told otherwise, in bfloat16. All over the same boxes of the same practice scenes, in turns, in
processor time. The network of the default is the paper's, with random weights; it takes most of the time on a CPU, so
the crops are also timed alone.

    python benchmarks/region_embedding.py --images 6 --boxes 12
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import report
import torch
from PIL import Image
from torchvision.transforms import functional as tvf

from orl_explore.embedding import embed_regions
from orl_explore.encoder import Encoder
from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images
from orl_explore.practice.scenes import compose_scene
from orl_explore.settings import EncoderSettings
from orl_explore.views import cropping, tensors

WIDTH, HEIGHT = 640, 480


@torch.inference_mode()
def loop(encoder: Encoder, images: ImageSet, regions: pd.DataFrame, size: int) -> np.ndarray:
    """The straightforward way; float32 (R, width), rows of length 1."""
    found = []
    for row in range(len(images)):
        image = Image.open(images.path(row)).convert("RGB")
        crops = []
        for x, y, w, h in regions.loc[
            regions["image_id"] == images.table["image_id"].iat[row], list("xywh")
        ].to_numpy():
            crop = image.crop((x, y, x + w, y + h)).resize((size, size), Image.Resampling.BILINEAR)
            crops.append(tvf.normalize(tvf.to_tensor(crop), tensors.IMAGENET_MEAN, tensors.IMAGENET_STD))
        found.append(torch.nn.functional.normalize(encoder.features(torch.stack(crops)), dim=1))
    return torch.cat(found).numpy()


def crops_alone(images: ImageSet, regions: pd.DataFrame, size: int, *, fast: bool) -> None:
    """Decode, crop and resize, without a network."""
    for row in range(len(images)):
        boxes = regions.loc[regions["image_id"] == images.table["image_id"].iat[row], list("xywh")].to_numpy().tolist()
        if fast:
            pixels = images.load_pixels(row)
            np.stack([cropping.crop_pixels(pixels, tuple(box), size) for box in boxes])
        else:
            image = Image.open(images.path(row)).convert("RGB")
            np.stack([np.asarray(cropping.crop_image(image, tuple(box), size)) for box in boxes])


def seconds(way: Callable[[], object]) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


def main() -> None:
    """Time the ways in turns and write benchmarks/results/region_embedding.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6, help="scenes of 640 x 480 (default: 6)")
    parser.add_argument("--boxes", type=int, default=12, help="boxes in each (default: 12)")
    parser.add_argument("--backbone", default="resnet50", help="default: resnet50")
    parser.add_argument("--size", type=int, default=224, help="side of the crops, pixels (default: 224)")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default: 3)")
    arguments = parser.parse_args()
    size = arguments.size
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.images):
            pixels, _, _ = compose_scene(np.random.default_rng(seed), size=WIDTH)
            Image.fromarray(pixels[80 : 80 + HEIGHT]).save(Path(folder) / f"{seed:03}.jpg", quality=90)
        images = open_images([Path(folder)])
        rng = np.random.default_rng(0)
        sides = rng.integers(96, 300, (arguments.images * arguments.boxes, 2))
        corners = rng.integers(0, np.array([WIDTH, HEIGHT]) - sides + 1)
        regions = pd.DataFrame(np.column_stack([corners, sides]), columns=list("xywh"))
        regions.insert(0, "image_id", np.repeat(images.table["image_id"].to_numpy(), arguments.boxes))
        plain = Encoder.random(EncoderSettings(arguments.backbone, 0, 0), seed=0).eval()
        own = copy.deepcopy(plain)
        options = {"size": size, "batch_size": 64}
        ways: dict[str, Callable[[], np.ndarray]] = {
            "a loop over boxes, Pillow, float32": lambda: loop(plain, images, regions, size),
            "embed_regions, float32": lambda: embed_regions(own, images, regions, **options),  # type: ignore[arg-type]
            "embed_regions, bfloat16": lambda: embed_regions(own, images, regions, **options, bf16=True),  # type: ignore[arg-type]
        }
        vectors = {name: way() for name, way in ways.items()}  # and warm up
        times: dict[str, list[float]] = {name: [] for name in ways}
        alone: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                times[name].append(seconds(way))
            for fast in alone:
                alone[fast].append(seconds(lambda fast=fast: crops_alone(images, regions, size, fast=fast)))  # type: ignore[misc]
    first = next(iter(ways))
    base = np.median(times[first])
    rows: list[list[object]] = [["way", "ms of a core per box", "ratio", "largest relative difference of a feature"]]
    for name, found in times.items():
        away = np.linalg.norm(vectors[name] - vectors[first], axis=1).max()  # of vectors of length 1
        each = np.median(found) / len(regions) * 1000
        rows.append([name, f"{each:.1f}", f"{base / np.median(found):.2f}x", f"{away:.1e}"])
    slow, fast = (np.median(alone[key]) / len(regions) * 1000 for key in (False, True))
    body = (
        f"{len(regions)} boxes of {len(images)} practice scenes of {WIDTH} x {HEIGHT}, {arguments.backbone} with random"
        f" weights at {size} px, one core; {arguments.rounds} rounds, medians; seed 0.\n\n"
        f"{report.markdown_table(rows)}\n\n"
        f"Decoding, cropping and resizing alone: Pillow {slow:.2f} ms a box, `embed_regions` {fast:.2f} ms:"
        f" {slow / fast:.1f}x."
    )
    report.save("region_embedding", "Embedding regions", body)


if __name__ == "__main__":
    main()
