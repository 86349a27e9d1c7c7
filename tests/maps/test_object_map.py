"""The map of the regions: what it is made of, how it is stored, and when it is refused."""

from __future__ import annotations

import shutil
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

from flat_maps import flat_layout
from orl_explore.errors import OrlError
from orl_explore.maps import object_map
from orl_explore.maps.object_map import MapSettings, lay_out, make_object_map, make_object_maps, read_object_map
from orl_explore.runs.files import write_array
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES
from training.embed_regions import embed_regions_by


@pytest.fixture
def quick(monkeypatch):
    """UMAP by two coordinates of the embedding: real UMAP compiles for many seconds."""
    monkeypatch.setattr(object_map, "umap_layout", flat_layout)


@pytest.fixture
def copy(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "copy"))


def unit(count, dim=8, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def test_project_says_which_regions_it_shows(quick):
    vectors = unit(300)
    table = lay_out(vectors, limit=40, clusters=3, seed=1)
    known = dict(TABLES["object_map"].columns)
    assert table.dtypes.astype(str).to_dict() == {**known, "pca_x": "float32", "pca_y": "float32", "kept": "float32"}
    assert len(table) == 40
    rows = table["region_id"].to_numpy()
    np.testing.assert_allclose(table[["x", "y"]], vectors[rows, :2].astype(np.float32) * 1.1, rtol=1e-6)
    assert (np.diff(np.bincount(table["cluster"])) <= 0).all()  # numbered from the largest on


def test_clusters_are_those_of_the_embeddings(quick):
    kinds = np.repeat([0, 1, 2], [30, 20, 10])
    vectors = np.eye(8, dtype=np.float32)[kinds]
    np.testing.assert_array_equal(lay_out(vectors, clusters=3)["cluster"], kinds)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"neighbors": 1}, "neighbors is 1"),
        ({"min_dist": 2.0}, "min_dist is 2.0"),
        ({"metric": "manhatten"}, "metric is 'manhatten': choose one of cosine"),
        ({"clusters": 0}, "clusters is 0"),
        ({"limit": 2}, "limit is 2"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "at most 4294967295"),  # k-means takes no more, minutes later
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(OrlError, match=message):
        lay_out(unit(50), **setting)


def test_too_few_regions():
    with pytest.raises(OrlError, match="3 regions are too few"):
        lay_out(unit(3))


def test_a_map_is_turned_onto_another_one(quick):
    vectors = unit(300).astype(np.float32)
    first = lay_out(vectors)
    turned = np.float32([[0, 3], [-3, 0]])
    onto = first.assign(**dict(zip("xy", (first[["x", "y"]].to_numpy() @ turned + 5).T, strict=True)))
    again = lay_out(vectors, onto=onto)
    np.testing.assert_allclose(again[["x", "y"]], onto[["x", "y"]], atol=1e-4)
    np.testing.assert_allclose(again[["pca_x", "pca_y"]], onto[["pca_x", "pca_y"]], atol=1e-4)


def test_a_map_begins_at_another_one_and_new_regions_beside_similar_ones(monkeypatch):
    begun = []
    monkeypatch.setattr(object_map, "umap_layout", lambda v, *, init, **o: begun.append(init) or flat_layout(v))
    vectors = np.repeat(np.eye(8, dtype=np.float32), 5, axis=0)
    onto = pd.DataFrame({"region_id": range(0, 40, 2), "x": np.arange(20.0), "y": 0.0})
    lay_out(vectors, onto=onto)
    np.testing.assert_array_equal(begun[0][::2, 0], np.arange(20))
    assert begun[0][1, 0] in (0, 1, 2)  # as regions 0, 2 and 4, which look the same
    lay_out(vectors, onto=onto.assign(region_id=onto["region_id"] + 1000))  # another run's: nothing to begin at
    assert begun[1] is None


def test_how_many_neighbors_the_map_keeps(quick):
    line = np.linspace(0, 1.2, 400)
    flat = np.c_[np.cos(line), np.sin(line), np.zeros((400, 3))].astype(np.float32)
    assert lay_out(flat)["kept"].min() == 1  # two numbers are all there is
    assert lay_out(unit(400))["kept"].mean() < 0.5  # two of eight are not


# ---- a run's map ---------------------------------------------------------------------------------------------------


