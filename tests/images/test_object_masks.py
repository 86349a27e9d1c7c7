"""Polygons and run lengths as compressed RLE, and those that are none."""

from __future__ import annotations

import base64
import io
import os
import shutil
import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from export_files import add_up, as_brush, pictures, write
from image_files import write_coco
from orl_explore.images.object_masks import (
    BoxMask,
    _runs,
    brush_mask,
    file_mask,
    from_rle,
    numpy_mask,
    png_mask,
    run_mask,
)
from orl_explore.images.opening import open_images

BOX = {"image_id": 3, "category_id": 1}


def test_decoding():
    pixels = np.zeros((4, 6), np.uint8, order="F")
    pixels[1:3, 2:6] = 1
    assert np.array_equal(from_rle(coco_mask.encode(pixels)["counts"].decode(), (6, 4)), pixels.astype(bool))


def rectangle(x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros((48, 64), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    return mask


SQUARE = coco_mask.encode(rectangle(10, 5, 20, 10))["counts"].decode()


# column by column: 10 * 48 + 5 empty pixels, then 20 columns of 10, then the rest
SQUARE_RUNS = [485, *[10, 38] * 19, 10, 48 * 64 - 485 - 19 * 48 - 10]


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        ([[10, 5, 30, 5, 30, 15, 10, 15]], rectangle(10, 5, 20, 10)),
        (
            [[10, 5, 30, 5, 30, 15, 10, 15], [40, 5, 50, 5, 50, 15, 40, 15]],
            rectangle(10, 5, 20, 10) | rectangle(40, 5, 10, 10),
        ),
        ([[-1e12, 5, 30, 5, 30, 15, -1e12, 15]], rectangle(0, 5, 30, 10)),  # clipped, and no memory for 1e12 points
        ({"size": [48, 64], "counts": SQUARE}, rectangle(10, 5, 20, 10)),
        ({"size": [48, 64], "counts": SQUARE_RUNS}, rectangle(10, 5, 20, 10)),
        (None, None),
        ([], None),
        ([[1, 2, 3, 4]], None),  # two points; pycocotools would take it for a box
        ([[1, 2, 3, 4, 5]], None),
        ([[1, 2, 3, 4, 5, float("nan")]], None),
        ([[10, 5, 30, 5, 30, 15, 10, 15], [1, 2]], rectangle(10, 5, 20, 10)),
        ([["a"]], None),
        ("nonsense", None),
        ({"size": [48, 64], "counts": SQUARE[:-2]}, None),
        ({"size": [48, 64], "counts": SQUARE + "9"}, None),
        ({"size": [48, 64], "counts": "zzz"}, None),
        ({"size": [48, 64], "counts": "oooo"}, None),  # ends within a number
        ({"size": [48, 64], "counts": ""}, None),
        ({"size": [64, 48], "counts": SQUARE}, None),  # of another image
        ({"size": [48, 64], "counts": [100, 5]}, None),
        ({"size": [48, 64], "counts": [-5, 48 * 64 + 5]}, None),
        ({"size": [48, 64], "counts": [48 * 64]}, None),  # nothing in it
        ({"counts": SQUARE}, None),
        (17, None),
    ],
)
def test_segmentations_become_compressed_rle(tmp_path, segmentation, expected):
    annotations = [BOX | {"id": 1, "bbox": [0, 0, 60, 40], "segmentation": segmentation}]
    (counts,) = open_images([write_coco(tmp_path, annotations=annotations)]).objects["segmentation"]
    if expected is None:
        assert pd.isna(counts)
    else:
        assert isinstance(counts, str)
        np.testing.assert_array_equal(coco_mask.decode({"size": [48, 64], "counts": counts.encode()}), expected)


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=12))
def test_runs_undo_the_compression(runs):
    height = sum(runs)
    packed = coco_mask.frPyObjects({"size": [height, 1], "counts": runs}, height, 1)["counts"].decode()
    assert _runs(packed) == runs


# ---- masks of a box alone --------------------------------------------------------------------------------------------

CORNER = np.array([[1, 1, 0], [1, 0, 0]], np.uint8)


