"""What tests of practice scenes share."""

from __future__ import annotations

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory):
    """Six categories of eight cut-outs: an opaque ellipse in a larger transparent picture."""
    folder = tmp_path_factory.mktemp("cutouts")
    rng = np.random.default_rng(0)
    for category in ["ant", "bee", "cat", "dog", "eel", "fox"]:
        (folder / category).mkdir()
        for number in range(8):
            picture = np.zeros((60, 90, 4), np.uint8)
            axes = (int(rng.integers(20, 40)), int(rng.integers(18, 28)))
            cv2.ellipse(picture, (45, 30), axes, 0, 0, 360, (*rng.integers(0, 256, 3).tolist(), 255), -1)
            cv2.imwrite(str(folder / category / f"{number}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Sixteen flat gray photographs of brightness 0, 16, 32, ...: a crop tells its photograph."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(16):
        cv2.imwrite(str(folder / f"{number:02d}.png"), np.full((80, 100, 3), 16 * number, np.uint8))
    return folder
