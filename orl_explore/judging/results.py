"""Read and tabulate what `orl evaluate` found: figures of the run and scores of transfer protocols."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from orl_explore.errors import OrlError, typed
from orl_explore.judging import intervals
from orl_explore.runs.run import Run

TRANSFER: Final = "evaluation/transfer"
"""Where results of transfer protocols are, in a run."""

STAGES: Final = {"random": "untrained", "pretrained": "pretrained", "stage1": "stage 1", "stage3": "stage 3"}
"""What may be compared, by the name of the part of evaluation/summary.json that judges it."""

TITLES: Final = STAGES | {"supervised": "supervised"}
"""What tables call encoders; others have their own name."""

ENCODER_ROWS: Final = {
    "object_probe": "Linear probe on annotated objects, accuracy",
    "object_knn": "kNN on annotated objects, accuracy",
    "scene_map": "Categories of a scene, mAP",
    "feature_std": "Spread of features",
    "feature_rank": "Effective rank of features",
    "loss": "Loss, last epoch",
    "epochs": "Epochs",
}
"""Figures of evaluation/summary.json that encoders are compared by."""


# ---- figures made elsewhere ----------------------------------------------------------------------------------------


def read_summary(run: Run) -> dict[str, Any]:
    """What evaluation/summary.json says.

    Raises:
        OrlError: it is not there yet, or is damaged.
    """
    file = run.path / "evaluation" / "summary.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OrlError(f"{file} is not there yet: run `{typed('evaluate', run.path)}` first") from None
    except ValueError:
        raise OrlError(f"{file} is damaged: `{typed('evaluate', run.path)}` makes it anew") from None


def read_results(run: Run, pattern: str = "*.json") -> list[dict[str, Any]]:
    """Results of transfer protocols, from evaluation/transfer/, the oldest first; damaged files are passed over.

    Args:
        run: the run.
        pattern: of the files' names.
    """
    results = []
    for file in (run.path / TRANSFER).glob(pattern):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            result = json.loads(file.read_text(encoding="utf-8"))
            _ = result["date"], result["protocol"], result["encoder"]["name"], float(result["score"]["value"])
            results.append(result)
    return sorted(results, key=lambda result: result["date"])


def transfer_table(results: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Scores of transfer protocols: one row for what was judged alike, columns for encoders, chance, data and code.

    Alike means: by the same protocol, settings, data and seed. Of equal encoder names the newest result counts. Where
    two rows differ by settings alone, these stand in their names, unless the title of the score has them. Several
    values of `code` mean that the encoders were judged by different versions of this project.

    Args:
        results: as `read_results` gives them.
    """
    rows, names = _judged_alike(results)
    lines = {}
    for key, row in rows.items():
        first = next(iter(row.values()))
        score, figures = first["score"], first["figures"]
        others = [json.loads(other)[1] for other in rows if json.loads(other)[0] == first["protocol"]]
        own = {
            k: v
            for k, v in first["settings"].items()
            if any(other.get(k) != v for other in others) and not (isinstance(v, str) and v in score["title"])
        }
        title = ", ".join([score["title"], *(f"{name} = {json.dumps(value)}" for name, value in own.items())])
        lines[key] = {
            "": title,
            **{TITLES.get(n, n): row[n]["score"]["value"] if n in row else None for n in names},
            "chance": figures.get(f"{score['name']}_chance"),
            "data": ", ".join(Path(path).name for path in first["data"]["paths"]) or "this run",
            "code": ", ".join(dict.fromkeys(str(row[n].get("code") or "unknown") for n in names if n in row)),
        }
    return pd.DataFrame(list(lines.values()))


def text_table(results: Sequence[Mapping[str, Any]], run: Run) -> pd.DataFrame:
    """`transfer_table` to be read: percent as `56.1 [54.2, 58.0]` with the 95 % interval over test images.

    Where stage 1 and stage 3 were judged, or two encoders in all, a column has the difference of the later to the
    earlier one and its own interval, which is narrower than the two tell: both saw the same images.

    Args:
        results: as `read_results` gives them.
        run: whose results they are.
    """
    table = transfer_table(results)
    if table.empty:
        return table
    rows, names = _judged_alike(results)
    text = table.map(lambda value: value if isinstance(value, str) else _percent(value))
    for name in names:
        scores = [row[name]["score"] if name in row else {} for row in rows.values()]
        text[TITLES.get(name, name)] = [_percent(score.get("value"), score.get("interval")) for score in scores]
    pair = ["stage1", "stage3"] if {"stage1", "stage3"} <= set(names) else names
    if len(pair) == 2:
        first, second = pair
        title = f"{TITLES.get(second, second)} - {TITLES.get(first, first)}"
        text.insert(1 + len(names), title, [_difference(row.get(first), row.get(second), run) for row in rows.values()])
    return text


def _judged_alike(results: Sequence[Mapping[str, Any]]) -> tuple[dict[str, dict[str, Mapping[str, Any]]], list[str]]:
    """The newest result of each encoder, by what was judged alike, and the encoders in the order of columns."""
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for result in sorted(results, key=lambda result: result["date"]):
        alike = [result["protocol"], result["settings"], result["data"]["fingerprint"], result["seed"]]
        rows.setdefault(json.dumps(alike), {})[result["encoder"]["name"]] = result
    return rows, sorted({name for row in rows.values() for name in row}, key=lambda n: [*TITLES, n].index(n))


def _difference(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None, run: Run) -> str:
    if first is None or second is None:
        return ""
    of = []
    for result in (first, second):
        file = result.get("intervals", {}).get("items")
        of.append(intervals.read_resampled(run.path / TRANSFER / file, result["score"]["name"]) if file else None)
    limits = intervals.difference(of[0], of[1]) if of[0] and of[1] else None
    return _percent(second["score"]["value"] - first["score"]["value"], limits, sign="+")


def _percent(value: float | None, limits: Sequence[float] | None = None, sign: str = "") -> str:
    if value is None or pd.isna(value):
        return ""
    around = f" [{100 * limits[0]:{sign}.1f}, {100 * limits[1]:{sign}.1f}]" if limits else ""
    return f"{100 * value:{sign}.1f}{around}"


def evaluation_table(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Figures of the encoders side by side: one row a figure, columns for those of `STAGES` and chance."""
    parts = {part: title for part, title in (STAGES | {"chance": "chance"}).items() if summary.get(part)}
    table = pd.DataFrame(
        {title: [summary[part].get(key) for key in ENCODER_ROWS] for part, title in parts.items()},
        index=list(ENCODER_ROWS.values()),
        dtype=float,
    )
    return table.dropna(how="all")
