"""From a file's bytes to pixels: any picture becomes 8-bit RGB, upright, or says in a few words why it cannot."""

from __future__ import annotations

import functools
import io
import logging
import os
import stat
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from orl_explore.errors import OrlError

FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "AVIF")
"""Formats that are decoded. Pillow knows others, but some run programs (EPS starts Ghostscript)."""

MAX_PIXELS: Final = 100_000_000
MAX_BYTES: Final = 1 << 30

# Pillow's remarks (damaged EXIF, many pixels) are for programmers: users get a reason, or nothing to worry about.
# Set once for the process, because `warnings.catch_warnings` is not safe with threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class Unusable(Exception):
    """Why a file cannot be used: `kind` or `kind: detail`."""


def load_rgb(path: Path) -> Image.Image:
    """Read an image of any mode as 8-bit RGB, EXIF orientation applied.

    Transparency lies over white; 16-bit values are scaled, not clipped; float values are stretched from their
    minimum to their maximum; of an animation, the first frame.

    Raises:
        OrlError: says why the file cannot be used.
    """
    try:
        return decode(read_bytes(path))
    except Unusable as error:
        raise OrlError(f"{path} cannot be used ({error}): choose another image") from None


def read_bytes(path: Path | str) -> bytes:
    """Read a file of bearable size; raises Unusable with the reason."""
    try:
        facts = os.stat(path)  # noqa: PTH116 - a Path takes twice as long
        if not stat.S_ISREG(facts.st_mode):
            raise Unusable("no such file")
        if facts.st_size > MAX_BYTES:
            raise Unusable("absurdly large: over 1 GiB")
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.readall()
    except (FileNotFoundError, NotADirectoryError):
        raise Unusable("no such file") from None
    except (OSError, ValueError) as error:
        raise Unusable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def decode(data: bytes, minimum_side: int = 1) -> Image.Image:
    """Turn a file's bytes into an upright RGB image, checking its size before decoding the pixels."""
    return _decoded(_open(data, minimum_side))


def decode_pixels(data: bytes) -> NDArray[np.uint8]:
    """The pixels of `decode`, uint8 (H, W, 3), writable; ordinary JPEG files in two thirds of the time."""
    image = None
    if not _is_plain_jpeg(data):
        image = _open(data, 1)
        if not (image.format == "JPEG" and image.mode == "RGB" and _is_upright(image)):
            return np.array(_decoded(image))
    try:
        return jpeg_decoder()(data)
    except ValueError:  # damaged: Pillow says how, or bears it
        return np.array(_decoded(image or _open(data, 1)))


def _is_plain_jpeg(data: bytes) -> bool:
    """Tell by its header that a JPEG file is of bearable size, has three channels of 8 bits, and no orientation.

    False says nothing. Pillow takes ten times as long to open a file.
    """
    at, fits = 2, False
    while data[:2] == b"\xff\xd8" and data[at : at + 1] == b"\xff" and at + 10 < len(data):
        marker = data[at + 1]
        if marker in (0xC0, 0xC1, 0xC2):  # a frame: its length, depth, height, width, channels
            _, depth, height, width, channels = struct.unpack_from(">HBHHB", data, at + 2)
            fits = depth == 8 and channels == 3 and 0 < width * height <= MAX_PIXELS
        elif marker == 0xDA:  # the scan: the header ends
            return fits
        elif marker == 0xE1 or (marker < 0xE0 and marker not in (0xC4, 0xDB, 0xDD)):  # EXIF or XMP, or unusual
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return False


@functools.cache
def jpeg_decoder() -> Callable[[bytes], Any]:
    """The fastest decoder to Pillow's pixels that is installed; it raises ValueError where a file is damaged."""
    try:
        import simplejpeg
    except ImportError:
        return decode_with_opencv
    return simplejpeg.decode_jpeg


def decode_with_opencv(data: bytes) -> Any:
    """What stands in for simplejpeg where that is missing: the same pixels in a tenth more time."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError("damaged")
    return pixels


def _is_upright(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ExifTags.Base.Orientation) not in range(2, 9)
    except Exception:  # only the EXIF block is damaged: see _upright
        return True


def _open(data: bytes, minimum_side: int) -> Image.Image:
    # Damaged files make Pillow raise nearly every kind of exception, hence `except Exception` here and below.
    if not data:
        raise Unusable("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise Unusable(f"absurdly large: over {MAX_PIXELS // 10**6} megapixels") from None
    except Exception:
        raise Unusable(_why_not_opened(data)) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Unusable(f"absurdly large: {width} x {height} px is over {MAX_PIXELS // 10**6} megapixels")
    if min(width, height) < minimum_side:
        raise Unusable(f"too small: edge of {min(width, height)} px is below {minimum_side}")
    return image


def _decoded(image: Image.Image) -> Image.Image:
    try:
        image.load()
        return _to_rgb(_upright(image))
    except Unusable:
        raise
    except Exception as error:
        message = " ".join(str(error).split()) or type(error).__name__
        if "truncated" in message.lower() or isinstance(error, EOFError):
            raise Unusable("truncated: the file ends before the picture does") from None
        raise Unusable(f"damaged: {message}") from None


def _why_not_opened(data: bytes) -> str:
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1"):
        return "HEIC: convert it to JPEG"
    known = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
    return "truncated or damaged" if data.startswith(known) else "not an image"


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels are fine, only the EXIF block is damaged
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _gray_to_rgb(_from_integers(np.asarray(image)))
    if image.mode == "F":
        return _gray_to_rgb(_stretched(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _gray_to_rgb(values: NDArray[np.float64]) -> Image.Image:
    """Values in 0..255, (H, W)."""
    return Image.fromarray(np.rint(values).astype(np.uint8)).convert("RGB")


def _from_integers(values: NDArray[Any]) -> NDArray[np.float64]:
    """Scale the 16-bit range to 0..255; what does not fit that range is stretched instead."""
    if values.min() < 0 or values.max() > 65535:
        return _stretched(values)
    return values / 257.0


def _stretched(values: NDArray[Any]) -> NDArray[np.float64]:
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise Unusable("not finite: has NaN or infinite pixels")
    low, high = values.min(), values.max()
    return (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
