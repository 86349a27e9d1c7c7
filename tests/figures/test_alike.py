"""Pictures of two crops place by place."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from orl_explore.figures import alike as figures
from orl_explore.judging import alike
from orl_explore.judging.alike import FeatureMap


@pytest.fixture(scope="module")
def maps():
    nothing, rng = np.zeros(1, np.float32), np.random.default_rng(0)
    shapes = ((3, 4, 8), (2, 2, 8))
    return [FeatureMap(rng.normal(size=shape).astype(np.float32), nothing, 0, nothing, 0) for shape in shapes]


CROPS = [Image.new("RGB", (30, 20), "red"), Image.new("RGB", (20, 40), "blue")]


def test_a_place_and_its_best_match(maps):
    made = figures.similar_places(CROPS, maps, (0.9, 0.1))
    heat = next(trace for trace in made.data if trace.type == "heatmap")
    np.testing.assert_allclose(heat.z, alike.similarity_to(maps[0], 0, 3, maps[1]))
    row, column = alike.best_match(np.array(heat.z))
    assert made.data[-1].x[0] == pytest.approx(heat.x[column])
    assert made.data[-1].y[0] == pytest.approx(heat.y[row])
    assert made.data[-1].name == f"best match, {np.max(heat.z):.3f}"


def test_shares_are_on_one_scale(maps):
    made = figures.shares(CROPS, maps)
    first, second = (trace for trace in made.data if trace.type == "heatmap")
    assert first.zmax == second.zmax == -first.zmin
    total = alike.cosine(maps[0].mean, maps[1].mean)
    assert np.sum(first.z) == pytest.approx(total)
    assert made.layout.title.text == f"shares of the cosine, {total:.3f}"


def test_pca_colors(maps):
    made = figures.pca_colors(CROPS, maps, title="stage 1")
    assert len(made.layout.images) == 2
    assert made.layout.title.text == "stage 1"
