"""`orl map`, and the name that it had before."""

from __future__ import annotations

import shutil

import pytest

from flat_maps import flat_layout
from orl_explore.maps import object_map
from orl_explore.maps.object_map import MapSettings, read_object_map


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout that takes no time: the first two numbers of each embedding."""
    monkeypatch.setattr(object_map, "umap_layout", flat_layout)


def test_map(orl, copy):
    code, _, text = orl("map", copy.path, "--clusters", 3, "--limit", 20)
    assert code == 0
    made = read_object_map(copy)
    assert made.settings == MapSettings(clusters=3, limit=20)
    assert len(made.table) == 20
    assert f"20 of {made.regions:,} regions are on the map, which keeps " in text
    assert f"{copy.path}/object_map.parquet" in text

    before = copy.file("object_map").stat().st_mtime_ns
    assert orl("map", copy.path, "--clusters", 3, "--limit", 20)[0] == 0
    assert copy.file("object_map").stat().st_mtime_ns == before  # it is up to date
    assert orl("map", copy.path, "--clusters", 4, "--limit", 20)[0] == 0
    assert read_object_map(copy).settings.clusters == 4


def test_maps_of_encoders(orl, copy, tiny_yaml):
    shutil.copy(tiny_yaml, copy.path / "config.yaml")
    code, _, text = orl("map", copy.path, "--encoder", "stage3")
    assert code == 1
    assert "run `orl embed-regions" in text
    code, _, text = orl("map", copy.path, "--encoder", "bogus")
    assert code == 1
    assert "there is no encoder 'bogus'" in text  # no command to embed by it
    assert orl("embed-regions", copy.path, "--limit", 30)[0] == 0
    code, _, text = orl("map", copy.path, "--encoder", "random", "stage3")
    assert code == 0
    assert f"30 of {len(copy.read('regions')):,} regions are on the map" in text
    assert f"{copy.path}/objects/stage3/object_map.parquet" in text
    code, _, text = orl("map", copy.path, "--encoder", "stage3")
    assert code == 0
    assert "the map of stage3 of" in text
    assert "up to date: skipped" in text


def test_its_former_name_works_and_says_the_new_one(orl, copy):
    code, _, text = orl("project", copy.path)
    assert code == 0
    assert f"`orl map {copy.path}`" in text
    assert read_object_map(copy).settings == MapSettings()
