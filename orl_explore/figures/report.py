"""A run as one HTML file that opens without us and without a network: for a colleague, a supervisor, an archive.

Everything that comes from a run is escaped, and no path of this machine is in the file.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
from pathlib import Path
from typing import Any, Final

import pandas as pd
from PIL import Image, ImageDraw

from orl_explore.boxes import BOX
from orl_explore.errors import OrlError
from orl_explore.figures import object_map
from orl_explore.figures.drawing import PALETTE, curve, unreadable
from orl_explore.images.image_set import ImageSet
from orl_explore.maps.object_map import read_best_map
from orl_explore.numbers import percent_text, similarity_text
from orl_explore.runs.files import atomic_write
from orl_explore.runs.pair_query import AllPairs, PairQuery
from orl_explore.runs.provenance import now
from orl_explore.runs.region_embeddings import name_of
from orl_explore.runs.run import Run

MOST: Final = 10_000_000
"""Bytes that a report has at most."""
PAIRS: Final = 24
"""Pairs that are shown."""
POINTS: Final = 20_000
"""Points of the map that can be moved about at most; of more, a random sample."""
SIDE: Final = 140
"""Longer side of a crop, pixels."""

FIGURES: Final = (
    ("object_probe", "linear probe on annotated objects"),
    ("object_knn", "kNN on annotated objects"),
    ("scene_map", "categories in whole images, mAP"),
)
DRAW: Final = """
if (document.createElement('canvas').getContext('webgl'))
    Plotly.newPlot('map', chart.data, chart.layout, {scrollZoom: true, displaylogo: false});
else
    document.getElementById('map').textContent = 'This browser lacks WebGL, which it takes: see the picture above.';
"""
STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1060px; margin: 2em auto; padding: 0 1em; color: #222;
       background: #fff; }
h1 { line-height: 1.2; } h2 { margin-top: 2em; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; } td, th { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: right; }
td:first-child, th:first-child { text-align: left; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 12px; }
figure { margin: 0; border: 1px solid #ddd; border-radius: 8px; padding: 6px; }
figure img { width: calc(50% - 4px); aspect-ratio: 1; object-fit: contain; background: #f3f3f3; }
figcaption { font-size: 13px; overflow-wrap: anywhere; }
.wide { max-width: 100%; } .small { color: #666; font-size: 14px; }
@media (max-width: 600px) { table { display: block; overflow-x: auto; } }
"""


def report(run: Run, query: PairQuery | None = None, *, title: str = "") -> str:
    """The report as text, of `MOST` bytes at most.

    Args:
        run: a run; what it does not have yet is left out.
        query: which pairs are shown; default: the most doubtful.
        title: its heading; default: the name of the run.

    Raises:
        OrlError: the query asks for what the run does not have.
    """
    images = run.images()
    name = title or run.path.name
    parts = [f"<h1>{html.escape(name)}</h1>", _what(run, images), _key_figures(run), _curves(run)]
    if run.file("pair_facts").exists():
        parts.append(_pairs(AllPairs(run), images, query or PairQuery()))
    elif query is not None:
        AllPairs(run)  # says what is missing
    static, moving = _map(run)
    parts.append(static)
    page = _page(name, parts)
    if moving:
        from plotly.offline import get_plotlyjs

        # What only the moving map needs, and only if it fits; the still one says the same.
        script = f"<script>{get_plotlyjs()}</script>{moving}"
        if len(page.encode()) + len(script.encode()) <= MOST:
            page = _page(name, [*parts, script])
    return page


def write_report(run: Run, out: Path, query: PairQuery | None = None, *, title: str = "") -> None:
    """Write the report to a file; see `report`."""
    text = report(run, query, title=title)
    with atomic_write(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _page(name: str, parts: list[str]) -> str:
    # Nothing is ever fetched, whatever might be in the texts.
    policy = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
    head += f'<meta name="viewport" content="width=device-width"><title>{html.escape(name)}</title>'
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(parts)}</body></html>'
    )


