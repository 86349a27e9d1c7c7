"""How well do maps of two encoders lie on each other, how well does each keep its neighbors, and how long do they take?

Four ways to lay out the regions of a run by a second encoder, on the map by the first: a map of its own, turned onto
the first (Procrustes); one that begins at the first, with UMAP's learning rate of 1 and with the lower one that
`orl map` takes, turned onto it as well; and AlignedUMAP of umap-learn, which lays out both together. The second
features are those of the first with a little noise, which should leave every region in its place, and those of other
encoders of the run.

*Shared*: of a region's 15 nearest on the first map, how many are among its 50 nearest on the second. *Moved*: the
distance between its places, in parts of the map's radius (median). *Kept*: of its 15 nearest by its own features, how
many are among its 50 nearest on its map.

    orl embed-regions runs/demo --limit 10000
    python benchmarks/object_maps.py runs/demo

How long does one wait? `--times` measures it in seconds, when what is compiled once is compiled: the map of all boxes
by what stage 2 mined with; the map's first picture, which are two principal components; and the last step
of `orl run`, which embeds boxes by three encoders and makes three maps. On a copy of the run: nothing is changed.

    python benchmarks/object_maps.py runs/demo --times
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import report
from numpy.typing import NDArray

from orl_explore.maps import layout, object_map
from orl_explore.maps.alignment import NEAR, moved, neighbors_kept, neighbors_shared, procrustes
from orl_explore.maps.plane import plane
from orl_explore.runs.region_embeddings import read_region_embeddings
from orl_explore.runs.run import Run

SETTINGS = {"neighbors": 15, "min_dist": 0.1, "metric": "cosine"}
NOISE = 0.3
"""Length of the noise, in parts of a vector's."""


def noisy(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=vectors.shape) * NOISE / np.sqrt(vectors.shape[1])
    found = vectors + noise.astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def own(vectors: NDArray[np.float32], first: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    return procrustes(layout.umap_layout(vectors, **SETTINGS, seed=seed).points, first)


def begun(vectors: NDArray[np.float32], first: NDArray[np.float32], seed: int, rate: float) -> NDArray[np.float32]:
    usual, layout.GENTLE = layout.GENTLE, rate  # type: ignore[misc]
    try:
        return procrustes(layout.umap_layout(vectors, **SETTINGS, seed=seed, init=first).points, first)
    finally:
        layout.GENTLE = usual  # type: ignore[misc]


def together(base: NDArray[np.float32], vectors: NDArray[np.float32], seed: int) -> tuple[NDArray, NDArray]:
    from umap.aligned_umap import AlignedUMAP

    model = AlignedUMAP(
        n_neighbors=SETTINGS["neighbors"],
        min_dist=SETTINGS["min_dist"],
        metric="cosine",
        random_state=seed,
        n_epochs=layout.ROUNDS,
        alignment_window_size=1,
    )
    model.fit([base, vectors], relations=[{row: row for row in range(len(base))}])
    first, second = (np.asarray(points) for points in model.embeddings_)
    return first, second


def main() -> None:
    """Lay out, measure and write benchmarks/results/object_maps.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", action="store_true", help="how long one waits, instead")
    parser.add_argument("--without", nargs="*", default=[], help="encoders to leave out")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    run, seed = Run.open(arguments.run), arguments.seed
    if arguments.times:
        times(run)
        return
    features = {
        name: np.asarray(read_region_embeddings(run, name).vectors, np.float32)
        for name in ("stage1", "stage3", "untrained")
        if name not in arguments.without
    }
    base = features.pop("stage1")
    layout.umap_layout(base[:500], **SETTINGS, seed=seed)  # compiles
    first, seconds = timed(lambda: layout.umap_layout(base, **SETTINGS, seed=seed).points)
    rows: list[list[object]] = [["features", "way", "shared", "moved", "kept", "processor time (s)"]]
    kept = neighbors_kept(layout.feature_neighbors(base, NEAR)[0], first).mean()
    rows.append(["stage 1", "the first map", "", "", f"{kept:.3f}", f"{seconds:.1f}"])
    for name, vectors in {"stage 1 with noise": noisy(base, seed), **features}.items():
        nearest = layout.feature_neighbors(vectors, NEAR)[0]
        ways: dict[str, Callable[[], NDArray]] = {
            "own map, turned": lambda v=vectors: own(v, first, seed + 1),  # type: ignore[misc]
            "begun at the first, rate 1": lambda v=vectors: begun(v, first, seed + 1, 1.0),  # type: ignore[misc]
            "begun at the first, rate 0.1": lambda v=vectors: begun(v, first, seed + 1, 0.1),  # type: ignore[misc]
        }
        for way, make in ways.items():
            points, seconds = timed(make)
            rows.append([name, way, *figures(first, points, nearest), f"{seconds:.1f}"])
        (other, points), seconds = timed(lambda v=vectors: together(base, v, seed))  # type: ignore[misc]
        rows.append([name, "AlignedUMAP", *figures(other, points, nearest), f"{seconds:.1f} for both maps"])
    body = f"{len(base):,} regions, {base.shape[1]} numbers each; seed {seed}.\n\n{report.markdown_table(rows)}"
    report.save("object_maps", "Maps of two encoders on each other", body)


def times(run: Run) -> None:
    """Measure what one waits for and write benchmarks/results/object_map_times.md."""
    from orl_explore.figures.object_map import coloring_of_groups
    from orl_explore.figures.point_map import View, point_map
    from training.pipeline import show_objects

    with tempfile.TemporaryDirectory() as folder:
        copy = Run(Path(folder) / run.path.name)
        left_out = shutil.ignore_patterns("objects", "checkpoints", "object_map.parquet")
        shutil.copytree(run.path, copy.path, ignore=left_out)
        vectors = np.asarray(copy.read_array("region_embeddings"), np.float32)
        layout.umap_layout(vectors[:500], **SETTINGS, seed=0)  # compiles
        plane(vectors[:500])

        def first_picture() -> None:
            flat = plane(np.asarray(copy.read_array("region_embeddings"), np.float32))
            regions = copy.read("regions")
            coloring = coloring_of_groups(regions["image_id"] % 12, "a column")
            view = View("mined", flat[:, 0], flat[:, 1])
            point_map(regions["region_id"].to_numpy(), [view], coloring, alt="a map", key="k")

        done = [
            (f"first picture of {len(vectors):,} boxes (two principal components)", 5, clocked(first_picture)),
            (f"map of all {len(vectors):,} boxes", 40, clocked(lambda: object_map.make_object_map(copy))),
            ("the last step of `orl run`: three encoders embed, three maps", 60,
             clocked(lambda: show_objects(copy, copy.config()))),
        ]  # fmt: skip
    rows: list[list[object]] = [["what", "seconds", "at most"]]
    rows += [[what, f"{seconds:.1f}", str(most)] for what, most, seconds in done]
    cores = f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the end."
    report.save("object_map_times", "How long one waits for object maps", f"{cores}\n\n{report.markdown_table(rows)}")


def clocked(make: Callable[[], object]) -> float:
    start = time.perf_counter()
    make()
    return time.perf_counter() - start


def figures(first: NDArray, second: NDArray, nearest: NDArray) -> list[str]:
    return [
        f"{neighbors_shared(first, second).mean():.3f}",
        f"{np.median(moved(first, second)):.3f}",
        f"{neighbors_kept(nearest, second).mean():.3f}",
    ]


def timed(make: Callable):  # type: ignore[no-untyped-def]
    start = time.process_time()
    return make(), time.process_time() - start


if __name__ == "__main__":
    main()
