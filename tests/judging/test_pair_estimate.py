"""Purity from a random sample: the interval, what counts as a sample, strata."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.judging.pair_estimate import estimate, strata, stratified, wilson
from orl_explore.runs.pair_query import AllPairs, PairQuery


def test_wilson():
    """Agresti and Coull's example: 0 of 25 and 10 of 20."""
    assert wilson(0, 25) == pytest.approx((0, 0.1332), abs=1e-4)
    assert wilson(0.5, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert wilson(0.5, 0) == (0, 1)


def test_only_the_beginning_of_the_queue_is_a_sample():
    a, r, n = "accepted", "rejected", ""
    assert estimate([n, n, a]) is None  # judged elsewhere
    found = estimate([a, r, a, a, n, n, n, n, r, r, r])
    assert found is not None
    assert (found.judged, found.accepted, found.sample, found.value) == (4, 3, 4, 0.75)
    found = estimate([a] * 5 + [n] + [a] * 5)  # one was passed over
    assert found is not None
    assert (found.judged, found.sample) == (10, 11)


def test_intervals_cover():
    """Of 400 samples of 60 pairs, about 95 % have the true share in their interval; so do stratified ones."""
    rng, shares = np.random.default_rng(0), np.array([0.5, 0.8, 0.9, 0.98])
    hits = {"simple": 0, "strata": 0}
    widths = {"simple": 0.0, "strata": 0.0}
    for _ in range(400):
        good = rng.random((4, 15)) < shares[:, None]
        parts = [(1.0, ["accepted" if one else "rejected" for one in row]) for row in good]
        mixed = rng.random(60) < shares[rng.integers(0, 4, 60)]
        simple = estimate(["accepted" if one else "rejected" for one in mixed])
        for name, found in (("simple", simple), ("strata", stratified(parts))):
            assert found is not None
            hits[name] += found.low <= shares.mean() <= found.high
            widths[name] += found.high - found.low
    assert all(0.92 <= count / 400 <= 0.99 for count in hits.values()), hits
    assert widths["strata"] < widths["simple"]


def test_strata_need_verdicts_of_each():
    assert stratified([(1.0, ["accepted"] * 9), (1.0, ["accepted"])]) is None
    assert stratified([]) is None


def test_strata_split_the_set(finished):
    pairs, query = AllPairs(finished), PairQuery(relation="mixed")
    parts = strata(pairs, query)
    assert len(parts) == 5
    total = pairs.figures(query).pairs
    assert sum(size for _, size in parts) == total
    numbers = np.concatenate([pairs.numbers(part, count=10**6) for part, _ in parts])
    assert len(set(numbers)) == len(numbers) == total
    assert max(size for _, size in parts) < 2 * min(size for _, size in parts)
