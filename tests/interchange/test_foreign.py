"""Boxes of other tools become proposals, best score first; wrong ones are counted, or refused by name."""

from __future__ import annotations

import pytest

from authors_files import files_of
from orl_explore.errors import OrlError
from orl_explore.images.annotations import FLAT, NO_BOX, OUTSIDE
from orl_explore.images.opening import open_images
from orl_explore.interchange.foreign import CLIPPED, ELSEWHERE, Ledger, read_csv
from orl_explore.interchange.names import ImageNames
from training import stage2
from training.config import load_config
from training.importing import import_files


def coco_results() -> list[dict]:
    return [
        {"image_id": 90, "category_id": 1, "bbox": [0.4, 0, 20.2, 19.6], "score": 0.2},
        {"image_id": 70, "category_id": 1, "bbox": [0, 0, 60, 50], "score": 0.1},
        {"image_id": 90, "category_id": 1, "bbox": [20, 30, 60.5, 30.4], "score": 0.9},
    ]


def fiftyone() -> dict:
    box = {"_cls": "Detection", "label": "cat"}
    first = [
        {**box, "bounding_box": [0.005, 0, 0.2525, 19.6 / 60], "confidence": 0.2},
        {**box, "bounding_box": [0.25, 0.5, 0.75625, 30.4 / 60], "confidence": 0.9},
    ]
    second = [{**box, "bounding_box": [0, 0, 0.5, 0.5]}]
    return {
        "name": "some",
        "samples": [
            {"filepath": "/somewhere/9.jpg", "tags": [], "found": {"_cls": "Detections", "detections": first}},
            {"filepath": "/somewhere/7.jpg", "metadata": None, "found": {"_cls": "Detections", "detections": second}},
        ],
    }


CSV = """file_name,x,y,w,h,score
9.jpg,0.4,0,20.2,19.6,0.2
7.jpg,0,0,60,50,
9.jpg,20,30,60.5,30.4,0.9
"""

# Best score first; corners to the nearest pixel and not beyond the image of 80 x 60; the whole image where nothing is.
EXPECTED = {
    90: [[20, 30, 60, 30], [0, 0, 21, 20]],
    40: [[0, 0, 80, 60]],
    70: [[0, 0, 60, 50]],
    20: [[0, 0, 40, 40]],
}


@pytest.mark.parametrize(
    ("name", "content"), [("results.json", coco_results()), ("samples.json", fiftyone()), ("boxes.csv", CSV)]
)
def test_boxes_of_other_tools_become_proposals(tmp_path, photos, write, name, content):
    run = import_files(tmp_path / "run", [write(content, name)], images=[photos], overrides=["--stage2.min_side=10"])
    boxes = run.read("proposals").groupby("image_id")[["x", "y", "w", "h"]].apply(lambda part: part.to_numpy().tolist())
    assert boxes.to_dict() == EXPECTED
    assert run.read("regions")["image_id"].tolist() == [90, 90, 40, 70, 20]
    # The boxes were filtered with a least side of 10: stage 2 does not claim another one.
    config = load_config(run.path / "config.yaml", ["--stage2.min_side=20"])
    with pytest.raises(OrlError, match=r"proposals of \S+ were imported with stage2\.min_side 10, not 20"):
        stage2.run(run, config)
    assert run.stage("stage2") == {}
    run.clear("stage2")  # as --overwrite does
    with pytest.raises(OrlError, match="no encoder at"):
        stage2.run(run, config)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("r.json", [{"image_id": 5, "bbox": [0, 0, 1, 1]}], r"none of its 1 boxes is of an image of the run.* '5'"),
        (
            "r.json",
            '[{"image_id": 90, "bbox": [0, 0, 1, 1], "bbox": [0, 0, 2, 2]}]',
            r"has the key 'bbox' twice, at \[0\]",
        ),
        ("r.json", '[{"image_id": 90, "bbox": [0, 0, Infinity, 1]}]', r"holds Infinity, which is no number, at \[0\]"),
        ("s.json", {"samples": 5}, r"samples is no list"),
        ("s.json", {"samples": [{}]}, r"samples\[0\] has no filepath"),
        ("b.csv", "a,b\n1,2\n", r"needs a first line with the columns"),
        ("b.csv", "file_name,x,x,y,w,h\n9.jpg,0,0,0,1,1\n", r"has a column twice in its first line"),
        ("b.csv", "file_name,x,y,w,h\n", r"b.csv has no box in it"),
        ("s.json", {"samples": [{"filepath": "9.jpg"}]}, r"s.json has no box in it"),
        ("b.csv", "file_name,x,y,w,h\n../9.png,0,0,1,1\n", r"none of its 1 boxes is of an image of the run"),
        ("b.csv", "file_name,x,y,w,h\n9.jpg,0,0,1,1\n9.jpg,0,0,0,1\n9.jpg,99,0,9,1\n", r"2 of 3 boxes cannot be used"),
    ],
)
def test_files_that_are_wrong_are_refused_by_name(tmp_path, photos, write, name, content, sentence):
    source = write(content, name)
    before = files_of(tmp_path)
    with pytest.raises(OrlError, match=sentence):
        import_files(tmp_path / "run", [source], images=[photos])
    assert files_of(tmp_path) == before


