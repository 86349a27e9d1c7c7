"""What the summary picture shows: pairs and queries by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from orl_explore.figures.summary_content import best_pairs, choose_queries
from painted_runs import make_run


def pairs_table(*rows: tuple[int, int, int, int, float]) -> pd.DataFrame:
    names = ["image_id", "neighbor_rank", "rank", "query_region", "similarity"]
    return pd.DataFrame(list(rows), columns=names)


def test_best_pairs():
    pairs = pairs_table((1, 1, 1, 0, 0.7), (1, 1, 0, 1, 0.8), (1, 0, 0, 2, 0.6), (2, 4, 0, 3, 0.9))
    best = best_pairs(pairs)
    # One for each neighbor, by rank of the neighbor; the neighbor of rank 4 would be the fifth.
    assert best[["image_id", "neighbor_rank", "rank"]].to_numpy().tolist() == [[1, 0, 0], [1, 1, 0]]


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("six"), [(40, 40)] * 6).images()


def test_choose_queries(six):
    one, two = (7, 7), (7, 8)  # pairs from one box and from two
    scores = {10: (one, 0.99), 11: (two, 0.5), 12: (two, 0.6), 13: (one, 0.7), 14: (one, 0.8), 15: (one, 0.8)}
    best = pairs_table(*((i, rank, 0, boxes[rank], s) for i, (boxes, s) in scores.items() for rank in (0, 1)))
    nobody = pd.DataFrame({"image_id": [], "neighbor_id": [], "rank": []}, dtype="int64")
    # First half: two boxes beat one, then similarity decides. Second half: of equals, the first.
    assert choose_queries(six, nobody, best, rows=2) == [12, 14]
    assert choose_queries(six, nobody, best, rows=1) == [12]
    assert choose_queries(six, nobody, best, rows=9) == [10, 11, 12, 13, 14, 15]
    # 14 is shown already as a neighbor of 12.
    near = pd.DataFrame({"image_id": [12, 12], "neighbor_id": [14, 15], "rank": [0, 4]})
    assert choose_queries(six, near, best, rows=2) == [12, 15]
    # Without pairs, an image comes after all others; without any, the first one is taken.
    assert choose_queries(six, nobody, best[best["image_id"] == 11], rows=2) == [11, 13]
    with pytest.raises(ValueError, match="at least 1"):
        choose_queries(six, nobody, best, rows=0)
