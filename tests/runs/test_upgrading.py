"""A run folder as version 0.1 left it, opened today: format-1.zip holds one of twelve scenes, without its weights."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from orl_explore.errors import OrlError
from orl_explore.maps.object_map import MapSettings, read_object_map
from orl_explore.runs import replay
from orl_explore.runs.run import FORMAT, Run
from orl_explore.settings import Config

HERE = Path(__file__).parent


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder, its images beside it; stage 2 left a shard, as when it was killed."""
    with zipfile.ZipFile(HERE / "format-1.zip") as archive:
        archive.extractall(tmp_path)
    path = tmp_path / "run"
    text = (path / "run.json").read_text()
    (path / "run.json").write_text(text.replace("DATA", str(tmp_path)).replace("RUN", str(path)))
    (path / "stage2/parts").mkdir()
    (path / "stage2/parts/pairs-00001").write_text("kept")
    return path


def test_it_was_made_before(old):
    assert json.loads((old / "run.json").read_text())["format"] == 1
    assert (old / "projection.parquet").exists()
    assert "background_pairs" in json.loads((old / "evaluation/summary.json").read_text())["stage2"]


def test_it_opens_and_is_rewritten_once(old):
    figures = json.loads((old / "evaluation/summary.json").read_text())["stage2"]
    run = Run.open(old)
    assert json.loads((old / "run.json").read_text())["format"] == FORMAT
    files = {path.relative_to(old).as_posix() for path in old.rglob("*") if path.is_file()}
    assert {"object_map.parquet", "summary.png", "stage2/shards/pairs-00001"} <= files
    assert not files & {"projection.parquet", "overview.png", "stage2/parts/pairs-00001"}

    made = read_object_map(run)  # which also looks whether it shows the embeddings that the run has
    assert made.settings == MapSettings(neighbors=5, clusters=4)
    assert len(made.table) == made.regions == run.count("regions")
    now = json.loads((old / "evaluation/summary.json").read_text())["stage2"]
    assert now.pop("unlabeled_pairs") == figures.pop("background_pairs")
    assert now == figures

    before = {path: path.stat().st_mtime_ns for path in old.rglob("*")}
    Run.open(old)
    assert {path: path.stat().st_mtime_ns for path in old.rglob("*")} == before


def test_its_settings_are_those_of_its_stages(old):
    config = Run.open(old).config()
    assert config.stage1.encoder.hidden == 16
    assert config.stage2.min_side == 20
    assert config.stage3.patch_size == 32
    assert config.stage3.momentum == Config().stage3.momentum
    assert replay.stage3_settings(Run(old)) == (config.stage3, 0)


def test_what_was_interrupted_goes_on(old):
    # Killed after the first file was renamed, and once more after the map was written but not yet removed.
    (old / "overview.png").rename(old / "summary.png")
    shutil.copy(old / "projection.parquet", old / "object_map.parquet")
    assert read_object_map(Run.open(old)).settings.clusters == 4
    assert not (old / "projection.parquet").exists()


def test_damaged_files_are_left_to_those_who_read_them(old):
    (old / "projection.parquet").write_bytes(b"PAR1")
    (old / "evaluation/summary.json").write_text("{")
    assert Run.open(old).manifest()["format"] == FORMAT
    with pytest.raises(OrlError, match=r"run `orl map .*` first"):
        read_object_map(Run(old))


def test_the_name_of_another_encoder_moves(old):
    manifest = json.loads((old / "run.json").read_text())
    manifest["stages"]["stage2"]["prior"] = {"encoder": "timm:resnet26d"}
    (old / "run.json").write_text(json.dumps(manifest))
    assert Run.open(old).stage("stage2")["pretrained"] == {"encoder": "timm:resnet26d"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(old):
    old.chmod(0o555)
    with pytest.raises(OrlError, match="copy it to a folder that can be written to"):
        Run.open(old)


def test_a_disk_that_refuses(old, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OrlError, match=r"format 1 .*\(Read-only file system\): copy it"):
        Run.open(old)
    assert json.loads((old / "run.json").read_text())["format"] == 1


@pytest.mark.parametrize("page", ["overview", "neighbors", "proposals", "pairs", "object_map", "sample"])
def test_every_page_shows_it(old, page, monkeypatch):
    monkeypatch.setenv("ORL_RUNS", str(old.parent))
    app = AppTest.from_file(str(HERE.parents[1] / "app.py"), default_timeout=60)
    app.query_params.update(run="run", page=page)
    app.run()
    assert not app.exception
    assert not app.error, [box.value for box in app.error]
    assert app.sidebar.selectbox[0].value == "run"
