"""One picture of what a run made: images with their boxes, their neighbors, corresponding regions, training curves."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from orl_explore.boxes import BOX
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.pairs import similarity_text
from orl_explore.runs.run import Run

NEIGHBORS: Final = 4
"""Neighbors shown of an image, and pairs: the best one with each."""

PALETTE: Final = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
"""Okabe and Ito's colors for the color-blind, those that are dark enough for lines on white."""

YELLOW: Final = "#F0E442"
"""Another one of theirs, for boxes without a pair."""

INK, GRAY, RULE, TILE = "#222222", "#6B6B6B", "#DDDDDD", "#F3F3F3"
WHITE = "#FFFFFF"

# The layout, in pixels of a picture 1600 wide; `_Scale` turns them into pixels of the picture at hand.
REFERENCE: Final = 1600
MARGIN, COLUMN_GAP, ROW_GAP, GAP = 40, 44, 30, 12
QUERY, NEIGHBOR, COUPLE_GAP = 240, 186, 24
CAPTION, PLOT_HEIGHT = 32, 220
TITLE_FONT, HEAD_FONT, FONT, SMALL_FONT = 34, 24, 18, 16


def summary_picture(run: Run, *, queries: Sequence[int] | None = None, rows: int = 3, width: int = 1600) -> Image.Image:
    """Draw what a run made: a row for each of a few images, then the curves of the stages that are trained.

    A row shows an image with its kept boxes; its nearest neighbors; and the most similar pair of boxes with each of
    these neighbors, as crops. A color stands for a box of the image, a number for a pair.

    Args:
        run: a run whose stage 2 is finished; without stages 1 or 3 there are fewer curves, without the label `context`
            no signs at the neighbors.
        queries: `image_id` of the images to show; default: see `choose_queries`.
        rows: how many images to choose; without meaning when `queries` are given.
        width: of the picture, pixels; its height follows.

    Returns:
        An RGB picture, the same one for the same run.

    Raises:
        OrlError: a table of stage 2 or an image is missing, or a query is no image of this run.
    """
    images = run.images()
    tables = {name: run.read(name) for name in ("neighbors", "regions", "pairs")}
    best = best_pairs(tables["pairs"])
    chosen = choose_queries(images, tables["neighbors"], best, rows=rows) if queries is None else list(queries)
    if unknown := sorted(set(chosen) - set(images.table["image_id"])):
        raise OrlError(f"{run.path} has no image {unknown[0]}: choose queries from `image_id` of images.parquet")

    scale = _Scale(width)
    shown = [_gather(run, images, tables, best, image_id) for image_id in chosen]
    parts = [
        _title(run, tables, scale),
        _headlines(scale, labeled="context" in images.table),
        *(_row(row, scale) for row in shown),
    ]
    if (curves := _curves(run, scale)) is not None:
        parts.append(curves)
    return _stack(parts, scale)


