"""Is the fast selective search as good as OpenCV's, and how much faster?

Speed is processor time on one core, warm, on practice scenes and photographs of at most 640 x 480 pixels. Quality is
judged on all boxes and on those that stage 2 keeps: on scenes against the true boxes, on photographs by whether a box
that OpenCV keeps has a counterpart. The filter of stage 2 walks boxes in random order, so that not even two orders of
the same boxes keep the same ones: OpenCV against itself in another order says how much is chance. Without chance, the
fast search's boxes are filtered in OpenCV's order.

    python benchmarks/selective_search.py PHOTOS
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np
import report

from orl_explore.boxes import filter_boxes, iou, is_kept
from orl_explore.images.opening import open_images
from orl_explore.practice.scenes import compose_scene
from orl_explore.proposals import selective_search

WIDTH, HEIGHT = 640, 480
OTHER = 10**6  # a seed that no picture has

reference = partial(selective_search, method="opencv")


class Boxes:
    """What one way to search finds in each picture, and the processor time that it took."""

    def __init__(self, name: str, search: Callable[..., np.ndarray] | None = None, *, seed: int = 0):
        self.name, self.search, self.seed = name, search, seed
        self.seconds: list[float] = []
        self.all: list[np.ndarray] = []
        self.kept: list[np.ndarray] = []

    def find(self, image: np.ndarray) -> None:
        """Search one more picture."""
        assert self.search
        start = time.process_time()
        boxes = self.search(image, seed=self.seed + len(self.all))
        self.seconds.append(time.process_time() - start)
        self.add(boxes)

    def add(self, boxes: np.ndarray) -> None:
        """Take the boxes of one more picture and filter them as stage 2 does."""
        self.all.append(boxes)
        self.kept.append(boxes[is_kept(filter_boxes(boxes))])

    def times(self) -> list[str]:
        """Cells: median and mean seconds."""
        return [f"{np.median(self.seconds):.3f}", f"{np.mean(self.seconds):.3f}"] if self.seconds else ["", ""]


def in_order_of(first: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The boxes in the order in which they stand in `first`, those that are not there at random places."""
    place = {tuple(box): number for number, box in enumerate(first.tolist())}
    rng = np.random.default_rng(0)
    return boxes[np.argsort([place.get(tuple(box), rng.uniform(0, len(first))) for box in boxes.tolist()])]


