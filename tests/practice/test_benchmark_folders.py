"""Scenes in the layouts of other people's benchmarks."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
from PIL import Image

from export_files import coco, pictures
from orl_explore.images.object_masks import from_rle
from orl_explore.images.opening import open_images
from orl_explore.practice.benchmark_folders import LAYOUTS
from training import cli


def test_voc_boxes_count_from_1_and_include_their_end(practice):
    content = json.loads((practice / "annotations.json").read_text())
    thing = content["annotations"][0]
    x, y, w, h = thing["bbox"]
    text = (practice / "VOC2007" / "Annotations" / f"{thing['image_id']:06d}.xml").read_text()
    assert f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>" in text


def test_command_writes_the_layouts(tmp_path, capsys):
    words = [
        "scenes",
        str(tmp_path / "out"),
        "--count",
        "6",
        "--size",
        "64",
        "--layout",
        "voc",
        "voc2012",
        "imagefolder",
    ]
    assert cli.main(words) == 0
    assert (tmp_path / "out" / "VOC2007" / "ImageSets" / "Main" / "test.txt").read_text().count("\n") == 3
    assert (tmp_path / "out" / "imagefolder" / "1percent.txt").exists()
    lists = tmp_path / "out" / "VOC2012" / "ImageSets" / "Segmentation"
    assert [(lists / f"{part}.txt").read_text().count("\n") for part in ("train", "val")] == [4, 2]


def test_label_maps_are_the_masks_of_the_objects(practice):
    images = open_images([practice / "annotations.json"])
    classes = (practice / "VOC2012" / "classes.txt").read_text().split("\n")
    assert classes[0] == "background"
    with Image.open(practice / "VOC2012" / "SegmentationClass" / "000001.png") as picture:
        assert picture.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]  # VOC's first colors
        values = np.array(picture)
    objects = images.objects[images.objects["image_id"] == images.table["image_id"].iloc[0]]
    size = (values.shape[1], values.shape[0])
    masks = [(name, from_rle(counts, size)) for name, counts in objects[["category", "segmentation"]].to_numpy()]
    assert ((values > 0) == np.any([mask for _, mask in masks], axis=0)).all()
    for name, mask in masks:  # visible parts only: no two objects have a pixel in common
        assert (values[mask] == classes.index(name)).all()


def test_shares_of_the_layouts(practice):
    images = 90
    lists = practice / "VOC2012" / "ImageSets" / "Segmentation"
    assert len((lists / "val.txt").read_text().split()) == round(0.3 * images)
    content = json.loads((practice / "annotations.json").read_text())
    image_of = {thing["id"]: thing["image_id"] for thing in content["annotations"]}
    held_out, used = (
        {image_of[int(file.stem)] for file in (practice / "imagefolder" / part).rglob("*.jpg")}
        for part in ("val", "train")
    )
    assert (len(held_out), len(used)) == (round(0.3 * images), images - round(0.3 * images))
    assert not held_out & used
    for percent in (1, 10):
        listed = Counter(line.split("/")[0] for line in (practice / "imagefolder" / f"{percent}percent.txt").open())
        counts = {folder.name: len(list(folder.iterdir())) for folder in (practice / "imagefolder" / "train").iterdir()}
        assert listed == {name: max(1, round(count * percent / 100)) for name, count in counts.items()}


def test_any_coco_json_will_do(tmp_path):
    names = [f"{name}.jpg" for name in "abcd"]
    pictures(*(tmp_path / name for name in names))
    annotations = coco(tmp_path / "some.json", *names)  # boxes alone
    for write in LAYOUTS.values():
        write(annotations, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"VOC2007", "VOC2012", "imagefolder"}
    assert len(list((tmp_path / "out" / "imagefolder").glob("*/cup/*.jpg"))) == 4
    with Image.open(tmp_path / "out" / "VOC2012" / "SegmentationClass" / "000001.png") as picture:
        assert set(np.unique(np.array(picture))) == {0, 255}  # what has no mask is ignored
