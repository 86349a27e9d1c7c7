"""The image set: images that are known to decode, with their annotations when there are any."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.images.decoding import Unusable, decode, decode_pixels, read_bytes
from orl_explore.images.deep import Ranges
from orl_explore.images.findings import Findings

T = TypeVar("T")


# ---- the image set -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that are known to decode, with their annotations when there are any.

    Attributes:
        table: one row per image: `image_id` int64, `file_name` str (POSIX, relative to its root; absolute where
            a list file names a file outside it), `source` int16 (index into `roots`), `width` and `height`
            int32 (pixels, EXIF orientation applied), `content_hash` str (of the file's bytes); then a column
            for every label that a COCO json gives its images, e.g. `context`.
        objects: annotated objects: `object_id` and `image_id` int64, `x`, `y`, `w`, `h` float32 (pixels of the
            upright image, clipped to it), `category` str, `segmentation` str (the `counts` of a compressed COCO
            RLE at image size; missing where there is none). Empty without annotations; crowds are left out.
        skipped: files that cannot be used: `file_name` str, `reason` str.
        roots: the folder of each source.
        ranges: of pictures with more than 8 bits a sample, what is black and what is white, by kind.
        findings: what became of the annotations, and what else was found.
        named_anew: of a run's set, the command that names another place where the pictures are.
        options: what the set was opened with besides its sources, as it is typed: --root DIR, --field NAME.
    """

    table: pd.DataFrame
    objects: pd.DataFrame
    skipped: pd.DataFrame
    roots: tuple[Path, ...]
    ranges: Ranges = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    named_anew: str = ""
    options: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    def rows_of(self, image_ids: ArrayLike) -> NDArray[np.intp]:
        """Rows of some images, of the shape of `image_ids`.

        Raises:
            OrlError: one of them is not in the set.
        """
        wanted = np.asarray(image_ids)
        if wanted.size and not np.can_cast(wanted.dtype, np.int64):  # fractions, or more digits than an id can have
            raise OrlError(f"there is no image {image_ids!s}")
        rows = self._index.get_indexer(pd.Index(wanted.ravel())).reshape(wanted.shape)
        if (rows < 0).any():
            raise OrlError(f"there is no image {wanted[rows < 0].flat[0]}")
        return rows

    @cached_property
    def _index(self) -> pd.Index:
        """The image ids, as something that they are looked up in."""
        return pd.Index(self.table["image_id"])

    def path(self, row: int) -> Path:
        """Where the file of a row is."""
        return Path(self._path(row))

    def _path(self, row: int) -> str:
        sources, names, _ = self._columns
        return os.path.join(self._folders[sources[row]], names[row].as_py())  # noqa: PTH118 - four times as fast

    @cached_property
    def _folders(self) -> list[str]:
        return [str(root) for root in self.roots]

    @cached_property
    def _columns(self) -> tuple[Any, Any, Any]:
        """Source, file name, and (width, height), by row: a table is slow to ask for single values."""
        sizes = self.table[["width", "height"]].to_numpy()
        return self.table["source"].to_numpy(), pa.array(self.table["file_name"]), sizes

    def load(self, row: int) -> Image.Image:
        """Read the image of a row as RGB, EXIF orientation applied.

        Raises:
            OrlError: the file has vanished, or was damaged or replaced since the set was made.
        """
        image = self._decode(row, decode)
        self._check_size(row, image.size)
        return image

    def load_pixels(self, row: int) -> NDArray[np.uint8]:
        """Read the image of a row as `load` does, but as uint8 (H, W, 3), and faster where it is a JPEG.

        Raises:
            OrlError: the file has vanished, or was damaged or replaced since the set was made.
        """
        pixels = self._decode(row, decode_pixels)
        self._check_size(row, pixels.shape[1::-1])
        return pixels

    def _decode(self, row: int, decoder: Callable[..., T]) -> T:
        path = self._path(row)
        try:
            return decoder(read_bytes(path), ranges=self.ranges)
        except Unusable as error:
            moved = f"; {self._moved}" if self.named_anew and not Path(path).is_file() else ""
            raise OrlError(f"{path} was usable before ({error}): put it back, or begin a new run{moved}") from None

    def _check_size(self, row: int, size: tuple[int, ...]) -> None:
        width, height = self._columns[2][row].tolist()
        if size != (width, height):
            raise OrlError(
                f"{self.path(row)} was {width} x {height} px before: put the old file back, or begin a new run"
            )

    def subset(self, rows: Sequence[int]) -> ImageSet:
        """Keep these rows, in this order, and their objects."""
        table = self.table.iloc[list(rows)].reset_index(drop=True)
        objects = self.objects[self.objects["image_id"].isin(table["image_id"])].reset_index(drop=True)
        return replace(self, table=table, objects=objects)

    @property
    def _moved(self) -> str:
        return f"where the pictures have moved, `{self.named_anew}` takes that"

    def check_files(self) -> None:
        """Look, without reading, whether every file is still there.

        Raises:
            OrlError: names the first one that is not, and says how many others are not, and what to type.
        """
        gone = [path for path in map(self.path, range(len(self))) if not path.is_file()]
        if gone:
            more = f", and {len(gone) - 1:,} more of the {len(self):,} files" if gone[1:] else ""
            without = ", or begin a new run without" if len(gone) < len(self) else ""
            it = "them" if gone[1:] else "it"
            advice = f"put {it} back{without and f'{without} {it}'}{f'; {self._moved}' if self.named_anew else ''}"
            raise OrlError(f"{gone[0]} is gone{more}: {advice}")

    def differences(self, table: pd.DataFrame) -> str:
        """In what this set differs from that of a run with this `table`, and what to do, to be added to a sentence."""
        columns = ["file_name", "content_hash"]
        before, today = (pd.MultiIndex.from_frame(one[columns]) for one in (table, self.table))
        gone, new = int((~before.isin(today)).sum()), int((~today.isin(before)).sum())
        what = "the same in another order, or with other ids"
        if gone or new:
            what = f"of its {len(before):,}, {gone:,} are missing or have changed, and {new:,} are new"
        return (
            f" ({what}): choose a new run folder for these, or make them the same again; the same command then goes on"
            " with this run, wherever they lie"
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hex hash of ids, names, sizes and contents, in order: changes when any byte of any image does.

        Where the folders lie does not matter, so a data set may move.
        """
        digest = blake2b(digest_size=16)
        columns = [self.table[name] for name in ("image_id", "file_name", "width", "height", "content_hash")]
        for values in zip(*columns, strict=True):
            digest.update(json.dumps([str(value) for value in values]).encode())
        return digest.hexdigest()
