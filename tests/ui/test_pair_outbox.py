"""Verdicts that a deck left behind; that they are saved is shown in the browser, in test_all_pairs."""

from __future__ import annotations

from orl_explore.runs.said import MadeAnew
from orl_explore.ui import pair_outbox


def parcel(queue, *numbers, client="a"):
    verdicts = [{"number": number, "pair": 3, "verdict": "accepted"} for number in numbers]
    return {"queue": queue, "client": client, "verdicts": verdicts}


def test_the_browser_is_not_believed():
    good = parcel("q", 1)
    bad = [None, {}, "q", good | {"queue": 1}, good | {"verdicts": []}, good | {"verdicts": [{"number": "1"}]}]
    assert pair_outbox.parcels([good, *bad]) == [good]
    for said in (None, {}, "text", 3):
        assert pair_outbox.parcels(said) == []


def test_each_queue_is_saved_by_its_own():
    """Of 2 and 3, all are saved; of 7 and 8, the first; of 5, none; whose queue is gone is told, and not said again."""
    taken = []
    takers = {"all": lambda one: taken.append(one) or 3, "some": lambda _: 7, "none": lambda _: None}
    left = [parcel("all", 2, 3), parcel("some", 7, 8, client="b"), parcel("none", 5, client="c")]
    confirmed, sentences = pair_outbox.deliver([*left, parcel("gone", 4, 9, client="d")], takers)
    assert taken == left[:1]
    assert confirmed == {"a": 3, "b": 7, "c": 0, "d": 9}
    assert [sentence[:45] for sentence in sentences] == [
        "Verdicts that are not saved yet: 2. The page ",
        "Verdicts that are not saved yet: 1. The page ",
        "Verdicts that could not be saved, as their qu",
    ]


def test_what_can_never_be_saved_is_told_with_its_reason_and_not_said_again():
    def refuse(_):
        raise MadeAnew("stage 2 was made anew")

    confirmed, sentences = pair_outbox.deliver([parcel("q", 2, 3)], {"q": refuse})
    assert confirmed == {"a": 3}
    assert sentences == ["Verdicts that are not saved: 2. stage 2 was made anew"]


def test_the_newest_queues_are_remembered(monkeypatch):
    held = {}
    monkeypatch.setattr(pair_outbox.st, "session_state", held)
    for number in [*range(20), 10]:
        pair_outbox.remember(f"queue {number}", lambda _: None)
    (takers,) = held.values()
    assert list(takers) == [f"queue {number}" for number in (*range(4, 10), *range(11, 20), 10)]
