"""Two encoders side by side in pictures."""

from __future__ import annotations

import numpy as np

from orl_explore.figures import compare as figures


def test_figures():
    bars = figures.overlap(np.array([0, 0.5, 0.5, 1]), 2, chance=0.1, chosen=0.5)
    assert list(bars.data[0].y) == [1, 2, 1]
    assert list(bars.data[0].marker.pattern.shape) == ["", "/", ""]
    assert [note.y > 2 for note in bars.layout.annotations] == [True, True]  # words stand above the highest bar
    points = np.arange(24.0).reshape(12, 2)
    labels = [f"<b>{number}" for number in range(12)]
    made = figures.image_map(points, labels, names=labels, marked=[3, 99], chosen=2)
    assert len(made.data) == figures.CLASSES + 2  # the rings, the cross
    assert made.data[-2].customdata.tolist() == [[3]]
    assert "<b>" not in made.to_json()
    legend = made.layout.legend
    assert (legend.yref, legend.y, legend.yanchor) == ("container", 0, "bottom")  # inside the figure
    assert len(figures.image_map(points).data) == 1
