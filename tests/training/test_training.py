"""The three stages on tiny scenes: one step by hand, whole runs, and that no interruption leaves a trace."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from orl_explore.boxes import filter_boxes
from orl_explore.byol import BYOL, target_momentum
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.orl import ORL
from orl_explore.pairs import pair_regions
from orl_explore.runs import files
from orl_explore.runs import run as run_module
from orl_explore.runs.run import Run, latest_checkpoint
from orl_explore.runs.samples import ImageViews, ObjectViews, StepSampler
from orl_explore.runs.tables import MINED, TABLES
from orl_explore.settings import Stage2Settings
from orl_explore.views.tensors import normalize
from training import callbacks, record, stage1, stage2, stage3
from training.callbacks import MetricsLog
from training.config import save_config, to_yaml
from training.sharding import ProcessGroup, Shards
from training.twin_training import TwinTraining

STAGES = {"stage1": stage1, "stage2": stage2, "stage3": stage3}


def metrics(run: Run, stage: str) -> list[dict[str, str]]:
    with (run.path / stage / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def outputs(run: Run, stage: str) -> dict[str, bytes]:
    """What a stage leaves, byte by byte; checkpoints hold paths and times, so of them only the names."""
    if stage == "stage2":
        return {name: run.file(name).read_bytes() for name in MINED}
    folder = run.path / stage
    files = {name: (folder / name).read_bytes() for name in ("metrics.csv", "encoder.safetensors")}
    return {**files, "checkpoints": b" ".join(sorted(p.name.encode() for p in (folder / "checkpoints").iterdir()))}


@pytest.fixture
def unfinished(finished, tmp_path):
    """Copy the finished run and forget a stage of it."""

    def make(stage: str) -> Run:
        copy = Run(shutil.copytree(finished.path, tmp_path / "copy"))
        copy.clear(stage)
        return copy

    return make


@pytest.fixture
def stop_at(monkeypatch):
    """Raise an error in a training step."""

    def arrange(step: int | None, error: type[BaseException] = RuntimeError):
        original = TwinTraining.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == step:
                raise error(f"stopped at step {step}")
            return original(self, batch, batch_idx)

        monkeypatch.setattr(TwinTraining, "training_step", training_step)
        return lambda: monkeypatch.setattr(TwinTraining, "training_step", original)

    return arrange


# ---- whole runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "names"), [("stage1", ["image"]), ("stage3", ["image", "intra", "inter"])])
def test_metrics(finished, stage, names):
    rows = metrics(finished, stage)
    losses = [f"loss_{name}" for name in names]
    assert list(rows[0]) == ["step", "epoch", "lr", "momentum", "loss", *losses, "std", "rank"]
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 3, 4, 5]  # 24 images, batches of 8, two epochs
    assert [int(row["epoch"]) for row in rows] == [0, 0, 0, 1, 1, 1]
    # lr 0.4 * 8 / 512 = 0.00625; three steps of warm-up from 1e-4, then a cosine over three steps: 1, 3/4, 1/4.
    shares = [1e-4, 1e-4 + 0.9999 / 3, 1e-4 + 2 * 0.9999 / 3, 1, 0.75, 0.25]
    assert [float(row["lr"]) for row in rows] == pytest.approx([0.00625 * share for share in shares], rel=1e-5)
    assert [float(row["momentum"]) for row in rows] == pytest.approx(
        [0.99, 0.99067, 0.9925, 0.995, 0.9975, 0.99933], abs=1e-5
    )
    for row in rows:
        assert float(row["loss"]) == pytest.approx(sum(float(row[name]) for name in losses), abs=1e-4)
        assert all(0 < float(row[name]) < 8 for name in losses)
    assert [bool(row["std"]) for row in rows] == [bool(row["rank"]) for row in rows] == [False, False, True] * 2
    assert 0 < float(rows[-1]["std"]) < 1.2
    assert 1 < float(rows[-1]["rank"]) <= 16


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
            "stage2/pairs.parquet",
            "stage2/proposals.parquet",
            "stage2/region_embeddings.npy",
            "stage2/regions.parquet",
            "stage3/checkpoints/step=6.ckpt",
            "stage3/encoder.safetensors",
            "stage3/metrics.csv",
        ]
    )


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_checkpoints_hold_data_alone(finished, stage, encoder_settings):
    path, steps = latest_checkpoint(finished.path / stage / "checkpoints")
    assert steps == 6
    checkpoint = torch.load(path, weights_only=True)  # refuses anything that could run code
    assert checkpoint["global_step"] == 6
    state = {name.removeprefix("networks."): tensor for name, tensor in checkpoint["state_dict"].items()}
    networks = (BYOL if stage == "stage1" else ORL)(encoder_settings)
    networks.load_state_dict(state)
    exported = Encoder.load(finished.encoder_file(stage)).state_dict()
    assert all(torch.equal(tensor, exported[name]) for name, tensor in networks.online.state_dict().items())


@pytest.mark.parametrize(
    ("stage", "networks", "steps", "accumulate"),
    [("stage1", BYOL, 2, 1), ("stage3", ORL, 2, 1), ("stage1", BYOL, 2, 3), ("stage3", ORL, 2, 2)],
)
def test_steps_by_hand(stage, networks, steps, accumulate, changed, new_run, unfinished, images):
    """Two steps over all images against the recipe written out: loss, SGD on everything, then the moving average.

    Accumulated, a step's gradient is the mean over equal passes, each with its own batch statistics.
    """
    config = changed(stage, epochs=steps, batch_size=24, warmup_epochs=0, accumulate=accumulate)
    run = new_run() if stage == "stage1" else unfinished("stage3")
    settings = getattr(config, stage)
    STAGES[stage].run(run, config)

    torch.manual_seed(config.seed)
    model = networks(settings.encoder)
    dataset = (
        ImageViews(images, settings, config.seed)
        if stage == "stage1"
        else ObjectViews(images, run.read("regions"), run.read("pairs"), settings, config.seed)
    )
    weights = [p for p in model.parameters() if p.requires_grad]
    velocity = [torch.zeros_like(p) for p in weights]
    losses = []
    for step, batch in enumerate(StepSampler(24, batch_size=24, epochs=steps, seed=config.seed)):
        samples = [dataset[index] for index in batch]
        names = [name for name in samples[0] if name != "image_id"]
        size = 24 // accumulate
        passes = [samples[start : start + size] for start in range(0, 24, size)]
        loss = 0
        for part in passes:
            found, _ = model(**{name: normalize(torch.stack([sample[name] for sample in part])) for name in names})
            loss = loss + sum(found.values()) / accumulate
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, weights)
        rate = 0.4 * 24 / 512 * (1 if step == 0 else 0.5)  # cosine over two steps
        with torch.no_grad():
            for p, v, g in zip(weights, velocity, gradients, strict=True):
                v.mul_(0.9).add_(g + 1e-4 * p)  # momentum 0.9, weight decay on everything
                p.sub_(rate * v)
            m = target_momentum(step, steps)
            for p, q in zip(model.target.parameters(), model.online.parameters(), strict=True):
                p.copy_(m * p + (1 - m) * q)

    assert [float(row["loss"]) for row in metrics(run, stage)] == pytest.approx(losses, abs=1e-4)
    path, _ = latest_checkpoint(run.path / stage / "checkpoints")
    trained = torch.load(path, weights_only=True)["state_dict"]
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(trained[f"networks.{name}"], tensor, atol=3e-4, rtol=1e-3, msg=name)


def test_weights_of_the_losses(changed, unfinished, finished):
    run = unfinished("stage3")
    stage3.run(run, changed("stage3", image_weight=0.5, intra_weight=2.0, inter_weight=0.0))
    row = metrics(run, "stage3")[0]
    expected = 0.5 * float(row["loss_image"]) + 2 * float(row["loss_intra"])
    assert float(row["loss"]) == pytest.approx(expected, abs=1e-4)
    assert row["loss_inter"] == metrics(finished, "stage3")[0]["loss_inter"]  # the same networks, the same samples


def test_same_seed_same_run(new_run, tiny, finished, changed):
    again, other = new_run("again"), new_run("other")
    torch.manual_seed(99)  # the global generator has no say
    stage1.run(again, tiny)
    stage1.run(other, changed(seed=1))
    assert outputs(again, "stage1") == outputs(finished, "stage1")
    assert metrics(other, "stage1")[0]["loss"] != metrics(finished, "stage1")[0]["loss"]


def test_workers_change_nothing(new_run, changed, finished):
    run = new_run()
    stage1.run(run, changed(workers=2))
    assert outputs(run, "stage1") == outputs(finished, "stage1")


def test_bfloat16(new_run, changed):
    run = new_run()
    stage1.run(run, changed(precision="bf16"))
    state = Encoder.load(run.encoder_file("stage1")).state_dict()
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


# ---- what is skipped, and what refused ---------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_finished_stages_are_skipped(finished, tiny, stage, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    STAGES[stage].run(finished, tiny)
    assert "is finished: skipped" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before


@pytest.mark.parametrize("stage", STAGES)
def test_other_settings_are_refused(finished, changed, stage):
    stored = (finished.path / "config.yaml").read_text()
    with pytest.raises(OrlError, match=f"made with other setting image_size: `orl {stage} .* --overwrite`"):
        STAGES[stage].run(finished, changed(stage, image_size=40))
    assert (finished.path / "config.yaml").read_text() == stored  # a refused command changes nothing
    assert finished.finished(stage)


def test_what_spreads_the_work_may_change(finished, changed, capsys):
    stage1.run(finished, changed(workers=3, devices=2))
    assert "skipped" in capsys.readouterr().err


def test_stage_3_refuses_other_pairs(unfinished, tiny):
    run = unfinished("nothing")
    run.write("pairs", run.read("pairs")[:-1])
    with pytest.raises(OrlError, match=r"stage3 of .* was made with other pairs"):
        stage3.run(run, tiny)


def test_stage_2_refuses_another_encoder(unfinished, tiny):
    run = unfinished("nothing")
    Encoder.random(tiny.stage1.encoder, seed=5).save(run.encoder_file("stage1"))
    with pytest.raises(OrlError, match=r"stage2 of .* was made with other encoder: `orl stage2"):
        stage2.run(run, tiny)


def test_stages_in_the_wrong_order(new_run, tiny):
    run = new_run()
    with pytest.raises(OrlError, match=r"no encoder at .*: run `orl stage1"):
        stage2.run(run, tiny)
    with pytest.raises(OrlError, match=f"regions.parquet is not there yet: run `orl stage2 {run.path}` first"):
        stage3.run(run, tiny)


def test_too_few_images_leave_nothing_behind(new_run, changed, tiny):
    run = new_run()
    with pytest.raises(OrlError, match=r"24 images do not fill a batch of 32: .*--stage1.batch_size 12"):
        stage1.run(run, changed("stage1", batch_size=32))
    assert run.stage("stage1") == {}
    stage1.run(run, tiny)  # so that a smaller batch is not refused
    assert run.finished("stage1")


def test_a_vanished_image_is_named_at_once(tmp_path, images, tiny):
    from orl_explore.images.opening import open_images

    for row in range(8):
        images.load(row).save(tmp_path / f"{row}.png")
    run = Run(tmp_path / "run")
    run.set_images(open_images([tmp_path]), [str(tmp_path)])
    (tmp_path / "3.png").unlink()
    with pytest.raises(OrlError, match=r"3.png is gone"):
        stage1.run(run, tiny)


# ---- interruptions of training -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "step", "resumed_from"),
    [
        ("stage1", 0, 0),  # before anything was done
        ("stage1", 1, 0),  # before the first checkpoint
        ("stage1", 2, 2),  # right after one, in mid-epoch
        ("stage1", 5, 4),
        ("stage3", 3, 2),
        ("stage3", 5, 4),
    ],
)
def test_an_interruption_leaves_no_trace(stage, step, resumed_from, unfinished, finished, tiny, stop_at):
    run = unfinished(stage)
    undo = stop_at(step)
    with pytest.raises(RuntimeError, match="stopped at step"):
        STAGES[stage].run(run, tiny)
    assert run.stage(stage)["state"] == "failed"
    assert run.stage(stage)["error"] == f"RuntimeError: stopped at step {step}"
    assert latest_checkpoint(run.path / stage / "checkpoints")[1] == resumed_from
    undo()
    STAGES[stage].run(run, tiny)
    assert outputs(run, stage) == outputs(finished, stage)
    assert run.stage(stage)["state"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_accumulated_steps_keep_the_schedule(stage, unfinished, finished, changed, stop_at):
    """As many steps, at the same rates and momenta, saved at the same steps; killed in mid-step, the same result."""
    config = changed(stage, accumulate=4)
    run = unfinished(stage)
    STAGES[stage].run(run, config)
    columns = ("step", "epoch", "lr", "momentum")
    found = [[row[name] for name in columns] for row in metrics(run, stage)]
    assert found == [[row[name] for name in columns] for row in metrics(finished, stage)]
    assert latest_checkpoint(run.path / stage / "checkpoints")[1] == 6
    assert [row["loss"] for row in metrics(run, stage)] != [row["loss"] for row in metrics(finished, stage)]

    whole = outputs(run, stage)
    run.clear(stage)
    undo = stop_at(3)
    with pytest.raises(RuntimeError, match="stopped at step 3"):
        STAGES[stage].run(run, config)
    assert latest_checkpoint(run.path / stage / "checkpoints")[1] == 2
    undo()
    STAGES[stage].run(run, config)
    assert outputs(run, stage) == whole


def test_many_interruptions_leave_no_trace(new_run, finished, tiny, stop_at):
    run = new_run()
    for step in (1, 2, 3, 4):
        undo = stop_at(step)
        with pytest.raises(RuntimeError, match="stopped"):
            stage1.run(run, tiny)
        undo()
    stage1.run(run, tiny)
    assert outputs(run, "stage1") == outputs(finished, "stage1")


def test_stopped_between_the_last_step_and_the_export(unfinished, finished, tiny, stop_at):
    run = unfinished("nothing")
    run.encoder_file("stage1").unlink()
    run.note("stage1", state="running")
    stop_at(0)  # there is nothing left to train
    stage1.run(run, tiny)
    assert outputs(run, "stage1") == outputs(finished, "stage1")


def test_ctrl_c(new_run, tiny, stop_at):
    run = new_run()
    handler = signal.getsignal(signal.SIGINT)
    stop_at(3, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        stage1.run(run, tiny)
    assert run.stage("stage1")["state"] == "failed"
    assert signal.getsignal(signal.SIGINT) == handler  # the next Ctrl+C is heard, too


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_encoders_kept_on_the_way(stage, unfinished, finished, changed, stop_at):
    """Of epoch 1 of 2, also where a run is killed after it; the last encoder is the stage's own and stays the same."""
    run, keeping = unfinished(stage), changed(stage, keep_every=1)
    undo = stop_at(5)
    with pytest.raises(RuntimeError, match="stopped at step"):
        STAGES[stage].run(run, keeping)
    assert list(run.kept_encoders(stage)) == [1]
    file = run.kept_encoders(stage)[1]
    before = file.read_bytes()
    undo()
    STAGES[stage].run(run, keeping)  # from step 4, which is after epoch 1
    assert outputs(run, stage) == outputs(finished, stage)
    assert list(run.kept_encoders(stage)) == [1]
    assert file.read_bytes() == before != run.encoder_file(stage).read_bytes()
    assert Encoder.load(file).settings == Encoder.load(run.encoder_file(stage)).settings
    STAGES[stage].run(run, changed())  # finished: the setting makes no other run of it


