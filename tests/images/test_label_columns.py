"""What sources say of their images: columns under names that are free, and a note of what is none."""

from __future__ import annotations

import pytest

from export_files import coco, pictures, write
from orl_explore.images.label_columns import OWN_COLUMNS, label_columns
from orl_explore.images.opening import open_images

NAMES = [*OWN_COLUMNS, "weather", "source_label"]


def of_coco(folder, fields):
    file = coco(folder / "a.json", "a.jpg", "b.jpg")
    images = [{**fields, "id": number, "file_name": f"{name}.jpg"} for number, name in enumerate("ab")]
    return write(file, {"images": images})


def of_fiftyone(folder, fields):
    labels = {name: {"label": value} for name, value in fields.items()}
    return write(folder / "a.json", {"samples": [{"filepath": f"{name}.jpg", **labels} for name in "ab"]})


def of_label_studio(folder, fields):
    result = [{"from_name": name, "type": "choices", "value": {"choices": [text]}} for name, text in fields.items()]
    tasks = [{"data": {"image": f"{name}.jpg"}, "annotations": [{"result": result}]} for name in "ab"]
    return write(folder / "a.json", tasks)


def of_via(folder, fields):
    entries = {name: {"filename": f"{name}.jpg", "regions": [], "file_attributes": fields} for name in "ab"}
    return write(folder / "a.json", entries)


@pytest.mark.parametrize("make", [of_coco, of_fiftyone, of_label_studio, of_via])
def test_no_field_is_lost_to_a_column_of_our_own(make, tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    fields = {name: f"the {name}" for name in NAMES}
    own = {"file_name", "width", "height"} if make is of_coco else set()  # which say there what they say here
    images = open_images([make(tmp_path, fields)])
    found = {name: images.table[name].tolist() for name in images.table if name not in OWN_COLUMNS}
    expected = {name: f"{name}_label" for name in OWN_COLUMNS if name not in own}
    expected |= {"weather": "weather", "source_label": "source_label", "source": "source_label_label"}
    assert found == {column: [f"the {name}"] * 2 for name, column in expected.items()}
    assert images.table["source"].tolist() == [0, 0]
    (note,) = images.findings.notes
    assert "source is source_label_label" in note


@pytest.mark.parametrize("make", [of_coco, of_fiftyone, of_label_studio, of_via])
def test_half_a_character_in_a_name(make, tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    images = open_images([make(tmp_path, {"\ud800": "one", "?": "two\ud800"})])
    assert images.table["?_label"].tolist() == ["one"] * 2
    assert images.table["?"].tolist() == ["two?"] * 2
    assert images.findings.notes == ("fields of a.json become columns of another name: ? is ?_label",)


def test_names_that_are_free_stay():
    labels = [{"a": "x", "b": 1}, {"b": 2.5}]
    assert label_columns("a.json", labels) == (labels, [])


def test_fields_of_a_json_that_are_no_labels_are_told(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    images = open_images([of_coco(tmp_path, {"tags": ["x"], "gps": {"lat": 3}, "none": None, "empty": [], "ok": True})])
    assert images.table["ok"].tolist() == [True, True]
    assert images.findings.notes == ("not read of a.json: tags (2), gps (2)",)


def test_an_image_id_that_is_the_id_is_no_label(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    file = of_coco(tmp_path, {})
    write(
        file, file.read_text().replace('"id": 0', '"id": 0, "image_id": 0').replace('"id": 1', '"id": 1, "image_id": 1')
    )
    images = open_images([file])
    assert "image_id_label" not in images.table
    assert images.findings.notes == ()


# ---- one picture, listed several times -----------------------------------------------------------------------------

ONE = {"weather": "rain", "stars": 2, "source": "camera"}
OTHER = {"weather": "sun", "stars": 2.0, "place": "street"}  # says something else of the weather alone
BOTH = {"weather": ["rain"] * 2, "stars": [2, 2], "source_label": ["camera"] * 2, "place": ["street"] * 2}


def labels(images):
    return {name: images.table[name].tolist() for name in images.table if name not in OWN_COLUMNS}


@pytest.mark.parametrize("make", [of_coco, of_fiftyone, of_via])
def test_two_jsons_say_what_both_say(make, tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    first = of_coco(tmp_path, ONE).rename(tmp_path / "first.json")
    other = make(tmp_path, OTHER)
    images = open_images([first, other])
    assert labels(images) == BOTH
    stars = ", stars (2)" if make is of_via else ""  # whose values are text: "2.0" is not 2
    assert [note for note in images.findings.notes if note.startswith("where")] == [
        f"where {other} says something else of a picture than a json before it, it is not taken: weather (2){stars}"
    ]
    assert labels(open_images([other, first]))["weather"] == ["sun"] * 2


def test_a_folder_beside_a_json_says_nothing_else(tmp_path):
    pictures(tmp_path / "p/a.jpg", tmp_path / "p/b.jpg")
    images = open_images([tmp_path / "p", of_coco(tmp_path / "p", ONE).rename(tmp_path / "p/first.json")])
    assert labels(images) == {name: BOTH[name] for name in ("weather", "stars", "source_label")}
    assert not any(note.startswith("where") for note in images.findings.notes)


@pytest.mark.parametrize("same_ids", [False, True])
def test_a_json_that_lists_files_twice_says_what_both_listings_say(same_ids, tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    listings = [
        {**fields, "id": number + (0 if same_ids else 10 * place), "file_name": f"{name}.jpg"}
        for place, fields in enumerate((ONE, OTHER))
        for number, name in enumerate("ab")
    ]
    images = open_images([write(tmp_path / "a.json", {"images": listings})])
    assert labels(images) == BOTH
    assert images.findings.notes[-1] == (
        "where a second listing in a.json says something else of a picture than the first, it is not taken: weather (2)"
    )


def test_an_id_as_text_of_a_second_listing_is_not_the_first_ones(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    ids = {0: "a", 1: "b", "c": "a", "d": "b"}
    listings = [{"id": own, "file_name": f"{name}.jpg"} for own, name in ids.items()]
    assert "original_id" not in open_images([write(tmp_path / "a.json", {"images": listings})]).table


def test_an_export_that_lists_files_twice_says_what_both_listings_say(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    samples = [{"filepath": f"{name}.jpg", **fields} for fields in (ONE, OTHER) for name in ("a", "b", "gone")]
    images = open_images([write(tmp_path / "a.json", {"samples": samples})])
    assert labels(images) == BOTH
    assert images.findings.notes[-1].endswith("than the first, it is not taken: weather (2)")


def test_a_note_names_ten_fields_at_most(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    fields = {f"f{number}": [number + 1] for number in range(12)}
    (note,) = open_images([of_coco(tmp_path, fields)]).findings.notes
    assert note == f"not read of a.json: {', '.join(f'f{number} (2)' for number in range(10))} and 2 others"
