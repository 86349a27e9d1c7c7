"""What the browser is sent of two crops, and the places it sends back."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from orl_explore.judging import alike
from orl_explore.judging.alike import FeatureMap
from orl_explore.ui.pair_places import Place, Seen, sent


def map_of(shape: tuple[int, int], seed: int) -> FeatureMap:
    nothing = np.zeros(1, np.float32)
    cells = np.random.default_rng(seed).normal(size=(*shape, 5)).astype(np.float32)
    return FeatureMap(cells, nothing, 0, nothing, 0)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a,0.25,0.5", Place("a", 0.25, 0.5)),
        ("b,0,1", Place("b", 0, 1)),
        ("c,0.25,0.5", None),
        ("a,1.5,0.5", None),
        ("a,nan,0.5", None),
        ("a,0.5", None),
        ("<b>", None),
        (None, None),
    ],
)
def test_places(text, place):
    assert Place.read(text) == place
    assert place is None or Place.read(str(place)) == place


def test_what_is_sent_is_what_the_library_says():
    a, b = map_of((2, 3), 0), map_of((4, 1), 1)
    found = sent(Seen("name", "facts", (a, b)))
    assert found["shapes"] == {"a": [2, 3], "b": [4, 1]}
    levels = np.frombuffer(base64.b64decode(found["levels"]), "<u2").reshape(2, 3, 4, 1)
    decoded = found["low"] + (found["high"] - found["low"]) * levels / 65535
    np.testing.assert_allclose(decoded, alike.similarities(a, b), atol=2e-5)
    shares = {letter: np.frombuffer(base64.b64decode(text), "<f4") for letter, text in found["shares"].items()}
    cosine = alike.cosine(a.mean, b.mean)
    assert [shares[letter].sum() for letter in "ab"] == pytest.approx([cosine, cosine], abs=1e-5)
    colors = np.frombuffer(base64.b64decode(found["colors"]["a"]), np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(colors, alike.pca_colors([a, b])[0])


def test_places_all_alike():
    one = map_of((1, 1), 0)
    assert sent(Seen("", "", (one, one)))["high"] == pytest.approx(1)
