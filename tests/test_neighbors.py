"""Image neighbors against angles worked out by hand, and against brute force."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orl_explore import neighbors as library
from orl_explore import neighbors as module
from orl_explore.errors import OrlError
from orl_explore.judging import diagnostics
from orl_explore.neighbors import SLACK, build_index, count_near_duplicates, nearest_neighbors, open_index, recall

BLOCK = 512


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """So that a few hundred rows are several blocks of queries and of the database."""
    monkeypatch.setattr(module, "BLOCK", BLOCK)
    monkeypatch.setattr(module, "DATABASE", 200)


SIN60 = np.sqrt(0.75)
# Directions at 0, 0, 60, 90 and 180 degrees; lengths differ, since only the direction may matter.
EMBEDDINGS = np.array([[1, 0], [2, 0], [2, 4 * SIN60], [0, 3], [-0.5, 0]], np.float32)
EMBEDDINGS[2] = 4 * np.array([0.5, SIN60])
IDS = np.array([10, 20, 30, 40, 50])


def neighbors_of(table, image_id):
    rows = table[table.image_id == image_id]
    assert rows["rank"].tolist() == list(range(len(rows)))
    return rows.neighbor_id.tolist(), rows.similarity.tolist()


@pytest.mark.parametrize(
    ("image_id", "neighbors", "similarities"),
    [
        (10, [20, 30, 40, 50], [1, 0.5, 0, -1]),  # cos 0, 60, 90, 180
        (20, [10, 30, 40, 50], [1, 0.5, 0, -1]),  # the duplicate: itself gone by id, though 10 ties with it
        (30, [40, 10, 20, 50], [SIN60, 0.5, 0.5, -0.5]),  # cos 30, 60, 60, 120: the tie in row order
        (40, [30, 10, 20, 50], [SIN60, 0, 0, 0]),  # a tie of three
        (50, [40, 30, 10, 20], [0, -0.5, -1, -1]),
    ],
)
def test_every_cosine_by_hand(image_id, neighbors, similarities):
    found = neighbors_of(nearest_neighbors(EMBEDDINGS, IDS, k=4), image_id)
    assert found == (neighbors, pytest.approx(similarities, abs=1e-6))


def test_the_table():
    given = EMBEDDINGS.copy()
    table = nearest_neighbors(given, IDS, k=2)
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == {
        "image_id": "int64",
        "rank": "int16",
        "neighbor_id": "int64",
        "similarity": "float32",
    }
    assert table.image_id.tolist() == [10, 10, 20, 20, 30, 30, 40, 40, 50, 50]
    np.testing.assert_array_equal(given, EMBEDDINGS)  # not normalized in place


def test_k_is_capped():
    assert len(nearest_neighbors(EMBEDDINGS, IDS, k=10)) == 5 * 4
    assert len(nearest_neighbors(EMBEDDINGS[:1], IDS[:1])) == 0
    assert len(nearest_neighbors(EMBEDDINGS[:0], IDS[:0])) == 0


@pytest.mark.parametrize(
    ("max_similarity", "image_id", "neighbors"),
    [
        (0.99, 10, [30, 40]),  # the duplicate is left out, the next ones move up
        (0.99, 30, [40, 10]),
        (0.4, 10, [40, 50]),
        (0.4, 30, [50]),  # all others are within 60 degrees: fewer than k
        (-1.5, 10, []),
    ],
)
def test_near_duplicates_excluded(max_similarity, image_id, neighbors):
    table = nearest_neighbors(EMBEDDINGS, IDS, k=2, max_similarity=max_similarity)
    assert neighbors_of(table, image_id)[0] == neighbors


def test_many_duplicates_do_not_use_up_the_neighbors():
    copies = 3 * SLACK
    embeddings = np.array([[1, 0]] * copies + [[0, 1], [1, 1], [-1, 0]], np.float32)
    ids = np.arange(len(embeddings))
    table = nearest_neighbors(embeddings, ids, k=3, max_similarity=0.99)
    for image_id in range(copies):
        assert neighbors_of(table, image_id)[0] == [copies + 1, copies, copies + 2]  # 45, 90, 180 degrees


@pytest.mark.parametrize("max_similarity", [None, 0.9, 0.3])
def test_agrees_with_brute_force(max_similarity):
    rng = np.random.default_rng(0)
    total, k = BLOCK + 90, 7  # two blocks, the second one short
    embeddings = rng.normal(size=(total, 6)).astype(np.float32)
    embeddings[rng.permutation(total)[:80]] = embeddings[rng.permutation(total)[:80]]  # plenty of duplicates
    ids = rng.permutation(10**6)[:total]
    table = nearest_neighbors(embeddings, ids, k=k, max_similarity=max_similarity)

    unit = embeddings / np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    cosine = (unit @ unit.T).round(6)
    limit = np.inf if max_similarity is None else max_similarity
    for row in range(total):
        order = [j for j in np.argsort(-cosine[row], kind="stable") if j != row and cosine[row, j] <= limit]
        neighbors, similarities = neighbors_of(table, ids[row])
        assert ids[row] not in neighbors
        assert similarities == pytest.approx(cosine[row, order[:k]], abs=2e-6)
        assert similarities == sorted(similarities, reverse=True)
        # Who they are is only as certain as the rounding: compare where no near-tie is about.
        if np.diff(cosine[row, order[: k + 1]]).max() < -1e-5:
            assert neighbors == ids[order[:k]].tolist()


def test_similarities_stay_within_one():
    # In two dimensions many a row of rounded coordinates is a little longer than 1.
    embeddings = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    table = nearest_neighbors(np.concatenate([embeddings, embeddings, -embeddings]), np.arange(150), k=149)
    assert table.similarity.max() <= 1
    assert table.similarity.min() >= -1
    nearest = table[table["rank"] == 0].similarity.to_numpy()
    assert (nearest[:100] > 1 - 1e-6).all()  # copies
    assert (table.groupby("image_id").similarity.min() < -1 + 1e-6).all()  # opposites


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_an_embedding_without_direction_is_named(value):
    embeddings = EMBEDDINGS.copy()
    embeddings[2] = value
    with pytest.raises(OrlError, match="image 30"):
        nearest_neighbors(embeddings, IDS)


def test_tiny_embeddings_have_a_direction():
    table = nearest_neighbors(EMBEDDINGS * np.float32(1e-30), IDS, k=4)  # float32 squares would vanish
    assert neighbors_of(table, 30)[0] == [40, 10, 20, 50]


@pytest.mark.parametrize(
    ("embeddings", "ids", "k", "message"),
    [
        (EMBEDDINGS, IDS[:4], 1, "embeddings"),
        (EMBEDDINGS[0], IDS[:2], 1, "embeddings"),
        (EMBEDDINGS, [1, 2, 3, 3, 5], 1, "unique"),
        (EMBEDDINGS, IDS, 0, "at least 1"),
    ],
)
def test_misuse(embeddings, ids, k, message):
    with pytest.raises(ValueError, match=message):
        nearest_neighbors(embeddings, np.array(ids), k=k)


def test_progress_reaches_the_end():
    embeddings = np.random.default_rng(0).normal(size=(2 * BLOCK + 5, 4)).astype(np.float32)
    calls = []
    nearest_neighbors(embeddings, np.arange(len(embeddings)), progress=lambda *call: calls.append(call))
    total = len(embeddings)
    assert calls == [(BLOCK, total), (2 * BLOCK, total), (total, total)]


def clustered(count, dim=16, seed=0):
    """Vectors around forty places, as those of images are."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(40, dim))
    return (places[rng.integers(0, 40, count)] + 0.5 * rng.normal(size=(count, dim))).astype(np.float32)


