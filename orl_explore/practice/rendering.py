"""Things of parts become pictures: first unlit, which takes a while and is kept, then turned and lit for one scene."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from orl_explore.practice.anatomy import Part
from orl_explore.practice.contexts import Color
from orl_explore.practice.grain import FloatImage
from orl_explore.practice.materials import GLOSS, MATERIALS
from orl_explore.practice.shapes import Sprite

MARGIN = 3  # transparent pixels around an unlit picture
RELIEF = 0.02  # height of a material's relief, in units


@dataclass(frozen=True)
class Light:
    """A scene's light: where it comes from (degrees on screen, clockwise from the right), its color and strength.

    `ambient` is the light that comes from all sides, 0..1, of the same whole.
    """

    angle: float
    color: Color = (1.0, 1.0, 1.0)
    ambient: float = 0.55


@dataclass(frozen=True)
class Unlit:
    """A thing before any light falls on it; arrays of one height and width, `scale` pixels to the unit.

    `layers` uint8 (h, w, 4) is RGB times alpha, and alpha; `height` float32 (h, w) is toward the eye, in units;
    `gloss` uint8 (h, w); `color` the mean RGB in 0..1 of its opaque part.
    """

    layers: NDArray[np.uint8]
    height: FloatImage
    gloss: NDArray[np.uint8]
    scale: float
    color: Color


def render(parts: Sequence[Part], rng: np.random.Generator, *, side: int) -> Unlit:
    """Return the parts drawn over one another, the longer side `side` pixels; `rng` varies the materials."""
    corners = np.concatenate([outline for part in parts for outline in part.outlines])
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = (side - 1) / float((high - low).max())
    width, height = (np.ceil((high - low) * scale).astype(int) + 1 + 2 * MARGIN).tolist()
    rgb, alpha = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    relief, gloss = np.zeros_like(alpha), np.zeros_like(alpha)
    for part in parts:
        _lay(part, rng, (rgb, alpha, relief, gloss), low, scale)
    relief[:] = cv2.GaussianBlur(relief, (0, 0), 0.006 * side)
    solid = alpha >= 0.5
    red, green, blue = rgb[solid].mean(axis=0).tolist()
    layers = np.dstack([rgb * alpha[..., None], alpha])
    return Unlit(_bytes(layers), relief, _bytes(gloss), scale, (red, green, blue))


def _bytes(picture: FloatImage) -> NDArray[np.uint8]:
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def _lay(
    part: Part,
    rng: np.random.Generator,
    canvas: tuple[FloatImage, FloatImage, FloatImage, FloatImage],
    low: NDArray[np.floating],
    scale: float,
) -> None:
    """Lay one part over the canvas (RGB, alpha, height, gloss), in place."""
    points = np.concatenate(part.outlines)
    dark = 0.05 * scale  # how far its shade reaches, pixels
    pad = int(2.5 * dark) + 2
    limit = np.array(canvas[1].shape[::-1])
    start = np.maximum(np.floor((points.min(axis=0) - low) * scale).astype(int) + MARGIN - pad, 0)
    stop = np.minimum(np.ceil((points.max(axis=0) - low) * scale).astype(int) + MARGIN + pad + 1, limit)
    mask = np.zeros(tuple((stop - start)[::-1]), np.uint8)
    pixels = [((outline - low) * scale + MARGIN - start) * 16 for outline in part.outlines]
    cv2.fillPoly(mask, [np.rint(p).astype(np.int32) for p in pixels], 255, cv2.LINE_AA, shift=4)
    cover = mask.astype(np.float32) / 255

    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    x = ((np.arange(mask.shape[1], dtype=np.float32) + start[0] - MARGIN) / scale + low[0] - middle[0])[None, :]
    y = ((np.arange(mask.shape[0], dtype=np.float32) + start[1] - MARGIN) / scale + low[1] - middle[1])[:, None]
    c, s = math.cos(math.radians(part.turn)) / part.grain, math.sin(math.radians(part.turn)) / part.grain
    surface = MATERIALS[part.material](rng, (c * x + s * y).astype(np.float32), (c * y - s * x).astype(np.float32))

    first = np.array(part.color, np.float32)
    second = np.array(part.second or part.color, np.float32)
    colors = (first + (second - first) * surface.mix[..., None]) * surface.tone[..., None]

    if part.round > 0:
        inside = np.minimum(cv2.distanceTransform(mask, cv2.DIST_L2, 5) / (part.round * scale), 1)
        bulge = part.round * np.sqrt(np.clip(1 - (1 - inside) ** 2, 0, 1))
        bulge = cv2.GaussianBlur(bulge, (0, 0), max(0.8, 0.2 * part.round * scale))
    else:
        bulge = np.zeros_like(cover)

    rgb, alpha, height, gloss = (layer[start[1] : stop[1], start[0] : stop[0]] for layer in canvas)
    shade = cv2.GaussianBlur(cover, (0, 0), dark) * part.shade
    rgb *= 1 - shade[..., None]
    rgb += cover[..., None] * (np.clip(colors, 0, 1) - rgb)
    follows = max(0.0, 1 - part.round / 0.4)  # a decal follows what lies behind it, a cushion hides its form
    height += cover * ((follows - 1) * height + bulge + RELIEF * part.grain * surface.relief)
    gloss += cover * (GLOSS.get(part.material, 0.0) - gloss)
    np.maximum(alpha, cover, out=alpha)


def light_up(
    thing: Unlit, light: Light, *, side: int, turn: float, flip: bool, squeeze: float = 1.0, shear: float = 0.0
) -> Sprite:
    """Return the thing as a scene shows it, its longer side about `side` pixels before it is turned by `turn` degrees.

    `squeeze` is its width over its own, `shear` leans it: the little that another standpoint changes.
    """
    zoom = side / max(thing.height.shape)
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    own = np.array([[(-squeeze if flip else squeeze), shear], [0.0, 1.0]])
    matrix = zoom * np.array([[c, -s], [s, c]]) @ own
    height, width = thing.height.shape
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) @ matrix.T
    low = corners.min(axis=0) - 1
    size = tuple(np.ceil(corners.max(axis=0) + 1 - low).astype(int).tolist())
    warp = np.column_stack([matrix, -low])
    layers = thing.layers
    # Bilinear sampling alone would alias where the picture shrinks much.
    fine = cv2.GaussianBlur(layers, (0, 0), 0.4 / zoom) if zoom < 0.8 else layers
    turned = cv2.warpAffine(fine, warp, size).astype(np.float32) / 255
    relief = cv2.warpAffine(thing.height, warp, size) * (thing.scale * zoom)  # pixels
    gloss = cv2.warpAffine(thing.gloss, warp, size).astype(np.float32) / 255

    alpha = turned[..., 3]
    rgb = turned[..., :3] / np.maximum(alpha, 1e-3)[..., None]
    slope_x, slope_y = (
        cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    flat = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)  # the surface's normal is (-slope_x, -slope_y, 1) * flat
    level = 0.62  # part of the light that runs along the picture's plane
    toward = level * math.cos(math.radians(light.angle)), level * math.sin(math.radians(light.angle))
    front = math.sqrt(1 - level * level)
    facing = np.clip((-slope_x * toward[0] - slope_y * toward[1] + front) * flat, 0, 1)
    shade = light.ambient + (1 - light.ambient) * facing / front
    # Halfway between the light and the eye, as Blinn has it.
    half = math.sqrt((1 + front) / 2)
    mirror = np.clip((-slope_x * toward[0] - slope_y * toward[1]) * flat / (2 * half) + half * flat, 0, 1) ** 30
    mirror -= half**30  # what a flat surface shows is no highlight
    lit = rgb * shade[..., None] + (0.75 * gloss * np.clip(mirror, 0, 1))[..., None]
    return Sprite(np.clip(lit * np.array(light.color, np.float32), 0, 1), alpha)
