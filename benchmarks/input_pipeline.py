"""What does a stage-3 sample cost a core, from JPEG files of 640 x 480 to a batch, and where does the time go?

Four ways side by side, in turns, over the same images: a straightforward one written down here (Pillow and
torchvision, operation by operation as the method lists them), and the project's own with each value of `augment`. Times
are processor time of one core, medians over rounds, so that other work on the machine matters little. What `device`
leaves to the device is measured apart.

    python benchmarks/input_pipeline.py                     # practice scenes
    python benchmarks/input_pipeline.py --photos FOLDER     # photographs, cut to 640 x 480
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pandas as pd
import report
import torch
from PIL import Image, ImageFilter, ImageOps
from torch.utils.data import default_collate
from torchvision.transforms import v2

from orl_explore.images import decoding
from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images
from orl_explore.practice.scenes import compose_scene
from orl_explore.runs.samples import ObjectViews
from orl_explore.settings import Stage3Settings
from orl_explore.views import cropping, device
from orl_explore.views.renderers import collate, finish

WIDTH, HEIGHT = 640, 480
NEIGHBORS, BOXES, PAIRS = 10, 50, 5
WAYS = ("pil", "cpu", "device")
PARTS = ("draw", "decode", "crop and resize", "augment", "collate")


# ---- the straightforward way -------------------------------------------------------------------------------


def blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def solarize(image: Image.Image) -> Image.Image:
    return ImageOps.solarize(image, 128)


def distortions(view: int) -> v2.Compose:
    """What is done to a crop, by the method's list; the batch is normalized on the device in every way compared."""
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.Lambda(blur)], (1.0, 0.1)[view]),
            v2.RandomApply([v2.Lambda(solarize)], (0.0, 0.2)[view]),
            v2.PILToTensor(),
        ]
    )


def jittered(box: Sequence[int]) -> tuple[int, int, int, int]:
    x, y, w, h = box
    for _ in range(200):
        area, aspect = w * h * random.uniform(0.5, 2), math.exp(random.uniform(math.log(0.5), math.log(2)))
        w2, h2 = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        x2 = round(x + w / 2 + random.uniform(-0.5, 0.5) * w - w2 / 2)
        y2 = round(y + h / 2 + random.uniform(-0.5, 0.5) * h - h2 / 2)
        if x2 < 0 or y2 < 0 or x2 + w2 > WIDTH or y2 + h2 > HEIGHT:
            continue
        across = max(0, min(x + w, x2 + w2) - max(x, x2))
        common = across * max(0, min(y + h, y2 + h2) - max(y, y2))
        if common > 0.5 * (w * h + w2 * h2 - common):
            return x2, y2, w2, h2
    return x, y, w, h


class Straightforward:
    """A stage-3 data set as one writes it down from the method."""

    def __init__(self, images: ImageSet, regions: pd.DataFrame, pairs: pd.DataFrame):
        self.paths = [images.path(row) for row in range(len(images))]
        self.boxes = regions[list("xywh")].to_numpy().tolist()
        row_of = {image_id: row for row, image_id in enumerate(images.table["image_id"])}
        neighbors = [row_of[image_id] for image_id in pairs["neighbor_id"]]
        self.pairs = list(zip(neighbors, pairs["query_region"], pairs["key_region"], strict=True))
        self.crop = v2.RandomResizedCrop(224, (0.08, 1), (3 / 4, 4 / 3), antialias=True)
        self.distort = [distortions(0), distortions(1)]

    def batch(self, rows: Sequence[int]) -> tuple[np.ndarray, list[Any]]:
        """Samples, and the processor time of their parts, seconds for all."""
        laps, samples = zip(*(self._one(row) for row in rows), strict=True)
        return np.sum(laps, axis=0), list(samples)

    def _one(self, row: int) -> tuple[list[float], Any]:
        clock = Clock()
        neighbor_row, query, key = random.choice(self.pairs[row * NEIGHBORS * PAIRS : (row + 1) * NEIGHBORS * PAIRS])
        box = random.choice(self.boxes[row * BOXES : (row + 1) * BOXES])
        boxes = [box, jittered(box), self.boxes[query], self.boxes[key]]
        clock.lap()
        image, neighbor = (Image.open(self.paths[i]).convert("RGB") for i in (row, neighbor_row))
        clock.lap()
        crops = [self.crop(image), self.crop(image)]
        for (x, y, w, h), of in zip(boxes, (image, image, image, neighbor), strict=True):
            crops.append(of.crop((x, y, x + w, y + h)).resize((96, 96), Image.Resampling.BILINEAR))
        clock.lap()
        names = ("view1", "view2", "intra1", "intra2", "inter1", "inter2")
        sample = {name: self.distort[n % 2](crop) for n, (name, crop) in enumerate(zip(names, crops, strict=True))}
        clock.lap()
        return clock.laps, sample


