"""What is usable and why the rest is not; tables of images and of objects, out of one source or several."""

from __future__ import annotations

import pandas as pd
import pytest

from image_files import PNG, good_pair, noise, save, write_coco
from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images, report, sample_images


@pytest.mark.parametrize(("good", "words"), [(0, "no usable image"), (1, "only one usable image")])
def test_fewer_than_two_is_an_error_with_the_first_reasons(tmp_path, good, words):
    for number in range(good):
        save(tmp_path / f"good{number}.png")
    for number in range(5):
        (tmp_path / f"bad{number}.jpg").write_bytes(b"")
    with pytest.raises(OrlError) as error:
        open_images([tmp_path])
    message = str(error.value)
    assert words in message
    assert "bad0.jpg: empty file; bad1.jpg: empty file; bad2.jpg: empty file; and 2 more" in message
    assert "bad3" not in message


def test_empty_folder(tmp_path):
    with pytest.raises(OrlError, match="at least two are needed, with names such as"):
        open_images([tmp_path])


def test_report(tmp_path):
    good_pair(tmp_path)
    for number in range(3):
        (tmp_path / f"e{number}.jpg").write_bytes(b"")
    save(tmp_path / "s.png", noise((12, 40)))
    images = open_images([tmp_path])
    assert report(images, limit=2).splitlines() == [
        "2 usable, 4 skipped",
        "      3 empty file",
        "      1 too small",
        "  e0.jpg: empty file",
        "  e1.jpg: empty file",
        "  ... and 2 more",
    ]
    assert report(images, limit=None).splitlines()[-1] == "  s.png: too small: edge of 12 px is below 32"


def test_a_report_shows_what_nobody_would_see(tmp_path):
    good_pair(tmp_path)
    (tmp_path / "a\x1b[31m\n\u200b.jpg").write_bytes(b"")
    assert "  a\\x1b[31m\\n\\u200b.jpg: empty file" in report(open_images([tmp_path])).splitlines()


def test_a_sample_is_drawn_by_its_seed_and_the_rest_is_not_read(tmp_path):
    names = [f"{number}.png" for number in range(8)]
    for name in names:
        save(tmp_path / name)
    images, total = sample_images([tmp_path], count=3, seed=0)
    drawn = images.table["file_name"].tolist()
    assert (len(drawn), total) == (3, 8)
    assert drawn == sorted(drawn)  # in the order of the whole set
    for name in set(names) - set(drawn):
        (tmp_path / name).write_bytes(b"")
    again, _ = sample_images([tmp_path], count=3, seed=0)
    assert again.table["file_name"].tolist() == drawn
    assert again.skipped.empty


def test_samples_of_other_seeds_are_others(tmp_path):
    for number in range(8):
        save(tmp_path / f"{number}.png")
    drawn = [tuple(sample_images([tmp_path], count=3, seed=seed)[0].table["file_name"]) for seed in range(5)]
    assert len(set(drawn)) > 1


