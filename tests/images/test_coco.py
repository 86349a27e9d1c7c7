"""COCO jsons: ids that are text, and files cut down to some of their images; the rest is in test_annotations.py."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images


def write_json(folder, ids, annotation_ids, **more):
    for number in range(len(ids)):
        Image.new("RGB", (40, 40), (number, 9, 99)).save(folder / f"{number}.png")
    images = [{"id": image_id, "file_name": f"{n}.png", "width": 40, "height": 40} for n, image_id in enumerate(ids)]
    annotations = [
        {"id": n, "image_id": image_id, "category_id": 1, "bbox": [1, 2, 3, 4]}
        for n, image_id in enumerate(annotation_ids)
    ]
    path = folder / "a.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}))
    return path


@pytest.mark.parametrize(
    "ids",
    [["img_1", "img_2"], ["a/b.jpg", "7b1e-x", "ü"], ["x", 3], ["1.5", "nan"], ["1_11", "11_1"], ["12e4", 120000]],
)
def test_ids_that_are_any_text(ids, tmp_path):
    images = open_images([write_json(tmp_path, ids, [*ids, ids[0], f" {ids[0]} "])])
    assert images.findings.used == images.findings.given == len(ids) + 2
    assert images.table["image_id"].is_unique
    counts = images.objects["image_id"].value_counts()
    assert [counts[image_id] for image_id in images.table["image_id"]] == [3] + [1] * (len(ids) - 1)
    kept = images.table["original_id"].dropna().tolist()
    assert kept == [text for text in ids if isinstance(text, str)]
    assert "image ids of a.json are text: they get numbers" in "\n".join(images.findings.lines())


@pytest.mark.parametrize(
    ("ids", "numbers"),
    [
        (["007", "008"], [7, 8]),  # one spelling each: numbers
        (["7", "8.0", "+9"], [7, 8, 9]),
        (["007", "07", "7", 8], [None, None, 7, 8]),  # several spellings of one: names, but for the number itself
        (["120000", "120000.0"], [120000, None]),
    ],
)
def test_ids_that_are_numbers_as_text(ids, numbers, tmp_path):
    """Each annotation is on the image that is spelled as it is."""
    images = open_images([write_json(tmp_path, ids, [one for n, one in enumerate(ids) for _ in range(n + 1)])])
    found = images.table["image_id"]
    assert found.is_unique
    assert images.skipped.empty
    assert all(number in (None, one) for number, one in zip(numbers, found, strict=True))
    assert images.objects["image_id"].value_counts()[found].tolist() == [n + 1 for n in range(len(ids))]
    assert images.table.get("original_id", found[:0]).dropna().tolist() == [
        text for text, number in zip(ids, numbers, strict=True) if number is None
    ]


def test_a_json_cut_down_to_some_images_keeps_their_annotations(tmp_path):
    images = open_images([write_json(tmp_path, [1, 2], [1, 2, *range(3, 50)])])
    assert (images.findings.used, images.findings.given) == (2, 49)
    assert "left out: 47 annotations of an image id that is not listed" in "\n".join(images.findings.lines())


def test_annotations_of_no_listed_image_are_another_files(tmp_path):
    with pytest.raises(OrlError, match="5 of 5 annotations cannot be used"):
        open_images([write_json(tmp_path, [1, 2], range(3, 8))])


def test_image_ids_that_are_names_of_files(tmp_path):
    images = open_images([write_json(tmp_path, [7, 8], ["1.png", "0.png", " 1.png", 7, "2.png"])])
    assert images.objects["image_id"].tolist() == [8, 7, 8, 7]
    assert [one.what for one in images.findings.left_out] == ["whose image_id is no whole number"]


def test_what_a_json_has_twice_is_said(tmp_path):
    file = write_json(tmp_path, [1, 2], [1, 1, 2])
    content = json.loads(file.read_text())
    content["categories"] = [{"id": "1", "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 1, "name": "dog"}]
    file.write_text(json.dumps(content))
    images = open_images([file])
    assert images.objects["category"].tolist() == ["dog"] * 3
    assert images.findings.notes[:2] == (
        "categories of a.json share an id, such as cat and dog, 1: all its objects are dog",
        "1 object is the same as another by image, box and category, such as 1",
    )


BOX = {"image_id": 1, "category_id": 1, "bbox": [10, 5, 20, 10]}
MASK = {"segmentation": [[10, 5, 30, 5, 30, 15, 10, 15]]}


@pytest.mark.parametrize(("first", "second"), [({}, MASK), (MASK, {}), (MASK, MASK), ({}, {})])
def test_of_the_same_object_in_two_listings_the_mask_stays(first, second, tmp_path):
    file = write_json(tmp_path, [1, 2], [])
    content = json.loads(file.read_text())
    content["images"].append({"id": 7, "file_name": "./0.png"})
    content["annotations"] = [{**BOX, "image_id": 2}, {**BOX, **first}, {**BOX, **second, "image_id": 7}]
    file.write_text(json.dumps(content))
    images = open_images([file])
    assert images.objects["image_id"].tolist() == [2, 1]
    assert images.objects["segmentation"].notna().tolist() == [False, bool(first or second)]
    taken = not first and bool(second)
    assert [(one.what, one.count, one.example) for one in images.findings.changed] == (
        [("with the mask of the same one in the other listing", 1, "annotations[2] of a.json")] * taken
    )
    assert [one.count for one in images.findings.left_out] == [1]


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("mask", [{"size": [40, 40], "counts": [1, 2]}, [["a"]], [[1, 2]], "m.png"])
@pytest.mark.parametrize("scale", [1, 40])
def test_a_mask_that_is_not_understood_is_told_of_every_picture(mask, orientation, scale, tmp_path):
    file = write_json(tmp_path, [1, 2], [])
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 20), "red").save(tmp_path / "0.jpg", exif=exif)  # stored 40 x 20
    content = json.loads(file.read_text())
    content["images"][0] = {"id": 1, "file_name": "0.jpg", "width": 40, "height": 20}
    box = [number * scale / 40 for number in (10, 5, 20, 10)]
    content["annotations"] = [{**BOX, "bbox": box, "segmentation": mask}]
    file.write_text(json.dumps(content))
    images = open_images([file], minimum_side=8)
    assert images.objects["segmentation"].isna().tolist() == [True]
    assert "with a mask that is not understood: the box alone is used" in [one.what for one in images.findings.changed]


def test_a_second_listing_is_turned_as_the_first(tmp_path):
    file = write_json(tmp_path, [1, 2], [])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(tmp_path / "0.jpg", exif=exif)  # 20 x 40 when it is upright
    content = json.loads(file.read_text())
    content["images"] += [{"id": n, "file_name": "0.jpg", "width": 40, "height": 20} for n in (7, 8)]
    content["annotations"] = [{**BOX, "image_id": 7}, {**BOX, "image_id": 8, "bbox": [0, 0, 9, 9]}]
    file.write_text(json.dumps(content))
    images = open_images([file], minimum_side=8)
    # Clockwise: what was 5 and 0 from the top is as far from the right, 20 - 5 - 10 = 5 and 20 - 9 = 11 from the left.
    assert images.objects[list("xywh")].values.tolist() == [[5, 10, 10, 20], [11, 0, 9, 9]]
