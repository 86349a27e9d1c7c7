"""What is of no use is said at once, through the stages: sets of equal pictures, diverging training, dead encoders."""

from __future__ import annotations

import contextlib
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images, report
from orl_explore.runs.run import Run
from training import stage1, stage2


def test_copies_are_counted_where_a_set_is_opened(tmp_path):
    for number in range(6):
        Image.new("RGB", (40, 40), (9, 9, min(number, 3))).save(tmp_path / f"{number}.png")
    assert "note: 2 files are copies of others, byte for byte, such as 4.png of 3.png" in report(
        open_images([tmp_path])
    )
    for number in range(6):
        shutil.copy(tmp_path / "0.png", tmp_path / f"{number}x.png")
    for number in range(6):
        (tmp_path / f"{number}.png").unlink()
    assert "note: all 6 files are copies of one, 0x.png: there is nothing to learn" in report(open_images([tmp_path]))


def test_few_images_have_few_neighbors(tmp_path, tiny, capsys):
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (48, 48, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    run = Run(tmp_path / "run")
    run.set_images(open_images([tmp_path]), ["x"])
    run.encoder_file("stage1").parent.mkdir()
    Encoder.random(tiny.stage1.encoder, 0).save(run.encoder_file("stage1"))
    stage2.run(run, tiny)
    assert "2 neighbors for each image, not 3, as there are 3 images" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "answer"), [(0.0, "zero"), (float("nan"), "NaN or infinity")])
def test_a_dead_encoder_is_told_before_boxes_are_searched(value, answer, new_run, tiny):
    run = new_run()
    run.encoder_file("stage1").parent.mkdir()
    encoder = Encoder.random(tiny.stage1.encoder, 0)
    with torch.no_grad():
        for parameter in encoder.backbone.parameters():
            parameter.fill_(value)
    encoder.save(run.encoder_file("stage1"))
    with pytest.raises(OrlError, match=rf"the encoder answers {answer} for 8 of 8 pictures: it is of no use"):
        stage2.run(run, tiny)
    assert not run.file("proposals").exists()


@pytest.mark.slow
def test_a_learning_rate_far_too_high_is_said(new_run, changed, capsys):
    run = new_run()
    config = changed("stage1", base_lr=4000.0, epochs=12)
    said = ""
    with contextlib.suppress(OrlError):
        try:
            stage1.run(run, config)
        except OrlError as error:
            said = str(error)
            raise
    said += capsys.readouterr().err
    assert re.search("try a lower base_lr|has collapsed|is collapsing|of no use|hardly more alike than random", said)


def test_what_a_new_encoder_sees_in_plain_pictures_is_kept(finished):
    found = finished.stage("stage1")["plain_pictures"]
    assert found.keys() == {"trained", "untrained"}
    assert found["trained"].keys() == {"std", "rank", "similarity", "images"}
    assert found["trained"]["images"] == 24
