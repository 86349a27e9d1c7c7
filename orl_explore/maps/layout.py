"""Lay vectors out in the plane with UMAP: neighbors by exact search, then UMAP's own rounds, and how far it is."""

from __future__ import annotations

import atexit
import functools
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.maps.alignment import NEAR

Progress = Callable[[int, int], None]

PERCENT: Final = 100
"""What progress is counted in."""

ROUNDS: Final = 200
"""UMAP's rounds (epochs). A hundred keep one to two of a hundred neighbors less, five hundred one more."""

GENTLE: Final = 0.1
"""UMAP's learning rate for a map that begins at another one, in place of 1: points leave their places only where the
features ask for it. `benchmarks/object_maps.py` compares it with other ways."""

EXACT: Final = 6e11
"""Products up to which neighbors are searched with all numbers of the vectors; of more, with `REDUCED` components."""

REDUCED: Final = 128

SEARCH_COST, GRAPH_COST, ROUND_COST, START_COST = 1.7e-11, 6e-5, 1.15e-7, 2.0
"""Seconds on one core: a product of the search; a vector's part of the graph and of where the layout begins; a round of
a neighbor of a vector; loading UMAP, once a process. Only their ratios matter: they say how much is behind."""

_loaded = threading.Event()

BLOCK: Final = 1024


def directions(vectors: NDArray[np.floating], metric: str = "cosine") -> NDArray[np.float32]:
    """Rows of length 1 whose dot products order pairs as the metric does.

    Args:
        vectors: (N, D), rows of length 1, for which cosine and euclidean distances are in one order.
        metric: cosine, euclidean, or correlation, the cosine after the mean of each row is taken away.
    """
    found = np.asarray(vectors, np.float32)
    if metric == "correlation":
        found = found - found.mean(axis=1, keepdims=True)
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return np.ascontiguousarray(found)


def feature_neighbors(
    vectors: NDArray[np.floating], count: int, *, metric: str = "cosine", progress: Progress | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The nearest rows of each row, without the row itself, nearest first.

    Args:
        vectors: (N, D), rows of length 1.
        count: how many, at most N - 1.
        metric: see `directions`.
        progress: called as progress(rows done, N).

    Returns:
        Rows (N, count) int32 and their cosines (N, count) float32.
    """
    import faiss

    rows = directions(vectors, metric)
    if float(len(rows)) ** 2 * rows.shape[1] > EXACT and rows.shape[1] > REDUCED:
        rows = _components(rows, REDUCED)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    count = min(count, len(rows) - 1)
    ids, cosines = np.empty((len(rows), count), np.int32), np.empty((len(rows), count), np.float32)
    for start in range(0, len(rows), BLOCK):
        block = slice(start, min(start + BLOCK, len(rows)))
        found_cosines, found = index.search(rows[block], count + 1)
        own = found == np.arange(block.start, block.stop)[:, None]
        own[~own.any(axis=1), -1] = True  # among many equal ones, a row need not find itself
        ids[block] = found[~own].reshape(-1, count)
        cosines[block] = found_cosines[~own].reshape(-1, count)
        if progress:
            progress(block.stop, len(rows))
    return ids, cosines.clip(-1, 1)


def _components(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The first principal components through the origin, at length 1 again."""
    _, axes = np.linalg.eigh(rows.T @ rows)
    found = rows @ axes[:, -count:]
    return np.ascontiguousarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))


class Layout(NamedTuple):
    """A layout, and what it was made from."""

    points: NDArray[np.float32]
    """(N, 2)."""
    neighbors: NDArray[np.int32]
    """(N, at least 15 where there are so many), the nearest rows of each row by the features."""


