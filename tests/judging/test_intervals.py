"""Bootstrap intervals: figures of resamples by hand, against other implementations, coverage on simulated data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl_explore.judging import intervals
from orl_explore.judging.intervals import Detected, Ranked, Scored, Segmented
from training.transfer.svm import average_precision

# ---- figures of resamples ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "counts", "expected"),
    [
        (Scored.of(np.array([1, 0, 1, 1])), [1, 1, 1, 1], 3 / 4),
        (Scored.of(np.array([1, 0, 1, 1])), [0, 3, 1, 0], 1 / 4),  # the wrong one three times
        # Three items of two images: an image is drawn with all that belongs to it.
        (Scored.of(np.array([1, 0, 0]), unit=np.array([7, 7, 9])), [2, 0], 1 / 2),
        (Scored.of(np.array([1, 0, 0]), unit=np.array([7, 7, 9])), [1, 1], 1 / 3),
        # Groups: the mean of the means 1 and 0 of their 3 and 1 items; one that was not drawn is left out.
        (Scored.of(np.array([1, 1, 1, 0]), group=np.array(list("aaab"))), [1, 1, 1, 1], 1 / 2),
        (Scored.of(np.array([1, 1, 1, 0]), group=np.array(list("aaab"))), [4, 0, 0, 0], 1.0),
        # Ranked right, wrong, right: precisions 1, 1/2, 2/3.
        (Ranked.of(np.array([[3.0], [2], [1]]), np.array([[1], [-1], [1]])), [1, 1, 1], (1 + 2 / 3) / 2),
        # The wrong one twice: 1 and 2/4. The first twice: 1, 1 and 3/4. Neither right one: no figure.
        (Ranked.of(np.array([[3.0], [2], [1]]), np.array([[1], [-1], [1]])), [1, 2, 1], (1 + 2 / 4) / 2),
        (Ranked.of(np.array([[3.0], [2], [1]]), np.array([[1], [-1], [1]])), [2, 1, 1], (1 + 1 + 3 / 4) / 3),
        (Ranked.of(np.array([[3.0], [2], [1]]), np.array([[1], [-1], [1]])), [0, 3, 0], np.nan),
        # Images with 0 are as if they were not there.
        (Ranked.of(np.array([[3.0], [2]]), np.array([[0], [1]])), [1, 1], 1.0),
        # A class that is not drawn does not count: of 1/2 and 1 the 1 is left.
        (Ranked.of(np.array([[2.0, 2], [1, 1]]), np.array([[-1, 1], [1, -1]])), [1, 1], 3 / 4),
        (Ranked.of(np.array([[2.0, 2], [1, 1]]), np.array([[-1, 1], [1, -1]])), [2, 0], 1.0),
        # Two images, two classes: (1 + 0) / (2 + 4) and 3 / (4 + 4); of the first image alone 1/2 and 3/4.
        (Segmented(2, np.array([[1, 3], [0, 0]]), np.array([[2, 4], [4, 4]])), [1, 1], (1 / 6 + 3 / 8) / 2),
        (Segmented(2, np.array([[1, 3], [0, 0]]), np.array([[2, 4], [4, 4]])), [2, 0], (1 / 2 + 3 / 4) / 2),
        # A class that is in no drawn image, nor was given to one, does not count.
        (Segmented(2, np.array([[1, 0], [1, 1]]), np.array([[2, 0], [2, 3]])), [3, 0], 1 / 2),
        # Two rankings of the same images: the mean of 1 and 1/2.
        (Ranked.of(np.array([[[2.0], [1]], [[1], [2]]]), np.array([[1], [-1]])), [1, 1], 3 / 4),
    ],
)
def test_a_figure_of_a_resample(items, counts, expected):
    assert items.values(np.array([counts]))[0] == pytest.approx(expected, nan_ok=True)


@given(st.integers(0, 10_000))
def test_counting_an_image_twice_is_having_it_twice(seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(12, 1)), rng.choice([-1, 0, 1], size=(12, 1))
    counts = rng.integers(0, 4, 12)
    written_out = np.repeat(scores[:, 0], counts), np.repeat(labels[:, 0], counts)
    found = Ranked.of(scores, labels).values(counts[None])[0]
    if (written_out[1] == 1).any():
        assert found == pytest.approx(average_precision(*written_out))
    else:
        assert np.isnan(found)


def detected(objects, found):
    """Detections of two images, one category and one threshold: (image, score, right) each, and objects per image."""
    image, score, right = (np.array(column) for column in zip(*found, strict=True))
    flags = right.astype(np.uint16)
    zeros = np.zeros(len(found), np.int32)
    return Detected(2, image, zeros, score, flags, 1 - flags, np.arange(2), np.zeros(2, int), np.array(objects), 1)


@pytest.mark.parametrize(
    ("objects", "found", "counts", "expected"),
    [
        ([1, 0], [(0, 0.9, True)], [1, 1], 1.0),
        # A wrong one before it, of the other image: 1/2 at every recall; gone when that image is not drawn.
        ([1, 0], [(1, 0.95, False), (0, 0.9, True)], [1, 1], 1 / 2),
        ([1, 0], [(1, 0.95, False), (0, 0.9, True)], [2, 0], 1.0),
        ([1, 0], [(1, 0.95, False), (0, 0.9, True)], [1, 3], 1 / 4),
        # One of two objects: the recalls 0, 0.01 .. 0.5 are reached, 51 of 101.
        ([1, 1], [(0, 0.9, True)], [1, 1], 51 / 101),
        ([1, 1], [(0, 0.9, True)], [3, 1], 76 / 101),  # three of four: 0 .. 0.75
        ([1, 1], [(0, 0.9, False)], [1, 1], 0.0),
        ([1, 0], [(0, 0.9, True)], [0, 2], np.nan),  # no object was drawn
    ],
)
def test_coco_ap_of_a_resample(objects, found, counts, expected):
    assert detected(objects, found).values(np.array([counts]))[0] == pytest.approx(expected, nan_ok=True)


# ---- intervals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "value", "level", "expected"),
    [
        (np.arange(101.0), 50, 0.9, (5.0, 95.0)),
        (np.arange(101.0), 50, 0.5, (25.0, 75.0)),
        (np.arange(101.0), 40, 0.9, (-15.0, 75.0)),  # from 35 below it to 55 above: so 55 below to 35 above
        (np.r_[np.arange(101.0), np.nan], 50, 0.9, (5.0, 95.0)),  # resamples without a figure are left out
        (np.full(7, 0.25), 0.25, 0.95, (0.25, 0.25)),
        (np.array([np.nan]), 0.5, 0.95, (np.nan, np.nan)),
    ],
)
def test_the_middle_part_turned_around(values, value, level, expected):
    assert intervals.interval(values, value, level) == pytest.approx(expected, nan_ok=True)


def test_intervals_of_a_share_are_as_wide_as_the_binomial_says():
    # 60 of 100: standard error sqrt(0.6 * 0.4 / 100) = 0.049, so 0.6 -+ 0.096.
    low, high = intervals.interval(intervals.resampled(Scored.of(np.arange(100) < 60), resamples=4000), 0.6)
    assert (low, high) == pytest.approx((0.504, 0.696), abs=0.012)


@pytest.mark.slow
def test_coverage():
    """Of 95 % intervals of simulated data about 95 % hold what the data were drawn from."""
    rng = np.random.default_rng(0)
    truth, held = 0.7, 0
    for trial in range(300):
        items = Scored.of(rng.random(150) < truth)
        low, high = intervals.interval(intervals.resampled(items, resamples=300, seed=trial), items.value())
        held += low <= truth <= high
    assert 0.91 <= held / 300 <= 0.98  # the standard error of 0.95 over 300 is 0.013


def test_coverage_of_average_precision():
    """Repeated images help average precision: values of resamples lie too high, and have to be turned around."""
    rng = np.random.default_rng(2)

    def drawn(count):
        labels = np.where(rng.random((count, 12)) < 0.1, 1, -1)
        return Ranked.of(rng.normal(size=labels.shape) + 1.2 * labels, labels)

    truth, held, by_values = drawn(50_000).value(), 0, 0
    for trial in range(100):
        items = drawn(500)
        values, value = intervals.resampled(items, resamples=150, seed=trial), items.value()
        low, high = intervals.interval(values, value)
        held += low <= truth <= high
        by_values += 2 * value - high <= truth <= 2 * value - low
    assert held / 100 >= 0.85
    assert by_values <= held


@pytest.mark.slow
def test_coverage_of_items_that_share_images():
    """Ten items of an image that are all right or all wrong tell as much as one: as 40 images, not as 400 items."""
    rng = np.random.default_rng(1)
    unit, held, by_item = np.repeat(np.arange(40), 10), 0, 0
    for trial in range(200):
        score = np.repeat(rng.random(40) < 0.5, 10)
        for units in (unit, None):
            items = Scored.of(score, unit=units)
            low, high = intervals.interval(intervals.resampled(items, resamples=200, seed=trial), items.value())
            if units is None:
                by_item += low <= 0.5 <= high
            else:
                held += low <= 0.5 <= high
    assert held / 200 > 0.9
    assert by_item / 200 < 0.7


def test_differences_are_paired(tmp_path):
    # B is right where A is, and on 5 more of 200: far less uncertain than either figure.
    a = np.random.default_rng(0).random(200) < 0.5
    b = a.copy()
    b[np.flatnonzero(~a)[:5]] = True
    for name, score in (("a", a), ("b", b), ("fewer", a[:100])):
        intervals.write_items(tmp_path / f"{name}.npz", {"top1": Scored.of(score)})
    read = {name: intervals.read_resampled(tmp_path / f"{name}.npz", "top1") for name in ("a", "b", "fewer")}
    low, high = intervals.difference(read["a"], read["b"])
    assert 0 < low < 0.025 < high < 0.06  # 5 of 200 are 0.025, standard error 0.011
    assert intervals.difference(read["b"], read["a"]) == pytest.approx((-high, -low))
    assert intervals.difference(read["a"], read["fewer"]) is None  # other images
    assert intervals.read_resampled(tmp_path / "none.npz", "top1") is None
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:200])
    assert intervals.read_resampled(tmp_path / "a.npz", "top1") is None


@pytest.mark.parametrize(
    "items",
    [
        Scored.of(np.array([1, 0, 0.5]), unit=np.array([3, 3, 4]), group=np.array(["a", "b", "a"])),
        Ranked.of(np.random.default_rng(0).normal(size=(2, 9, 3)), np.random.default_rng(1).choice([-1, 1], (9, 3))),
        detected([1, 2], [(1, 0.95, False), (0, 0.9, True)]),
    ],
)
def test_items_are_read_as_they_were_written(tmp_path, items):
    limits = intervals.write_items(tmp_path / "items.npz", {"figure": items})
    again = intervals.read_items(tmp_path / "items.npz", "figure")
    assert type(again) is type(items)
    assert again.value() == items.value()
    units, value, values = intervals.read_resampled(tmp_path / "items.npz", "figure")
    assert units == items.units
    assert value == items.value()
    assert limits["figure"] == pytest.approx(np.clip(intervals.interval(values, value), 0, 1), abs=1e-6)
    assert (intervals.resampled(again) == intervals.resampled(items)).sum() == (~np.isnan(values)).sum()
    with pytest.raises(KeyError):
        intervals.read_items(tmp_path / "items.npz", "other")


# ---- standard errors -----------------------------------------------------------------------------------------------


def test_standard_error_of_a_mean():
    """Of 400 images right with p = 1/4: sqrt(p (1 - p) / 400); with every image twice it stays what it was."""
    right = np.arange(400) % 4 == 0
    expected = np.sqrt(0.25 * 0.75 / 400)
    assert intervals.standard_error(intervals.resampled(Scored.of(right))) == pytest.approx(expected, rel=0.1)
    twice = Scored.of(np.repeat(right, 2), unit=np.repeat(np.arange(400), 2))
    assert intervals.standard_error(intervals.resampled(twice)) == pytest.approx(expected, rel=0.1)
    assert np.isnan(intervals.standard_error(np.array([np.nan, 1.0])))


def test_groups_have_values_and_errors_of_their_own():
    rng = np.random.default_rng(0)
    group = np.repeat(["b", "a"], 300)
    first = rng.random(600) < 0.5
    second = np.where(group == "a", first, rng.random(600) < 0.8)  # of group a nothing changes
    unit = np.arange(600) // 2
    found = intervals.by_group(Scored.of(first, unit=unit, group=group), Scored.of(second, unit=unit, group=group))
    assert found.shape == (2, 4)
    np.testing.assert_allclose(found[:, 0], [first[group == name].mean() for name in "ab"])
    np.testing.assert_allclose(found[:, 1], [second[group == name].mean() for name in "ab"])
    np.testing.assert_allclose(found[:, 2], found[:, 1] - found[:, 0])
    assert found[0, 3] == 0
    change = (second.astype(float) - first)[group == "b"].reshape(-1, 2).mean(axis=1)  # by image
    assert found[1, 3] == pytest.approx(change.std(ddof=1) / np.sqrt(len(change)), rel=0.15)


def test_a_group_of_one_image_has_no_error():
    unit, group = np.array([0, 0, 1, 2]), np.array(["a", "a", "b", "b"])
    found = intervals.by_group(*(Scored.of(np.array(x), unit=unit, group=group) for x in ([0, 1, 0, 0], [1, 1, 1, 0])))
    np.testing.assert_allclose(found[:, :3], [[0.5, 1, 0.5], [0, 0.5, 0.5]])
    assert np.isnan(found[0, 3])
    assert found[1, 3] > 0
