"""How pure a run's pairs are, judged by people from a random sample: what one wants to know of a run without labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from orl_explore.runs.pair_query import AllPairs, PairQuery

COMPLETE = 0.9
"""Share of the sample's pairs that must be judged."""


@dataclass(frozen=True)
class Estimate:
    """A share of good pairs, with its interval."""

    judged: int
    accepted: int
    sample: int
    """First pairs of the random order that were taken; where some were passed over, more than `judged`."""
    value: float
    low: float
    high: float


def wilson(share: float, count: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share that was found in `count` draws; count may be an effective one, of any size."""
    if count <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    center = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, center - half), min(1.0, center + half)


def estimate(verdicts: Sequence[str]) -> Estimate | None:
    """The share of accepted pairs, from verdicts in the order of a random queue.

    Only a stretch from its beginning is a random sample: the longest of which at least `COMPLETE` is judged. Which
    pairs a person happened to judge elsewhere, such as doubtful ones, does not bias it.

    Args:
        verdicts: "accepted", "rejected" or "" (not judged), in the random order.

    Returns:
        The estimate with a 95 % interval; None before anything is judged.
    """
    judged = np.array([verdict != "" for verdict in verdicts], bool)
    share = np.cumsum(judged) / np.arange(1, len(judged) + 1)
    ends = np.flatnonzero(judged & (share >= COMPLETE))
    if not len(ends):
        return None
    sample = int(ends[-1]) + 1
    count = int(judged[:sample].sum())
    accepted = sum(verdict == "accepted" for verdict in verdicts[:sample])
    return Estimate(count, accepted, sample, accepted / count, *wilson(accepted / count, count))


def stratified(parts: Sequence[tuple[float, Sequence[str]]]) -> Estimate | None:
    """The share over strata: the mean of theirs, weighted; narrower than one sample where strata differ.

    Args:
        parts: of each stratum its share of all pairs, and its verdicts as for `estimate`.

    Returns:
        As `estimate`; None while any stratum has fewer than two verdicts.
    """
    found = [estimate(verdicts) for _, verdicts in parts]
    known = [one for one in found if one is not None and one.judged >= 2]
    if len(known) < len(parts) or not known:
        return None
    weights = np.array([weight for weight, _ in parts]) / sum(weight for weight, _ in parts)
    value = float(sum(weight * one.value for weight, one in zip(weights, known, strict=True)))
    # Shares of 0 and 1 have no variance in so few draws: one more of each kind is assumed for it (Agresti and Coull).
    near = [(one.accepted + 1) / (one.judged + 2) for one in known]
    variance = sum(w * w * p * (1 - p) / one.judged for w, p, one in zip(weights, near, known, strict=True))
    pooled = float(sum(weight * p for weight, p in zip(weights, near, strict=True)))
    low, high = wilson(value, pooled * (1 - pooled) / variance)
    judged, accepted, sample = (sum(getattr(one, name) for one in known) for name in ("judged", "accepted", "sample"))
    return Estimate(judged, accepted, sample, value, low, high)


def strata(pairs: AllPairs, query: PairQuery, *, count: int = 5) -> list[tuple[PairQuery, int]]:
    """Split a set of pairs by similarity into parts of about the same size.

    Returns:
        The query of each part, in random order, and its number of pairs; one part where similarities are unknown.
    """
    import dataclasses

    query = dataclasses.replace(query, sort="random")
    bounds = pairs.quantiles(query, np.linspace(0, 1, count + 1)[1:-1].tolist())
    edges = [-math.inf, *sorted(set(bounds)), math.inf]
    least, most = query.similarity or (-math.inf, math.inf)
    parts = []
    for low, high in itertools.pairwise(edges):
        # The next float: parts have no pair in common.
        above = float(np.nextafter(np.float32(low), np.float32(np.inf))) if low > -math.inf else low
        part = dataclasses.replace(query, similarity=(max(above, least), min(high, most)))
        if size := pairs.figures(part).pairs:
            parts.append((part, size))
    return parts or [(query, pairs.figures(query).pairs)]
