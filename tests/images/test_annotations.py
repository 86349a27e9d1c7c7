"""Every annotation is used, or counted by reason with one example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images, report
from orl_explore.images.turning import turned_box, turned_pixels, turned_points
from orl_explore.runs.run import Run
from training import cli

CASES = Path(__file__).parent / "cases"
GOOD = {"image_id": 2, "category_id": 1, "bbox": [0, 0, 9, 9]}


def write(folder: Path, name: str = "a.json", **changes: Any) -> Path:
    """A json of two pictures, a.png (id 1) and b.png (id 2), 64 x 48."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("a.png", "b.png"):
        pixels = np.random.default_rng(ord(file[0])).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / file)
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}, {"id": 2, "file_name": "b.png"}],
        "annotations": [],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "bus"}],
    }
    (folder / name).write_text(json.dumps({**content, **changes}))
    return folder / name


def add_up(images: ImageSet) -> None:
    findings = images.findings
    assert findings.used == len(images.objects)
    assert findings.given == findings.used + sum(one.count for one in findings.left_out)


@pytest.mark.parametrize(
    ("annotation", "box", "category"),
    [
        ({"image_id": "1"}, [10, 5, 20, 10], "cup"),
        ({"image_id": 1.0}, [10, 5, 20, 10], "cup"),
        ({"image_id": "0001"}, [10, 5, 20, 10], "cup"),
        ({"category_id": "2"}, [10, 5, 20, 10], "bus"),
        ({"category_id": 2.0}, [10, 5, 20, 10], "bus"),
        ({"category_id": "bus"}, [10, 5, 20, 10], "bus"),  # by its name
        ({"iscrowd": "0"}, [10, 5, 20, 10], "cup"),
        ({"iscrowd": False}, [10, 5, 20, 10], "cup"),
        ({"iscrowd": "false"}, [10, 5, 20, 10], "cup"),
        ({"iscrowd": None}, [10, 5, 20, 10], "cup"),
        ({"bbox": ["10", "5", "20", "10"]}, [10, 5, 20, 10], "cup"),
        # without a box, or with one of no width, a mask gives it
        ({"bbox": None, "segmentation": [[10, 5, 30, 5, 30, 15, 10, 15]]}, [10, 5, 20, 10], "cup"),
        ({"bbox": [10, 5, 0, 0], "segmentation": [[10, 5, 30, 5, 30, 15, 10, 15]]}, [10, 5, 20, 10], "cup"),
    ],
)
def test_what_can_be_understood_is_used(tmp_path, annotation, box, category):
    whole = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 5, 20, 10], "iscrowd": 0, **annotation}
    images = open_images([write(tmp_path, annotations=[whole])])
    assert images.objects[["x", "y", "w", "h"]].values.tolist() == [box]
    assert images.objects["category"].tolist() == [category]
    assert not images.findings.left_out
    add_up(images)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ("no annotation", "that are no objects of JSON"),
        ({"iscrowd": 1}, "marked iscrowd"),
        ({"iscrowd": "1"}, "marked iscrowd"),
        ({"iscrowd": True}, "marked iscrowd"),
        ({"iscrowd": "perhaps"}, "whose iscrowd is neither 0 nor 1"),
        ({"iscrowd": 7}, "whose iscrowd is neither 0 nor 1"),
        ({"image_id": 99}, "of an image id that is not listed"),
        ({"image_id": "c.png"}, "whose image_id is no whole number"),
        ({"image_id": True}, "whose image_id is no whole number"),
        ({"image_id": 1.5}, "whose image_id is no whole number"),
        ({"category_id": [1]}, "whose category_id is neither a number nor text"),
        ({"category_id": True}, "whose category_id is neither a number nor text"),
        ({"bbox": None}, "without a box of four numbers"),
        ({"bbox": [1, 2, 3]}, "without a box of four numbers"),
        ({"bbox": [1, 2, 3, "x"]}, "without a box of four numbers"),
        ({"bbox": [1, 2, float("nan"), 4]}, "without a box of four numbers"),
        ({"bbox": [1, 2, 0, 4]}, "with a box of no width or height"),
        ({"bbox": [1, 2, 4, -1]}, "with a box of no width or height"),
        ({"bbox": [1, 2, 0, 4], "category_id": 77}, "with a box of no width or height"),
        ({"bbox": [64, 2, 4, 4]}, "with a box outside its image"),
        ({"bbox": [], "segmentation": [[1, 1]]}, "without a box of four numbers"),
    ],
)
def test_what_cannot_is_counted_with_an_example(tmp_path, annotation, reason):
    if isinstance(annotation, dict):
        annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 5, 20, 10], **annotation}
    images = open_images([write(tmp_path, annotations=[GOOD, annotation, GOOD])])
    assert [(one.what, one.count) for one in images.findings.left_out] == [(reason, 1)]
    assert images.findings.left_out[0].example == "annotations[1] of a.json"
    assert not images.findings.changed  # of what is left out, nothing else is told
    assert f"  left out: 1 annotation {reason}, such as annotations[1] of a.json" in report(images).splitlines()
    assert "2 objects of 3 annotations" in report(images)
    add_up(images)


