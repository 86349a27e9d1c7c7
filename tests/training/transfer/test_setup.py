"""What every protocol is given: parts with folders of their own, and a fingerprint that any change changes."""

from __future__ import annotations

import pytest

from export_files import coco, pictures, write
from orl_explore.errors import OrlError
from training.transfer.runner import evaluate
from training.transfer.setup import fingerprint, open_data


def test_a_part_has_a_title_and_a_folder_of_its_own(setup):
    part = setup.named("1percent").named("res5")
    assert part.title == "test 1percent res5"
    assert part.folder == setup.folder / "1percent" / "res5"
    assert (part.run, part.config, part.data, part.seed) == (setup.run, setup.config, setup.data, setup.config.seed)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([12], [1, 2]),  # joined, they are the same digits
        (["ab"], ["a", "b"]),
        ([["a"], "b"], [["a", "b"]]),
        ([1], ["1"]),
        ([1, 2], [2, 1]),
        ([], [None]),
    ],
)
def test_a_fingerprint_tells_values_apart(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(list(one))
    assert len(fingerprint(one)) == 32


def test_a_field_is_chosen_where_there_are_fields(setup, tmp_path, capsys):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    fields = {name: {"detections": [{"label": name, "bounding_box": [0, 0, 0.5, 0.5]}]} for name in ("one", "two")}
    samples = write(tmp_path / "samples.json", {"samples": [{"filepath": f"{name}.jpg", **fields} for name in "ab"]})
    jsons = [coco(tmp_path / "c.json", "a.jpg", "b.jpg"), samples]
    parts = [open_data([file], label_field="two") for file in jsons]  # as detection opens them
    assert [part.objects["category"].tolist() for part in parts] == [["cup"] * 2, ["two"] * 2]
    assert "of its field two (2)" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(OrlError, match=r"--field two is about the samples\.json of a FiftyOne data set: leave it out"):
        evaluate(setup.run, setup.config, ["knn"], data=jsons[:1], label_field="two")
