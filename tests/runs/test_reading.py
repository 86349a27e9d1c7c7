"""The rows of one image, in arrays and in files: compared with what a filter over everything gives."""

from __future__ import annotations

import pandas as pd
import pytest

from orl_explore.errors import OrlError
from orl_explore.runs.reading import read_ids, read_rows
from orl_explore.runs.run import Run


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (0, 0), (5, 5), (1, 2), (1, 3), (2, 5), (3, 4)])
def test_rows_by_their_numbers(tmp_path, start, stop):
    frame = pd.DataFrame({"image_id": [7, 7, 3, 3, 9], "rank": range(5), "reason": list("abcde")})
    frame.to_parquet(tmp_path / "table", row_group_size=2)
    pd.testing.assert_frame_equal(
        read_rows(tmp_path / "table", start, stop), frame.iloc[start:stop].reset_index(drop=True)
    )
    assert [piece.tolist() for piece in read_ids(tmp_path / "table")] == [[7, 7], [3, 3], [9]]


def test_read_one_image_and_some_columns(finished):
    pairs = finished.read("pairs")
    image_id = int(pairs["image_id"].iloc[-1])
    own = finished.read("pairs", image_id=image_id, columns=["image_id", "query_region"])
    expected = pairs.loc[pairs["image_id"] == image_id, ["image_id", "query_region"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, expected)
    assert len(finished.read("pairs", image_id=-1)) == 0


def test_read_one_image_from_several_row_groups(run):
    frame = pd.DataFrame({"image_id": [7, 7, 3, 3, 9], "rank": range(5), "reason": list("abcde")})
    run.file("proposals").parent.mkdir(parents=True)
    frame.to_parquet(run.file("proposals"), row_group_size=1)
    for image_id, rows in ((3, [2, 3]), (9, [4]), (1, [])):
        for columns in (None, ["reason"], ["rank", "image_id"]):
            read = run.read("proposals", image_id=image_id, columns=columns)
            pd.testing.assert_frame_equal(read, frame.iloc[rows][columns or list(frame)].reset_index(drop=True))


def test_an_image_in_pieces_far_apart(run):
    frame = pd.DataFrame({"image_id": [7, 3, 7, 9, 3, 3], "rank": range(6), "reason": list("abcdef")})
    run.file("proposals").parent.mkdir(parents=True)
    frame.to_parquet(run.file("proposals"), row_group_size=4)  # the last two rows are in a group of their own
    assert [run.read("proposals", image_id=i)["rank"].tolist() for i in (7, 3, 9)] == [[0, 2], [1, 4, 5], [3]]


def test_a_file_that_was_replaced_or_damaged(run):
    frame = pd.DataFrame({"image_id": [7, 3], "rank": [0, 1]})
    run.file("proposals").parent.mkdir(parents=True)
    frame.to_parquet(run.file("proposals"))
    assert run.read("proposals", image_id=3)["rank"].tolist() == [1]
    pd.concat([frame, frame]).to_parquet(run.file("proposals"))
    assert run.read("proposals", image_id=3)["rank"].tolist() == [1, 1]
    assert run.count("proposals") == 4
    run.file("proposals").write_bytes(b"no table")
    with pytest.raises(OrlError, match=r"cannot be read.*orl stage2"):
        run.read("proposals", image_id=3)
    with pytest.raises(OrlError, match=r"cannot be read.*orl stage2"):
        run.count("proposals")
    frame[["rank"]].to_parquet(run.file("proposals"))
    with pytest.raises(OrlError, match="cannot be read"):
        run.read("proposals", image_id=3)
