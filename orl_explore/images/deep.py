"""Pictures with more than 8 bits a sample: which values are shown as black and as white.

What the file says of itself decides, else what was measured over all files of a set, so that equal values look equal in
all of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orl_explore.images.kinds import Unusable, tiff_kind, tiff_tags, why_no_tiff
from orl_explore.images.turning import turned_pixels

Ranges = Mapping[str, tuple[float, float]]
"""Kind of samples (`16-bit`, `float`, ...) -> the values that are shown as black and as white."""

FULL: Final = (0.0, 65535.0)
PER_FILE: Final = 20_000
"""Samples of a file that its kind's range is measured on, evenly spread."""
MOST: Final = 2_000_000
"""Samples that are kept of a set; beyond, every second one goes."""
TAIL: Final = 0.001
"""Share of samples that may lie beyond black, and beyond white."""

MIN_TAGS: Final = (340, 280)
MAX_TAGS: Final = (341, 281)


@dataclass(frozen=True)
class Deep:
    """The samples of a picture as they are in the file.

    Attributes:
        values: (H, W) or, red, green and blue, (H, W, 3).
        kind: what its range goes by.
        own_range: what the file itself says that its range is.
        alpha: (H, W), 0..1; None where all is opaque.
        inverted: 0 means white.
    """

    values: NDArray[Any]
    kind: str
    own_range: tuple[float, float] | None = None
    alpha: NDArray[np.float64] | None = None
    inverted: bool = False

    def samples(self) -> NDArray[Any]:
        """A few values from all over the picture.

        Raises:
            Unusable: one of all its values is NaN or infinite.
        """
        if self.values.dtype.kind == "f" and not np.isfinite(self.values).all():
            raise Unusable("not finite: has NaN or infinite pixels")
        flat = self.values.reshape(-1)
        if len(flat) <= PER_FILE:
            return flat
        # A step that shares no factor with the number of channels, so that each of them is met.
        step = len(flat) // PER_FILE
        return flat[:: step + (step % 3 == 0)]

    def to_rgb(self, ranges: Ranges | None) -> Image.Image:
        """Show it as 8-bit RGB, its alpha over white."""
        low, high = self.own_range or (ranges or {}).get(self.kind) or measured_range(self.samples())
        values = self.values.astype(np.float64)
        if not np.isfinite(values).all():
            raise Unusable("not finite: has NaN or infinite pixels")
        shown = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
        if self.inverted:
            shown = 255 - shown
        shown = np.clip(shown, 0, 255)
        if self.alpha is not None:
            alpha = self.alpha if shown.ndim == 2 else self.alpha[..., None]
            shown = shown * alpha + 255 * (1 - alpha)
        return Image.fromarray(np.rint(shown).astype(np.uint8)).convert("RGB")


