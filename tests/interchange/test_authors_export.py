"""The ORL authors' files, written from a run: equal to those that it was imported from."""

from __future__ import annotations

import json

from authors_files import RAW, mined, neighbors
from training.exporting import export


def test_the_way_back_gives_equal_files(imported, tmp_path):
    for what, content in (("correspondences", mined()), ("neighbors", neighbors()), ("proposals", {"bbox": RAW})):
        out = tmp_path / f"{what}.json"
        export(imported, what, out)
        assert json.loads(out.read_text()) == content
