"""match_regions against small similarity matrices worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from orl_explore.pairs import match_regions, pair_image, pair_images, pair_regions, region_slices, similarity_matrix
from orl_explore.runs.tables import TABLES
from orl_explore.settings import Stage2Settings


def embeddings_with(similarity):
    """Query and key embeddings whose cosines are the given Q x R matrix (each row's squares sum to <= 1)."""
    similarity = np.asarray(similarity, np.float64)
    rest = np.sqrt(1 - (similarity**2).sum(axis=1, keepdims=True))
    query = np.concatenate([similarity, rest], axis=1).astype(np.float32)  # unit length by the last coordinate
    return query, np.eye(similarity.shape[1], query.shape[1], dtype=np.float32)  # keys: the first R axes


def match(similarity, **options):
    query_index, key_index, values = match_regions(*embeddings_with(similarity), **options)
    assert values == pytest.approx(np.asarray(similarity)[query_index, key_index], abs=1e-6)
    return list(zip(query_index.tolist(), key_index.tolist(), strict=True))


# Best key of each query: 0, 0, 1. Best query of each key: 0, 2, 2.
SIMILARITY = [
    [0.90, 0.12, 0.20],
    [0.80, 0.30, 0.10],
    [0.11, 0.60, 0.55],
]


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        ({}, [(0, 0)]),  # int(0.1 * 3) = 0, but one pair at least
        ({"ratio": 0.7}, [(0, 0), (1, 0)]),  # int(2.1) = 2; a key may serve twice
        ({"ratio": 1}, [(0, 0), (1, 0), (2, 1)]),
        ({"ratio": 5 / 3}, [(0, 0), (1, 0), (2, 1), (2, 2), (1, 1)]),
        ({"ratio": 0.7, "mutual": True}, [(0, 0), (2, 1)]),  # thinned before the top is taken
        ({"ratio": 1, "mutual": True}, [(0, 0), (2, 1)]),  # query 1 has no partner: fewer than 3
        ({"ratio": 0.7, "one_to_one": True}, [(0, 0), (2, 1)]),
        ({"ratio": 1, "one_to_one": True}, [(0, 0), (2, 1), (1, 2)]),  # query 1 gets what is left, at 0.10
        ({"ratio": 1, "min_similarity": 0.7}, [(0, 0), (1, 0)]),
        ({"ratio": 1, "min_similarity": 0.95}, []),
        ({"ratio": 1, "one_to_one": True, "min_similarity": 0.2}, [(0, 0), (2, 1)]),
        ({"ratio": 1, "mutual": True, "min_similarity": 0.7}, [(0, 0)]),
        ({"ratio": 1, "mutual": True, "one_to_one": True}, [(0, 0), (2, 1)]),
    ],
)
def test_three_by_three(options, pairs):
    assert match(SIMILARITY, **options) == pairs


def test_the_types():
    query_index, key_index, similarity = match_regions(*embeddings_with(SIMILARITY))
    assert (query_index.dtype, key_index.dtype, similarity.dtype) == (np.int64, np.int64, np.float32)


