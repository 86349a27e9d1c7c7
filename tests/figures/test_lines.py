"""Numbers that depend on a setting, as lines."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orl_explore.figures import lines


def test_lines_by_column():
    table = pd.DataFrame({"a": [1, 2], "b": [None, 3]}, index=pd.Index([1, 10], name="K"))
    made = lines.by_column(table, title="t", form=".0%", log_x=True)
    assert [trace.name for trace in made.data] == ["a", "b"]
    assert np.isnan(made.data[1].y[0])
    assert made.layout.xaxis.title.text == "K"
    assert list(made.layout.xaxis.ticktext) == ["1", "10"]
    assert len({trace.marker.symbol for trace in made.data}) == 2