# ---- the project's own -------------------------------------------------------------------------------------


class Clock:
    """Processor time since the lap before."""

    def __init__(self) -> None:
        self.laps: list[float] = []
        self.last = time.process_time()

    def lap(self) -> None:
        """End a lap."""
        self.laps.append(self.since())

    def since(self) -> float:
        """End a lap without keeping it."""
        before, self.last = self.last, time.process_time()
        return self.last - before


class Own:
    """`ObjectViews`, asked for a batch at once as a loader does; its parts are timed by doing each once more."""

    def __init__(self, samples: ObjectViews, *, augment: str, decoder: Callable[[bytes], Any]):
        self.samples, self.augment, self.decoder = samples, augment, decoder

    def batch(self, rows: Sequence[int]) -> tuple[np.ndarray, list[Any]]:
        """Samples, and the processor time of their parts, seconds for all."""
        samples, renderer, config = self.samples, self.samples.renderer, self.samples.config
        resize: Any = cropping.crop_image if self.augment == "pil" else cropping.crop_pixels
        with mock.patch.object(decoding, "jpeg_decoder", return_value=self.decoder):
            clock = Clock()
            drawn = [samples.sample(0, row) for row in rows]
            clock.lap()
            decode = crop = 0.0
            for row, sample in zip(rows, drawn, strict=True):
                image, neighbor = (renderer.load(samples.images, r) for r in (row, samples.row_of[sample.neighbor_id]))
                decode += clock.since()
                for view in sample.views:
                    resize(image, view.box, config.image_size)
                for box in (sample.intra[0].box, sample.intra[1].box, sample.inter[0].box):
                    resize(image, box, config.patch_size)
                resize(neighbor, sample.inter[1].box, config.patch_size)
                crop += clock.since()
            batch = samples.__getitems__([(0, row) for row in rows])
            whole = clock.since()
        draw = clock.laps[0]
        return np.array([draw, decode, crop, max(0.0, whole - draw - decode - crop)]), batch