def test_some_images_at_a_time_are_all_of_them(tmp_path):
    """From a file, in pieces, with a database in blocks or in one: the same bytes."""
    embeddings, ids = clustered(700), np.random.default_rng(1).permutation(700)
    whole = nearest_neighbors(embeddings, ids, k=5)
    np.save(tmp_path / "e.npy", embeddings)
    stored = np.load(tmp_path / "e.npy", mmap_mode="r")
    pieces = [nearest_neighbors(stored, ids, k=5, rows=rows) for rows in (range(300), range(300, 301), range(301, 700))]
    pd.testing.assert_frame_equal(pd.concat(pieces, ignore_index=True), whole)


def test_torch_finds_what_faiss_finds():
    """What is done on a GPU, done on the CPU."""
    queries, database = clustered(20), clustered(300, seed=1)
    values, rows = module._top(queries, database, 7)
    others, those = module._top(queries, database, 7, device="cpu")
    np.testing.assert_allclose(values, others, rtol=1e-5)
    assert np.sort(rows).tolist() == np.sort(those).tolist()


def test_an_index(tmp_path, monkeypatch):
    embeddings, ids = clustered(2000), np.arange(2000) + 5
    build_index(embeddings, tmp_path / "index", seed=3)
    build_index(embeddings, tmp_path / "again", seed=3)
    assert (tmp_path / "index").read_bytes() == (tmp_path / "again").read_bytes()
    index, exact = open_index(tmp_path / "index"), nearest_neighbors(embeddings, ids, k=5)
    assert index.nlist == index.nprobe == 51  # 2000 // 39; all of them are looked into, so nothing is missed
    assert recall(embeddings, ids, index, k=5, sample=200) == 1
    pd.testing.assert_frame_equal(nearest_neighbors(embeddings, ids, k=5, index=index), exact)

    monkeypatch.setattr(module, "PROBES", 2)
    few = open_index(tmp_path / "index")
    found = nearest_neighbors(embeddings, ids, k=5, index=few)
    assert len(found) == 5 * 2000  # lists too short for k neighbors are made good
    hits = len(exact.merge(found, on=["image_id", "neighbor_id"])) / len(exact)
    assert recall(embeddings, ids, few, k=5, sample=2000) == pytest.approx(hits, abs=1e-3)
    assert 0.3 < hits < 1
    both = exact.merge(found, on=["image_id", "neighbor_id"])
    assert both["similarity_x"].equals(both["similarity_y"])  # exact, whoever found it


