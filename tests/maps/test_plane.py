"""The first two principal components."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.maps import plane


def test_plane_keeps_the_widest_directions_and_its_signs():
    x = np.array([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])
    assert plane.plane(x) == pytest.approx(x[:, :2], abs=1e-9)
    assert plane.plane(np.array([[1.0], [3.0]])).shape == (2, 2)
