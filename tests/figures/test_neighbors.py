"""Similarities of neighbors as a histogram."""

from __future__ import annotations

from orl_explore.figures import neighbors as figures


def test_histogram_of_similarities():
    counts, edges = figures.histogram([0.0, 0.1, 0.9, 1.0], bins=2)
    assert counts.tolist() == [2, 2]
    assert edges.tolist() == [0, 0.5, 1]
    assert figures.histogram([0.5, 0.5])[0].sum() == 2
    made = figures.similarities(counts, edges, [0.9, 0.1])
    assert list(made.data[0].y) == [2, 2]
    assert list(made.data[1].x) == [0.9, 0.1]
    assert len(figures.similarities(*figures.histogram([]), []).data) == 1