def test_an_encoder_is_kept_before_its_step_is_saved(new_run, changed, monkeypatch):
    """Asked to end in the last step of epoch 1, a run saves that step and does not come back to it."""
    run = new_run()
    step = TwinTraining.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == 2:  # of 0, 1, 2: three an epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TwinTraining, "training_step", training_step)
        with pytest.raises(callbacks.Stopped):
            stage1.run(run, changed("stage1", keep_every=1))
    assert latest_checkpoint(run.path / "stage1" / "checkpoints")[1] == 3
    assert list(run.kept_encoders("stage1")) == [1]


def test_last_step_has_a_checkpoint(new_run, changed):
    run = new_run()
    stage1.run(run, changed("stage1", epochs=1, warmup_epochs=0))  # 3 steps, a checkpoint every 2
    assert [path.name for path in (run.path / "stage1/checkpoints").iterdir()] == ["step=3.ckpt"]


def test_a_failed_save_keeps_the_older_checkpoint(new_run, finished, tiny, monkeypatch):
    run = new_run()
    save = torch.save

    def full_disk(checkpoint, path):
        if checkpoint["global_step"] == 4:
            Path(path).write_bytes(b"half a checkpoint")
            raise OSError(28, "No space left on device")
        save(checkpoint, path)

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OrlError, match=r"step=4.ckpt could not be written, the disk is full: what was complete before"):
        stage1.run(run, tiny)
    assert [path.name for path in (run.path / "stage1/checkpoints").iterdir()] == ["step=2.ckpt"]
    monkeypatch.undo()
    stage1.run(run, tiny)
    assert outputs(run, "stage1") == outputs(finished, "stage1")


