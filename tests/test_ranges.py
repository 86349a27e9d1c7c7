"""Ranges: what of the settings is refused, and in which words; what the method and its configs use is not."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from orl_explore.errors import OrlError
from orl_explore.ranges import check_positive, check_range
from training.config import config_names, load_config

BETWEEN = "must lie between"


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("stage1.views.crop_scale", "[0, 0]", r"\[0.0, 0.0\]: both numbers must lie above 0 and at most at 1"),
        ("stage3.views.crop_scale", "[0.5, 1.5]", r"\[0.5, 1.5\]: both numbers must lie above 0 and at most at 1"),
        ("stage1.views.crop_scale", "[1.0, 0.08]", r"\[1.0, 0.08\]: the first number must be at most the second"),
        ("stage1.views.crop_ratio", "[0, 1]", r"\[0.0, 1.0\]: both numbers must be above 0"),
        ("stage1.views.crop_ratio", "[1, .inf]", r"\[1.0, inf\]: both numbers must be above 0 and finite"),
        ("stage1.views.crop_ratio", "[2, 1]", "the first number must be at most the second"),
        ("stage1.views.flip", "7", f"7.0: it {BETWEEN} 0 and 1"),
        ("stage1.views.color_jitter", "-0.1", f"-0.1: it {BETWEEN} 0 and 1"),
        ("stage1.views.brightness", "1.5", f"1.5: it {BETWEEN} 0 and 1"),
        ("stage1.views.contrast", "-1", f"-1.0: it {BETWEEN} 0 and 1"),
        ("stage1.views.saturation", "2", f"2.0: it {BETWEEN} 0 and 1"),
        ("stage1.views.hue", "0.7", f"0.7: it {BETWEEN} 0 and 0.5"),
        ("stage1.views.gray", "1.1", f"1.1: it {BETWEEN} 0 and 1"),
        ("stage1.views.blur_sigma", "[-3, -1]", r"\[-3.0, -1.0\]: both numbers must be 0 or more"),
        ("stage1.views.blur_sigma", "[2, 1]", "the first number must be at most the second"),
        ("stage3.views.blur", "[1.0, 2.0]", rf"\[1.0, 2.0\]: both numbers {BETWEEN} 0 and 1"),
        ("stage3.views.solarize", "[-1, 0]", rf"both numbers {BETWEEN} 0 and 1"),
        ("stage1.encoder.hidden", "-5", "-5: it must be 0 or more"),
        ("stage1.encoder.dim", "0", "0: it must be 1 or more"),
        ("stage2.max_iou", "50", f"50.0: it {BETWEEN} 0 and 1"),
        ("stage2.max_iou", "-1", f"-1.0: it {BETWEEN} 0 and 1"),
        ("stage2.min_similarity", "5", f"5.0: it {BETWEEN} -1 and 1"),
        ("stage3.image_weight", "-1", "-1.0: it must be 0 or more"),
        ("stage3.intra_weight", ".inf", "inf: it must be 0 or more and finite"),
        ("stage3.inter_weight", "-0.5", "-0.5: it must be 0 or more"),
    ],
)
def test_settings_out_of_range(setting, value, message):
    with pytest.raises(OrlError, match=rf"^{setting} is (.*: )?{message}$"):
        load_config(None, [f"--{setting}={value}"])


@pytest.mark.parametrize(
    "words",
    [
        ("views.crop_scale=[1, 1]", "views.crop_ratio=[1, 1]", "views.blur_sigma=[0, 0]", "views.blur=[0, 1]"),
        ("views.flip=0", "views.brightness=1", "views.saturation=0", "views.hue=0.5", "views.gray=1"),
        ("encoder.hidden=0", "encoder.dim=0"),  # a backbone alone, as some are imported
    ],
)
def test_the_ends_of_ranges_are_in_them(words):
    load_config(None, [f"--stage1.{word}" for word in words])
    load_config(None, ["--stage2.min_similarity=-1", "--stage2.max_iou=1", "--stage3.inter_weight=0"])


@pytest.mark.parametrize("name", config_names())
def test_configs_that_come_with_the_project_are_in_range(name):
    load_config(name)


def test_infinity_and_nan_are_in_no_range():
    for value in (math.inf, math.nan, -math.inf, (0.5, math.nan)):
        with pytest.raises(OrlError, match=r"^a\.b is .*: (it|both numbers) must be above 0"):
            check_positive(SimpleNamespace(b=value), "a", "b")
    check_range(SimpleNamespace(b=None, c=3), "a", 0, math.inf, "b", "c")
