"""Page: what a run is, how far it is, how good each stage was. Follows a running stage without being reloaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from orl_explore.errors import OrlError, typed
from orl_explore.figures import curves
from orl_explore.images.findings import Findings
from orl_explore.nested import from_dict
from orl_explore.numbers import percent_text
from orl_explore.runs.caps import caps
from orl_explore.runs.run import Run
from orl_explore.runs.states import StageState
from orl_explore.runs.tables import MINED
from orl_explore.settings import TrainSettings
from orl_explore.ui import state
from orl_explore.ui.downloads import csv_button

STAGES = {"stage1": "Stage 1 · images", "stage2": "Stage 2 · correspondences", "stage3": "Stage 3 · objects"}

TILES = (
    (
        "random",
        "object_probe",
        "Linear probe, untrained",
        "share of annotated objects named right by a linear classifier",
    ),
    (
        "pretrained",
        "object_probe",
        "Linear probe, pretrained",
        "the same for the encoder that mined in stage 1's place",
    ),
    ("stage1", "object_probe", "Linear probe, stage 1", "the same for the encoder that mined the pairs"),
    ("stage3", "object_probe", "Linear probe, stage 3", "the same for the encoder trained on objects"),
    ("stage2", "context_agreement", "Neighbors of one context", "share of neighbors with the image's own context"),
    ("stage2", "recall_50", "Objects with a box", "share of objects that a kept box meets at IoU 0.5 or more"),
    ("stage2", "purity", "Pairs of one category", "of the pairs that join two objects, the share of one category"),
)

PARTS = {
    "random": "untrained",
    "pretrained": "pretrained",
    "stage1": "stage 1",
    "stage3": "stage 3",
    "chance": "by chance",
}
STEPS = tuple(name for name in MINED if name != "regions")
"""Steps of stage 2, by what they make; the filter, which makes the regions, takes no time to speak of."""

REFRESH = 2.0
"""Seconds between two looks at a stage that is running."""


def render(run: Run) -> None:
    """Show the page."""
    running = _runs(_states(run))

    @st.fragment(run_every=REFRESH if running else None)
    @state.explained(f"overview of {run.path}")
    def live() -> None:
        states = _states(run)
        if running and not _runs(states):
            st.rerun()  # the stage has ended: stop looking
        _stages(run, states)
        summary = _summary(run)
        if summary:
            _tiles(summary)
        _details(run, states)
        if summary:
            _judged(summary)

    live()
    _facts(run)


def _states(run: Run) -> dict[str, StageState]:
    return {name: run.state(name) for name in STAGES}


def _runs(states: Mapping[str, StageState]) -> bool:
    """Whether a stage is at work, or a command that comes to one."""
    return any(each.state in ("running", "waiting") for each in states.values())


BADGES = {
    "running": ":blue-badge[:material/sync: running]",
    "waiting": ":gray-badge[:material/schedule: to come]",
    "stopped": ":orange-badge[:material/pause: stopped]",
    "failed": ":red-badge[:material/close: failed]",
    "incomplete": ":orange-badge[:material/rule: incomplete]",
    "finished": ":green-badge[:material/check: finished]",
    "imported": ":green-badge[:material/download: imported]",
}
"""A state as a sign, a word, and only then a color."""


def _stages(run: Run, states: Mapping[str, StageState]) -> None:
    images = (run.manifest()["images"] or {}).get("count", 0)
    for column, (name, title) in zip(st.columns(3), STAGES.items(), strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{title}**")
            show_stage(run, states[name], images)


def show_stage(run: Run, stage: StageState, images: int) -> None:
    """The state of a stage in a few words, how far it is, and what to type next."""
    record = stage.record
    if stage.begun:
        ended = {"finished": "in", "stopped": "after", "failed": "after", "incomplete": "in"}.get(stage.state)
        st.markdown(BADGES[stage.state] + (f" {ended} {duration(stage.seconds)}" if ended else ""))
    if stage.state == "imported":
        st.caption("from " + ", ".join(state.plain(file["file"]) for file in record["imported"]["files"]))
    elif stage.state == "finished" and "pretrained" in record:
        st.caption("with " + state.plain(record["pretrained"]["encoder"]) + " in place of stage 1")
    elif stage.state == "failed":
        st.caption(state.sentence(str(record.get("error"))[:300]))
    elif stage.state == "running":
        progress_of_parts(run, stage.name)
        _progress(run, stage, images=images)
    if stage.name == "stage2" and stage.begun:
        for sentence in filter(None, (run.given(), *caps(record.get("config", {})))):
            st.caption(state.plain(sentence))
    if stage.state in ("absent", "waiting", "incomplete"):
        st.caption(state.sentence(stage.sentence))
    elif stage.command:
        st.caption(state.sentence(f"To go on: `{stage.command}`"))


def _progress(run: Run, stage: StageState, *, images: int) -> None:
    """How far a training stage is, and the time it still needs at its speed so far."""
    config, metrics = stage.record["config"], read_metrics(run, stage.name)
    if "epochs" not in config or metrics is None or not len(metrics):
        return
    steps = from_dict(TrainSettings, config).total_steps(max(images, config["batch_size"]))
    done = min(1.0, (int(metrics["step"].iloc[-1]) + 1) / steps)
    left = stage.seconds * (1 - done) / done
    text = f"epoch {int(metrics['epoch'].iloc[-1]) + 1} of {config['epochs']}, {duration(left)} left"
    st.progress(done, text=text)


def progress_of_parts(run: Run, name: str) -> None:
    """How far the step of stage 2 is that is at work, and the time that it still needs at its speed so far."""
    try:
        note = json.loads(run.progress_file(name).read_text(encoding="utf-8"))
        step, done, count = str(note["table"]), int(note["done"]), int(note["count"])
        fresh, spent = done - int(note["first"]), float(note["now"]) - float(note["since"])
        left = f", {duration(spent * (count - done) / fresh)} left in this step" if fresh > 0 else ""
        share = min(1.0, max(0.0, done / max(1, count)))
    except (OSError, ValueError, TypeError, KeyError, ArithmeticError):  # none yet, or just done; or it is no note
        return
    number = f"step {STEPS.index(step) + 1} of {len(STEPS)}: " if step in STEPS else ""
    text = f"{number}{step.replace('_', ' ')}, {done:,} of {count:,} images{left}"
    st.progress(share, text=state.plain(text))


def _details(run: Run, states: Mapping[str, StageState]) -> None:
    """How each stage went, in tabs; at first the one at work, or the last. Only what is looked at is drawn."""
    begun = [name for name in STAGES if states[name].begun]
    if not begun:
        return
    latest = next((name for name in begun if states[name].state == "running"), begun[-1])
    state.tabs(
        {
            STAGES["stage1"]: lambda: show_curves(run, states["stage1"]),
            STAGES["stage2"]: lambda: _funnel(run, running=states["stage2"].state in ("running", "waiting")),
            STAGES["stage3"]: lambda: show_curves(run, states["stage3"]),
        },
        default=STAGES[latest],
        key=f"overview {latest} {run.path}",  # a stage that begins comes to the front
        parameter="tab",
    )


NO_CURVES = {
    "running": "The curves begin with the first steps: the stage has only just started.",
    "waiting": "There are no curves yet: `orl run` comes to this stage by itself.",
    "imported": "There are no curves: the encoder was imported.",
}


def show_curves(run: Run, stage: StageState) -> None:
    """How training went, also while it goes on; or why there is nothing to see."""
    metrics = read_metrics(run, stage.name)
    if metrics is None or not len(metrics):
        command = f": `{stage.command}` draws them" if stage.command and stage.state != "finished" else ""
        st.info(state.sentence(NO_CURVES.get(stage.state, f"There are no curves yet{command}.")))
        return
    name = stage.name
    left, middle, right = st.columns(3)
    left.plotly_chart(curves.loss(metrics), key=f"loss {name}", alt="loss over steps")
    middle.plotly_chart(curves.representation(metrics), key=f"std {name}", alt="spread and rank over epochs")
    right.plotly_chart(curves.learning_rate(metrics), key=f"lr {name}", alt="learning rate over steps")


def _tiles(summary: Mapping[str, Any]) -> None:
    values = {tile: (summary.get(tile[0]) or {}).get(tile[1]) for tile in TILES}
    known = [tile for tile, value in values.items() if value is not None]
    if not known:
        st.caption("These images have no labels to judge the stages by.")
        return
    columns = st.columns(3)  # more would cut the words off
    for number, tile in enumerate(known):
        _, key, label, meaning = tile
        chance = (summary.get("chance") or {}).get(key, (summary.get("stage2") or {}).get(f"{key}_chance"))
        columns[number % 3].metric(
            label,
            percent_text(values[tile]),
            help=meaning + ("" if chance is None else f"; by chance {percent_text(chance)}"),
            border=True,
        )


def _judged(summary: Mapping[str, Any]) -> None:
    rows: dict[str, tuple[str, Callable[[float], str]]] = {
        "linear probe on annotated objects, accuracy": ("object_probe", percent_text),
        "kNN on annotated objects, accuracy": ("object_knn", percent_text),
        "categories of a scene, mAP": ("scene_map", percent_text),
        "spread of features (1 = spread out, 0 = collapsed)": ("feature_std", "{:.2f}".format),
        "effective rank of features": ("feature_rank", "{:.0f}".format),
    }
    parts = {name: title for name, title in PARTS.items() if summary.get(name)}
    table = pd.DataFrame(
        [[_text(summary[part].get(key), write) for part in parts] for key, write in rows.values()],
        index=list(rows),
        columns=list(parts.values()),
    )
    table = table[(table != "").any(axis=1)]
    if len(table):
        st.subheader("What each encoder is worth", anchor=False)
        st.markdown(state.markdown_table(table))


def _text(value: float | None, write: Callable[[float], str]) -> str:
    return "" if value is None else write(value)


def _funnel(run: Run, *, running: bool) -> None:
    try:
        counts = {
            "boxes proposed": run.count("proposals"),
            "boxes kept": run.count("regions"),
            "pairs given" if run.given() else "pairs accepted": run.count("pairs"),
        }
    except OrlError as error:
        later = "The counts of boxes and pairs stand here when all are there."
        st.info(later if running else state.sentence(str(error)))
        return
    st.plotly_chart(curves.funnel(counts), alt="counts of boxes and pairs")


def _facts(run: Run) -> None:
    manifest = run.manifest()
    if (data := _opened("data", data_title(run), "photo_library")) is not None:
        with data:
            show_data(run)
    # Comparing takes PyTorch, which takes seconds to load: only for those who look.
    if (differences := _opened("differences", "Settings that differ from the paper's", "compare_arrows")) is not None:
        with differences, st.spinner("Comparing ..."):
            _differences(run)
    if (settings := _opened("settings", "All settings of the stages", "tune")) is not None:
        with settings:
            for name, title in STAGES.items():
                if record := manifest["stages"].get(name):
                    st.markdown(f"**{title}**, seed {record['seed']}")
                    st.json(record["config"], expanded=1)


def data_title(run: Run) -> str:
    """How many images there are, and how many files were left out."""
    facts = run.manifest()["images"] or {}
    return f"The data: {facts.get('count', 0):,} images, {len(facts.get('skipped', [])):,} files skipped"


def show_data(run: Run) -> None:
    """Where the images are from, what was left out, and what was found in files and annotations."""
    facts = run.manifest()["images"] or {}
    skipped = pd.DataFrame(facts.get("skipped", []), columns=["file_name", "reason"])
    st.markdown("From " + ", ".join(map(state.plain, facts.get("sources", []))))
    if len(skipped):
        st.dataframe(skipped, hide_index=True, placeholder=state.MISSING, alt="files that were left out, and why")
        csv_button(skipped, "skipped-files")
    for line in Findings.from_dict(facts).lines():
        st.markdown(state.plain(line.strip()))


def _opened(key: str, title: str, icon: str) -> Any:
    """A section that can be opened; None while it is closed: nobody waits for what is not looked at."""
    section = st.expander(title, icon=f":material/{icon}:", key=key, on_change="rerun")
    return section if section.open else None


def _differences(run: Run) -> None:
    rows = [(key, str(paper), str(own)) for key, (paper, own) in run.config().differences().items()]
    table = pd.DataFrame(rows, columns=["setting", "paper", "this run"])
    st.dataframe(table, hide_index=True, placeholder=state.MISSING, alt="settings of the paper and of this run")
    csv_button(table, "settings")


def _summary(run: Run) -> dict[str, Any] | None:
    file = run.path / "evaluation" / "summary.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise OrlError(f"{file} is damaged: `{typed('evaluate', run.path)}` makes it anew") from None


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