def test_a_tenth_of_the_query_boxes_and_not_of_the_matrix():
    rng = np.random.default_rng(0)
    key = rng.normal(size=(37, 8))
    for count in range(1, 101):
        pairs = match_regions(rng.normal(size=(count, 8)), key)
        assert len(pairs[0]) == max(1, count // 10)  # 1 up to 19, 2 from 20, ... 10 at 100


@pytest.mark.parametrize(
    ("ratio", "count"),
    [
        (0.5, 10),  # with one key, ten queries share it
        (2, 20),  # int(2 * 20) = 40 is more than there are entries
    ],
)
def test_a_neighbor_with_a_single_box(ratio, count):
    similarity = np.linspace(-0.9, 0.9, 20)[:, None]
    assert match(similarity, ratio=ratio) == [(19 - place, 0) for place in range(count)]


@pytest.mark.parametrize("options", [{}, {"one_to_one": True}])
def test_ties_go_by_the_flattened_matrix(options):
    pairs = match(np.full((4, 3), 0.5), ratio=1, **options)
    assert pairs == ([(0, 0), (1, 1), (2, 2)] if options else [(0, 0), (0, 1), (0, 2), (1, 0)])


def test_ties_at_the_edge_of_the_top():
    assert match([[0.5, 0.2], [0.5, 0.7], [0.1, 0.5]], ratio=1) == [(1, 1), (0, 0), (1, 0)]  # (2, 1) is out


@given(
    query=hnp.arrays(np.int8, st.tuples(st.integers(1, 40), st.just(3)), elements=st.integers(-2, 2)),
    key=hnp.arrays(np.int8, st.tuples(st.integers(1, 12), st.just(3)), elements=st.integers(-2, 2)),
    ratio=st.sampled_from([0.1, 0.5, 1.0, 3.0]),
    mutual=st.booleans(),
    one_to_one=st.booleans(),
    min_similarity=st.sampled_from([None, 0.0, 0.5]),
)
def test_is_a_stable_sort_of_what_the_switches_leave(query, key, ratio, mutual, one_to_one, min_similarity):
    lift = np.array([0, 0, 2.5])  # no zero rows
    query, key = query + lift, key + lift
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (query, key)]
    # Float sums can differ in the last bit from one matrix size to another: take the function's own cosines.
    everything = match_regions(query, key, ratio=len(key))
    similarity = np.empty((len(query), len(key)), np.float32)
    similarity[everything[0], everything[1]] = everything[2]
    assert similarity == pytest.approx(unit[0] @ unit[1].T, abs=1e-6)

    expected, queries, keys = [], set(), set()
    for flat in np.argsort(-similarity.ravel(), kind="stable"):
        q, r = divmod(int(flat), len(key))
        if min_similarity is not None and similarity[q, r] < min_similarity:
            continue
        if mutual and (similarity[q].argmax() != r or similarity[:, r].argmax() != q):
            continue
        if one_to_one and (q in queries or r in keys):
            continue
        expected.append((q, r))
        queries.add(q)
        keys.add(r)
    found = match_regions(query, key, ratio=ratio, mutual=mutual, one_to_one=one_to_one, min_similarity=min_similarity)
    top = max(1, int(ratio * len(query)))
    assert list(zip(found[0].tolist(), found[1].tolist(), strict=True)) == expected[:top]


def test_half_precision_is_normalized_again():
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(30, 2048))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    stored = unit.astype(np.float16)
    assert np.abs(np.linalg.norm(stored.astype(np.float64), axis=1) - 1).max() > 1e-6  # it needs to be
    _, _, similarity = match_regions(stored, stored, ratio=1)
    assert similarity == pytest.approx(np.ones(30), abs=1e-6)
    assert similarity.max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_torch_tensors(dtype):
    query, key = (torch.from_numpy(x).to(dtype) for x in embeddings_with(SIMILARITY))
    from_torch = match_regions(query.requires_grad_(), key, ratio=1)
    from_numpy = match_regions(query.detach().float().numpy(), key.float().numpy(), ratio=1)
    for a, b in zip(from_torch, from_numpy, strict=True):
        assert isinstance(a, np.ndarray)
        np.testing.assert_array_equal(a, b)


def test_no_regions_no_pairs():
    some, none = np.ones((2, 4)), np.ones((0, 4))
    for query, key in [(none, some), (some, none), (none, none)]:
        for options in [{}, {"mutual": True, "one_to_one": True, "min_similarity": 0.0}]:
            assert [len(column) for column in match_regions(query, key, **options)] == [0, 0, 0]


