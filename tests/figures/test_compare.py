"""Two encoders side by side in pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orl_explore.figures import compare as figures
from orl_explore.figures.object_map import coloring_of_groups


def test_figures():
    bars = figures.overlap(np.array([0, 0.5, 0.5, 1]), 2, chance=0.1, chosen=0.5)
    assert list(bars.data[0].y) == [1, 2, 1]
    assert list(bars.data[0].marker.pattern.shape) == ["", "/", ""]
    assert [note.y > 2 for note in bars.layout.annotations] == [True, True]  # words stand above the highest bar
    points = np.arange(24.0).reshape(12, 2)
    labels = [f"<b>{number}" for number in range(12)]
    made = figures.image_map(points, labels, names=labels, marked=[3, 99], chosen=2)
    assert len({trace.marker.color for trace in made.data[:-2]}) == 12  # then the rings and the cross
    assert len(made.data) == 14
    assert made.data[-2].customdata.tolist() == [[3]]
    assert "<b>" not in made.to_json()
    legend = made.layout.legend
    assert (legend.yref, legend.y, legend.yanchor) == ("container", 0, "bottom")  # inside the figure
    assert len(figures.image_map(points).data) == 1


def test_colors_of_images_are_those_of_regions():
    labels = ["other", *(f"kind {number}" for number in range(20)), None] * 2
    made = figures.image_map(np.zeros((44, 2)), labels)
    coloring = coloring_of_groups(pd.Series(labels, dtype=object), "", none=figures.NO_LABEL)
    assert [trace.name for trace in made.data] == coloring.names
    assert [trace.marker.color for trace in made.data] == coloring.colors
    assert sorted(row for trace in made.data for row in trace.customdata[:, 0].tolist()) == list(range(44))
