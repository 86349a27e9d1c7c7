"""Training as a whole, on what there is of devices."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from training import stage1, stage3

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("augment", ["cpu", "device"])
def test_stages_train_on_the_gpu(new_run, finished, changed, precision, augment):
    run = new_run()
    config = dataclasses.replace(
        changed("stage1", augment=augment), stage3=changed("stage3", augment=augment).stage3, precision=precision
    )
    stage1.run(run, config)
    shutil.copytree(finished.path / "stage2", run.path / "stage2")
    run.note("stage2", **finished.stage("stage2"))
    stage3.run(run, config)
    for stage in ("stage1", "stage3"):
        losses = [float(line.split(",")[4]) for line in (run.path / stage / "metrics.csv").read_text().split()[1:]]
        assert len(losses) == 6
        assert np.isfinite(losses).all()
