"""How numbers are written, and that no module writes them in another way."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from orl_explore.numbers import percent_text, points_text, similarity_text

ROOT = Path(__file__).parents[1]


def test_shares_changes_and_similarities():
    assert [percent_text(share) for share in (0.958, 1, 0, None, math.nan)] == ["95.8 %", "100.0 %", "0.0 %", "-", "-"]
    assert [points_text(change) for change in (0.026, -0.2)] == ["+2.6 points", "-20.0 points"]
    assert [similarity_text(value) for value in (0.96249, -0.5, math.nan)] == ["0.962", "-0.500", "unknown"]


@pytest.mark.parametrize("folder", ["orl_explore", "training"])
def test_no_module_has_a_way_of_its_own(folder):
    own = re.compile(r":[+,]?\.\d%|\.\df\}?%|(similarity|cosine|mined|enlarged):\.\df")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if own.search(line) and path.name != "useless.py"  # where 0.9999 is not 1
    ]
    assert not found
