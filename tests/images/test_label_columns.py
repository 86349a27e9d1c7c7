"""What sources say of their images and objects: columns under names that are free, and notes of what is none."""

from __future__ import annotations

import json

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


def test_lists_of_a_json_that_are_not_read_are_told(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    file = of_coco(tmp_path, {"tags": ["x"], "video_id": 3})
    lists = {"videos": [{"id": 3}], "tracks": [1, 2, 3], "licenses": [{"id": 1}], "info": {"year": 3}, "none": []}
    images = open_images([write(file, {**json.loads(file.read_text()), **lists})])
    assert images.findings.notes == ("not read of a.json: tracks (3), tags (2), videos (1)",)


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


# ---- fields that are not read --------------------------------------------------------------------------------------


def coco_objects(folder, own, picture, category=None):
    images = [{"id": number, "file_name": f"{name}.jpg", **picture} for number, name in enumerate("ab")]
    objects = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 20, 20], **own} for n in range(2)]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "cup", **(category or {})}]}
    return write(folder / "a.json", content)


def coco_categories(folder, own, picture):
    return coco_objects(folder, {}, picture, own)


def fiftyone_detections(folder, own, picture):
    things = [{"_cls": "Detection", "label": "cup", "bounding_box": [0.1, 0.1, 0.5, 0.5], **own}]
    samples = [{"filepath": f"{name}.jpg", "things": {"detections": things}, **picture} for name in "ab"]
    return write(folder / "a.json", {"samples": samples})


def fiftyone_labels(folder, own, picture):
    things = [{"label": "cup", "bounding_box": [0.1, 0.1, 0.5, 0.5], **own}]
    return write(folder / "a.json", {"labels": {"a": things, "b": things}})


def label_studio(folder, own, picture):
    value = {"x": 10, "y": 10, "width": 40, "height": 40, "rotation": 0, "rectanglelabels": ["cup"]}
    result = {"id": "r", "from_name": "label", "to_name": "image", "type": "rectanglelabels", "origin": "manual", **own}
    result["value"] = value | own.get("value", {})
    tasks = [
        {"id": 1, "data": {"image": f"{name}.jpg"}, "annotations": [{"id": 2, "result": [result]}]} for name in "ab"
    ]
    return write(
        folder / "a.json", [task | picture | {"data": task["data"] | picture.get("data", {})} for task in tasks]
    )


def label_studio_min(folder, own, picture):
    region = {"x": 10, "y": 10, "width": 40, "height": 40, "rectanglelabels": ["cup"], **own}
    return write(folder / "a.json", [{"image": f"{name}.jpg", "label": [region], **picture} for name in "ab"])


def createml(folder, own, picture):
    things = [{"label": "cup", "coordinates": {"x": 20, "y": 20, "width": 20, "height": 20}, **own}]
    return write(folder / "a.json", [{"image": f"{name}.jpg", "annotations": things, **picture} for name in "ab"])


def via(folder, own, picture):
    attributes = {"kind": "cup", **own.get("region_attributes", {})}
    region = {"shape_attributes": {"name": "rect", "x": 1, "y": 1, "width": 20, "height": 20}, **own}
    region["region_attributes"] = attributes
    return write(folder / "a.json", {f"{n}9": {"filename": f"{n}.jpg", "regions": [region], **picture} for n in "ab"})


def cvat(folder, own, picture):
    def attributes(fields):
        return "".join(f' {name}="{value}"' for name, value in fields.items())

    box = f'<box label="cup" xtl="1" ytl="2" xbr="21" ybr="30"{attributes(own)}/>'
    images = "".join(f'<image id="0" name="{name}.jpg"{attributes(picture)}>{box}</image>' for name in "ab")
    return write(folder / "a.xml", f"<annotations>{images}</annotations>")


def voc(folder, own, picture):
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>40</xmax><ymax>40</ymax></bndbox>"
    for name in "ab":
        write(folder / f"{name}.xml", f"<annotation>{picture}<object><name>cup</name>{box}{own}</object></annotation>")
    return folder


def labelme(folder, own, picture):
    shape = {"label": "cup", "shape_type": "rectangle", "points": [[5, 5], [25, 25]], **own}
    for name in "ab":
        write(folder / f"{name}.json", {"imagePath": f"{name}.jpg", "shapes": [shape], **picture})
    return folder


