"""Cut-out photographs as objects."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from orl_explore.practice.cutouts import CutOuts


@pytest.mark.parametrize(("side", "angle", "flip"), [(40, 0, False), (70, 30, True), (150, -35, False)])
def test_cutout_has_the_asked_size_and_color(cutouts, side, angle, flip):
    source = CutOuts(cutouts, size=96)
    name = source.choose("bee", np.random.default_rng(0))
    sprite = source.sprite(name, side=side, angle=angle, flip=flip, light=0)
    solid = sprite.alpha >= 0.5
    _, _, width, height = cv2.boundingRect(solid.astype(np.uint8))
    assert abs(max(width, height) - side) <= 2
    assert sprite.rgb[solid].mean(axis=0) == pytest.approx(source.color(name), abs=0.01)  # no bleeding at the edge
    assert not sprite.alpha[[0, -1]].any()
    assert not sprite.alpha[:, [0, -1]].any()