GOOD = {"image_id": 90, "bbox": [0, 0, 30, 30]}
LINE = "file_name,x,y,w,h\n9.jpg,0,0,30,30\n"


@pytest.mark.parametrize(
    ("name", "content", "what", "used"),
    [
        ("r.json", [GOOD, {**GOOD, "bbox": [60, -5, 30, 30]}], CLIPPED, [[60, 0, 20, 25]]),
        ("r.json", [GOOD, {**GOOD, "bbox": [60, 0, 0, 30]}], FLAT, []),
        ("r.json", [GOOD, {**GOOD, "bbox": [90, 0, 5, 5]}], OUTSIDE, []),
        ("r.json", [GOOD, {**GOOD, "bbox": "1234"}], NO_BOX, []),
        ("r.json", [GOOD, {**GOOD, "bbox": [0, 0, 1]}], NO_BOX, []),
        ("r.json", [GOOD, {"image_id": 90}], NO_BOX, []),
        ("r.json", [GOOD, {**GOOD, "image_id": 5}], ELSEWHERE, []),
        ("r.json", [GOOD, {**GOOD, "image_id": "x"}], ELSEWHERE, []),
        ("r.json", [GOOD, [1, 2]], "that are no objects of JSON", []),
        (
            "r.json",
            [GOOD, {**GOOD, "score": "x"}],
            "with a score that is no number: it is taken for none",
            GOOD["bbox"],
        ),
        ("b.csv", LINE + "9.jpg,60,40,30,30\n", CLIPPED, [[60, 40, 20, 20]]),
        ("b.csv", LINE + "9.jpg,0,0,1,nan\n", NO_BOX, []),
        ("b.csv", LINE + "9.jpg,0,0,1,one\n", NO_BOX, []),
        ("b.csv", LINE + "9.jpg,0,0\n", NO_BOX, []),
        ("b.csv", LINE + "9.jpg,0,0,1,1,1\n", "with more values than the first line has columns", []),
        ("b.csv", LINE + "8.jpg,0,0,1,1\n", ELSEWHERE, []),
    ],
)
def test_boxes_that_are_wrong_are_clipped_or_counted(tmp_path, photos, write, name, content, what, used):
    source = write(content, name)
    more = {"images": [photos], "overrides": ["--stage2.min_side=10"]}
    with pytest.raises(OrlError, match=r"is one .*: mend it, or leave --strict out"):
        import_files(tmp_path / "run", [source], strict=True, **more)
    run = import_files(tmp_path / "run", [source], **more)
    counts = run.manifest()["imports"][0]["boxes"]
    (one,) = counts["left_out"] + counts["changed"]
    assert (one["what"], one["count"], counts["given"]) == (what, 1, 2)
    assert counts["used"] == 2 - len(counts["left_out"])
    proposals = run.read("proposals")
    boxes = proposals[proposals["image_id"] == 90][["x", "y", "w", "h"]].to_numpy().tolist()
    assert boxes == [[0, 0, 30, 30], *(used if used != GOOD["bbox"] else [used])]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (
            CSV.replace(",", ";").replace(".", ",").replace(",jpg", ".jpg"),
            "utf-8",
        ),  # as spreadsheets write it where commas stand in numbers
        (CSV.replace(",", "\t"), "utf-16"),  # "Unicode text"
        (CSV.replace("file_name,x", "File_Name, X").replace(",w", ", W"), "utf-8-sig"),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, photos, text, encoding):
    file = tmp_path / "boxes.csv"
    file.write_text(text, encoding=encoding)
    images = open_images([photos])
    ledger = Ledger()
    found = list(read_csv(file, images, ImageNames(images), ledger))
    assert [box.score for box in found] == [0.2, None, 0.9]
    assert [float(value) for value in found[0].box] == [0.4, 0, 20.2, 19.6]


def test_of_several_fields_of_fiftyone_one_is_chosen(tmp_path, photos, write):
    content = fiftyone()
    box = {"bounding_box": [0, 0, 0.5, 0.5], "confidence": 0.7}
    content["samples"][0]["truth"] = {"detections": [box]}
    source = write(content, "samples.json")
    with pytest.raises(OrlError, match=r"found \(3 boxes\), truth \(1 boxes\): choose one, as in --field truth"):
        import_files(tmp_path / "run", [source], images=[photos])
    with pytest.raises(OrlError, match=r"no detections in a field 'x', but in: found"):
        import_files(tmp_path / "run", [source], images=[photos], label_field="x")
    with pytest.raises(OrlError, match=r"--field x is about"):
        import_files(tmp_path / "run", [write(CSV, "b.csv")], images=[photos], label_field="x")
    run = import_files(tmp_path / "run", [source], images=[photos], label_field="truth")
    assert run.read("proposals")[["x", "y", "w", "h"]].iloc[0].tolist() == [0, 0, 40, 30]
    assert run.manifest()["imports"][0]["boxes"]["used"] == 1
