"""Page: what a run is, how far it is, how good each stage was. Follows a running stage without being reloaded."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from orl_explore.errors import OrlError
from orl_explore.figures import curves
from orl_explore.run import Run
from orl_explore.ui import state

STAGES = {"stage1": "Stage 1 · images", "stage2": "Stage 2 · correspondences", "stage3": "Stage 3 · objects"}
REFRESH = 2.0
"""Seconds between two looks at a stage that is running."""

TILES = (
    ("stage3", "object_probe", "Linear probe, stage 3", "share of object crops named right by a linear classifier"),
    ("stage1", "object_probe", "Linear probe, stage 1", "the same for the encoder that mined the pairs"),
    ("random", "object_probe", "Linear probe, random", "the same for the untrained encoder"),
    ("stage2", "context_agreement", "Neighbors of one context", "share of neighbors with the image's own context"),
    ("stage2", "recall_50", "Objects with a box", "share of objects that a kept box meets at IoU 0.5 or more"),
    ("stage2", "purity", "Pairs of one category", "of the pairs that join two objects, the share of one category"),
)


def render(run: Run) -> None:
    """Show the page."""
    running = any(record.get("state") == "running" for record in run.manifest()["stages"].values())

    @st.fragment(run_every=REFRESH if running else None)
    def live() -> None:
        manifest = run.manifest()
        _stages(run, manifest)
        if running and not any(record.get("state") == "running" for record in manifest["stages"].values()):
            st.rerun()  # the stage has ended: draw the rest of the page, and stop looking
        _curves(run)

    live()
    summary = _summary(run)
    if summary:
        _tiles(summary)
        _judged(summary)
    _funnel(run)
    _facts(run)


def _stages(run: Run, manifest: Mapping[str, Any]) -> None:
    for column, (name, title) in zip(st.columns(3), STAGES.items(), strict=True):
        record = manifest["stages"].get(name, {})
        with column.container(border=True):
            st.markdown(f"**{title}**")
            current = record.get("state")
            if current is None:
                st.caption(f"not begun: `orl {name} {run.path}`")
            elif current == "finished" and "imported" in record:
                st.markdown(":green-badge[:material/download: imported]")
                st.caption("from " + ", ".join(state.plain(file["file"]) for file in record["imported"]["files"]))
            elif current == "finished":
                st.markdown(f":green-badge[:material/check: finished] in {duration(record.get('seconds', 0))}")
                if "prior" in record:
                    st.caption("with " + state.plain(record["prior"]["encoder"]) + " in place of stage 1")
            elif current == "failed":
                st.markdown(":red-badge[:material/close: stopped]")
                st.caption(state.sentence(str(record.get("error"))[:300]))
                st.caption(f"To go on: `orl {name} {run.path}`")
            else:
                st.markdown(":blue-badge[:material/sync: running]")
                _progress(run, name, record, images=(manifest["images"] or {}).get("count", 0))


def _progress(run: Run, name: str, record: Mapping[str, Any], *, images: int) -> None:
    """How far a training stage is, and the time it still needs at its speed so far."""
    config, metrics = record["config"], read_metrics(run, name)
    if "epochs" not in config or metrics is None or not len(metrics):
        return
    steps = config["epochs"] * max(1, images // config["batch_size"])
    done = min(1.0, (int(metrics["step"].iloc[-1]) + 1) / steps)
    since = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(record["started"])
    spent = record.get("seconds", 0.0) + since.total_seconds()
    text = (
        f"epoch {int(metrics['epoch'].iloc[-1]) + 1} of {config['epochs']}, {duration(spent * (1 - done) / done)} left"
    )
    st.progress(done, text=text)


def _curves(run: Run) -> None:
    for name in ("stage1", "stage3"):
        metrics = read_metrics(run, name)
        if metrics is None or not len(metrics):
            continue
        st.subheader(f"{STAGES[name]}: training", anchor=False)
        left, middle, right = st.columns(3)
        left.plotly_chart(curves.loss(metrics), key=f"loss {name}", alt="loss over steps")
        middle.plotly_chart(curves.representation(metrics), key=f"std {name}", alt="spread and rank over epochs")
        right.plotly_chart(curves.learning_rate(metrics), key=f"lr {name}", alt="learning rate over steps")


def _tiles(summary: Mapping[str, Any]) -> None:
    values = {tile: (summary.get(tile[0]) or {}).get(tile[1]) for tile in TILES}
    known = [tile for tile, value in values.items() if value is not None]
    st.subheader("Key figures", anchor=False)
    if not known:
        st.caption("These images have no labels to judge the stages by.")
        return
    columns = st.columns(3)  # more would cut the words off
    for number, tile in enumerate(known):
        _, key, label, meaning = tile
        chance = (summary.get("chance") or {}).get(key, (summary.get("stage2") or {}).get(f"{key}_chance"))
        columns[number % 3].metric(
            label,
            f"{values[tile]:.1%}",
            help=meaning + ("" if chance is None else f"; by chance {chance:.1%}"),
            border=True,
        )


def _judged(summary: Mapping[str, Any]) -> None:
    rows = {
        "linear probe on object crops": "object_probe",
        "kNN on object crops": "object_knn",
        "categories of a scene, mAP": "scene_map",
        "spread of features": "feature_std",
        "effective rank of features": "feature_rank",
    }
    parts = [part for part in ("random", "stage1", "stage3", "chance") if summary.get(part)]
    table = pd.DataFrame({part: [summary[part].get(key) for key in rows.values()] for part in parts}, index=list(rows))
    table = table.dropna(how="all")
    if len(table):
        st.dataframe(table, column_config={part: st.column_config.NumberColumn(part, format="%.3f") for part in parts})


def _funnel(run: Run) -> None:
    try:
        counts = {
            "boxes proposed": run.count("proposals"),
            "boxes kept": run.count("regions"),
            "pairs accepted": run.count("pairs"),
        }
    except OrlError as error:
        st.info(state.sentence(str(error)))
        return
    st.plotly_chart(curves.funnel(counts), alt="counts of boxes and pairs")


def _facts(run: Run) -> None:
    manifest = run.manifest()
    facts = manifest["images"] or {}
    with st.expander("The data", icon=":material/photo_library:"):
        st.markdown(f"{facts.get('count', 0):,} images from " + ", ".join(map(state.plain, facts.get("sources", []))))
        skipped = pd.DataFrame(facts.get("skipped", []), columns=["file_name", "reason"])
        st.markdown(f"{len(skipped)} files were skipped.")
        if len(skipped):
            st.dataframe(skipped, hide_index=True)
    # Comparing takes PyTorch, which takes seconds to load: only for those who look.
    differences = st.expander(
        "Settings that differ from the paper's", icon=":material/compare_arrows:", key="differences", on_change="rerun"
    )
    if differences.open:
        with differences, st.spinner("Comparing ..."):
            _differences(run)
    with st.expander("All settings of the stages", icon=":material/tune:"):
        for name, title in STAGES.items():
            if record := manifest["stages"].get(name):
                st.markdown(f"**{title}**, seed {record['seed']}")
                st.json(record["config"], expanded=1)


def _differences(run: Run) -> None:
    from training.config import load_config

    file = run.path / "config.yaml"
    if not file.exists():
        st.markdown("This run has not stored its settings yet.")
        return
    differences = load_config(file).differences()
    rows = [(key, str(paper), str(own)) for key, (paper, own) in differences.items()]
    st.dataframe(pd.DataFrame(rows, columns=["setting", "paper", "this run"]), hide_index=True)


def _summary(run: Run) -> dict[str, Any] | None:
    file = run.path / "evaluation" / "summary.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise OrlError(f"{file} is damaged: `orl evaluate {run.path}` makes it anew") from None


def read_metrics(run: Run, stage: str) -> pd.DataFrame | None:
    """`metrics.csv` of a training stage, also while it grows; None where there is none yet."""
    try:
        return pd.read_csv(run.path / stage / "metrics.csv", on_bad_lines="skip")
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return None


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
