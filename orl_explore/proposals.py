"""Object proposals: selective search, and the filter's verdict on every box (ORL stage 2, steps 2 and 3)."""

from __future__ import annotations

import ctypes
import itertools
import logging
import multiprocessing
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.boxes import FALLBACK, REASONS, filter_boxes, is_kept
from orl_explore.errors import OrlError

if TYPE_CHECKING:
    from orl_explore.images.image_set import ImageSet

Method = Literal["fast", "opencv"]
"""Who searches: the compiled search of this project, or OpenCV's, the reference."""

PATIENCE = 7200.0
"""Seconds that a worker may search one picture; a hundred megapixels take minutes."""

log = logging.getLogger("orl_explore")

_search_lock = threading.Lock()


def selective_search(
    image: NDArray[np.uint8], *, seed: int, method: Method = "fast", max_side: int | None = None
) -> NDArray[np.int32]:
    """Propose boxes by selective search in OpenCV's `fast` mode.

    The search ranks its regions by random numbers, so the order of the boxes (never the set of them)
    depends on `seed`. On one platform, equal seeds give equal orders; the two methods draw different numbers.

    Args:
        image: (H, W, 3) uint8 RGB.
        seed: non-negative; its lowest 32 bits are used.
        method: "fast", or "opencv", the reference: very nearly the same boxes in many times the time.
        max_side: scale a picture whose longer side is above this down to it; boxes are of the picture as given.

    Returns:
        (N, 4) int32 xywh, in the order found; a flat picture gives one box, the whole image.

    Raises:
        OrlError: Numba is missing, or OpenCV comes without its contrib modules.
    """
    import cv2

    search = _opencv_search if method == "opencv" else _fast_search()
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return search(image, seed=seed & 0xFFFFFFFF)
    scale = max_side / max(height, width)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    reduced = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    boxes = search(reduced, seed=seed & 0xFFFFFFFF)
    enlarge = np.array([width / small[0], height / small[1]])
    corners = np.rint(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]) * np.tile(enlarge, 2)).astype(np.int32)
    return np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])


def require_search(method: Method) -> None:
    """See whether a method can search here; a pipeline asks before it trains for hours.

    Raises:
        OrlError: Numba is missing, or OpenCV comes without its contrib modules.
    """
    if method == "opencv":
        _require_contrib()
    else:
        _fast_search()


def _fast_search() -> Callable[..., NDArray[np.int32]]:
    try:
        from orl_explore import selective_search as compiled
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        raise OrlError(
            "the fast selective search needs Numba: pip install numba, or take OpenCV's with --stage2.proposals opencv"
        ) from None
    return compiled.search


def _require_contrib() -> None:
    import cv2

    if not hasattr(cv2, "ximgproc"):
        raise OrlError(
            "This OpenCV lacks selective search: pip uninstall opencv-python, "
            "then pip install --force-reinstall opencv-contrib-python"
        )


def _opencv_search(image: NDArray[np.uint8], *, seed: int) -> NDArray[np.int32]:
    import cv2

    _require_contrib()
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))  # OpenCV wants BGR
    search.switchToSelectiveSearchFast()
    # The random numbers come from the C library's rand(), which cv2.setRNGSeed does not reach and which all
    # threads of a process share: seed it there, and let no second search draw from it meanwhile.
    with _search_lock:
        ctypes.CDLL(None).srand(ctypes.c_uint(seed))
        boxes = search.process()
    return np.asarray(boxes, dtype=np.int32).reshape(-1, 4)


Judged = tuple[NDArray[np.int32], NDArray[np.str_]]
"""The boxes (N, 4) of one image and their reasons (N,)."""


class _Task(NamedTuple):
    """All that a worker needs to know besides the row."""

    images: ImageSet
    search: Callable[..., NDArray[np.int32]]  # image, seed -> boxes (N, 4)
    judge: Callable[[NDArray[np.int32]], NDArray[np.str_]]  # boxes (N, 4) -> reasons (N,)
    seed: int
    compiled: bool  # by Numba


