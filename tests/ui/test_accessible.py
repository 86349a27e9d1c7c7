"""Whoever does not see a picture, a chart or a table is told what it is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from orl_explore import ui

SHOWN = ("image", "dataframe", "plotly_chart")
MODULES = sorted(path.name for path in Path(ui.__file__).parent.glob("*.py") if not path.name.startswith("compare"))


@pytest.mark.parametrize("name", MODULES)
def test_everything_that_is_shown_has_words(name):
    tree = ast.parse((Path(ui.__file__).parent / name).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    shown = [call for call in calls if call.func.attr in SHOWN]
    without = [call for call in shown if not any(word.arg in ("alt", None) for word in call.keywords)]
    assert not [f"line {call.lineno}: {ast.unparse(call)[:80]}" for call in without]
