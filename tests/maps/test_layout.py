"""The layout: exact neighbors, UMAP itself, progress that moves, and a place for what Numba compiles."""

from __future__ import annotations

import subprocess
import sys
import time
import types

import numpy as np
import pytest
import torch
from numba.core.dispatcher import Dispatcher

from orl_explore.maps import alignment, layout
from orl_explore.maps.layout import feature_neighbors, umap_layout

SETTINGS = {"neighbors": 15, "min_dist": 0.1, "metric": "cosine", "seed": 0}


def unit(count, dim=8, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "correlation"])
def test_neighbors_by_hand(metric):
    vectors = unit(2500)
    ids, cosines = feature_neighbors(vectors, 7, metric=metric)
    rows = vectors - vectors.mean(axis=1, keepdims=True) if metric == "correlation" else vectors
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scores = rows[[0, 1030, 2499]] @ rows.T
    for row, wanted in zip((0, 1030, 2499), scores, strict=True):
        wanted[row] = -2
        np.testing.assert_array_equal(ids[row], np.argsort(-wanted)[:7])
        np.testing.assert_allclose(cosines[row], np.sort(wanted)[::-1][:7], atol=1e-5)


def test_neighbors_among_equal_rows_never_are_the_row_itself():
    ids, cosines = feature_neighbors(np.repeat(unit(2), 40, axis=0), 5)
    assert ids.shape == (80, 5)
    assert (ids != np.arange(80)[:, None]).all()
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    assert feature_neighbors(unit(4), 15)[0].shape == (4, 3)


def test_of_much_work_neighbors_are_those_of_the_first_components(monkeypatch):
    vectors = unit(600, dim=12)
    vectors[:, 8:] *= 0.01
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    exact = feature_neighbors(vectors, 10)[0]
    monkeypatch.setattr(layout, "EXACT", 1e6)
    monkeypatch.setattr(layout, "REDUCED", 8)
    found = feature_neighbors(vectors, 10)[0]
    assert alignment.found_again(exact, found).mean() > 0.9


@pytest.mark.slow  # Numba compiles
@pytest.mark.parametrize("count", [5, 120])
def test_umap_itself(count):
    seen = []
    found = umap_layout(unit(count), **SETTINGS, progress=lambda done, total: seen.append((done, total)))
    assert found.points.shape == (count, 2)
    assert np.isfinite(found.points).all()
    assert seen[0] == (0, 100)
    assert seen[-1] == (100, 100)
    assert seen == sorted(set(seen))
    np.testing.assert_array_equal(found.points, umap_layout(unit(count), **SETTINGS).points)


@pytest.mark.slow
def test_the_time_left_is_told_within_a_factor_of_two():
    """What the share that is behind promises, at any time from a third of the way on, against what was left."""
    umap_layout(unit(100), **SETTINGS)  # compiles
    seen, began = [], time.process_time()
    umap_layout(
        unit(12_000, dim=256), **SETTINGS, progress=lambda done, _: seen.append((done, time.process_time() - began))
    )
    whole = seen[-1][1]
    for done, seconds in seen:
        if 30 <= done < 95:
            assert 0.5 < (seconds / done * (100 - done)) / (whole - seconds) < 2, (done, seconds, whole)


@pytest.mark.slow
def test_unchanged_features_keep_their_places():
    """The measure of the alignment: of features with a little noise, a map that begins at and is turned onto the first.

    Of 15 nearest on one map, how many are among the 50 nearest on the other; and how far a region moves.
    """
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(30, 24))
    vectors = (centers[rng.integers(0, 30, 2000)] + 0.6 * rng.normal(size=(2000, 24))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    noisy = vectors + 0.02 * rng.normal(size=vectors.shape).astype(np.float32)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    first = umap_layout(vectors, **SETTINGS).points
    second = umap_layout(noisy, **SETTINGS, init=first).points
    aligned = alignment.procrustes(second, first)
    assert alignment.neighbors_shared(first, aligned).mean() > 0.5
    assert np.median(alignment.moved(first, aligned)) < 0.2
    alone = umap_layout(unit(2000, dim=24), **SETTINGS).points  # other features have other neighbors
    assert alignment.neighbors_shared(first, alone).mean() < 0.1


class Greedy:
    """A layout for which PyTorch gets more threads, as Numba does it at its first parallel function."""

    def __init__(self, **_: object): ...

    def fit_transform(self, vectors):
        torch.set_num_threads(3)
        return vectors[:, :2]


class Stopped(Greedy):
    def fit_transform(self, vectors):
        super().fit_transform(vectors)
        raise KeyboardInterrupt


def test_pytorch_keeps_its_threads(monkeypatch):
    monkeypatch.setattr(layout, "_umap", lambda: types.SimpleNamespace(UMAP=Greedy))
    umap_layout(unit(20), **SETTINGS)
    assert torch.get_num_threads() == 1
    monkeypatch.setattr(layout, "_umap", lambda: types.SimpleNamespace(UMAP=Stopped))
    with pytest.raises(KeyboardInterrupt):
        umap_layout(unit(20), **SETTINGS)
    assert torch.get_num_threads() == 1


@pytest.mark.slow
def test_what_umap_compiles_is_kept_for_the_next_process():
    umap_layout(unit(120), **SETTINGS)
    umap = layout._umap()
    functions = [*vars(umap.umap_).values(), *vars(umap.layouts).values()]
    compiled = [it for it in functions if isinstance(it, Dispatcher) and it.signatures]
    compiled = {it.__name__: it.stats for it in compiled if it.__module__ != "umap.utils"}  # those it compiles at once
    assert {"smooth_knn_dist", "compute_membership_strengths"} <= set(compiled)
    assert all(stats.cache_hits or stats.cache_misses for stats in compiled.values()), compiled


SCRIPT = """
from pathlib import Path
import numba
from numba.core import caching, dispatcher
from orl_explore.maps.layout import _umap

caching.CacheImpl._locator_classes = [caching.UserProvidedCacheLocator]  # nowhere to write, unless somebody says so
compile = dispatcher.Dispatcher.compile

def compile_for_calls(self, signature):
    if isinstance(signature, tuple):  # else it is compiled beforehand: all that is would take half a minute
        return compile(self, signature)

dispatcher.Dispatcher.compile = compile_for_calls
dispatcher.Dispatcher.disable_compile = lambda *_: None
name = _umap().__name__
print(name, numba.config.CACHE_DIR, any(Path(numba.config.CACHE_DIR).rglob("*.nbi")))
"""


@pytest.mark.slow
def test_without_a_place_for_what_is_compiled():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("umap "), done.stderr
    assert "orl-numba-" in done.stdout
    assert done.stdout.endswith(" True\n")  # what was compiled is there