@pytest.mark.parametrize("bad", [0, np.nan, np.inf])
def test_an_embedding_without_direction(bad):
    query = np.ones((3, 4))
    query[1] = bad
    with pytest.raises(ValueError, match="zero, NaN or infinite"):
        match_regions(query, np.ones((2, 4)))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="different dimensions"):
        match_regions(np.ones((3, 4)), np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        match_regions(np.ones(4), np.ones((3, 4)))


# ---- images with all their neighbors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"ratio": 0.5}, {"mutual": True}, {"one_to_one": True, "ratio": 1.0}, {"min_similarity": 0.2}]
)
def test_all_neighbors_at_once_are_one_after_the_other(tmp_path, options):
    """Every (image, neighbor) as `match_regions` pairs it alone, from a file, in whatever company: the same bytes."""
    rng = np.random.default_rng(0)
    counts, ids = rng.integers(1, 15, 12), rng.permutation(100)[:12]
    of_region = np.repeat(ids, counts)
    vectors = rng.normal(size=(len(of_region), 24)).astype(np.float16)
    vectors[rng.permutation(len(vectors))[:20]] = vectors[3]  # copies, so that there are ties
    np.save(tmp_path / "v.npy", vectors)
    stored, slices = np.load(tmp_path / "v.npy", mmap_mode="r"), region_slices(of_region)
    neighbors = pd.DataFrame(
        [(i, rank, j, 0.5) for i in ids[:10] for rank, j in enumerate(rng.permutation(ids[ids != i])[:4])],
        columns=["image_id", "rank", "neighbor_id", "similarity"],
    )
    whole = pair_images(ids, neighbors, slices, stored, **options)
    expected = []
    for image_id, rank, neighbor_id, _ in neighbors.itertuples(index=False):
        (a, b), (c, d) = slices[image_id], slices[neighbor_id]
        q, k, similarity = match_regions(vectors[a:b], vectors[c:d], **options)
        expected += [
            (image_id, neighbor_id, rank, place, a + i, c + j, s)
            for place, (i, j, s) in enumerate(zip(q, k, similarity, strict=True))
        ]
    assert list(whole.itertuples(index=False, name=None)) == expected
    halves = [pair_images(part, neighbors, slices, stored, **options) for part in (ids[:5], ids[5:])]
    pd.testing.assert_frame_equal(pd.concat(halves, ignore_index=True), whole)
    own = neighbors[neighbors["image_id"] == ids[4]]
    alone = pair_image(int(ids[4]), own, slices, stored, **options)
    pd.testing.assert_frame_equal(alone, whole[whole["image_id"] == ids[4]].reset_index(drop=True))


def test_copies_are_equally_similar_wherever_they_stand():
    """A product in float32 gives the columns of a matrix other last bits, by where they stand in it."""
    rng = np.random.default_rng(1)
    query, key = rng.normal(size=(9, 2048)), rng.normal(size=2048)
    matrix = similarity_matrix(query.astype(np.float16), np.tile(key, (37, 1)).astype(np.float16))
    assert (matrix == matrix[:, :1]).all()


def test_no_pairs():
    neighbors = pd.DataFrame({"image_id": [], "rank": [], "neighbor_id": [], "similarity": []}, dtype=np.int64)
    table = pair_images([1], neighbors, region_slices(np.array([1, 2])), np.eye(2))
    assert len(table) == 0
    assert {name: str(kind) for name, kind in table.dtypes.items()} == TABLES["pairs"].columns


def test_pairs_by_hand():
    # Image 7 has two boxes, pointing east and north; image 9 one box, at 30 degrees; image 8 one, pointing north.
    regions = pd.DataFrame({"region_id": [0, 1, 2, 3], "image_id": [7, 7, 9, 8]})
    vectors = np.array([[1, 0], [0, 1], [np.sqrt(0.75), 0.5], [0, 1]], np.float16)
    neighbors = pd.DataFrame(
        {"image_id": [7, 7, 8, 9], "rank": [0, 1, 0, 0], "neighbor_id": [9, 8, 7, 7], "similarity": 0.5}
    )
    pairs = pair_regions(np.array([7, 8]), neighbors, regions, vectors, Stage2Settings(), None)
    assert {name: str(kind) for name, kind in pairs.dtypes.items()} == TABLES["pairs"].columns
    assert pairs.drop(columns="similarity").to_numpy().tolist() == [
        # image, neighbor, its rank, rank, query, key: int(0.1 * 2) = 0, so one pair each
        [7, 9, 0, 0, 0, 2],  # cos 30 beats cos 60
        [7, 8, 1, 0, 1, 3],
        [8, 7, 0, 0, 3, 1],
    ]
    assert pairs["similarity"].tolist() == pytest.approx([np.sqrt(0.75), 1, 1], abs=1e-3)
