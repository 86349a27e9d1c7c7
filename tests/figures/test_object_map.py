"""The object map in pictures: groups, values, images."""

from __future__ import annotations

import base64
import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orl_explore.figures import object_map as map_figures
from orl_explore.judging import diagnostics


def points(labels):
    count = len(labels)
    numbers = np.arange(count)
    columns = {"region_id": numbers, "x": numbers, "y": numbers, "image_id": numbers // 2, "w": 9, "h": 8}
    return pd.DataFrame(columns | {"label": labels, "cluster": numbers % 3, "share": numbers})


def lab(color):
    """CIE L*a*b* of #rrggbb."""
    rgb = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ linear / [0.9505, 1, 1.089])  # none of these colors is dark enough for the other branch
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_twelve_colors_can_be_told_apart():
    """A difference of 2.3 can just be seen side by side; these are ten times as far from each other."""
    pairs = itertools.combinations([lab(color) for color in (*map_figures.COLORS, "#8A939B")], 2)
    assert len(set(map_figures.COLORS)) == 12
    assert min(np.linalg.norm(one - other) for one, other in pairs) > 23


def test_twelve_groups_have_a_color_each_and_names_are_no_html():
    labels = [f"<b>{number}" for number in range(12)] + [diagnostics.UNLABELED] * 3
    made = map_figures.by_group(points(labels), "label")
    assert len({trace.marker.color for trace in made.data}) == 13
    assert made.data[0].name == "(unlabeled) (3)"
    assert not any("<b>" in trace.name or "<b>" in str(trace.text) for trace in made.data if trace.name)
    drawn = [int(facts[0]) for trace in made.data if trace.customdata is not None for facts in trace.customdata]
    assert sorted(drawn) == list(range(15))


def test_of_many_groups_the_ten_largest_and_all_others():
    labels = [f"kind {number}" for number in range(40) for _ in range(1 + (number in (3, 30)))] + [
        diagnostics.UNLABELED
    ] * 50
    coloring = map_figures.coloring_of_groups(pd.Series(labels), "category")
    assert len(coloring.names) == 12
    assert coloring.names[-2:] == ["(other)", "(unlabeled)"]
    assert {"kind 3", "kind 30"} < set(coloring.names)
    assert np.bincount(coloring.codes)[-2:].tolist() == [30, 50]
    assert len(set(coloring.colors)) == 12
    assert [coloring.names[code] for code in coloring.codes[-50:]] == [diagnostics.UNLABELED] * 50


def test_a_category_that_is_called_other():
    labels = ["other"] * 50 + [f"kind {number}" for number in range(40)]
    coloring = map_figures.coloring_of_groups(pd.Series(labels), "category")
    assert len(set(coloring.names)) == len(coloring.names)
    assert np.bincount(coloring.codes)[coloring.names.index("other")] == 50


def test_a_scale_of_values():
    coloring = map_figures.coloring_of_values(np.array([0.0, 0.5, 1.0, 7.0, -1.0]), "similarity", limits=(0, 1))
    assert coloring.codes.tolist() == [0, 32, 63, 63, 0]
    assert coloring.limits == (0, 1)
    assert len(coloring.colors) == 64
    assert lab(coloring.colors[0])[0] < lab(coloring.colors[32])[0] < lab(coloring.colors[63])[0]
    assert map_figures.coloring_of_values(np.full(5, 2.0), "same").codes.max() < 64


def test_an_image_and_its_neighbors():
    coloring = map_figures.coloring_of_image(pd.Series([4, 5, 6, 4]), 4, [6])
    assert [coloring.names[code] for code in coloring.codes] == [
        *("this image", "all other images", "its neighbors", "this image")
    ]


def test_values_and_images():
    made = map_figures.by_value(points(["a"] * 10), "share", "size")
    assert list(made.data[0].marker.color) == list(range(10))
    made = map_figures.by_image(points(["a"] * 10), 1, {2: 0.9})
    assert {trace.name: trace.customdata[:, 0].tolist() for trace in made.data} == {
        "all other images (6)": [0, 1, 6, 7, 8, 9],
        "its neighbors (2)": [4, 5],
        "this image (2)": [2, 3],
    }


def test_numbered_groups_are_in_the_order_of_their_numbers_and_what_is_in_none_is_gray():
    column = pd.Series(["cluster 10", "cluster 2", "none", "cluster 1", "9", "none"])
    made = map_figures.coloring_of_groups(column, "t", none="none")
    assert made.names == ["9", "cluster 1", "cluster 2", "cluster 10", "none"]
    assert made.colors[-1] == "#B9C0C6"


@settings(max_examples=30)
@given(arrays(np.int64, st.integers(1, 5), elements=st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 2**33)))
def test_ids_reach_the_browser_as_they_are(ids):
    table = points(["a"] * len(ids)).assign(image_id=ids)
    (trace,) = json.loads(map_figures.by_group(table, "label").to_json())["data"]
    sent = trace["customdata"]
    if isinstance(sent, dict):
        sent = np.frombuffer(base64.b64decode(sent["bdata"]), sent["dtype"]).reshape(-1, 4).tolist()
    assert [int(row[1]) for row in sent] == ids.tolist()


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "codes", "limits"),
    [
        ([0, NAN, 1], [0, 64, 63], (0.01, 0.99)),
        ([0, INF, 1, -INF], [0, 63, 63, 0], (0.01, 0.99)),
        ([2, 2, NAN], [0, 0, 64], (2, 2)),
        ([NAN, NAN], [64, 64], (0, 1)),
        ([False, True], [0, 63], (0.01, 0.99)),
        (pd.Series([1, None, 2], dtype="Int64"), [0, 64, 63], (1.01, 1.99)),
        ([], [], (0, 1)),
    ],
)
def test_what_has_no_value_is_gray_and_named(values, codes, limits):
    made = map_figures.coloring_of_values(values, "t")
    assert made.codes.tolist() == codes
    assert made.limits == pytest.approx(limits)
    assert made.names == (["(no value)"] if 64 in codes else [])
    assert len(made.colors) == 64 + len(made.names)
    if codes:
        table = points(["a"] * len(codes)).assign(value=values)
        drawn = {trace.name: len(trace.x) for trace in map_figures.by_value(table, "value", "t").data}
        without = codes.count(64)
        assert drawn == ({f"(no value) ({without})": without} if without else {}) | {
            f"t ({len(codes) - without})": len(codes) - without
        }


def test_no_two_entries_of_a_legend_have_one_name():
    labels = ["(other)"] * 30 + [f"kind {number}" for number in range(40)] + ["(unlabeled)"]
    made = map_figures.coloring_of_groups(pd.Series(labels), "category")
    assert made.names[-2:] == ["(other) than these", "(unlabeled)"]
    assert len(set(made.names)) == len(made.names) == len(made.colors) == 12
    other = next(trace for trace in map_figures.by_group(points(labels), "label").data if trace.name == "(other) (30)")
    assert other.marker.opacity == 0.85
    assert other.marker.color in map_figures.COLORS


def test_what_is_missing_is_in_no_group():
    made = map_figures.coloring_of_groups(pd.Series(["a", None, np.nan, "b"], dtype=object), "t", none="no value")
    assert made.names == ["a", "b", "no value"]
    assert made.codes.tolist() == [0, 2, 2, 1]
