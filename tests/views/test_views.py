"""Views against the figures of BYOL: how often each distortion happens, how strong it is, what it does to pixels."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orl_explore.settings import ViewSettings
from orl_explore.views.cropping import center_view, crop_image
from orl_explore.views.parameters import ViewParameters, random_crop, sample_view
from orl_explore.views.pillow import render_view
from orl_explore.views.tensors import normalize, to_tensor

PAPER = ViewSettings()
DRAWS = 4000
WHOLE = (0, 0, 8, 8)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def plain(box: tuple[int, int, int, int], **distortions) -> ViewParameters:
    """A view that only crops, but for what is named."""
    nothing = {"flip": False, "color_steps": (), "gray": False, "blur_sigma": None, "solarize": False}
    return ViewParameters(box, **{**nothing, **distortions})


# ---- probabilities -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn() -> tuple[list[ViewParameters], list[ViewParameters]]:
    rng = np.random.default_rng(0)
    return tuple([sample_view(rng, PAPER, view=view, image_size=(640, 480)) for _ in range(DRAWS)] for view in (0, 1))


@pytest.mark.parametrize(
    ("distortion", "view1", "view2"),  # the table of stage 1
    [
        ("flip", 0.5, 0.5),
        ("color_steps", 0.8, 0.8),
        ("gray", 0.2, 0.2),
        ("blur_sigma", 1.0, 0.1),
        ("solarize", 0.0, 0.2),
    ],
)
def test_probabilities_of_both_views(drawn, distortion, view1, view2):
    for view, probability in enumerate((view1, view2)):
        share = sum(bool(getattr(parameters, distortion)) for parameters in drawn[view]) / DRAWS
        # Five standard deviations of a binomial share: exact where the probability is 0 or 1.
        assert abs(share - probability) <= 5 * math.sqrt(probability * (1 - probability) / DRAWS), view


def test_distortions_are_independent(drawn):
    flags = np.array(
        [
            [bool(getattr(p, name)) for name in ("flip", "color_steps", "gray", "blur_sigma", "solarize")]
            for p in drawn[1]
        ]
    )
    correlation = np.corrcoef(flags.T) - np.eye(5)
    assert np.abs(correlation).max() < 5 / math.sqrt(DRAWS)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("brightness", 0.6, 1.4), ("contrast", 0.6, 1.4), ("saturation", 0.8, 1.2), ("hue", -0.1, 0.1)],
)
def test_color_factors_fill_their_range(drawn, name, low, high):
    factors = np.array([dict(p.color_steps)[name] for p in drawn[0] if p.color_steps])
    assert factors.min() >= low
    assert factors.max() <= high
    # Uniform: mean in the middle, variance width^2 / 12, each within five standard errors.
    width = high - low
    assert factors.mean() == pytest.approx((low + high) / 2, abs=5 * width / math.sqrt(12 * len(factors)))
    assert factors.var() == pytest.approx(width**2 / 12, rel=5 * math.sqrt(0.8 / len(factors)))


def test_color_steps_come_in_any_order(drawn):
    orders = [tuple(name for name, _ in p.color_steps) for p in drawn[0] if p.color_steps]
    counts = {order: orders.count(order) for order in set(orders)}
    assert len(counts) == 24  # 4!
    expected = len(orders) / 24  # about 133
    assert max(abs(count - expected) for count in counts.values()) < 5 * math.sqrt(expected)


def test_blur_sigmas_fill_their_range(drawn):
    sigmas = np.array([p.blur_sigma for p in drawn[0]])
    assert sigmas.min() >= 0.1
    assert sigmas.max() <= 2.0
    assert sigmas.mean() == pytest.approx(1.05, abs=5 * 1.9 / math.sqrt(12 * DRAWS))


def test_crop_areas_and_aspects_are_spread_evenly(drawn):
    boxes = np.array([p.box for p in drawn[0]], float)
    share = boxes[:, 2] * boxes[:, 3] / (640 * 480)
    aspect = np.log(boxes[:, 2] / boxes[:, 3])
    # Every crop of up to half the area fits (its sides are at most sqrt(0.5 * 640 * 480 * 4/3) = 453 px), so none of
    # these was drawn again: their areas are uniform over 0.08 .. 0.5, their log-aspects over log 3/4 .. log 4/3.
    fits = share <= 0.5
    bound = 5 * math.sqrt(0.25 * 0.75 / fits.sum())
    for values, low, high in ((share[fits], 0.08, 0.5), (aspect[fits], math.log(3 / 4), math.log(4 / 3))):
        quarters = np.histogram(values, np.linspace(low, high, 5))[0] / fits.sum()
        assert (np.abs(quarters - 0.25) < bound).all(), quarters
    assert share.max() > 0.9  # and larger ones happen


def test_views_are_drawn_independently():
    rng = np.random.default_rng(0)
    first, second = (sample_view(rng, PAPER, view=0, image_size=(100, 100)) for _ in range(2))
    assert first != second


def test_same_generator_same_view():
    once, again = (sample_view(np.random.default_rng([1, 2, 3]), PAPER, view=1, image_size=(50, 70)) for _ in range(2))
    assert once == again


def test_global_generator_is_left_alone():
    np.random.seed(0)
    torch.manual_seed(0)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state()
    render_view(noise(40, 40), sample_view(np.random.default_rng(0), PAPER, view=0, image_size=(40, 40)), 16)
    assert np.random.get_state()[1].tolist() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


# ---- crops -------------------------------------------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_random_crop_keeps_to_its_bounds(width, height, seed):
    x, y, w, h = random_crop(np.random.default_rng(seed), width, height, (0.08, 1.0), (3 / 4, 4 / 3))
    assert 0 <= x < x + w <= width
    assert 0 <= y < y + h <= height
    # Rounding to pixels moves either side by up to a half.
    assert (w + 0.5) / (h - 0.5 if h > 1 else 0.5) >= 3 / 4
    assert (w - 0.5 if w > 1 else 0.5) / (h + 0.5) <= 4 / 3
    if max(width, height) <= 4 * min(width, height):  # beyond that, the largest crop allowed may cover less than 8%
        assert (w + 0.5) * (h + 0.5) >= 0.08 * width * height


@pytest.mark.parametrize(
    ("size", "box"),
    [
        # No crop with an aspect of 3/4 .. 4/3 covers 8% of these: after ten tries, the largest one in the center.
        ((1000, 10), (493, 0, 13, 10)),  # w = 10 * 4/3 = 13.3, x = (1000 - 13) // 2
        ((10, 1000), (0, 493, 10, 13)),  # h = 10 / (3/4) = 13.3
        ((1, 1000), (0, 499, 1, 1)),
        ((1, 1), (0, 0, 1, 1)),
    ],
)
def test_crop_of_extreme_images_is_the_largest_center(size, box):
    assert random_crop(np.random.default_rng(0), *size, (0.08, 1.0), (3 / 4, 4 / 3)) == box


def test_patches_keep_their_box():
    rng = np.random.default_rng(0)
    box = (3, 5, 40, 20)
    assert {sample_view(rng, PAPER, view=view, box=box).box for view in (0, 1) for _ in range(50)} == {box}


def test_a_view_of_nothing():
    with pytest.raises(ValueError, match="image_size or box"):
        sample_view(np.random.default_rng(0), PAPER, view=0)


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


# ---- rendering ---------------------------------------------------------------------------------------------

PIXELS = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)  # 0 .. 191


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
@settings(max_examples=40, deadline=None)
def test_every_view_renders(width, height, seed, view):
    parameters = sample_view(np.random.default_rng(seed), PAPER, view=view, image_size=(width, height))
    rendered = render_view(noise(width, height), parameters, 17)
    assert (rendered.mode, rendered.size) == ("RGB", (17, 17))


# ---- tensors and whole images ------------------------------------------------------------------------------


def test_to_tensor_is_channels_first():
    tensor = to_tensor(Image.fromarray(PIXELS[:5]))
    assert (tensor.dtype, tuple(tensor.shape)) == (torch.uint8, (3, 5, 8))
    assert tensor[2, 4, 1] == PIXELS[4, 1, 2]


@pytest.mark.parametrize(
    ("channel", "value", "expected"),
    [
        (0, 0, -0.485 / 0.229),
        (1, 0, -0.456 / 0.224),
        (2, 0, -0.406 / 0.225),
        (0, 255, (1 - 0.485) / 0.229),
        (1, 102, (0.4 - 0.456) / 0.224),  # 102 / 255 = 0.4
        (2, 255, (1 - 0.406) / 0.225),
    ],
)
def test_normalize(channel, value, expected):
    result = normalize(torch.full((2, 3, 4, 5), value, dtype=torch.uint8))
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert result[:, channel].numpy() == pytest.approx(expected, abs=1e-5)


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
@settings(max_examples=40, deadline=None)
def test_center_view_is_always_filled(width, height, size):
    view = np.array(center_view(Image.new("RGB", (width, height), (7, 8, 9)), size))
    assert view.shape == (size, size, 3)
    assert (view == (7, 8, 9)).all()  # no black border


def test_settings_can_switch_everything_off():
    still = dataclasses.replace(PAPER, flip=0, color_jitter=0, gray=0, blur=(0, 0), solarize=(0, 0))
    parameters = sample_view(np.random.default_rng(0), still, view=0, box=WHOLE)
    assert parameters == plain(WHOLE)
