"""What a stage records in the run folder, and what it refuses or skips because of that."""

from __future__ import annotations

import shutil

import pytest

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.runs import files
from orl_explore.runs.run import Run
from stage_runs import STAGES, metrics, outputs
from training import record, stage1, stage2, stage3
from training.config import to_yaml


def test_run_folder(finished, tiny):
    manifest = finished.manifest()
    assert {name: record["state"] for name, record in manifest["stages"].items()} == dict.fromkeys(STAGES, "finished")
    for stage in ("stage1", "stage3"):
        assert manifest["stages"][stage]["outputs"] == {"encoder": files.hash_file(finished.encoder_file(stage))}
    assert manifest["stages"]["stage3"]["images_without_pairs"] == 0
    assert manifest["stages"]["stage2"]["inputs"]["encoder"] == manifest["stages"]["stage1"]["outputs"]["encoder"]
    assert (finished.path / "config.yaml").read_text() == to_yaml(tiny)
    assert sorted(
        str(path.relative_to(finished.path))
        for path in finished.path.rglob("*")
        if path.is_file() and path.name != ".lock"  # there once a command has worked on this shared run
    ) == sorted(
        [
            "config.yaml",
            "images.parquet",
            "objects.parquet",
            "run.json",
            "stage1/checkpoints/step=6.ckpt",
            "stage1/encoder.safetensors",
            "stage1/metrics.csv",
            "stage2/image_embeddings.npy",
            "stage2/neighbors.parquet",
            "stage2/pair_facts.parquet",
            "stage2/pairs.parquet",
            "stage2/proposals.parquet",
            "stage2/region_embeddings.npy",
            "stage2/regions.parquet",
            "stage3/checkpoints/step=6.ckpt",
            "stage3/encoder.safetensors",
            "stage3/metrics.csv",
        ]
    )


@pytest.mark.parametrize("stage", STAGES)
def test_finished_stages_are_skipped(finished, tiny, stage, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    STAGES[stage].run(finished, tiny)
    assert "is finished: skipped" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before


@pytest.mark.parametrize("stage", STAGES)
def test_other_settings_are_refused(finished, changed, stage):
    stored = (finished.path / "config.yaml").read_text()
    with pytest.raises(
        OrlError, match=f"made with other setting image_size: `orl {stage} .* --overwrite --{stage}.image_size 40`"
    ):
        STAGES[stage].run(finished, changed(stage, image_size=40))
    assert (finished.path / "config.yaml").read_text() == stored  # a refused command changes nothing
    assert finished.finished(stage)


@pytest.mark.parametrize(
    ("stage", "gone", "setting"),
    [
        ("stage1", "run.json", {"base_lr": 0.1}),
        ("stage1", "stage1/encoder.safetensors", {"epochs": 1, "warmup_epochs": 0.0}),
        ("stage2", "run.json", {"neighbors": 2}),
        ("stage3", "run.json", {"base_lr": 0.1}),
    ],
)
def test_results_without_a_record_are_not_gone_on_with(stage, gone, setting, finished, changed, tmp_path, capsys):
    copy = Run(shutil.copytree(finished.path, tmp_path / "copy"))
    (copy.path / gone).unlink()
    manifest = finished.manifest()
    manifest["stages"].pop(stage)
    files.write_json(copy.path / "run.json", manifest)
    before = {path.name: path.read_bytes() for path in (copy.path / stage).iterdir() if path.is_file()}
    STAGES[stage].run(copy, changed(stage, **setting))
    assert f"{copy.path / stage} held results that run.json tells nothing of: it is now {stage}.set-aside" in (
        " ".join(capsys.readouterr().err.split())
    )
    aside = copy.path / f"{stage}.set-aside"
    assert {path.name: path.read_bytes() for path in aside.iterdir() if path.is_file()} == before
    assert outputs(copy, stage) != outputs(finished, stage)
    if "epochs" in setting:
        assert {row["epoch"] for row in metrics(copy, stage)} == {"0"}


def test_what_spreads_the_work_may_change(finished, changed, capsys):
    stage1.run(finished, changed(workers=3, devices=2))
    assert "skipped" in capsys.readouterr().err


def test_stages_in_the_wrong_order(new_run, tiny):
    run = new_run()
    with pytest.raises(OrlError, match=r"no encoder at .*: run `orl stage1"):
        stage2.run(run, tiny)
    with pytest.raises(OrlError, match=f"regions.parquet is not there yet: run `orl stage2 {run.path}` first"):
        stage3.run(run, tiny)


def test_only_the_first_process_writes_to_the_run(new_run, tiny, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    run = new_run()
    with record.working_on(run, "stage1", tiny, inputs={}):
        record.save_encoder(run, "stage1", Encoder.random(tiny.stage1.encoder, 0), 32)
    assert run.stage("stage1") == {}
    assert not run.encoder_file("stage1").exists()
    assert not (run.path / "config.yaml").exists()
