"""The page of pairs: a deck of the pairs that follow the one that is looked at, image after image."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from orl_explore.figures import pairs as figures
from orl_explore.judging.diagnostics import UNLABELED
from orl_explore.numbers import similarity_text
from orl_explore.runs.reviews import KEY, Pair, of_images, read_reviews
from orl_explore.runs.run import Run
from orl_explore.runs.said import MadeAnew
from orl_explore.ui import address, image_filter, pair_deck, pair_outbox, pair_queue, state
from orl_explore.ui.pair_scene import Scene, categories_of, show_pair

AHEAD = 100
"""Images that are looked through at a time for pairs without a verdict."""

FIRST = 3
"""Pairs that the browser gets with the page; it asks for the next ones when that is drawn."""

KEY_OF_DECK = "pairs deck"


@dataclass(frozen=True)
class Step:
    """A pair of the queue."""

    pair: Pair
    similarity: float
    rank: int
    """Place of the neighbor, counted from 1."""
    number: int | None
    """Among the pairs of its image; None: stage 2 did not accept it."""
    of: int
    """Pairs of its image."""

    @property
    def name(self) -> str:
        """What the browser calls the pair; as text, as its numbers cannot hold every id."""
        return ",".join(map(str, self.pair))


@dataclass
class Walk:
    """The pairs that are gone through: those of an image from a pair on and around, then those of the next images."""

    made_for: tuple[Any, ...]
    of: str
    """Hash of the pairs table that they are from."""
    queue: list[Step]
    at: Pair
    last_row: int
    """Row of the last image whose pairs are in the queue."""
    images: int
    """Images that were looked through."""
    memory: dict[str, Any] = field(default_factory=lambda: {"confirmed": {}, "problem": ""})


def walk_of(scene: Scene, chosen: Pair, similarity: np.ndarray) -> Walk:
    """The walk that has come to this pair; where the reader went elsewhere by himself, a new one that begins there."""
    made_for = _made_for(scene.run)
    held = st.session_state.get("pairs walk")
    if isinstance(held, Walk) and held.made_for == made_for and held.at == chosen:
        return held
    walk = begin(scene, chosen, similarity)
    if isinstance(held, Walk):
        walk.memory["confirmed"] = held.memory["confirmed"]
    st.session_state["pairs walk"] = walk
    st.session_state["pairs walks"] = st.session_state.get("pairs walks", 0) + 1
    return walk


def begin(scene: Scene, chosen: Pair, similarity: np.ndarray) -> Walk:
    """A walk over the pairs of an image, from the chosen one on and round; `similarity` is that of its two images."""
    made_for = _made_for(scene.run)
    steps = _steps(scene.pairs)
    places = [place for place, step in enumerate(steps) if step.pair == chosen]
    if places:
        queue = steps[places[0] :] + steps[: places[0]]
    else:
        value = scene.value(chosen, similarity)
        queue = [Step(chosen, value, scene.rank_of(chosen.neighbor_id), None, len(steps)), *steps]
    return Walk(made_for, scene.of, queue, chosen, state.row_of(scene.run, scene.image_id), 1)


def _made_for(run: Run) -> tuple[Any, ...]:
    return str(run.path), state.version(run.require("pairs")), address.get(image_filter.PARAMETER)


def _steps(pairs: pd.DataFrame) -> list[Step]:
    """Pairs of an image, the most similar one first."""
    rows = pairs[[*KEY, "similarity", "neighbor_rank"]].itertuples(index=False, name=None)
    return [Step(Pair(*row[:4]), row[4], row[5] + 1, number, len(pairs)) for number, row in enumerate(rows, start=1)]


def extend(run: Run, walk: Walk, reviews: pd.DataFrame, *, to: int = 0, kept: NDArray[np.bool_] | None = None) -> None:
    """Add the pairs without a verdict of the next images that have some, until there are so many; one image at least.

    Args:
        run: the run.
        walk: gets them.
        reviews: of the run.
        to: pairs that are wanted in the queue; no more than `AHEAD` images are looked through for them at a time.
        kept: which images are gone through, by row; None: all.
    """
    ids = state.images(run).table["image_id"].to_numpy()
    judged = reviews[reviews["verdict"] != ""]
    looked = 0
    while looked < AHEAD and not ended(run, walk):
        walk.last_row, walk.images = (walk.last_row + 1) % len(ids), walk.images + 1
        if kept is not None and not kept[walk.last_row]:
            continue
        looked += 1
        image_id = int(ids[walk.last_row])
        pairs = run.read("pairs", image_id=image_id)
        steps = _steps(pairs.sort_values("similarity", ascending=False, kind="stable", ignore_index=True))
        done = {Pair(*row) for row in of_images(judged, [image_id])[KEY].itertuples(index=False, name=None)}
        if found := [step for step in steps if step.pair not in done]:
            walk.queue += found
            if len(walk.queue) > to:
                return


def ended(run: Run, walk: Walk) -> bool:
    """Whether every image was looked through."""
    return walk.images >= len(state.images(run).table)


def show(scene: Scene, chosen: Pair, similarity: np.ndarray, reviewer: str) -> None:
    """The deck, with the chosen pair in front."""
    walk = walk_of(scene, chosen, similarity)
    walk.memory["fresh"] = True
    own = [Pair(*row) for row in scene.pairs[KEY].itertuples(index=False, name=None)]
    _deck(
        scene,
        walk,
        reviewer,
        pair_queue.news(scene.run, [*own, chosen]),
        f"{KEY_OF_DECK} {st.session_state['pairs walks']}",
    )


@st.fragment(run_every=pair_queue.EVERY)
def _deck(scene: Scene, walk: Walk, reviewer: str, news: Callable[[], bool], name: str) -> None:
    said = walk.memory.pop("said", False)  # what was said here, the deck shows first
    if st.session_state.pop("pairs walked", False) or (not said and not state.is_leaving() and news()):
        st.rerun()  # the page follows
    with state.explained("review of pairs"):
        _show(scene, walk, reviewer, name)


def _show(scene: Scene, walk: Walk, reviewer: str, name: str) -> None:
    run, want = scene.run, state.sent(KEY_OF_DECK, "want") or {}
    if want.get("queue") != name:  # of the walk before
        want = {}
    start = next((place for place, step in enumerate(walk.queue) if step.pair == walk.at), 0)
    reviews = read_reviews(run)
    wanted = max(start, _whole(want.get("from"))) + 1 + pair_queue.AHEAD
    if len(walk.queue) <= wanted:  # else the browser would ask for more at once
        extend(run, walk, reviews, to=wanted, kept=image_filter.kept(run))
    places = pair_queue.places_to_send(want, walk.memory, range(start, start + FIRST), len(walk.queue))

    def pairs_of(wanted: Sequence[Any]) -> dict[Any, Pair]:
        names = {name for name in wanted if isinstance(name, str)}
        return {step.name: step.pair for step in walk.queue if step.name in names}

    def said() -> None:
        walk.memory["said"] = True
        with contextlib.suppress(MadeAnew):  # the memory has it
            take(state.sent(KEY_OF_DECK, "said"))

    def take(said: Any) -> int | None:
        return pair_queue.save(run, said, walk.memory, pairs_of, reviewer, of=walk.of)

    def moved() -> None:
        text = state.sent(KEY_OF_DECK, "at")
        step = next((step for step in walk.queue if step.name == text), None)
        if step is not None and step.pair != walk.at:
            walk.at = step.pair
            show_pair(step.pair.query_region, step.pair.key_region, step.rank, image_id=step.pair.image_id)
            st.session_state["pairs walked"] = True

    if walk.memory["problem"]:
        st.error(state.sentence(walk.memory["problem"]))
    keys = pd.DataFrame([step.pair for step in walk.queue], columns=KEY)
    data = {"queue": name, "mode": "page", "total": len(walk.queue), "count": 1, "start": start}
    near = [scene.image_id, *scene.neighbors["neighbor_id"].tolist()]
    labels = categories_of(scene, near)
    cards = [_card(scene, walk.queue[place], place, near, labels) for place in places]
    data |= {"cards": cards, "ended": ended(run, walk)}
    data |= {"verdicts": pair_queue.verdicts_at(run, keys, range(len(keys))), "confirmed": walk.memory.get("last")}
    data |= {"at": walk.queue[start].name, "answered": [want.get("client"), want.get("asks")]}
    pair_outbox.remember(name, take)
    with st.container(key=f"{state.LIVE} pairs deck"):
        pair_deck.show(KEY_OF_DECK, data, on_said_change=said, on_want_change=pair_queue.nothing, on_at_change=moved)


def _card(scene: Scene, step: Step, place: int, near: Sequence[int], labels: pd.Series | None) -> dict[str, Any]:
    """A pair for the browser; `labels` are those of the images `near`."""
    both = {step.pair.image_id, step.pair.neighbor_id}
    names = labels if both <= set(near) else categories_of(scene, sorted(both))
    row: dict[str, Any] = dict(zip(KEY, step.pair, strict=True))
    if names is not None:
        of_both = names.reindex([step.pair.query_region, step.pair.key_region]).fillna(UNLABELED)
        row["query_name"], row["key_name"] = of_both.tolist()
    color = figures.color(step.number)
    made = pair_queue.sides(scene.run, row, (color, color), whole=False, labeled=names is not None)
    words = scene.origin(None) if step.number is None else f"Pair {step.number} of {step.of}"
    return made | {
        "place": place,
        "pair": step.name,
        "name": f"{words}, similarity {similarity_text(step.similarity)}",
    }


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0
