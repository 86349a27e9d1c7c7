"""`--overwrite`, other settings, and stale results: what is done is kept until its successor stands."""

from __future__ import annotations

import cv2
import pytest

from stage_runs import outputs
from training.twin_training import TwinTraining

PLACE = {"stage1": "stage1", "stage2": "stage2", "stage3": "stage3"}


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_requirements_come_first(stage, orl, copy, monkeypatch):
    """Whatever a stage lacks, what it had stays."""
    before = files(copy.path / stage)
    lacks = {
        "stage1": ["--stage1.batch_size", "99"],
        "stage2": ["--proposals", "opencv"],
        "stage3": ["--stage3.batch_size", "99"],
    }
    monkeypatch.delattr(cv2, "ximgproc")
    code, _, err = orl(stage, copy.path, "--overwrite", *lacks[stage])
    assert code == 1
    assert "Traceback" not in err
    assert files(copy.path / stage) == before
    assert copy.finished(stage)
    code, _, err = orl(stage, copy.path)
    assert code == 0, err


@pytest.mark.slow
def test_the_old_one_stands_until_the_end(orl, copy, finished, monkeypatch):
    before = files(copy.path / "stage1")
    step = TwinTraining.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == 5:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TwinTraining, "training_step", training_step)
        assert orl("stage1", copy.path, "--overwrite", "--stage1.epochs", 3)[0] == 130
    assert files(copy.path / "stage1") == before
    code, _, err = orl("stage1", copy.path)
    assert code == 0
    assert "stage1 of" in err
    assert "was begun anew, which --overwrite goes on with" in err
    code, _, err = orl("stage1", copy.path, "--overwrite", "--stage1.epochs", 3)
    assert code == 0
    assert "going on from step 4" in err
    assert copy.stage("stage1")["config"]["epochs"] == 3
    assert not (copy.path / "stage1.new").exists()
    assert orl("stage1", copy.path, "--overwrite", "--stage1.epochs", 2)[0] == 0
    assert outputs(copy, "stage1") == outputs(finished, "stage1")


@pytest.mark.slow
def test_stale_pairs_are_refused(orl, copy):
    """Stage 1 made anew: neither stage 2 nor stage 3 goes on as if nothing was."""
    copy.clear("stage3")
    assert orl("stage1", copy.path, "--overwrite", "--seed", 0, "--stage1.base_lr", 0.3)[0] == 0
    code, _, err = orl("stage3", copy.path)
    assert code == 1
    assert f"were mined with another encoder than {copy.encoder_file('stage1')} is now: `orl stage2" in err
    assert orl("stage2", copy.path, "--overwrite")[0] == 0
    assert orl("stage3", copy.path)[0] == 0
    assert copy.stage("stage3")["inputs"]["encoder"] == copy.stage("stage1")["outputs"]["encoder"]


@pytest.mark.slow
def test_more_epochs_say_what_they_cost(orl, copy):
    copy.note("stage1", seconds=7200.0)
    code, _, err = orl("stage1", copy.path, "--stage1.epochs", 4)
    assert code == 1
    assert f"`orl stage1 {copy.path} --overwrite --stage1.epochs 4` makes it anew; the learning rate has come" in err
    assert "after 2 epochs, so that 4 are another training, in about 4.0 hours" in err
    command = err.split("`")[1].split()[1:]  # what it says does what it says
    assert orl(*command)[0] == 0
    assert copy.stage("stage1")["config"]["epochs"] == 4
