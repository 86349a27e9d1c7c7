"""Boxes with masks of other tools: all of them used or counted, in both formats, at other sizes, turned."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from authors_files import files_of
from orl_explore.errors import OrlError
from orl_explore.images.object_masks import from_rle
from orl_explore.images.opening import open_images
from orl_explore.interchange.foreign import Ledger, collect
from orl_explore.interchange.masked import read_coco_dataset
from orl_explore.interchange.names import ImageNames
from training.importing import import_files

WIDTH, HEIGHT = 80, 60  # of 9.jpg, image 90 of the run


def rle(x: int, y: int, w: int, h: int, size: tuple[int, int] = (WIDTH, HEIGHT), *, compressed: bool = True) -> dict:
    pixels = np.zeros((size[1], size[0]), np.uint8, order="F")
    pixels[y : y + h, x : x + w] = 1
    if compressed:
        found = coco_mask.encode(pixels)
        return {"size": found["size"], "counts": found["counts"].decode()}
    flat = pixels.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.r_[0, changes, len(flat)]).tolist()
    return {"size": [size[1], size[0]], "counts": [0, *runs] if flat[0] else runs}


def dataset(*annotations: dict, width: int = WIDTH, height: int = HEIGHT) -> dict:
    return {
        "info": {"description": "MaskCut"},
        "images": [
            {"id": 1, "file_name": "train2017/9.jpg", "width": width, "height": height},
            {"id": 2, "file_name": "another.jpg", "width": 10, "height": 10},
        ],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, **one} for n, one in enumerate(annotations)],
        "categories": [{"id": 1, "name": "fg"}],
    }


def boxes_of(run, image_id: int = 90) -> list[list[int]]:
    return run.read("proposals", image_id=image_id)[["x", "y", "w", "h"]].to_numpy().tolist()


def masks_of(run, image_id: int = 90) -> dict[int, list[int]]:
    """Rank -> box around its mask and its area."""
    found = run.read("masks", image_id=image_id)
    result = {}
    for rank, counts in zip(found["rank"].tolist(), found["segmentation"], strict=True):
        pixels = from_rle(counts, (WIDTH, HEIGHT))
        y, x = np.nonzero(pixels)
        result[rank] = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1, int(pixels.sum())]
    return result


POLYGON = [[10, 10, 40, 10, 40, 30, 10, 30]]


def test_a_coco_data_set(tmp_path, photos, write):
    content = dataset(
        {"bbox": [0, 0, 30, 20], "segmentation": rle(0, 0, 30, 20), "score": 0.2},
        {"bbox": [10, 10, 30, 20], "segmentation": POLYGON, "score": 0.9},
        {"bbox": [40, 30, 40, 30], "score": 0.5},
        {"segmentation": rle(50, 5, 20, 50, compressed=False), "score": 0.4},
    )
    run = import_files(tmp_path / "run", [write(content)], images=[photos], overrides=["--stage2.min_side=10"])
    assert boxes_of(run) == [[10, 10, 30, 20], [40, 30, 40, 30], [50, 5, 20, 50], [0, 0, 30, 20]]  # best score first
    assert masks_of(run) == {0: [10, 10, 30, 20, 600], 2: [50, 5, 20, 50, 1000], 3: [0, 0, 30, 20, 600]}
    assert boxes_of(run, 70) == [[0, 0, 120, 100]]  # the whole image where there is none
    (facts,) = run.manifest()["imports"]
    assert (facts["kind"], facts["masks"], facts["images_without_boxes"]) == ("COCO data set", 3, 3)
    assert facts["boxes"]["given"] == facts["boxes"]["used"] == 4
    assert facts["boxes"]["changed"][0]["what"] == "with a mask alone: its box is used"


def test_everything_is_used_or_counted(tmp_path, photos, write, capsys):
    content = dataset(
        {"bbox": [0, 0, 30, 20], "score": 0.8},
        {"bbox": [0, 0, 30, 20], "score": 0.3},
        {"bbox": [0, 0, 30, 20]},
        {"bbox": [0, 0, 30, 20], "score": 0.9, "iscrowd": 1},
        {"bbox": [90, 0, 30, 20], "score": 0.9},
        {"bbox": [0, 0, 0, 20], "score": 0.9},
        {"bbox": [70, 0, 30, 20], "score": 0.9},  # clipped
        {"bbox": "none", "score": 0.9},
        {"bbox": [0, 0, 9, 9], "image_id": 2, "score": 0.9},
        {"bbox": [0, 0, 9, 9], "image_id": 3, "score": 0.9},
        {"bbox": [0, 0, 9, 9], "image_id": "1", "score": 0.9},  # text is looked up
        {"bbox": [0, 0, 30, 30], "segmentation": {"size": [9, 9], "counts": "zz"}, "score": 0.9},
    )
    content["annotations"].append(5)
    run = import_files(tmp_path / "run", [write(content)], images=[photos], min_score=0.5)
    assert boxes_of(run) == [[70, 0, 10, 20], [0, 0, 9, 9], [0, 0, 30, 30], [0, 0, 30, 20]]
    (facts,) = run.manifest()["imports"]
    left_out = {one["what"]: one["count"] for one in facts["boxes"]["left_out"]}
    assert left_out == {
        "with a score below 0.5": 1,
        "without a score": 1,
        "marked iscrowd": 1,
        "with a box outside its image": 1,
        "with a box of no width or height": 1,
        "without a box of four numbers": 1,
        "of images that are not in the run": 2,
        "that are no objects of JSON": 1,
    }
    assert facts["boxes"]["given"] == 13 == facts["boxes"]["used"] + sum(left_out.values())
    assert facts["min_score"] == 0.5
    assert "min_stability" not in facts
    assert not run.file("masks").exists()  # the only one is not understood
    said = " ".join(capsys.readouterr().err.split())
    assert "theirs.json (COCO data set): 4 of 13 boxes are proposals" in said
    assert "0 of them have masks" in said
    assert "2 annotations of images that are not in the run" in said
    assert "1 annotation with a mask that is not understood: the box alone is used" in said
    assert "3 images have none: the whole image is their box" in said


def sa1b(name: str | None, *annotations: dict) -> object:
    if name is None:
        return list(annotations)
    return {"image": {"image_id": 5, "file_name": name, "width": 80, "height": 60}, "annotations": list(annotations)}


def segment(x: int, y: int, w: int, h: int, iou: float, stability: float = 0.99) -> dict:
    return {
        "bbox": [x, y, w, h],
        "area": w * h,
        "segmentation": rle(x, y, w, h),
        "predicted_iou": iou,
        "stability_score": stability,
        "point_coords": [[1.0, 2.0]],
    }


@pytest.mark.parametrize("script", [False, True])
def test_a_folder_of_segment_anything(script, tmp_path, photos):
    """One file an image: SA-1B's names it, `amg.py`'s is named like it."""
    folder = tmp_path / "masks"
    folder.mkdir()
    segments = segment(0, 0, 30, 20, 0.91), segment(20, 20, 40, 30, 0.97), segment(5, 5, 9, 9, 0.95, 0.8)
    segments += (segment(1, 1, 9, 9, 0.5),)
    (folder / ("9.json" if script else "sa_1.json")).write_text(
        json.dumps(sa1b(None if script else "9.jpg", *segments))
    )
    (folder / "sa_2.json").write_text(json.dumps(sa1b("elsewhere.jpg", segment(0, 0, 9, 9, 0.9))))
    run = import_files(tmp_path / "run", [folder], images=[photos], min_score=0.88, min_stability=0.95)
    assert boxes_of(run) == [[20, 20, 40, 30], [0, 0, 30, 20]]
    assert masks_of(run) == {0: [20, 20, 40, 30, 1200], 1: [0, 0, 30, 20, 600]}
    (facts,) = run.manifest()["imports"]
    assert {one["what"]: one["count"] for one in facts["boxes"]["left_out"]} == {
        "of images that are not in the run": 1,
        "with a stability_score below 0.95, or none": 1,
        "with a score below 0.88": 1,
    }


def test_a_single_file_of_segment_anything(tmp_path, photos, write):
    run = import_files(tmp_path / "run", [write(sa1b("9.jpg", segment(0, 0, 30, 20, 0.9)))], images=[photos])
    assert boxes_of(run) == [[0, 0, 30, 20]]


def place(tmp_path, *, orientation: int = 1):
    """An image of 40 x 80 px as it is stored, and the set of it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (40, 80), (50, 90, 130)).save(tmp_path / "pictures/one.jpg", exif=exif)
    Image.new("RGB", (40, 80)).save(tmp_path / "pictures/two.jpg")
    return open_images([tmp_path / "pictures"])