@dataclass
class RangeMeter:
    """Measures the ranges of a set while its files are read one after another."""

    kept: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, samples: NDArray[Any]) -> None:
        """Take the samples of one more file."""
        kept, step = self.kept.setdefault(kind, []), self.steps.setdefault(kind, 1)
        kept.append(samples[::step].copy())
        if sum(map(len, kept)) > MOST:
            self.kept[kind] = [part[::2].copy() for part in kept]
            self.steps[kind] = 2 * step

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of every kind that was met."""
        return {kind: measured_range(np.concatenate(parts)) for kind, parts in self.kept.items()}


def measured_range(samples: NDArray[Any]) -> tuple[float, float]:
    """Black and white by the values themselves.

    Whole numbers that reach into the upper half of 16 bits fill these, and fractions that reach into the upper half of
    0..1 those; else black is 0, or the smallest value where that is a quarter of the largest or negative, and white the
    largest. A thousandth at either end does not count.
    """
    low = float(np.quantile(samples, TAIL, method="lower"))
    high = float(np.quantile(samples, 1 - TAIL, method="higher"))
    if samples.dtype.kind == "f":
        for top in (1.0, 255.0):
            if low >= 0 and top / 2 < high <= top:
                return 0.0, top
    elif low >= 0 and 32768 <= high <= 65535:
        return FULL
    return (0.0 if 0 <= low < high / 4 else low), high


ZSTD: Final = 50000
"""Number of Zstandard among the compressions of TIFF."""


# ---- reading -------------------------------------------------------------------------------------------------------


def is_deep(image: Image.Image) -> bool:
    """Whether an opened image has more than 8 bits a sample, before it is loaded."""
    if image.mode.startswith(("I", "F")):
        return True
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        return image.mode in ("RGB", "RGBA") and max(tags.get(258) or (8,)) > 8
    raw = [str(args[0] if isinstance(args, tuple) else args) for *_, args in getattr(image, "tile", ())]
    return image.format == "PNG" and any(";16" in mode for mode in raw)


def read_deep(image: Image.Image, data: bytes) -> Deep | None:
    """The samples of an opened image that is deep; None where only Pillow's 8 bits of them can be had."""
    tags: Any = dict(getattr(image, "tag_v2", {}))
    if not image.mode.startswith(("I", "F")):
        values = _read_samples(data, tags)
        if values is None and tags.get(284) == 2:
            raise Unusable(f"unsupported kind: {tiff_kind(tags)}")  # Pillow would mix the planes up
        if values is None or values.dtype.kind not in "ui" or values.dtype.itemsize < 2:
            return None
        return _from_bands(values, tags, size=image.size)
    bits = int((tags.get(258) or (0,))[0])
    image.load()
    values = np.asarray(image)
    kind = "float" if image.mode == "F" else "16-bit" if image.mode.startswith("I;16") else "32-bit"
    if image.format == "PPM" and kind == "32-bit":
        return Deep(values, kind, FULL)  # scaled by the largest value that the file's header names
    if kind == "32-bit" and bits == 16:
        kind = "signed 16-bit"
    return Deep(values, kind, _own_range(tags, values.dtype), inverted=tags.get(262) == 0 and kind == "16-bit")


def tiff_size(data: bytes) -> tuple[tuple[int, int], int]:
    """Upright width and height of a TIFF file's first picture, and its orientation; (0, 0) where they are missing."""
    tags = tiff_tags(data)
    sides = [tags.get(tag) for tag in (256, 257)]
    width, height = (side if isinstance(side, int) else 0 for side in sides)
    orientation = tags.get(274)
    turned = orientation in range(5, 9)
    return (height, width) if turned else (width, height), orientation if orientation in range(1, 9) else 1


def open_unknown_tiff(data: bytes) -> Deep:
    """The samples of a TIFF file that Pillow does not know how to read; not upright.

    Raises:
        Unusable: it is truncated, or of a kind that cannot be read.
    """
    reason = why_no_tiff(data)
    tags = tiff_tags(data)
    if reason.startswith("unsupported") and 256 in tags:
        values = _read_samples(data, tags)
        if values is not None:
            deep = _from_bands(values, tags, size=None)
            if deep is not None:
                return deep
    raise Unusable(reason)


def _from_bands(values: NDArray[Any], tags: Any, size: tuple[int, int] | None) -> Deep | None:
    """Samples as OpenCV gives them: gray, or blue, green, red and perhaps another band."""
    bands = 1 if values.ndim == 2 else values.shape[2]
    if bands not in (1, 3, 4) or (size and values.shape[1::-1] not in (size, size[::-1])):
        return None
    depth = "float" if values.dtype.kind == "f" else f"{8 * values.dtype.itemsize}-bit"
    kind = f"signed {depth}" if values.dtype.kind == "i" else depth
    own = _own_range(tags, values.dtype)
    if bands == 1:
        return Deep(values.reshape(values.shape[:2]), kind, own, inverted=tags.get(262) == 0)
    alpha = None
    # In a TIFF a fourth band is alpha only where it says so: near infrared, for one, is not.
    extra = (tags.get(338) or (0,))[0] if tags else 2
    if bands == 4 and extra == 1:  # alpha that is multiplied into the colors
        return None
    if bands == 4 and extra == 2 and values.dtype.kind == "u":
        alpha = values[..., 3] / np.iinfo(values.dtype).max
        alpha = None if (alpha == 1).all() else alpha
    return Deep(np.ascontiguousarray(values[..., 2::-1]), kind, own, alpha)