# ---- what is shown -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """An image, its neighbors and its pairs, ready to be drawn.

    Attributes:
        query: the image; `neighbors` are its neighbors' images, nearest first.
        similarities: of the neighbors.
        label, neighbor_labels: their contexts, None where there is none.
        proposals: how many boxes were found in the image.
        boxes: (R, 4) kept ones, xywh.
        pairs: a tuple per pair: row of the query's box in `boxes`, place of the neighbor, box there, similarity.
    """

    query: Image.Image
    label: str | None
    proposals: int
    boxes: np.ndarray
    neighbors: list[Image.Image]
    neighbor_labels: list[str | None]
    similarities: list[float]
    pairs: list[tuple[int, int, np.ndarray, float]]


def best_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """The most similar pair of every image with each of its nearest neighbors: rows of `stage2/pairs.parquet`."""
    near = pairs[pairs["neighbor_rank"] < NEIGHBORS].sort_values(["image_id", "neighbor_rank", "rank"], kind="stable")
    return near.drop_duplicates(["image_id", "neighbor_rank"])


def choose_queries(images: ImageSet, neighbors: pd.DataFrame, best: pd.DataFrame, *, rows: int) -> list[int]:
    """Choose images that show something: one from each of `rows` equal stretches of the images table.

    It is the image whose pairs start from the most boxes; of several such images, the one whose pairs are most similar.
    Images already shown, as a query or a neighbor, come last. No label is looked at.

    Args:
        images: all images.
        neighbors: the neighbors table.
        best: what `best_pairs` gives.
        rows: how many to choose, at least 1; fewer come back when there are fewer images.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows}")
    groups = best.groupby("image_id")
    scores = pd.DataFrame({"boxes": groups["query_region"].nunique(), "similarity": groups["similarity"].mean()})
    scores = scores.reindex(images.table["image_id"])  # missing values without pairs: sorted last
    near = neighbors[neighbors["rank"] < NEIGHBORS].groupby("image_id")["neighbor_id"].agg(list)
    seen: set[int] = set()
    chosen = []
    for stretch in np.array_split(np.arange(len(images)), min(rows, len(images))):
        part = scores.iloc[stretch]
        part = part.assign(seen=part.index.isin(seen))
        part = part.sort_values(["seen", "boxes", "similarity"], ascending=[True, False, False], kind="stable")
        chosen.append(int(part.index[0]))
        seen |= {chosen[-1], *near.get(chosen[-1], [])}
    return chosen