def test_no_room_for_a_row_of_the_metrics(new_run, finished, tiny, monkeypatch):
    run = new_run()
    flush = callbacks.MetricsLog.on_train_batch_end

    def full_disk(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == 4:
            self.file = types.SimpleNamespace(flush=fail, close=fail)
        flush(self, trainer, module, outputs, batch, batch_idx)

    def fail():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(callbacks.MetricsLog, "on_train_batch_end", full_disk)
    with pytest.raises(OrlError, match=r"metrics.csv could not be written, the disk is full"):
        stage1.run(run, tiny)
    assert latest_checkpoint(run.path / "stage1/checkpoints")[1] == 2
    monkeypatch.undo()
    stage1.run(run, tiny)
    assert outputs(run, "stage1") == outputs(finished, "stage1")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_while_training(workers, annotations, finished, changed, tmp_path, monkeypatch):
    """As when a network drive is lost: the file is named, and once it is back training goes on as if nothing was."""
    from orl_explore.images.opening import open_images

    scenes = Path(shutil.copytree(annotations.parent, tmp_path / "scenes"))
    run = Run(tmp_path / "run")
    run.set_images(open_images([scenes / annotations.name]), [str(scenes)])
    lost = run.images().path(5)
    step = TwinTraining.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == 2:
            lost.rename(tmp_path / "away")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TwinTraining, "training_step", training_step)
    config = changed(workers=workers)
    config = dataclasses.replace(config, stage1=dataclasses.replace(config.stage1, epochs=4))
    with pytest.raises(OrlError) as error:
        stage1.run(run, config)
    assert str(error.value).startswith(f"{lost} was usable before (")
    assert "Traceback" not in str(error.value)
    assert run.stage("stage1")["error"] == f"OrlError: {error.value}"
    _, saved = latest_checkpoint(run.path / "stage1/checkpoints")
    assert saved >= 2
    monkeypatch.undo()
    (tmp_path / "away").rename(lost)
    stage1.run(run, config)
    undisturbed = Run(tmp_path / "undisturbed")
    undisturbed.set_images(run.images(), [str(scenes)])
    stage1.run(undisturbed, dataclasses.replace(config, workers=0))
    assert outputs(run, "stage1") == outputs(undisturbed, "stage1")


