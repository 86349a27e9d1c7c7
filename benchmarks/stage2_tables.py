"""The tables and the figure of `stage2_at_size.py`, from what it has measured."""

from __future__ import annotations

import json
from typing import Any

import report

FACTS = report.RESULTS / "stage2_at_size.json"
FIGURE = report.RESULTS.parents[1] / "docs" / "images" / "stage2-cost.png"


def write_report() -> None:
    """Tables, and the figure when everything has been measured."""
    known = json.loads(FACTS.read_text())
    body = [
        "What `coco --kill`, `cost` and `decoding` measured (`stage2_at_size.json`), with OMP_NUM_THREADS=1. Other work"
        " ran beside it, for some of the time so much that processes stood still: core-minutes are the honest figure."
    ]
    if "coco" in known:
        body += _coco_report(known["coco"])
    if "simulated" in known:
        body += _cost_report("Simulated embeddings", list(known["simulated"].values()))
    if "drawn" in known:
        found = [facts for facts in known["drawn"].values() if "step" in facts]
        body += _cost_report("Practice scenes of 64 px, an untrained encoder of 32 px, 2 workers", found)
    if "decoding" in known:
        body += _decoding_report(known["decoding"])
    if {"simulated", "decoding"} <= set(known):
        body += _ahead_report(known)
    if {"simulated", "drawn"} <= set(known):
        draw_figure(known)
    report.save("stage2_at_size", "Stage 2 at COCO's size, and against the number of images", "\n\n".join(body))


def _coco_report(facts: dict[str, Any]) -> list[str]:
    compared, killed = facts["compared"], facts.get("killed")
    rows = [["step", "minutes", "core-minutes", "private, GB", "mapped, GB", "resident, GB"]]
    rows += [
        [u["step"], *(f"{u[n] / 60:.1f}" for n in ("seconds", "core_seconds")), *_memory_cells(u)]
        for u in facts["usages"]
    ]
    text = (
        f"{facts['images']:,} images, {facts['regions']:,} regions, {facts['bytes'] / 1e9:.1f} GB of region embeddings;"
        f" {facts['pairs']:,} pairs ({facts['pairs_bytes'] / 1e6:.0f} MB). {facts['date']}, {facts['machine']}."
    )
    found = (
        f"Worked out directly for {compared['sample']} images ({compared['pairs']:,} pairs): {compared['wrong']}"
        f" differences. Pairs of one image are read in {compared['first_read'] * 1000:.0f} ms the first time, then in"
        f" {compared['later_read'] * 1000:.1f} ms."
    )
    if killed:
        found += (
            f"\n\nPairs were killed (SIGKILL) with {killed['parts_there']} of {killed['parts']} parts made, and started"
            f" again: {killed['parts_made_again']} of those were made again, so only the part in hand was lost. Times"
            " of pairs are both attempts together."
        )
    return ["## COCO's size", text, report.markdown_table(rows), found]


def _decoding_report(facts: dict[str, Any]) -> list[str]:
    spent = facts["milliseconds"]
    total = sum(spent.values()) + 2 * spent["decoding"]  # for each of the three uses
    saved = 2 * spent["decoding"] / total
    text = (
        f"{facts['images']} practice scenes of {facts['size']} px, {facts['regions']:.1f} regions each."
        f" {facts['date']}, {facts['machine']}. Core-milliseconds an image, beside the encoder's:"
    )
    cells = [["part", "core-ms"], *([name, f"{value:.1f}"] for name, value in spent.items())]
    found = f"An image is decoded three times; once for all would save {saved:.1%} of the {total:.0f} ms."
    return ["## Decoding", text, report.markdown_table(cells), found]


def _ahead_report(known: dict[str, Any]) -> list[str]:
    """Core-hours of stage 2 for sizes that nobody here has: milliseconds an image, as measured, times images."""
    spent, size = known["decoding"]["milliseconds"], max(one["images"] for one in known["simulated"].values())
    pixels = sum(spent.values()) + 2 * spent["decoding"]
    milliseconds, power = {"images: decoding, crops, proposals": pixels}, {}
    for step, exponent in (("neighbors", 2.0), ("neighbors by an index", 1.5), ("pairs", 1.0)):
        milliseconds[step] = 1000 * known["simulated"][f"{size} {step}"]["step_core_seconds"] / size
        power[step] = exponent
    ahead = (10**6, 10**7, 10**8)
    cells: list[list[object]] = [["core-hours", "core-ms an image", *(f"{images:,}" for images in ahead)]]
    for step, each in milliseconds.items():
        more = power.get(step, 1.0) - 1
        hours = [each * (images / size) ** more * images / 3.6e6 for images in ahead]
        at = f"{each:.2f} at {size:,}" if more else f"{each:.2f}"
        cells.append([step, at, *(f"{value:,.0f}" if value >= 10 else f"{value:.1f}" for value in hours)])
    passes = 1 + known["decoding"]["regions"]
    text = (
        "Core-milliseconds an image from the tables above, times the images, by 3,600,000: in proportion for decoding,"
        " crops, proposals and pairs; for the exact search times images / 64,000 besides, for the index times its root."
        " Pairs are those of 20 regions an image. Not measured, extrapolated. One of the two ways to the neighbors is"
        " taken."
    )
    encoder = (
        f"The encoder comes on top: {passes:.1f} pictures of 224 px an image ({passes - 1:.1f} regions and the whole),"
        f" so {passes * 1e8 / 3600:,.0f} GPU-hours at 100 million images, divided by the pictures that a GPU embeds a"
        " second: `orl plan` measures them, no GPU has here."
    )
    return ["## More images than that", text, report.markdown_table(cells), encoder]


