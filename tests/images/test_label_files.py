"""Label files that lie with the pictures of a folder or list: YOLO's, VOC's and LabelMe's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from export_files import BOXES, VOC, add_up, pictures, write
from orl_explore.images.label_files import LOOKED_AT
from orl_explore.images.opening import open_images, report

YOLO = "0 0.5 0.5 0.25 0.5\n"
LABELME = '{"shapes": [{"label": "cup", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}]}'

# ---- YOLO ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("picture", "label", "named"),
    [
        ("images/train/{}.jpg", "labels/train/{}.txt", "."),
        ("images/train/{}.jpg", "labels/train/{}.txt", "images"),
        ("train/images/{}.jpg", "train/labels/{}.txt", "."),  # Roboflow
        ("obj_train_data/{}.jpg", "obj_train_data/{}.txt", "."),  # darknet, CVAT
    ],
)
def test_yolo(tmp_path, picture, label, named):
    pictures(*(tmp_path / picture.format(name) for name in "ab"))
    before = open_images([tmp_path / named])
    # a box of 24 x 32 px about the middle, a polygon from (9.6, 6.4) to (38.4, 25.6), and no label
    write(tmp_path / label.format("a"), "0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.4 0.1 0.4 0.4\n\nno label\n")
    write(tmp_path / label.format("b"), "1 0.5 0.5 0.25 0.5 0.9\n")  # with a confidence
    write(tmp_path / label.format("gone"), "0 0.5 0.5 0.25 0.5\n")
    write(tmp_path / "data.yaml", "nc: 2\nnames: ['cup', \"bus\"]\n")
    images = open_images([tmp_path / named])
    assert images.fingerprint == before.fingerprint
    objects = images.objects
    assert objects["category"].tolist() == ["cup", "bus", "bus"]
    assert objects[BOXES].values.tolist()[::2] == [[36, 16, 24, 32]] * 2
    polygon = coco_mask.decode({"size": [64, 96], "counts": objects["segmentation"][1].encode()})
    assert polygon.sum() == pytest.approx(0.5 * 28.8 * 19.2, rel=0.1)
    assert {one.what: one.count for one in images.findings.left_out} == {
        "that are no YOLO labels": 1,
        "of a label file without a picture": 1,
    }
    add_up(images)


def test_what_is_no_text_spoils_its_line_alone(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    (tmp_path / "a.txt").write_bytes(YOLO.encode() + "0 0.5 0.5 0.2 0.2 # f\u00fcr\n".encode("latin-1"))
    (tmp_path / "b.txt").write_bytes(YOLO.encode("utf-16"))
    images = open_images([tmp_path])
    assert len(images.objects) == 2
    assert {one.what: one.example for one in images.findings.left_out} == {"that are no YOLO labels": "line 2 of a.txt"}
    add_up(images)


def test_keypoints_behind_a_box(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    box, polygon = "0 0.5 0.5 0.25 0.5", "0 0 0 1 0 1 0.5 0 0.5 0 0"
    write(tmp_path / "a.txt", f"{box}{' 0.5 0.5 2' * 4}\n{box}{' 0.5 0.5 0' * 17}\n{polygon}\n")
    images = open_images([tmp_path])
    assert images.objects[BOXES].values.tolist() == [[36, 16, 24, 32]] * 2 + [[0, 0, 96, 32]]
    add_up(images)


def test_captions_are_no_labels(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    for name in "ab":
        write(tmp_path / f"{name}.txt", "a photo of 3 cups\n")
    images = open_images([tmp_path])
    assert images.objects.empty
    assert images.findings.given == 0
    assert "2 text files beside the pictures" in report(images)


# ---- VOC and LabelMe -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("JPEGImages/{}.jpg", "Annotations/{}.xml"),
        ("Images/{}.jpg", "Annotations/{}.xml"),
        ("images/train/{}.jpg", "annotations/train/{}.xml"),
        ("train/{}.jpg", "train/{}.xml"),
        ("Images/n02085620-Chihuahua/{}.jpg", "Annotation/n02085620-Chihuahua/{}"),  # Stanford Dogs
        ("images/{}.jpg", "annotations/xmls/{}.xml"),  # Oxford's pets
        ("images/{}.jpg", "ANNOTATIONS/{}.xml"),
    ],
)
def test_voc(tmp_path, picture, label):
    pictures(*(tmp_path / picture.format(name) for name in "abc"))
    write(tmp_path / label.format("a"), VOC)
    write(tmp_path / label.format("b"), VOC)
    write(tmp_path / label.format("c"), VOC[:50])
    images = open_images([tmp_path])
    # corners count from 1 and are inside: 11..30 are 20 columns, from the eleventh on
    assert images.objects[BOXES].values.tolist() == [[10, 20, 20, 20]] * 2
    assert images.objects["category"].tolist() == ["cup", "cup"]
    assert {one.what: one.count for one in images.findings.left_out} == {
        "without a box of four numbers": 2,
        "that are no VOC label files": 1,
    }
    add_up(images)


def test_voc_in_another_encoding(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    for name, encoding in (("a", "gb2312"), ("b", "utf-16")):
        text = f'<?xml version="1.0" encoding="{encoding}"?>\n' + VOC.replace("cup", "\u732b")
        (tmp_path / f"{name}.xml").write_bytes(text.encode(encoding))
    assert open_images([tmp_path]).objects["category"].tolist() == ["\u732b"] * 2


def test_labelme(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    shapes = [
        {"label": "cup", "points": [[30, 20], [10, 40]], "shape_type": "rectangle"},
        {"label": "cup", "points": [[50, 30], [50, 40]], "shape_type": "circle"},
        {"label": "cat", "points": [[1, 1], [21, 1], [21, 11]], "shape_type": "polygon"},
        *({"label": "dot", "points": [[9, 9]], "shape_type": "point"}, 7, {"points": "x"}),
    ]
    write(tmp_path / "a.json", {"version": "5.0", "shapes": shapes, "imageWidth": 96, "imageHeight": 64})
    images = open_images([tmp_path])
    assert images.objects[BOXES].to_numpy().tolist() == [[10, 20, 20, 20], [40, 20, 20, 20], [2, 1, 19, 10]]
    assert images.findings.given == 6
    assert {one.what: one.count for one in images.findings.left_out} == {
        "that are points or lines, which have no box": 1,
        "without a box of four numbers": 2,
    }
    assert any("LabelMe files of 1 pictures" in note for note in images.findings.notes)
    add_up(images)


@pytest.mark.parametrize(("suffix", "text"), [("xml", VOC), ("json", LABELME)])
def test_objects_without_a_category_are_counted_as_such(tmp_path, suffix, text):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    write(tmp_path / f"a.{suffix}", text.replace("<name>cup</name>", "").replace('"label": "cup"', '"label": null'))
    images = open_images([tmp_path])
    assert images.objects["category"].tolist() == ["category None"]
    assert {one.what: one.count for one in images.findings.changed} == {"without a category": 1}


def test_labelme_files_that_are_cut_or_have_no_picture(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    whole = {"shapes": [{"label": "cup", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}]}
    write(tmp_path / "a.json", whole)
    write(tmp_path / "gone.json", whole)
    write(tmp_path / "b.json", '{"shapes": [{"label": ')
    images = open_images([tmp_path])
    assert {one.what: one.example for one in images.findings.left_out} == {
        "of a label file without a picture": "shapes[0] of gone.json",
        "that are no LabelMe files": "b.json",
    }
    add_up(images)


# ---- several -------------------------------------------------------------------------------------------------------


def test_label_files_that_are_not_read_are_counted(tmp_path):
    pictures(*(tmp_path / f"images/{name}" for name in ("a.jpg", "b.jpg", "a.png")))
    write(tmp_path / "Annotations/a.xml", VOC)
    write(tmp_path / "images/a.xml", VOC)
    write(tmp_path / "labels/a.txt", YOLO)
    images = open_images([tmp_path])
    names = images.table.set_index("image_id")["file_name"]
    assert names[images.objects["image_id"]].tolist() == ["images/a.jpg"]  # once, and for one of the two
    assert images.findings.notes == (
        f"annotations of {tmp_path}: VOC label files of 1 pictures",
        f"not read of the label files of {tmp_path}: difficult (1)",
        "1 label file of pictures that have one already, such as Annotations/a.xml: not read",
        "1 picture with the name of another but for the suffix, such as images/a.png: the label file is taken for"
        " images/a.jpg's alone",
        "1 .txt file named like pictures, such as labels/a.txt: not read, as VOC label files are",
    )
    add_up(images)


def test_label_files_in_another_form_of_the_name(tmp_path):
    pictures(*(tmp_path / f"{name}.jpg" for name in ("caf\u00e9", "b", "C", "c")))
    for name in ("CAFE\u0301.TXT", "B.txt", "c.txt"):
        write(tmp_path / name, YOLO)
    images = open_images([tmp_path])
    names = images.table.set_index("image_id")["file_name"]
    assert sorted(names[images.objects["image_id"]]) == ["b.jpg", "c.jpg", "caf\u00e9.jpg"]
    assert "2 label files found in another letter case or Unicode form ('B.txt' is of 'b.jpg')" in images.findings.notes
    add_up(images)


def test_files_without_suffix_are_labels_only_in_a_folder_of_annotations(tmp_path):
    pictures(tmp_path / "Images/a.jpg", tmp_path / "Images/b.jpg")
    for name in ("a", "README"):
        write(tmp_path / "Images" / name, VOC)
        write(tmp_path / "Annotation" / name, "no xml")
    images = open_images([tmp_path])
    assert images.findings.given == 0
    write(tmp_path / "Annotation/b", VOC)
    images = open_images([tmp_path])
    assert [one.what for one in images.findings.left_out] == [
        "that are no VOC label files",
        "without a box of four numbers",
    ]
    add_up(images)


# ---- files that cannot be read ------------------------------------------------------------------------------------


@pytest.fixture
def locked(monkeypatch):
    """Names of files and folders that nobody may read, nor what is in them: root, who may run tests, may read all."""
    names: set[str] = set()

    def guarded(function, path):
        if names.intersection(Path(path).parts):
            raise PermissionError(13, "Permission denied", str(path))
        return function(path)

    for owner, name in ((Path, "read_bytes"), (os, "listdir")):
        function = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda path=".", function=function: guarded(function, path))
    return names


@pytest.mark.parametrize(("suffix", "text"), [("txt", YOLO), ("xml", VOC), ("json", LABELME)])
def test_label_files_that_cannot_be_read_are_counted(tmp_path, locked, suffix, text):
    pictures(*(tmp_path / f"images/{name}.jpg" for name in "abc"))
    place = {"txt": "labels", "xml": "annotations", "json": "labels"}[suffix]
    for name in "abc":
        write(tmp_path / place / f"{name}.{suffix}", text)
    locked.update(f"{name}.{suffix}" for name in "ab")
    images = open_images([tmp_path])
    assert len(images.objects) == 1
    counts = {one.what: (one.count, one.example) for one in images.findings.left_out}
    what = "that are whole label files, which cannot be read (Permission denied)"
    assert counts[what] == (2, f"{place}/a.{suffix}")
    add_up(images)
    locked.add(f"c.{suffix}")
    images = open_images([tmp_path])
    assert images.findings.given == 0
    assert images.findings.notes == (
        f"3 .{suffix} files named like pictures cannot be read (Permission denied), such as {place}/a.{suffix}",
    )


def test_labels_behind_many_files_that_are_empty_or_cannot_be_read(tmp_path, locked):
    names = [f"{number:03}" for number in range(LOOKED_AT + 4)]
    pictures(*(tmp_path / f"{name}.jpg" for name in names))
    for name in names:
        write(tmp_path / f"{name}.txt", YOLO if name > "050" else "")
    locked.add("001.txt")
    assert len(open_images([tmp_path]).objects) == 3


@pytest.mark.parametrize("named", [".", "images"])
def test_a_folder_of_labels_that_cannot_be_listed_is_named(tmp_path, locked, named):
    pictures(*(tmp_path / f"images/train/{name}.jpg" for name in "ab"))
    write(tmp_path / "labels/train/a.txt", YOLO)
    locked.add("labels")
    assert open_images([tmp_path / named]).findings.notes[0] == (
        "1 folder in which label files may lie cannot be listed (Permission denied), such as"
        f" {os.path.relpath(tmp_path / 'labels/train', tmp_path / named)}: those are not read"
    )


def test_labelme_files_that_are_empty_cut_or_in_another_encoding(tmp_path):
    pictures(*(tmp_path / f"{name}.jpg" for name in "abcdef"))
    write(tmp_path / "a.json", LABELME)
    write(tmp_path / "b.json", "")
    write(tmp_path / "c.json", '{"version"')
    (tmp_path / "d.json").write_bytes(LABELME.replace("cup", "K\u00e4fer").encode("latin-1"))
    write(tmp_path / "e.json", '{"camera": 7}')
    (tmp_path / "f.json").mkdir()
    images = open_images([tmp_path])
    assert len(images.objects) == 1
    assert {one.what: one.count for one in images.findings.left_out} == {
        "that are no LabelMe files": 2,
        "that are whole label files, which cannot be read (its text is not UTF-8: save it as that)": 1,
    }
    assert not any("d.json" in note for note in images.findings.notes)
    add_up(images)


# ---- anything ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    pictures(folder / "labels/a.jpg", folder / "labels/b.jpg")
    return folder


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.sampled_from([VOC, VOC[:40], "0 0.5 0.5 0.2 0.2\n", "0 0.5\n", "1 nan 0 1 1\n", "x", "", "<a/>"]),
        min_size=4,
        max_size=4,
    )
)
def test_label_files_of_any_kind(data, texts):
    for name, text in zip(("a.txt", "b.txt", "a.xml", "b.xml"), texts, strict=True):
        write(data / "labels" / name, text)
    images = open_images([data / "labels"])
    assert len(images) == 2
    add_up(images)