def yolo(folder, own, picture):
    for name in "ab":
        write(folder / f"{name}.txt", f"0 0.5 0.5 0.2 0.2 {own}")
    return folder


def not_read(images):
    return [note.removeprefix("not read of ") for note in images.findings.notes if note.startswith("not read of ")]


@pytest.mark.parametrize(
    ("make", "own", "picture", "notes"),
    [
        (
            coco_objects,
            {"keypoints": [1, 2, 2], "caption": "a cup", "score": 0.5, "attributes": {"occluded": True, "x": 0}},
            {"tags": ["x"]},
            ["a.json: tags (2)", "a.json's annotations: keypoints (2), caption (2), score (2), attributes (2)"],
        ),
        (coco_categories, {"supercategory": "dish"}, {}, []),  # as all of COCO has it
        (
            fiftyone_detections,
            {"confidence": 0.5, "occluded": True, "tags": ["x"]},
            {"place": {"label": "street", "confidence": 0.5}, "people": {"classifications": [{"label": "x", "a": 1}]}},
            [
                "a.json: confidence of things (2), occluded of things (2), tags of things (2), confidence of place (2),"
                " a of people (2)"
            ],
        ),
        (fiftyone_labels, {"attributes": {"color": "red"}}, {}, ["a.json: attributes of an object (2)"]),
        (
            label_studio,
            {"meta": {"text": ["?"]}, "score": 0.5, "parentID": "q", "value": {"text": ["EXIT"]}},
            {"meta": {"who": "me"}, "drafts": [{"result": []}], "data": {"tags": ["a", "b"], "camera": {"make": "X"}}},
            [
                "a.json: meta (2), drafts (2), tags (2), camera (2), meta of a region (2), score of a region (2),"
                " parentID of a region (2), text of a region (2)"
            ],
        ),
        (label_studio_min, {"text": ["EXIT"]}, {"tags": ["a", "b"]}, ["a.json: text of a region (2), tags (2)"]),
        (createml, {"confidence": 0.5}, {"sizes": [1]}, ["a.json: sizes (2), confidence of an object (2)"]),
        (
            via,
            {"score": 0.5, "region_attributes": {"parts": ["x"]}},
            {"history": ["x"], "file_attributes": {"marks": [1]}},
            ["a.json: history (2), marks (2), parts of a region (2), score of a region (2)"],
        ),
        (
            cvat,
            {"occluded": "1", "z_order": "3", "group_id": "2"},
            {},
            ["a.xml: occluded of a shape (2), z_order of a shape (2), group_id of a shape (2)"],
        ),
        (
            voc,
            "<pose>Left</pose><truncated>1</truncated><difficult>1</difficult><part><name>x</name></part>"
            "<part><name>y</name></part>",
            "<weather>rain</weather>",
            ["the label files of {}: part (4), weather of a picture (2), pose (2), truncated (2), difficult (2)"],
        ),
        (
            labelme,
            {"flags": {"occluded": True}, "group_id": 3, "description": "an ear is missing"},
            {"flags": {"night": True}},
            ["the label files of {}: flags of a picture (2), flags (2), group_id (2), description (2)"],
        ),
        (yolo, "0.9", {}, ["the label files of {}: confidence (2)"]),
        (yolo, "0.5 0.5 2 0.1 0.1 0", {}, ["the label files of {}: keypoints (2)"]),
    ],
)
def test_fields_that_are_not_read_are_told(make, own, picture, notes, tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    images = open_images([make(tmp_path, own, picture)])
    assert len(images.objects) == 2
    assert not_read(images) == [note.format(tmp_path) for note in notes]


@pytest.mark.parametrize(
    ("make", "own", "picture", "why"),
    [
        (coco_objects, {"area": 400, "num_keypoints": 1, "isbbox": True}, {}, "they follow from others"),
        (coco_objects, {"width": 96, "height": 64}, {"license": 1, "date_captured": "x"}, "the file's"),
        (coco_objects, {"keypoints": [0, 0, 0], "attributes": {"hidden": False, "x": 0.0}}, {}, "unset"),
        (coco_objects, {"caption": " ", "tags": [], "ignore": 0, "segmentation": [], "iscrowd": 0}, {}, "unset"),
        (coco_categories, {"supercategory": ""}, {}, "unset"),
        (coco_categories, {"supercategory": "none"}, {}, "unset, as Roboflow writes it"),
        (fiftyone_detections, {"_id": {"$oid": "1"}, "id": "1"}, {"_rand": 0.5, "metadata": {"a": 1}}, "ids"),
        (fiftyone_detections, {"attributes": {}, "tags": [], "index": None, "confidence": None}, {}, "unset"),
        (label_studio, {"hidden": True, "readonly": True, "locked": True}, {}, "how it is shown in the tool"),
        (label_studio, {"original_width": 96, "original_height": 64, "image_rotation": 0}, {}, "the picture's size"),
        (label_studio, {}, {"inner_id": 3, "project": 4, "created_at": "x", "total_annotations": 1}, "bookkeeping"),
        (label_studio, {}, {"meta": {}, "drafts": [], "data": {"tags": [], "none": None}}, "unset"),
        (label_studio_min, {}, {"annotator": 3, "annotation_id": 5, "lead_time": 1.5}, "who drew it, and for how long"),
        (createml, {"label": "cup"}, {"imagefilename": "x"}, "read already"),
        (via, {}, {"size": 99, "fileref": "x", "base64_img_data": "x", "file_attributes": {}}, "the file itself"),
        (cvat, {"source": "manual", "occluded": "0", "z_order": "0"}, {"task_id": "3"}, "unset, or of the tool"),
        (voc, "<pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>", "", "unset"),
        (voc, "", "<folder>x</folder><source><image>x</image></source><segmented>1</segmented>", "of the set"),
        (labelme, {"flags": {"occluded": False}, "group_id": None, "description": "", "mask": None}, {}, "unset"),
        (labelme, {"line_color": [1, 2, 3]}, {"version": "5", "imageData": "x", "lineColor": [1, 2, 3]}, "the tool's"),
        (yolo, "", {}, "there is none"),
    ],
)
def test_fields_that_say_nothing_need_no_note(make, own, picture, why, tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    images = open_images([make(tmp_path, own, picture)])
    assert len(images.objects) == 2, why
    assert not_read(images) == [], why
    assert labels(images) == {}, why


@pytest.mark.parametrize(
    ("make", "picture"),
    [
        (createml, {"weather": "rain", "stars": 2}),
        (via, {"weather": "rain", "stars": 2}),
        (label_studio, {"data": {"weather": "rain", "stars": 2}}),
        (label_studio_min, {"weather": "rain", "stars": 2}),
        (cvat, {"weather": "rain", "stars": "2"}),
    ],
)
def test_texts_and_numbers_of_a_tool_become_columns(make, picture, tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    images = open_images([make(tmp_path, {}, picture)])
    assert labels(images) == {"weather": ["rain"] * 2, "stars": ["2" if make is cvat else 2] * 2}
    assert not_read(images) == []


NOT_UNDERSTOOD = "that is not understood"


@pytest.mark.parametrize(
    ("make", "own", "why"),
    [
        (labelme, {"shape_type": "mask", "mask": "iVBORw0KGgo="}, NOT_UNDERSTOOD),
        (fiftyone_detections, {"mask": {"$binary": {"base64": "eJw=", "subType": "00"}}}, NOT_UNDERSTOOD),
        (fiftyone_detections, {"mask": [[0, 1, 1, 0, 1, 1]]}, NOT_UNDERSTOOD),  # pixels, and no polygon
        (fiftyone_detections, {"mask_path": "a.png"}, "whose file is not there or not understood"),
        (fiftyone_labels, {"mask": "eJw="}, NOT_UNDERSTOOD),
    ],
)
def test_masks_in_a_tools_own_form_are_counted(make, own, why, tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    images = open_images([make(tmp_path, own, {})])
    assert images.objects["segmentation"].isna().tolist() == [True] * 2
    assert [(one.what, one.count) for one in images.findings.changed] == [
        (f"with a mask {why}: the box alone is used", 2)
    ]
    assert not_read(images) == []