@pytest.mark.parametrize(
    ("annotation", "what"),
    [
        ({"category_id": 77}, "of a category that is not listed"),
        ({"category_id": None}, "without a category"),
        ({"bbox": [-5, 0, 20, 20]}, "with a box that reaches over the border: it is clipped"),
        ({"segmentation": [["a"]]}, "with a mask that is not understood: the box alone is used"),
    ],
)
def test_what_is_not_taken_as_it_stands_is_told(tmp_path, annotation, what):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 5, 20, 10], **annotation}
    images = open_images([write(tmp_path, annotations=[annotation])])
    assert [(one.what, one.count) for one in images.findings.changed] == [(what, 1)]
    assert len(images.objects) == 1


def test_boxes_in_shares_of_the_image(tmp_path):
    shares = [{"image_id": n, "category_id": 1, "bbox": [0.25, 0.5, 0.5, 0.25]} for n in (1, 2)]
    images = open_images([write(tmp_path, annotations=shares)])
    assert images.objects[["x", "y", "w", "h"]].values.tolist() == [[16, 24, 32, 12]] * 2
    assert "all boxes of a.json lie within 0..1" in report(images)
    # One box of pixels, and none of them is a share.
    images = open_images([write(tmp_path, annotations=[*shares, GOOD])])
    assert images.objects["w"].tolist() == [0.5, 0.5, 9]


def test_most_of_a_file_that_cannot_be_used_is_an_error(tmp_path):
    bad = [{"image_id": 1, "category_id": 1}, {"image_id": 2, "category_id": 1}]
    with pytest.raises(OrlError) as error:
        open_images([write(tmp_path, annotations=[GOOD, *bad])])
    assert "a.json: 2 of 3 annotations cannot be used (2 without a box of four numbers, such as annotations[1]" in str(
        error.value
    )
    assert f"name the folder {tmp_path} instead" in str(error.value)
    assert len(open_images([tmp_path])) == 2  # as it says
    assert len(open_images([write(tmp_path, annotations=[GOOD, GOOD, *bad])]).objects) == 2  # half of it is not most


def test_crowds_and_images_that_are_not_there_are_no_error(tmp_path):
    pictures = [{"id": i, "file_name": f"{name}.png"} for i, name in enumerate("xab")]
    annotations = [{**GOOD, "image_id": 0}] * 5 + [{**GOOD, "iscrowd": 1}] * 5 + [GOOD]
    images = open_images([write(tmp_path, images=pictures, annotations=annotations)])
    assert [(one.what, one.count) for one in images.findings.left_out] == [
        ("of an image that is skipped", 5),
        ("marked iscrowd", 5),
    ]
    add_up(images)