def test_equal_files_have_equal_hashes(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(PNG)
    save(tmp_path / "c.png", noise(seed=9))
    a, b, c = open_images([tmp_path]).table["content_hash"]
    assert a == b != c


def test_progress_counts_every_file(tmp_path):
    good_pair(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"")
    calls: list[tuple[int, int]] = []
    open_images([tmp_path], progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("values", "expected", "dtype"),
    [
        (["x", "y", None], ["x", "y", None], "str"),
        ([1, 2, 3], [1, 2, 3], "int64"),
        ([1, None, 2.5], [1.0, None, 2.5], "float64"),
        ([True, False, True], [True, False, True], "bool"),
        ([True, None, False], ["True", None, "False"], "str"),
        ([1, "two", None], ["1", "two", None], "str"),
    ],
)
def test_label_columns_have_one_type(tmp_path, values, expected, dtype):
    for file in ("a.png", "b.png", "c.png"):
        save(tmp_path / file)
    images = [{"id": i, "file_name": f"{'abc'[i]}.png", "label": value} for i, value in enumerate(values)]
    column = open_images([write_coco(tmp_path, images=images)]).table["label"]
    assert str(column.dtype) == dtype
    assert [None if pd.isna(value) else value for value in column] == expected


def test_labels_cannot_replace_our_columns(tmp_path):
    images = [
        {"id": i, "file_name": f"{name}.png", "source": "web", "content_hash": "?", "image_id": 9, "width": 5}
        for i, name in enumerate("ab")
    ]
    table = open_images([write_coco(tmp_path, images=images)]).table
    own = ["image_id", "file_name", "source", "width", "height", "content_hash"]
    assert list(table) == [*own, "source_label", "content_hash_label", "image_id_label"]
    assert table["image_id"].tolist() == [0, 1]
    assert table["source_label"].tolist() == ["web", "web"]
    assert table["width"].tolist() == [64, 64]


BOX = {"image_id": 3, "category_id": 1}


@pytest.mark.parametrize(
    ("annotation", "expected"),  # of a 64 x 48 image
    [
        ({"bbox": [10, 10, 20, 10]}, [10, 10, 20, 10]),
        ({"bbox": [-5, -5, 20, 10]}, [0, 0, 15, 5]),
        ({"bbox": [50, 40, 100, 100]}, [50, 40, 14, 8]),
        ({"bbox": [64, 0, 10, 10]}, None),  # begins where the image ends
        ({"bbox": [10, 10, 0, 10]}, None),
        ({"bbox": [30, 10, -20, 10]}, None),
        ({"bbox": [float("nan"), 10, 5, 5]}, None),
        ({"bbox": [10, 10, float("nan"), 5]}, None),
        ({"bbox": [10, 10, float("inf"), 5]}, [10, 10, 54, 5]),
        ({"bbox": [1, 2, 3]}, None),
        ({"bbox": "1234"}, None),
        ({"bbox": None}, None),
        ({}, None),
        ({"bbox": [10, 10, 20, 10], "iscrowd": 1}, None),
        ({"bbox": [10, 10, 20, 10], "image_id": 999}, None),
        ({"bbox": [10, 10, 20, 10], "image_id": [3]}, None),
        ({"bbox": [10, 10, 20, 10], "category_id": {}}, None),
    ],
)
def test_coco_boxes(tmp_path, annotation, expected):
    # Further ones on another image, because a file of which most cannot be used is an error.
    others = [{"id": number, "image_id": 20, "category_id": 1, "bbox": [0, 0, 9, 9]} for number in (2, 3)]
    images = open_images([write_coco(tmp_path, annotations=[BOX | {"id": 1} | annotation, "no annotation", *others])])
    found = images.objects[images.objects["image_id"] == 3]
    assert found[["x", "y", "w", "h"]].values.tolist() == ([expected] if expected else [])


def test_the_file_knows_its_size_better_than_the_json(tmp_path):
    images = [{"id": i, "file_name": name, "width": 640, "height": 480} for i, name in enumerate(["a.png", "b.png"])]
    annotations = [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [32, 0, 320, 480]}]
    found = open_images([write_coco(tmp_path, images=images, annotations=annotations)])
    assert found.table["width"].tolist() == [64, 64]
    assert found.objects[["x", "y", "w", "h"]].values.tolist() == [[32, 0, 32, 48]]


@pytest.mark.parametrize("ids", [[1, 1], [1, None], ["a", "b"], [1, 2**70]])
def test_object_ids_that_are_no_ids_are_replaced(tmp_path, ids):
    annotations = [BOX | {"id": number, "bbox": [0, 0, 9, 9]} for number in ids]
    assert open_images([write_coco(tmp_path, annotations=annotations)]).objects["object_id"].tolist() == [0, 1]


def test_unknown_category(tmp_path):
    annotations = [{"id": 1, "image_id": 3, "category_id": 77, "bbox": [0, 0, 9, 9]}]
    assert open_images([write_coco(tmp_path, annotations=annotations)]).objects["category"].tolist() == ["category 77"]


def test_coco_plus_is_two_files(tmp_path):
    for name, ids in (("train2017", [2, 1]), ("unlabeled2017", [9, 4])):
        images = [{"id": i, "file_name": f"{letter}.png"} for i, letter in zip(ids, "ab", strict=True)]
        annotations = [{"id": 1, "image_id": ids[0], "category_id": 1, "bbox": [0, 0, 9, 9]}]
        write_coco(tmp_path / name, images=images, annotations=annotations if name == "train2017" else [])
    both = open_images([tmp_path / name / "annotations.json" for name in ("train2017", "unlabeled2017")])
    assert both.table["image_id"].tolist() == [2, 1, 9, 4]
    assert both.table["source"].tolist() == [0, 0, 1, 1]
    assert both.table["file_name"].tolist() == ["a.png", "b.png", "a.png", "b.png"]
    assert both.roots == (tmp_path / "train2017", tmp_path / "unlabeled2017")
    assert both.path(3) == tmp_path / "unlabeled2017/b.png"
    assert both.objects["image_id"].tolist() == [2]


def test_a_folder_beside_a_coco_json(tmp_path):
    good_pair(tmp_path / "folder")
    images = open_images([write_coco(tmp_path / "coco"), tmp_path / "folder"])
    assert images.table["source"].tolist() == [0, 0, 0, 1, 1]
    assert pd.isna(images.table["context"][4])
