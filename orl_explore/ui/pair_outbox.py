"""Verdicts that a deck of pairs left behind, on every page: the reader went on before the server had them all.

What a deck sends while its page is at work may be lost: Streamlit lets the newest request take the place of those that
wait. A deck that is taken away keeps what nobody has confirmed, in the window; the page that comes next says it again,
until it is saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from orl_explore.runs.said import MadeAnew
from orl_explore.ui import state

SCRIPT = """
const AGAIN = 500;  // milliseconds until what was not confirmed is said again, twice as many each time
const AT_MOST = 30000;

export default function (sent) {
    const own = sent.parentElement.outbox ??= { timer: 0, patience: AGAIN };
    const left = () => [...(window.orlDecks ?? new Map()).values()].filter(deck => deck.waiting.length);
    const say = () => {
        const said = left().map(({ queue, client, waiting }) => ({ queue, client, verdicts: waiting }));
        if (said.length) own.last.setTriggerValue('said', said);
        own.timer = setTimeout(say, own.patience);
        own.patience = said.length ? Math.min(2 * own.patience, AT_MOST) : AGAIN;
    };
    own.leave ??= event => { if (left().length) event.preventDefault(); };
    own.last = sent;
    for (const deck of left())
        deck.waiting = deck.waiting.filter(one => one.number > (sent.data.confirmed[deck.client] ?? 0));
    addEventListener('beforeunload', own.leave);
    if (!own.timer) say();
    return () => {
        if (own.last !== sent) return;
        clearTimeout(own.timer);
        own.timer = 0;
        removeEventListener('beforeunload', own.leave);
    };
}
"""

_KEY, _TAKERS, _CONFIRMED = "pair outbox", "pair outbox takers", "pair outbox confirmed"
_QUEUES = 16
"""Queues of a window that are remembered, the newest ones."""

_outbox = st.components.v2.component("orl_pair_outbox", html="<span></span>", js=SCRIPT)

Take = Callable[[Any], int | None]
"""Saves what a client says of a queue; returns the number of the last verdict that is safe, None if none is.

It raises `MadeAnew` of verdicts that can never be saved."""


def remember(queue: str, take: Take) -> None:
    """Say who saves the verdicts on a queue, also when its page is gone."""
    takers = st.session_state.setdefault(_TAKERS, {})
    takers.pop(queue, None)
    takers[queue] = take
    while len(takers) > _QUEUES:
        takers.pop(next(iter(takers)))


@st.fragment
def show() -> None:
    """Take in what was left behind in this window; nothing is seen of it."""
    confirmed = st.session_state.setdefault(_CONFIRMED, {})

    def said() -> None:
        saved, sentences = deliver(parcels(state.sent(_KEY, "said")), st.session_state.get(_TAKERS, {}))
        confirmed.update(saved)
        for sentence in sentences:
            st.toast(sentence)

    _outbox(key=_KEY, data={"confirmed": dict(confirmed)}, on_said_change=said)


def deliver(left: Sequence[dict[str, Any]], takers: Mapping[str, Take]) -> tuple[dict[str, int], list[str]]:
    """Hand verdicts over to those who save them.

    Args:
        left: `queue`, `client` and `verdicts` (each with its `number`) of each deck.
        takers: by queue.

    Returns:
        The number by client up to which the browser may forget verdicts, and sentences on those that are not saved.
    """
    confirmed, sentences = {}, []
    for one in left:
        numbers = [verdict["number"] for verdict in one["verdicts"]]
        take = takers.get(one["queue"])
        try:
            number = take(one) if take else max(numbers)
        except MadeAnew as error:
            number = max(numbers)
            sentences.append(f"Verdicts that are not saved: {len(numbers)}. {state.sentence(str(error))}")
        confirmed[one["client"]] = number or 0
        if not take:  # a server that was started anew
            sentences.append(
                f"Verdicts that could not be saved, as their queue is gone: {len(numbers)}. Give them again."
            )
        elif number is None or number < max(numbers):
            sentences.append(
                f"Verdicts that are not saved yet: {len(numbers)}. The page that they were given on says why."
            )
    return confirmed, sentences


def parcels(said: Any) -> list[dict[str, Any]]:
    """What the browser says, where it has the form of it; it is not to be trusted."""
    found = said if isinstance(said, list) else []
    return [one for one in found if isinstance(one, dict) and _is_whole(one)]


def _is_whole(one: dict[str, Any]) -> bool:
    verdicts = one.get("verdicts")
    return (
        all(isinstance(one.get(name), str) for name in ("queue", "client"))
        and isinstance(verdicts, list)
        and len(verdicts) > 0
        and all(isinstance(verdict, dict) and isinstance(verdict.get("number"), int) for verdict in verdicts)
    )
