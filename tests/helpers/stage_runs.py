"""What stages leave in a run folder, to be compared."""

from __future__ import annotations

import csv

from orl_explore.runs.run import Run
from orl_explore.runs.tables import MINED
from training import stage1, stage2, stage3

STAGES = {"stage1": stage1, "stage2": stage2, "stage3": stage3}


def metrics(run: Run, stage: str) -> list[dict[str, str]]:
    with (run.path / stage / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def steps_written(run: Run, stage: str) -> int:
    """How many steps a training has written so far, which another process may be doing."""
    file = run.path / stage / "metrics.csv"
    return max(file.read_text().count("\n") - 1, 0) if file.exists() else 0


def outputs(run: Run, stage: str) -> dict[str, bytes]:
    """What a stage leaves, byte by byte; checkpoints hold paths and times, so of them only the names."""
    if stage == "stage2":
        return {name: run.file(name).read_bytes() for name in MINED}
    folder = run.path / stage
    files = {name: (folder / name).read_bytes() for name in ("metrics.csv", "encoder.safetensors")}
    return {**files, "checkpoints": b" ".join(sorted(p.name.encode() for p in (folder / "checkpoints").iterdir()))}