def test_two_listings_of_a_file_are_one_image_with_the_objects_of_both(tmp_path):
    pictures = [{"id": i, "file_name": name} for i, name in ((1, "a.png"), (2, "b.png"), (7, "./a.png"))]
    annotations = [
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]},
        {"image_id": 7, "category_id": 2, "bbox": [5, 5, 9, 9]},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9]},  # in both listings
    ]
    images = open_images([write(tmp_path, images=pictures, annotations=annotations)])
    assert images.objects[["image_id", "category"]].values.tolist() == [[1, "cup"], [1, "bus"]]
    assert images.skipped.values.tolist() == [["./a.png", "listed twice: already image id 1"]]
    assert images.findings.left_out[0].what == "that is the same as one in the file's other listing"
    assert "(id 7 to 1)" in report(images)
    add_up(images)


# ---- several sources -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["json", "folder"])
def test_a_folder_named_beside_its_json_keeps_the_annotations(tmp_path, first):
    file = write(tmp_path, annotations=[GOOD])
    Image.new("RGB", (64, 48), "red").save(tmp_path / "c.png")
    images = open_images([file, tmp_path] if first == "json" else [tmp_path, file])
    alone = open_images([file])
    assert set(alone.table["image_id"]) < set(images.table["image_id"])
    assert len(images) == 3
    assert images.skipped.empty
    assert images.objects["image_id"].tolist() == [2]
    assert "2 of the files of" in report(images)


def test_two_jsons_of_the_same_files(tmp_path):
    one = write(tmp_path, "one.json", annotations=[GOOD])
    swapped = [{"id": 1, "file_name": "b.png"}, {"id": 2, "file_name": "a.png"}]
    two = write(tmp_path, "two.json", images=swapped, annotations=[GOOD])
    images = open_images([one, two])
    assert images.table["image_id"].tolist() == [1, 2]
    # image 2 of the second json is a.png, which is image 1 of the first
    assert images.objects["image_id"].tolist() == [2, 1]
    with pytest.raises(OrlError, match=r"a\.png is in both .*: pass only one of them"):
        open_images([one, tmp_path / ".." / tmp_path.name / "one.json"])


def test_ids_of_several_jsons_that_collide(tmp_path):
    annotations = [{"id": 5, **GOOD, "category_id": 2}]
    files = [write(tmp_path / part, "_annotations.coco.json", annotations=annotations) for part in ("train", "valid")]
    images = open_images(files)
    assert len(images) == 4
    assert images.table["image_id"].tolist()[:2] == [1, 2]  # the first keeps its own
    assert images.table["image_id"].is_unique
    assert images.table["original_id"].tolist() == [1, 2, 1, 2]
    assert images.objects["image_id"].tolist() == images.table["image_id"].tolist()[1::2]
    assert images.objects["original_id"].tolist() == [5, 5]
    assert open_images(files).fingerprint == images.fingerprint
    assert "2 images of" in report(images)
    add_up(images)


# ---- sizes from before turning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_is_that_of_pillow(orientation):
    """Points and masks go where the pixels of a picture go."""
    stored = np.zeros((48, 64), np.uint8)
    stored[5:15, 10:40] = 255  # the box 10, 5, 30, 10
    exif = Image.Exif()
    exif[0x0112] = orientation
    from PIL import ImageOps

    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(turned_pixels(stored, orientation), upright)
    x, y, w, h = (int(value) for value in turned_box((10, 5, 30, 10), orientation, (64, 48)))
    expected = np.zeros_like(upright)
    expected[y : y + h, x : x + w] = 255
    np.testing.assert_array_equal(upright, expected)
    corner = turned_points(np.array([[0.0, 0.0]]), orientation, (64, 48))[0].tolist()
    assert corner[0] in (0, upright.shape[1])
    assert corner[1] in (0, upright.shape[0])


