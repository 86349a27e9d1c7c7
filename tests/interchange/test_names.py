"""Which image of a run another tool's names and ids mean."""

from __future__ import annotations

import json
import shutil

import pytest

from authors_files import mined
from orl_explore.errors import OrlError
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
