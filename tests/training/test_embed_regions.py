"""Embedding a run's regions by several encoders: the same vectors as one by one, once, and on after a kill."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from encoder_files import SETTINGS
from orl_explore.embedding import embed_regions
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.interchange.encoders import find_encoder
from orl_explore.maps.object_map import fingerprint
from orl_explore.runs.masks import RegionMasks
from orl_explore.runs.region_embeddings import folder_of, read_region_embeddings
from orl_explore.runs.run import Run
from training import cli, stage2
from training import embed_regions as module
from training.config import load_config
from training.embed_regions import embed_regions_by
from training.importing import import_files


@pytest.fixture
def copy(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "copy"))


def by_hand(run, name, ids):
    encoder = find_encoder(name, run).load()
    return embed_regions(encoder, run.images(), run.read("regions").iloc[ids], size=32)


def test_every_encoder_sees_the_same_sample(copy, tiny):
    assert embed_regions_by(copy, tiny, limit=40) == ["untrained", "stage1", "stage3"]
    for name in ("untrained", "stage1", "stage3"):
        found = read_region_embeddings(copy, name)
        assert len(found.region_ids) == 40
        assert found.vectors.dtype == np.float16
        assert found.facts["sample"] == {"count": 40, "of": len(copy.read("regions")), "seed": 0}
        np.testing.assert_allclose(found.vectors, by_hand(copy, name, found.region_ids), atol=2e-3)
    assert embed_regions_by(copy, tiny, ["random"]) == ["untrained"]  # by its other name, in the size of the others
    assert len(read_region_embeddings(copy, "untrained").region_ids) == 40


def test_what_is_there_is_not_made_again(copy, tiny, capsys, monkeypatch):
    embed_regions_by(copy, tiny, ["stage3"], limit=30)
    monkeypatch.setattr(module, "embed_regions_each", None)
    embed_regions_by(copy, tiny, ["stage3"])
    assert "embedded by stage3 already: skipped" in capsys.readouterr().err
    with pytest.raises(TypeError):
        embed_regions_by(copy, tiny, ["stage3"], limit=20)
    with pytest.raises(TypeError):
        embed_regions_by(copy, tiny, ["stage3"], overwrite=True)


def test_what_stage_2_mined_with_is_taken(copy, tiny, monkeypatch):
    monkeypatch.setattr(module, "embed_regions_each", None)
    embed_regions_by(copy, tiny, ["stage1"], limit=30)
    found = read_region_embeddings(copy, "stage1")
    np.testing.assert_array_equal(found.vectors, copy.read_array("region_embeddings")[found.region_ids])


@pytest.mark.slow
def test_every_encoder_sees_boxes_faded_as_stage_2_saw_them(with_encoder, annotations, tiny_yaml, tmp_path):
    """A sample that leaves images out, in shards of three images; and what is made unfaded is not taken for it."""
    overrides = ["--stage2.min_side=8", "--stage2.mask_outside=0.5", "--stage2.shard_images=3"]
    run = import_files(with_encoder.path, [annotations], config=str(tiny_yaml), overrides=overrides)
    config = load_config(run.path / "config.yaml")
    stage2.run(run, config)
    images, regions = run.images(), run.read("regions")
    counts = RegionMasks(run).of(images.table["image_id"].to_numpy())
    Encoder.random(SETTINGS, seed=5).save(other := tmp_path / "other.safetensors", stage="stage1", image_size=32)
    (given,) = embed_regions_by(run, config, [str(other)], limit=12)
    found = read_region_embeddings(run, given)
    ids = found.region_ids
    assert regions["image_id"].iloc[ids].nunique() < len(images)
    options = {"size": config.stage2.image_size, "mask_outside": 0.5, "masks": [counts[i] for i in ids]}
    vectors = embed_regions(Encoder.load(other), images, regions.iloc[ids], **options)
    np.testing.assert_allclose(found.vectors, vectors, atol=2e-3)
    embed_regions_by(run, config, ["stage1"], limit=12)  # stage 2's own
    mined = read_region_embeddings(run, "stage1").vectors
    np.testing.assert_array_equal(mined, run.read_array("region_embeddings")[ids])
    plain = load_config(run.path / "config.yaml", ["--stage2.mask_outside=0"])
    for name in (given, "stage1"):
        faded = read_region_embeddings(run, name)
        before = fingerprint(run, name)
        embed_regions_by(run, plain, [name], limit=12)
        assert np.abs(read_region_embeddings(run, name).vectors - faded.vectors).max() > 1e-2
        assert fingerprint(run, name) != before


def test_a_killed_job_goes_on(copy, tiny, monkeypatch):
    whole, calls = module.embed_regions_each, []

    def stop(encoders, images, regions, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(encoders))
        return whole(encoders, images, regions, **options)

    monkeypatch.setattr(module, "embed_regions_each", stop)
    with pytest.raises(KeyboardInterrupt):
        embed_regions_by(copy, tiny, ["random", "stage3"], limit=60)
    with pytest.raises(OrlError, match="not embedded"):
        read_region_embeddings(copy, "stage3")
    monkeypatch.setattr(module, "embed_regions_each", lambda *a, **o: (calls.append(len(a[0])), whole(*a, **o))[1])
    embed_regions_by(copy, tiny, ["random", "stage3"], limit=60)
    assert calls == [2, 2, 2]  # 20 images have regions in the sample: three shards of 7, of which two were there
    found = read_region_embeddings(copy, "stage3")
    np.testing.assert_allclose(found.vectors, by_hand(copy, "stage3", found.region_ids), atol=2e-3)
    assert sorted(path.name for path in folder_of(copy, "stage3").iterdir()) == [
        *("manifest.json", "region_embeddings.npy", "region_ids.npy")
    ]


@pytest.mark.parametrize("other", [{"limit": 50}, {"shard_images": 5}])
def test_shards_of_another_sample_or_size_are_not_joined(copy, tiny, monkeypatch, other):
    whole = module.embed_regions_each
    made = []

    def stop(*arguments, **options):
        if made:
            raise KeyboardInterrupt
        made.append(1)
        return whole(*arguments, **options)

    monkeypatch.setattr(module, "embed_regions_each", stop)
    with pytest.raises(KeyboardInterrupt):
        embed_regions_by(copy, tiny, ["stage3"], limit=60)
    monkeypatch.setattr(module, "embed_regions_each", whole)
    stage2 = dataclasses.replace(tiny.stage2, shard_images=other.get("shard_images", tiny.stage2.shard_images))
    embed_regions_by(copy, dataclasses.replace(tiny, stage2=stage2), ["stage3"], limit=other.get("limit", 60))
    found = read_region_embeddings(copy, "stage3")
    np.testing.assert_allclose(found.vectors, by_hand(copy, "stage3", found.region_ids), atol=2e-3)


def test_what_cannot_be(copy, tiny):
    with pytest.raises(OrlError, match="there is no encoder 'resnet'"):
        embed_regions_by(copy, tiny, ["resnet"])
    with pytest.raises(OrlError, match="limit is 0"):
        embed_regions_by(copy, tiny, ["stage1"], limit=0)
    before = sorted(copy.path.rglob("*"))
    with pytest.raises(OrlError, match="nope"):
        embed_regions_by(copy, tiny, ["untrained", "timm:nope"])
    assert sorted(copy.path.rglob("*")) == before  # nothing is begun of what cannot be loaded
    copy.clear("stage2")
    with pytest.raises(OrlError, match="run `orl stage2"):
        embed_regions_by(copy, tiny, ["stage1"])


def test_the_command(copy, tiny_yaml, capsys):
    shutil.copy(tiny_yaml, copy.path / "config.yaml")
    assert cli.main(["embed-regions", str(copy.path), "--encoder", "stage1", "random", "--limit", "20"]) == 0
    assert f"20 of {len(copy.read('regions')):,} regions by untrained: {copy.path}" in capsys.readouterr().err
