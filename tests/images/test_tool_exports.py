"""Layouts that people have: where the pictures of an export lie, and what its labels become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from export_files import BOXES, VOC, add_up, coco, pictures, write
from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images, report


@pytest.mark.parametrize(
    ("json_at", "files_at", "names"),
    [
        ("annotations/instances_Train.json", "images/Train", ["a.jpg", "b.jpg"]),  # CVAT
        ("annotations/instances_Train.json", "images", ["Train/a.jpg", "Train/b.jpg"]),
        ("annotations/instances_default.json", "images", ["a.jpg", "b.jpg"]),
        ("train/_annotations.coco.json", "train", ["a.jpg", "b.jpg"]),  # Roboflow
        ("labels.json", "data", ["a.jpg", "b.jpg"]),  # FiftyOne
        ("Annotations/train.json", "Images", ["a.jpg", "b.jpg"]),
        ("result.json", ".", ["images\\a.jpg", "images\\b.jpg"]),  # Label Studio on Windows
        ("annotations/a.json", ".", ["../images/a.jpg", "../images/b.jpg"]),
        ("a.json", "images", ["/content/drive/images/a.jpg", "/content/drive/images/b.jpg"]),
        ("a.json", "deep/in/it", ["a.jpg", "b.jpg"]),
    ],
)
def test_where_the_pictures_of_a_json_lie(tmp_path, json_at, files_at, names):
    for name in names:
        clean = name.replace("\\", "/").replace("../", "").removeprefix("/content/drive/images/")
        pictures(tmp_path / files_at / clean)
    images = open_images([coco(tmp_path / json_at, *names)])
    assert images.skipped.empty
    assert images.table["image_id"].tolist() == [0, 1]
    assert images.objects["image_id"].tolist() == [0, 1]
    assert images.load(1).size == (96, 64)
    add_up(images)


@pytest.mark.parametrize("folder", ["images", "images/train", ""])
def test_root(tmp_path, folder):
    pictures(tmp_path / "set" / folder / "a.jpg", tmp_path / "set" / folder / "b.jpg")
    file = coco(tmp_path / "elsewhere/instances_train.json", "a.jpg", "b.jpg")
    with pytest.raises(OrlError, match="pass their folder with --root"):
        open_images([file])
    pictures(file.parent / "a.png")
    with pytest.raises(OrlError, match=r"elsewhere: the nearest name is a\.png: pass their folder with --root"):
        open_images([file])
    assert len(open_images([file], root=tmp_path / "set")) == 2


# ---- exports of tools ----------------------------------------------------------------------------------------------


def test_fiftyone_labels(tmp_path):
    pictures(tmp_path / "data/a.jpg", tmp_path / "data/b.jpg")
    box = {"bounding_box": [0.25, 0.25, 0.5, 0.5]}
    labels = {"a": [{"label": 0, **box}, {"label": 0}], "b": [{"label": "bus", **box}]}
    images = open_images([write(tmp_path / "labels.json", {"classes": ["cup", "bus"], "labels": labels})])
    assert images.objects[BOXES].values.tolist() == [[24, 16, 48, 32]] * 2
    assert images.objects["category"].tolist() == ["cup", "bus"]
    add_up(images)
    # Classes of whole pictures become a column.
    images = open_images(
        [write(tmp_path / "labels.json", {"classes": ["cup", "bus"], "labels": {"a": 0, "b.jpg": "bus"}})]
    )
    assert images.table["label"].tolist() == ["cup", "bus"]


def test_fiftyone_samples(tmp_path):
    pictures(tmp_path / "data/a.jpg", tmp_path / "data/b.jpg")
    detections = {"detections": [{"label": "cup", "bounding_box": [0.25, 0.25, 0.5, 0.5]}]}
    tags = {"classifications": [{"label": "wet"}, {"label": "dark"}]}
    samples = [
        {"filepath": f"data/{name}.jpg", "one": detections, "place": {"label": "street"}, "tags": tags} for name in "ab"
    ]
    file = write(tmp_path / "samples.json", {"samples": samples})
    images = open_images([file])
    assert images.objects[BOXES].values.tolist() == [[24, 16, 48, 32]] * 2
    assert images.table["place"].tolist() == ["street", "street"]
    assert images.table["tags"].tolist() == ["wet, dark"] * 2
    assert images.findings.notes == ()


BOX = {"label": "cup", "bounding_box": [0.25, 0.25, 0.5, 0.5]}
SQUARE = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]
POINTS = "that are points or lines, which have no box"


@pytest.mark.parametrize(
    ("field", "objects", "left_out", "label", "notes"),
    [
        ({"detections": [BOX, BOX]}, 2, {}, None, ()),
        (BOX, 1, {}, None, ()),
        ({"polylines": [{"label": "cup", "points": [SQUARE]}]}, 1, {}, None, ()),
        ({"label": "cup", "points": [SQUARE]}, 1, {}, None, ()),
        ({"keypoints": [{"label": "cup", "points": SQUARE}] * 2}, 0, {POINTS: 2}, None, ()),
        ({"label": "cup", "points": SQUARE}, 0, {POINTS: 1}, None, ()),
        ({"label": "wet"}, 0, {}, "wet", ()),
        ({"classifications": [{"label": "wet"}, {"label": "dark"}]}, 0, {}, "wet, dark", ()),
        ({"classifications": [{"label": "wet"}, {"score": 1}]}, 0, {}, "wet", ("not read of samples.json: it (2)",)),
        ({"value": 0.5}, 0, {}, 0.5, ()),
        ("rain", 0, {}, "rain", ()),
        (7, 0, {}, 7, ()),
        (["a", "b"], 0, {}, "a, b", ()),
        ({"mask_path": "m.png"}, 0, {}, None, ("not read of samples.json: it (2)",)),
        ([1, 2], 0, {}, None, ("not read of samples.json: it (2)",)),
        ([], 0, {}, None, ()),
        (None, 0, {}, None, ()),
    ],
)
def test_a_field_of_fiftyone_is_used_counted_or_told(tmp_path, field, objects, left_out, label, notes):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    samples = [{"filepath": f"{name}.jpg", "it": field, "metadata": {"width": 9}, "_rand": 0.3} for name in "ab"]
    images = open_images([write(tmp_path / "samples.json", {"samples": samples})])
    assert len(images.objects) == 2 * objects
    assert {one.what: one.count for one in images.findings.left_out} == {what: 2 * n for what, n in left_out.items()}
    assert [images.table[name].tolist() for name in images.table if name == "it"] == (
        [] if label is None else [[label] * 2]
    )
    assert tuple(note for note in images.findings.notes if "the same as another" not in note) == notes
    add_up(images)


def test_of_several_fields_of_fiftyone_one_is_chosen(tmp_path):
    pictures(tmp_path / "data/a.jpg", tmp_path / "data/b.jpg")
    one = {"detections": [{"label": "cup", "bounding_box": [0.25, 0.25, 0.5, 0.5]}]}
    two = {"detections": [*one["detections"], {"label": "bus", "bounding_box": [0, 0, 0.5, 0.5]}]}
    samples = [{"filepath": f"data/{name}.jpg", "one": one, "two": two} for name in "ab"]
    file = write(tmp_path / "samples.json", {"samples": samples})
    with pytest.raises(OrlError, match=r"several fields, one \(2\), two \(4\): choose one, as in --field one"):
        open_images([file])
    images = open_images([file], label_field="two")  # as it says
    assert images.objects["category"].tolist() == ["cup", "bus"] * 2
    assert images.findings.notes == (
        "annotations of samples.json are those of its field two (4); --field takes another: one (2)",
    )
    with pytest.raises(OrlError, match=r"no detections in a field 'three', but in: one \(2\), two \(4\)"):
        open_images([file], label_field="three")
    write(file, {"samples": [{**sample, "ground_truth": one} for sample in samples]})
    images = open_images([file])
    assert len(images.objects) == 2
    assert "its field ground_truth (2); --field takes another: one (2), two (4)" in report(images)
    assert len(open_images([file, tmp_path / "data"], label_field="one").objects) == 2
    with pytest.raises(OrlError, match=r"--field one is about the samples\.json of a FiftyOne data set: leave it out"):
        open_images([tmp_path / "data"], label_field="one")


@pytest.mark.parametrize("prefix", ["", "1a2b3c4d-"])  # with and without the digits of an upload
def test_label_studio(tmp_path, prefix):
    pictures(tmp_path / f"{prefix}a.jpg", tmp_path / f"{prefix}b.jpg")
    size = {"original_width": 96, "original_height": 64}
    value = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["cup"]}
    # 9.6 x 6.4 px, turned a quarter clockwise about its corner at (48, 32): from 41.6 to 48, and from 32 to 41.6
    turned = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 90, "rectanglelabels": ["cup"]}
    result = [
        {"type": "rectanglelabels", "value": value, **size},
        {"type": "rectanglelabels", "value": turned, **size},
        {"type": "polygonlabels", "value": {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["bus"]}, **size},
        {"type": "ellipselabels", "value": {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "ellipselabels": ["bus"]}},
        {"type": "brushlabels", "value": {"rle": [1, 2], "brushlabels": ["cup"]}, **size},
        {"type": "choices", "from_name": "place", "value": {"choices": ["street"]}},
    ]
    tasks = [
        {
            "id": number,
            "data": {"image": f"/data/upload/3/1a2b3c4d-{name}.jpg"},
            "annotations": [{"result": result[:1], "was_cancelled": True}, {"result": result}, {"result": result[:1]}],
            "predictions": [{"result": result[:2]}],
        }
        for number, name in enumerate("ab")
    ]
    images = open_images([write(tmp_path / "export.json", tasks)])
    of_first = images.objects[images.objects["image_id"] == images.table["image_id"][0]]
    assert of_first["category"].tolist() == ["cup", "cup", "bus", "bus"]
    boxes = of_first[BOXES].values.tolist()
    assert boxes[0] == [24, 16, 48, 32]
    np.testing.assert_allclose(boxes[1], [41.6, 32, 6.4, 9.6], atol=1)
    np.testing.assert_allclose(boxes[2], [0, 0, 48, 32], atol=1)
    assert boxes[3] == [24, 16, 48, 32]
    assert images.table["place"].tolist() == ["street", "street"]
    assert {one.what: one.count for one in images.findings.left_out} == {
        "without a box, and with a mask that is not understood": 2,
        "of a second annotator of the same picture": 2,
        "of an annotator who skipped the picture": 2,
        "of a prediction, not of a person": 4,
    }
    add_up(images)


def test_label_studio_min(tmp_path):
    pictures(tmp_path / "sub/a.jpg", tmp_path / "sub/b.jpg")
    region = {"x": 25, "y": 25, "width": 50, "height": 50, "rectanglelabels": ["cup"]}
    tasks = [{"image": f"/data/local-files/?d=sub/{name}.jpg", "label": [region]} for name in "ab"]
    images = open_images([write(tmp_path / "min.json", tasks)])
    assert images.table["file_name"].tolist() == ["sub/a.jpg", "sub/b.jpg"]
    assert images.objects[BOXES].values.tolist() == [[24, 16, 48, 32]] * 2


CVAT = """<?xml version="1.0"?><annotations><version>1.1</version>{}</annotations>"""
CVAT_IMAGE = """<image id="{}" name="{}.jpg" width="96" height="64">
<box label="cup" xtl="1.5" ytl="2" xbr="21.5" ybr="30"/>
<polygon label="bus" points="1,1;20,1;20,20"/>
<mask label="hat" rle="1, 2, 1" left="3" top="4" width="2" height="2"/>
<box label="cup" rotation="90" xtl="10" ytl="20" xbr="30" ybr="30"/>
<polyline label="line" points="1,1;2,2"/>
<tag label="street"/><tag label="wet"/></image>"""


def test_cvat_xml(tmp_path):
    pictures(tmp_path / "images/a.jpg", tmp_path / "images/b.jpg")
    text = CVAT.format("".join(CVAT_IMAGE.format(number, name) for number, name in enumerate("ab")))
    images = open_images([write(tmp_path / "annotations.xml", text)])
    objects = images.objects.iloc[:4]
    assert objects["category"].tolist() == ["cup", "bus", "hat", "cup"]
    boxes = objects[BOXES].values.tolist()
    assert boxes[0] == [1.5, 2, 20, 28]
    assert boxes[3] == [15, 15, 10, 20]  # 20 x 10 about (20, 25), turned a quarter
    hat = coco_mask.decode({"size": [64, 96], "counts": objects["segmentation"][2].encode()})
    assert np.argwhere(hat).tolist() == [[4, 4], [5, 3]]  # of two rows, ".X" and "X."
    assert images.table["tag"].tolist() == ["street, wet"] * 2
    assert [one.count for one in images.findings.left_out] == [2]  # lines have no box
    add_up(images)


@pytest.mark.parametrize(
    ("shape", "left_out"),
    [
        ('<points label="x" points="1,1;2,2"/>', POINTS),
        ('<polyline label="x" points="1,1;2,2"/>', POINTS),
        ('<skeleton label="x"><points label="y" points="1,1"/></skeleton>', POINTS),
        ('<cuboid label="x" xtl1="1" ytl1="2"/>', "of a kind that is not read"),
        ('<box label="x"/>', "without a box of four numbers"),
    ],
)
def test_shapes_of_cvat_without_a_box_are_counted(tmp_path, shape, left_out):
    pictures(tmp_path / "images/a.jpg", tmp_path / "images/b.jpg")
    box = '<box label="cup" xtl="1" ytl="2" xbr="21" ybr="30"><attribute name="color">red</attribute></box>'
    image = '<image id="{0}" name="{0}.jpg" width="96" height="64">{1}</image>'
    text = CVAT.format("".join(image.format(name, box + shape) for name in "ab"))
    images = open_images([write(tmp_path / "annotations.xml", text)])
    assert len(images.objects) == 2
    assert {one.what: one.count for one in images.findings.left_out} == {left_out: 2}
    assert images.findings.notes == ("not read of annotations.xml: attribute color (2)",)
    add_up(images)


@pytest.mark.parametrize(
    ("text", "words"),
    [("<annotations>", "no XML, or ends"), (VOC, "label file of one picture"), ("<html/>", "no export of CVAT")],
)
def test_other_xml(tmp_path, text, words):
    with pytest.raises(OrlError, match=words):
        open_images([write(tmp_path / "a.xml", text)])


# ---- anything ------------------------------------------------------------------------------------------------------

scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 200), st.floats(), st.text(max_size=5))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner), max_leaves=6
)
shapes = st.fixed_dictionaries(
    {},
    optional={
        **{key: st.one_of(st.floats(-10, 120), values) for key in ("x", "y", "width", "height", "rotation", "radiusX")},
        **dict.fromkeys(("points", "rle", "rectanglelabels", "choices", "original_width", "original_height"), values),
    },
)
results = st.one_of(values, st.fixed_dictionaries({"value": st.one_of(shapes, values)}, optional={"from_name": values}))
tasks = st.fixed_dictionaries(
    {"data": st.fixed_dictionaries({"image": st.one_of(st.sampled_from(["a.jpg", "/x/b.jpg", ""]), values)})},
    optional={
        "annotations": st.one_of(
            values, st.lists(st.one_of(values, st.fixed_dictionaries({"result": st.lists(results)})))
        ),
    },
)
detections = st.one_of(
    values,
    st.fixed_dictionaries(
        {}, optional={"label": values, "points": values, "bounding_box": st.one_of(values, st.lists(st.floats(-1, 2)))}
    ),
)
exports = st.one_of(
    st.lists(tasks, min_size=1, max_size=4),
    st.fixed_dictionaries(
        {
            "labels": st.dictionaries(
                st.sampled_from(["a", "b.jpg", "", "c/d"]), st.one_of(values, st.lists(detections))
            )
        },
        optional={"classes": values},
    ),
    st.fixed_dictionaries(
        {
            "samples": st.lists(
                st.fixed_dictionaries(
                    {"filepath": st.sampled_from(["a.jpg", "data/b.jpg", ""])},
                    optional={"one": st.fixed_dictionaries({"detections": st.lists(detections)}), "two": values},
                ),
                max_size=4,
            )
        }
    ),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    pictures(folder / "a.jpg", folder / "b.jpg")
    return folder


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(exports)
def test_an_export_is_used_counted_or_refused(data, content):
    file = write(data / "any.json", content)
    images, refusal = None, ""
    try:
        images = open_images([file])
    except OrlError as error:
        refusal = str(error)
    if images is None:
        assert "any.json" in refusal
    else:
        add_up(images)
        report(images)


def test_lists_of_stems(tmp_path):
    pictures(*(tmp_path / f"JPEGImages/00000{number}.jpg" for number in range(3)))
    file = write(tmp_path / "ImageSets/Main/cup_train.txt", "000000  1\n000002 -1\n")
    images = open_images([file])
    assert images.table["file_name"].tolist() == ["JPEGImages/000000.jpg", "JPEGImages/000002.jpg"]
    assert images.load(1).size == (96, 64)
    assert images.findings.notes == ("not read of cup_train.txt: what stands behind 2 names, such as '000000  1'",)
    write(file, "000000\n000002\n")
    assert open_images([file]).findings.notes == ()


def test_sources_in_another_form(tmp_path):
    pictures(tmp_path / "Pictures/a.jpg", tmp_path / "Pictures/b.jpg")
    images = open_images([tmp_path / "pictures"])
    assert images.findings.notes == (f"{tmp_path}/pictures is {tmp_path}/Pictures",)
    assert images.fingerprint == open_images([tmp_path / "Pictures"]).fingerprint
    with pytest.raises(OrlError, match=r"there is no .*/picures \(the nearest name is .*/Pictures\)"):
        open_images([tmp_path / "picures"])
    write(tmp_path / "data.yaml", "names: [cup]")
    with pytest.raises(OrlError, match="name the folder of these"):
        open_images([tmp_path / "data.yaml"])


def test_createml(tmp_path):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    box = {"label": "cup", "coordinates": {"x": 20, "y": 30, "width": 20, "height": 10}}
    images = open_images(
        [write(tmp_path / "c.json", [{"image": "a.jpg", "annotations": [box, box, 5]}, {"image": "b.jpg"}])]
    )
    assert images.objects[[*BOXES, "category"]].to_numpy().tolist() == [[10, 25, 20, 10, "cup"]] * 2
    assert images.findings.given == 3
