"""The regions most similar to one."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.maps import similar_regions
from orl_explore.maps.similar_regions import most_similar


@pytest.mark.parametrize("block", [3, 1000])
def test_most_similar(monkeypatch, block):
    monkeypatch.setattr(similar_regions, "BLOCK", block)
    angles = np.array([0.0, 0.5, 0.1, 3.0, 0.1])
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    found = most_similar(vectors, 0, count=3)
    assert found["region_id"].tolist() == [2, 4, 1]  # of equals, the first one; never itself
    np.testing.assert_allclose(found["similarity"], np.cos([0.1, 0.1, 0.5]), rtol=1e-5)
    assert len(most_similar(vectors, 0, count=99)) == 4
    np.testing.assert_allclose(similar_regions.similarities(vectors, 1, np.array([3, 1])), np.cos([2.5, 0]), rtol=1e-5)
