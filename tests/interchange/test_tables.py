"""Tables of stage 2 from elsewhere that contradict each other or the images."""

from __future__ import annotations

import pytest

from authors_files import files_of
from orl_explore.errors import OrlError
from training.exporting import export
from training.importing import import_files


@pytest.mark.parametrize(
    ("table", "column", "row", "value", "sentence"),
    [
        ("pairs", "key_region", 2, 5, r"row 2 of pairs.parquet has a key_region that is not on its image"),
        ("pairs", "query_region", 2, 99, r"row 2 of pairs.parquet has a query_region that is not on its image"),
        ("pairs", "similarity", 2, 7.0, r"row 2 of pairs.parquet has a similarity that is no cosine"),
        ("neighbors", "neighbor_id", 3, 5, r"row 3 of neighbors.parquet names image 5, which is not in the run"),
        ("neighbors", "neighbor_id", 3, 40, r"row 3 of neighbors.parquet has an image as its own neighbor"),
        ("regions", "w", 1, 500, r"row 1 of regions.parquet has the box \[20, 0, 500, 30\], outside its image"),
        ("regions", "region_id", 1, 0, r"row 1 of regions.parquet has a region_id that is not its row"),
        ("proposals", "reason", 1, "<b>", r"row 1 of proposals.parquet has the unknown reason '<b>'"),
    ],
)
def test_tables_that_contradict_each_other_are_refused(imported, photos, tmp_path, table, column, row, value, sentence):
    frame = imported.read(table)
    frame.loc[row, column] = value
    imported.write(table, frame)
    export(imported, "bundle", tmp_path / "b.zip")
    before = files_of(tmp_path)
    with pytest.raises(OrlError, match=sentence):
        import_files(tmp_path / "run", [tmp_path / "b.zip"], images=[photos])
    assert files_of(tmp_path) == before
