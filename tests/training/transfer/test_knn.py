"""kNN accuracy by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from training.transfer import knn


def test_knn_votes_can_all_weigh_the_same(setup, monkeypatch):
    # Nearest first: a, b, b. Weighted sharply a wins, counted b.
    train = np.array([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6]])
    data = type("Data", (), {"labels": np.array(list("abba"), object), "test": np.array([False] * 3 + [True])})()
    data.crops = pd.DataFrame({"image_id": range(4)})
    monkeypatch.setattr(knn, "embed_crops", lambda *_: np.vstack([train, [[1.0, 0.0]]]))
    found = {
        temperature: knn.judge(None, data, knn.KnnSettings(image_size=8, k=(3, 1), temperature=temperature), setup)
        for temperature in (0.07, 0.0)
    }
    assert found[0.07]["accuracy_by_k"] == {"3": 1.0, "1": 1.0}
    assert found[0.0]["accuracy_by_k"] == {"3": 0.0, "1": 1.0}
    assert found[0.0]["accuracy"] == 0.0  # that of the first k
