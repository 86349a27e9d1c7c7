"""The deck of pairs and the run: pictures for the browser, verdicts from it, and what other windows say meanwhile."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.figures import style
from orl_explore.figures.drawing import draw_boxes
from orl_explore.judging import pair_estimate
from orl_explore.numbers import similarity_text
from orl_explore.runs.pair_query import DOUBTS, AllPairs, PairQuery
from orl_explore.runs.reviews import KEY, Pair, of_images, read_disputes, read_reviews, save_verdicts
from orl_explore.runs.run import Run
from orl_explore.runs.said import MadeAnew
from orl_explore.ui import pair_deck, pair_outbox, state
from orl_explore.ui import reviewer as reviewer_of_window

CROP, WHOLE = 160, 560
"""Longer side of crops and of whole images, pixels."""
TOGETHER = 24
"""Pairs on a screen where several are shown at once."""
QUEUE = 5000
"""Pairs of a queue at most."""
AHEAD = 8
"""Pairs that are sent at first beside the one that is looked at."""
ESTIMATED = ("", "unreviewed")
"""Verdicts of a query whose random queue is a sample of the set: those that are skipped were judged before."""
EVERY = 1.5
"""Seconds after which a window looks for what others have said."""


# ---- pictures ------------------------------------------------------------------------------------------------------


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


@st.cache_data(max_entries=200, show_spinner=False)
def _boxed(run_path: str, image_id: int, box: tuple[int, ...], color: str, stamp: object) -> bytes:
    """An image with a box drawn on it, as JPEG."""
    run = Run(run_path)
    picture = state.images(run).load(state.row_of(run, image_id))
    scale = WHOLE / max(picture.size)
    small = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    drawn = draw_boxes(small, [[side * scale for side in box]], [""], [color], line=4)
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def sides(run: Run, row: Any, colors: tuple[str, str], *, whole: bool, labeled: bool) -> dict[str, Any]:
    """The two boxes of a pair for the browser; an image that cannot be read leaves its picture empty.

    Args:
        run: the run.
        row: `KEY` and, with labels, `query_name` and `key_name`.
        colors: of the two boxes.
        whole: also the whole images, with the boxes drawn on them.
        labeled: whether names are known.
    """
    made: dict[str, Any] = {}
    for side, owner, color in (("query", "image_id", colors[0]), ("key", "neighbor_id", colors[1])):
        image_id, region = int(row[owner]), int(row[f"{side}_region"])
        box = state.region_of(run, region)[1]
        what = str(row[f"{side}_name"]) if labeled else f"box {region}"
        made[f"{side}_name"], made[f"{side}_color"] = what, color
        made[f"{side}_text"] = f"{state.file_name(run, image_id)} · box {region}, {box[2]} x {box[3]} px" + (
            f" · {what}" if labeled else ""
        )
        try:
            made[side] = _uri(state.thumbnail(run, image_id, side=CROP, box=box))
            if whole:
                made[f"{side}_whole"] = _uri(
                    _boxed(str(run.path), image_id, box, color, state.version(run.path / "run.json")[0])
                )
        except OrlError as error:
            made[side] = made[f"{side}_whole"] = ""
            made[f"{side}_text"] = str(error)
    return made


def card(run: Run, row: pd.Series, place: int, *, whole: bool, labeled: bool) -> dict[str, Any]:
    """What the browser needs to show a pair."""
    made: dict[str, Any] = {"place": place, "pair": int(row["pair"])}
    made |= sides(run, row, (style.color(0), style.color(1)), whole=whole, labeled=labeled)
    names = [made["query_name"], made["key_name"]]
    on = "" if not labeled else f" · {names[0]}" if names[0] == names[1] else f" · {names[0]} | {names[1]}"
    tags = "".join(f" #{tag}" for tag in re.findall(r"#(\w+)", row["note"]))
    made["caption"] = f"{similarity_text(row['similarity'])}{on}{tags}"
    reasons = [name for bit, name in enumerate(DOUBTS) if int(row["doubts"]) & (1 << bit)]
    made["title"] = (
        f"{state.file_name(run, int(row['image_id']))} and its neighbor {int(row['neighbor_rank']) + 1},"
        f" {state.file_name(run, int(row['neighbor_id']))}. Reasons to doubt: {', '.join(reasons) or 'none'}."
        + (f" Note: {row['note']}" if row["note"] else "")
    )
    return made


def look(pairs: AllPairs, page: pd.DataFrame, key: str) -> None:
    """A grid of pairs; a click opens the one that was clicked."""
    cards = [card(pairs.run, row, place, whole=False, labeled=bool(pairs.categories)) for place, row in _rows(page)]
    numbers = page["pair"].tolist()

    def opened() -> None:
        number = state.sent(key, "opened")
        if number in numbers:
            row = page.iloc[numbers.index(number)]
            state.go("pairs")
            pair = f"{int(row['query_region'])}-{int(row['key_region'])}"
            state.choose_image(int(row["image_id"]), rank=str(int(row["neighbor_rank"]) + 1), pair=pair)

    verdicts = [[place, row["verdict"]] for place, row in _rows(page)]
    data = {"queue": str(numbers), "mode": "look", "total": len(cards), "count": len(cards), "start": 0}
    data |= {"cards": cards, "verdicts": verdicts, "confirmed": None}
    pair_deck.show(key, data, on_opened_change=opened)


def _rows(table: pd.DataFrame) -> list[tuple[int, pd.Series]]:
    return [(place, table.iloc[place]) for place in range(len(table))]


# ---- what other windows say ----------------------------------------------------------------------------------------


@st.cache_resource(max_entries=4, show_spinner=False)
def _reviews(run_path: str, stamps: object) -> pd.DataFrame | None:
    """All reviews; None where they cannot be read."""
    try:
        return read_reviews(Run(run_path))
    except OrlError:
        return None


def news(run: Run, pairs: Sequence[Pair]) -> Callable[[], bool]:
    """A question: are there other pairs by now, or has anybody, in any window, said something else of one of these?"""
    image_ids = {pair.image_id for pair in pairs}

    def words() -> list[object]:
        stamps = [state.version(file) for name in ("reviews", "pairs") if (file := run.file(name)).exists()]
        reviews = _reviews(str(run.path), stamps)
        if reviews is None:
            return []
        near = of_images(reviews, image_ids)[[*KEY, "verdict", "note"]]
        known = {Pair(*row[:4]): row[4:] for row in near.itertuples(index=False, name=None)}
        return [stamps[-1], *(known.get(pair, ("", "")) for pair in pairs)]

    seen = words()
    return lambda: run.file("pairs").exists() and words() != seen


def follow(run: Run, pairs: Sequence[Pair]) -> None:
    """Draw the page anew when there is news of these pairs."""
    changed = news(run, pairs)

    @st.fragment(run_every=EVERY)
    def look() -> None:
        if not state.is_leaving() and changed():
            st.rerun()

    look()


# ---- review --------------------------------------------------------------------------------------------------------


def queue_of(pairs: AllPairs, query: PairQuery, *, stratified: bool) -> NDArray[np.int64]:
    """Numbers of the pairs to be judged, in their order, `QUEUE` at most: a snapshot, which verdicts do not change."""
    if not stratified:
        return pairs.numbers(query, count=QUEUE)
    parts = pair_estimate.strata(pairs, dataclasses.replace(query, verdict=""))  # those of the estimate
    count = QUEUE // len(parts)
    columns = [pairs.numbers(dataclasses.replace(part, verdict=query.verdict), count=count) for part, _ in parts]
    longest = max(map(len, columns))
    return np.array([column[n] for n in range(longest) for column in columns if n < len(column)], np.int64)


def review(pairs: AllPairs, numbers: NDArray[np.int64], mode: str, reviewer: str, key: str) -> None:
    """Judge the pairs of a queue; `mode` is one or many."""
    memory = st.session_state.setdefault(f"{key} memory", {"confirmed": {}, "rows": {}, "problem": ""})
    memory["fresh"] = True
    _deck(pairs, numbers, mode, reviewer, key, memory)


@st.fragment(run_every=EVERY)
def _deck(
    pairs: AllPairs, numbers: NDArray[np.int64], mode: str, reviewer: str, key: str, memory: dict[str, Any]
) -> None:
    with state.explained("review of pairs"):
        _review(pairs, numbers, mode, reviewer, key, memory)


def _review(
    pairs: AllPairs, numbers: NDArray[np.int64], mode: str, reviewer: str, key: str, memory: dict[str, Any]
) -> None:
    run, want = pairs.run, state.sent(key, "want") or {}

    def row_of(places: Sequence[int]) -> pd.DataFrame:
        wanted = [int(numbers[place]) for place in places]
        missing = [number for number in wanted if number not in memory["rows"]]
        if missing:
            found = pairs.rows(np.array(missing, np.int64))
            memory["rows"].update((int(row["pair"]), row) for _, row in _rows(found))
        return pd.DataFrame([memory["rows"][number] for number in wanted])

    def said() -> None:
        with contextlib.suppress(MadeAnew):  # the memory has it
            take(state.sent(key, "said"))

    def take(said: Any) -> int | None:
        return save(run, said, memory, known, reviewer, of=pairs.made_from["pairs"])

    def known(wanted: Sequence[Any]) -> dict[Any, Pair]:
        return pairs_of(pairs, numbers, memory["rows"], wanted)

    places = places_to_send(want, memory, range(1 + AHEAD if mode == "one" else TOGETHER), len(numbers))
    shown = row_of(places)
    labeled = bool(pairs.categories)
    cards = [card(run, shown.iloc[n], place, whole=mode == "one", labeled=labeled) for n, place in enumerate(places)]
    around = sorted({*places, *range(int(want.get("from") or 0), int(want.get("to") or 0))} & {*range(len(numbers))})
    if memory["problem"]:
        st.error(state.sentence(memory["problem"]))
    data = {"queue": key, "mode": mode, "total": len(numbers), "count": TOGETHER, "start": 0, "cards": cards}
    data |= {"verdicts": verdicts_at(run, row_of(around[:200]), around[:200]), "confirmed": memory.get("last")}
    data |= {"answered": [want.get("client"), want.get("asks")]}
    pair_outbox.remember(key, take)
    with st.container(key=f"{state.LIVE} deck"):
        pair_deck.show(key, data, on_said_change=said, on_want_change=nothing)
    disputes = read_disputes(run)
    if len(disputes):
        st.caption(
            f"{len(disputes.drop_duplicates(KEY)):,} pairs were judged differently: the verdict *disputed* lists them."
        )


def pairs_of(
    pairs: AllPairs, numbers: NDArray[np.int64], rows: dict[int, pd.Series], wanted: Sequence[Any]
) -> dict[Any, Pair]:
    """The pairs of some numbers that are in the queue; `rows` are those that were read before, and gets the others."""
    found = sorted(set(numbers.tolist()) & {number for number in wanted if isinstance(number, int)})
    missing = np.array([number for number in found if number not in rows], np.int64)
    if len(missing):
        rows.update((int(row["pair"]), row) for _, row in _rows(pairs.rows(missing)))
    return {number: Pair(*(int(rows[number][name]) for name in KEY)) for number in found}


def save(
    run: Run,
    said: Any,
    memory: dict[str, Any],
    known: Callable[[Sequence[Any]], dict[Any, Pair]],
    reviewer: str,
    *,
    of: str,
) -> int | None:
    """Save what the browser says, each verdict once; it is not to be trusted with what a pair is.

    Args:
        run: the run.
        said: `client`, and `verdicts`: each with `number`, `pair` and `verdict`.
        memory: `confirmed`, the last number by client; gets `last` (client and number) and `problem`, a sentence.
        known: gives the pairs that go by some names; names that none goes by are left out.
        reviewer: who says so.
        of: hash of the pairs table that these pairs were read from.

    Returns:
        The number of the client's last verdict that is saved; None if there is none.

    Raises:
        MadeAnew: the run has other pairs by now: the verdicts count as answered, and `problem` says so.
    """
    if not isinstance(said, dict) or not isinstance(said.get("client"), str):
        return None
    client, last = said["client"], memory["confirmed"].get(said["client"], 0)
    fresh = [one for one in said.get("verdicts", []) if one["number"] > last]
    found = known([one["pair"] for one in fresh])
    fresh = [one for one in fresh if one["pair"] in found]
    if fresh:
        try:
            save_verdicts(run, [(found[one["pair"]], one["verdict"]) for one in fresh], reviewer=reviewer, of=of)
        except MadeAnew as error:
            memory["problem"] = f"Verdicts that are not saved: {len(fresh)}. {error}"
            memory["confirmed"][client] = fresh[-1]["number"]
            memory["last"] = {"client": client, "number": fresh[-1]["number"]}
            raise
        except OrlError as error:
            memory["problem"] = str(error)
            return last or None
        memory["problem"] = ""
        last = memory["confirmed"][client] = fresh[-1]["number"]
        reviewer_of_window.remember(reviewer)
    if not last:
        return None
    memory["last"] = {"client": client, "number": last}
    return int(last)


def verdicts_at(run: Run, rows: pd.DataFrame, places: Sequence[int]) -> list[list[Any]]:
    """Place and verdict of some pairs; `rows` have `KEY`."""
    if not len(rows):
        return []
    reviews = of_images(read_reviews(run), rows["image_id"])
    verdict_of = dict(zip(reviews[KEY].itertuples(index=False, name=None), reviews["verdict"], strict=True))
    keys = rows[KEY].astype("int64").itertuples(index=False, name=None)
    return [[place, verdict_of.get(key, "")] for place, key in zip(places, keys, strict=True)]


def places_of(want: dict[str, Any], count: int) -> list[int]:
    """Places whose cards the browser lacks, of a queue of so many."""
    asked = [place for place in want.get("missing") or [] if isinstance(place, int)]
    return [place for place in asked if 0 <= place < count][:TOGETHER]


def places_to_send(want: dict[str, Any], memory: dict[str, Any], first: range, count: int) -> list[int]:
    """Places whose cards the browser gets now: the `first` ones with a page, and what it asks for, once.

    Args:
        want: what the browser asks for; it stays there when that was answered.
        memory: `fresh` where the whole page is drawn, and not the deck alone; gets `answered`.
        first: places to begin with.
        count: pairs in the queue.
    """
    places = set(first) if memory.pop("fresh", False) else set()
    if want != memory.get("answered"):
        places |= set(places_of(want, count))
        memory["answered"] = want
    return sorted(place for place in places if place < count)


def nothing() -> None:
    """A state that has no callback is not told of."""


# ---- what a random queue tells -------------------------------------------------------------------------------------


def estimated(pairs: AllPairs, query: PairQuery, *, stratified: bool) -> pair_estimate.Estimate | None:
    """Share of good pairs in a set, judged or not, from the verdicts on its random queue; see `ESTIMATED`."""
    if query.verdict not in ESTIMATED:
        return None
    query = dataclasses.replace(query, sort="random", verdict="")
    parts = pair_estimate.strata(pairs, query) if stratified else [(query, 1)]
    judged = []
    for part, size in parts:
        numbers = pairs.numbers(part, count=QUEUE)
        verdict_of = {
            number: verdict
            for verdict in ("accepted", "rejected")
            for number in pairs.numbers(dataclasses.replace(part, verdict=verdict), count=QUEUE).tolist()
        }
        judged.append((float(size), [verdict_of.get(number, "") for number in numbers.tolist()]))
    return pair_estimate.stratified(judged) if stratified else pair_estimate.estimate(judged[0][1])
