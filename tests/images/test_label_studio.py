"""Label Studio's results: each is an object, a label, counted or told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export_files import BOXES, add_up, as_brush, pictures, write
from orl_explore.images.label_studio import task_entry
from orl_explore.images.object_masks import from_rle
from orl_explore.images.opening import open_images

SIZE = {"original_width": 96, "original_height": 64}
SIDES = {"x": 25, "y": 25, "width": 50, "height": 50}
POINTS = "that are points or lines, which have no box"
NO_MASK = "without a box, and with a mask that is not understood"
EMPTY = "without a box, and with a mask that has no pixel in the picture"
PAGE = "of another picture of the same task"


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
        ({"rle": [1, 2], "brushlabels": ["a"]}, NO_MASK),
        ({"rle": "no list", "brushlabels": ["a"]}, NO_MASK),
        ({"rle": [], "brushlabels": ["a"]}, NO_MASK),
        ({"rle": as_brush(np.zeros((64, 96))), "brushlabels": ["a"], **SIZE}, EMPTY),
        ({"x": 10**400, "y": 4, "width": 1, "height": 2, "rectanglelabels": ["a"]}, "without a box of four numbers"),
        ({"x": 3, "y": 4, "width": 1, "keypointlabels": ["a"]}, POINTS),
        ({"vertices": [{"x": 1, "y": 2}], "vectorlabels": ["a"]}, POINTS),
        ({"x": 3, "y": "?", "width": 1, "height": 2, "rectanglelabels": ["a"]}, "without a box of four numbers"),
    ],
)
def test_regions_without_a_box_are_counted(tmp_path, value, left_out):
    size = {key: value.pop(key) for key in SIZE if key in (value := dict(value))}
    images = open_results(tmp_path, {"value": {**SIDES, "rectanglelabels": ["a"]}}, {"value": value, **size})
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


@pytest.mark.parametrize(
    ("degrees", "box"),
    [
        (0, [19.2, 25.6, 57.6, 12.8]),  # half axes of 30 % of 96 px and of 10 % of 64 px, about (48, 32)
        (90, [41.6, 3.2, 12.8, 57.6]),
        (45, [27.137, 11.137, 41.727, 41.727]),  # half a side is sqrt((28.8 ** 2 + 6.4 ** 2) / 2) = 20.863
    ],
)
def test_turned_ellipses(tmp_path, degrees, box):
    value = {"x": 50, "y": 50, "radiusX": 30, "radiusY": 10, "rotation": degrees, "ellipselabels": ["a"]}
    images = open_results(tmp_path, {"value": value, "original_width": 96, "original_height": 64})
    assert images.objects[BOXES].to_numpy() == pytest.approx(np.array([box] * 2), abs=0.01)
    shape = f'<ellipse label="a" cx="48" cy="32" rx="28.8" ry="6.4" rotation="{degrees}"/>'
    text = "".join(f'<image name="{name}.jpg" width="96" height="64">{shape}</image>' for name in "ab")
    images = open_images([write(tmp_path / "cvat.xml", f"<annotations>{text}</annotations>")])
    assert images.objects[BOXES].to_numpy() == pytest.approx(np.array([box] * 2), abs=0.01)


def test_the_size_of_another_picture_of_a_task_is_not_the_firsts(tmp_path):
    region = {"value": {**SIDES, "rectanglelabels": ["a"]}, **SIZE, "item_index": 0}
    other = {**region, "original_width": 640, "original_height": 480, "item_index": 1}
    task = {"data": {"pages": ["a.jpg", "b.jpg"]}, "annotations": [{"result": [region, other]}]}
    assert task_entry(tmp_path / "a.json", 0, task).size == (96, 64)


def test_of_several_pictures_of_a_task_the_first_is_taken(tmp_path):
    """Tools with pages and frames have a list of them; the whole list is told as one field that is not read."""
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    regions = [{"value": {**SIDES, "rectanglelabels": ["a"]}, "item_index": page} for page in (0, 1)]
    data = [{"pages": [f"{name}.jpg", "c.jpg"], "title": "Two pages"} for name in "ab"]
    tasks = [{"data": one, "annotations": [{"result": regions}]} for one in data]
    images = open_images([write(tmp_path / "a.json", tasks)])
    assert images.objects[BOXES].values.tolist() == [[24, 16, 48, 32]] * 2
    assert {one.what: one.count for one in images.findings.left_out} == {PAGE: 2}
    add_up(images)
    assert images.table["file_name"].tolist() == ["a.jpg", "b.jpg"]
    assert images.table["title"].tolist() == ["Two pages"] * 2
    assert "not read of a.json: pages (2)" in images.findings.notes


def test_what_is_painted_becomes_an_object_with_the_box_of_its_mask(tmp_path):
    painted = np.zeros((64, 96), bool)
    painted[10:30, 40:45] = True
    value = {"format": "rle", "rle": as_brush(painted), "brushlabels": ["a"]}
    images = open_results(tmp_path, {"value": value, **SIZE, "type": "brushlabels"})
    assert images.objects[BOXES].to_numpy().tolist() == [[40, 10, 5, 20]] * 2
    np.testing.assert_array_equal(from_rle(images.objects["segmentation"][0], (96, 64)), painted)
    assert [one.what for one in images.findings.changed] == ["with a mask alone: its box is used"]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"image": "a.jpg", "similar": ["b.jpg", "c.jpg"]}, "a.jpg"),
        ({"image": "http://host/api/a", "similar": ["b.jpg", "c.jpg"]}, "a"),  # an address, though of no picture's name
        ({"pages": ["a.jpg"], "title": "b"}, "a.jpg"),
        ({"image": "http://[a/b.jpg"}, "http://[a/b.jpg"),  # no address at all
        ({"image": "http://[a", "pages": ["http://[b"]}, "http://[a"),
    ],
)
def test_which_field_of_a_task_is_its_picture(data, name):
    entry = task_entry(Path("a.json"), 0, {"data": data, "annotations": []})
    assert entry.name.removeprefix("http://host/api/") == name


def test_a_task_whose_address_is_none_is_counted(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    names = ("a.jpg", "b.jpg", "http://[b")
    images = open_images([write(tmp_path / "a.json", [{"data": {"image": name}, "annotations": []} for name in names])])
    assert len(images) == 2
    assert len(images.skipped) == 1
