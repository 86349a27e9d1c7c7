"""Views against the figures of BYOL: how often each distortion happens, how strong it is, which part is shown."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_explore.views.parameters import ViewParameters, random_crop, sample_view
from orl_explore.views.pillow import render_view
from view_parts import PAPER, WHOLE, noise, plain

DRAWS = 4000


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
@settings(max_examples=300)
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


def test_settings_can_switch_everything_off():
    still = dataclasses.replace(PAPER, flip=0, color_jitter=0, gray=0, blur=(0, 0), solarize=(0, 0))
    parameters = sample_view(np.random.default_rng(0), still, view=0, box=WHOLE)
    assert parameters == plain(WHOLE)
