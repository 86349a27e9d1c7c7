"""Labels of images: which column counts, and what two images share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orl_explore.images import labels


def test_a_missing_category_is_none():
    objects = pd.DataFrame({"category": ["cup", None, ""]})
    found = labels.labels_of(pd.DataFrame({"image_id": [1]}), 0, objects, np.arange(3)).categories
    assert found == (labels.NAMELESS, "cup")
    assert labels.category_label(None) == labels.NO_CATEGORY


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, None),
        ({"other": ["a", "b"], "context": ["x", "y"]}, "context"),
        ({"same": ["a", "a"], "kind": ["a", "b"]}, "kind"),
        ({"score": [0.1, 0.2]}, None),
    ],
)
def test_label_column(columns, expected):
    assert labels.label_column(pd.DataFrame({"image_id": [1, 2], "file_name": ["a", "b"]} | columns)) == expected
