"""Several runs beside each other: what each is, in which settings they differ, and what was measured of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from orl_explore.errors import OrlError
from orl_explore.judging import results
from orl_explore.runs.run import Run

STAGES: Final = ("stage1", "stage2", "stage3")

FIGURES: Final = {
    "probe, stage 1": ("stage1", "object_probe"),
    "probe, stage 3": ("stage3", "object_probe"),
    "objects with a box": ("stage2", "recall_50"),
    "pairs of one category": ("stage2", "purity"),
}
"""Key figures of evaluation/summary.json: shares."""


def table_of(runs: Mapping[str, Run]) -> pd.DataFrame:
    """One row a run, by name: state, data, encoder, key figures; a run that cannot be read says why in its state."""
    table = pd.DataFrame([_row(run) for run in runs.values()], index=pd.Index(list(runs), name="run"))
    return table.astype(dict.fromkeys(FIGURES, float))


def _row(run: Run) -> dict[str, Any]:
    empty = dict.fromkeys(("images", "data", "encoder", "created", *FIGURES))
    try:
        manifest = run.manifest()
        config = run.config()
        images = manifest["images"] or {}
        row = empty | {
            "state": _state(run),
            "images": images.get("count"),
            "data": ", ".join(_short(source) for source in images.get("sources", [])),
            "encoder": config.stage2.encoder or config.stage1.encoder.backbone,
            "created": manifest.get("created"),
        }
    except (OrlError, KeyError, TypeError, AttributeError) as error:
        return empty | {"state": f"cannot be read: {error}"}
    try:
        summary = results.read_summary(run)
        row |= {name: (summary.get(part) or {}).get(key) for name, (part, key) in FIGURES.items()}
    except (OrlError, AttributeError):  # not judged yet, or damaged: its page says so
        pass
    return row


def _state(run: Run) -> str:
    """The stage at work or the first that is not done, in a few words."""
    states = {name: run.state(name) for name in STAGES}
    for wanted in (("running",), ("failed", "stopped", "incomplete"), ("waiting", "absent")):
        for name, state in states.items():
            if state.state in wanted:
                return f"stage {name[-1]} {state.word}"
    return "finished"


def _short(source: str) -> str:
    """The last two parts of a path."""
    return "/".join(Path(source).parts[-2:])


def differing_settings(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Settings that are not the same in all of these runs: one row a setting, one column a run, as text.

    Raises:
        OrlError: the settings of one cannot be read.
    """
    columns = {name: _flat(run.config().as_dict()) for name, run in runs.items()}
    table = pd.DataFrame(columns).fillna("")
    return table[table.nunique(axis=1) > 1] if len(table.columns) > 1 else table.iloc[:0]


def own_settings(runs: Mapping[str, Run], *, most: int = 6) -> dict[str, str]:
    """The settings of each run that are not the same in all of them, in a line; empty for a run that cannot be read."""
    readable = {}
    for name, run in runs.items():
        try:
            run.config()
        except (OrlError, KeyError, TypeError, AttributeError):
            continue
        readable[name] = run
    table = differing_settings(readable)
    lines = dict.fromkeys(runs, "")
    for name in table.columns:
        values = [f"{setting} {value or '-'}" for setting, value in table[name].items()]
        more = f", and {len(values) - most} more" if len(values) > most else ""
        lines[name] = ", ".join(values[:most]) + more
    return lines


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: str(value)}
    return found


def measured(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Shares that were measured of these runs: `run`, `encoder`, `what`, `value`, and the ends of the 95 % interval,
    `low` and `high`, missing where it is not known.
    """
    rows: list[dict[str, Any]] = []
    for name, run in runs.items():
        try:
            summary = results.read_summary(run)
        except OrlError:
            summary = {}
        for what, (part, key) in FIGURES.items():
            value = (summary.get(part) or {}).get(key)
            if value is not None:
                rows.append({"run": name, "encoder": part, "what": what, "value": value, "low": None, "high": None})
        for result in results.read_results(run):
            score = result["score"]
            low, high = score.get("interval") or (None, None)
            facts = {"run": name, "encoder": result["encoder"]["name"], "what": score.get("title", score["name"])}
            rows.append({**facts, "value": score["value"], "low": low, "high": high})
    columns = ["run", "encoder", "what", "value", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    table[columns[3:]] = table[columns[3:]].astype(float)
    # Of one thing that was judged twice, the later result counts.
    return table.drop_duplicates(["run", "encoder", "what"], keep="last", ignore_index=True)


def names_without_path(names: Sequence[str]) -> list[str]:
    """The last parts of runs' names, where these differ; else the whole names."""
    short = [Path(name).name for name in names]
    return short if len(set(short)) == len(short) else list(names)