def umap_layout(
    vectors: NDArray[np.float32],
    *,
    neighbors: int,
    min_dist: float,
    metric: str,
    seed: int,
    init: NDArray[np.floating] | None = None,
    progress: Progress | None = None,
) -> Layout:
    """UMAP to two dimensions.

    Args:
        vectors: (N, D), rows of length 1.
        neighbors: neighbors kept together, without the row itself; fewer where there are fewer rows.
        min_dist: least distance between points.
        metric: see `directions`.
        seed: the same points again.
        init: (N, 2), where the points begin; default: UMAP's own beginning, which tells apart what is unconnected.
        progress: called as progress(percent, 100), of the time that all of it takes.

    Returns:
        Points (N, 2) float32, finite, and the neighbors that they were made from.

    Raises:
        OrlError: UMAP is not installed.
    """
    count = len(vectors)
    neighbors = min(neighbors, count - 1)
    search = SEARCH_COST * count * min(count * vectors.shape[1], EXACT / count if count else 0)
    rounds = ROUND_COST * count * neighbors * ROUNDS
    start = GRAPH_COST * count + (0.0 if _loaded.is_set() else START_COST)
    tell = _Share(progress, search + start + rounds)
    tell(0.0)
    umap = _umap()
    nearest, cosines = feature_neighbors(
        vectors, max(neighbors, NEAR), metric=metric, progress=lambda done, total: tell(search * done / total)
    )
    ids, cosines = nearest[:, :neighbors], cosines[:, :neighbors]
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 0)) if metric == "euclidean" else np.maximum(1 - cosines, 0)
    itself = np.arange(count, dtype=np.int32)[:, None]  # UMAP counts a row as its own first neighbor
    known = np.hstack([itself, ids]), np.hstack([np.zeros((count, 1), np.float32), distances.astype(np.float32)])
    layout = umap.UMAP(
        n_neighbors=neighbors + 1,
        n_epochs=ROUNDS,
        learning_rate=1.0 if init is None else GENTLE,
        min_dist=min_dist,
        metric=metric,
        random_state=seed,
        n_jobs=1,  # what a seed means to UMAP; said here, or it warns
        init=_beginning(init) if init is not None else "spectral" if count > 50 else "random",
        precomputed_knn=known,
        force_approximation_algorithm=True,  # else it leaves what it is given, up to 4096 rows
        tqdm_kwds={
            "disable": progress is None,
            "file": _Rounds(lambda done, total: tell(search + start + rounds * done / total)),
            "bar_format": "{n}/{total}",
            "mininterval": 0.2,
        },
    )
    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="precomputed_knn")  # no new points will be laid out
            points = layout.fit_transform(vectors)
    finally:
        torch.set_num_threads(threads)  # Numba begins with a thread for each core, and sets as many for PyTorch, too
    tell(search + start + rounds)
    _loaded.set()
    if not np.isfinite(points).all():  # regions that UMAP finds unconnected to all others
        points = np.where(np.isfinite(points), points, np.nanmean(np.where(np.isfinite(points), points, np.nan), 0))
    return Layout(points.astype(np.float32), nearest)


def _beginning(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Points in the square that UMAP begins in, 0..10."""
    low, high = points.min(axis=0), points.max(axis=0)
    return (10 * (points - low) / np.maximum((high - low).max(), 1e-12)).astype(np.float32)


@functools.cache
def _umap() -> Any:
    """UMAP; where there is no place for what it compiles, in a folder that goes with this process.

    Raises:
        OrlError: it is not installed.
    """
    try:
        try:
            return _umap_that_keeps()
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            import numba

            for name in [name for name in sys.modules if name.partition(".")[0] in ("umap", "pynndescent")]:
                del sys.modules[name]  # half of it is there
            folder = tempfile.mkdtemp(prefix="orl-numba-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]
            return _umap_that_keeps()
    except ModuleNotFoundError:
        raise OrlError("the map needs UMAP: pip install umap-learn") from None


def _umap_that_keeps() -> Any:
    """UMAP, told to keep on disk what it compiles: by itself it compiles for five seconds in every process."""
    import umap
    from numba.core.dispatcher import Dispatcher

    for function in [*vars(umap.umap_).values(), *vars(umap.layouts).values()]:
        if isinstance(function, Dispatcher):
            function.enable_caching()
    return umap


class _Share:
    """Seconds that are behind, of all, as percent; each percent is told once."""

    def __init__(self, progress: Progress | None, total: float):
        self.progress, self.total, self.last = progress, total, -1

    def __call__(self, seconds: float) -> None:
        percent = int(PERCENT * seconds / self.total + 1e-9)
        if self.progress and percent > self.last:
            self.last = percent
            self.progress(percent, PERCENT)


class _Rounds:
    """Takes the bar that UMAP would print, "3/200", as numbers: UMAP has no other way to tell how far it is."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def write(self, text: str) -> None:
        done, _, total = text.strip().partition("/")
        if done.isdecimal() and total.isdecimal():
            self.progress(int(done), int(total))

    def flush(self) -> None:
        pass
