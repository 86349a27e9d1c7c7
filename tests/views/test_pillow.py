"""What each distortion does to pixels, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orl_explore.views.parameters import sample_view
from orl_explore.views.pillow import render_view
from view_parts import PAPER, PIXELS, WHOLE, noise, plain


@pytest.mark.parametrize(
    ("distortions", "expected"),
    [
        ({}, PIXELS),
        ({"flip": True}, PIXELS[:, ::-1]),
        ({"solarize": True}, np.where(PIXELS < 128, PIXELS, 255 - PIXELS)),  # at 128 and above: inverted
        ({"color_steps": (("brightness", 0.5),)}, PIXELS // 2),
        ({"flip": True, "solarize": True}, np.where(PIXELS < 128, PIXELS, 255 - PIXELS)[:, ::-1]),
    ],
)
def test_each_distortion_by_hand(distortions, expected):
    view = render_view(Image.fromarray(PIXELS), plain(WHOLE, **distortions), 8)
    np.testing.assert_array_equal(np.array(view), expected)


def test_color_steps_are_applied_in_their_order():
    # A pixel of 100 in a picture of mean 100 (gray): contrast 0.6 changes nothing there, but after brightness 0.6 the
    # mean is lower, so the order shows in a picture with two values.
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4], pixels[4:] = 50, 250
    brightness, contrast = ("brightness", 1.4), ("contrast", 0.6)
    first = render_view(Image.fromarray(pixels), plain(WHOLE, color_steps=(brightness, contrast)), 8)
    second = render_view(Image.fromarray(pixels), plain(WHOLE, color_steps=(contrast, brightness)), 8)
    # 50 -> 70 and 250 -> 255 (clipped), mean 163 (162.5): 70 -> 163 + 0.6 (70 - 163) = 107, 255 -> 218
    # 50 -> 150 + 0.6 (50 - 150) = 90 -> 126, and 250 -> 210 -> 255 (clipped)
    assert np.unique(first).tolist() == pytest.approx([107, 218], abs=1)
    assert np.unique(second).tolist() == pytest.approx([126, 255], abs=1)


def test_gray_has_no_color_left():
    view = np.array(render_view(noise(8, 8), plain(WHOLE, gray=True), 8))
    assert (view == view[..., :1]).all()
    assert view.std() > 0


def test_hue_moves_red_to_yellow():
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    pixel = render_view(red, plain(WHOLE, color_steps=(("hue", 60 / 360),)), 8).getpixel((0, 0))
    assert pixel == pytest.approx((255, 255, 0), abs=8)  # hues are held in 256 steps


def test_blur_spreads_by_its_sigma():
    dot = np.zeros((33, 33, 3), np.uint8)
    dot[16, 16] = 255
    for sigma in (1.0, 2.0):
        view = np.array(render_view(Image.fromarray(dot), plain((0, 0, 33, 33), blur_sigma=sigma), 33), float)[..., 0]
        variance = (view.sum(axis=0) * (np.arange(33) - 16) ** 2).sum() / view.sum()
        assert variance == pytest.approx(sigma**2, rel=0.25)  # values are rounded to whole numbers


def test_gray_comes_after_color_and_solarize_last():
    # Red 200 -> gray 0.299 * 200 = 60 (rounded) < 128, so nothing is inverted. Solarizing first would give 55 -> 16.
    red = Image.new("RGB", (8, 8), (200, 0, 0))
    assert render_view(red, plain(WHOLE, gray=True, solarize=True), 8).getpixel((0, 0)) == (60, 60, 60)


def test_rendering_is_deterministic():
    image, rng = noise(60, 40), np.random.default_rng(5)
    for view in (0, 1):
        for _ in range(10):
            parameters = sample_view(rng, PAPER, view=view, image_size=image.size)
            once, again = (np.array(render_view(image, parameters, 24)) for _ in range(2))
            assert once.shape == (24, 24, 3)
            np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(np.array(image), np.array(noise(60, 40)))  # the image itself is left alone


@given(st.integers(32, 90), st.integers(32, 90), st.integers(0, 2**32), st.integers(0, 1))
@settings(max_examples=40)
def test_every_view_renders(width, height, seed, view):
    parameters = sample_view(np.random.default_rng(seed), PAPER, view=view, image_size=(width, height))
    rendered = render_view(noise(width, height), parameters, 17)
    assert (rendered.mode, rendered.size) == ("RGB", (17, 17))