def as_png(pixels: np.ndarray, mode: str = "L") -> str:
    file = io.BytesIO()
    Image.fromarray(pixels * 255 if mode in ("RGB", "LA") else pixels).convert(mode).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def as_numpy(pixels: np.ndarray, *, pickled: bool = False) -> str:
    file = io.BytesIO()
    np.save(file, pixels.astype(object) if pickled else pixels, allow_pickle=True)
    return base64.b64encode(zlib.compress(file.getvalue())).decode()


@given(
    seed=st.integers(0, 99),
    width=st.integers(1, 20),
    height=st.integers(1, 20),
    share=st.sampled_from([0, 0.1, 0.5, 1]),
)
def test_what_is_painted_in_label_studio(seed, width, height, share):
    painted = np.random.default_rng(seed).random((height, width)) < share
    for literal in (False, True):
        for lengths in ((3, 4, 8, 16), (1, 2, 3, 4)):
            packed = as_brush(painted, lengths, literal=literal)
            np.testing.assert_array_equal(brush_mask(packed, width, height) != 0, painted)
            for cut in (packed[:-2], packed[:6], []):
                with pytest.raises(ValueError, match="ends too early"):
                    brush_mask(cut, width, height)
    with pytest.raises(ValueError, match="of this size"):
        brush_mask(packed, width + 1, height)


def test_the_opacity_of_what_is_painted_counts():
    """By hand: one pixel, 4 values of 8 bits, all lengths 1 bit; twice 7, which is no opacity, then 9 and 200."""
    bits = f"{4:032b}{7:05b}{0:016b}" + f"1001{7:08b}" + f"0001{9:08b}{200:08b}"
    bits += "0" * (-len(bits) % 8)
    packed = [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]
    assert brush_mask(packed, 1, 1).tolist() == [[200]]


@pytest.mark.parametrize(
    ("unpack", "given", "expected"),
    [
        (png_mask, as_png(CORNER), CORNER),
        (png_mask, as_png(CORNER, "RGB"), CORNER),
        (png_mask, as_png(np.dstack([CORNER * 0 + 1, CORNER]), "LA"), CORNER),  # white, and where it shows through
        (numpy_mask, as_numpy(CORNER.astype(bool)), CORNER),
        (numpy_mask, as_numpy(CORNER * 255), CORNER),
        (numpy_mask, {"$binary": as_numpy(CORNER)}, CORNER),
        (numpy_mask, {"$binary": {"base64": as_numpy(CORNER), "subType": "00"}}, CORNER),
        (lambda packed: brush_mask(packed, 3, 2), as_brush(CORNER), CORNER),
        (lambda runs: run_mask(runs, 3, 2), [0, 2, 1, 1, 2], CORNER),
        (lambda runs: run_mask(runs, 3, 2), [0, 2, 1, 1], CORNER),  # the rest is none of it
    ],
)
def test_how_tools_pack_masks(unpack, given, expected):
    np.testing.assert_array_equal(unpack(given) != 0, expected != 0)


@given(x=st.integers(-8, 12), y=st.integers(-8, 12), zoom=st.integers(1, 4), scale=st.sampled_from([None, 1.0, 100.0]))
def test_a_mask_lies_in_its_box(x, y, zoom, scale):
    """Of the box's size it stays as it is, of another each pixel becomes a block; what is outside is cut off."""
    box = np.array([x, y, 3 * zoom, 2 * zoom], float)
    expected = np.zeros((40, 50), bool)
    expected[10 + y : 10 + y + 2 * zoom, 10 + x : 10 + x + 3 * zoom] = np.kron(CORNER, np.ones((zoom, zoom)))
    expected = expected[10:26, 10:34]
    unit = 1 if scale is None else np.array([24, 16, 24, 16]) / scale
    found = BoxMask((box / unit).tolist(), lambda: CORNER).in_picture((24, 16), scale)
    assert found is not None
    assert found["size"] == [16, 24]
    pixels = np.repeat(np.resize([False, True], len(found["counts"])), found["counts"]).reshape(24, 16).T
    np.testing.assert_array_equal(pixels, expected)