@pytest.mark.parametrize(
    ("number", "name", "step", "saved"),
    [
        (signal.SIGTERM, "SIGTERM", 1, 2),  # heard in step 1, which is done and saved: two are behind it
        (signal.SIGUSR1, "SIGUSR1", 3, 4),  # a step that is saved anyway
    ],
)
def test_preemption(number, name, step, saved, new_run, tiny, finished, monkeypatch):
    original = TwinTraining.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == step:
            os.kill(os.getpid(), number)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(TwinTraining, "training_step", training_step)
    run, handlers = new_run(), [signal.getsignal(each) for each in callbacks.Preemption.SIGNALS]
    with pytest.raises(callbacks.Stopped, match=f"stopped by {name}: step {saved} of 6 is saved, and the same command"):
        stage1.run(run, tiny)
    assert [signal.getsignal(each) for each in callbacks.Preemption.SIGNALS] == handlers
    assert [path.name for path in (run.path / "stage1/checkpoints").iterdir()] == [f"step={saved}.ckpt"]
    monkeypatch.undo()
    stage1.run(run, tiny)
    assert outputs(run, "stage1") == outputs(finished, "stage1")


@pytest.mark.parametrize(
    ("start_step", "text", "kept"),
    [
        (2, "0,0,1,1,1,1,,\n1,0,1,1,1,1,2,3\n2,0,1,1,1,1,,\n", [0, 1]),  # step 2 will be done again
        (3, "0,0,1,1,1,1,,\n1,0,1,1,1,1,,\n2,0,1,1\n", [0, 1]),  # torn in the middle of a row
        (0, "0,0,1,1,1,1,,\n", []),  # no checkpoint: everything is done again
    ],
)
def test_metrics_of_repeated_steps_are_dropped(tmp_path, start_step, text, kept):
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,lr,momentum,loss,loss_image,std,rank\n" + text)
    MetricsLog(path, start_step=start_step, names=["image"]).file.close()
    assert pd.read_csv(path)["step"].tolist() == kept


