"""What others published."""

from __future__ import annotations

from pathlib import Path

from orl_explore.judging import published


def test_published_figures_name_their_source():
    table = published.published_table()
    blank = table["percent"] == ""
    assert table["source"][blank].str.contains("2106.11952").all()
    assert table["source"][~blank].str.contains("commit").all()  # what was looked up can be looked up again
    documented = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    assert all(value in documented for value in table["percent"][~blank])
