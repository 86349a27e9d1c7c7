"""Jsons of the VGG Image Annotator: every region an object, or counted."""

from __future__ import annotations

import copy
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from export_files import BOXES, add_up, pictures, write
from fuzzing import JUNK, mutated
from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images, report

SHAPES = [
    {"name": "rect", "x": 10, "y": 20, "width": 30, "height": 15},
    {"name": "circle", "cx": 40, "cy": 30, "r": 10},
    {"name": "ellipse", "cx": 40, "cy": 30, "rx": 20, "ry": 10, "theta": math.pi / 2},
    {"name": "polygon", "all_points_x": [0, 40, 40], "all_points_y": [0, 0, 20]},
    {"name": "polyline", "all_points_x": [0, 40], "all_points_y": [0, 0]},
    {"name": "point", "cx": 3, "cy": 4},
]


def region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def annotations():
    """Two pictures, as VIA 2 exports their annotations."""
    regions = [region(shape, species="cat", note="") for shape in SHAPES]
    found = {
        f"{name}{size}": {"filename": name, "size": size, "regions": regions, "file_attributes": {"caption": "home"}}
        for name, size in (("a.jpg", 900), ("b.jpg", 901))
    }
    return copy.deepcopy(found)


def project(content):
    options = {"species": {"type": "dropdown", "options": {"cat": "Domestic cat"}}}
    return {"_via_settings": {}, "_via_img_metadata": content, "_via_attributes": {"region": options, "file": {}}}


def numbered(content):
    """As VIA 1 has them: regions by number."""
    for picture in content.values():
        picture["regions"] = {str(number): one for number, one in enumerate(picture["regions"])}
    return content


@pytest.mark.parametrize(
    ("form", "category"), [(lambda content: content, "cat"), (project, "Domestic cat"), (numbered, "cat")]
)
def test_regions(tmp_path, form, category):
    pictures(tmp_path / "images/a.jpg", tmp_path / "images/b.jpg")
    images = open_images([write(tmp_path / "via.json", form(annotations()))])
    assert images.table["file_name"].tolist() == ["a.jpg", "b.jpg"]
    assert images.table["caption"].tolist() == ["home", "home"]
    objects = images.objects.iloc[:4]
    assert objects["category"].tolist() == [category] * 4
    assert objects[BOXES].round(3).values.tolist()[:3] == [
        [10, 20, 30, 15],
        [30, 20, 20, 20],
        [30, 10, 20, 40],  # a quarter turned
    ]
    polygon = coco_mask.decode({"size": [64, 96], "counts": objects["segmentation"][3].encode()})
    assert polygon.sum() == pytest.approx(40 * 20 / 2, rel=0.1)
    (left_out,) = images.findings.left_out  # lines and points have no box
    assert (left_out.count, left_out.example) in [(4, f"regions[{place}] of a.jpg in via.json") for place in (4, "4")]
    assert images.findings.notes == ()
    add_up(images)


def test_the_attribute_of_most_regions_is_the_category(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    content = annotations()
    regions = [
        region(SHAPES[0], quality={"sharp": True, "dark": False}, type="bird", name="swan"),
        region(SHAPES[1], quality={"sharp": True, "dark": True}, type="bird"),
        region(SHAPES[2], name=7, type="bird", quality={}),
        region(SHAPES[3], color="red"),
    ]
    content["a.jpg900"]["regions"], content["b.jpg901"]["regions"] = regions, []
    images = open_images([write(tmp_path / "via.json", content)])
    assert images.objects["category"].tolist() == ["bird", "bird", "bird", "category None"]
    assert images.findings.notes == (
        "categories of via.json are its regions' type (3); not read are name (2), quality (2), color (1)",
    )
    for one in regions:
        one["region_attributes"].pop("type", None)
    images = open_images([write(tmp_path / "via.json", content)])
    assert images.objects["category"].tolist() == ["swan", "category None", "7", "category None"]
    for one in regions:
        one["region_attributes"].pop("name", None)
    images = open_images([write(tmp_path / "via.json", content)])
    assert images.objects["category"].tolist()[:2] == ["sharp", "dark, sharp"]


def test_files_listed_twice_or_missing(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    content = annotations()
    content["a.jpg-1"] = {"filename": "a.jpg", "size": -1, "regions": [region(SHAPES[1])]}
    content["c.jpg1"] = {"filename": "c.jpg", "size": 1, "regions": [region(SHAPES[0])]}
    content["d"] = "no picture"
    images = open_images([write(tmp_path / "via.json", content)])
    assert images.findings.used == 9  # both listings of a.jpg
    assert {one.what: one.count for one in images.findings.left_out} == {
        "that are points or lines, which have no box": 4,
        "of an image that is skipped": 1,
    }
    assert sorted(images.skipped["file_name"]) == ["a.jpg", "c.jpg", "d"]
    add_up(images)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.one_of(mutated(annotations()), mutated(project(annotations())), mutated(numbered(annotations())), JUNK))
def test_anything_is_used_counted_or_refused(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "via"
    if not folder.exists():
        pictures(folder / "a.jpg", folder / "b.jpg")
    images, refusal = None, ""
    try:
        images = open_images([write(folder / "via.json", content)])
    except OrlError as error:
        refusal = str(error)
    if images is None:
        assert "via.json" in refusal
    else:
        add_up(images)
        report(images)