# ---- broken numbers ----------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops(new_run, tiny, images, monkeypatch, finished):
    run = new_run()
    forward = BYOL.forward

    def broken(self, view1, view2):
        losses, projection = forward(self, view1, view2)
        broken.calls += 1
        return {"image": losses["image"] * (float("nan") if broken.calls == 6 else 1)}, projection

    broken.calls = 0
    monkeypatch.setattr(BYOL, "forward", broken)
    with pytest.raises(OrlError) as error:
        stage1.run(run, tiny)
    batch = list(StepSampler(24, batch_size=8, epochs=2, seed=0))[5]
    ids = [int(images.table["image_id"].iloc[row]) for _, row in batch]
    assert str(error.value).startswith(f"the loss became nan at step 5, on images {ids} ...")
    path, steps = latest_checkpoint(run.path / "stage1/checkpoints")
    assert steps == 4
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.isfinite(tensor).all() for tensor in state.values() if tensor.is_floating_point())
    assert len(metrics(run, "stage1")) == 5
    assert "the loss became nan" in run.stage("stage1")["error"]
    monkeypatch.undo()  # once the cause is gone, training goes on from there
    stage1.run(run, tiny)
    assert outputs(run, "stage1") == outputs(finished, "stage1")


def test_weights_that_are_not_finite_are_not_saved(new_run, tiny, monkeypatch):
    run = new_run()
    update = BYOL.update_target

    def broken(self, momentum):
        update(self, momentum)
        broken.calls += 1
        if broken.calls == 4:
            self.predictor[3].weight.data[0, 0] = float("inf")

    broken.calls = 0
    monkeypatch.setattr(BYOL, "update_target", broken)
    with pytest.raises(OrlError, match=r"weights of networks.predictor.3.weight are no longer finite at step 4"):
        stage1.run(run, tiny)
    assert [path.name for path in (run.path / "stage1/checkpoints").iterdir()] == ["step=2.ckpt"]


def test_collapse_is_said_loudly(new_run, tiny, monkeypatch, capsys, finished):
    forward = BYOL.forward

    def collapsed(self, view1, view2):
        losses, projection = forward(self, view1, view2)
        return losses, torch.ones_like(projection) + 1e-3 * projection

    monkeypatch.setattr(BYOL, "forward", collapsed)
    run = new_run()
    stage1.run(run, tiny)
    warning = " ".join(capsys.readouterr().err.split())
    assert warning.count("The representation has collapsed") == 2  # once an epoch
    assert "in epoch 1 its standard deviation is" in warning
    assert float(metrics(run, "stage1")[-1]["std"]) < 0.01
    assert run.finished("stage1")  # a warning, not an end


def test_no_false_alarm(new_run, tiny, capsys):
    stage1.run(new_run(), tiny)
    assert "collapsed" not in capsys.readouterr().err


# ---- stage 2 -----------------------------------------------------------------------------------------------


def test_mined_tables(finished, images, tiny):
    ids = images.table["image_id"].tolist()
    neighbors, proposals, regions, pairs = (
        finished.read(name) for name in ("neighbors", "proposals", "regions", "pairs")
    )

    embeddings = np.array(finished.read_array("image_embeddings"))
    cosine = embeddings @ embeddings.T
    np.fill_diagonal(cosine, -2)
    assert neighbors["image_id"].tolist() == np.repeat(ids, 3).tolist()
    assert neighbors["neighbor_id"].tolist() == np.array(ids)[np.argsort(-cosine, axis=1)[:, :3]].ravel().tolist()

    boxes = ["x", "y", "w", "h"]
    for _, found in proposals.groupby("image_id"):
        assert found["rank"].tolist() == list(range(len(found)))
        reasons = filter_boxes(found[boxes].to_numpy(), min_side=16)
        assert found["reason"].tolist() == reasons.tolist()
    kept = proposals[proposals["reason"].isin(["kept", "fallback"])]
    assert regions["region_id"].tolist() == list(range(len(regions)))
    assert regions["image_id"].drop_duplicates().tolist() == ids
    np.testing.assert_array_equal(regions[["image_id", *boxes]], kept[["image_id", *boxes]])

    vectors = finished.read_array("region_embeddings").astype(np.float32)
    image_of = regions["image_id"].to_numpy()
    assert (image_of[pairs["query_region"]] == pairs["image_id"]).all()
    assert (image_of[pairs["key_region"]] == pairs["neighbor_id"]).all()
    similarity = (vectors[pairs["query_region"]] * vectors[pairs["key_region"]]).sum(axis=1)
    np.testing.assert_allclose(pairs["similarity"], similarity, atol=2e-3)  # of vectors rounded to float16
    counts = regions["image_id"].value_counts()
    for (image_id, neighbor_id), found in pairs.groupby(["image_id", "neighbor_id"]):
        assert len(found) == max(1, int(0.1 * counts[image_id]))  # 10% of the query boxes
        assert found["rank"].tolist() == list(range(len(found)))
        everything = vectors[image_of == image_id] @ vectors[image_of == neighbor_id].T
        np.testing.assert_allclose(found["similarity"], np.sort(everything.ravel())[::-1][: len(found)], atol=2e-3)
    ranks = pairs.merge(neighbors, on=["image_id", "neighbor_id"])
    assert len(ranks) == len(pairs)
    assert (ranks["neighbor_rank"] == ranks["rank_y"]).all()