def _memory_cells(usage: dict[str, Any]) -> list[str]:
    return [f"{usage[name] / 1e9:.2f}" for name in ("private", "mapped", "resident")]


def _cost_report(title: str, usages: list[dict[str, Any]]) -> list[str]:
    sizes = sorted({u["images"] for u in usages})
    steps = list(dict.fromkeys(u["step"] for u in usages))
    of = {(u["step"], u["images"]): u for u in usages}
    header = ["step", *(f"{size:,}" for size in sizes)]
    spent = [
        [step, *(f"{1000 * of[step, n]['step_core_seconds'] / n:.2f}" if (step, n) in of else "" for n in sizes)]
        for step in steps
    ]
    memory = [
        [step, *(f"{of[step, n]['private'] / 1e9:.2f}" if (step, n) in of else "" for n in sizes)] for step in steps
    ]
    text = [
        f"## {title}",
        f"{usages[0]['date']}, {usages[0]['machine']}. Core-milliseconds an image, without starting Python:",
        report.markdown_table([header, *spent]),
        "Private memory at the most, GB, of the process and its workers (Python with torch takes 0.5 each):",
        report.markdown_table([header, *memory]),
    ]
    recalls = [f"{u['recall']:.1%} of {u['images']:,}" for u in usages if "recall" in u]
    if recalls:
        text.append(
            "The index, looking into 64 of about 4 √N lists, finds of the true 10 nearest, over 1,000 images: "
            + ", ".join(recalls)
            + "."
        )
    return text


def draw_figure(known: dict[str, Any]) -> None:
    """Core-seconds and private memory against images, measured and extrapolated."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(
        1, 2, subplot_titles=("Work: core-seconds", "Private memory of a step, GB"), horizontal_spacing=0.09
    )
    drawn = [u for u in known["drawn"].values() if "step" in u and u["step"] not in ("neighbors", "pairs")]
    palette = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#D55E00")
    usages = [*known["simulated"].values(), *drawn]
    for color, step in zip(palette, dict.fromkeys(u["step"] for u in usages), strict=False):
        own = sorted((u for u in usages if u["step"] == step), key=lambda u: u["images"])
        sizes, spent = [u["images"] for u in own], [u["step_core_seconds"] for u in own]
        power = {"neighbors": 2.0, "neighbors by an index": 1.5}.get(step, 1.0)
        ahead = [sizes[-1], 10_000_000]
        line = {"color": color}
        name = step if own[0] in known["simulated"].values() else f"{step} (64 px)"
        figure.add_scatter(x=sizes, y=spent, name=name, mode="lines+markers", line=line, row=1, col=1)
        figure.add_scatter(
            x=ahead,
            y=[spent[-1] * (n / sizes[-1]) ** power for n in ahead],
            mode="lines",
            line={**line, "dash": "dot"},
            showlegend=False,
            row=1,
            col=1,
        )
        memory = [u["private"] / 1e9 for u in own]
        figure.add_scatter(x=sizes, y=memory, mode="lines+markers", line=line, showlegend=False, row=1, col=2)
    if "coco" in known:
        for u, symbol in zip(known["coco"]["usages"], ("star", "diamond"), strict=True):
            figure.add_trace(
                go.Scatter(
                    x=[u["images"]],
                    y=[u["core_seconds"]],
                    name=f"{u['step']}, COCO's size",
                    mode="markers",
                    marker={"symbol": symbol, "size": 12, "color": "black"},
                ),
                row=1,
                col=1,
            )
    figure.update_xaxes(type="log", title="images", dtick=1)
    figure.update_yaxes(type="log", row=1, col=1, dtick=1)
    figure.update_yaxes(rangemode="tozero", row=1, col=2)
    figure.update_layout(template="plotly_white", width=1200, height=480, margin={"l": 60, "r": 20, "t": 50, "b": 50})
    FIGURE.parent.mkdir(exist_ok=True)
    figure.write_image(FIGURE)
