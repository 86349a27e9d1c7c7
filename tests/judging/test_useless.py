"""Sentences about what is of no use: said where it is so, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_explore.errors import OrlError
from orl_explore.judging import useless
from orl_explore.judging.useless import Spread, check_directions, of_images, of_loss, of_summary, of_training, spread

RNG = np.random.default_rng(0)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_spread_by_hand():
    """Two of the four axes, twice each: of six pairs two agree; the mean cosine is a third."""
    found = spread(np.eye(4)[[0, 0, 1, 1]])
    assert found.similarity == pytest.approx(1 / 3)
    assert found.rank == pytest.approx(1, abs=1e-3)
    assert found.images == 4
    alike = spread(np.ones((5, 3)) / 3**0.5)
    assert alike.similarity == pytest.approx(1)
    assert (alike.std, alike.rank) == (pytest.approx(0, abs=1e-6), 0)
    assert spread(unit(RNG.standard_normal((400, 16)))).std == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_an_encoder_that_answers_nothing(bad):
    answer = "zero" if bad == 0 else "NaN or infinity"
    with pytest.raises(OrlError, match=f"the encoder answers {answer} for 5 of 5 boxes: it is of no use"):
        check_directions(np.full((5, 4), bad, np.float16), "boxes")
    vectors = np.ones((5, 4))
    vectors[2] = bad
    if bad == 0:
        assert check_directions(vectors, "boxes") == 1
    else:
        with pytest.raises(OrlError, match="for 1 of 5 boxes"):
            check_directions(vectors, "boxes")
    assert check_directions(np.zeros((0, 4)), "boxes") == 0


GOOD = Spread(0.8, 30.0, 0.2, 64)


@pytest.mark.parametrize(
    ("trained", "said"),
    [
        (GOOD, None),
        (Spread(0.41, 16.0, 0.6, 64), None),
        (Spread(0.001, 1.2, 0.99999, 64), "of no use: all pictures look alike"),
        (
            Spread(0.3, 30.0, 0.6, 64),
            "worse than the untrained network at telling pictures apart: spread 0.3",
        ),
        (Spread(0.8, 3.0, 0.6, 64), "rank 3 against 30"),
    ],
)
def test_after_training(trained, said):
    found = of_training("stage 1", trained, GOOD)
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


@pytest.mark.parametrize(("loss", "said"), [(0.4, 0), (3.4, 0), (3.8, 1), (float("nan"), 0)])
def test_views_that_stay_strangers(loss, said):
    assert len(of_loss("stage 1", loss)) == said


def test_pictures_that_look_alike():
    base = RNG.standard_normal(32)
    assert of_images(unit(base + 1e-4 * RNG.standard_normal((50, 32))))[0].startswith("all pictures look alike")
    assert of_images(unit(RNG.standard_normal((50, 32)))) == []


def summary(**stages):
    return {"counts": {"images": 64, "exact_duplicates": 0, "test_crops": 400}, "random": {"object_knn": 0.5}, **stages}


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (summary(stage1={"object_knn": 0.6}), []),
        (summary(stage1={"object_knn": 0.46}), []),  # within two standard errors, 5 %
        (
            summary(stage3={"object_knn": 0.44}),
            ["stage 3 is worse than the untrained network: kNN on annotated objects"],
        ),
        (summary(stage1={"collapsed": True, "std": 0.01}), ["stage 1 has collapsed"]),
        (summary() | {"counts": {"images": 64, "exact_duplicates": 63}}, ["all 64 pictures are copies of one"]),
        (summary() | {"counts": {"images": 64, "exact_duplicates": 29}}, ["29 of 64 pictures are copies of others"]),
        ({}, []),
    ],
)
def test_figures_in_words(figures, said):
    found = of_summary(figures)
    assert len(found) == len(said)
    assert all(text.startswith(begin) for text, begin in zip(found, said, strict=True))


@settings(max_examples=100)
@given(st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=2, max_size=6))
def test_any_vectors_have_a_spread_or_a_reason(vectors):
    try:
        found = spread(np.array(vectors, np.float32))
    except OrlError:
        return
    assert found.images == len(vectors)
    useless.of_training("x", found, found)