def test_pairs_by_hand():
    # Image 7 has two boxes, pointing east and north; image 9 one box, at 30 degrees; image 8 one, pointing north.
    regions = pd.DataFrame({"region_id": [0, 1, 2, 3], "image_id": [7, 7, 9, 8]})
    vectors = np.array([[1, 0], [0, 1], [np.sqrt(0.75), 0.5], [0, 1]], np.float16)
    neighbors = pd.DataFrame(
        {"image_id": [7, 7, 8, 9], "rank": [0, 1, 0, 0], "neighbor_id": [9, 8, 7, 7], "similarity": 0.5}
    )
    pairs = pair_regions(np.array([7, 8]), neighbors, regions, vectors, Stage2Settings(), None)
    assert {name: str(kind) for name, kind in pairs.dtypes.items()} == TABLES["pairs"].columns
    assert pairs.drop(columns="similarity").to_numpy().tolist() == [
        # image, neighbor, its rank, rank, query, key: int(0.1 * 2) = 0, so one pair each
        [7, 9, 0, 0, 0, 2],  # cos 30 beats cos 60
        [7, 8, 1, 0, 1, 3],
        [8, 7, 0, 0, 3, 1],
    ]
    assert pairs["similarity"].tolist() == pytest.approx([np.sqrt(0.75), 1, 1], abs=1e-3)


def test_images_left_without_neighbors(unfinished, changed, tiny):
    run = unfinished("stage2")
    embeddings = run_module.Run(run.path)  # near-duplicates: all but one image's neighbors are above this
    config = changed("stage2", max_image_similarity=-1.5)
    stage2.run(embeddings, config)
    assert len(run.read("neighbors")) == len(run.read("pairs")) == 0
    run.clear("stage3")
    with pytest.raises(OrlError, match="no pair: loosen its switches"):
        stage3.run(run, tiny)


class _StopWriting(Exception):
    pass


@pytest.mark.slow
def test_interrupted_at_every_write_of_stage_2(unfinished, finished, tiny, monkeypatch):
    """Let every attempt write one more file and no other, until it gets through."""
    run = unfinished("stage2")
    original = files.atomic_write
    allowance = {"left": 0}

    def rationed(path):
        if path.parent.name in ("stage2", "shards") and path.name != "progress.json":
            allowance["left"] -= 1
            if allowance["left"] < 0:
                raise _StopWriting
        return original(path)

    monkeypatch.setattr(files, "atomic_write", rationed)
    attempts = 0
    while not run.finished("stage2"):
        attempts += 1
        allowance["left"] = 1
        try:
            stage2.run(run, tiny)
        except _StopWriting:
            assert run.stage("stage2")["state"] == "failed"
    # Four parts (7 + 7 + 7 + 3 images) of image embeddings, proposals, region embeddings and pairs, one of neighbors
    # (searched for by thousands), and six tables.
    assert attempts == 4 * 4 + 1 + 6
    assert outputs(run, "stage2") == outputs(finished, "stage2")
    assert not (run.path / "stage2/shards").exists()


# ---- SIGKILL -----------------------------------------------------------------------------------------------

