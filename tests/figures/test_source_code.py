"""Source code as notebooks show it."""

from __future__ import annotations

from orl_explore.boxes import filter_boxes
from orl_explore.figures.source_code import SourceCode
from orl_explore.runs.run import Run


def test_source_shows_the_code_that_runs():
    shown = SourceCode(filter_boxes)
    assert str(shown).startswith("def filter_boxes(")
    assert shown._repr_markdown_().startswith("```python\ndef filter_boxes(")
    assert str(SourceCode(Run.finished)).startswith("def finished(self")  # methods without their indentation
