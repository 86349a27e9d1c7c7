"""The object map in pictures: groups, values, images."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orl_explore.figures import object_map as map_figures
from orl_explore.judging import diagnostics


def points(labels):
    count = len(labels)
    numbers = np.arange(count)
    columns = {"region_id": numbers, "x": numbers, "y": numbers, "image_id": numbers // 2, "w": 9, "h": 8}
    return pd.DataFrame(columns | {"label": labels, "cluster": numbers % 3, "share": numbers})


def test_groups_differ_in_color_or_symbol_and_names_are_no_html():
    labels = [f"<b>{number}" for number in range(20)] + [diagnostics.UNLABELED] * 3
    made = map_figures.by_group(points(labels), "label")
    looks = [(trace.marker.color, trace.marker.symbol) for trace in made.data]
    assert len(set(looks)) == 21
    assert made.data[0].name == "unlabeled (3)"
    assert not any("<b>" in trace.name or "<b>" in str(trace.text) for trace in made.data if trace.name)
    drawn = [int(facts[0]) for trace in made.data if trace.customdata is not None for facts in trace.customdata]
    assert sorted(drawn) == list(range(23))


def test_many_groups_share_one_gray():
    made = map_figures.by_group(points([f"kind {number}" for number in range(40)]), "label")
    assert made.data[0].name == f"{map_figures.OTHERS} ({40 - map_figures.GROUPS})"
    assert len(made.data) == map_figures.GROUPS + 1


def test_values_and_images():
    made = map_figures.by_value(points(["a"] * 10), "share", "size")
    assert list(made.data[0].marker.color) == list(range(10))
    made = map_figures.by_image(points(["a"] * 10), 1, {2: 0.9})
    assert {trace.name: trace.customdata[:, 0].tolist() for trace in made.data} == {
        "all other images (6)": [0, 1, 6, 7, 8, 9],
        "its neighbors (2)": [4, 5],
        "this image (2)": [2, 3],
    }