KILL = """
import os, signal, sys, time
from pathlib import Path
import torch
from orl_explore.runs import run as run_module
from orl_explore.runs.run import Run
from training import stage1, stage2, stage3
from training.config import load_config

torch.set_num_threads(1)
stage, path, config = sys.argv[1], Path(sys.argv[2]), load_config(sys.argv[3])

def attempt(writes=None):
    '''Do the stage in a process of its own, which dies in the middle of its n-th write.'''
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    original, count = os.fsync, 0
    def fsync(file):
        nonlocal count
        count += 1
        if count == writes:
            os.kill(os.getpid(), signal.SIGKILL)  # the file is written, but not renamed
        original(file)
    os.fsync = fsync
    {"stage1": stage1, "stage2": stage2, "stage3": stage3}[stage].run(Run(path), config)
    os._exit(0)

for writes in map(int, sys.argv[4:]):
    assert attempt(writes) == signal.SIGKILL
assert attempt() == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "writes"),
    [
        # Each attempt writes run.json once or twice and config.yaml, then files of the stage.
        ("stage1", (2, 4, 5, 4)),  # at once; metrics.csv; a checkpoint; another
        ("stage2", (1, 4, 9, 6, 12, 3)),
        ("stage3", (4, 5, 5)),
    ],
)
def test_sigkill_leaves_no_trace(stage, writes, unfinished, finished, tiny_yaml):
    run = unfinished(stage)
    command = [sys.executable, "-c", KILL, stage, str(run.path), str(tiny_yaml), *map(str, writes)]
    subprocess.run(command, check=True)
    assert outputs(run, stage) == outputs(finished, stage)
    assert run.finished(stage)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_sigkill_from_outside(stage, unfinished, changed, tmp_path):
    """Kill the command itself in mid-epoch, as an operator would, once its metrics show progress."""
    config = changed(stage, epochs=30, checkpoint_steps=5)
    save_config(config, tmp_path / "long.yaml")
    run = unfinished(stage)
    undisturbed = Run(shutil.copytree(run.path, tmp_path / "undisturbed"))
    STAGES[stage].run(undisturbed, config)
    command = [sys.executable, "-m", "training.cli", stage, str(run.path), "--config", str(tmp_path / "long.yaml")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    file, rows = run.path / stage / "metrics.csv", 0
    for wanted in (7, 40):  # of 90 steps
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
            while rows < wanted:
                time.sleep(0.01)
                assert process.poll() is None, f"ended before it was killed: {process.stderr.read()}"
                rows = len(file.read_text().splitlines()) - 1 if file.exists() else 0
            process.kill()
    assert run.stage(stage)["state"] == "running"
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert outputs(run, stage) == outputs(undisturbed, stage)


# ---- two processes -----------------------------------------------------------------------------------------

TWO = """
import os, sys
from pathlib import Path
import torch
from training import cli
from training.twin_training import TwinTraining

torch.set_num_threads(1)
out = Path(os.environ["TEST_OUT"])
seen = []
step = TwinTraining.training_step

def training_step(self, batch, batch_idx):
    seen.append(batch["image_id"].tolist())
    return step(self, batch, batch_idx)

def on_train_end(self):
    weights = {name: p.detach().clone() for name, p in self.networks.named_parameters()}
    torch.save({"seen": seen, "weights": weights, "pid": os.getpid()}, out / f"rank{self.global_rank}.pt")

TwinTraining.training_step, TwinTraining.on_train_end = training_step, on_train_end
sys.exit(cli.main(sys.argv[1:]))
"""


def check_two(run, out, images, stage):
    ranks = [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert ranks[0]["pid"] != ranks[1]["pid"]
    ids = images.table["image_id"].to_numpy()
    expected = [[int(ids[row]) for _, row in batch] for batch in StepSampler(24, batch_size=8, epochs=2, seed=0)]
    # Every batch of a single process, halved: each rank takes every other image of it.
    assert ranks[0]["seen"] == [batch[0::2] for batch in expected]
    assert ranks[1]["seen"] == [batch[1::2] for batch in expected]
    assert ranks[0]["weights"].keys() == ranks[1]["weights"].keys()
    for name, weights in ranks[0]["weights"].items():
        assert torch.isfinite(weights).all(), name
        assert torch.equal(weights, ranks[1]["weights"][name]), name
    assert run.finished(stage)
    assert [int(row["step"]) for row in metrics(run, stage)] == list(range(6))
    exported = Encoder.load(run.encoder_file(stage))
    for name, p in exported.named_parameters():
        assert torch.equal(p, ranks[0]["weights"][f"online.{name}"]), name


@pytest.fixture
def two_processes(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)

    def start(launcher: list[str], *arguments: object) -> Path:
        environment = {**os.environ, "TEST_OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
        command = [*launcher, str(script), *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return tmp_path

    return start


@pytest.mark.slow
def test_two_processes_through_lightning(two_processes, images, annotations, tiny_yaml, tmp_path):
    run = Run(tmp_path / "two")
    arguments = ["stage1", run.path, "--images", annotations, "--config", tiny_yaml, "--devices", 2]
    out = two_processes([sys.executable], *arguments)
    check_two(run, out, images, "stage1")


@pytest.mark.slow
def test_two_processes_through_torchrun(two_processes, images, unfinished, tiny_yaml):
    run = unfinished("stage3")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    out = two_processes(launcher, "stage3", run.path, "--config", tiny_yaml, "--devices", 2)
    check_two(run, out, images, "stage3")


SHARED = """
import os, signal, sys, time
from pathlib import Path
import torch
from training import cli
from training.sharding import Shards

torch.set_num_threads(1)
out, rank = Path(os.environ["TEST_OUT"]), os.environ["RANK"]
save, count = Shards._save, 0

def logged(self, path, name, part):
    global count
    count += 1
    if rank == "1" and (out / "fatal").exists():
        (out / "fatal").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    while rank == "0" and count == 2 and "1 " not in (out / "parts").read_text():
        time.sleep(0.05)  # with one part made and one in hand, until the other process has made one
    save(self, path, name, part)
    with (out / "parts").open("a") as file:
        file.write(f"{rank} {path.name}\\n")

