"""Which encoders are judged, and what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.transfer.encoders import name_of


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("runs/a/stage1/encoder.safetensors", "a-stage1"),
        ("weights/moco v2.pth", "moco_v2"),
        ("weights/stage1.pth", "stage1.pth"),  # not to be taken for the run's own
        ("weights/<b>.pth", "_b_"),
    ],
)
def test_files_of_weights_have_names_of_their_own(file, name):
    assert name_of(Path(file)) == name
