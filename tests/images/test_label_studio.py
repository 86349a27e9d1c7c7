"""Label Studio's results: each is an object, a label, counted or told."""

from __future__ import annotations

import pytest

from export_files import add_up, pictures, write
from orl_explore.images.opening import open_images

SIDES = {"x": 25, "y": 25, "width": 50, "height": 50}
POINTS = "that are points or lines, which have no box"
UNREAD = "of a kind that is not read"


def open_results(folder, *results, data=None, **more):
    pictures(folder / "a.jpg", folder / "b.jpg")
    tasks = [
        {"data": {"image": f"{name}.jpg", **(data or {})}, "annotations": [{"result": list(results)}], **more}
        for name in "ab"
    ]
    images = open_images([write(folder / "a.json", tasks)])
    add_up(images)
    return images


@pytest.mark.parametrize(
    ("value", "left_out"),
    [
        ({"rle": [1, 2], "brushlabels": ["a"]}, UNREAD),
        ({"x": 3, "y": 4, "width": 1, "keypointlabels": ["a"]}, POINTS),
        ({"vertices": [{"x": 1, "y": 2}], "vectorlabels": ["a"]}, POINTS),
        ({"x": 3, "y": "?", "width": 1, "height": 2, "rectanglelabels": ["a"]}, "without a box of four numbers"),
    ],
)
def test_regions_without_a_box_are_counted(tmp_path, value, left_out):
    images = open_results(tmp_path, {"value": {**SIDES, "rectanglelabels": ["a"]}}, {"value": value})
    assert images.objects["category"].tolist() == ["a", "a"]
    assert {one.what: one.count for one in images.findings.left_out} == {left_out: 2}


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ({"choices": ["street"]}, "street"),
        ({"choices": ["street", "wet"]}, "street, wet"),
        ({"text": ["a street", "in rain"]}, "a street, in rain"),
        ({"text": "a street"}, "a street"),
        ({"taxonomy": [["place", "street"], ["wet"]]}, "place/street, wet"),
        ({"rating": 4}, 4),
        ({"number": 2.5}, 2.5),
    ],
)
def test_answers_become_columns(tmp_path, value, label):
    images = open_results(tmp_path, {"from_name": "source", "value": value}, data={"city": "Bern"})
    assert images.table["source_label"].tolist() == [label] * 2
    assert images.table["city"].tolist() == ["Bern"] * 2
    assert "image" not in images.table


def test_what_is_no_label_is_told(tmp_path):
    images = open_results(
        tmp_path,
        {"value": {**SIDES, "rectanglelabels": ["a", "b"]}},
        {"type": "relation", "from_id": 1, "to_id": 2},
        {"from_name": "pair", "value": {"selected": "left"}},
        predictions=[{"result": [{"from_name": "place", "value": {"choices": ["street"]}}]}],
    )
    assert images.objects["category"].tolist() == ["a", "a"]
    assert images.findings.notes == (
        "not read of a.json: second label of a region (2), relation (2), pair (2), place of a prediction, not of a"
        " person (2)",
    )


def test_several_results_of_one_region_are_one_object(tmp_path):
    images = open_results(
        tmp_path,
        {"id": "r", "from_name": "rectangle", "value": SIDES},
        {"id": "r", "from_name": "label", "value": {**SIDES, "labels": ["a"]}},
        {"id": "r", "from_name": "color", "value": {**SIDES, "choices": ["red"]}},
        {"id": "s", "from_name": "rectangle", "value": SIDES},
    )
    assert images.objects["category"].tolist() == ["a", "category None"] * 2
    assert images.findings.notes == ("not read of a.json: color of a region (2)",)


def test_answers_of_json_min(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    more = {"id": 3, "place": "street", "tags": {"choices": ["wet", "dark"]}, "lead_time": 3.5}
    images = open_images([write(tmp_path / "min.json", [{"image": f"{name}.jpg", **more} for name in "ab"])])
    assert images.table["place"].tolist() == ["street"] * 2
    assert images.table["tags"].tolist() == ["wet, dark"] * 2
    assert images.findings.notes == ()
