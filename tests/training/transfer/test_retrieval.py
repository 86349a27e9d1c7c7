"""Object retrieval by hand."""

from __future__ import annotations

import types

import numpy as np
import pandas as pd
import pytest

from training.transfer import retrieval


def test_retrieval_by_hand():
    # The query points along the first axis; crops of other images are ranked by that coordinate: a, b, a.
    x = np.array([[1.0, 0], [0.9, 0], [0.8, 0], [0.7, 0], [1.0, 0]])
    labels = np.array(["a", "a", "b", "a", "a"])
    image_ids = np.array([0, 1, 1, 2, 0])  # the last one is of the query's own image: not found, however similar
    precision, share = retrieval.ranked_precision(x, labels, image_ids, np.array([0, 2]))
    assert precision[0] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert share[0] == pytest.approx(2 / 3)
    assert np.isnan(precision[1])  # no other image has a b
    assert np.isnan(share[1])


def test_categories_count_alike_however_many_crops_they_have(setup, monkeypatch):
    # Along one axis, each crop in an image of its own. Of the a at 0.9, 0.8 and 0.7 and the b at 1.0 and 0.6 ...
    x = np.array([[0.9], [0.8], [0.7], [1.0], [0.6]])
    crops = pd.DataFrame({"category": list("aaabb"), "image_id": range(5)})
    monkeypatch.setattr(retrieval, "embed_crops", lambda *_: x)
    data = types.SimpleNamespace(crops=crops, test=np.ones(5, bool))
    figures = retrieval.judge(None, data, retrieval.RetrievalSettings(image_size=8), setup)
    # ... every query ranks the b at 1.0 first (or is it): b a a, where it looks for two a, is (1/2 + 2/3) / 2.
    a = (1 / 2 + 2 / 3) / 2
    b = (1 / 4 + 1 / 1) / 2  # the other b comes last for the first, and first for the last
    assert figures["map_by_category"] == pytest.approx({"a": a, "b": b})
    assert figures["map"] == pytest.approx((a + b) / 2) != pytest.approx((3 * a + 2 * b) / 5)