def tables(images: ImageSet) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Regions and pairs as stage 2 leaves them, drawn at random under the rules of its filter."""
    rng, ids = np.random.default_rng(0), images.table["image_id"].to_numpy()
    boxes = []
    while len(boxes) < BOXES * len(ids):
        w, h = int(rng.integers(96, 400)), int(rng.integers(96, 400))
        if max(w / h, h / w) <= 3:
            boxes.append((int(rng.integers(0, WIDTH - w + 1)), int(rng.integers(0, HEIGHT - h + 1)), w, h))
    regions = pd.DataFrame(boxes, columns=list("xywh"))
    regions.insert(0, "image_id", np.repeat(ids, BOXES))
    count = NEIGHBORS * PAIRS
    neighbors = (np.arange(len(ids))[:, None] + np.repeat(np.arange(1, NEIGHBORS + 1), PAIRS)) % len(ids)
    pairs = pd.DataFrame(
        {
            "image_id": np.repeat(ids, count),
            "neighbor_id": ids[neighbors.ravel()],
            "query_region": np.repeat(np.arange(len(ids)), count) * BOXES + rng.integers(0, BOXES, len(ids) * count),
            "key_region": neighbors.ravel() * BOXES + rng.integers(0, BOXES, len(ids) * count),
        }
    )
    return regions, pairs


def write_images(folder: Path, photos: Path | None, count: int) -> None:
    """JPEG files of 640 x 480, quality 90."""
    if photos is None:
        for seed in range(count):
            pixels, _, _ = compose_scene(np.random.default_rng(seed), size=WIDTH)
            Image.fromarray(pixels[80 : 80 + HEIGHT]).save(folder / f"{seed:04}.jpg", quality=90)
        return
    found = open_images([photos])
    rows = [r for r in range(len(found)) if found.table["width"].iat[r] >= 400 and found.table["height"].iat[r] >= 300]
    for row in rows[:count]:
        ImageOps.fit(found.load(row), (WIDTH, HEIGHT)).save(folder / f"{row:04}.jpg", quality=90)


def device_share(samples: ObjectViews, batch_size: int, way: Callable[[Any], Any] = finish) -> float:
    """Seconds per sample that `device` leaves to the device: processor time on a CPU, time on a GPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clock = time.perf_counter if device == "cuda" else time.process_time
    batch = collate([samples[0, n % len(samples)] for n in range(batch_size)])
    crops = [device.Crops(*(t.to(device) for t in view)) for view in batch.values() if isinstance(view, device.Crops)]
    seconds = []
    for _ in range(4):
        start = clock()
        for view in crops:
            way(view)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append((clock() - start) / batch_size)
    return min(seconds[1:])


def one_by_one(crops: device.Crops) -> torch.Tensor:
    """The same with torchvision's functions, which take one factor at a time: an image after the other."""
    tvf = v2.functional
    color: Any = (tvf.adjust_brightness, tvf.adjust_contrast, tvf.adjust_saturation, tvf.adjust_hue)
    out = []
    for x, row in zip(crops.pixels, crops.distortions.tolist(), strict=True):
        flip, gray, solarize, radius, *steps = row
        if flip:
            x = tvf.horizontal_flip(x)
        for step, factor in zip(steps[:4], steps[4:], strict=True):
            if step >= 0:
                x = color[int(step)](x, factor)
        if gray:
            x = tvf.rgb_to_grayscale(x, 3)
        if radius:
            x = tvf.gaussian_blur(x, [13, 13], [max(0.1, radius + 0.3)] * 2)
        out.append(tvf.solarize(x, 128) if solarize else x)
    return torch.stack(out)


def with_kornia(crops: device.Crops) -> torch.Tensor:
    """The same with kornia's functions, a factor for each image, but the color steps in one order for all of them."""
    import kornia  # type: ignore[import-not-found]

    flip, gray, solarize, radius = crops.distortions[:, :4].unbind(1)
    factors = torch.ones_like(crops.distortions[:, 4:8])
    steps = crops.distortions[:, 4:8].long()
    factors.scatter_(1, steps.clamp(min=0), torch.where(steps >= 0, crops.distortions[:, 8:], 1.0))
    brightness, contrast, saturation, hue = factors.unbind(1)
    hue = torch.where((steps == 3).any(1), hue, 0.0)
    wide = (len(flip), 1, 1, 1)
    x = crops.pixels.float() / 255
    x = torch.where(flip.view(wide) > 0, x.flip(3), x)
    x = kornia.enhance.adjust_brightness_accumulative(x, brightness)
    x = kornia.enhance.adjust_contrast_with_mean_subtraction(x, contrast)
    x = kornia.enhance.adjust_saturation_with_gray_subtraction(x, saturation)
    x = kornia.enhance.adjust_hue(x, hue * 2 * math.pi)
    x = torch.where(gray.view(wide) > 0, kornia.color.rgb_to_grayscale(x).expand_as(x), x)
    sigma = (radius + 0.3).clamp(min=0.1)[:, None].expand(-1, 2)
    blurred = kornia.filters.gaussian_blur2d(x, (13, 13), sigma, border_type="replicate")
    x = torch.where(radius.view(wide) > 0, blurred, x)
    return torch.where((solarize.view(wide) > 0) & (x >= 128 / 255), 1 - x, x)


