"""Selections in the address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl_explore.ui.map_address import MOST, listed, names_in, packed, unpacked


@given(st.sets(st.integers(0, 10_000_000), min_size=1, max_size=50))
def test_there_and_back(regions):
    text = packed(list(regions))
    assert text is not None
    assert unpacked(text, 10_000_001) == sorted(regions)


def test_short():
    assert packed([40, 4, 5]) == "4.1.z"
    assert len(packed(list(range(0, 2000, 2))) or "") == 1999


@given(st.lists(st.text(st.sampled_from("ab,\\\n ")), min_size=1, max_size=4))
def test_names_there_and_back(names):
    assert names_in(listed(names) or "") == names


def test_names_in_the_address():
    assert listed(["mug", "a,b"]) == "mug,a\\,b"
    assert listed([]) is None


def test_none_and_too_many_are_not_in_the_address():
    assert packed([]) is None
    assert packed(list(range(MOST + 1))) is None


@pytest.mark.parametrize("text", ["", "4..1", "4.!", "4.zz", "-1", "zzzzzzzzzzzzz"])
def test_what_is_typed_wrong(text):
    assert unpacked(text, 100) is None
