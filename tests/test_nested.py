"""Nested plain values: what differs, what a key leads to, and dataclasses from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl_explore.nested import at_key, differing_keys, from_dict, listed
from orl_explore.settings import Config, Stage3Settings


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 4}}, ["b.d"]),
        ({"a": 1}, {"b": 1}, ["a", "b"]),
        ({"a": {"b": 1}}, {"a": 1}, ["a"]),
        ({"a": None}, {}, []),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a"]),
    ],
)
def test_differing_keys(old, new, keys):
    assert differing_keys(old, new) == keys


nested = st.recursive(
    st.integers(0, 3), lambda values: st.dictionaries(st.sampled_from("abc"), values, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.sampled_from("abc"), nested), st.dictionaries(st.sampled_from("abc"), nested))
def test_differing_keys_is_a_comparison(old, new):
    assert differing_keys(old, old) == []
    assert sorted(differing_keys(old, new)) == sorted(differing_keys(new, old))
    assert bool(differing_keys(old, new)) == (old != new)


def test_settings_come_back_as_they_were():
    config = Config(stage3=Stage3Settings(epochs=7, warmup_epochs=1))
    assert from_dict(Config, config.as_dict()) == config
    assert from_dict(Stage3Settings, {"epochs": 9, "of a later version": 1}) == Stage3Settings(epochs=9)


def test_small_ones():
    assert listed({"a": (1, (2,)), "b": "x"}) == {"a": [1, [2]], "b": "x"}
    assert at_key({"a": {"b": 3}}, "a.b") == 3
    with pytest.raises(KeyError):
        at_key({"a": {}}, "a.b")
