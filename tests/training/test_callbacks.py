"""Metrics, checkpoints, kept encoders and preemption: what they leave, also where something fails meanwhile."""

from __future__ import annotations

import os
import re
import signal
import types

import pandas as pd
import pytest

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.runs.checkpoints import latest_checkpoint
from stage_runs import STAGES, metrics, outputs
from training import callbacks, stage1
from training.callbacks import MetricsLog
from training.twin_training import TwinTraining


@pytest.mark.parametrize(("stage", "names"), [("stage1", ["image"]), ("stage3", ["image", "intra", "inter"])])
def test_metrics(finished, stage, names):
    rows = metrics(finished, stage)
    losses = [f"loss_{name}" for name in names]
    assert list(rows[0]) == ["step", "epoch", "lr", "momentum", "loss", *losses, "std", "rank"]
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 3, 4, 5]  # 24 images, batches of 8, two epochs
    assert [int(row["epoch"]) for row in rows] == [0, 0, 0, 1, 1, 1]
    # lr 0.4 * 8 / 512 = 0.00625; three steps of warm-up from 1e-4 in the first epoch, whose cosine is 1; that of the
    # second one of two is (1 + cos(pi / 2)) / 2: a half.
    shares = [1e-4 + (1 - 1e-4) * step / 3 for step in range(3)] + [0.5] * 3
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


def test_an_epoch_is_kept_and_judged_before_its_last_step_is_saved(new_run, changed, monkeypatch):
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
            stage1.run(run, changed("stage1", keep_every=1, knn_every=1))
    assert latest_checkpoint(run.path / "stage1" / "checkpoints")[1] == 3
    assert list(run.kept_encoders("stage1")) == [1]
    stage1.run(run, changed("stage1", knn_every=1))
    assert re.fullmatch(r"step,epoch,knn\n2,0,\d\.\d{4}\n5,1,\d\.\d{4}\n", (run.path / "stage1/knn.csv").read_text())


def test_last_step_has_a_checkpoint(new_run, changed):
    run = new_run()
    stage1.run(run, changed("stage1", epochs=1, warmup_epochs=0))  # 3 steps, a checkpoint every 2
    assert [path.name for path in (run.path / "stage1/checkpoints").iterdir()] == ["step=3.ckpt"]


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
