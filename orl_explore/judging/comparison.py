"""Two encoders on the same images: which neighbors does the second keep, lose and gain against the first?

Embeddings and neighbors are kept in the run, under `comparison/`, by the hash of the encoder that made them; nothing
there is needed by a stage, so the folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from orl_explore.embedding import embed_images
from orl_explore.encoder import Encoder
from orl_explore.judging import diagnostics
from orl_explore.neighbors import nearest_neighbors
from orl_explore.runs.encoders import run_encoders
from orl_explore.runs.files import write_array
from orl_explore.runs.run import Run

K: Final = 10
"""Neighbors that are compared per image."""

FOLDER: Final = "comparison"

Progress = Callable[[int, int], None]


class Source(Protocol):
    """An encoder that can be compared: of a run (`compared_encoders`), or from elsewhere."""

    def load(self) -> Encoder:
        """Make or read the encoder, in eval mode."""

    def hash(self) -> str:
        """What identifies it, and how it is fed."""


compared_encoders = run_encoders
"""The encoders that a run has by now, by the names that `--encoder` takes."""


# ---- embeddings and neighbors --------------------------------------------------------------------------------------


def image_size(run: Run) -> int:
    """Side at which encoders without a size of their own see the images of a run: its stage 2's, else stage 1's, else
    224.
    """
    for stage in ("stage2", "stage1"):
        if size := run.stage(stage).get("config", {}).get("image_size"):
            return int(size)
    return 224


def cache_file(run: Run, source: Source, *, features: bool = False) -> Path:
    """Where the embeddings of a run's images by an encoder are kept, whether they are there yet or not."""
    name = f"{source.hash()}-{image_size(run)}{'-features' if features else ''}.npy"
    return run.path / FOLDER / name


def is_cached(run: Run, source: Source, *, features: bool = False) -> bool:
    """Whether nothing has to be embedded any more."""
    return cache_file(run, source, features=features).exists()


def embeddings(
    run: Run, source: Source, *, features: bool = False, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Embed all images of a run with an encoder; from the cache when that was done before.

    Args:
        run: its images are embedded.
        source: the encoder, of this run or of any other.
        features: the pooled backbone feature instead of the projector's output.
        progress: called as progress(images done, images in all).

    Returns:
        float32 (N, d), rows of length 1 in the order of the images table.

    Raises:
        OrlError: an image or the encoder is gone.
    """
    images = run.images()
    file = cache_file(run, source, features=features)
    try:
        cached = np.load(file, mmap_mode="r")
        if len(cached) == len(images):
            return cached
    except (OSError, ValueError, EOFError):  # not there yet, or damaged: made anew
        pass
    array = embed_images(
        source.load(),
        images,
        size=image_size(run),
        features=features,
        device="cuda" if torch.cuda.is_available() else "cpu",
        batch_size=64,
        progress=progress,
    ).astype(np.float32)
    _keep(lambda: write_array(file, array))
    return array


def neighbors_of(
    run: Run, source: Source, *, features: bool = False, progress: Progress | None = None
) -> NDArray[np.int64]:
    """Rows of the K nearest images of each image by an encoder, nearest first: (N, K), with K at most N - 1.

    Raises:
        OrlError: an image or the encoder is gone, or the encoder has diverged.
    """
    vectors = embeddings(run, source, features=features, progress=progress)
    file = cache_file(run, source, features=features).with_suffix(f".neighbors{K}.npy")
    shape = (len(vectors), min(K, len(vectors) - 1))
    try:
        cached = np.load(file)
        if cached.shape == shape:
            return cached
    except (OSError, ValueError, EOFError):
        pass
    rows = np.arange(len(vectors), dtype=np.int64)
    found = nearest_neighbors(vectors, rows, k=K)["neighbor_id"].to_numpy(np.int64).reshape(shape)
    _keep(lambda: write_array(file, found))
    return found


def _keep(write: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):  # a run on a read-only or full disk can be looked at all the same
        write()


# ---- the comparison ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Comparison:
    """Neighbors of the same images by encoder A and encoder B.

    Attributes:
        image_ids: (N,) int64.
        a: (N, K) rows of the neighbors by A, nearest first.
        b: the same by B.
        kept_a: (N, K) bool: the neighbor by A is one by B too; the others are lost.
        kept_b: (N, K) bool: the neighbor by B is one by A too; the others are gained.
    """

    image_ids: NDArray[np.int64]
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    kept_a: NDArray[np.bool_]
    kept_b: NDArray[np.bool_]

    @property
    def overlap(self) -> NDArray[np.float64]:
        """Share of kept neighbors of each image, (N,): 1 = the same neighbors, 0 = all others."""
        return self.kept_a.mean(axis=1)

    @property
    def mean_overlap(self) -> float:
        """Share of kept neighbors over the whole set."""
        return float(self.overlap.mean())

    @property
    def chance(self) -> float:
        """Overlap to expect of neighbors drawn blindly."""
        return self.a.shape[1] / (len(self.a) - 1)

    def table(self) -> pd.DataFrame:
        """The images, (N,) rows: image_id, and shared, the share of kept neighbors."""
        return pd.DataFrame({"image_id": self.image_ids, "shared": self.overlap})

    def of_image(self, row: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Neighbors of one image by A and by B: neighbor_id, row and sign (`kept`, `lost` or `gained`), nearest first.

        Args:
            row: of the image in the images table.
        """
        frames = []
        for rows, kept, other in ((self.a, self.kept_a, "lost"), (self.b, self.kept_b, "gained")):
            frames.append(
                pd.DataFrame(
                    {
                        "neighbor_id": self.image_ids[rows[row]],
                        "row": rows[row],
                        "sign": np.where(kept[row], "kept", other),
                    }
                )
            )
        return frames[0], frames[1]

    def agreement(self, labels: pd.Series) -> tuple[diagnostics.Judged, diagnostics.Judged]:
        """Share of neighbors with the query's own label, by A and by B, and what chance would give; nan without labels.

        Args:
            labels: of the images, in the order of the images table.
        """
        by_id = pd.Series(labels.to_numpy(), index=self.image_ids)
        return tuple(  # type: ignore[return-value]
            diagnostics.neighbor_agreement(
                pd.DataFrame(
                    {
                        "image_id": np.repeat(self.image_ids, rows.shape[1]),
                        "neighbor_id": self.image_ids[rows.ravel()],
                    }
                ),
                by_id,
            )
            for rows in (self.a, self.b)
        )


def compare(image_ids: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> Comparison:
    """Compare two tables of neighbors of the same images.

    Args:
        image_ids: (N,).
        a: (N, K) rows of the neighbors of each image by the first encoder.
        b: the same by the second one.
    """
    if a.shape != b.shape or len(a) != len(image_ids):
        raise ValueError(f"want two (N, K) tables of {len(image_ids)} images, not {a.shape} and {b.shape}")
    same = a[:, :, None] == b[:, None, :]  # (N, K, K)
    return Comparison(np.asarray(image_ids, np.int64), a, b, same.any(axis=2), same.any(axis=1))