Shards._save = logged
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("fatal", [False, True])
def test_two_processes_share_stage_2(fatal, unfinished, finished, tiny_yaml, tmp_path):
    """One process's bytes, no part made twice; likewise when one is killed with a part in hand and both begin again."""
    run, script = unfinished("stage2"), tmp_path / "shared.py"
    script.write_text(SHARED)
    if fatal:
        (tmp_path / "fatal").touch()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "--max-restarts", "1", str(script), "stage2", str(run.path), "--config", str(tiny_yaml)]
    environment = {**os.environ, "TEST_OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "fatal").exists()
    assert outputs(run, "stage2") == outputs(finished, "stage2")
    made = [line.split() for line in (tmp_path / "parts").read_text().splitlines()]
    assert {rank for rank, _ in made} == {"0", "1"}
    names = [name for _, name in made]
    assert len(names) == len(set(names)) == 4 * 4 + 1


def test_a_part_in_the_hands_of_another_process_is_left_to_it(new_run, monkeypatch):
    run, made = new_run(), []
    parts = [Shards(run, "stage2", ProcessGroup(rank, 2)) for rank in (0, 1)]
    lock = (run.path / ".shards.lock").open("w")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, time; fcntl.lockf(0, fcntl.LOCK_EX, 1, 1); print(flush=True); time.sleep(60)",
        ],
        stdin=lock,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    lock.close()

    def build(rows, progress):
        made.append(rows.start)
        return np.full((len(rows), 1), rows.start, np.float32)

    def wait():
        holder.kill()  # and its lock with it
        holder.wait()

    monkeypatch.setattr(parts[0], "wait", wait)
    parts[0].make("image_embeddings", 10, 4, build)
    assert made == [0, 8, 4]  # the part that was held comes when its holder is dead
    assert run.read_array("image_embeddings").ravel().tolist() == [0] * 4 + [4] * 4 + [8] * 2
    parts[1].make("image_embeddings", 10, 4, build)
    assert len(made) == 3
    assert [file.name for file in (run.path / "stage2/shards").iterdir()] in ([], ["progress.json"])


def test_without_its_leader_a_process_ends(new_run, monkeypatch):
    parts = Shards(new_run(), "stage2", ProcessGroup(1, 2))
    monkeypatch.setattr(os, "getppid", lambda: -1)
    with pytest.raises(OrlError, match="has ended: type the command again"):
        parts.wait_for(Path("never"))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_step_says_how_far_it_is(rank, new_run, monkeypatch):
    """For the dashboard, by the first process alone; parts that were there before do not make it look fast."""
    monkeypatch.setattr("training.sharding.TOLD", 0)
    run, notes = new_run(), []
    parts = Shards(run, "stage2", ProcessGroup(rank, 1))
    file = run.progress_file("stage2")

    def build(rows, progress):
        progress(len(rows), 0)
        notes.append(json.loads(file.read_text()) if file.exists() else None)
        if rank or len(notes) == 3:
            raise KeyboardInterrupt
        return np.zeros((len(rows), 2), np.float32)

    with pytest.raises(KeyboardInterrupt):
        parts.make("image_embeddings", 6, 2, build)
    if rank:
        assert notes == [None]
        return
    Shards(run, "stage2").make("image_embeddings", 6, 2, build)
    told = [(note["table"], note["done"], note["count"], note["first"]) for note in notes]
    assert told == [("image_embeddings", done, 6, first) for done, first in ((2, 0), (4, 0), (6, 0), (6, 4))]
    assert all(note["since"] <= note["now"] for note in notes)
    assert run.read_array("image_embeddings").shape == (6, 2)


def test_the_parts_of_others_count(new_run, monkeypatch):
    """The second process has made part 3 (of 2 images) while the first one was at part 1."""
    monkeypatch.setattr("training.sharding.TOLD", 0)
    run, seen = new_run(), []
    parts = Shards(run, "stage2", ProcessGroup(0, 2))
    part = np.zeros((2, 2), np.float32)

    def build(rows, progress):
        progress(0, 0)
        seen.append((rows.start, json.loads(run.progress_file("stage2").read_text())["done"]))
        files.write_array(parts.folder / "image_embeddings-00002", part)
        return part

    parts.make("image_embeddings", 8, 2, build)
    assert seen == [(0, 0), (2, 4), (6, 6)]


@pytest.mark.slow
def test_neighbors_by_an_index_are_recorded(unfinished, changed, finished, capsys):
    run = unfinished("stage2")
    stage2.run(run, changed("stage2", index="ivf"))
    assert run.stage("stage2")["neighbor_index"] == {"lists": 1, "probes": 1, "recall": 1.0}  # so few fill one list
    assert "looking into 1 of 1 lists: it finds 100.0% of the 3 nearest images" in capsys.readouterr().err
    assert outputs(run, "stage2") == outputs(finished, "stage2")


def test_only_the_first_process_writes_to_the_run(new_run, tiny, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    run = new_run()
    with record.working_on(run, "stage1", tiny, inputs={}):
        record.save_encoder(run, "stage1", Encoder.random(tiny.stage1.encoder, 0), 32)
    assert run.stage("stage1") == {}
    assert not run.encoder_file("stage1").exists()
    assert not (run.path / "config.yaml").exists()
