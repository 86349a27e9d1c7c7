"""What judges a run, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from orl_explore.judging import diagnostics
from orl_explore.judging.diagnostics import Hubness, Judged, region_labels, same_category

BOX = ["x", "y", "w", "h"]


def boxes_table(rows, *, names=("image_id",)):
    """Rows of (names..., x, y, w, h) as a table."""
    return pd.DataFrame(rows, columns=[*names, *BOX])


def neighbors_table(rows):
    return pd.DataFrame(rows, columns=["image_id", "neighbor_id"])


# ---- representation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vectors", "std", "rank"),
    [
        pytest.param(torch.ones(8, 4), 0.0, 0.0, id="collapsed to a point"),
        # On every axis one +1, one -1 and six 0: variance 2/7; all four directions alike.
        pytest.param(torch.cat([torch.eye(4), -torch.eye(4)]), (2 / 7) ** 0.5 * 2, 4.0, id="spread out"),
        # Four +1 and four -1 on one axis: variance 8/7, and 0 on the other three.
        pytest.param(torch.tensor([[1.0, 0, 0, 0], [-1, 0, 0, 0]] * 4), (8 / 7) ** 0.5 / 4 * 2, 1.0, id="a line"),
        # Length does not count.
        pytest.param(torch.cat([torch.eye(2) * 9, -torch.eye(2) / 9]), (2 / 3) ** 0.5 * 2**0.5, 2.0, id="any length"),
    ],
)  # fmt: skip
def test_representation_std_and_effective_rank(vectors, std, rank):
    assert diagnostics.representation_std(vectors) == pytest.approx(std, abs=1e-6)
    assert diagnostics.effective_rank(vectors) == pytest.approx(rank, abs=1e-4)


# ---- neighbors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "neighbors", "value", "chance"),
    [
        pytest.param("aabb", [(0, 1), (1, 2), (2, 3), (3, 0)], 2 / 4, 1 / 3, id="each has 1 like itself among 3"),
        pytest.param("aaab", [(0, 1), (3, 0)], 1 / 2, (2 / 3 + 0) / 2, id="chance is each query's own"),
        pytest.param("aab-", [(0, 1), (0, 3), (3, 0), (2, 0)], 1 / 2, (1 / 2 + 0) / 2, id="unlabeled are left out"),
        pytest.param("a---", [(0, 1), (1, 0)], math.nan, math.nan, id="no labeled neighbor"),
    ],
)  # fmt: skip
def test_neighbor_agreement(labels, neighbors, value, chance):
    series = pd.Series([None if c == "-" else c for c in labels], index=[10, 20, 30, 40], dtype="str")
    table = neighbors_table([(10 * a + 10, 10 * b + 10) for a, b in neighbors])  # ids, not rows
    assert diagnostics.neighbor_agreement(table, series) == pytest.approx(Judged(value, chance), nan_ok=True)


def test_agreement_of_random_neighbors_is_its_chance():
    rng = np.random.default_rng(0)
    labels = pd.Series(rng.choice(list("aaabbc"), 500), index=np.arange(500) * 3)
    query = np.repeat(np.arange(500), 40)
    other = (query + rng.integers(1, 500, len(query))) % 500
    judged = diagnostics.neighbor_agreement(neighbors_table(np.column_stack([query, other]) * 3), labels)
    assert judged.value == pytest.approx(judged.chance, abs=0.02)  # a standard error of 20,000 draws is 0.0035


def test_category_overlap():
    sets = {1: "ab", 2: "ab", 3: "a", 5: "c"}  # 4 has no objects
    objects = pd.DataFrame(
        [(i, c) for i, names in sets.items() for c in names + names], columns=["image_id", "category"]
    )
    table = neighbors_table([(1, 2), (3, 5), (3, 4), (4, 1)])
    # 1-2: {a,b} and {a,b}: 1. 3-5: {a} and {c}: 0.
    # By chance 1 meets 2 (1), 3 (1/2), 5 (0): 1/2 on average; 3 meets 1 and 2 (1/2 each), 5 (0): 1/3.
    judged = diagnostics.category_overlap(table, objects)
    assert judged == pytest.approx(Judged(1 / 2, (1 / 2 + 1 / 3) / 2))
    assert all(map(math.isnan, diagnostics.category_overlap(table, objects[:0])))


def test_hubness():
    # Image 1 is a neighbor 3 times, 2 once, 3 and 4 never. Deviations 2, 0, -1, -1: variance 6/4, third moment 6/4.
    assert diagnostics.hubness(neighbors_table([(1, 2), (2, 1), (3, 1), (4, 1)])) == pytest.approx(
        Hubness(1.5 / 1.5**1.5, 3)
    )
    assert diagnostics.hubness(neighbors_table([(1, 2), (2, 3), (3, 1)])) == Hubness(0.0, 1)


def test_duplicates():
    table = neighbors_table([(1, 2), (2, 1), (3, 1), (1, 4)]).assign(similarity=[0.99, 0.99, 0.985, 0.98])
    assert diagnostics.near_duplicates(table) == 2  # 1-2 from both sides is one pair; 0.98 is not above 0.98
    assert diagnostics.near_duplicates(table, threshold=0.9) == 3
    assert diagnostics.exact_duplicates(pd.DataFrame({"content_hash": list("abacb")})) == 2


# ---- proposals -----------------------------------------------------------------------------------------------------


def test_proposal_recall():
    objects = boxes_table(
        [
            (1, 0, 0, 10, 10),  # best: (0, 0, 10, 8), IoU 0.8
            (2, 0, 0, 10, 10),  # in another image, where the only box is (0, 0, 5, 10): exactly 0.5
            (1, 50, 50, 10, 10),  # best: (50, 50, 20, 10), IoU 0.5 as well; not the box of image 2
            (3, 0, 0, 10, 10),  # an image without regions
        ]
    )
    regions = boxes_table([(2, 0, 0, 5, 10), (1, 0, 0, 10, 8), (1, 0, 0, 10, 4), (1, 50, 50, 20, 10)])
    assert diagnostics.best_overlaps(objects, regions) == pytest.approx(np.array([0.8, 0.5, 0.5, 0]))
    recall = diagnostics.proposal_recall(objects, regions)
    assert recall.at == pytest.approx({0.5: 3 / 4, 0.7: 1 / 4})
    assert recall.average_best_overlap == pytest.approx(1.8 / 4)
    assert recall.objects == 4
    assert math.isnan(diagnostics.proposal_recall(objects[:0], regions).at[0.5])


def test_funnel():
    reasons = ["side", "kept", "iou", "side", "kept", "fallback", "aspect", "count"]
    regions = pd.DataFrame({"image_id": [1, 1, 2]})  # Q = 2, 1 and 0
    neighbors = neighbors_table([(1, 2), (2, 1), (1, 3), (3, 1)])  # 2*1 + 1*2 + 2*0 + 0*2
    counts = diagnostics.funnel(pd.DataFrame({"reason": reasons}), regions, neighbors, pd.DataFrame({"rank": [0, 0]}))
    assert counts == {
        "proposals": 8,
        "kept": 2,
        "rejected_side": 2,
        "rejected_aspect": 1,
        "rejected_iou": 1,
        "rejected_count": 1,
        "fallback": 1,
        "regions": 3,
        "candidate_pairs": 4,
        "pairs": 2,
    }


# ---- what regions are on -------------------------------------------------------------------------------------------


OBJECTS = pd.DataFrame(
    [(100, 7, 0, 0, 10, 10, "cup"), (101, 7, 12, 12, 8, 12, "key")],
    columns=["object_id", "image_id", *BOX, "category"],
)


@pytest.mark.parametrize(
    ("box", "expected", "why"),
    [
        ((0, 0, 10, 10), 100, "IoU 1"),
        ((0, 0, 20, 10), 100, "IoU exactly 0.5"),
        ((0, 0, 21, 10), -1, "IoU 100/210, and as much of it in the box"),
        ((6, 0, 4, 10), 100, "a part: all of it in the box; IoU only 0.4"),
        ((1, 2, 3, 3), 100, "a small part: IoU only 0.09"),
        ((7, 0, 5, 4), 100, "columns 7, 8, 9 of 7..11: exactly 60%"),
        ((8, 0, 5, 4), -1, "columns 8, 9 of 8..12: 40%"),
        ((0, 7, 4, 5), 100, "rows 7, 8, 9 of 7..11: 60%"),
        ((0, 8, 4, 5), -1, "rows 8, 9 of 8..12: 40%"),
        ((13, 13, 3, 3), 101, "inside the other one's box"),
        ((10, 12, 5, 4), 101, "columns 12, 13, 14 of 10..14: 60%"),
        ((9, 12, 5, 4), -1, "columns 12, 13 of 9..13: 40%"),
        ((0, 0, 20, 24), -1, "the whole image: IoU 0.21 and 0.2"),
    ],
)
def test_on_object(box, expected, why):
    regions = boxes_table([(3, 8, *box), (5, 7, *box)], names=("region_id", "image_id"))
    found = diagnostics.on_object(regions, OBJECTS)
    assert found.index.tolist() == [3, 5]
    assert found.loc[3] == -1, "image 8 has no objects"
    assert found.loc[5] == expected, why


@pytest.mark.parametrize(
    ("box", "expected", "why"),
    [
        ((0, 0, 4, 4), 2, "all of it in both boxes: IoU 16/100 beats 16/400"),
        ((0, 0, 14, 10), 1, "IoU 100/140 with 2, but all of it in 1: the larger share counts"),
        ((0, 12, 6, 6), 1, "60% and more of it only in 1"),
    ],
)
def test_of_several_objects_the_one_with_the_largest_share(box, expected, why):
    objects = pd.DataFrame(
        [(1, 7, 0, 0, 20, 20, "table"), (2, 7, 0, 0, 10, 10, "cup")],
        columns=["object_id", "image_id", *BOX, "category"],
    )
    for order in ([0, 1], [1, 0]):
        regions = boxes_table([(0, 7, *box)], names=("region_id", "image_id"))
        assert diagnostics.on_object(regions, objects.iloc[order]).loc[0] == expected, why


@pytest.mark.parametrize(
    ("box", "whole", "expected", "why"),
    [
        ((0, 0, 4, 4), False, 2, "a corner of both, of which it is most of 2"),
        ((0, 0, 4, 4), True, -1, "a corner: IoU 16/100"),
        ((0, 0, 10, 6), True, 2, "IoU 60/100 with 2, 60/400 with 1"),
        ((0, 0, 10, 5), True, 2, "IoU 50/100 is enough"),
        ((0, 0, 10, 4), True, -1, "IoU 40/100"),
        ((0, 0, 14, 10), True, 2, "IoU 100/140 with 2; that all of it is in 1 does not count"),
        ((0, 0, 20, 11), True, 1, "IoU 220/400 with 1, 100/220 with 2"),
    ],
)
def test_on_a_whole_object(box, whole, expected, why):
    objects = pd.DataFrame(
        [(1, 7, 0, 0, 20, 20, "table"), (2, 7, 0, 0, 10, 10, "cup")],
        columns=["object_id", "image_id", *BOX, "category"],
    )
    regions = boxes_table([(0, 7, *box)], names=("region_id", "image_id"))
    assert diagnostics.on_object(regions, objects, whole=whole).loc[0] == expected, why


# ---- pairs ---------------------------------------------------------------------------------------------------------


def test_pair_purity():
    objects = pd.DataFrame({"object_id": [50, 51, 52, 53], "category": ["a", "b", "a", "b"]})
    #                region: 0   1   2 | 3   4   5   6 | 7      image 1: a, b, -   image 2: a, a, -, -   image 3: b
    regions = pd.DataFrame({"region_id": range(8), "image_id": [1, 1, 1, 2, 2, 2, 2, 3]})
    region_object = pd.Series([50, 51, -1, 52, 52, -1, -1, 53], index=range(8))
    pairs = pd.DataFrame(
        [
            (1, 2, 0, 3),  # a - a
            (1, 2, 1, 3),  # b - a
            (1, 2, 2, 5),  # background - background
            (1, 3, 1, 7),  # b - b
            (2, 3, 6, 7),  # background - b
        ],
        columns=["image_id", "neighbor_id", "query_region", "key_region"],
    )
    purity = diagnostics.pair_purity(pairs, regions, region_object, objects)
    assert (purity.pairs, purity.object_pairs) == (5, 3)
    assert purity.mixed == pytest.approx(1 / 5)
    assert purity.unlabeled == pytest.approx(1 / 5)
    # Image 1 asks twice, image 2 once: 4 a, 2 b, 4 background.
    # Image 2 answers once, image 3 twice: 2 a, 2 b, 2 background.
    assert purity.objects == pytest.approx(Judged(3 / 5, 6 / 10 * 4 / 6))
    assert purity.purity == pytest.approx(Judged(2 / 3, 4 / 6 * 2 / 4 + 2 / 6 * 2 / 4))
    # Blindly between 1 and 2: 2 of 2 x 2 on-object combinations agree (a with either a); 1 and 3: 1 of 2 x 1;
    # 2 and 3: 0 of 2 x 1.
    assert purity.neighbor_chance == pytest.approx((2 + 1 + 0) / (4 + 2 + 2))


def test_purity_of_blind_pairs_is_chance():
    rng = np.random.default_rng(0)
    objects = pd.DataFrame({"object_id": range(30), "category": rng.choice(list("aaabbcd"), 30)})
    regions = pd.DataFrame({"region_id": range(2000), "image_id": np.repeat(np.arange(100), 20)})
    region_object = pd.Series(rng.integers(-1, 30, 2000), index=range(2000))
    query, key = rng.integers(2000, size=(2, 40_000))  # any region with any: images are no better than chance
    pairs = pd.DataFrame({"image_id": query // 20, "neighbor_id": key // 20, "query_region": query, "key_region": key})
    purity = diagnostics.pair_purity(pairs, regions, region_object, objects)
    assert purity.objects.value == pytest.approx(purity.objects.chance, abs=0.01)
    assert purity.purity.value == pytest.approx(purity.purity.chance, abs=0.01)
    assert purity.neighbor_chance == pytest.approx(purity.purity.chance, abs=0.01)
    assert purity.objects.value + purity.mixed + purity.unlabeled == pytest.approx(1)


def test_purity_is_nan_without_objects_or_pairs():
    regions = pd.DataFrame({"region_id": [0, 1], "image_id": [1, 2]})
    pairs = pd.DataFrame({"image_id": [1], "neighbor_id": [2], "query_region": [0], "key_region": [1]})
    none = pd.DataFrame({"object_id": pd.Series([], dtype=int), "category": pd.Series([], dtype="str")})
    purity = diagnostics.pair_purity(pairs, regions, pd.Series([-1, -1]), none)
    assert purity.objects == Judged(0, 0)
    assert purity.unlabeled == 1
    assert [math.isnan(figure) for figure in (*purity.purity, purity.neighbor_chance)] == [True] * 3
    purity = diagnostics.pair_purity(pairs[:0], regions, pd.Series([-1, -1]), none)
    assert purity.pairs == 0
    assert math.isnan(purity.unlabeled)


def test_labels_are_categories_of_objects(finished):
    images, regions = finished.images(), finished.read("regions")
    objects = images.objects
    own = objects[["image_id", "x", "y", "w", "h"]].round().astype(dict.fromkeys("xywh", "int32"))
    own["region_id"] = np.arange(len(own))
    labels = region_labels(own, images)
    assert (labels.to_numpy() == objects["category"].to_numpy()).mean() > 0.9  # others lie on top of each other
    assert set(region_labels(regions, images)) <= {*objects["category"], diagnostics.UNLABELED}


def test_same_category():
    categories = pd.Series(["cup", "cup", "key", None], index=[0, 1, 2, 3])
    pairs = pd.DataFrame({"query_region": [0, 0, 3, 3], "key_region": [1, 2, 0, 3]})
    assert same_category(pairs, categories) == 0.5
    assert np.isnan(same_category(pairs.iloc[2:], categories))
