"""Pictures that come and go: what is known of the others is taken over, and nothing else."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from encoder_files import encoder
from orl_explore.images.opening import open_images
from orl_explore.runs.reviews import Pair, read_reviews, read_verdicts, save_review
from orl_explore.runs.run import Run
from orl_explore.runs.selections import save_selection, selected
from training import stage2
from training.former import FOLDER, set_aside


@pytest.fixture
def photos(annotations, tmp_path):
    """A folder of 12 pictures, and 6 more that may come into it."""
    files = sorted((annotations.parent / "images").glob("*"))
    for name, some in (("photos", files[:12]), ("more", files[12:18])):
        (tmp_path / name).mkdir()
        for file in some:
            shutil.copy(file, tmp_path / name)
    return tmp_path / "photos"


@pytest.fixture
def config(changed, tmp_path):
    encoder().save(tmp_path / "encoder.safetensors", stage="stage1", image_size=32)
    return changed("stage2", encoder=str(tmp_path / "encoder.safetensors"), shard_images=5)


@pytest.fixture
def made(monkeypatch):
    """What the steps of stage 2 were asked for: how many images each."""
    counts = dict.fromkeys(("embed_images", "embed_regions", "propose"), 0)

    def counting(owner, name, size):
        original = getattr(owner, name)

        def function(*arguments, **options):
            counts[name] += 0 if options.get("features") else size(*arguments)  # a few are looked at for sanity
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, function)

    counting(stage2, "embed_images", lambda encoder, images, rows: len(rows))
    counting(stage2, "embed_regions", lambda encoder, images, regions: regions["image_id"].nunique())
    counting(stage2.Proposer, "propose", lambda self, rows, progress: len(rows))
    return counts


def mine(run, photos, config):
    images = open_images([photos])
    known = run.manifest()["images"]
    if known and known["fingerprint"] != images.fingerprint:
        set_aside(run)
    run.set_images(images, [str(photos)], replace=True)
    stage2.run(run, config)


def change(photos):
    """Let 6 pictures come, one go, and one become another."""
    for file in (photos.parent / "more").iterdir():
        shutil.copy(file, photos)
    first, second = sorted(photos.iterdir())[:2]
    first.unlink()
    with Image.open(second) as picture:
        turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.save(second)


def equal(run, fresh):
    """Whether two runs found the same, up to the rounding of batches of another composition."""
    for name in ("proposals", "regions", "pairs", "neighbors"):
        ours, theirs = (other.read(name).drop(columns="similarity", errors="ignore") for other in (run, fresh))
        pd.testing.assert_frame_equal(ours, theirs)
    for name in ("image_embeddings", "region_embeddings"):
        np.testing.assert_allclose(run.read_array(name), fresh.read_array(name), atol=2e-3)


@pytest.mark.slow
def test_only_new_pictures_are_looked_at(photos, config, made, tmp_path):
    run, fresh = Run(tmp_path / "run"), Run(tmp_path / "fresh")
    mine(run, photos, config)
    assert set(made.values()) == {12}
    change(photos)
    made.update(dict.fromkeys(made, 0))
    mine(run, photos, config)
    assert set(made.values()) == {7}  # six came, one has changed
    assert not (run.path / FOLDER).exists()
    mine(fresh, photos, config)
    equal(run, fresh)


@pytest.mark.slow
@pytest.mark.parametrize("writes", [2, 5, 9, 12])
def test_what_an_interrupted_stage_has_is_taken_over_too(photos, config, made, tmp_path, monkeypatch, writes):
    run, fresh = Run(tmp_path / "run"), Run(tmp_path / "fresh")
    original = stage2.Shards._save
    left = [writes]

    def save(self, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("stopped")
        original(self, *arguments)

    monkeypatch.setattr(stage2.Shards, "_save", save)
    with pytest.raises(RuntimeError, match="stopped"):
        mine(run, photos, config)
    monkeypatch.setattr(stage2.Shards, "_save", original)
    before = dict(made)
    change(photos)
    mine(run, photos, config)
    assert made["embed_images"] - before["embed_images"] < 17
    mine(fresh, photos, config)
    equal(run, fresh)


@pytest.mark.slow
def test_other_settings_take_nothing_over(photos, config, changed, made, tmp_path, capsys):
    run = Run(tmp_path / "run")
    mine(run, photos, config)
    change(photos)
    made.update(dict.fromkeys(made, 0))
    mine(run, photos, changed("stage2", encoder=config.stage2.encoder, shard_images=5, min_side=20))
    assert set(made.values()) == {17}
    assert "other settings or another encoder" in capsys.readouterr().err
    assert not (run.path / FOLDER).exists()


@pytest.mark.slow
def test_reviews_are_carried_over_to_the_regions_of_today(photos, config, tmp_path, capsys):
    run = Run(tmp_path / "run")
    mine(run, photos, config)
    pairs, first = run.read("pairs"), open_images([photos]).table["image_id"].iloc[0]
    boxes = run.read("regions").set_index("region_id")[["image_id", "x", "y", "w", "h"]]
    columns = ["image_id", "neighbor_id", "query_region", "key_region"]
    for row in pairs[columns].drop_duplicates(columns[:2]).to_numpy().tolist():
        save_review(run, Pair(*row), verdict="accepted")
    old, chosen = read_reviews(run), boxes.index[::2]
    save_selection(run, "mine", chosen)
    change(photos)
    mine(run, photos, config)
    new, today = read_reviews(run), run.read("regions").set_index("region_id")[["image_id", "x", "y", "w", "h"]]
    assert 0 < len(new) < len(old)
    assert first not in set(new["image_id"])
    assert f"{len(new):,} of {len(old):,} rows of reviews" in capsys.readouterr().err
    assert len(read_verdicts(run)) == len(new)
    assert set(selected(run, "mine")) < set(range(len(today)))
    assert boxes.loc[chosen].merge(today.loc[selected(run, "mine")]).shape[0] == len(selected(run, "mine")) > 0
    before = old.set_index(columns[:2])
    for row in new.itertuples():
        was = before.loc[(row.image_id, row.neighbor_id)]
        assert boxes.loc[was.query_region].tolist() == today.loc[row.query_region].tolist()
        assert boxes.loc[was.key_region].tolist() == today.loc[row.key_region].tolist()


@pytest.mark.slow
def test_making_the_stage_anew_takes_nothing_over(photos, config, tmp_path):
    run = Run(tmp_path / "run")
    mine(run, photos, config)
    set_aside(run)
    assert (run.path / FOLDER).exists()
    run.clear("stage2")
    assert not (run.path / FOLDER).exists()
