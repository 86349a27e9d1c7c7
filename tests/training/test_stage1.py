"""Stage 1: what decides its result, and images that it cannot be trained on."""

from __future__ import annotations

import pytest
import torch

from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from stage_runs import metrics, outputs
from training import stage1


@pytest.mark.slow
def test_same_seed_same_run(new_run, tiny, finished, changed):
    again, other = new_run("again"), new_run("other")
    torch.manual_seed(99)  # the global generator has no say
    stage1.run(again, tiny)
    stage1.run(other, changed(seed=1))
    assert outputs(again, "stage1") == outputs(finished, "stage1")
    assert metrics(other, "stage1")[0]["loss"] != metrics(finished, "stage1")[0]["loss"]


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
