"""Cut-out photographs as objects of practice scenes."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.practice.contexts import Color, FloatImage, assign_contexts
from orl_explore.practice.shapes import Part, Sprite, split_instances

MINIMUM_AREA = 64  # opaque pixels of a usable cut-out


@dataclass(frozen=True)
class _Picture:
    """A cut-out: `layers` float32 (h, w, 4) in 0..1, `outline` (n, 2) the hull of its opaque pixels, mean `color`.

    RGB is multiplied by alpha, so that hidden pixels of any color cannot bleed into the edge.
    """

    layers: FloatImage
    outline: NDArray[np.int32]
    color: Color


class CutOuts:
    """RGBA pictures, FOLDER/CATEGORY/*.png, with the same methods as `DrawnObjects`.

    `size` is the side of the scenes in pixels: pictures are kept no longer than that. `skipped` names the files
    that are no pictures or have no transparency. Raises OrlError where no cut-out remains.
    """

    def __init__(self, folder: Path, *, size: int, holdout: float = 0.0, part: Part = "all") -> None:
        if not folder.is_dir():
            raise OrlError(f"there is no folder {folder}: give --cutouts a folder of CATEGORY/*.png")
        self.skipped: list[str] = []
        self._pictures: dict[str, _Picture] = {}
        self._names: dict[str, list[str]] = {}
        for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
            names = []
            for path in sorted(path for path in subfolder.iterdir() if path.suffix.lower() == ".png"):
                name = path.relative_to(folder).as_posix()
                picture = _load(path, longest=size)
                if picture is None:
                    self.skipped.append(name)
                else:
                    self._pictures[name] = picture
                    names.append(name)
            if len(names) == 1 and holdout > 0:
                raise OrlError(f"{subfolder} has only one usable cut-out: add one, or leave --holdout out")
            if names:
                # The order of a hash, so that the split does not follow the order in which pictures were taken.
                names.sort(key=lambda name: hashlib.blake2b(name.encode()).digest())
                self._names[subfolder.name] = split_instances(names, holdout=holdout, part=part)
        if not self._names:
            raise OrlError(f"no usable cut-out in {folder}: put RGBA .png files into {folder}/CATEGORY/")
        self.categories: tuple[str, ...] = tuple(self._names)
        self.contexts = assign_contexts(self.categories)

    def choose(self, category: str, rng: np.random.Generator) -> str:
        """Return the name of one cut-out of the category."""
        return self._names[category][int(rng.integers(len(self._names[category])))]

    def color(self, name: str) -> Color:
        """Return the mean color, RGB in 0..1, of a cut-out's opaque part."""
        return self._pictures[name].color

    def sprite(self, name: str, *, side: int, angle: float, flip: bool, light: float) -> Sprite:
        """Return the cut-out, its longer side `side` pixels; `light` is not used: photographs bring their own."""
        picture = self._pictures[name]
        mirror = np.array([[-1.0 if flip else 1.0], [1.0]])  # row vectors: points @ turn
        turn = cv2.getRotationMatrix2D((0, 0), angle, 1)[:, :2] * mirror
        corners = picture.outline @ turn
        low, high = corners.min(axis=0), corners.max(axis=0)
        scale = side / float((high - low).max() + 1)
        margin = 2 + math.ceil(scale)  # interpolation widens the outline by up to a pixel of the original
        width, height = (math.ceil(length * scale) + 2 * margin for length in (high - low + 1).tolist())
        matrix = np.column_stack([turn.T * scale, margin - (low - 0.5) * scale])  # (2, 3)

        # Bilinear sampling alone would alias where the picture shrinks much.
        smooth = cv2.GaussianBlur(picture.layers, (0, 0), 0.4 / scale) if scale < 0.7 else picture.layers
        turned = cv2.warpAffine(smooth, matrix, (width, height), flags=cv2.INTER_LINEAR)
        alpha = np.asarray(turned[..., 3], np.float32)
        return Sprite(turned[..., :3] / np.maximum(alpha, 1e-3)[..., None], alpha)


def _load(path: Path, *, longest: int) -> _Picture | None:
    """Return a picture cut to its opaque part, its sides at most `longest` pixels; None if it is not usable."""
    try:
        with Image.open(path) as image:
            if not image.has_transparency_data:
                return None
            pixels = np.asarray(image.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    rows, columns = np.nonzero(pixels[..., 3] >= 128)
    if len(rows) < MINIMUM_AREA:
        return None
    pixels = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    shrink = longest / max(pixels.shape[:2])
    if shrink < 1:
        height, width = (max(1, round(side * shrink)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    solid = pixels[..., 3] >= 128
    red, green, blue = (pixels[solid][:, :3].mean(axis=0) / 255).tolist()
    outline = np.asarray(cv2.convexHull(cv2.findNonZero(solid.astype(np.uint8)))[:, 0], np.int32)
    layers = pixels.astype(np.float32) / 255
    layers[..., :3] *= layers[..., 3:]
    return _Picture(layers, outline, (red, green, blue))
