"""Object retrieval by hand."""

from __future__ import annotations

import numpy as np
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