def propose(images: ImageSet, rows: Sequence[int], **settings: Any) -> pd.DataFrame:
    """Run selective search on the images and judge every box by the filter.

    Args:
        images: where the pictures come from.
        rows: which rows of `images.table` to process; the table comes out in this order.
        settings: those of `Proposer`, and `progress`.

    Returns, raises: see `Proposer.propose`.
    """
    progress = settings.pop("progress", None)
    settings["workers"] = min(settings.get("workers", 1), len(rows))
    with Proposer(images, **settings) as proposer:
        return proposer.propose(rows, progress)


class Proposer:
    """Selective search and filter for many images; a context, whose worker processes are started once for all calls.

    Args:
        images: where the pictures come from.
        min_side: see `filter_boxes`, as for the next three.
        max_aspect: longer by shorter side.
        max_iou: overlap with a box already kept.
        max_boxes: kept boxes per image.
        method: see `selective_search`.
        max_side: see `selective_search`; None searches the full resolution.
        seed: with the image's id it seeds the search, so neither order nor `workers` changes the table.
        workers: processes; 0 or 1 stays in this one. As ever with spawned processes, a script that asks for
            more needs the guard `if __name__ == "__main__":`.

    Raises:
        ValueError: a filter setting makes no sense.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        min_side: float = 96,
        max_aspect: float = 3.0,
        max_iou: float = 0.5,
        max_boxes: int = 100,
        method: Method = "fast",
        max_side: int | None = None,
        seed: int = 0,
        workers: int = 1,
    ):
        judge = partial(filter_boxes, min_side=min_side, max_aspect=max_aspect, max_iou=max_iou, max_boxes=max_boxes)
        search = partial(selective_search, method=method, max_side=max_side)
        self._task = _Task(images, search, judge, seed, compiled=method == "fast")
        self._workers, self._in_processes = workers, workers > 1
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._end_pool()
        elif self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def propose(self, rows: Sequence[int], progress: Callable[[int, int], None] | None = None) -> pd.DataFrame:
        """Run selective search on some images and judge every box by the filter.

        Args:
            rows: which rows of `images.table` to process; the table comes out in this order.
            progress: called as progress(images done, len(rows)).

        Returns:
            One row per raw box, in the order found: `image_id` int64, `rank` int32 (0 = first), `x`, `y`, `w`,
            `h` int32, `reason` category over `boxes.REASONS`. Every image has at least one kept box: should the
            search find nothing at all, that is the whole image, as "fallback".

        Raises:
            OrlError: an image cannot be read or searched, or worker processes died until there was none left.
        """
        found: list[Judged] = []
        for judged in self._propose_all(rows):
            found.append(judged)
            if progress:
                progress(len(found), len(rows))

        counts = [len(boxes) for boxes, _ in found]
        boxes = np.concatenate([np.empty((0, 4), np.int32), *(boxes for boxes, _ in found)])
        reasons = np.concatenate([np.empty(0, "U1"), *(reasons for _, reasons in found)])
        image_ids = self._task.images.table["image_id"].to_numpy(np.int64)[list(rows)]
        return pd.DataFrame(
            {
                "image_id": np.repeat(image_ids, counts),
                "rank": np.concatenate([np.empty(0, np.int32), *(np.arange(n, dtype=np.int32) for n in counts)]),
                **dict(zip("xywh", boxes.T, strict=True)),
                "reason": pd.Categorical(reasons, categories=REASONS),
            }
        )

    def _propose_all(self, rows: Sequence[int]) -> Iterator[Judged]:
        """Yield the boxes and reasons of images in order, worked out in this process or in several."""
        if not self._in_processes:
            yield from (_propose_one(self._task, row) for row in rows)
            return
        done = 0
        while True:
            try:
                for judged in self._in_pool(rows[done:]):
                    yield judged
                    done += 1
                return
            except (BrokenProcessPool, OSError) as error:
                self._end_pool()
                if isinstance(error, OSError):  # none can be started: no room for processes, or for their semaphores
                    log.warning("no worker process can be started (%s): this goes on without, slower", error)
                    self._in_processes = False
                    yield from (_propose_one(self._task, row) for row in rows[done:])
                    return
                self._go_on_after(error, rows[done:])

    def _in_pool(self, rows: Sequence[int]) -> Iterator[Judged]:
        if self._pool is None:
            if self._task.compiled:
                from orl_explore.selective_search import warm_up

                warm_up()  # so that one process compiles it, and not all of them at once
            # Spawned, not forked: a fork of a process in which torch or OpenCV have started threads can hang.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self._workers, mp_context=context, initializer=_start_worker, initargs=(self._task,)
            )
        # Few are handed out at a time: what is known of a lost worker is that one of these cost its life.
        waiting: deque[Future[Judged]] = deque()
        ahead = iter(rows)
        while True:
            for row in itertools.islice(ahead, 4 * self._workers - len(waiting)):
                waiting.append(self._pool.submit(_propose_in_worker, row))
            if not waiting:
                return
            try:
                yield waiting.popleft().result(timeout=PATIENCE)
            except FutureTimeoutError:
                raise OrlError(
                    f"a worker process has searched one picture for {PATIENCE / 60:.0f} minutes: search smaller"
                    " pictures with --stage2.max_side 1000, or see whether the disk answers"
                ) from None

    def _go_on_after(self, error: Exception, rows: Sequence[int]) -> None:
        """Use fewer workers from now on; where there was one alone, name the picture that it was at.

        Raises:
            OrlError: the last worker died.
        """
        if self._workers == 1:
            raise OrlError(
                f"a worker process died, most likely for lack of memory, while it searched"
                f" {self._task.images.path(rows[0])}: search smaller pictures with --stage2.max_side 1000"
            ) from error
        self._workers //= 2
        log.warning(
            "a worker process that searches for boxes died, most likely for lack of memory, which large pictures need"
            " much of: this goes on with %s (setting workers)",
            f"{self._workers} of them" if self._workers > 1 else "one of them",
        )

    def _end_pool(self) -> None:
        """Shut the pool down; processes that are left, and what they were to do, are of no use."""
        if self._pool is not None:
            processes = list((self._pool._processes or {}).values())
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()
            for process in processes:
                process.join(5)
        self._pool = None


def regions_from(proposals: pd.DataFrame, *, first: int = 0) -> pd.DataFrame:
    """Number the kept boxes of a proposals table.

    Args:
        proposals: the table, or a part of it.
        first: the number that begins: of a part, how many boxes the parts before it keep.

    Returns:
        `region_id` int64 = first, first + 1, ... in table order, `image_id` int64, `x`, `y`, `w`, `h` int32.
    """
    kept = proposals.loc[is_kept(proposals["reason"]), ["image_id", "x", "y", "w", "h"]].reset_index(drop=True)
    kept.insert(0, "region_id", np.arange(first, first + len(kept), dtype=np.int64))
    return kept


_worker_task: _Task
"""Set in worker processes only, where it spares sending the images table along with every row."""


def _start_worker(task: _Task) -> None:
    import cv2

    global _worker_task
    _worker_task = task
    cv2.setNumThreads(1)  # there is a process per core already


def _propose_in_worker(row: int) -> Judged:
    return _propose_one(_worker_task, row)


def _propose_one(task: _Task, row: int) -> Judged:
    """Search one image and judge what is found."""
    import cv2

    image = np.asarray(task.images.load(row))  # (H, W, 3) uint8 RGB
    height, width = image.shape[:2]
    image_id = int(task.images.table["image_id"].to_numpy()[row])
    seed = int(np.random.SeedSequence([task.seed, image_id % 2**64]).generate_state(1)[0])
    try:
        boxes = task.search(image, seed=seed)
    except (cv2.error, MemoryError) as error:
        raise OrlError(
            f"Selective search failed on {task.images.path(row)} ({width} x {height} px): {error}. "
            "If memory ran out, use fewer workers, or search smaller pictures with --stage2.max_side."
        ) from error
    if not len(boxes):
        return np.array([[0, 0, width, height]], np.int32), np.array([FALLBACK])
    return boxes, task.judge(boxes)
