"""Exploring: what it makes, what it goes on with, and what it refuses."""

from __future__ import annotations

import shutil

import pytest

from encoder_files import encoder
from orl_explore.errors import OrlError
from orl_explore.maps import object_map
from orl_explore.runs.exploring import is_explored
from orl_explore.runs.run import Run
from training import explore as module
from training.explore import explore, smallest_side, summary


@pytest.fixture
def weights(tmp_path):
    """An encoder in a file."""
    encoder().save(tmp_path / "encoder.safetensors", stage="stage1", image_size=32)
    return tmp_path / "encoder.safetensors"


@pytest.fixture
def options(weights):
    """Settings as typed: small crops, a few neighbors."""
    names = {"encoder": weights, "encoder_size": 32, "neighbors": 3, "batch_size": 16, "shard_images": 7}
    return [*(f"--stage2.{name}={value}" for name, value in names.items()), "--workers=0"]


@pytest.fixture
def no_map(monkeypatch):
    """UMAP takes long to compile; gives the runs that a map was asked for."""
    asked = []
    monkeypatch.setattr(module, "make_map", lambda run: asked.append(run.path))
    return asked


@pytest.mark.slow
def test_exploring_a_folder(annotations, options, no_map, tmp_path, capsys):
    run = explore(Run(tmp_path / "run"), [annotations], overrides=options)
    assert is_explored(run)
    assert run.finished("stage2")
    assert not run.stage("stage1")
    assert no_map == [run.path]
    assert run.config().stage2.min_side == round(0.15 * 80)  # scenes of 80 px
    said = capsys.readouterr().err
    assert "At most 30 boxes of a picture are kept; the paper keeps 100." in said
    lines = "\n".join(summary(run))
    assert f"24 pictures, {run.count('regions'):,} boxes" in lines
    assert "join the same kind" in lines
    assert f"`orl run {run.path}` trains stages 1 and 3" in lines


@pytest.mark.slow
def test_exploring_again_makes_nothing_anew_and_other_settings_are_refused(annotations, options, no_map, tmp_path):
    run = explore(Run(tmp_path / "run"), [annotations], overrides=options)
    before = run.file("pairs").stat().st_mtime_ns
    explore(Run(run.path), [annotations])
    assert run.file("pairs").stat().st_mtime_ns == before
    with pytest.raises(OrlError, match=r"other settings \(neighbors\): add --overwrite"):
        explore(Run(run.path), [annotations], overrides=["--stage2.neighbors=2"])
    assert run.config().stage2.neighbors == 3
    explore(Run(run.path), [annotations], overrides=["--stage2.neighbors=2"], overwrite=True)
    assert run.read("neighbors")["rank"].max() == 1


@pytest.mark.slow
def test_pictures_that_came_into_the_folder_are_taken_in(annotations, options, no_map, tmp_path, capsys):
    photos = shutil.copytree(annotations.parent / "images", tmp_path / "photos")
    late = sorted(photos.iterdir())[-1]
    late.rename(tmp_path / late.name)
    run = explore(Run(tmp_path / "run"), [photos], overrides=options)
    (tmp_path / late.name).rename(late)
    sorted(photos.iterdir())[0].unlink()
    explore(Run(run.path), [photos])
    assert (
        "new or have changed: 1; that are gone or were different: 1; the other 22 are taken over"
        in capsys.readouterr().err
    )
    assert late.name in set(run.images().table["file_name"])
    assert run.finished("stage2")
    run.note("stage1", state="finished")
    sorted(photos.iterdir())[1].rename(tmp_path / "away.png")
    (tmp_path / "away.png").rename(photos / "back.png")
    explore(Run(run.path), [photos])
    assert "this run has been trained and stays as it is" in capsys.readouterr().err
    assert "back.png" not in set(run.images().table["file_name"])


def test_the_smallest_box_follows_the_pictures(images):
    assert smallest_side(images) == 12
    wide = images.table.assign(width=[640] * 20 + [4000] * 4, height=400)
    assert smallest_side(type(images)(wide, images.objects, images.skipped, images.roots)) == 96


@pytest.mark.slow
def test_the_map_is_made_once(annotations, options, tmp_path):
    run = explore(Run(tmp_path / "run"), [annotations], overrides=options)
    assert object_map.read_object_map(run).regions == run.count("regions")
    before = run.file("object_map").stat().st_mtime_ns
    explore(Run(run.path), [annotations])
    assert run.file("object_map").stat().st_mtime_ns == before
