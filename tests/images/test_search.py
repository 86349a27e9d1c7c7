"""Images found by what a person types, and what is known of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orl_explore.images.labels import Labels, labels_of
from orl_explore.images.search import find_images


def test_find_images_and_labels():
    images = pd.DataFrame(
        {"image_id": [12, 3, 120], "file_name": ["A12.jpg", "b(3).jpg", "c.jpg"], "context": ["sea", None, "sea"]}
    )
    for text, rows in {"": [0, 1, 2], "12": [0], "120": [2], "(": [1], "a1": [0], "²": [], "9" * 40: []}.items():
        assert find_images(images, text).tolist() == rows
    objects = pd.DataFrame({"category": ["cup", "bell", "cup"]})
    first, second = labels_of(images, 0, objects, np.arange(3)), labels_of(images, 1, objects, np.array([1]))
    assert first == Labels("sea", ("bell", "cup"))
    assert first.shared(second) == ("bell",)
    assert first.same_context(second) is None
    assert first.same_context(labels_of(images, 2, objects, np.arange(0))) is True
