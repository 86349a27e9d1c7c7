"""Contexts: which categories meet, and backgrounds that differ and stay faint."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.practice.contexts import CONTEXTS, Photographs, assign_contexts


def test_contexts_crop_from_photographs_of_their_own(photographs):
    source, rng = Photographs(photographs, CONTEXTS), np.random.default_rng(0)
    seen = [{round(float(source.crop(c, rng, 64).mean()) * 255) for _ in range(20)} for c in CONTEXTS]
    # Sixteen photographs for eight contexts: two each, none shared.
    assert [len(photos) for photos in seen] == [2] * 8
    assert len(set.union(*seen)) == 16


def test_few_photographs_are_shared(photographs, tmp_path):
    for number in (3, 9):
        (tmp_path / f"{number}.png").write_bytes((photographs / f"{number:02d}.png").read_bytes())
    source, rng = Photographs(tmp_path, CONTEXTS), np.random.default_rng(0)
    assert {round(float(source.crop(CONTEXTS[5], rng, 64).mean()) * 255) for _ in range(20)} == {48, 144}


@pytest.mark.parametrize(
    ("categories", "contexts", "width"),
    [(1, 1, 1), (2, 2, 1), (5, 5, 2), (8, 8, 4), (12, 8, 4), (50, 8, 7)],  # 50 categories need 7 each to all appear
)
def test_categories_spread_over_contexts(categories, contexts, width):
    names = [f"category {number}" for number in range(categories)]
    assigned = assign_contexts(names)
    assert [len(set(context.categories)) for context in assigned] == [width] * contexts
    assert set().union(*(context.categories for context in assigned)) == set(names)
    assert assigned == assign_contexts(names)