def _table(rows: list[list[str]]) -> str:
    """Rows of texts as a table; the first is its head."""
    cells = [[html.escape(text) for text in row] for row in rows]
    lines = ["".join(f"<th>{cell}</th>" for cell in cells[0])]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in cells[1:]]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _what(run: Run, images: ImageSet) -> str:
    manifest = run.manifest()
    sources = ", ".join(Path(str(source)).name for source in manifest["images"]["sources"])
    words = [f"{len(images):,} images of {html.escape(sources)}"]
    words += [f"{len(images.objects):,} annotated objects"] if len(images.objects) else []
    text = f"<p>Object-level representation learning (ORL) on {', '.join(words)}. Run begun {manifest['created'][:10]},"
    text += f" report of {now()[:10]}.</p>"
    rows = [["stage", "state", "seconds", "settings"]]
    for number, what in enumerate(("image-level training", "mining of pairs", "object-level training"), start=1):
        state = run.state(f"stage{number}")
        config = state.record.get("config", {})
        backbone = (config.get("encoder") or {}).get("backbone") if number != 2 else config.get("encoder")
        settings = [f"encoder {backbone}"] if backbone else []
        for key in ("epochs", "batch_size", "neighbors", "min_side", "pair_ratio"):
            chose = not (run.given() and key in ("neighbors", "pair_ratio"))
            settings += [f"{key} {config[key]}"] if key in config and chose else []
        seconds = f"{state.seconds:,.0f}" if state.seconds else "-"
        rows.append([f"{number}: {what}", state.word, seconds, ", ".join(settings)])
    return text + _table(rows) + (f"<p>{html.escape(run.given())}</p>" if run.given() else "")