def turned_json(folder: Path, sizes: list[tuple[int, int]], orientations: list[int], boxes: list[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    exif = Image.Exif()
    images, annotations = [], []
    for number, (orientation, (width, height)) in enumerate(zip(orientations, sizes, strict=True)):
        exif[0x0112] = orientation
        side = (48, 48) if width == height else (64, 48)
        Image.new("RGB", side, "gray").save(folder / f"{number}.jpg", exif=exif)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": width, "height": height})
        annotations.append({"image_id": number, "category_id": 1, **boxes[number]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def test_masks_are_turned_with_their_boxes(tmp_path):
    stored = np.zeros((48, 64), np.uint8, order="F")
    stored[5:15, 10:40] = 1
    rle = {"size": [48, 64], "counts": coco_mask.encode(stored)["counts"].decode()}
    polygon = [[10, 5, 40, 5, 40, 15, 10, 15]]
    box = {"bbox": [10, 5, 30, 10]}
    shapes = [{**box, "segmentation": rle}, {**box, "segmentation": polygon}, {"segmentation": rle}]
    images = open_images([turned_json(tmp_path, [(64, 48)] * 3, [6, 8, 6], shapes)])
    # Clockwise, what was 5 from the top is 5 from the right: 48 - 5 - 10 = 33. Counterclockwise, what ended at 40
    # begins at 64 - 40 = 24.
    assert images.objects[["x", "y", "w", "h"]].values.tolist() == [[33, 10, 10, 30], [5, 24, 10, 30], [33, 10, 10, 30]]
    for counts, turn in zip(images.objects["segmentation"], (6, 8, 6), strict=True):
        mask = coco_mask.decode({"size": [64, 48], "counts": counts.encode()})
        np.testing.assert_array_equal(mask, turned_pixels(stored, turn))
    assert "a.json has the sizes of 3 images (such as 0.jpg) before turning them upright" in report(images)
    add_up(images)


def test_squares_and_half_turns_go_with_the_others(tmp_path):
    boxes = [{"bbox": [0, 0, 10, 20]}] * 3
    before = turned_json(tmp_path / "before", [(64, 48), (48, 48), (64, 48)], [6, 6, 3], boxes)
    found = open_images([before]).objects[["x", "y", "w", "h"]].values.tolist()
    assert found == [[28, 0, 20, 10], [28, 0, 20, 10], [54, 28, 10, 20]]
    # In a json of upright sizes they stay.
    after = turned_json(tmp_path / "after", [(48, 64), (48, 48), (64, 48)], [6, 6, 3], boxes)
    assert open_images([after]).objects[["x", "y", "w", "h"]].values.tolist() == [[0, 0, 10, 20]] * 3


def test_sizes_that_nothing_explains_are_told(tmp_path):
    exchanged = turned_json(tmp_path / "x", [(48, 64), (64, 48)], [1, 1], [{"bbox": [0, 0, 10, 20]}] * 2)
    images = open_images([exchanged])
    assert images.objects[["x", "y", "w", "h"]].values.tolist() == [[0, 0, 10, 20]] * 2
    assert "width and height of 1 image (such as 0.jpg) exchanged" in report(images)
    other = turned_json(tmp_path / "y", [(640, 480), (64, 48)], [1, 1], [{"bbox": [0, 0, 10, 20]}] * 2)
    assert "another size for 1 image (such as 0.jpg, 64 x 48 px against 640 x 480)" in report(open_images([other]))


# ---- the cases, and where it is shown ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "objects", "words"),
    [
        ("all-crowd/a.json", 0, "left out: 2 annotations marked iscrowd"),
        ("numbers-as-text/a.json", 4, "4 annotations with ids or flags written as text or fractions"),
        ("turned-sizes/a.json", 2, "a.json has the sizes of 2 images (such as a.jpg) before turning them upright"),
        ("unicode-names/a.json", 4, "2 names of a.json found in another form: 2 in the other Unicode form"),
        ("cvat-layout/annotations/instances_Train.json", 2, "2 objects of 2 annotations"),
    ],
)
def test_cases(case, objects, words, capsys):
    images = open_images([CASES / case])
    assert len(images.objects) == objects
    assert images.skipped.empty
    add_up(images)
    assert cli.main(["verify", str(CASES / case)]) in (0, None)
    assert words in capsys.readouterr().out


def test_turned_boxes_by_hand():
    """The json's box 70, 5, 20, 50 on 96 x 64 px, turned clockwise: x = 64 - 5 - 50, y = 70."""
    objects = open_images([CASES / "turned-sizes/a.json"]).objects
    assert objects[["x", "y", "w", "h"]].values.tolist() == [[9, 70, 50, 20], [16, 8, 40, 60]]


def test_a_run_keeps_what_was_found(tmp_path):
    images = open_images([write(tmp_path, annotations=[GOOD, {**GOOD, "iscrowd": 1}])])
    run = Run(tmp_path / "run")
    run.set_images(images, ["a.json"])
    record = run.manifest()["images"]
    assert record["annotations"] == {
        "given": 2,
        "used": 1,
        "left_out": [{"what": "marked iscrowd", "count": 1, "example": "annotations[1] of a.json"}],
        "changed": [],
    }
    assert record["notes"] == []
    assert run.images().findings == images.findings
    assert run.images().ranges == images.ranges


# ---- anything ------------------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 4),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["1", "2.0", " 1", "0", "true", "a.png", "", "x", "\ud800"]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner), max_leaves=8
)
boxes = st.lists(st.one_of(st.floats(-100, 200), scalars), min_size=3, max_size=5)
polygons = st.lists(st.lists(st.one_of(st.floats(-100, 200), scalars), max_size=10), max_size=3)
annotations = st.one_of(
    values,
    st.fixed_dictionaries(
        {},
        optional={
            "id": values,
            "image_id": st.one_of(st.integers(0, 3), values),
            "category_id": st.one_of(st.integers(0, 3), values),
            "bbox": st.one_of(boxes, values),
            "segmentation": st.one_of(polygons, values),
            "iscrowd": values,
        },
    ),
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write(folder)
    return folder


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(annotations, max_size=12),
    st.lists(
        st.fixed_dictionaries(
            {"id": values, "file_name": st.one_of(st.sampled_from(["a.png", "A.png", "b.png"]), values)}
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_used_and_counted_are_all_that_was_given(pictures, given_annotations, more_images, padded):
    """Whatever stands in a json: objects and counts that add up, or one sentence; never anything else."""
    fine = [{"id": i, "file_name": f"{name}.png", "width": 64, "height": 48} for i, name in ((1, "a"), (2, "b"))]
    good = [GOOD] * (len(given_annotations) if padded else 0)
    content = {
        "images": fine + more_images,
        "annotations": given_annotations + good,
        "categories": [{"id": 1, "name": "cup"}],
    }
    file = pictures / "any.json"
    file.write_text(json.dumps(content))
    before = sorted(pictures.iterdir())
    images, refusal = None, ""
    try:
        images = open_images([file])
    except OrlError as error:
        refusal = str(error)
    if images is None:
        assert "any.json" in refusal
    else:
        assert images.findings.given == len(content["annotations"])
        add_up(images)
        assert len(images) + len(images.skipped) == len(content["images"])
        assert set(images.objects["image_id"]) <= set(images.table["image_id"])
        report(images)
    assert sorted(pictures.iterdir()) == before


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.sampled_from(["a.png", "b.png", "A.PNG", "x/a.png 3", "\\b.png"]), st.text(max_size=12)),
        max_size=8,
    )
)
def test_every_line_of_a_list_is_used_or_skipped(pictures, lines):
    file = pictures / "any.txt"
    text = "\n".join(["a.png", "b.png", *lines])
    file.write_text(text, encoding="utf-8", errors="replace", newline="")
    asked = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    asked = [line for line in asked if line and not line.startswith("#")]
    images = open_images([file])
    assert len(images) + len(images.skipped) == len(asked)
    assert len(images) == 2
    file.unlink()


def test_the_same_images_named_without_annotations_keep_them(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data").unlink()
    box = {"label": "cup", "bounding_box": [0.1, 0.1, 0.5, 0.5]}
    labels = {"classes": [], "labels": {"a": [box], "b": [box]}}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    run = Run(tmp_path / "run")
    run.set_images(open_images([tmp_path / "labels.json"], root=tmp_path / "data"), ["labels.json"])
    run.set_images(open_images([tmp_path / "data"]), ["data"])
    assert len(run.images().objects) == 2
    assert run.images().findings.used == 2
    assert run.manifest()["images"]["sources"] == ["data"]
