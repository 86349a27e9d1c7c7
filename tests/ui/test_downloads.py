"""Tables as files: what a button offers, and that every table of Compare, All runs and Overview has one."""

from __future__ import annotations

import pandas as pd
import pytest

pytest.importorskip("streamlit")

from orl_explore.ui import downloads

TABLE = pd.DataFrame({"name": ["mug", "=SUM(1)", "a,b"], "share": [0.5, 0.25, 1.0]}, index=["x", "y", "z"])


class Place:
    """Where a button would stand."""

    def download_button(self, label, data, file_name, mime, **looks):
        self.label, self.text, self.file, self.looks = label, data().decode(), file_name, looks


@pytest.mark.parametrize("table", [TABLE, lambda: TABLE])
def test_a_table_as_csv(table):
    place = Place()
    downloads.csv_button(table, "shares", index=True, place=place, type="secondary")
    assert place.file == "shares.csv"
    lines = place.text.splitlines()
    assert lines[0] == "index,name,share"
    assert lines[3] == 'z,"a,b",1.0'
    assert not lines[2].startswith("y,=")  # no spreadsheet executes it
    assert "SUM(1)" in lines[2]
    assert (place.looks["key"], place.looks["type"]) == ("csv shares", "secondary")


@pytest.mark.parametrize(
    ("page", "state", "files"),
    [
        ("runs", {}, ["runs"]),
        ("compare", {"compare tab": "What each encoder is worth"}, ["published"]),
        ("compare", {"compare tab": "Whole images"}, ["shared-neighbors", "neighbors-of-"]),
    ],
)
def test_tables_have_a_button(page, state, files, runs, visit):
    app = visit(state, page=page)
    keys = [button.proto.id for button in app.get("download_button")]
    assert [any(f"-csv {file}" in key for key in keys) for file in files] == [True] * len(files), keys