def scenes(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures of 640 x 480 and the true boxes (N, 4) of their objects; those with a side below 96 px are left out."""
    for seed in range(count):
        image, objects, _ = compose_scene(np.random.default_rng(seed), size=WIDTH)
        top = (WIDTH - HEIGHT) // 2
        truth = []
        for thing in objects:
            ys, xs = np.nonzero(thing.mask[top : top + HEIGHT])
            if len(xs) and min(np.ptp(xs), np.ptp(ys)) >= 95:
                truth.append([xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1])
        yield np.ascontiguousarray(image[top : top + HEIGHT]), np.array(truth).reshape(-1, 4)


def photographs(folder: Path) -> Iterator[np.ndarray]:
    """The pictures of a folder, at most 640 x 480."""
    images = open_images([folder])
    for row in range(len(images)):
        picture = images.load(row)
        picture.thumbnail((WIDTH, HEIGHT))
        yield np.asarray(picture)


def best_overlaps(found: list[np.ndarray], wanted: list[np.ndarray]) -> np.ndarray:
    """Of every wanted box, the IoU with the nearest found one: (boxes,)."""
    return np.concatenate([iou(w, f).max(axis=1, initial=0) for w, f in zip(wanted, found, strict=True)])


def judged(found: list[np.ndarray], wanted: list[np.ndarray]) -> list[str]:
    """Cells: recall at IoU 0.5 and at 0.7, average best overlap."""
    best = best_overlaps(found, wanted)
    return [f"{(best >= 0.5).mean():.4f}", f"{(best >= 0.7).mean():.4f}", f"{best.mean():.4f}"]


def factor(slow: Boxes, fast: Boxes) -> str:
    """How many times as long the slow one took, as a sum over all pictures and as the range of the middle 90%."""
    each = np.array(slow.seconds) / np.array(fast.seconds)
    low, high = np.percentile(each, [5, 95])
    return f"**{sum(slow.seconds) / sum(fast.seconds):.1f} times** (from {low:.1f} to {high:.1f} for 90% of them)"


def on_scenes(count: int) -> Iterator[Callable[[], str]]:
    """After every scene, yield what writes the first part of the report on those so far."""
    opencv, fast = Boxes("OpenCV", reference), Boxes("fast", selective_search)
    same = Boxes("fast, in OpenCV's order")
    again = Boxes("fast, another order", selective_search, seed=OTHER)
    small = Boxes("fast, max_side 320", partial(selective_search, max_side=320))
    truths = []

    def written() -> str:
        cells = [f"{boxes}: {what}" for boxes in ("kept", "all") for what in ("recall 0.5", "0.7", "overlap")]
        rows: list[list[object]] = [["boxes", *cells, "kept", "found", "s (median)", "s (mean)"]]
        for boxes in (opencv, same, fast, again, small):
            counts = [sum(map(len, boxes.kept)), sum(map(len, boxes.all))]
            rows.append([boxes.name, *judged(boxes.kept, truths), *judged(boxes.all, truths), *counts, *boxes.times()])
        return (
            f"## Practice scenes\n\n{len(truths)} scenes of {WIDTH} x {HEIGHT} px with {sum(map(len, truths))}"
            f" objects of at least 96 px. OpenCV takes {factor(opencv, fast)} as long as the fast search.\n\n"
            + report.markdown_table(rows)
        )

    for image, truth in scenes(count):
        truths.append(truth)
        for boxes in (opencv, fast, again, small):
            boxes.find(image)
        same.add(in_order_of(opencv.all[-1], fast.all[-1]))
        yield written


def on_photographs(folder: Path) -> Iterator[Callable[[], str]]:
    """After every photograph, yield what writes the second part of the report on those so far."""
    opencv, fast = Boxes("OpenCV", reference), Boxes("fast", selective_search)
    same, itself = Boxes("fast, in OpenCV's order"), Boxes("OpenCV, another order", reference, seed=OTHER)

    def written() -> str:
        rows: list[list[object]] = [["boxes", "among the kept: IoU 0.7", "0.5", "among all: IoU 0.7"]]
        rows[0] += ["kept", "found", "s (median)", "s (mean)"]
        for boxes in (opencv, same, fast, itself):
            kept, every = best_overlaps(boxes.kept, opencv.kept), best_overlaps(boxes.all, opencv.kept)
            shares = [f"{found:.4f}" for found in ((kept >= 0.7).mean(), (kept >= 0.5).mean(), (every >= 0.7).mean())]
            rows.append([boxes.name, *shares, sum(map(len, boxes.kept)), sum(map(len, boxes.all)), *boxes.times()])
        return (
            f"## Photographs\n\nShare of the boxes kept by OpenCV that have a counterpart, on {len(opencv.all)}"
            f" photographs of at most {WIDTH} x {HEIGHT} px. OpenCV takes {factor(opencv, fast)} as long.\n\n"
            + report.markdown_table(rows)
        )

    for image in photographs(folder):
        for boxes in (opencv, fast, itself):
            boxes.find(image)
        same.add(in_order_of(opencv.all[-1], fast.all[-1]))
        yield written


def main() -> None:
    """Run both searches over the same pictures and write benchmarks/results/selective_search.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of photographs")
    parser.add_argument("--scenes", type=int, default=200, help="practice scenes (default: 200)")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    start = time.process_time()
    selective_search(np.zeros((16, 16, 3), np.uint8), seed=0)
    ready = time.process_time() - start
    intro = (
        "Seconds are processor time on one core. Getting the fast search ready took"
        f" {ready:.1f} s: compilation, or loading what an earlier process had compiled."
    )
    parts = [on_scenes(arguments.scenes), on_photographs(arguments.photos)]
    writers: list[Callable[[], str]] = []
    for number, made in enumerate(zip_longest(*parts), start=1):
        writers = [new or old for new, old in zip_longest(made, writers)]
        if number % 20 == 0:  # it takes half an hour: what is there so far is a report, too
            save(intro, writers)
    save(intro, writers)


def save(intro: str, writers: list[Callable[[], str]]) -> None:
    """Write the report on the pictures so far."""
    text = "\n\n".join([intro, *(write() for write in writers)])
    report.save("selective_search", "Selective search: fast against OpenCV", text)


if __name__ == "__main__":
    main()