def test_a_map_is_stored_with_its_settings(copy, quick):
    assert not object_map.is_current(copy, MapSettings())
    made = make_object_map(copy, MapSettings(min_dist=0.5))
    read = read_object_map(copy)
    assert read.settings == MapSettings(min_dist=0.5)
    assert read.regions == len(copy.read("regions"))
    pd.testing.assert_frame_equal(read.table, made.table)
    assert object_map.is_current(copy, MapSettings(min_dist=0.5))
    assert not object_map.is_current(copy, MapSettings())


def test_a_stale_map_is_refused(copy, quick):
    make_object_map(copy)
    write_array(copy.file("region_embeddings"), unit(len(copy.read("regions"))))
    copy.note("stage2", outputs={})
    with pytest.raises(OrlError, match=r"other region embeddings: `orl map .* --overwrite`"):
        read_object_map(copy)


def test_a_map_by_somebody_else_is_refused(copy, quick):
    copy.write("object_map", make_object_map(copy).table)
    with pytest.raises(OrlError, match="other region embeddings"):
        read_object_map(copy)


def test_what_is_missing_is_named(copy):
    with pytest.raises(OrlError, match=r"run `orl map .*` first"):
        read_object_map(copy)
    copy.clear("stage2")
    with pytest.raises(OrlError, match=r"run `orl stage2 .*` first"):
        make_object_map(copy)


# ---- maps of encoders ----------------------------------------------------------------------------------------------


@pytest.fixture
def embedded(copy, tiny):
    embed_regions_by(copy, tiny, limit=60)
    return copy


def test_maps_of_encoders_are_aligned_to_stage_1(embedded, quick):
    watched = []

    def watch(encoder):
        watched.append(encoder)
        return nullcontext(lambda done, total: None)

    made = make_object_maps(embedded, ["random", "stage3"], MapSettings(clusters=3), watch=watch)
    assert list(made) == ["untrained", "stage3"]
    assert watched == ["stage1", "untrained", "stage3"]  # what the others are aligned to comes first
    base = read_object_map(embedded, "stage1")
    assert (base.encoder, base.aligned, base.settings) == ("stage1", {}, MapSettings(clusters=3))
    for name, other in made.items():
        read = read_object_map(embedded, name)
        pd.testing.assert_frame_equal(read.table, other.table)
        assert (read.encoder, read.aligned["encoder"], read.regions) == (name, "stage1", len(embedded.read("regions")))
        assert object_map.is_current(embedded, MapSettings(clusters=3), name, onto="stage1")
    make_object_maps(embedded, ["random", "stage3"], MapSettings(clusters=3), watch=watch)
    assert len(watched) == 3  # all are there
    make_object_maps(embedded, ["stage1", "stage3"], MapSettings(clusters=4), watch=watch)
    assert watched[3:] == ["stage1", "stage3"]
    assert not object_map.is_current(embedded, MapSettings(clusters=3), "untrained", onto="stage1")
    make_object_maps(embedded, ["untrained"], MapSettings(clusters=3), watch=watch)
    assert watched[5:] == ["untrained"]  # its base is another one now


def test_what_stage_2_mined_with_has_a_map_beside_them(embedded, quick):
    made = make_object_maps(embedded, ["mined", "stage3"])
    assert embedded.file("object_map").exists()
    assert len(made["mined"].table) == len(embedded.read("regions"))
    assert len(made["stage3"].table) == 60


def test_a_map_of_other_embeddings_is_refused(embedded, tiny, quick):
    make_object_maps(embedded, ["stage3"])
    embed_regions_by(embedded, tiny, ["stage3"], limit=50)
    with pytest.raises(OrlError, match=r"other region embeddings: `orl map \S+ --encoder stage3 --overwrite`"):
        read_object_map(embedded, "stage3")
    with pytest.raises(OrlError, match="not embedded by embedded yet"):
        make_object_maps(embedded, ["embedded"])
    map_file = object_map.map_file(embedded, "stage1")
    map_file.write_bytes(b"PAR1")
    with pytest.raises(OrlError, match="cannot be read"):
        read_object_map(embedded, "stage1")


@pytest.mark.parametrize(
    ("names", "base"),
    [
        (["untrained", "stage3", "stage1"], "stage1"),
        (["random", "embedded"], "embedded"),
        (["untrained"], "untrained"),
        (["stage3", "mined"], "stage3"),
    ],
)
def test_the_map_that_others_are_aligned_to(names, base):
    assert object_map.base_of(names) == base
