"""Names are what people see: found exactly first, then in a stated order, and only where the match is unique."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.images.file_names import BEHIND, BLANKS, CASE, END, SLASHES, UNICODE, URL, FileNames
from orl_explore.images.opening import open_images, report
from orl_explore.interchange.names import ImageNames, match_images

NFD = unicodedata.normalize("NFD", "café.jpg")
ON_DISK = [
    NFD,
    "x y.jpg",
    "Train/a.JPG",
    "Train/b.jpg",
    "val/b.jpg",
    "deep/in/c.jpg",
    "100%.jpg",
    "a%20b.jpg",
    "q.jpg.png",
]


@pytest.mark.parametrize(
    ("asked", "found", "way"),
    [
        (NFD, NFD, None),
        ("a%20b.jpg", "a%20b.jpg", None),  # as it stands, before anything is taken out of it
        ("100%.jpg", "100%.jpg", None),
        ("café.jpg", NFD, UNICODE),
        ("CAFÉ.jpg", NFD, CASE),
        ("train/A.jpg", "Train/a.JPG", CASE),
        ("Train\\b.jpg", "Train/b.jpg", SLASHES),
        ("train\\b.JPG", "Train/b.jpg", SLASHES),  # the later of two ways is told
        ("x%20y.jpg", "x y.jpg", URL),
        ("./Train/b.jpg", "Train/b.jpg", None),
        (" x y.jpg ", "x y.jpg", BLANKS),
        ('"x y.jpg"', "x y.jpg", BLANKS),
        ("\ufeffx y.jpg\u200b", "x y.jpg", BLANKS),
        ("file:///elsewhere/me/deep/in/c.jpg", "deep/in/c.jpg", END),
        ("file:///C:/deep/in/c.jpg", "deep/in/c.jpg", END),
        ("https://example.org/set/deep/in/c.jpg?width=5", "deep/in/c.jpg", END),
        ("C:\\data\\Train\\b.jpg", "Train/b.jpg", END),
        ("\\\\server\\share\\Train\\b.jpg", "Train/b.jpg", END),
        ("/elsewhere/me/caf\u00e9.jpg", NFD, END),
        ("c.jpg", "deep/in/c.jpg", END),  # its name is the end of the one on the disk
        ("in/c.jpg", "deep/in/c.jpg", END),
        ("/other/c.jpg", "deep/in/c.jpg", END),  # a path of another machine, and there is one file of this name
        ("other/c.jpg", None, None),  # a folder of this set that is not there: doubtful
        ("b.jpg", None, None),  # there are two
        ("/elsewhere/me/b.jpg", None, None),
        ("gone.jpg", None, None),
        ("../../etc/passwd", None, None),
        ("", None, None),
        ("/", None, None),
        ("%", None, None),
        ("file://", None, None),
    ],
)
def test_each_way(asked, found, way):
    match = FileNames(ON_DISK).find(asked)
    assert (None if match.index is None else ON_DISK[match.index], match.way) == (found, way)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("x y.jpg 3", "x y.jpg"),
        ("x y.jpg,cup", "x y.jpg"),
        ("x y.jpg\tcup", "x y.jpg"),
        ('"x y.jpg", 3', "x y.jpg"),
        ("deep/in/c.jpg 10,20,30,40,0 50,60,70,80,1", "deep/in/c.jpg"),
        ("/elsewhere/me/deep/in/c.jpg 1", "deep/in/c.jpg"),
        ("q.jpg.png 1", "q.jpg.png"),  # the longest path that there is
        ("x y.jpgs", None),
    ],
)
def test_what_stands_behind_a_path_in_a_list(line, found):
    match = FileNames(ON_DISK).find(line, line=True)
    assert (None if match.index is None else ON_DISK[match.index]) == found
    if found:
        assert match.way in (BEHIND, END)
        assert FileNames(ON_DISK).find(line).index is None  # elsewhere, a name is all that there is


def test_two_files_of_one_name_are_not_guessed():
    names = FileNames(["A.jpg", "a.jpg"])
    match = names.find("á.JPG".replace("á", "a"))
    assert match.index is None
    assert match.rivals == ("A.jpg", "a.jpg")
    assert names.find("a.jpg").index == 1  # exactly


def test_a_file_that_two_names_fit_is_neithers():
    names = FileNames(["a.jpg", "b.jpg"])
    assert [match.index for match in names.find_all(["/x/a.jpg", "/y/a.jpg", "/x/b.jpg"])] == [None, None, 1]
    assert [match.index for match in names.find_all(["A.jpg"], taken={"a.jpg"})] == [None]
    # The other Unicode form, or other slashes, are the same name: both mean it.
    cafe = FileNames([f"x/{NFD}"])
    assert [match.index for match in cafe.find_all(["x/café.jpg", "x\\café.jpg"])] == [0, 0]


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("img_001.png", "img_001.jpg"),
        ("img_0O1.jpg", "img_001.jpg"),
        ("photos/hoise.jpg", "house.jpg"),
        ("zzz.jpg", None),
    ],
)
def test_nearest(asked, nearest):
    assert FileNames(["house.jpg", "img_001.jpg", "tree.jpg"]).nearest(asked) == nearest


@given(st.lists(st.text(max_size=8), unique=True, max_size=8), st.text(max_size=12), st.booleans())
def test_any_text_is_a_name(names, asked, line):
    match = FileNames(names).find(asked, line=line)
    if asked in names:
        assert names[match.index] == asked
    FileNames(names).nearest(asked)


# ---- in sources ----------------------------------------------------------------------------------------------------


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


def test_a_list_with_names_in_other_forms(tmp_path):
    for name in (NFD, "Sub/x y.jpg", "z.jpg", "gibbon.jpg"):
        picture(tmp_path / name)
    lines = ["café.jpg", "C:\\data\\sub\\x y.jpg", "z.jpg 7", "gibbons.jpg", "z.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    images = open_images([tmp_path / "list.txt"])
    # `z.jpg 7` is the file that another line names exactly: not taken for it
    assert images.table["file_name"].tolist() == [NFD, "Sub/x y.jpg", "z.jpg"]
    reasons = dict(images.skipped.values.tolist())
    assert reasons["gibbons.jpg"] == "no such file: the nearest name is gibbon.jpg"
    assert "which other names mean" in reasons["z.jpg 7"]
    assert "2 names of list.txt found in another form: 1 in the other Unicode form" in report(images)
    assert "1 by the end of the path ('C:\\\\data\\\\sub\\\\x y.jpg' is 'Sub/x y.jpg')" in report(images)


def test_ids_go_by_the_name_on_the_disk(tmp_path):
    for name in ("A.jpg", "B.jpg"):
        picture(tmp_path / name)
    (tmp_path / "list.txt").write_text("a.jpg\nB.jpg\n")
    of_list = open_images([tmp_path / "list.txt"]).table["image_id"].tolist()
    assert of_list == open_images([tmp_path]).table["image_id"].tolist()


def test_imports_find_names_in_the_same_ways(tmp_path):
    for name in (NFD, "Sub/b.jpg"):
        picture(tmp_path / name)
    images = open_images([tmp_path])
    said: list[str] = []
    rows = match_images(images, ["sub\\B.JPG", "café.jpg"], where="names", say=said.append)
    assert rows.tolist() == [1, 0] if images.table["file_name"][0] == NFD else [0, 1]
    assert said[0].startswith("2 names of names found in another form: 1 in the other Unicode form")
    with pytest.raises(OrlError, match=r"not among the images \(the nearest name there is 'Sub/b.jpg'\)"):
        match_images(images, ["b.png"], where="names")
    known = ImageNames(images)
    known.row("/x/b.jpg")
    with pytest.raises(OrlError, match=r"'/x/b\.jpg' and '/y/b.jpg' both fit the image Sub/b\.jpg"):
        known.row("/y/b.jpg")
