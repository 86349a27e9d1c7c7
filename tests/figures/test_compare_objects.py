"""Two encoders on the same boxes, as pictures."""

from __future__ import annotations

import pandas as pd

from orl_explore.figures import compare_objects


def test_what_changed_most_has_bars_and_the_category_is_on_top():
    names = ["<b>mug", *(f"kind {number}" for number in range(20))]
    a = [0.5, *[0.02] * 20]
    b = [0.4, *(0.02 + 0.001 * (number - 10) for number in range(20))]
    table = pd.DataFrame({"nearest": names, "a": a, "b": b}).eval("change = b - a")
    made = compare_objects.company(table.sort_values("change", ascending=False), "<b>mug")
    assert [trace.name for trace in made.data] == ["A", "B"]
    named = compare_objects.company(table, "<b>mug", ("one", "<two>"))
    assert [trace.name for trace in named.data] == ["one", "&lt;two&gt;"]
    assert made.data[0].y[0] == "&lt;b&gt;mug"
    assert len(made.data[0].y) == compare_objects.MOST
    assert "kind 10" not in made.data[0].y  # which did not change
    assert made.data[1].x[0] == 40


def test_names_that_are_numbers_or_long():
    names = ["1", "2", "a" * 40 + "1", "a" * 40 + "2"]
    table = pd.DataFrame({"nearest": names, "a": 0.2, "b": 0.3, "change": 0.1})
    made = compare_objects.company(table, "1")
    assert made.layout.yaxis.type == "category"
    assert len(set(made.data[0].y)) == 4
    assert max(map(len, made.layout.yaxis.ticktext)) == compare_objects.LONGEST
