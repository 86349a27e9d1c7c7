"""The map of the regions: what it is made of, how it is stored, and when it is refused."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from orl_explore.errors import OrlError
from orl_explore.maps import object_map
from orl_explore.maps.object_map import MapSettings, lay_out, make_object_map, read_object_map, sample
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
