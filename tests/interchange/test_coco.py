"""Regions as COCO annotations, and pairs as one flat table."""

from __future__ import annotations

import csv

import pandas as pd
import pytest

from authors_files import KEPT
from orl_explore.errors import OrlError
from training.exporting import export


def test_coco_annotations_are_the_kept_boxes(imported, tmp_path):
    from pycocotools.coco import COCO

    export(imported, "coco", tmp_path / "out.json")
    coco = COCO(tmp_path / "out.json")
    assert coco.getImgIds() == [90, 40, 70, 20]
    found = coco.loadAnns(coco.getAnnIds(imgIds=[70]))
    assert [item["bbox"] for item in found] == KEPT[2]
    assert [item["id"] for item in found] == [4, 5]


def test_pairs_are_written_flat(imported, tmp_path):
    export(imported, "pairs", tmp_path / "pairs.parquet")
    export(imported, "pairs", tmp_path / "pairs.csv")
    flat = pd.read_parquet(tmp_path / "pairs.parquet")
    third = flat.iloc[2]  # 4.jpg with its nearest neighbor 9.jpg: the last boxes of both
    assert (third["file_name"], third["neighbor_file_name"]) == ("4.jpg", "9.jpg")
    assert third[["query_x", "query_y", "query_w", "query_h"]].tolist() == [5, 5, 30, 20]
    assert third[["key_x", "key_y", "key_w", "key_h"]].tolist() == [20, 0, 20, 30]
    with (tmp_path / "pairs.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(flat) == 8
    assert lines[2]["key_x"] == "20"
    with pytest.raises(OrlError, match=r"\.csv or \.parquet"):
        export(imported, "pairs", tmp_path / "pairs.txt")


def test_a_run_without_pairs_has_a_table_without_rows(imported, tmp_path):
    imported.write("pairs", imported.read("pairs").iloc[:0])
    for name in ("pairs.csv", "pairs.parquet"):
        export(imported, "pairs", tmp_path / name)
    assert (tmp_path / "pairs.csv").read_text().startswith("image_id,file_name,neighbor_id")
    assert len(pd.read_parquet(tmp_path / "pairs.parquet")) == 0
