"""The encoders that pages can ask: which there are, what they are called, and each in memory once."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import streamlit as st

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.interchange.encoders import find_encoder
from orl_explore.judging import comparison
from orl_explore.judging.comparison import Source
from orl_explore.runs.run import Run
from orl_explore.ui import state

OWN = ("random", "stage1", "stage2", "stage3")
"""The encoders that a run ends with, in the order in which it makes them."""


def sources(run: Run, *, others: bool = True) -> dict[str, Source]:
    """Encoders by the names that commands know them by: the run's, the embedded one, and those of other runs.

    Args:
        run: whose stand first.
        others: also those of the other runs in the folder.
    """
    found: dict[str, Source] = dict(comparison.compared_encoders(run))
    with contextlib.suppress(OrlError):  # not installed
        found["embedded"] = find_encoder("embedded")
    root = Path(os.environ.get("ORL_RUNS", "runs"))
    for name in state.list_runs(root) if others else ():
        if (root / name).resolve() == run.path.resolve():
            continue
        try:
            theirs = comparison.compared_encoders(Run.open(root / name))
        except (OrlError, KeyError, TypeError):  # of another version, or damaged: nothing to compare with
            continue
        found |= {f"{root / name}:{stage}": source for stage, source in theirs.items() if stage != "random"}
    return found


def title(name: str) -> str:
    """What an encoder is called where people read of it."""
    head, _, encoder = name.rpartition(":")
    stage, _, epoch = encoder.partition("@")
    words = {
        "embedded": "embedded, supervised (ImageNet)",
        "random": "untrained, where stage 1 starts",
        "stage1": "stage 1, images",
        "stage2": "another encoder in place of stage 1",
        "stage3": "stage 3, objects",
    }
    made = f"{words[stage]}, epoch {epoch}" if epoch else words[stage]
    return f"{Path(head).name} · {made}" if head else made


@st.cache_resource(max_entries=4, show_spinner="Loading the encoder ...")
def load(digest: str, _source: Source) -> Encoder:
    """An encoder, held in memory: it is shared, never change it.

    Args:
        digest: what `_source.hash()` gives.
    """
    return _source.load()
