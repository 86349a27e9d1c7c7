"""Label maps in the layouts of benchmarks, and of objects."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.images.label_map import IGNORED
from training.transfer import label_maps
from training.transfer.setup import Setup


@pytest.fixture
def read(new_run, tiny, tmp_path):
    def from_paths(*data: Path) -> label_maps.Segmentation:
        return label_maps.read_maps(Setup(new_run(), tiny, data, "in-context test", tmp_path / "work"))

    return from_paths


def put(file: Path, values: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)


PIXELS = np.full((2, 3, 3), 90, np.uint8)


def test_the_runs_own_objects_are_split_by_image(read, images):
    data = read()
    assert (len(data.train), len(data.test)) == (17, 7)  # 0.3 of 24 are held out
    assert data.classes == ("background", *sorted(set(images.objects["category"])))
    pixels, labels = data.test.load(0)
    assert pixels.shape == (*labels.shape, 3) == (80, 80, 3)
    shown = data.test.images.objects
    first = shown[shown["image_id"] == data.test.images.table["image_id"].iloc[0]]
    assert {data.classes[label] for label in np.unique(labels)} == {"background", *first["category"]}


def test_voc2012_of_practice_scenes(read, practice):
    data = read(practice)
    assert data.kind == "PASCAL VOC 2012"
    assert (len(data.train), len(data.test)) == (63, 27)
    assert data.classes[0] == "background"
    assert len(data.classes) == 13
    assert read(practice / "VOC2012").fingerprint == data.fingerprint
    labels = [data.test.load(row)[1] for row in range(3)]
    assert all(one.min() >= 0 and one.max() < 13 for one in labels)


def test_voc2012_with_augmented_masks(read, tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("a", "b", "c"):
        put(root / "JPEGImages" / f"{name}.jpg", PIXELS)
    put(root / "SegmentationClass" / "a.png", np.full((2, 3), 1, np.uint8))
    put(root / "SegmentationClass" / "c.png", np.array([[0, 20, 255], [0, 0, 0]], np.uint8))
    put(root / "SegmentationClassAug" / "b.png", np.full((2, 3), 2, np.uint8))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("c\n")
    assert len(read(tmp_path).train) == 1
    (lists / "aug.txt").write_text("b\n")
    assert len(read(root).train) == 2
    (lists / "trainaug.txt").write_text("/JPEGImages/a.jpg /SegmentationClassAug/a.png\nb\n\n")
    data = read(root)
    assert [data.train.load(row)[1][0, 0] for row in range(2)] == [1, 2]
    assert data.test.load(0)[1].tolist() == [[0, 20, IGNORED], [0, 0, 0]]
    assert data.classes[20] == "tvmonitor"

    put(root / "SegmentationClass" / "c.png", np.full((2, 3), 21, np.uint8))
    with pytest.raises(OrlError, match=r"c\.png has pixels of value 21"):
        read(root).test.load(0)
    put(root / "SegmentationClass" / "c.png", np.full((3, 3), 0, np.uint8))
    with pytest.raises(OrlError, match=r"no label map of c\.jpg: .* 3 x 2 px"):
        read(root).test.load(0)
    (lists / "val.txt").write_text("b\n")
    with pytest.raises(OrlError, match=r"b of .* in the training list and in val"):
        read(root)
    (lists / "val.txt").write_text("d\n")
    with pytest.raises(OrlError, match=r"d\.jpg is missing"):
        read(root)
    (lists / "val.txt").write_text("\n")
    with pytest.raises(OrlError, match=r"val\.txt is empty"):
        read(root)


def test_ade20k(read, tmp_path, capsys):
    root = tmp_path / "ADEChallengeData2016"
    for part in ("training", "validation"):
        put(root / "images" / part / f"{part}.jpg", PIXELS)
        put(root / "annotations" / part / f"{part}.png", np.array([[0, 1, 150], [1, 1, 1]], np.uint8))
    data = read(tmp_path)
    assert (data.kind, len(data.classes), data.classes[149]) == ("ADE20K", 150, "class 150")
    assert data.train.load(0)[1].tolist() == [[IGNORED, 0, 149], [0, 0, 0]]
    (root / "objectInfo150.txt").write_text(
        "Idx\tRatio\tName\n" + "".join(f"{i}\t0.1\tthing {i}, it\n" for i in range(150))
    )
    assert read(root).classes[1] == "thing 1, it"
    assert capsys.readouterr().err == ""
    put(root / "images" / "training" / "more.jpg", PIXELS)
    read(root)
    assert "1 picture has no label map, such as more.jpg: left out" in " ".join(capsys.readouterr().err.split())
    (root / "images" / "validation" / "validation.jpg").unlink()
    with pytest.raises(OrlError, match=r"validation\.jpg is missing"):
        read(root)


def test_cityscapes(read, tmp_path):
    for part in ("train", "val"):
        put(tmp_path / "leftImg8bit" / part / "bonn" / "bonn_000_leftImg8bit.png", PIXELS)
        values = np.array([[7, 33, 0], [8, 24, 30]], np.uint8)  # 0 and 30 are not judged
        put(tmp_path / "gtFine" / part / "bonn" / "bonn_000_gtFine_labelIds.png", values)
    data = read(tmp_path)
    assert (data.kind, len(data.classes)) == ("Cityscapes", 19)
    assert data.test.load(0)[1].tolist() == [[0, 18, IGNORED], [1, 11, IGNORED]]
    assert (data.classes[11], data.classes[18]) == ("person", "bicycle")
    shutil.rmtree(tmp_path / "gtFine" / "val" / "bonn")
    with pytest.raises(OrlError, match=r"gtFine/val has no label maps"):
        read(tmp_path)


def test_two_coco_jsons_with_a_crowd_and_an_object_without_mask(read, annotations, tmp_path, capsys):
    content = json.loads(annotations.read_text())
    (tmp_path / "images").symlink_to(annotations.parent / "images")
    parts = []
    for name, keep in (("a", content["images"][:16]), ("b", content["images"][16:])):
        ids = {image["id"] for image in keep}
        items = [dict(item) for item in content["annotations"] if item["image_id"] in ids]
        items[0]["iscrowd"] = 1
        items[1].pop("segmentation")
        parts.append(tmp_path / f"{name}.json")
        parts[-1].write_text(json.dumps({**content, "images": keep, "annotations": items}))
    data = read(*parts)
    assert (len(data.train), len(data.test), data.facts["without_mask"]) == (16, 8, 2)
    assert "objects have no mask: their boxes are ignored" in " ".join(capsys.readouterr().err.split())
    labels = data.train.load(0)[1]  # the first image: its first object is a crowd, the second has no mask
    assert (labels == IGNORED).any()
    assert not (read(annotations, annotations).train.load(0)[1] == IGNORED).any()
    for part in parts:
        part.write_text(json.dumps({**json.loads(part.read_text()), "annotations": []}))
    with pytest.raises(OrlError, match="both need objects with masks"):
        read(*parts)


def test_what_is_no_data_set_is_told_what_would_be_one(read, tmp_path):
    with pytest.raises(OrlError, match=r"in-context reads label maps: .*TRAIN\.json TEST\.json .*VOC2012.*Cityscapes"):
        read(tmp_path)


def test_a_category_called_background_is_the_background(images):
    objects = images.objects
    first = objects["category"].iloc[0]
    renamed = dataclasses.replace(images, objects=objects.replace({"category": {first: "background"}}))
    data = label_maps.of_objects(renamed, renamed, "here")
    assert data.classes == ("background", *sorted(set(objects["category"]) - {first}))
    usual = label_maps.of_objects(images, images, "here")
    of = {usual.classes.index(first): 0}
    for row in range(3):
        names = [data.classes[label] for label in data.train.load(row)[1].ravel().tolist()]
        labels = usual.train.load(row)[1].ravel().tolist()
        assert names == [usual.classes[of.get(label, label)] for label in labels]
