"""Drawing with Pillow: boxes with tags, couples of crops, curves, text."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from orl_explore.numbers import similarity_text

PALETTE: Final = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
"""Okabe and Ito's colors for the color-blind, those that are dark enough for lines on white."""

YELLOW: Final = "#F0E442"
"""Another one of theirs, for boxes without a pair."""

INK, GRAY, RULE, TILE = "#222222", "#6B6B6B", "#DDDDDD", "#F3F3F3"
WHITE = "#FFFFFF"


# ---- pictures with boxes -------------------------------------------------------------------------------------------


def fit_into(image: Image.Image, width: int, height: int) -> Image.Image:
    """Enlarge or reduce an image until it just fits into width x height; its shape stays, no side is below 1 pixel."""
    factor = min(width / image.width, height / image.height)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def draw_boxes(
    image: Image.Image,
    boxes: ArrayLike,
    labels: Sequence[str],
    colors: Sequence[str],
    *,
    line: int = 3,
    hairline: int = 1,
    font_size: int = 16,
) -> Image.Image:
    """Draw outlines on a copy of an image, each with a tag in one of its corners.

    The outline lies on the outermost pixels of the box; a white hairline inside it tells it from a ground of its color.

    Args:
        image: RGB.
        boxes: (N, 4) xywh, pixels of this image, half-open; what is outside the image is cut off.
        labels: text of each tag; no tag where it is empty.
        colors: of each box, such as "#0072B2".
        line: width of the outlines, pixels.
        hairline: its width, pixels; 0 for none.
        font_size: of the tags, pixels.
    """
    image = image.copy()
    draw = ImageDraw.Draw(image)
    corners = []
    for (x, y, w, h), color in zip(np.asarray(boxes, dtype=np.float64).reshape(-1, 4), colors, strict=True):
        left, right = _inside(x, w, image.width)
        top, bottom = _inside(y, h, image.height)
        _outline(draw, (left, top, right, bottom), WHITE, line + hairline)
        _outline(draw, (left, top, right, bottom), color, line)
        corners.append((left, top, right, bottom))
    taken: list[tuple[int, int, int, int]] = []
    for (left, top, right, bottom), label, color in zip(corners, labels, colors, strict=True):
        if not label:
            continue
        tag = _tag(label, color, font_size)
        places = [(x, y) for y in (top, bottom + 1 - tag.height) for x in (left, right + 1 - tag.width)]
        spots = [
            (min(max(x, 0), max(image.width - tag.width, 0)), min(max(y, 0), max(image.height - tag.height, 0)))
            for x, y in places
        ]
        areas = [(x, y, x + tag.width, y + tag.height) for x, y in spots]
        area = next((area for area in areas if not any(_overlap(area, other) for other in taken)), areas[0])
        image.paste(tag, area[:2])
        taken.append(area)
    return image


