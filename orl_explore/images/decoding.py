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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from orl_explore.errors import OrlError
from orl_explore.images import deep
from orl_explore.images.colors import is_srgb, to_srgb
from orl_explore.images.deep import Deep, Ranges
from orl_explore.images.kinds import Unusable, formats_of, jpeg_kind, why_no_tiff, why_not_opened

MAX_PIXELS: Final = 100_000_000
MAX_BYTES: Final = 1 << 30

TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what brings the stored picture upright."""

# Pillow's remarks (damaged EXIF, many pixels) are for programmers: users get a reason, or nothing to worry about.
# Set once for the process, because `warnings.catch_warnings` is not safe with threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Picture:
    """A decoded file, and what is known of it beyond its 8-bit pixels."""

    image: Image.Image | None
    """RGB, upright; None where its range depends on the set that it is in: see `deep`."""
    size: tuple[int, int]
    """Width and height, upright."""
    orientation: int
    """EXIF orientation, 1..8, by which it was brought upright."""
    deep: Deep | None = None
    """Its samples, not upright, where they have more than 8 bits."""


def load_rgb(path: Path) -> Image.Image:
    """Read an image of any mode as 8-bit RGB, EXIF orientation applied.

    Transparency lies over white; colors become sRGB by the file's profile; of an animation, the first picture. What
    is black and white among more than 8 bits a sample, the file's tags say, or its values (`deep.measured_range`).

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


def decode(data: bytes, minimum_side: int = 1, ranges: Ranges | None = None) -> Image.Image:
    """Turn a file's bytes into an upright RGB image, checking its size before decoding the pixels.

    Args:
        data: the file.
        minimum_side: smallest edge that is borne, pixels.
        ranges: of its set, for pictures with more than 8 bits a sample; without them, its own values decide.
    """
    picture = _decoded(data, minimum_side, ranges)
    assert picture.image
    return picture.image


def examine(data: bytes, minimum_side: int = 1) -> Picture:
    """Decode a file as `decode` does, but leave one with more than 8 bits a sample as it is."""
    return _decoded(data, minimum_side, None, as_is=True)


def decode_pixels(data: bytes, ranges: Ranges | None = None) -> NDArray[np.uint8]:
    """The pixels of `decode`, uint8 (H, W, 3), writable; ordinary JPEG files in two thirds of the time."""
    if not _is_plain_jpeg(data):
        if data[:2] != b"\xff\xd8":
            return np.array(decode(data, 1, ranges))
        image = _open(data, 1)
        plain = image.format == "JPEG" and image.mode == "RGB" and _orientation(image) == 1
        if not (plain and is_srgb(image.info.get("icc_profile"))):
            return np.array(decode(data))
    try:
        return jpeg_decoder()(data)
    except ValueError:  # damaged: Pillow says how, or bears it
        return np.array(decode(data))


def _is_plain_jpeg(data: bytes) -> bool:
    """Tell by its header that a JPEG file is of bearable size, has three channels of 8 bits in sRGB, no orientation.

    False says nothing. Pillow takes ten times as long to open a file.
    """
    at, fits, profile = 2, False, b""
    while data[:2] == b"\xff\xd8" and data[at : at + 1] == b"\xff" and at + 10 < len(data):
        marker = data[at + 1]
        if marker in (0xC0, 0xC1, 0xC2):  # a frame: its length, depth, height, width, channels
            _, depth, height, width, channels = struct.unpack_from(">HBHHB", data, at + 2)
            fits = depth == 8 and channels == 3 and 0 < width * height <= MAX_PIXELS
        elif marker == 0xDA:  # the scan: the header ends
            return fits and is_srgb(profile)
        elif marker == 0xE2 and data[at + 4 : at + 16] == b"ICC_PROFILE\0":
            profile += data[at + 18 : at + 2 + int.from_bytes(data[at + 2 : at + 4])]
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


def orientation_of(path: Path) -> int:
    """EXIF orientation of a file; 1 where it says none, or cannot be read."""
    try:
        with Image.open(path) as image:
            return _orientation(image)
    except Exception:  # Pillow raises nearly every kind
        return 1


