"""Crowds of COCO jsons: those with a mask are kept, the others counted."""

from __future__ import annotations

from export_files import pictures, write
from orl_explore.images.object_masks import from_rle
from orl_explore.images.opening import open_images
from training.transfer.crowds import read_crowds

POLYGON = [[0, 0, 10, 0, 10, 10, 0, 10]]


def test_crowds_in_any_spelling(tmp_path, capsys):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    usual = {"segmentation": POLYGON, "bbox": [0, 0, 10, 10], "category_id": 3}
    annotations = [
        {**usual, "id": 1, "image_id": 1, "iscrowd": 1},
        {**usual, "id": 2, "image_id": "1", "iscrowd": "true", "category_id": "3"},
        {**usual, "id": 3, "image_id": "b", "iscrowd": 1.0},
        {**usual, "id": 4, "image_id": 1, "iscrowd": "0"},  # none
        {**usual, "id": 5, "image_id": 1, "iscrowd": 1, "segmentation": [[0, 0]]},
        {**usual, "id": 6, "image_id": 9, "iscrowd": 1},
    ]
    named = [{"id": 1, "file_name": "a.jpg"}, {"id": "b", "file_name": "b.jpg"}]
    content = {"images": named, "annotations": annotations, "categories": [{"id": 3, "name": "cup"}]}
    file = write(tmp_path / "a.json", content)
    images = open_images([file])
    crowds = read_crowds(file, images)
    first, second = images.table["image_id"]
    assert [(crowd.image_id, crowd.category) for crowd in crowds] == [(first, "cup"), (first, "cup"), (second, "cup")]
    assert from_rle(crowds[0].counts, (96, 64)).sum() == 100
    assert "a.json: 2 crowds left out, without a mask" in " ".join(capsys.readouterr().err.split())


def test_other_jsons_have_none(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    file = write(tmp_path / "samples.json", {"samples": [{"filepath": f"{name}.jpg"} for name in "ab"]})
    assert read_crowds(file, open_images([file])) == []
