"""What tests of training share: a run with a stage undone, and a step that fails."""

from __future__ import annotations

import shutil
import types

import pytest

from orl_explore.runs.run import Run
from training.twin_training import TwinTraining


@pytest.fixture
def unfinished(finished, tmp_path):
    """Copy the finished run and forget a stage of it."""

    def make(stage: str) -> Run:
        copy = Run(shutil.copytree(finished.path, tmp_path / "copy"))
        copy.clear(stage)
        return copy

    return make


@pytest.fixture
def stop_at(monkeypatch):
    """Raise an error in a training step."""

    def arrange(step: int | None, error: type[BaseException] = RuntimeError):
        original = TwinTraining.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == step:
                raise error(f"stopped at step {step}")
            return original(self, batch, batch_idx)

        monkeypatch.setattr(TwinTraining, "training_step", training_step)
        return lambda: monkeypatch.setattr(TwinTraining, "training_step", original)

    return arrange


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand; drawing takes no time on it."""
    now = types.SimpleNamespace(time=100.0)
    monkeypatch.setattr("time.monotonic", lambda: now.time)
    return now


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, in order; updates in place are entries of their own."""
    found = []
    handle = types.SimpleNamespace(update=lambda bundle, raw: found.append(bundle))

    def display(bundle, *, raw, display_id):
        found.append(bundle)
        return handle

    monkeypatch.setattr("IPython.display.display", display)
    return found