def couple(
    query: Image.Image, key: Image.Image, *, number: str, similarity: float, color: str, width: int, font_size: int = 18
) -> Image.Image:
    """Put two corresponding crops side by side, with the pair's number and similarity below.

    Args:
        query: crop of the image.
        key: crop of the neighbor.
        number: of the pair.
        similarity: cosine of the two region embeddings.
        color: of the query's box.
        width: of the couple, pixels; each crop is fitted into a square.
        font_size: of the caption, pixels.

    Returns:
        RGB, on white.
    """
    gap = max(2, width // 50)
    side = (width - gap) // 2
    caption = round(font_size * 1.7)
    canvas = Image.new("RGB", (width, side + caption), WHITE)
    canvas.paste(draw_tile(fit_into(query, side, side), side), (0, 0))
    canvas.paste(draw_tile(fit_into(key, side, side), side), (side + gap, 0))
    draw = ImageDraw.Draw(canvas)
    tag = _tag(number, color, font_size)
    canvas.paste(tag, (0, side + (caption - tag.height) // 2))
    draw_text(
        draw, (tag.width + font_size // 2, side + caption // 2), similarity_text(similarity), font_size, anchor="lm"
    )
    return canvas


def draw_tile(picture: Image.Image, side: int) -> Image.Image:
    """Put a picture in the middle of a light square, so that images of any shape line up."""
    tile = Image.new("RGB", (side, side), TILE)
    tile.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return tile


def unreadable(side: int) -> Image.Image:
    """Stands for a picture that cannot be read any more, and says so."""
    tile = Image.new("RGB", (side, side), TILE)
    draw_text(ImageDraw.Draw(tile), (side / 2, side / 2), "cannot be read", max(8, side // 10), color=GRAY, anchor="mm")
    return tile


def _outline(draw: ImageDraw.ImageDraw, corners: tuple[int, int, int, int], color: str, line: int) -> None:
    """Draw a box's outline as four bars within it; Pillow's own leaves a box that is smaller than its line."""
    left, top, right, bottom = corners
    more = line - 1
    draw.rectangle((left, top, right, min(top + more, bottom)), fill=color)
    draw.rectangle((left, max(bottom - more, top), right, bottom), fill=color)
    draw.rectangle((left, top, min(left + more, right), bottom), fill=color)
    draw.rectangle((max(right - more, left), top, right, bottom), fill=color)


def _inside(start: float, length: float, limit: int) -> tuple[int, int]:
    """First and last pixel of a stretch, within 0 .. limit - 1."""
    first = min(max(round(start), 0), limit - 1)
    return first, min(max(round(start + length) - 1, first), limit - 1)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _tag(text: str, color: str, font_size: int) -> Image.Image:
    """Text on a plate of a color."""
    pad = max(2, font_size // 3)
    width = round(load_font(font_size).getlength(drawable(text))) + 2 * pad
    tag = Image.new("RGB", (width, round(font_size * 1.3)), color)
    draw_text(ImageDraw.Draw(tag), (width / 2, tag.height / 2), text, font_size, color=_contrast(color), anchor="mm")
    return tag


def _contrast(color: str) -> str:
    """Black or white, whichever stands out against a color."""
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else WHITE


# ---- curves --------------------------------------------------------------------------------------------------------


def curve(
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    colors: Sequence[str],
    size: tuple[int, int],
    font_size: int = 16,
    line: int = 3,
) -> Image.Image:
    """Plot numbers per epoch as lines, each with marks of its own shape, from zero up.

    Args:
        series: a name and one number per epoch, the first epoch being 1; what is not finite is left out.
        title: above the plot, beside the legend.
        colors: of each line.
        size: width and height of the picture, pixels.
        font_size: pixels.
        line: width of the lines, pixels.
    """
    width, height = size
    points = {
        name: [(epoch, float(value)) for epoch, value in enumerate(values, 1) if math.isfinite(value)]
        for name, values in series.items()
    }
    every = [point for path in points.values() for point in path] or [(1, 0.0)]
    ticks = _ticks(max(value for _, value in every))
    epochs = max(epoch for epoch, _ in every)
    left, top, right, bottom = 2.6 * font_size, 2.5 * font_size, width - font_size, height - 2.4 * font_size

    def place(epoch: float, value: float) -> tuple[float, float]:
        across = (epoch - 1) / (epochs - 1) if epochs > 1 else 0.5
        return left + across * (right - left), bottom - value / ticks[-1] * (bottom - top)

    # Lines and marks are drawn four times as large and reduced: Pillow itself draws jagged ones.
    fine = 4
    large = Image.new("RGB", (width * fine, height * fine), WHITE)
    pen = ImageDraw.Draw(large)
    for tick in ticks:
        y = place(1, tick)[1] * fine
        pen.line((left * fine, y, right * fine, y), fill=RULE if tick else GRAY, width=fine)
    legend = _legend(list(points), right, font_size)
    for shape, ((name, x), color) in enumerate(zip(legend.items(), colors, strict=True)):
        path = [place(*point) for point in points[name]]
        flat = [coordinate * fine for point in path for coordinate in point]
        if len(path) > 1:
            pen.line(flat, fill=color, width=line * fine, joint="curve")
        for point in [*(path if len(path) <= 25 else path[-1:]), (x - 0.8 * font_size, 0.8 * font_size)]:
            _mark(pen, shape, point, line, color, fine)
    plot = large.resize(size, Image.Resampling.BOX)

    draw = ImageDraw.Draw(plot)
    draw_text(draw, (0, 0.8 * font_size), title, font_size, anchor="lm")
    for name, x in legend.items():
        draw_text(draw, (x, 0.8 * font_size), name, font_size, anchor="lm")
    for tick in ticks:
        draw_text(draw, (left - font_size / 2, place(1, tick)[1]), f"{tick:g}", font_size, color=GRAY, anchor="rm")
    for epoch in _whole_ticks(epochs):
        draw_text(draw, (place(epoch, 0)[0], bottom + 0.8 * font_size), str(epoch), font_size, color=GRAY, anchor="mm")
    draw_text(draw, ((left + right) / 2, height - 0.7 * font_size), "epoch", font_size, color=GRAY, anchor="mm")
    return plot


def _legend(names: Sequence[str], right: float, font_size: int) -> dict[str, float]:
    """Where the names of a plot's lines begin: beside each other, the last one ending at `right`."""
    places = {}
    for name in reversed(names):
        places[name] = right - load_font(font_size).getlength(drawable(name))
        right = places[name] - 1.8 * font_size  # leaves room for a mark
    return {name: places[name] for name in names}


def _mark(pen: ImageDraw.ImageDraw, shape: int, point: tuple[float, float], line: float, color: str, fine: int) -> None:
    """A disk for the first line of a plot; for others a square, small enough to leave a disk below it visible."""
    radius = line * (1.4 if shape else 2.2)
    box = [(value + sign * radius) * fine for sign in (-1, 1) for value in point]
    (pen.rectangle if shape else pen.ellipse)(box, fill=color)


def _ticks(highest: float) -> list[float]:
    """Round numbers from 0 to at least `highest`, three to six of them."""
    if not highest > 0:
        return [0.0, 0.5, 1.0]
    step = 10.0 ** math.floor(math.log10(highest / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if highest / (step * factor) <= 4)
    return [round(number * step, 12) for number in range(math.ceil(round(highest / step, 9)) + 1)]


def _whole_ticks(epochs: int) -> list[int]:
    """1, the last epoch, and round numbers between them that leave room."""
    if epochs <= 10:
        return list(range(1, epochs + 1))
    step = int(_ticks(epochs)[1])
    return [1, *(number for number in range(step, epochs, step) if epochs - number > step / 3), epochs]


# ---- text ----------------------------------------------------------------------------------------------------------


@lru_cache
def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, in a size that can be drawn."""
    return ImageFont.load_default(size=max(size, 4))


def drawable(text: str) -> str:
    """Text in the letters that Pillow's font has: accents are dropped, foreign letters become question marks."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" or letter in "·…" else "?" for letter in plain)


def shorten(text: str, room: float, font_size: int) -> str:
    """Text that fits into `room` pixels, cut with an ellipsis where it is too long."""
    text = drawable(text)
    if load_font(font_size).getlength(text) <= room:
        return text
    while text and load_font(font_size).getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text.rstrip()}…"


def draw_text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    font_size: int,
    *,
    color: str = INK,
    anchor: str = "ls",
) -> None:
    """Draw one line of text, and what of it is not in the font as a question mark."""
    draw.text(place, drawable(text), fill=color, font=load_font(font_size), anchor=anchor)
