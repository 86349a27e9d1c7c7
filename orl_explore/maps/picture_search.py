"""What a run has that is like a picture, or like a box on one: any picture, of the run or from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError, typed
from orl_explore.images.decoding import Unusable, decode
from orl_explore.maps.similar_regions import nearest_regions
from orl_explore.neighbors import nearest_to
from orl_explore.runs.files import hash_file
from orl_explore.runs.run import Run

LARGEST: Final = 20 << 20
"""Bytes of a picture from outside at most."""

Box = Sequence[int]
"""x, y, w, h in pixels of the picture."""


@dataclass(frozen=True)
class Searcher:
    """The encoder that a run was mined with, and the sizes it saw, ready to look at other pictures."""

    run: Run
    encoder: Encoder
    size: int
    neighbors: int

    def images(self, picture: Image.Image, *, count: int | None = None) -> pd.DataFrame:
        """The images most similar to a picture: `rank`, `neighbor_id`, `similarity`, as stage 2 would find them.

        Raises:
            OrlError: the run has no embeddings of its images.
        """
        from orl_explore.embedding import embed_picture

        embeddings = self.run.read_array("image_embeddings")
        ids = self.run.read("images", columns=["image_id"])["image_id"].to_numpy()
        vector = embed_picture(self.encoder, picture, size=self.size)
        return nearest_to(vector, embeddings, ids, k=count or self.neighbors)

    def regions(self, picture: Image.Image, box: Box | None = None, *, count: int = 12) -> pd.DataFrame:
        """The boxes most similar to a box of a picture, or to all of it: `region_id`, `similarity`, best first.

        Raises:
            OrlError: the run has no embeddings of its boxes.
        """
        from orl_explore.embedding import embed_box

        embeddings = self.run.read_array("region_embeddings")
        whole = box or (0, 0, picture.width, picture.height)
        vector = embed_box(self.encoder, picture, inside(whole, picture), size=self.size)
        return nearest_regions(embeddings, vector, count=count)


def searcher(run: Run, load: Callable[[Path], tuple[Encoder, str]] | None = None) -> Searcher:
    """Make ready to look for pictures in a run.

    Args:
        run: the run.
        load: file of an encoder -> the encoder and the hash of its file; the dashboard remembers both.

    Raises:
        OrlError: there is no encoder, or stage 2 was made with another one.
    """
    file = run.mining_encoder_file()
    if not file.exists():
        raise OrlError(f"there is no encoder to look with: stage 1 is {run.state('stage1').sentence}")
    encoder, digest = load(file) if load else (Encoder.load(file), hash_file(file))
    record = run.stage("stage2")
    if record.get("inputs", {}).get("encoder", digest) != digest:
        command = "embed" if run.imported("stage2") else "stage2"
        raise OrlError(
            f"stage 2 was made with another encoder: `{typed(command, run.path, '--overwrite')}` makes it anew"
        )
    config = record.get("config", {}) | record.get("embedded", {})
    return Searcher(run, encoder, int(config.get("image_size", 224)), int(config.get("neighbors", 10)))


def read_picture(data: bytes) -> Image.Image:
    """Decode a picture from outside: whatever image sets read, under any name.

    Raises:
        OrlError: it is no picture, or too large.
    """
    if len(data) > LARGEST:
        raise OrlError(f"this file has more than {LARGEST >> 20} MB: choose a smaller one")
    try:
        return decode(data)
    except Unusable as error:
        raise OrlError(f"this file cannot be used ({error}): choose another one") from None


def inside(box: Box | NDArray[np.integer], picture: Image.Image) -> tuple[int, int, int, int]:
    """The part of a box that is on the picture, one pixel at least."""
    left, top = (min(max(0, round(float(box[k]))), picture.size[k] - 1) for k in (0, 1))
    right, bottom = (
        min(max(start + 1, round(float(box[k]) + float(box[k + 2]))), picture.size[k])
        for k, start in ((0, left), (1, top))
    )
    return left, top, right - left, bottom - top