def collected(tmp_path, images, annotation: dict, size: tuple[int, int]):
    content = {
        "images": [{"id": 1, "file_name": "one.jpg", "width": size[0], "height": size[1]}],
        "annotations": [{"image_id": 1, **annotation}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    ledger = Ledger()
    found = read_coco_dataset(tmp_path / "boxes.json", images, ImageNames(images), ledger)
    return collect(found, images, tmp_path, ledger)


@pytest.mark.parametrize("kind", ["rle", "polygon", "box"])
def test_boxes_of_a_smaller_copy_are_scaled(kind, tmp_path):
    images = place(tmp_path)
    mask = {"rle": rle(5, 10, 10, 20, (20, 40)), "polygon": [[5, 10, 15, 10, 15, 30, 5, 30]], "box": None}[kind]
    found = collected(tmp_path, images, {"bbox": [5, 10, 10, 20], "segmentation": mask}, (20, 40))
    assert found.boxes.group(0).tolist() == [[10, 20, 20, 40]]
    assert [one.what for one in found.findings.changed] == ["of images that have another size there: scaled to theirs"]
    texts = [texts for _, _, texts in found.masks.groups()]
    if kind != "box":
        expected = np.zeros((80, 40), bool)
        expected[20:60, 10:30] = True
        assert np.array_equal(from_rle(texts[0][0], (40, 80)), expected)


def test_a_picture_that_is_stored_turned(tmp_path):
    """Orientation 6: what is left on the stored picture is above on the upright one."""
    images = place(tmp_path, orientation=6)
    assert images.table[["width", "height"]].to_numpy().tolist() == [[80, 40], [40, 80]]
    found = collected(tmp_path, images, {"bbox": [0, 0, 10, 30], "segmentation": rle(0, 0, 10, 30, (40, 80))}, (40, 80))
    assert found.boxes.group(0).tolist() == [[50, 0, 30, 10]]
    ((_, _, (text,)),) = found.masks.groups()
    expected = np.zeros((40, 80), bool)
    expected[:10, 50:] = True
    assert np.array_equal(from_rle(text, (80, 40)), expected)


def test_another_shape_is_left_out(tmp_path):
    with pytest.raises(OrlError, match=r"1 of 1 boxes cannot be used \(1 of images that have another shape there"):
        collected(tmp_path, place(tmp_path), {"bbox": [0, 0, 10, 10]}, (40, 60))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"images": [{"id": 1, "file_name": "9.jpg"}]}, r"has images and no annotations: name it with --images"),
        (
            {"images": [{"id": 1, "file_name": "99.jpg"}], "annotations": [{"image_id": 1, "bbox": [0, 0, 9, 9]}]},
            r"none of its 1 images is in the run, such as '99.jpg'",
        ),
        (dataset({"bbox": [0, 0, 0, 0]}), r"1 of 1 boxes cannot be used \(1 with a box of no width or height"),
        (sa1b("8.jpg", segment(0, 0, 9, 9, 1)), r"none of 1 files is about an image of the run"),
    ],
)
def test_what_is_refused_as_a_whole(content, sentence, tmp_path, photos, write):
    source = write(content)
    before = files_of(tmp_path)
    with pytest.raises(OrlError, match=sentence):
        import_files(tmp_path / "run", [source], images=[photos])
    assert files_of(tmp_path) == before


def test_annotations_may_stand_first(tmp_path, photos, write):
    content = dataset({"bbox": [0, 0, 30, 20]})
    source = write({"annotations": content["annotations"], "images": content["images"]})
    run = import_files(tmp_path / "run", [source], images=[photos])
    assert boxes_of(run) == [[0, 0, 30, 20]]


def test_coco_results_keep_their_masks(tmp_path, photos, write):
    results = [
        {"image_id": 90, "bbox": [0, 0, 30, 20], "score": 0.9, "segmentation": rle(0, 0, 30, 20)},
        {"image_id": 90, "bbox": [40, 30, 40, 30], "score": 0.1},
    ]
    run = import_files(tmp_path / "run", [write(results)], images=[photos], min_score=0.5)
    assert boxes_of(run) == [[0, 0, 30, 20]]
    assert masks_of(run) == {0: [0, 0, 30, 20, 600]}