def main() -> None:
    """Time the ways in turns and write benchmarks/results/input_pipeline.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of photographs to take in place of practice scenes")
    parser.add_argument("--images", type=int, default=32, help="images, 640 x 480 (default: 32)")
    parser.add_argument("--rounds", type=int, default=5, help="times that all ways take their turn (default: 5)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    random.seed(0)
    torch.manual_seed(0)

    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), arguments.photos, arguments.images)
        images = open_images([Path(folder)])
        regions, pairs = tables(images)
        own = {
            name: ObjectViews(images, regions, pairs, Stage3Settings(augment=name), seed=0)  # type: ignore[arg-type]
            for name in WAYS
        }
        fastest = decoding.jpeg_decoder()
        contenders: dict[str, Any] = {"straightforward": Straightforward(images, regions, pairs)}
        contenders |= {f"augment {name}": Own(s, augment=name, decoder=fastest) for name, s in own.items()}
        if fastest is not decoding.decode_with_opencv:
            contenders["augment device, without simplejpeg"] = Own(
                own["device"], augment="device", decoder=decoding.decode_with_opencv
            )
        rounds: dict[str, list[np.ndarray]] = {name: [] for name in contenders}
        for turn in range(arguments.rounds + 1):
            for name, way in contenders.items():
                parts, samples = way.batch(range(len(images)))
                clock = Clock()
                (default_collate if name == "straightforward" else collate)(samples)
                if turn:  # the first one warms up
                    rounds[name].append(np.array([*parts, clock.since()]) / len(images))
        cost = {name: np.median(found, axis=0) * 1000 for name, found in rounds.items()}
        wholes = {name: np.median(np.sum(found, axis=1)) * 1000 for name, found in rounds.items()}
        first = wholes["straightforward"]
        rows: list[list[object]] = [["ms of a core per sample", *PARTS, "in all", "samples/s per core", "ratio"]]
        for name, parts in cost.items():
            whole = wholes[name]
            cells = [f"{part:.2f}" for part in parts]
            rows.append([name, *cells, f"**{whole:.2f}**", f"{1000 / whole:.0f}", f"{first / whole:.1f}x"])
        views_left = own["device"]
        shares = {
            "this project": device_share(views_left, 64),
            "torchvision v2": device_share(views_left, 64, one_by_one),
        }
        with contextlib.suppress(ImportError):
            shares["kornia"] = device_share(views_left, 64, with_kornia)

    on = torch.cuda.get_device_name() if torch.cuda.is_available() else "one CPU core, for want of a GPU"
    source = "photographs" if arguments.photos else "practice scenes"
    body = (
        f"{len(images)} {source} of {WIDTH} x {HEIGHT}, JPEG quality 90; {arguments.rounds} rounds, medians; views of"
        f" 224, patches of 96; seed 0. JPEG files are decoded by {fastest.__module__.partition('.')[0]} unless said"
        f" otherwise. Augmenting is what remains of a batch when the other parts, each done alone, are taken off.\n\n"
        f"{report.markdown_table(rows)}\n\n"
        f"Left to the device by `augment device`, ms per sample on {on}, batch 64: "
        + ", ".join(f"{name} {seconds * 1000:.2f}" for name, seconds in shares.items())
        + ". torchvision v2 takes an image after the other, kornia one order of the color steps for a whole batch."
    )
    report.save(
        "input_pipeline-photos" if arguments.photos else "input_pipeline", "What a stage-3 sample costs a core", body
    )


if __name__ == "__main__":
    main()