def _key_figures(run: Run) -> str:
    try:
        summary: dict[str, Any] = json.loads((run.path / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return '<h2>Key figures</h2><p class="small">This run has not been judged yet.</p>'
    names = [name for name in ("random", "stage1", "stage3") if name in summary]
    rows = [["", *names]]
    for key, words in FIGURES:
        if any(key in summary[name] for name in names):
            rows.append([words, *(_share(summary[name].get(key)) for name in names)])
    mined = summary.get("stage2", {})
    found = [["mined in stage 2", "", "by chance"]]
    for key, words in (
        ("context_agreement", "neighbors of the same context"),
        ("recall_50", "objects with a box (IoU 0.5)"),
        ("purity", "pairs of objects of one category"),
    ):
        if key in mined:
            found.append([words, _share(mined[key]), _share(mined.get(f"{key}_chance"))])
    tables = [_table(table) for table in (rows, found) if len(table) > 1]
    return "<h2>Key figures</h2>" + "<br>".join(tables)


def _share(value: Any) -> str:
    return percent_text(value if isinstance(value, int | float) and math.isfinite(value) else None)


def _curves(run: Run) -> str:
    losses: dict[str, list[float]] = {}
    spreads: dict[str, list[float]] = {}
    for stage in ("stage1", "stage3"):
        file = run.path / stage / "metrics.csv"
        if not file.exists():
            continue
        epochs = pd.read_csv(file, on_bad_lines="skip").groupby("epoch")  # it may be growing
        losses[f"stage {stage[-1]}"] = epochs["loss"].mean().tolist()
        spreads[f"stage {stage[-1]}"] = epochs["std"].last().tolist()
    drawn = []
    for series, title in ((losses, "loss"), (spreads, "spread of the representation (1: spread out, 0: collapsed)")):
        if series:
            plot = curve(series, title=title, colors=PALETTE[: len(series)], size=(1000, 300))
            drawn.append(_picture(plot, title, "PNG"))
    return "<h2>Training</h2>" + "".join(drawn) if drawn else ""


def _picture(picture: Image.Image, alt: str, kind: str = "JPEG") -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, kind, quality=85, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="wide" alt="{html.escape(alt)}" src="data:image/{kind.lower()};base64,{data}">'


def _pairs(pairs: AllPairs, images: ImageSet, query: PairQuery) -> str:
    found, whole = pairs.figures(query), pairs.figures(PairQuery())
    rows = [["pairs", "these", "all of the run"], ["how many", f"{found.pairs:,}", f"{whole.pairs:,}"]]
    rows.append(["mean similarity", similarity_text(found.similarity), similarity_text(whole.similarity)])
    if pairs.categories:
        rows.append(["two objects of one category", _share(found.purity), _share(whole.purity)])
    row_of = {image_id: row for row, image_id in enumerate(images.table["image_id"].tolist())}
    boxes = pairs.run.read("regions", columns=BOX)[BOX].to_numpy()
    cards, unread = [], set()
    for row in pairs.page(query, count=PAIRS).to_dict("records"):
        sides = []
        for side, owner in (("query", "image_id"), ("key", "neighbor_id")):
            x, y, w, h = boxes[int(row[f"{side}_region"])].tolist()
            try:
                crop = images.load(row_of[row[owner]]).crop((x, y, x + w, y + h))
                crop.thumbnail((SIDE, SIDE))
            except OrlError:
                unread.add(row[owner])
                crop = unreadable(SIDE)
            sides.append(_picture(crop, f"box {row[f'{side}_region']}"))
        names = [images.table["file_name"].iloc[row_of[row[owner]]] for owner in ("image_id", "neighbor_id")]
        words = [similarity_text(row["similarity"])]
        words += [f"{row['query_name']} | {row['key_name']}"] if pairs.categories else []
        words += [row["verdict"]] if row["verdict"] else []
        caption = html.escape(" \u00b7 ".join(words)) + "<br>" + html.escape(" and ".join(map(str, names)))
        cards.append(f"<figure>{' '.join(sides)}<figcaption>{caption}</figcaption></figure>")
    asked = html.escape(query.text() or "sort=doubt")
    text = f"<h2>Pairs</h2><p>Asked for: <code>{asked}</code></p>{_table(rows)}<br>"
    if unread:
        text += f'<p class="small">Images that cannot be read any more: {len(unread)}.</p>'
    return text + f'<div class="pairs">{"".join(cards)}</div>'


def _map(run: Run) -> tuple[str, str]:
    """The object map as a picture, and as a chart for the browser; empty where there is none."""
    try:
        made = read_best_map(run)
    except OrlError:
        return "", ""
    table = made.table
    few = table.sample(min(POINTS, len(table)), random_state=0).sort_index()
    low, span = table[["x", "y"]].min(), (table[["x", "y"]].max() - table[["x", "y"]].min()).max() or 1.0
    side, edge = 900, 12
    canvas = Image.new("RGB", (side, side), "white")
    pen, radius = ImageDraw.Draw(canvas), 2
    coloring = object_map.coloring_of_groups(few["cluster"], "cluster")
    colors = [coloring.colors[code] for code in coloring.codes.tolist()]
    for x, y, color in zip(few["x"], few["y"], colors, strict=True):
        left = edge + (x - low["x"]) / span * (side - 2 * edge)
        top = side - edge - (y - low["y"]) / span * (side - 2 * edge)
        pen.ellipse((left - radius, top - radius, left + radius, top + radius), fill=color)
    shown = f"As seen by {html.escape(name_of(run, made.encoder))}: {len(few):,} of {made.regions:,} boxes."
    shown += " Near ones look alike to the encoder, colors are clusters"
    static = f'<h2>Object map</h2><p class="small">{shown}.</p>' + _picture(canvas, "object map", "PNG")
    boxes = run.read("regions")[["region_id", "image_id", "w", "h"]]
    chart = object_map.by_group(few.merge(boxes, on="region_id"), "cluster", height=640)
    figure = chart.to_json().replace("<", "\\u003c")  # no text can end the script
    moving = '<h2>Object map, to be moved about</h2><div id="map"></div><script>const chart = '
    return static, f"{moving}{figure}; {DRAW}</script>"