def _gather(run: Run, images: ImageSet, tables: Mapping[str, pd.DataFrame], best: pd.DataFrame, image_id: int) -> _Row:
    row_of = {known: row for row, known in enumerate(images.table["image_id"].tolist())}

    def of_image(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["image_id"] == image_id]

    def label(image_id: int) -> str | None:
        if "context" not in images.table:
            return None
        value: Any = images.table["context"].iloc[row_of[image_id]]
        return None if pd.isna(value) else str(value)

    near = of_image(tables["neighbors"]).sort_values("rank")
    near = near[near["rank"] < NEIGHBORS]
    near_ids = near["neighbor_id"].tolist()
    regions = tables["regions"]
    own = of_image(regions)
    own_ids = own["region_id"].tolist()
    pairs = of_image(best)
    key_boxes = regions.set_index("region_id").loc[pairs["key_region"], BOX].to_numpy(np.int64)
    names = ("query_region", "neighbor_id", "similarity")
    query_regions, neighbor_ids, similarities = (pairs[name].tolist() for name in names)
    return _Row(
        query=images.load(row_of[image_id]),
        label=label(image_id),
        proposals=len(run.read("proposals", image_id=image_id, columns=["image_id"])),
        boxes=own[BOX].to_numpy(np.int64),
        neighbors=[images.load(row_of[near_id]) for near_id in near_ids],
        neighbor_labels=[label(near_id) for near_id in near_ids],
        similarities=near["similarity"].tolist(),
        pairs=[
            (own_ids.index(region), near_ids.index(neighbor), box, similarity)
            for region, neighbor, box, similarity in zip(
                query_regions, neighbor_ids, key_boxes, similarities, strict=True
            )
        ],
    )


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
    canvas.paste(_tile(fit_into(query, side, side), side), (0, 0))
    canvas.paste(_tile(fit_into(key, side, side), side), (side + gap, 0))
    draw = ImageDraw.Draw(canvas)
    tag = _tag(number, color, font_size)
    canvas.paste(tag, (0, side + (caption - tag.height) // 2))
    _text(
        draw, (tag.width + font_size // 2, side + caption // 2), similarity_text(similarity, 2), font_size, anchor="lm"
    )
    return canvas


def _tile(picture: Image.Image, side: int) -> Image.Image:
    """Put a picture in the middle of a light square, so that images of any shape line up."""
    tile = Image.new("RGB", (side, side), TILE)
    tile.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
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
    width = round(_font(font_size).getlength(_printable(text))) + 2 * pad
    tag = Image.new("RGB", (width, round(font_size * 1.3)), color)
    _text(ImageDraw.Draw(tag), (width / 2, tag.height / 2), text, font_size, color=_contrast(color), anchor="mm")
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
    _text(draw, (0, 0.8 * font_size), title, font_size, anchor="lm")
    for name, x in legend.items():
        _text(draw, (x, 0.8 * font_size), name, font_size, anchor="lm")
    for tick in ticks:
        _text(draw, (left - font_size / 2, place(1, tick)[1]), f"{tick:g}", font_size, color=GRAY, anchor="rm")
    for epoch in _whole_ticks(epochs):
        _text(draw, (place(epoch, 0)[0], bottom + 0.8 * font_size), str(epoch), font_size, color=GRAY, anchor="mm")
    _text(draw, ((left + right) / 2, height - 0.7 * font_size), "epoch", font_size, color=GRAY, anchor="mm")
    return plot


def _legend(names: Sequence[str], right: float, font_size: int) -> dict[str, float]:
    """Where the names of a plot's lines begin: beside each other, the last one ending at `right`."""
    places = {}
    for name in reversed(names):
        places[name] = right - _font(font_size).getlength(_printable(name))
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


# ---- parts of the picture ------------------------------------------------------------------------------------------


class _Scale:
    """Pixels of a picture of some width for lengths of the layout, which is 1600 wide."""

    def __init__(self, width: int):
        self.width = width

    def __call__(self, length: float) -> int:
        return max(1, round(length * self.width / REFERENCE))

    def columns(self) -> tuple[int, int, int]:
        """Where the three columns begin."""
        second = MARGIN + QUERY + COLUMN_GAP
        third = second + NEIGHBORS * NEIGHBOR + (NEIGHBORS - 1) * GAP + COLUMN_GAP
        return self(MARGIN), self(second), self(third)


def _title(run: Run, tables: Mapping[str, pd.DataFrame], scale: _Scale) -> Image.Image:
    images = run.manifest()["images"]["count"]
    proposals = pq.read_metadata(run.require("proposals")).num_rows  # a table too long to read only for this
    facts = (
        f"{images:,} images · {proposals:,} proposals, {len(tables['regions']):,} of them kept · "
        f"{len(tables['pairs']):,} pairs of corresponding regions"
    )
    canvas = Image.new("RGB", (scale.width, scale(48)), WHITE)
    draw = ImageDraw.Draw(canvas)
    baseline, right = scale(36), scale.width - scale(MARGIN)
    room = right - scale(MARGIN + COLUMN_GAP) - _font(scale(FONT)).getlength(facts)
    name = _shorten(f"ORL · {run.path.resolve().name}", room, scale(TITLE_FONT))
    _text(draw, (scale(MARGIN), baseline), name, scale(TITLE_FONT), anchor="ls")
    _text(draw, (right, baseline), facts, scale(FONT), color=GRAY, anchor="rs")
    return canvas


def _headlines(scale: _Scale, *, labeled: bool) -> Image.Image:
    signs = "; signs: same context or another" if labeled else ""
    texts = (
        ("image and its proposals", "kept boxes; numbered: in a pair"),
        ("nearest neighbors", f"with the cosine similarity of the image embeddings{signs}"),
        ("corresponding regions", "best pair with each neighbor, cosine similarity"),
    )
    canvas = Image.new("RGB", (scale.width, scale(64)), WHITE)
    draw = ImageDraw.Draw(canvas)
    for left, (head, explanation) in zip(scale.columns(), texts, strict=True):
        _text(draw, (left, scale(30)), head, scale(HEAD_FONT), anchor="ls")
        _text(draw, (left, scale(56)), explanation, scale(SMALL_FONT), color=GRAY, anchor="ls")
    return canvas


def _row(row: _Row, scale: _Scale) -> Image.Image:
    numbers: dict[int, list[str]] = {}  # of the pairs, by the query's box
    for number, (box, *_) in enumerate(row.pairs, 1):
        numbers.setdefault(box, []).append(str(number))
    colors = {box: PALETTE[place] for place, box in enumerate(numbers)}

    columns = scale.columns()
    parts = [(columns[0], 0, _query(row, numbers, colors, scale))]
    for place in range(len(row.neighbors)):
        left = columns[1] + place * scale(NEIGHBOR + GAP)
        parts.append((left, 0, _neighbor(row, place, colors, scale)))
    room = scale.width - scale(MARGIN) - columns[2]
    for place, (box, neighbor, key_box, similarity) in enumerate(row.pairs):
        picture = couple(
            _crop(row.query, row.boxes[box]),
            _crop(row.neighbors[neighbor], key_box),
            number=str(place + 1),
            similarity=similarity,
            color=colors[box],
            width=(room - scale(COUPLE_GAP)) // 2,
            font_size=scale(FONT),
        )
        left = columns[2] + place % 2 * (picture.width + scale(COUPLE_GAP))
        parts.append((left, place // 2 * (picture.height + scale(GAP)), picture))
    canvas = Image.new("RGB", (scale.width, max(top + picture.height for _, top, picture in parts)), WHITE)
    for left, top, picture in parts:
        canvas.paste(picture, (left, top))
    return canvas


def _query(row: _Row, numbers: Mapping[int, list[str]], colors: Mapping[int, str], scale: _Scale) -> Image.Image:
    picture = fit_into(row.query, scale(QUERY), scale(QUERY))
    boxes = _scaled(row.boxes, row.query, picture)
    others = [box for box in range(len(boxes)) if box not in numbers]
    no_tags, plain = [""] * len(others), [YELLOW] * len(others)
    outlined = draw_boxes(picture, boxes[others], no_tags, plain, line=scale(1.4), hairline=0)
    strength = min(0.8, max(0.45, 12 / max(len(others), 1)))  # up to a hundred boxes must not hide the image
    picture = Image.blend(picture, outlined, strength)
    picture = draw_boxes(
        picture,
        boxes[list(numbers)],
        [" ".join(texts) for texts in numbers.values()],
        [colors[box] for box in numbers],
        line=scale(3),
        font_size=scale(SMALL_FONT),
    )
    kept = f"{len(boxes):,} of {row.proposals:,} kept"
    room = scale(QUERY) - _font(scale(FONT)).getlength(f" · {kept}")
    text = kept if row.label is None else f"{_shorten(row.label, room, scale(FONT))} · {kept}"
    return _captioned(picture, scale(QUERY), text, scale)


def _neighbor(row: _Row, place: int, colors: Mapping[int, str], scale: _Scale) -> Image.Image:
    image = row.neighbors[place]
    picture = fit_into(image, scale(NEIGHBOR), scale(NEIGHBOR))
    found = [(number, box, key) for number, (box, neighbor, key, _) in enumerate(row.pairs, 1) if neighbor == place]
    picture = draw_boxes(
        picture,
        _scaled(np.array([key for *_, key in found]), image, picture),
        [str(number) for number, *_ in found],
        [colors[box] for _, box, _ in found],
        line=scale(3),
        font_size=scale(SMALL_FONT),
    )
    text = similarity_text(row.similarities[place], 2)
    label = row.neighbor_labels[place]
    if label is None or row.label is None:
        return _captioned(picture, scale(NEIGHBOR), text, scale)
    sign = _sign(label == row.label, scale(FONT))
    return _captioned(picture, scale(NEIGHBOR), text, scale, sign=sign, label=label)


def _captioned(
    picture: Image.Image,
    side: int,
    text: str,
    scale: _Scale,
    *,
    sign: Image.Image | None = None,
    label: str = "",
) -> Image.Image:
    """Write a caption under a picture in its square: text, then a sign and a label."""
    canvas = Image.new("RGB", (side, side + scale(CAPTION)), WHITE)
    canvas.paste(_tile(picture, side), (0, 0))
    draw = ImageDraw.Draw(canvas)
    middle = side + scale(CAPTION) // 2
    _text(draw, (0, middle), text, scale(FONT), anchor="lm")
    if sign is not None:
        left = round(_font(scale(FONT)).getlength(text)) + scale(12)
        canvas.paste(sign, (left, middle - sign.height // 2))
        left += sign.width + scale(6)
        _text(draw, (left, middle), _shorten(label, side - left, scale(FONT)), scale(FONT), anchor="lm")
    return canvas


def _sign(equal: bool, size: int) -> Image.Image:
    """An equals sign, crossed out where not equal; the font has no such letter."""
    fine = 8
    large = Image.new("RGB", (size * fine, size * fine), WHITE)
    pen = ImageDraw.Draw(large)
    thick = size * fine // 8
    for y in (0.36, 0.64):
        pen.line((0.1 * size * fine, y * size * fine, 0.9 * size * fine, y * size * fine), fill=INK, width=thick)
    if not equal:
        ends = (0.28 * size * fine, 0.95 * size * fine, 0.72 * size * fine, 0.05 * size * fine)
        pen.line(ends, fill=INK, width=thick)
    return large.resize((size, size), Image.Resampling.BOX)


def _curves(run: Run, scale: _Scale) -> Image.Image | None:
    """Loss and standard deviation per epoch of the stages that are trained; None when there is none."""
    losses: dict[str, list[float]] = {}
    spreads: dict[str, list[float]] = {}
    colors = []
    for stage, color in (("stage1", PALETTE[1]), ("stage3", PALETTE[0])):
        file = run.path / stage / "metrics.csv"
        if not (run.finished(stage) and file.exists()):
            continue
        epochs = pd.read_csv(file).groupby("epoch")
        name = f"stage {stage[-1]}"
        losses[name] = epochs["loss"].mean().tolist()
        spreads[name] = epochs["std"].last().tolist()
        colors.append(color)
    if not losses:
        return None
    size = ((scale.width - 2 * scale(MARGIN) - scale(COLUMN_GAP)) // 2, scale(PLOT_HEIGHT))
    canvas = Image.new("RGB", (scale.width, size[1]), WHITE)
    titles = ("loss (of stage 3: the sum of its three)", "representation std (1: spread out, 0: collapsed)")
    for place, (series, title) in enumerate(zip((losses, spreads), titles, strict=True)):
        plot = curve(series, title=title, colors=colors, size=size, font_size=scale(FONT), line=scale(3))
        canvas.paste(plot, (scale(MARGIN) + place * (size[0] + scale(COLUMN_GAP)), 0))
    return canvas


def _stack(parts: Sequence[Image.Image], scale: _Scale) -> Image.Image:
    """Put the parts below each other, with a rule above each but the title and the first row."""
    gap = scale(ROW_GAP)
    heights = [part.height for part in parts]
    canvas = Image.new("RGB", (scale.width, sum(heights) + gap * (len(parts) + 1)), WHITE)
    draw = ImageDraw.Draw(canvas)
    top = gap
    for place, part in enumerate(parts):
        if place == 1 or place > 2:
            y = top - gap // 2
            draw.line((scale(MARGIN), y, scale.width - scale(MARGIN) - 1, y), fill=RULE, width=scale(1))
        canvas.paste(part, (0, top))
        top += part.height + (gap if place != 1 else gap // 2)
    return canvas.crop((0, 0, scale.width, top))


def _scaled(boxes: np.ndarray, image: Image.Image, picture: Image.Image) -> np.ndarray:
    """Boxes (N, 4) of an image, in pixels of the picture it was fitted to."""
    factor = np.array([picture.width / image.width, picture.height / image.height] * 2)
    return boxes.reshape(-1, 4) * factor


def _crop(image: Image.Image, box: np.ndarray) -> Image.Image:
    x, y, w, h = (int(value) for value in box)
    return image.crop((x, y, x + w, y + h))


# ---- text ----------------------------------------------------------------------------------------------------------


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=max(size, 4))


def _printable(text: str) -> str:
    """Text in the letters that Pillow's font has: accents are dropped, foreign letters become question marks."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" or letter in "·…" else "?" for letter in plain)


def _shorten(text: str, room: float, font_size: int) -> str:
    """Text that fits into `room` pixels, cut with an ellipsis where it is too long."""
    text = _printable(text)
    if _font(font_size).getlength(text) <= room:
        return text
    while text and _font(font_size).getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    font_size: int,
    *,
    color: str = INK,
    anchor: str = "ls",
) -> None:
    draw.text(place, _printable(text), fill=color, font=_font(font_size), anchor=anchor)
