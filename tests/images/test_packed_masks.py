"""Masks as labeling tools pack them: what is in them, where it lies in the picture, and those that are none."""

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

from export_files import add_up, as_brush, pictures, write
from orl_explore.images.object_masks import from_rle
from orl_explore.images.opening import open_images
from orl_explore.images.packed_masks import BoxMask, brush_mask, file_mask, numpy_mask, png_mask, run_mask

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
