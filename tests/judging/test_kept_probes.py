"""Probes of two encoders are fitted once."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.judging import objects
from orl_explore.judging.kept_probes import kept_probe
from orl_explore.runs.region_embeddings import MINED, read_region_embeddings


def test_probes_are_kept(run, monkeypatch):
    mined = read_region_embeddings(run, MINED)
    boxes = objects.shared_boxes(run, mined, mined)
    first = kept_probe(run, boxes, ["x", "y"])
    (file,) = (run.path / "comparison").glob("*-probes.npz")

    def never(boxes):
        raise AssertionError("made twice")

    with monkeypatch.context() as patch:
        patch.setattr(objects, "probe", never)
        again = kept_probe(run, boxes, ["x", "y"])
        np.testing.assert_array_equal(first.linear, again.linear)
        assert first.chance == again.chance
        with pytest.raises(AssertionError, match="made twice"):
            kept_probe(run, boxes, ["x", "z"])
    file.write_bytes(b"damaged")
    np.testing.assert_array_equal(kept_probe(run, boxes, ["x", "y"]).knn, first.knn)
