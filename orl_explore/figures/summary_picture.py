"""One picture of what a run made: images with their boxes, their neighbors, corresponding regions, training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from orl_explore.errors import OrlError
from orl_explore.figures.drawing import (
    GRAY,
    INK,
    PALETTE,
    RULE,
    WHITE,
    YELLOW,
    couple,
    curve,
    draw_boxes,
    draw_text,
    draw_tile,
    fit_into,
    load_font,
    shorten,
)
from orl_explore.figures.summary_content import NEIGHBORS, QueryRow, best_pairs, choose_queries, gather_row
from orl_explore.numbers import similarity_text
from orl_explore.runs.run import Run

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
    shown = [gather_row(run, images, tables, best, image_id) for image_id in chosen]
    parts = [
        _title(run, tables, scale),
        _headlines(scale, labeled="context" in images.table),
        *(_row(row, scale) for row in shown),
    ]
    if (curves := _curves(run, scale)) is not None:
        parts.append(curves)
    return _stack(parts, scale)


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
    room = right - scale(MARGIN + COLUMN_GAP) - load_font(scale(FONT)).getlength(facts)
    name = shorten(f"ORL · {run.path.resolve().name}", room, scale(TITLE_FONT))
    draw_text(draw, (scale(MARGIN), baseline), name, scale(TITLE_FONT), anchor="ls")
    draw_text(draw, (right, baseline), facts, scale(FONT), color=GRAY, anchor="rs")
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
        draw_text(draw, (left, scale(30)), head, scale(HEAD_FONT), anchor="ls")
        draw_text(draw, (left, scale(56)), explanation, scale(SMALL_FONT), color=GRAY, anchor="ls")
    return canvas


def _row(row: QueryRow, scale: _Scale) -> Image.Image:
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


def _query(row: QueryRow, numbers: Mapping[int, list[str]], colors: Mapping[int, str], scale: _Scale) -> Image.Image:
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
    room = scale(QUERY) - load_font(scale(FONT)).getlength(f" · {kept}")
    text = kept if row.label is None else f"{shorten(row.label, room, scale(FONT))} · {kept}"
    return _captioned(picture, scale(QUERY), text, scale)


def _neighbor(row: QueryRow, place: int, colors: Mapping[int, str], scale: _Scale) -> Image.Image:
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
    text = similarity_text(row.similarities[place])
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
    canvas.paste(draw_tile(picture, side), (0, 0))
    draw = ImageDraw.Draw(canvas)
    middle = side + scale(CAPTION) // 2
    draw_text(draw, (0, middle), text, scale(FONT), anchor="lm")
    if sign is not None:
        left = round(load_font(scale(FONT)).getlength(text)) + scale(12)
        canvas.paste(sign, (left, middle - sign.height // 2))
        left += sign.width + scale(6)
        draw_text(draw, (left, middle), shorten(label, side - left, scale(FONT)), scale(FONT), anchor="lm")
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
