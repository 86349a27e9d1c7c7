"""Annotation files in a folder that are not read with its pictures are named."""

from __future__ import annotations

import pytest

from export_files import coco, pictures, write
from orl_explore.images.opening import open_images

VIA = {"a.jpg9": {"filename": "a.jpg", "size": 9, "regions": []}}
SUPERVISELY = {"description": "", "tags": [], "size": {"height": 64, "width": 96}, "objects": []}
CVAT = '<?xml version="1.0"?><annotations><version>1.1</version>{}</annotations>'


def test_other_annotation_files_of_a_folder_are_named(tmp_path):
    pictures(tmp_path / "train/a.jpg", tmp_path / "train/b.jpg")
    file = coco(tmp_path / "train/_annotations.coco.json", "a.jpg", "b.jpg")
    write(tmp_path / "settings.json", {"theme": "dark"})
    images = open_images([tmp_path])
    assert images.findings.notes == (
        f"{tmp_path} holds an annotation file, not read with a folder: name {file} for annotations of these pictures",
    )
    assert len(open_images([file]).objects) == 2  # as it says


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("via.json", VIA),
        ("export.json", [{"image": "a.jpg", "label": []}, {"image": "b.jpg", "label": []}]),
        ("annotations.xml", CVAT.format('<image id="0" name="a.jpg"/><image id="1" name="b.jpg"/>')),
    ],
)
def test_sources_are_named_as_what_to_type(tmp_path, name, content):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    file = write(tmp_path / name, content)
    assert [f"name {file} for annotations" in note for note in open_images([tmp_path]).findings.notes] == [True]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ds/ann/a.jpg.json", SUPERVISELY),
        ("train-annotations-bbox.csv", "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n"),
        ("metadata.jsonl", '{"file_name": "a.jpg", "objects": {"bbox": []}}\n'),
        ("imagelabels.mat", "MATLAB 5.0 MAT-file"),
        ("label_2/000000.txt", "Car 0.00 0 -1.57 614.24 181.78 727.31 284.77 1.57 1.73 4.15\n"),
        ("bounding_boxes.txt", "1 60.0 27.0 325.0 304.0\n2 139.0 30.0 153.0 264.0\n"),
        ("cut.json", '{"images": [{"id": 1'),
        ("video.xml", CVAT.format('<track id="0" label="cup"><box frame="0"/></track>')),
    ],
)
def test_files_that_cannot_be_read_are_counted(tmp_path, name, content):
    pictures(tmp_path / "img/a.jpg", tmp_path / "img/b.jpg")
    write(tmp_path / name, content)
    suffix = "." + name.rpartition(".")[2]
    assert open_images([tmp_path]).findings.notes == (
        f"{tmp_path} holds 1 {suffix} file that may be annotations and cannot be read, such as {name}",
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("settings.json", {"theme": "dark"}),
        ("LICENSE.txt", "Copyright 2026, 2027\nDo as you like\n"),
        ("README.txt", "1 picture of 8, 2 of 16 bits; values up to 10,000 of 65,535 in each of them\n"),
        ("train.txt", "a.jpg 0\nb.jpg 1\n"),
        ("pom.xml", "<project/>"),
        ("README.md", "bbox, labels"),
    ],
)
def test_other_files_are_not_mentioned(tmp_path, name, content):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    write(tmp_path / name, content)
    assert open_images([tmp_path]).findings.notes == ()


def test_label_maps_among_pictures_are_counted(tmp_path):
    pictures(
        *(
            tmp_path / f"{folder}/{name}"
            for folder in ("JPEGImages", "SegmentationClass")
            for name in ("a.png", "b.png")
        )
    )
    (note,) = open_images([tmp_path]).findings.notes
    assert note == (
        f"2 pictures of {tmp_path} may be label maps, by their folders, such as SegmentationClass/a.png: name"
        f" {tmp_path}/JPEGImages to do without"
    )
    for folder in ("JPEGImages", "SegmentationClass"):  # as it says; and who names a folder means it
        assert open_images([tmp_path / folder]).findings.notes == ()


def test_what_is_not_read_is_no_label_map(tmp_path):
    pictures(tmp_path / "images/a.png", tmp_path / "images/b.png")
    write(tmp_path / "masks/a.psd", "8BPS")
    images = open_images([tmp_path])
    assert len(images.skipped) == 1
    assert images.findings.notes == ()


@pytest.mark.parametrize("name", ["x.json", "x.xml", "x.csv"])
def test_files_that_cannot_be_opened_are_counted(tmp_path, name):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    (tmp_path / name).symlink_to("gone")
    assert open_images([tmp_path]).findings.notes == (
        f"{tmp_path} holds 1 {name[1:]} file that may be annotations and cannot be read, such as {name}",
    )
