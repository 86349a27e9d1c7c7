"""The rule of stage 2 in words: it says what the rule does, of every pair and with every switch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_explore.judging.verdicts import Rule, judge, ordinal, switches
from orl_explore.pairs import choose_pairs

# Four boxes with three; in order: .9 (0,0)  .8 (0,1)  .7 (1,0)  .6 (2,2)  .5 (1,1)  .4 (2,0)  ...
EXAMPLE = np.array([[0.9, 0.8, 0.1], [0.7, 0.5, 0.2], [0.4, 0.3, 0.6], [0.0, -0.1, -0.2]], np.float32)
TWO = Rule(ratio=0.5)


def said(row: int, column: int, rule: Rule, **options: int) -> tuple[bool, str]:
    verdict = judge(EXAMPLE, row, column, rule, **options)
    return verdict.accepted, verdict.reason


@pytest.mark.parametrize(("number", "text"), [(1, "1st"), (22, "22nd"), (3, "3rd"), (11, "11th"), (1112, "1,112th")])
def test_ordinals(number, text):
    assert ordinal(number) == text


@pytest.mark.parametrize(
    ("row", "column", "rule", "accepted", "reason"),
    [
        (0, 1, TWO, True, "the 2nd of 12 similarities; the best 2 are kept, 50 % of 4 boxes; the 3rd had 0.700"),
        (1, 0, TWO, False, "the 3rd of 12 similarities; the best 2 are kept, 50 % of 4 boxes; the 2nd had 0.800, this"
                           " one 0.700"),
        (0, 0, Rule(), True, "the 1st of 12 similarities; the best one is kept, as 10 % of 4 boxes is less than one;"
                             " the 2nd had 0.800"),
        (0, 0, Rule(ratio=3.0), True, "the 1st of 12 similarities; the best 12 are kept, 300 % of 4 boxes"),
        (0, 1, Rule(ratio=0.5, mutual=True), False, "only mutual best boxes are paired, and the neighbor's box 1 is"
                                                    " more similar to the image's: 0.900 against 0.800"),
        (1, 0, Rule(mutual=True), False, "only mutual best boxes are paired, and the image's box 1 is more similar to"
                                         " the neighbor's: 0.900 against 0.700"),
        (2, 2, Rule(ratio=0.5, mutual=True), True, "the 4th of 12 similarities, and the 2nd of the 2 that the switches"
                                                   " leave; the best 2 are kept, 50 % of 4 boxes"),
        (1, 1, Rule(ratio=0.5, one_to_one=True), False, "the 5th of 12 similarities, and the 3rd of the 3 that the"
                                                        " switches leave; the best 2 are kept, 50 % of 4 boxes; the 2nd"
                                                        " had 0.600, this one 0.500"),
        (0, 1, Rule(one_to_one=True), False, "a box is in one pair only, and the image's box is in a better one: 0.900"
                                             " against 0.800"),
        (1, 0, Rule(one_to_one=True), False, "a box is in one pair only, and the neighbor's box is in a better one:"
                                             " 0.900 against 0.700"),
        (0, 1, Rule(ratio=0.5, min_similarity=0.85), False, "its similarity is 0.800, and 0.850 is the least that is"
                                                            " accepted"),
    ],
)  # fmt: skip
def test_verdicts(row, column, rule, accepted, reason):
    assert said(row, column, rule) == (accepted, reason)


def test_a_neighbor_that_is_not_searched():
    assert said(0, 0, Rule(neighbors=2), neighbor_rank=1)[0]
    assert said(0, 0, Rule(neighbors=2), neighbor_rank=2) == (
        False,
        "only 2 neighbors are searched, and this is the 3rd",
    )
    assert said(0, 0, Rule(neighbors=1), neighbor_rank=1)[1] == "only one neighbor is searched, and this is the 2nd"


RULES = st.builds(
    Rule,
    ratio=st.sampled_from([0.01, 0.1, 0.29, 0.5, 1.0]),
    mutual=st.booleans(),
    one_to_one=st.booleans(),
    min_similarity=st.sampled_from([None, -0.3, 0.2]),
)
MATRICES = st.builds(
    lambda shape, seed: np.random.default_rng(seed).integers(-10, 11, shape).astype(np.float32) / 10,  # with equal ones
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=150)
@given(MATRICES, RULES)
def test_a_verdict_is_what_stage_2_does(similarity, rule):
    queries, keys, _ = choose_pairs(similarity, **rule.pairing())
    accepted = set(zip(queries.tolist(), keys.tolist(), strict=True))
    order = np.argsort(-similarity.ravel(), kind="stable").tolist()
    for row, column in np.ndindex(*similarity.shape):
        verdict = judge(similarity, row, column, rule)
        assert verdict.accepted == ((row, column) in accepted)
        assert order[verdict.place - 1] == row * similarity.shape[1] + column
        assert verdict.reason


@settings(max_examples=50)
@given(MATRICES, RULES, st.integers(0, 3), st.data())
def test_a_switch_does_what_it_says(similarity, rule, neighbor_rank, data):
    """A switch that changes a pair's lot has the setting that does it; one that does not, has none that would."""
    row, column = (data.draw(st.integers(0, size - 1)) for size in similarity.shape)
    at = {"neighbor_rank": neighbor_rank}
    now = judge(similarity, row, column, rule, **at).accepted
    found = {one.name: one for one in switches(similarity, row, column, rule, neighbors=4, **at)}
    assert list(found) == ["neighbors", "pairs per box", "similarity at least", "mutual best", "one to one"]
    for one in found.values():
        if one.rule is not None:
            assert (judge(similarity, row, column, one.rule, **at).accepted != now) == one.changes
    others = {
        "neighbors": [dataclasses.replace(rule, neighbors=k) for k in range(1, 5)],
        "pairs per box": [dataclasses.replace(rule, ratio=step / 100) for step in range(1, 101)],
        "similarity at least": [dataclasses.replace(rule, min_similarity=step / 100) for step in range(-100, 101, 5)],
    }
    for name, tried in others.items():
        changes = any(judge(similarity, row, column, other, **at).accepted != now for other in tried)
        assert changes == found[name].changes, name


def test_bounds_of_the_switches():
    found = {one.name: one for one in switches(EXAMPLE, 1, 0, TWO, neighbor_rank=2, neighbors=10)}
    assert found["pairs per box"].effect == "from 0.75 on the pair is gained: then the best 3 are kept"
    assert found["similarity at least"].effect == "no bound brings the pair: a bound only takes pairs away"
    found = {one.name: one for one in switches(EXAMPLE, 0, 1, TWO, neighbor_rank=2, neighbors=10)}
    assert found["neighbors"].effect == "with 2 or fewer the pair is lost, as this is the 3rd"
    assert found["pairs per box"].effect == "down to 0.50 the pair stays, with less it is lost"
    assert found["similarity at least"].effect == "up to 0.80 the pair stays, from 0.81 on it is lost"
    assert found["mutual best"].effect.startswith("turned on, the pair is lost: only mutual best")