def test_an_index_of_few_images(tmp_path):
    build_index(EMBEDDINGS, tmp_path / "index")
    table = nearest_neighbors(EMBEDDINGS, IDS, k=4, index=open_index(tmp_path / "index"))
    pd.testing.assert_frame_equal(table, nearest_neighbors(EMBEDDINGS, IDS, k=4))


@pytest.mark.slow
def test_faiss_and_torch_live_in_one_process():
    """Each brings an OpenMP runtime; a clash ends in an abort or a hang. Other tests import torch first."""
    code = """
import faiss
import numpy as np
import torch
from orl_explore.neighbors import nearest_neighbors
x = torch.randn(600, 64, generator=torch.Generator().manual_seed(0))
y = x @ x.T
assert len(nearest_neighbors(x.numpy(), np.arange(600), k=3)) == 1800
assert torch.equal(x @ x.T, y)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_nearest_to():
    embeddings = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], np.float32)
    found = library.nearest_to(np.array([5.0, 0]), embeddings, np.array([10, 20, 30, 40]), k=3)
    assert found["neighbor_id"].tolist() == [10, 40, 30]
    assert found["similarity"].tolist() == pytest.approx([1, 1, 0.6])
    for bad in ([0.0, 0], [np.nan, 1], [1.0, 0, 0]):
        with pytest.raises(OrlError):
            library.nearest_to(np.array(bad), embeddings, np.arange(4))


def test_hubs_and_duplicates():
    table = pd.DataFrame(
        [(1, 2, 0.99), (2, 1, 0.99), (3, 2, 0.97), (4, 3, 0.995)], columns=["image_id", "neighbor_id", "similarity"]
    )
    assert library.hubs(table).to_numpy().tolist() == [[2, 2], [1, 1], [3, 1]]
    pairs = library.duplicate_pairs(table, threshold=0.98)
    assert pairs[["first", "second"]].to_numpy().tolist() == [[3, 4], [1, 2]]
    assert len(pairs) == diagnostics.near_duplicates(table, threshold=0.98)
    assert len(library.duplicate_pairs(table, threshold=1.0)) == 0


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from([3, 7, 64]), st.sampled_from([0.0, 0.5, 0.9, 0.98]))
def test_near_duplicates_of_the_whole_set(seed, count, block, threshold):
    """Each pair once, in whatever blocks, copies included."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, 3)).astype(np.float32)[rng.integers(0, count, count)]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(count, 1)]
    if (abs(cosines - threshold) < 1e-5).any():
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "NEAR", block)
        assert count_near_duplicates(3 * vectors, threshold=threshold) == (cosines > threshold).sum()
