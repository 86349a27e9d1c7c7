"""What a file is, by its name and its beginning, however its keys are ordered; and its hash."""

from __future__ import annotations

import json

import pytest

from orl_explore.errors import OrlError
from training.import_kinds import hash_source, kind_of

BOX = {"bbox": [0, 0, 1, 1]}


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.json", [{"image_id": 1, **BOX}], "COCO results"),
        ("a.json", {"info": {}, "images": [{"id": 1}], "annotations": []}, "COCO data set"),
        ("a.json", {"annotations": [{"image_id": 1, **BOX}], "images": [{"id": 1}]}, "COCO data set"),
        ("a.json", {"image": {"file_name": "a.jpg"}, "annotations": [BOX]}, "masks of Segment Anything"),
        ("a.json", {"annotations": [BOX], "image": {"file_name": "a.jpg"}}, "masks of Segment Anything"),
        ("a.json", {"bbox": [[[0, 0, 1, 1]]]}, "proposals"),
        ("a.json", {"images": {"id": [1]}}, "neighbors or correspondences"),
        ("a.json", {"name": "x", "samples": [{"filepath": "a.jpg"}]}, "FiftyOne samples"),
        ("a.csv", "x", "CSV boxes"),
        ("a.zip", "x", "bundle"),
        ("a.PTH", "x", "weights"),
    ],
)
def test_kinds(tmp_path, name, content, kind):
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    assert kind_of(tmp_path / name) == kind


def test_a_folder_of_jsons(tmp_path):
    with pytest.raises(OrlError, match="there is no file"):
        kind_of(tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "below/a.json").write_text("[]")
    assert kind_of(tmp_path) == "masks of Segment Anything"
    before = hash_source(tmp_path)
    assert before == hash_source(tmp_path)
    (tmp_path / "below/a.json").write_text("[1]")
    assert hash_source(tmp_path) != before


@pytest.mark.parametrize(("name", "sentence"), [("a.xml", "unknown suffix"), ("a.json", "none of the files")])
def test_nothing_that_is_known(tmp_path, name, sentence):
    (tmp_path / name).write_text("{}")
    with pytest.raises(OrlError, match=sentence):
        kind_of(tmp_path / name)
