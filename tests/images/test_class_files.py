"""Names of YOLO's classes: from which file they come, in which forms, and what is said of files that cannot be read."""

from __future__ import annotations

import pytest

from export_files import pictures, write
from orl_explore.images.class_files import yaml_names
from orl_explore.images.opening import open_images

YOLO = "0 0.5 0.5 0.25 0.5\n"


@pytest.mark.parametrize(
    "text",
    [
        "names:\n  0: cup\n  1: bus\n",
        "names:\n- cup\n- bus\nnc: 2\n",
        "nc: 2\nnames:\n  - 'cup'  # of tea\n  # another\n  - bus\n",
        'names: [cup, "bus"]\n',
        "names: {0: cup, 1: bus}\n",
        "names: ['cup',\n  'bus']\n",
    ],
)
def test_names_of_classes(text):
    assert yaml_names(f"path: .\n{text}train: images\n") == {0: "cup", 1: "bus"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: ['traffic light, red', 'car']", ["traffic light, red", "car"]),
        ("names: [no, 1.0, ~, 'it''s', \"#5\"]", ["no", "1.0", "~", "it's", "#5"]),
        ("names: {0: 'a: b', 1: 'c } d'}", ["a: b", "c } d"]),
        ("names: ['a]', b]", ["a]", "b"]),
        ("names: &all [a, b]\nothers: *all", ["a", "b"]),
        ("nc: 2", []),
        ("- names", []),
        ("names:", []),
    ],
)
def test_names_of_classes_are_those_of_yaml(text, names):
    assert yaml_names(text) == dict(enumerate(names))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("names: [K\u00e4fer, car]".encode("latin-1"), "its text is not UTF-8: save it as that"),
        (b"nc: 1\nnames: [cup", "it is no YAML, see line 2"),
        (b"names: cup", "`names` in it is neither"),
        (b"names: [{a: b}]", "`names` in it is neither"),
        (b"names: {cup: 0}", "`names` in it is neither"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_of_classes_that_cannot_be_read_is_named(tmp_path, content, reason):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    for name in "ab":
        write(tmp_path / f"{name}.txt", YOLO)
    if content is None:
        (tmp_path / "data.yaml").symlink_to("gone.yaml")
    else:
        (tmp_path / "data.yaml").write_bytes(content)
    images = open_images([tmp_path])
    assert images.objects["category"].tolist() == ["category 0"] * 2
    assert [f"no names of classes are read from data.yaml: {reason}" in note for note in images.findings.notes] == [
        True,
        False,
    ]
    write(tmp_path / "obj.names", "cup\n")
    assert open_images([tmp_path]).objects["category"].tolist() == ["cup"] * 2


@pytest.mark.parametrize(
    ("files", "categories"),
    [
        ({"a/data.yaml": "names: [dog, cat]", "b/data.yaml": "names: [cat, dog]"}, ["dog", "cat"]),
        ({"data.yaml": "names: [dog, cat]", "b/data.yaml": "names: [cat, dog]"}, ["dog", "cat"]),
        ({"data.yaml": "names: [dog, cat]", "b/data.yaml": "nc: 2"}, ["dog", "dog"]),
        ({"a/labels/classes.txt": "dog\ncat", "b/labels/train/obj.names": "cat\ndog"}, ["dog", "cat"]),
        ({"../data.yaml": "names: [dog, cat]", "b/classes.txt": "7"}, ["dog", "7"]),
        ({"a/data.yaml": "names: [dog, cat]"}, ["dog", "category 0"]),
    ],
)
def test_classes_are_those_of_the_nearest_file(tmp_path, files, categories):
    for part in "ab":
        pictures(tmp_path / f"set/{part}/images/train/{part}.jpg")
        write(tmp_path / f"set/{part}/labels/train/{part}.txt", YOLO)
    for name, text in files.items():
        write(tmp_path / "set" / name, text)
    assert open_images([tmp_path / "set"]).objects["category"].tolist() == categories


def test_labels_of_a_picture_named_classes_are_no_names(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "classes.jpg")
    write(tmp_path / "classes.txt", YOLO)
    assert open_images([tmp_path]).objects["category"].tolist() == ["category 0"]


def test_classes_without_a_file_have_numbers(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    write(tmp_path / "a.txt", "3 0.5 0.5 0.25 0.5")
    assert open_images([tmp_path]).objects["category"].tolist() == ["category 3"]


def test_classes_as_numpy_writes_them(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    write(tmp_path / "a.txt", "1.000000000000000000e+00 5.0e-01 5.0e-01 2.5e-01 5.0e-01\n1.5 0.5 0.5 0.2 0.2\n")
    write(tmp_path / "b.txt", YOLO)
    write(tmp_path / "classes.txt", "cup\nbus\n")
    assert open_images([tmp_path]).objects["category"].tolist() == ["bus", "cup"]
