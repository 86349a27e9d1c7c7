"""Crops and center views: what they show, and that the fast way to resize is Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orl_explore.views import cropping
from orl_explore.views.cropping import center_view, crop_image, squeezed_view
from view_parts import noise


def test_crop_and_resize_reads_nothing_outside_the_box():
    inside, outside = noise(12, 9, seed=1), noise(50, 40, seed=2)
    box = (17, 8, 12, 9)
    for size in (4, 9, 32):  # smaller, about the same, larger: the filter's support differs
        crops = []
        for background in (outside, Image.new("RGB", outside.size)):
            image = background.copy()
            image.paste(inside, box[:2])
            crops.append(np.array(crop_image(image, box, size)))
        np.testing.assert_array_equal(*crops)
        np.testing.assert_array_equal(crops[0], np.array(inside.resize((size, size), Image.Resampling.BILINEAR)))


def test_crop_is_half_open():
    image = noise(8, 6)
    np.testing.assert_array_equal(np.array(crop_image(image, (2, 1, 4, 4), 4)), np.array(image)[1:5, 2:6])


@pytest.mark.parametrize(
    ("image_size", "size", "resized", "corner"),
    [
        ((640, 480), 224, (341, 256), (58, 16)),  # shorter side 256; 640 * 256/480 = 341.3; (341 - 224) // 2, 32 / 2
        ((480, 640), 224, (256, 341), (16, 58)),
        ((256, 256), 224, (256, 256), (16, 16)),
        ((100, 50), 56, (128, 64), (36, 4)),  # 56 * 256/224 = 64: the same share at other sizes, enlarging too
    ],
)
def test_center_view_geometry(image_size, size, resized, corner):
    image = noise(*image_size)
    left, top = corner
    expected = image.resize(resized, Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    np.testing.assert_array_equal(np.array(center_view(image, size)), np.array(expected))


@given(st.integers(32, 400), st.integers(32, 400), st.integers(8, 64))
@settings(max_examples=40)
def test_center_view_is_always_filled(width, height, size):
    view = np.array(center_view(Image.new("RGB", (width, height), (7, 8, 9)), size))
    assert view.shape == (size, size, 3)
    assert (view == (7, 8, 9)).all()  # no black border


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(1, 260), st.integers(0, 10**6), st.integers(2, 80))
def test_resizing_is_pillows(scene, w, h, seed, size):
    rng = np.random.default_rng(seed)
    box = (int(rng.integers(0, 301 - w)), int(rng.integers(0, 261 - h)), w, h)
    fast = cropping.crop_pixels(np.array(scene), box, size).astype(int)
    assert np.abs(fast - np.array(cropping.crop_image(scene, box, size))).max() <= 1


def test_images_are_resized_twice():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    # The shorter side, 300, becomes 256 and 500 becomes 427 (426.7); then both become 224.
    expected = image.resize((427, 256), Image.Resampling.BILINEAR).resize((224, 224), Image.Resampling.BILINEAR)
    assert (np.asarray(squeezed_view(image, 224)) == np.asarray(expected)).all()
    assert squeezed_view(image, 64).size == (64, 64)
    assert squeezed_view(Image.new("RGB", (9, 5000)), 224).size == (224, 224)


@pytest.mark.parametrize(("strength", "outside"), [(0.0, 200), (0.5, 150), (1.0, 100)])
def test_what_lies_outside_a_mask_fades(strength, outside):
    pixels = np.full((6, 8, 3), 200, np.uint8)
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:5] = True
    found = cropping.fade_outside(pixels, (2, 1, 4, 4), mask, strength, (100 / 255,) * 3)
    expected = np.full((4, 4), outside)
    expected[1:3, 1:3] = 200
    assert np.array_equal(found, np.repeat(expected[..., None], 3, axis=2))
    assert (pixels == 200).all()  # the picture itself stays