def claimed(kind: str, side: int, filled: int = 0) -> str:
    """An array that says of itself that it has this kind and side, with so many bytes in it."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": (side, side)})
    packer = zlib.compressobj()
    parts = [packer.compress(file.getvalue()), *(packer.compress(bytes(1 << 20)) for _ in range(filled >> 20))]
    return base64.b64encode(b"".join([*parts, packer.flush()])).decode()


@pytest.mark.parametrize(
    ("box", "unpack"),
    [
        ([0, 0, 3, 2], lambda: png_mask("no base64!")),
        ([0, 0, 3, 2], lambda: png_mask(base64.b64encode(b"no picture").decode())),
        ([0, 0, 3, 2], lambda: numpy_mask("AAAA")),
        ([0, 0, 3, 2], lambda: numpy_mask({"$oid": "1"})),
        ([0, 0, 3, 2], lambda: numpy_mask(as_numpy(CORNER, pickled=True))),  # would run what is in it
        ([0, 0, 3, 2], lambda: numpy_mask(claimed("|u1", 1 << 15, 320 << 20))),  # a third of a gigabyte
        ([0, 0, 3, 2], lambda: numpy_mask(claimed("<U0", 1 << 16))),  # of any size in no bytes
        ([0, 0, 3, 2], lambda: numpy_mask(as_numpy(np.empty((2, 3), "<U3")))),
        ([0, 0, 3, 2], lambda: run_mask([0, 7], 3, 2)),
        ([0, 0, 3, 2], lambda: run_mask([-1, 7], 3, 2)),
        ([0, 0, 3, 2], lambda: run_mask([1], 1 << 20, 1 << 20)),
        ([0, 0, 3, 2], lambda: np.zeros((2, 3, 4))),
        ([0, 0, 3, 2], lambda: np.zeros((0, 3))),
        (None, lambda: CORNER),
        ([0, 0, 3], lambda: CORNER),
        ([0, float("nan"), 3, 2], lambda: CORNER),
        ([0, 0, "wide", 2], lambda: CORNER),
    ],
)
def test_masks_that_cannot_be_unpacked_are_none(box, unpack):
    assert BoxMask(box, unpack).in_picture((24, 16)) is None


@pytest.mark.parametrize(
    "box", [[0, 0, 1e9, 1e9], [-1e9, -1e9, 2e9, 2e9], [0, 0, 0, 0], [0, 0, -3, -2], [99, 99, 3, 2]]
)
def test_a_box_of_any_size_takes_no_memory(box):
    found = BoxMask(box, lambda: CORNER).in_picture((24, 16))
    assert found is not None
    assert sum(found["counts"]) == 24 * 16


@pytest.mark.parametrize("start", [0.0, 0.3, 0.5, 0.7, 1.5])
def test_a_mask_of_its_boxs_size_keeps_its_size(start):
    """Also where both ends of the box lie between pixels, as after it was moved by hand."""
    found = BoxMask([start, start, 3, 2], lambda: CORNER).in_picture((24, 16))
    assert found is not None
    assert sum(found["counts"][1::2]) == CORNER.sum()


def test_a_mask_in_a_file_that_gives_nothing_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert BoxMask([0, 0, 3, 2], lambda: file_mask(tmp_path, "pipe.png")).in_picture((24, 16)) is None


@pytest.mark.parametrize(
    ("shape", "notes"),
    [
        ({**{"label": "cup", "points": [[24, 16], [26, 17]]}, "shape_type": "mask"}, 0),
        ({**{"label": "cup", "points": [[24, 16], [26, 17]]}, "shape_type": "mask", "mask": None}, 0),
        ({"label": "cup", "points": [[24, 16], [26, 17]], "shape_type": "circle", "mask": as_png(CORNER)}, 1),
        ({"label": "cup", "points": [[24, 10**400], [26, 17]], "shape_type": "rectangle"}, 0),
    ],
)
def test_shapes_of_labelme_without_a_mask_that_is_read(tmp_path, shape, notes):
    pictures(tmp_path / "a.jpg", tmp_path / "b.jpg")
    other = {"label": "bus", "points": [[4, 6], [26, 17]], "shape_type": "rectangle"}
    for name in "ab":
        write(tmp_path / f"{name}.json", {"shapes": [other, shape], "imageWidth": 96, "imageHeight": 64})
    images = open_images([tmp_path])
    assert images.findings.changed == ()
    assert sum("mask (2)" in note for note in images.findings.notes) == notes
    assert set(images.objects["category"]) >= {"bus"}
    add_up(images)


LABELME = {"label": "cup", "shape_type": "mask", "points": [[24, 16], [26, 17]]}
FIFTYONE = {"label": "cup", "bounding_box": [0.25, 0.25, 3 / 96, 2 / 64]}
NO_FILE = {"with a mask whose file is not there or not understood: the box alone is used": 2}
NO_PIXEL = {"with a mask that has no pixel in the picture: the box alone is used": 2}
NOT_READ = {"with a mask that is not understood: the box alone is used": 2}


@pytest.mark.parametrize(
    ("tool", "thing", "changed"),
    [
        ("labelme", {**LABELME, "mask": as_png(CORNER)}, {}),
        ("labelme", {**LABELME, "mask": "nonsense"}, NOT_READ),
        ("labelme", {**LABELME, "mask": 7}, NOT_READ),
        ("labelme", {**LABELME, "mask": "data:image/png;base64," + as_png(CORNER)}, {}),
        ("labelme", {**LABELME, "mask": as_png(CORNER * 0)}, NO_PIXEL),
        ("labelme", {**LABELME, "shape_type": "rectangle", "points": [[24, 16], [27, 18]], "mask": as_png(CORNER)}, {}),
        ("labels", {**FIFTYONE, "mask": as_numpy(CORNER)}, {}),
        ("samples", {**FIFTYONE, "mask": {"$binary": {"base64": as_numpy(CORNER)}}}, {}),
        ("samples", {**FIFTYONE, "mask": {"$binary": {"base64": "AAAA"}}}, NOT_READ),
        ("samples", {**FIFTYONE, "mask_path": "fields/mask.png"}, {}),
        ("labels", {**FIFTYONE, "mask_path": "fields/mask.png"}, {}),
        ("samples", {**FIFTYONE, "mask_path": "fields/gone.png"}, NO_FILE),
        ("samples", {**FIFTYONE, "mask_path": "a.jpg"}, NO_FILE),  # a picture, and no mask
        ("samples", {**FIFTYONE, "mask_path": "../outside.png"}, NO_FILE),
        ("samples", {**FIFTYONE, "mask_path": "fields/link.png"}, NO_FILE),  # leads outside
        ("samples", {**FIFTYONE, "mask_path": ["fields/mask.png"]}, NO_FILE),
    ],
)
def test_masks_of_labelme_and_fiftyone(tmp_path, tool, thing, changed):
    """They are 3 x 2 pixels at (24, 16); one that cannot be read is counted, and its object keeps the box."""
    (tmp_path / "outside.png").write_bytes(base64.b64decode(as_png(CORNER)))
    folder = tmp_path / "export"
    pictures(folder / "a.jpg", folder / "b.jpg")
    (folder / "fields").mkdir()
    (folder / "fields" / "mask.png").write_bytes(base64.b64decode(as_png(CORNER)))
    (folder / "fields" / "link.png").symlink_to(tmp_path / "outside.png")
    path = folder
    if tool == "labelme":
        shutil.rmtree(folder / "fields")  # else they are pictures of the folder
        for name in "ab":
            write(folder / f"{name}.json", {"shapes": [thing], "imageWidth": 96, "imageHeight": 64})
    elif tool == "labels":
        path = write(folder / "labels.json", {"classes": ["cup"], "labels": {"a": [thing], "b": [thing]}})
    else:
        samples = [{"filepath": f"{name}.jpg", "it": {"detections": [thing]}} for name in "ab"]
        path = write(folder / "samples.json", {"samples": samples})
    images = open_images([path])
    assert images.objects[["x", "y", "w", "h"]].to_numpy().tolist() == [[24, 16, 3, 2]] * 2
    assert {one.what: one.count for one in images.findings.changed} == changed
    for counts in images.objects["segmentation"]:
        assert pd.isna(counts) == bool(changed)
        if not changed:
            np.testing.assert_array_equal(from_rle(counts, (96, 64))[16:18, 24:27], CORNER)
            assert from_rle(counts, (96, 64)).sum() == CORNER.sum()
    add_up(images)