def _own_range(tags: Any, dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """What a TIFF file's tags say of its range: bits a sample, or smallest and largest value."""
    if dtype == np.uint8:
        return 0.0, 255.0
    bits = max(tags.get(258) or (0,))
    if dtype.kind == "u" and 8 < bits < 8 * dtype.itemsize:
        return 0.0, float(2**bits - 1)
    high = _extreme([tags.get(tag) for tag in MAX_TAGS], max)
    if high is None:
        return None
    low = _extreme([tags.get(tag) for tag in MIN_TAGS], min) or 0.0
    # The largest value that there can be is what libraries write when they know nothing.
    if not low < high or (dtype.kind in "ui" and high >= np.iinfo(dtype).max):
        return None
    return low, high


def _extreme(values: list[Any], choose: Any) -> float | None:
    for value in values:
        numbers = value if isinstance(value, tuple) else (value,)
        if all(isinstance(number, int | float) and np.isfinite(number) for number in numbers):
            return float(choose(numbers))
    return None


def _read_samples(data: bytes, tags: Any) -> NDArray[Any] | None:
    """Samples as they are stored: by this module where bands lie apart or in Zstandard, else by OpenCV."""
    return _strips(data, tags) if tags.get(284) == 2 or tags.get(259) == ZSTD else _with_opencv(data)


def _strips(data: bytes, tags: Any) -> NDArray[Any] | None:
    """Bands of a TIFF file in strips, one after another as satellite pictures have them or beside each other.

    In OpenCV's order and upright; None where they are packed in another way than not at all, with deflate or Zstandard.
    """
    width, height, bands, rows = (tags.get(tag) for tag in (256, 257, 277, 278))
    bits, form, starts, lengths = (tags.get(tag) or (1,) for tag in (258, 339, 273, 279))
    packed, predictor, apart = tags.get(259), tags.get(317, 1), tags.get(284) == 2
    code = {1: "u", 2: "i", 3: "f"}.get(form[0])
    if code is None or bands not in (3, 4) or packed not in (1, 8, 32946, ZSTD) or predictor not in (1, 2):
        return None
    if 322 in tags:  # in tiles
        return None
    try:
        dtype = np.dtype(f"{'<' if data[:2] == b'II' else '>'}{code}{bits[0] // 8}")
        strips = [data[start : start + length] for start, length in zip(starts, lengths, strict=True)]
        if packed != 1:
            line = width * dtype.itemsize * (1 if apart else bands)
            left = [min(rows or height, height - first) for first in range(0, height, rows or height)]
            sizes = [line * count for count in left] * (bands if apart else 1)
            unpack = _from_zstd if packed == ZSTD else _from_deflate
            strips = [unpack(strip, size) for strip, size in zip(strips, sizes, strict=True)]
        values = np.frombuffer(b"".join(strips), dtype)
        values = values.reshape(bands, height, width).transpose(1, 2, 0) if apart else values.reshape(height, width, -1)
    except (TypeError, ValueError, OSError, zlib.error):
        return None
    if predictor == 2:
        values = np.cumsum(values, axis=1, dtype=dtype.newbyteorder("="))
    upright = turned_pixels(values, tags.get(274, 1))
    return upright[..., [2, 1, 0, *range(3, bands)]]


def _from_deflate(strip: bytes, size: int) -> bytes:
    return zlib.decompressobj().decompress(strip, size)


def _from_zstd(strip: bytes, size: int) -> bytes:
    """Arrow brings Zstandard along, which neither Python 3.11 nor OpenCV has."""
    import pyarrow

    return bytes(pyarrow.decompress(strip, size, codec="zstd", asbytes=True))


def _with_opencv(data: bytes) -> NDArray[Any] | None:
    """What OpenCV reads, as it is stored; None where it cannot."""
    import cv2

    cv2.utils.logging.setLogLevel(0)  # it would speak of every damaged file
    try:
        values: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, MemoryError):
        return None
    return values
