"""Drawn objects: categories show in the shape, instances stay the same, sizes are kept."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from orl_explore.practice.shapes import SHAPES, draw, make_instance, split_instances


@pytest.mark.parametrize(
    ("holdout", "part", "expected"),
    [
        (0.25, "train", "abcdef"),
        (0.25, "test", "gh"),
        (0.25, "all", "abcdefgh"),
        (0.01, "test", "h"),  # at least one on either side
        (0.99, "train", "a"),
        (0.0, "train", "abcdefgh"),
    ],
)
def test_split_of_instances(holdout, part, expected):
    assert split_instances("abcdefgh", holdout=holdout, part=part) == list(expected)


def features():
    """Mean colors (480, 3), silhouettes (480, 24 * 24) and categories (480,) of every drawn instance."""
    colors, outlines, labels = [], [], []
    for label, category in enumerate(SHAPES):
        for number in range(40):
            sprite = draw(make_instance(category, number), side=48, angle=0, flip=False, light=250)
            solid = sprite.alpha >= 0.5
            colors.append(sprite.rgb[solid].mean(axis=0))
            ys, xs = np.nonzero(solid)
            tight = sprite.alpha[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
            outlines.append(cv2.resize(tight, (24, 24), interpolation=cv2.INTER_AREA).ravel())
            labels.append(label)
    return np.array(colors), np.array(outlines), np.array(labels)


def test_category_shows_in_the_shape_and_not_in_the_color():
    colors, outlines, labels = features()
    held_out = np.arange(len(labels)) % 4 == 3

    def nearest_centroid_accuracy(x):
        centroids = np.stack([x[(labels == k) & ~held_out].mean(axis=0) for k in range(len(SHAPES))])
        distance = np.linalg.norm(x[held_out][:, None] - centroids, axis=2)
        return np.mean(distance.argmin(axis=1) == labels[held_out])

    assert len(SHAPES) >= 10
    assert nearest_centroid_accuracy(outlines) >= 0.97
    # Chance is 1/12 = 0.083, its standard deviation over 120 held-out instances 0.025.
    assert nearest_centroid_accuracy(colors) <= 0.18


def test_instances_do_not_depend_on_scenes():
    one, two = make_instance("fish", 7), make_instance("fish", 7)
    assert (one.color, one.texture, one.pitch) == (two.color, two.texture, two.pitch)
    assert one.color != make_instance("fish", 8).color
    assert one.color != make_instance("tree", 7).color


@pytest.mark.parametrize("category", SHAPES)
@pytest.mark.parametrize(("side", "angle"), [(40, 0), (60, 35), (200, -20)])
def test_drawing_has_the_asked_size(category, side, angle):
    sprite = draw(make_instance(category, 0), side=side, angle=angle, flip=True, light=250)
    _, _, width, height = cv2.boundingRect((sprite.alpha >= 0.5).astype(np.uint8))
    assert abs(max(width, height) - side) <= max(2, 0.04 * side)  # thin tips fade
    assert sprite.rgb.dtype == sprite.alpha.dtype == np.float32
    assert 0 <= sprite.rgb.min() <= sprite.rgb.max() <= 1
