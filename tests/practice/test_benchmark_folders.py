"""Scenes in the layouts of other people's benchmarks."""

from __future__ import annotations

import json

from training import cli


def test_voc_boxes_count_from_1_and_include_their_end(practice):
    content = json.loads((practice / "annotations.json").read_text())
    thing = content["annotations"][0]
    x, y, w, h = thing["bbox"]
    text = (practice / "VOC2007" / "Annotations" / f"{thing['image_id']:06d}.xml").read_text()
    assert f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>" in text


def test_command_writes_the_layouts(tmp_path, capsys):
    words = ["scenes", str(tmp_path / "out"), "--count", "6", "--size", "64", "--layout", "voc", "imagefolder"]
    assert cli.main(words) == 0
    assert (tmp_path / "out" / "VOC2007" / "ImageSets" / "Main" / "test.txt").read_text().count("\n") == 3
    assert (tmp_path / "out" / "imagefolder" / "1percent.txt").exists()
