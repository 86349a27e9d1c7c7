"""The page Compare on objects, on small runs."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest

from orl_explore.errors import OrlError
from orl_explore.judging import objects
from orl_explore.judging.objects import Boxes
from orl_explore.ui import compare_objects, map_address, map_filter, state

PAGE = "compare"


def text(app):
    assert not app.exception
    assert not app.error
    kinds = (app.markdown, app.caption, app.info, app.warning, app.subheader)
    return "\n".join(part.value for kind in kinds for part in kind).replace("\\", "")


def test_objects_come_first(embedded, visit):
    app = visit()
    shown = text(app)
    count = len(embedded.read("regions"))
    assert f"{count:,} boxes that both have embedded. A: stage 1, images. B: stage 3, objects." in shown
    for figure in (objects.NEAREST, objects.KNN, objects.PROBE):
        assert f"| {figure} |" in shown
    (table,) = app.dataframe
    assert set(table.value["category"]) <= set(embedded.read("objects")["category"])
    assert re.search(r"B \(stage 3, objects\) knows .* than A \(stage 1, images\)", shown)
    assert "nearest boxes are kept from A to B" in shown
    names = {button.label for button in app.get("download_button")} if app.get("download_button") else set()
    assert names <= {"CSV"}


@pytest.mark.slow
def test_the_category_and_the_box_of_the_address(embedded, visit):
    category = visit().dataframe[0].value["category"].iloc[-1]
    region = int(embedded.read("regions")["region_id"].iloc[5])
    app = visit(category=category, region=region)
    shown = text(app)
    assert f"What changed about {category}" in shown
    assert f"**Region {region}**" in shown
    choice = next(box for box in app.selectbox if box.label == "Category")
    other = next(name for name in choice.options if name != category)
    app = choice.set_value(other).run()
    assert f"What changed about {other}" in text(app)
    assert np.ravel(app.query_params["category"])[0] == other
    for wanted in ("unicorn", ""):
        assert f"No box is on an object called '{wanted}': " in text(visit(category=wanted))


@pytest.mark.slow
def test_a_look_at_another_box(embedded, visit):
    app = visit()
    (button, *_) = [button for button in app.button if str(button.key).startswith("compare look at B")]
    region = int(button.help.split()[-1])
    assert f"**Region {region}**" in text(button.click().run())


def test_regions_that_are_not_embedded(run, visit):
    shown = text(visit())
    assert f"orl embed-regions {run.path} --encoder stage3" in shown  # stage 2 mined with that of stage 1
    shown = text(visit(a="random", b="stage3"))
    assert f"orl embed-regions {run.path} --encoder untrained stage3" in shown


def test_no_labels(embedded, visit):
    embedded.write("objects", embedded.read("objects").iloc[:0])
    shown = text(visit())
    assert "no annotations" in shown
    assert "What moved most" in shown


def test_words():
    rng = np.random.default_rng(0)
    labels = np.array(["mug", "vase"], object)[np.arange(400) % 2]
    kinds = {"mug": rng.normal(size=8), "vase": rng.normal(size=8)}
    b = np.array([kinds[name] for name in labels]) + 0.1 * rng.normal(size=(400, 8))
    a = rng.normal(size=(400, 8))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    near = objects.neighborhoods(Boxes(np.arange(400), np.arange(400) // 4, labels, a, b))
    mug = objects.by_category(near, None).set_index("category", drop=False).loc["mug"]
    said = compare_objects.sentence(near, mug, ("one", "two"))
    assert said.startswith(
        "B (two) knows mug better than A (one) by its nearest boxes. Of the 10 nearest boxes of one,"
    )
    change = compare_objects.percent(mug["nearest_change"], mug["nearest_error"], signed=True)
    assert f"a change of {change} points, over 200 boxes." in said  # as the table has it
    assert "10.0 by B" in said
    assert "fewer are vase (" in said
    same = objects.neighborhoods(Boxes(np.arange(400), np.arange(400) // 4, labels, a, a))
    mug = objects.by_category(same, None).set_index("category", drop=False).loc["mug"]
    assert compare_objects.sentence(same, mug, ("one", "two")).startswith("Nothing shows that B (two) knows mug better")
    for change, words in (
        ({"asked": 30}, "over 30 of its 200 boxes"),
        ({"nearest_error": np.nan}, "The boxes on mug are of one image"),
        ({"nearest_change": np.nan, "asked": 0}, "None of the 200 boxes on mug is among those"),
    ):
        assert words in compare_objects.sentence(same, pd.Series({**mug, **change}), ("one", "two"))


def test_a_verdict_is_by_all_figures_that_are_clear():
    row = {"category": "pot", "nearest_change": 0.01, "nearest_error": 0.01, "knn_change": -0.2, "knn_error": 0.05}
    row |= {"linear_change": 0.2, "linear_error": 0.07}
    assert compare_objects.verdict(pd.Series(row), ("one", "two")) == (
        "B (two) knows pot better than A (one) by the linear probe, less well than A (one) by kNN."
    )
    row |= {"nearest_change": 0.03, "knn_change": 0.2}
    said = compare_objects.verdict(pd.Series(row), ("one", "two"))
    assert said == "B (two) knows pot better than A (one) by its nearest boxes, kNN and the linear probe."


NAMES = ("background", "=SUM(1)", "<b>x</b>", "$x$", "a" * 60, "🚢", "", "other", "a,b", "1", "unlabeled")


@pytest.mark.slow
def test_categories_of_any_name(embedded, visit):
    table = embedded.read("objects")
    codes = pd.factorize(table["category"])[0]
    embedded.write("objects", table.assign(category=[NAMES[code % len(NAMES)] for code in codes]))
    categories = visit().dataframe[0].value["category"].tolist()
    assert "" not in categories
    for category in categories:
        app = visit(category=category)
        shown = text(app)
        assert f"#### What changed about {category}" in shown
        assert "No box is on" not in shown
        (link,) = app.get("page_link")
        query = parse_qs(link.proto.query_string)
        assert map_address.names_in(query["show"][0]) == [map_filter.of_category(category)]
        assert (query["encoder"], query["versus"], query["color"]) == (["stage1"], ["stage3"], ["label"])


def test_a_category_of_which_no_box_was_asked(embedded, visit, monkeypatch):
    monkeypatch.setattr(objects, "some_boxes", lambda boxes, **limits: boxes.on_objects[:1])
    table = visit().dataframe[0].value
    assert "None of the" in text(visit(category=table["category"].iloc[-1]))


def test_figures_as_text():
    table = compare_objects.figures_table({"x": objects.Change(0.25, 0.5, 0.01, 0.02, 0.015, float("nan"), 1234)})
    expected = {"A": "25.0 ± 1.0", "B": "50.0 ± 2.0", "change": "+25.0 ± 1.5", "of": "1,234"}
    pd.testing.assert_frame_equal(table, pd.DataFrame([expected], index=["x"]))


def test_boxes_of_lost_images_are_counted(embedded, visit, monkeypatch):
    def read(run, image_id, **given):
        raise OrlError("gone")

    monkeypatch.setattr(state, "thumbnail", read)
    shown = text(visit())
    counts = [tuple(map(int, found)) for found in re.findall(r"cannot be read any more: (\d+) of (\d+)\.", shown)]
    assert len(counts) == 2  # of those that moved most, and of one box with its nearest ones
    assert all(unread == of > 1 for unread, of in counts)
