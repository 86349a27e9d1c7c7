"""`orl import`: runs begun, gone on with and replaced; the dashboard opens them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from authors_files import mined, neighbors
from encoder_files import moco
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from orl_explore.settings import EncoderSettings
from training import cli, evaluate, stage2, stage3
from training.config import load_config
from training.importing import import_files


def test_an_imported_run_goes_through_the_rest(imported, changed, tiny):
    # Stage 2 has nothing to do; stage 3 trains on the pairs; figures leave out what is not known.
    config = changed("stage3", batch_size=2, epochs=2, checkpoint_steps=50)
    stage2.run(imported, config)
    stage3.run(imported, config)
    assert imported.finished("stage3")
    summary = evaluate.run(imported, config)
    assert summary["stage2"]["pairs"] == 8
    assert "near_duplicates" not in summary["stage2"]


@pytest.mark.usefixtures("streamlit_once")
@pytest.mark.parametrize("page", ["overview", "neighbors", "proposals", "pairs", "object_map", "compare", "sample"])
def test_the_app_opens_an_imported_run(imported, page, monkeypatch):
    from streamlit.testing.v1 import AppTest

    monkeypatch.setenv("ORL_RUNS", str(imported.path.parent))
    app = AppTest.from_file(str(Path(__file__).parents[2] / "app.py"), default_timeout=120)
    app.query_params.update({"run": "theirs", "page": page})
    app.run()
    assert not app.exception
    assert not app.error
    # What needs embeddings or an encoder says so; everything else is there.
    needs = {"object_map": "embeddings are no part of that", "compare": "encoder"}
    needs |= {"pairs": needs["object_map"]}  # in place of the matrix
    assert len(app.warning) == (page in needs)
    assert needs.get(page, "") in "".join(warning.value for warning in app.warning)


def test_the_run_folder_may_be_empty_but_no_file(tmp_path, photos, write, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    with pytest.raises(OrlError, match="is no folder: name the run folder first"):
        import_files(write(mined()), [write(mined())], images=[photos])
    import_files(tmp_path / "link", [write(mined())], images=[photos])
    assert (tmp_path / "link").is_symlink()
    assert Run.open(tmp_path / "here").finished("stage2")
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    assert import_files(Path(), [write(mined())], images=[photos]).finished("stage2")


def test_a_run_is_replaced_only_when_told(imported, write):
    before = (imported.path / "run.json").read_bytes()
    with pytest.raises(OrlError, match="has its own stage2 already"):
        import_files(imported.path, [write(neighbors(), "n.json")])
    assert (imported.path / "run.json").read_bytes() == before
    import_files(imported.path, [write(neighbors(), "n.json")], overwrite=True)
    assert imported.stage("stage2") == {}
    assert not imported.file("pairs").exists()
    imports = [entry["file"] for entry in imported.manifest()["imports"]]
    assert imports == ["proposals.json", "theirs.json", "n.json"]


def test_the_commands(tmp_path, photos, write, capsys):
    run, out = str(tmp_path / "run"), tmp_path / "out.json"
    assert cli.main(["import", run, str(write(mined())), "--images", str(photos), "--seed", "3"]) == 0
    assert Run(run).stage("stage2")["seed"] == 3
    assert cli.main(["export", run, "correspondences", str(out)]) == 0
    assert json.loads(out.read_text()) == mined()
    capsys.readouterr()
    assert cli.main(["import", run, str(write("{", "cut.json"))]) == 1
    assert "cut.json ends too early" in capsys.readouterr().err
    assert cli.main(["stage2", run]) == 0
    assert "was imported: skipped" in capsys.readouterr().err


def test_a_run_needs_images_once(imported, photos, tmp_path, write):
    with pytest.raises(OrlError, match="a new run needs its images"):
        import_files(tmp_path / "new", [write(mined())])
    with pytest.raises(OrlError, match="has its images already"):
        import_files(imported.path, [write(mined())], images=[photos], overwrite=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    with pytest.raises(OrlError, match="is a folder, but no run"):
        import_files(tmp_path / "folder", [write(mined())], images=[photos])
    assert (tmp_path / "folder" / "thesis.txt").read_text() == "mine"


def test_weights_leave_it_to_the_run_how_an_untrained_network_starts(imported, encoder_settings, tmp_path):
    Encoder.random(encoder_settings, 1).save(tmp_path / "encoder.safetensors", stage="stage1", image_size=32)
    start = ["--stage1.encoder.init=torchvision"]
    run = import_files(imported.path, [tmp_path / "encoder.safetensors"], overrides=start)
    found = load_config(run.path / "config.yaml").stage1.encoder
    assert found == dataclasses.replace(encoder_settings, init="torchvision")


@pytest.mark.slow
def test_an_import_begins_stage_2(new_run, tmp_path, annotations, capsys):
    # A backbone of another project stands in for stage 1: its settings are the run's, and the table of keys is shown.
    from training import stage2
    from training.config import load_config

    torch.save(moco(), tmp_path / "moco.pth.tar")
    overrides = ["--stage2.image_size=32", "--stage2.neighbors=2", "--stage2.min_side=16", "--workers=0"]
    overrides += ["--precision=fp32"]
    run = import_files(tmp_path / "run", [tmp_path / "moco.pth.tar"], images=[annotations], overrides=overrides)
    printed = capsys.readouterr().err
    assert "module.encoder_q.* -> backbone.*" in printed
    # 20 convolutions and 20 norms of five tensors; the head has two; key network and queue are others.
    lines = {tuple(line.rsplit("  ", 1)) for line in printed.splitlines()[1:5]}
    assert {(keys.strip(), fate) for keys, fate in lines} == {
        ("module.encoder_q.* -> backbone.*", "120 taken"),
        ("module.encoder_q.fc.*", "2 left out"),
        ("module.encoder_k.*", "122 left out"),
        ("module.queue", "1 left out"),
    }
    config = load_config(run.path / "config.yaml")
    assert config.stage1.encoder == EncoderSettings("resnet18", hidden=0, dim=512)
    stage2.run(run, config)
    assert run.read_array("image_embeddings").shape == (24, 512)
    assert run.finished("stage2")


@pytest.mark.slow
def test_masks_of_a_data_set_fade_what_is_around_objects(with_encoder, annotations, tiny_yaml, tmp_path):
    """The objects of the scenes as another tool's boxes: stage 2 goes on with them, and the same pairs come of none."""
    overrides = ["--stage2.min_side=8"]
    run = import_files(with_encoder.path, [annotations], config=str(tiny_yaml), overrides=overrides)
    regions = run.read("regions")
    assert len(run.read("masks")) == run.count("proposals") == len(run.images().objects)
    found = {}
    for strength in (0.0, 1.0):
        other = Run(shutil.copytree(run.path, tmp_path / f"fade{strength}"))
        config = load_config(run.path / "config.yaml", [f"--stage2.mask_outside={strength}"])
        stage2.run(other, config)
        assert other.read("regions").equals(regions)
        found[strength] = np.asarray(other.read_array("region_embeddings"), np.float32)
        assert other.stage("stage2")["config"].get("mask_outside", 0.0) == strength
    changed = np.abs(found[0.0] - found[1.0]).max(axis=1) > 1e-3
    assert changed.mean() > 0.9
    with pytest.raises(OrlError, match=r"stage2 of .* was made with other setting mask_outside"):
        stage2.run(Run(tmp_path / "fade1.0"), load_config(run.path / "config.yaml"))


def test_fading_needs_masks(with_encoder, tiny_yaml):
    config = load_config(tiny_yaml, ["--stage2.mask_outside=0.5"])
    with pytest.raises(OrlError, match=r"have no masks, so nothing can be faded"):
        stage2.run(with_encoder, config)
    assert with_encoder.stage("stage2") == {}
