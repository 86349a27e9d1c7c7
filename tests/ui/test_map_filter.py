"""Which regions stand out on the map."""

from __future__ import annotations

import numpy as np
import pytest

from flat_maps import flat_layout
from orl_explore.figures import region_facts
from orl_explore.images.labels import NAMELESS
from orl_explore.maps import object_map
from orl_explore.runs.reviews import Pair, save_review
from orl_explore.runs.selections import save_selection
from orl_explore.ui import map_filter, point_map, state

PAGE = "object_map"


@pytest.fixture
def run(run, monkeypatch):
    """A finished run with a map, a selection and two reviews."""
    monkeypatch.setattr(object_map, "umap_layout", flat_layout)
    object_map.make_object_map(run)
    save_selection(run, "a, b", [1, 5, 9])
    pairs = run.read("pairs")
    for row, (verdict, note) in enumerate([("accepted", "#seen"), ("rejected", "#odd #seen")]):
        names = ("image_id", "neighbor_id", "query_region", "key_region")
        save_review(run, Pair(*(int(pairs[name].iloc[row]) for name in names)), verdict=verdict, note=note)
    return run


def passing(run, *chosen):
    ids = np.arange(run.count("regions"))
    facts = region_facts.region_facts(run, ids, state.images(run), run.read("regions"))
    facts = facts.assign(label=region_facts.labels_of(facts, state.images(run)))
    return np.flatnonzero(map_filter.passing(run, list(chosen), facts)), facts["label"]


def test_what_passes(run):
    first, second = (set(run.read("pairs")[["query_region", "key_region"]].iloc[row]) for row in (0, 1))
    category = run.read("objects")["category"].iloc[0]
    found, labels = passing(run, map_filter.of_category(category))
    assert (labels[found] == category).all()
    assert len(found) == (labels == category).sum() > 0
    assert passing(run, "selection:a, b")[0].tolist() == [1, 5, 9]
    assert set(passing(run, "verdict:accepted")[0]) == first
    assert set(passing(run, "tag:seen")[0]) == first | second
    assert set(passing(run, "tag:seen", "verdict:rejected")[0]) == second  # of both kinds
    two = passing(run, "category:unlabeled", map_filter.of_category(category))[0]  # of either category
    assert len(two) == (labels.isin([category, "unlabeled"])).sum()
    assert map_filter.passing(run, [], None) is None


def test_the_address_and_the_field(run, visit, monkeypatch):
    drawn = []
    monkeypatch.setattr(point_map, "show", lambda data, *, key: drawn.append(data))
    objects = run.read("objects")
    names = objects["category"].unique()
    run.write("objects", objects.replace({"category": {names[0]: "", names[1]: "=SUM(1), $x$"}}))
    app = visit(show=r"category:=SUM(1)\, $x$,selection:a\, b")
    field = app.multiselect(key=f"object map show {run.path}")
    assert field.options[0] == NAMELESS
    assert field.value == [r"category:=SUM(1), $x$", "selection:a, b"]
    assert not app.warning
    field.set_value([map_filter.of_category(NAMELESS)]).run()
    assert "".join(app.query_params["show"]) == f"category:{NAMELESS}"
    assert drawn[-1]["names"] == [NAMELESS]
    assert drawn[-1]["counts"][0] + drawn[-1]["outside"] == run.count("regions")
    field.set_value([]).run()
    assert "show" not in app.query_params
    assert drawn[-1]["outside"] == 0


def test_what_is_typed_wrong(run, visit):
    app = visit(show="category:unicorn,taste:sweet,nothing")
    assert [box.value.split(" is of ")[1][:6] for box in app.warning] == ["catego", "taste\\", "nothin"]
    assert app.multiselect(key=f"object map show {run.path}").value == []


@pytest.mark.parametrize("color", ["similarity", "size", "shared", "in:a, b", "image"])
def test_every_color_of_a_few_regions(run, visit, color):
    app = visit(show=r"selection:a\, b", color=color, region=5)
    assert "3 of selection" in "".join(text.value for text in app.markdown)