def _orientation(image: Image.Image) -> int:
    """EXIF orientation of an image that is not loaded yet; 1 where there is none."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # only the EXIF block is damaged
        return 1
    if image.format == "HEIF":  # upright already
        found = image.info.get("original_orientation")
    return found if found in TURNS else 1


def _open(data: bytes, minimum_side: int) -> Image.Image:
    # Damaged files make Pillow raise nearly every kind of exception, hence `except Exception` here and below.
    try:
        image = Image.open(io.BytesIO(data), formats=formats_of(data))
    except Image.DecompressionBombError:
        raise Unusable(f"absurdly large: over {MAX_PIXELS // 10**6} megapixels") from None
    except Exception:
        raise Unusable(why_not_opened(data)) from None
    _check_size(image.size, minimum_side)
    return image


def _check_size(size: tuple[int, int], minimum_side: int) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise Unusable(f"absurdly large: {width} x {height} px is over {MAX_PIXELS // 10**6} megapixels")
    if min(width, height) < minimum_side:
        raise Unusable(f"too small: edge of {min(width, height)} px is below {minimum_side}")


def _decoded(data: bytes, minimum_side: int, ranges: Ranges | None, *, as_is: bool = False) -> Picture:
    if not data:
        raise Unusable("empty file")
    try:
        image = _open(data, minimum_side)
    except Unusable as error:
        if not str(error).startswith("unsupported kind: ") or data[:2] not in (b"II", b"MM"):
            raise
        return _unknown_tiff(data, minimum_side, ranges, as_is)
    try:
        is_deep = deep.is_deep(image)
        if image.format == "PNG":
            image.load()  # its EXIF may stand behind the pixels; what is damaged is to be noticed here
        orientation = _orientation(image)
        samples = deep.read_deep(image, data) if is_deep else None
        if samples is not None:
            return _deep_picture(samples, 1 if image.format == "TIFF" else orientation, orientation, ranges, as_is)
        profile = image.info.get("icc_profile")
        image.load()  # turns a TIFF, and leaves its EXIF without the orientation
        if image.format not in ("TIFF", "HEIF") and orientation in TURNS:
            image = image.transpose(TURNS[orientation])
        image = _to_rgb(image, profile)
        return Picture(image, image.size, orientation)
    except Unusable:
        raise
    except Exception as error:
        if kind := jpeg_kind(data):
            raise Unusable(kind) from None
        message = " ".join(str(error).split()) or type(error).__name__
        if data[:2] in (b"II", b"MM") and (why := why_no_tiff(data)).startswith("truncated: "):
            raise Unusable(why) from None
        if isinstance(error, EOFError) or any(word in message.lower() for word in ("truncated", "end of file")):
            raise Unusable("truncated: the file ends before the picture does") from None
        raise Unusable(f"damaged: {message}") from None


def _unknown_tiff(data: bytes, minimum_side: int, ranges: Ranges | None, as_is: bool) -> Picture:
    """Decode a TIFF file that Pillow does not know, such as one of three bands of floats."""
    size, orientation = deep.tiff_size(data)
    _check_size(size, minimum_side)
    return _deep_picture(deep.open_unknown_tiff(data), 1, orientation, ranges, as_is)


def _deep_picture(samples: Deep, turn: int, orientation: int, ranges: Ranges | None, as_is: bool) -> Picture:
    """A picture with more than 8 bits a sample; `turn` is the orientation that is still to be undone."""
    height, width = samples.values.shape[:2]
    size = (height, width) if turn > 4 else (width, height)
    if as_is:
        return Picture(None, size, orientation, samples)
    image = samples.to_rgb(ranges)
    return Picture(image.transpose(TURNS[turn]) if turn in TURNS else image, size, orientation)


def _to_rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # deep, and not read as such
        raise Unusable(f"unsupported kind: {image.format} of mode {image.mode}")
    if image.has_transparency_data:
        image = to_srgb(image.convert("RGBA"), profile)
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode in ("P", "1", "YCbCr", "HSV"):
        image = image.convert("RGB")
    image = to_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")
