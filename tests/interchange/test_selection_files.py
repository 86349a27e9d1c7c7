"""A selection as files of other tools."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO

from orl_explore.errors import OrlError
from orl_explore.interchange.selection_files import export_selection, safe_name
from orl_explore.judging.diagnostics import region_labels
from orl_explore.runs.run import Run
from orl_explore.runs.selections import save_selection


@pytest.fixture
def run(finished, tmp_path):
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    save_selection(run, "some", [0, 4, 9])
    return run


@pytest.fixture
def labels(run):
    return region_labels(run.read("regions"), run.images())


def test_tables(run, labels, tmp_path):
    regions = run.read("regions").iloc[[0, 4, 9]]
    assert export_selection(run, "some", tmp_path / "a.parquet", labels=labels) == 3
    table = pd.read_parquet(tmp_path / "a.parquet")
    assert table["x"].tolist() == regions["x"].tolist()
    assert table["label"].tolist() == labels.loc[[0, 4, 9]].tolist()
    images = run.read("images")
    run.write("images", images.assign(file_name="=cmd|'" + images["file_name"]))
    export_selection(run, "some", tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text()
    assert text.count(",'=cmd") == 3
    assert "label" not in text


def test_coco(run, labels, tmp_path):
    export_selection(run, "some", tmp_path / "a.json", labels=labels)
    coco = COCO(tmp_path / "a.json")
    assert sorted(coco.anns) == [1, 5, 10]
    kinds = {coco.cats[row["category_id"]]["name"] for row in coco.anns.values()}
    assert kinds == set(labels.loc[[0, 4, 9]])
    assert (
        len(json.loads((tmp_path / "a.json").read_text())["images"])
        == run.read("regions")["image_id"].iloc[[0, 4, 9]].nunique()
    )


def test_crops(run, tmp_path):
    seen = []
    names = pd.Series("../évil/ name", index=run.read("regions")["region_id"])
    export_selection(run, "some", tmp_path / "crops", labels=names, progress=lambda *done: seen.append(done))
    files = sorted((tmp_path / "crops").iterdir())
    assert len(files) == 3
    assert seen[-1] == (3, 3)
    assert files[1].name.startswith("00000004_evil-name_")
    box = run.read("regions").iloc[4]
    assert Image.open(files[1]).size == (box["w"], box["h"])
    with pytest.raises(OrlError, match="there already"):
        export_selection(run, "some", tmp_path / "crops")
    with pytest.raises(OrlError, match="name a file"):
        export_selection(run, "some", tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    ("text", "name"), [("../a b", "a-b"), ("é=1", "e-1"), ("日本", ""), ("a" * 99, "a" * 60), ("NUL:", "NUL")]
)
def test_safe_names(text, name):
    assert safe_name(text) == name
