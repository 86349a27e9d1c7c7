"""Images and label maps for segmentation networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orl_explore.images.label_map import IGNORED
from orl_explore.settings import InputSettings
from training.transfer import segmentation_images
from training.transfer.segmentation_images import SegmentationImages

INPUTS = InputSettings()


class Ramp:
    """One image of 60 x 40 px whose red tells the class: left third 0, the rest 1."""

    def __len__(self) -> int:
        return 1

    def load(self, row: int):
        labels = np.zeros((40, 60), np.int16)
        labels[:, 20:] = 1
        pixels = np.zeros((40, 60, 3), np.uint8)
        pixels[..., 0] = np.where(labels == 1, 250, 5)
        return pixels, labels

    def names(self):
        return []


def images(seed, **changed):
    options = {"size": (40, 200), "crop": 32, "colors": False, "inputs": INPUTS} | changed
    return SegmentationImages(Ramp(), **options, seed=seed)


def test_labels_follow_the_pixels():
    items = [images(0)[epoch, 0] for epoch in range(20)]
    assert all(torch.equal(one, two) for one, two in zip(images(0)[3, 0][:2], items[3][:2], strict=True))
    assert not torch.equal(items[0][0], items[1][0])
    for image, labels, row in items:
        assert (row, image.shape, labels.shape) == (0, (3, 32, 32), (32, 32))
        assert (image.dtype, labels.dtype) == (torch.uint8, torch.int64)
        sure = (labels >= 0) & ((image[0] < 20) | (image[0] > 230))  # not on the blurred edge
        assert ((image[0] > 128) == (labels == 1))[sure].all()
        assert sure[labels >= 0].float().mean() > 0.8
    mirrored = [labels[0, 0] == 1 and labels[0, -1] == 0 for _, labels, _ in items]
    assert any(mirrored)
    assert not all(mirrored)


def test_what_a_crop_lacks_has_the_mean_color_and_no_label():
    image, labels, _ = images(0, crop=120)[0, 0]  # at most 80 x 120 px after resizing
    assert labels[-1, -1] == IGNORED
    assert image[:, -1, -1].tolist() == [124, 116, 104]  # 255 times the mean
    assert (labels == IGNORED).any()
    assert (labels != IGNORED).any()


def test_tests_see_the_whole_image_with_labels_of_its_own_size():
    image, labels, _ = images(None, size=(20, 200))[0, 0]
    assert image.shape == (3, 20, 30)
    assert labels.shape == (40, 60)
    assert images(None, size=(20, 24))[0, 0][0].shape == (3, 16, 24)  # the longer side is the tighter one


def test_no_class_fills_a_crop_where_it_can_be_helped():
    labels = np.zeros((8, 64), np.int16)
    labels[:, 62:] = 1
    rng = np.random.default_rng(0)
    drawn = [segmentation_images.crop_at(labels, 4, rng, most=1.0) for _ in range(300)]
    chosen = [segmentation_images.crop_at(labels, 4, rng, most=0.75) for _ in range(300)]
    mixed = [sum(x > 58 for _, x in some) / 300 for some in (drawn, chosen)]
    assert mixed[0] == pytest.approx(2 / 61, abs=0.03)
    assert mixed[1] > 3 * mixed[0]
    assert {y for y, _ in drawn} == set(range(5))


def test_colors_are_distorted_in_their_range():
    gray = np.full((4, 4, 3), 100, np.uint8)
    rng = np.random.default_rng(0)
    values = [int(segmentation_images.distorted(gray, rng)[0, 0, 0]) for _ in range(300)]
    assert 34 <= min(values) < 60  # (100 - 32) x 0.5
    assert 170 < max(values) <= 198  # (100 + 32) x 1.5
    assert np.mean([value == 100 for value in values]) == pytest.approx(0.25, abs=0.08)  # neither of the two
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    turned = [segmentation_images.distorted(red, rng)[0, 0] for _ in range(100)]
    assert any(color[1] > 40 for color in turned)  # towards yellow
    assert any(color[2] > 40 for color in turned)  # towards magenta


def test_sizes_are_spread_from_half_to_double(monkeypatch):
    ratios = []

    def resized(pixels, labels, size, ratio):
        ratios.append(ratio)
        return pixels, labels

    monkeypatch.setattr(segmentation_images, "resized", resized)
    for epoch in range(400):
        images(0)[epoch, 0]
    counts = np.histogram(ratios, bins=6, range=(0.5, 2.0))[0]
    assert counts.sum() == 400  # none outside
    assert counts.min() > 40  # of 67 expected; deviation 7.5
