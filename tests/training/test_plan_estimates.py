"""How a plan adds up: time of devices and loading, words for seconds and bytes, the share of an index."""

from __future__ import annotations

import pytest

from training.plan_estimates import LIST_COST, combined, duration, gigabytes, list_search_share


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        # 0.3 s of a device and 0.8 s of a core for each item
        ({"gpu": False, "workers": 0, "cores": 4}, 1.1),  # one after the other
        ({"gpu": False, "workers": 2, "cores": 4}, 0.5),  # on the same 4 cores: 0.3 + 0.8 / 4
        ({"gpu": True, "workers": 0, "cores": 4}, 1.1),
        ({"gpu": True, "workers": 2, "cores": 4}, 0.4),  # two workers are slower than the device
        ({"gpu": True, "workers": 8, "cores": 4}, 0.3),  # four cores are not: the device sets the pace
        ({"gpu": True, "workers": 8, "cores": 16, "devices": 4}, 0.075),  # 0.3 / 4 against 0.8 / 16
        ({"gpu": True, "workers": 8, "cores": 4, "devices": 4}, 0.2),  # 0.3 / 4 against 0.8 / 4
    ],
)
def test_device_and_loading_together(machine, expected):
    assert combined(0.3, 0.8, **machine) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (119, "119 s"), (120, "2.0 min"), (7200, "2.0 h"), (172_799, "48.0 h"), (864_000, "10.0 days")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_gigabytes():
    assert [gigabytes(n) for n in (1_500_000, 2_340_000_000)] == ["1.5 MB", "2.3 GB"]


def test_the_share_of_an_index():
    # A million images: 4,000 lists of 250. Each is compared with 10 x 4,000 centers by k-means, which takes all, with
    # 2 x 4,000 afterwards, and with 64 x 250 images.
    assert list_search_share(1_000_000) == pytest.approx((40_000 + 8000 + LIST_COST * 16_000) / 1e6)
