"""Turning maps onto each other, and the measures of it."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.maps.alignment import found_again, moved, nearest_points, neighbors_kept, neighbors_shared, procrustes


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)


@pytest.mark.parametrize("mirror", [1, -1])
def test_a_turned_mirrored_scaled_and_moved_map_comes_back(points, mirror):
    turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]]) @ np.diag([1, mirror])
    other = 3 * points @ turn + [5, -2]
    np.testing.assert_allclose(procrustes(other, points), points, atol=1e-5)


def test_only_some_rows_decide(points):
    other = points @ np.array([[0, 1], [-1, 0]])
    other[100:] = 0
    rows = np.arange(200) < 100
    np.testing.assert_allclose(procrustes(other, points, rows)[:100], points[:100], atol=1e-5)


def test_points_in_one_place_are_no_error():
    np.testing.assert_array_equal(procrustes(np.zeros((5, 2)), np.full((5, 2), 3.0)), np.full((5, 2), 3))


def test_nearest_points_by_hand():
    line = np.c_[[0.0, 1.0, 3.0, 7.0], np.zeros(4)]
    assert nearest_points(line, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert nearest_points(line, 50).shape == (4, 3)
    assert (nearest_points(np.zeros((30, 2)), 4) != np.arange(30)[:, None]).all()


def test_shares_by_hand():
    wanted, found = np.array([[1, 2], [0, 3], [4, 5]]), np.array([[2, 9, 1], [8, 9, 0], [0, 1, 2]])
    assert found_again(wanted, found).tolist() == [1, 0.5, 0]


def test_a_map_shares_its_neighbors_with_itself_and_with_no_shuffled_one(points):
    assert neighbors_shared(points, points).min() == 1
    shuffled = np.random.default_rng(1).permutation(points)
    assert neighbors_shared(points, shuffled).mean() == pytest.approx(50 / 199, abs=0.03)
    assert neighbors_kept(nearest_points(points, 15), points).min() == 1


def test_how_far_regions_moved():
    square = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    np.testing.assert_allclose(moved(square, square + np.array([0.5, 0])), 0.5)
