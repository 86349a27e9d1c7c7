"""The map of the regions: what it is made of, when it is refused, and what is similar to what."""

import shutil

import numpy as np
import pandas as pd
import pytest

from orl_explore.errors import OrlError
from orl_explore.figures import object_map as map_figures
from orl_explore.judging import diagnostics
from orl_explore.judging.diagnostics import region_labels
from orl_explore.maps import object_map, similar_regions
from orl_explore.maps.object_map import MapSettings, lay_out, make_object_map, read_object_map, sample
from orl_explore.maps.similar_regions import most_similar
from orl_explore.runs.files import write_array
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES
from training import cli


@pytest.fixture
def quick(monkeypatch):
    """UMAP by two coordinates of the embedding: real UMAP compiles for many seconds."""

    def layout(vectors, neighbors, min_dist, metric, seed, progress):
        if progress:
            progress(200, 200)
        return vectors[:, :2] * np.float32(1 + min_dist)

    monkeypatch.setattr(object_map, "_umap", layout)


@pytest.fixture
def copy(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "copy"))


def unit(count, dim=8, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def test_a_sample_is_seeded_and_within_the_limit():
    np.testing.assert_array_equal(sample(5, limit=5, seed=0), np.arange(5))
    chosen = sample(1000, limit=10, seed=3)
    assert len(set(chosen.tolist())) == 10
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, sample(1000, limit=10, seed=3))
    assert chosen.tolist() != sample(1000, limit=10, seed=4).tolist()


def test_project_says_which_regions_it_shows(quick):
    vectors = unit(300)
    table = lay_out(vectors, limit=40, clusters=3, seed=1)
    assert table.dtypes.astype(str).to_dict() == dict(TABLES["object_map"].columns)
    assert len(table) == 40
    rows = table["region_id"].to_numpy()
    np.testing.assert_allclose(table[["x", "y"]], vectors[rows, :2].astype(np.float32) * 1.1, rtol=1e-6)
    counts = table["cluster"].value_counts()
    assert counts.index.tolist() == sorted(counts.index)  # numbered from the largest on


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
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(OrlError, match=message):
        lay_out(unit(50), **setting)


def test_too_few_regions():
    with pytest.raises(OrlError, match="3 regions are too few"):
        lay_out(unit(3))


@pytest.mark.slow  # numba compiles
@pytest.mark.parametrize("count", [5, 120])
def test_umap_itself(count):
    seen = []
    vectors = unit(count)
    table = lay_out(vectors, progress=lambda done, total: seen.append((done, total)))
    assert np.isfinite(table[["x", "y"]]).all(axis=None)
    assert seen[-1][0] == seen[-1][1] > 0
    pd.testing.assert_frame_equal(table, lay_out(vectors))


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


def test_the_command(copy, quick, capsys):
    assert cli.main(["project", str(copy.path), "--limit", "20"]) == 0
    assert "20 of" in capsys.readouterr().err
    assert cli.main(["project", str(copy.path), "--limit", "20"]) == 0
    assert "up to date: skipped" in capsys.readouterr().err
    assert cli.main(["project", str(copy.path), "--limit", "20", "--overwrite"]) == 0
    assert "20 of" in capsys.readouterr().err


# ---- what the points are -------------------------------------------------------------------------------------------


def test_labels_are_categories_of_objects(finished):
    images, regions = finished.images(), finished.read("regions")
    objects = images.objects
    own = objects[["image_id", "x", "y", "w", "h"]].round().astype(dict.fromkeys("xywh", "int32"))
    own["region_id"] = np.arange(len(own))
    labels = region_labels(own, images)
    assert (labels.to_numpy() == objects["category"].to_numpy()).mean() > 0.9  # others lie on top of each other
    assert set(region_labels(regions, images)) <= {*objects["category"], diagnostics.UNLABELED}


@pytest.mark.parametrize("block", [3, 1000])
def test_most_similar(monkeypatch, block):
    monkeypatch.setattr(similar_regions, "BLOCK", block)
    angles = np.array([0.0, 0.5, 0.1, 3.0, 0.1])
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    found = most_similar(vectors, 0, count=3)
    assert found["region_id"].tolist() == [2, 4, 1]  # of equals, the first one; never itself
    np.testing.assert_allclose(found["similarity"], np.cos([0.1, 0.1, 0.5]), rtol=1e-5)
    assert len(most_similar(vectors, 0, count=99)) == 4
    np.testing.assert_allclose(similar_regions.similarities(vectors, 1, np.array([3, 1])), np.cos([2.5, 0]), rtol=1e-5)


# ---- the figure ----------------------------------------------------------------------------------------------------


def points(labels):
    count = len(labels)
    numbers = np.arange(count)
    columns = {"region_id": numbers, "x": numbers, "y": numbers, "image_id": numbers // 2, "w": 9, "h": 8}
    return pd.DataFrame(columns | {"label": labels, "cluster": numbers % 3, "share": numbers})


def test_groups_differ_in_color_or_symbol_and_names_are_no_html():
    labels = [f"<b>{number}" for number in range(20)] + [diagnostics.UNLABELED] * 3
    made = map_figures.by_group(points(labels), "label")
    looks = [(trace.marker.color, trace.marker.symbol) for trace in made.data]
    assert len(set(looks)) == 21
    assert made.data[0].name == "unlabeled (3)"
    assert not any("<b>" in trace.name or "<b>" in str(trace.text) for trace in made.data if trace.name)
    drawn = [int(facts[0]) for trace in made.data if trace.customdata is not None for facts in trace.customdata]
    assert sorted(drawn) == list(range(23))


def test_many_groups_share_one_gray():
    made = map_figures.by_group(points([f"kind {number}" for number in range(40)]), "label")
    assert made.data[0].name == f"{map_figures.OTHERS} ({40 - map_figures.GROUPS})"
    assert len(made.data) == map_figures.GROUPS + 1


def test_values_and_images():
    made = map_figures.by_value(points(["a"] * 10), "share", "size")
    assert list(made.data[0].marker.color) == list(range(10))
    made = map_figures.by_image(points(["a"] * 10), 1, {2: 0.9})
    assert {trace.name: trace.customdata[:, 0].tolist() for trace in made.data} == {
        "all other images (6)": [0, 1, 6, 7, 8, 9],
        "its neighbors (2)": [4, 5],
        "this image (2)": [2, 3],
    }
