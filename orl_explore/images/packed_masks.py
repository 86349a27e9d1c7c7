"""Masks of single boxes as labeling tools pack them into their files: LabelMe, FiftyOne, Label Studio, CVAT."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_BYTES: Final = 1 << 28
"""A packed mask that becomes larger is no mask, but made to fill the memory."""


@dataclass(frozen=True)
class BoxMask:
    """The mask of a box alone, as labeling tools have it; it stays packed until its picture's size is known.

    Attributes:
        box: xywh, pixels of the picture as it is stored, or shares of it; as its file has it, and not checked yet.
        unpack: gives the mask, (h, w), what is not 0 being the object; of the box's size in pixels or of any other.
    """

    box: Any
    unpack: Callable[[], NDArray[Any]]
    in_file: bool = False
    """Whether it is in a file of its own."""

    def in_picture(self, size: tuple[int, int], scale: float | None = None) -> dict[str, Any] | None:
        """COCO's runs of the mask in a picture of this width and height; None where it cannot be unpacked.

        Args:
            size: of the picture as it is stored, pixels.
            scale: the box is in shares of the picture, of which this is the whole; None: it is in pixels.
        """
        try:
            pixels = self.unpack() != 0
            x, y, w, h = map(float, self.box)
            in_x, in_y = (1.0, 1.0) if scale is None else (size[0] / scale, size[1] / scale)
            columns, of_columns = _along(x * in_x, w * in_x, size[0], pixels.shape[1])
            rows, of_rows = _along(y * in_y, h * in_y, size[1], pixels.shape[0])
            part = np.zeros((size[1], len(columns)), np.uint8)  # of the picture: the columns that the box covers
            part[rows] = pixels[np.ix_(of_rows, of_columns)]
        except Exception:  # whatever strange content makes Python or C code raise: the mask is invalid
            return None
        changes = np.flatnonzero(np.diff(np.r_[0, part.T.reshape(-1), 0])) + size[1] * int(columns[:1].sum())
        return {"size": [size[1], size[0]], "counts": np.diff(np.r_[0, changes, size[0] * size[1]]).tolist()}


def _along(start: float, length: float, side: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pixels of a picture that a box covers along one side of it, and which of its mask's `count` each shows."""
    first = round(start)
    end = first + count if round(length) == count else round(start + length)
    pixels = np.arange(max(first, 0), max(min(end, side), first, 0))
    shown = (pixels + 0.5 - first) * count / max(end - first, 1)
    return pixels, np.clip(shown, 0, count - 1).astype(np.int64)


def png_mask(text: str) -> NDArray[Any]:
    """A mask that is a PNG in base64, as LabelMe has it; (h, w)."""
    return _png(io.BytesIO(base64.b64decode(text.rpartition(",")[2])))  # a data URI has a comma before it


def file_mask(folder: Path, name: str) -> NDArray[Any]:
    """A mask that is a PNG file below the folder of an export, as FiftyOne has it; (h, w)."""
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise ValueError("no file of the export")
    return _png(file)


def _png(file: Path | io.BytesIO) -> NDArray[Any]:
    with Image.open(file, formats=["PNG"]) as picture:
        if picture.width * picture.height > MOST_BYTES:
            raise ValueError("larger than a mask can be")
        if picture.mode in ("1", "L", "P", "I", "I;16"):
            return np.asarray(picture)
        gray, opacity = np.moveaxis(np.asarray(picture.convert("LA")), -1, 0)
        return gray * (opacity > 0)


def numpy_mask(text: Any) -> NDArray[Any]:
    """A mask that is a packed NumPy array in base64, as FiftyOne has it, also within `$binary`; (h, w)."""
    while isinstance(text, dict):
        text = text.get("$binary", text.get("base64"))
    unpacked = zlib.decompressobj().decompress(base64.b64decode(text), MOST_BYTES)
    found = np.load(io.BytesIO(unpacked), allow_pickle=False)
    if found.dtype.kind not in "biuf" or found.size > MOST_BYTES:  # an array of empty texts has any size in no bytes
        raise ValueError("no mask")
    return found


def brush_mask(packed: list[int], width: int, height: int) -> NDArray[np.uint8]:
    """A mask as Label Studio packs what is painted, of which the opacity counts; (h, w).

    Bytes of RGBA pixels, row by row, in blocks: a bit that says whether one value repeats; two bits that choose one of
    four lengths; in so many bits the number of values less one; then the value, or the values. Before them stand the
    number of all values (32 bits), the bits of a value less one (5), and the four lengths less one (4 each).
    """
    data = bytes(packed)
    place = 0

    def read(bits: int) -> int:
        nonlocal place
        start, place = place, place + bits
        if place > 8 * len(data):
            raise ValueError("ends too early")
        number = int.from_bytes(data[start // 8 : -(-place // 8)], "big")
        return number >> (-place % 8) & ((1 << bits) - 1)

    count, bits = read(32), read(5) + 1
    lengths = [read(4) + 1 for _ in range(4)]
    if bits != 8 or count != 4 * width * height or count > MOST_BYTES:
        raise ValueError("no RGBA picture of this size")
    values = np.zeros(count, np.uint8)
    done = 0
    while done < count:
        repeats = read(1)
        end = done + read(lengths[read(2)]) + 1
        if end > count:
            raise ValueError("more values than there are")
        if repeats:
            values[done:end] = read(8)
        else:
            values[done:end] = np.frombuffer(read(8 * (end - done)).to_bytes(end - done, "big"), np.uint8)
        done = end
    return values.reshape(height, width, 4)[..., 3]


def run_mask(runs: list[int], width: int, height: int) -> NDArray[np.bool_]:
    """A mask in runs of pixels that are not, and are, the object, row by row, as CVAT has it; (h, w)."""
    if min(runs) < 0 or sum(runs) > width * height or width * height > MOST_BYTES:
        raise ValueError("more runs than pixels")
    turns = np.r_[np.resize([False, True], len(runs)), False]
    return np.repeat(turns, [*runs, width * height - sum(runs)]).reshape(height, width)
