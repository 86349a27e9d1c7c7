"""What the browser is sent."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd

from orl_explore.figures.object_map import coloring_of_groups, coloring_of_values
from orl_explore.figures.point_map import OUTSIDE, View, point_map

IDS = np.array([3, 8, 20])
VIEWS = [View("stage 1", [0.0, 1.0, 2.0], [5.0, 6.0, 7.0])]


def numbers(text, kind):
    return np.frombuffer(base64.b64decode(text), kind).tolist()


def test_groups():
    coloring = coloring_of_groups(pd.Series(["a", "a", "b"]), "category")
    data = point_map(IDS, VIEWS, coloring, labels=pd.Series(["mug", "key", "mug"]), alt="map", key="k")
    assert numbers(data["ids"], "<i4") == [3, 8, 20]
    assert numbers(data["groups"], "<u2") == [0, 0, 1]
    assert numbers(data["views"][0]["y"], "<f4") == [5, 6, 7]
    assert (data["names"], data["counts"], data["mode"]) == (["a", "b"], [2, 1], "one")
    assert numbers(data["order"], "<i4")[-1] == 2  # the smaller group lies on top
    assert [data["labels"][code] for code in numbers(data["label_of"], "<u2")] == ["mug", "key", "mug"]
    assert "scale" not in data


def test_those_that_do_not_pass_stay_back():
    coloring = coloring_of_groups(pd.Series(["mug", "key"]), "category")
    data = point_map(IDS, VIEWS, coloring, passing=np.array([True, False, True]), alt="map", key="k")
    assert numbers(data["groups"], "<u2") == [1, OUTSIDE, 0]
    assert sorted(numbers(data["order"], "<i4")) == [0, 2]
    assert (data["outside"], data["names"], data["counts"]) == (1, ["key", "mug"], [1, 1])
    nobody = coloring_of_groups(pd.Series([], dtype=object), "category")
    data = point_map(IDS, VIEWS, nobody, passing=np.zeros(3, bool), alt="map", key="k")
    assert (data["outside"], data["counts"], data["order"]) == (3, [], "")


def test_a_scale():
    coloring = coloring_of_values(np.array([0.9, 0.1, 0.5]), "similarity", limits=(0, 1))
    data = point_map(IDS, [*VIEWS, *VIEWS], coloring, mode="slide", alt="map", key="k")
    assert data["scale"] == ["0", "1"]
    assert numbers(data["order"], "<i4") == [1, 2, 0]  # the highest lie on top
    assert (data["names"], len(data["views"]), data["mode"]) == ([], 2, "slide")


def test_the_legend_begins_anew_with_other_groups():
    keys = {
        point_map(IDS, VIEWS, coloring_of_groups(pd.Series(names), "category"), alt="map", key="k")["legend_key"]
        for names in (["a", "a", "b"], ["a", "b", "b"], ["a", "a", "c"])
    }
    assert len(keys) == 2


def test_what_has_no_value_is_in_the_legend_and_lies_below():
    coloring = coloring_of_values(np.array([0.9, np.nan, 0.5]), "similarity")
    data = point_map(IDS, VIEWS, coloring, alt="map", key="k")
    assert numbers(data["order"], "<i4") == [1, 2, 0]
    assert (data["names"], data["counts"][-1], len(data["colors"])) == (["(no value)"], 1, 65)
    assert not data["groups_named"]  # names are not of the steps
