"""Colors as they were meant: what a picture's own color profile says, in sRGB."""

from __future__ import annotations

import functools
import io
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms

ALIKE: Final = 3
"""Gray levels by which a profile may differ from sRGB and still be taken for it; many versions of sRGB are about."""


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an image of mode L, RGB, RGBA, CMYK or LAB to sRGB by its profile; unchanged where that says nothing.

    Args:
        image: upright or not.
        profile: an ICC profile as it stands in the file. One that is damaged, or for another kind of color, is ignored.
    """
    if image.mode == "RGBA":
        converted = to_srgb(image.convert("RGB"), profile)
        converted.putalpha(image.getchannel("A"))
        return converted
    transform = _transform(profile or b"", image.mode)
    if transform is None:
        return image
    return ImageCms.applyTransform(image, transform) or image


def is_srgb(profile: bytes | None, mode: str = "RGB") -> bool:
    """Whether nothing is to be done for a profile: it is missing, sRGB in all but name, or cannot be used."""
    return not profile or _transform(profile, mode) is None


@functools.lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> Any:
    """The way from a profile to sRGB, made once; None where there is nothing to convert."""
    if mode not in ("L", "RGB", "CMYK", "LAB") or not (profile or mode == "LAB"):
        return None
    try:
        source = ImageCms.getOpenProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        intent = ImageCms.Intent.PERCEPTUAL if mode == "CMYK" else ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            intent,
            ImageCms.Flags.NONE if mode == "CMYK" else ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode in ("L", "RGB"):
            before = _every_color(mode)
            after = ImageCms.applyTransform(before, transform)
            assert after
            difference = np.abs(np.asarray(before.convert("RGB")).astype(int) - np.asarray(after))
            return transform if difference.max() > ALIKE else None
        return transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, SyntaxError):
        return None


def _every_color(mode: str) -> Image.Image:
    """Colors all over a mode's cube, as an image."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 12).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3))
