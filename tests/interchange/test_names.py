"""Which image of a run another tool's names and ids mean."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from authors_files import mined
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.interchange.names import ImageNames
from training.exporting import export
from training.importing import import_files


def test_images_of_a_folder_get_the_ids_and_the_order_of_the_file(tmp_path, photos, write):
    photos.unlink()
    shutil.copy(photos.parent / "2.jpg", photos.parent / "other.jpg")  # a picture that the file is not about
    run = import_files(tmp_path / "run", [write(mined())], images=[photos.parent])
    assert run.read("images")["image_id"].tolist() == [90, 40, 70, 20]
    export(run, "correspondences", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == mined()
    with pytest.raises(OrlError, match="has no raw proposals"):
        export(run, "proposals", tmp_path / "out.json")


def names_of(**columns: list) -> ImageNames:
    return ImageNames(ImageSet(pd.DataFrame(columns), pd.DataFrame(), pd.DataFrame(), ()))


@pytest.mark.parametrize(
    ("image_id", "row"),
    [
        (7, 0),
        ("7", 0),
        (7.0, 0),
        ("img_9", 1),
        (" img_9 ", 1),
        ("b/000000000139.jpg", 2),
        (139, 2),
        ("000000000139", 2),
        ("photo", 1),
        ("x", None),
        ("", None),
        (None, None),
        (True, None),
        ([7], None),
        (0, None),
    ],
)
def test_ids_of_other_tools(image_id, row):
    names = names_of(
        image_id=[7, 2**52, 3],
        file_name=["a.jpg", "photo.jpg", "b/000000000139.jpg"],
        original_id=[None, "img_9", None],
    )
    assert names.row_of_id(image_id) == row
    assert not names.is_ambiguous(image_id)
    assert len(names.notes("f")) == (image_id in (139, "000000000139", "photo"))


def test_an_id_that_two_jsons_have_is_no_image():
    names = names_of(image_id=[1, 2, 999], file_name=["a/1.jpg", "a/2.jpg", "b/1.jpg"], original_id=[1, 2, 1])
    assert names.row_of_id(2) == 1
    assert names.row_of_id(1) is None
    assert names.is_ambiguous(1)
