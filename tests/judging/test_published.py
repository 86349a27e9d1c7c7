"""What others published."""

from __future__ import annotations

from pathlib import Path

from orl_explore.judging import published


def test_published_figures_name_their_source():
    table = published.published_table()
    blank = table["percent"] == ""
    assert table["source"][blank].str.contains("2106.11952|2205.15288").all()
    # What was looked up can be looked up again.
    assert table["source"][~blank].str.contains(r"at commit [0-9a-f]{7}|arXiv \d{4}\.\d{5}").all()
    # The one figure of low-shot classification is of weights that were published, not of a training of that framework.
    assert table.set_index("percent").loc["84.59", "source"].endswith("on the ORL authors' published weights")
    documented = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    values = [value for cell in table["percent"][~blank] for value in cell.split(", ")]
    assert len(values) == 28
    assert [value for value in values if value not in documented] == []
