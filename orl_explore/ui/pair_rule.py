"""The page of pairs: the rule of stage 2 in words, for the pair that is looked at, and settings in the address."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import streamlit as st

from orl_explore.images.image_source import whole
from orl_explore.judging import verdicts
from orl_explore.judging.verdicts import Rule
from orl_explore.runs.reviews import Pair
from orl_explore.runs.run import Run
from orl_explore.ui import address, below, state
from orl_explore.ui.pair_scene import BELOW, TABS, Scene, has_embeddings

WHAT_IF = "What if stage 2 had other settings?"
"""Title of the tab that the switches lead to."""

NAMES = {"neighbors": "k", "ratio": "ratio", "min_similarity": "least", "mutual": "mutual", "one_to_one": "one"}
"""Setting -> what the address calls it."""


# ---- settings ------------------------------------------------------------------------------------------------------


def rule_of(run: Run) -> Rule:
    """The settings that stage 2 of a run chose pairs with."""
    stage = run.stage("stage2").get("config", {})
    least = stage.get("min_similarity")
    return Rule(
        ratio=float(stage.get("pair_ratio", Rule.ratio)),
        mutual=bool(stage.get("mutual")),
        one_to_one=bool(stage.get("one_to_one")),
        min_similarity=None if least is None else float(least),
    )


def rule_in_address(run: Run, most: int) -> Rule:
    """The settings that the address names, and for the rest those of the run; what makes no sense is told."""
    found: dict[str, Any] = {}
    for setting, name in NAMES.items():
        text = address.get(name)
        if text is None:
            continue
        if setting in ("mutual", "one_to_one") and text in ("0", "1"):
            found[setting] = text == "1"
        elif setting == "neighbors" and 0 < (whole(text) or 0) <= most:
            found[setting] = whole(text)
        elif setting == "min_similarity" and text == "none":
            found[setting] = None
        elif (setting == "ratio" and _lies(text, 0.001)) or (setting == "min_similarity" and _lies(text, -1)):
            found[setting] = float(text)
        else:
            state.fall_back(f"Stage 2 cannot have {name}={text[:40]} here: that of the run is taken.")
            address.put(**{name: None})
    return dataclasses.replace(rule_of(run), **found)


def to_address(run: Run, rule: Rule) -> None:
    """Name in the address what differs from the settings of the run. Made for callbacks."""
    stored, named = rule_of(run), dict[str, str | None]()
    for setting, name in NAMES.items():
        value = getattr(rule, setting)
        if value == getattr(stored, setting):
            named[name] = None
        elif value is None:
            named[name] = "none"
        else:
            named[name] = str(int(value)) if isinstance(value, bool | int) else f"{value:.4g}"
    address.put(**named)


def _lies(text: str, low: float) -> bool:
    """Whether it is a number from `low` to 1."""
    try:
        return low <= float(text) <= 1
    except ValueError:
        return False


# ---- words ---------------------------------------------------------------------------------------------------------


def reason(scene: Scene, chosen: Pair, similarity: np.ndarray) -> str:
    """Why the pair was accepted or not, as a sentence; empty where nothing is known of it."""
    if scene.run.given() or not has_embeddings(scene):
        return ""
    verdict = verdicts.judge(similarity, *_place(scene, chosen), rule_of(scene.run))
    text = f"{verdict.reason[0].upper()}{verdict.reason[1:]}."
    if verdict.accepted == (scene.number(chosen) is not None):
        return text
    says = "would be accepted" if verdict.accepted else "would not be accepted"
    return f"With the embeddings and settings that the run has now, it {says}: {verdict.reason}."


def switches(scene: Scene, chosen: Pair, similarity: np.ndarray) -> None:
    """What each setting would do to the pair, with a button that tries it."""
    if scene.run.given() or not has_embeddings(scene):
        return
    rank = scene.rank_of(chosen.neighbor_id) - 1
    found = verdicts.switches(
        similarity, *_place(scene, chosen), rule_of(scene.run), neighbor_rank=rank, neighbors=len(scene.neighbors)
    )
    count = sum(one.changes for one in found)
    opened = st.expander(f"{count} of {len(found)} settings would change this", key="pair rule open", on_change="rerun")
    if not opened.open:
        return
    with opened:
        for one in found:
            with st.container(horizontal=True, vertical_alignment="center"):
                sign = ":material/swap_horiz:" if one.changes else ":gray[:material/horizontal_rule:]"
                st.markdown(f"{sign} **{one.name.capitalize()}**: {state.plain(one.effect)}.", width="stretch")
                if one.rule is not None:
                    st.button(
                        "Try",
                        key=f"pair rule {one.name}",
                        type="tertiary",
                        icon=":material/arrow_forward:",
                        on_click=_try,
                        args=(scene.run, one.rule),
                        help="these settings on all pairs of this image; the address carries them",
                    )


def _place(scene: Scene, pair: Pair) -> tuple[int, int]:
    """Row and column of a pair in the matrix of its two images."""
    return pair.query_region - scene.own(scene.image_id)[0], pair.key_region - scene.own(pair.neighbor_id)[0]


def _try(run: Run, rule: Rule) -> None:
    to_address(run, rule)
    st.session_state["pairs tab"] = WHAT_IF
    address.put(tab=state.tab_in_address(WHAT_IF))
    below.bring_into_view(BELOW, TABS)
