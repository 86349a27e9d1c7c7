"""Images in: every source, every mode, every kind of bad file."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from orl_explore.errors import OrlError
from orl_explore.images.decoding import load_rgb
from orl_explore.images.image_set import ImageSet
from orl_explore.images.object_masks import _runs
from orl_explore.images.opening import open_images, report

RNG_SEED = 0


def noise(size: tuple[int, int] = (64, 48), seed: int = RNG_SEED) -> Image.Image:
    """Noise compresses badly, so that cutting the file in half cuts the picture."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def save(path: Path, image: Image.Image | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (noise(seed=len(path.name)) if image is None else image).save(path, **options)
    return path


def huge_png(width: int, height: int) -> bytes:
    """A valid PNG header that promises pixels which never come."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def good_pair(folder: Path) -> None:
    save(folder / "good1.png")
    save(folder / "good2.jpg")


# ---- decoding ----------------------------------------------------------------------------------------------------

GRADIENT = np.array([[0, 1, 128, 255]], np.uint8).repeat(4, 0)  # (4, 4)


@pytest.mark.parametrize(
    ("name", "image", "expected"),  # expected: RGB of the four columns
    [
        ("gray.png", Image.fromarray(GRADIENT), [[0] * 3, [1] * 3, [128] * 3, [255] * 3]),
        ("bilevel.png", Image.fromarray(GRADIENT > 100), [[0] * 3, [0] * 3, [255] * 3, [255] * 3]),
        # half-transparent black over white is mid-gray: 255 - 128 = 127
        (
            "gray_alpha.png",
            Image.merge("LA", [Image.new("L", (4, 4)), Image.fromarray(GRADIENT)]),
            [[255] * 3, [254] * 3, [127] * 3, [0] * 3],
        ),
        (
            "rgba.png",
            Image.merge("RGBA", [*Image.new("RGB", (4, 4), (255, 0, 0)).split(), Image.fromarray(GRADIENT)]),
            [[255, 255, 255], [255, 254, 254], [255, 127, 127], [255, 0, 0]],
        ),
        ("cmyk.tif", Image.new("CMYK", (4, 4), (0, 255, 255, 0)), [[255, 0, 0]] * 4),
        # 65535 / 257 = 255, 32896 / 257 = 128, 257 / 257 = 1: scaled; clipping would give 255 three times
        (
            "gray16.png",
            Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16).repeat(4, 0)),
            [[0] * 3, [1] * 3, [128] * 3, [255] * 3],
        ),
        (
            "gray16.tif",
            Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16).repeat(4, 0)),
            [[0] * 3, [1] * 3, [128] * 3, [255] * 3],
        ),
        # 32 bits that would fit 16 are read as 16; larger or negative ones are stretched from minimum to maximum
        (
            "int32.tif",
            Image.fromarray(np.array([[0, 257, 32896, 65535]], np.int32).repeat(4, 0)),
            [[0] * 3, [1] * 3, [128] * 3, [255] * 3],
        ),
        (
            "negative.tif",
            Image.fromarray(np.array([[-51000, -50800, 0, 0]], np.int32).repeat(4, 0)),
            [[0] * 3, [1] * 3, [255] * 3, [255] * 3],
        ),
        # float: (0.5 - -1) / (2 - -1) * 255 = 127.5 -> 128 (half to even); 0.1 * 85 + 85 = 93.5 -> 94
        (
            "float.tif",
            Image.fromarray(np.array([[-1, 0, 0.5, 2]], np.float32).repeat(4, 0)),
            [[0] * 3, [85] * 3, [128] * 3, [255] * 3],
        ),
        ("constant.tif", Image.fromarray(np.full((4, 4), 7, np.float32)), [[0] * 3] * 4),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_mode_becomes_rgb(tmp_path, name, image, expected):
    loaded = load_rgb(save(tmp_path / name, image))
    assert loaded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(loaded)[0], expected)


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert load_rgb(save(tmp_path / "opaque.png", image)).getpixel((0, 0)) == (10, 20, 30)
    assert load_rgb(save(tmp_path / "clear.png", image, transparency=1)).getpixel((0, 0)) == (255, 255, 255)
    # a color key in an RGB file is transparency, too
    rgb = Image.new("RGB", (4, 4), (10, 20, 30))
    assert load_rgb(save(tmp_path / "key.png", rgb, transparency=(10, 20, 30))).getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_jpeg(tmp_path):
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.allclose(load_rgb(save(tmp_path / "cmyk.jpg", red)).getpixel((8, 8)), (255, 0, 0), atol=3)


def test_16_bit_rgb_keeps_the_high_byte(tmp_path):
    rows = b"".join(b"\0" + struct.pack(">3H", 0x1234, 0x8000, 0xFFFF) * 2 for _ in range(2))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    file = tmp_path / "rgb16.png"
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    assert load_rgb(file).getpixel((1, 1)) == (0x12, 0x80, 0xFF)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize(
    ("orientation", "corner"),  # where the stored top-left pixel belongs, as EXIF defines it
    [
        (1, "top left"),
        (2, "top right"),
        (3, "bottom right"),
        (4, "bottom left"),
        (5, "top left"),
        (6, "top right"),
        (7, "bottom right"),
        (8, "bottom left"),
    ],
)
def test_exif_orientation(tmp_path, suffix, orientation, corner):
    stored = Image.new("RGB", (64, 48), "black")
    stored.paste((255, 255, 255), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    # lossless, or blocks of 16 px which JPEG leaves sharp
    file = save(tmp_path / f"turned.{suffix}", stored, exif=exif)
    image = load_rgb(file)
    assert image.size == ((64, 48) if orientation < 5 else (48, 64))
    x = 4 if "left" in corner else image.width - 5
    y = 4 if "top" in corner else image.height - 5
    assert min(image.getpixel((x, y))) > 200
    assert sum(np.asarray(image)[:, :, 0].reshape(-1) > 128) == pytest.approx(16 * 16, rel=0.1)

    save(tmp_path / "other.png")
    table = open_images([tmp_path]).table.set_index("file_name")
    assert tuple(table.loc[file.name, ["width", "height"]]) == image.size


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "lime", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        assert load_rgb(tmp_path / name).getpixel((20, 20)) == (255, 0, 0), name


def test_damaged_exif_costs_nothing_but_the_orientation(tmp_path):
    file = save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40)
    assert load_rgb(file).size == (64, 48)


# ---- files that cannot be used -----------------------------------------------------------------------------------

JPEG, PNG, GIF, WEBP = (encoded(noise(), name) for name in ("JPEG", "PNG", "GIF", "WEBP"))
TIFF = encoded(noise(), "TIFF")
NAN = np.zeros((64, 64), np.float32)
NAN[3, 5] = np.nan

BAD = [
    ("empty.jpg", b"", "empty file"),
    ("text.jpg", b"this is a letter, not a picture", "not an image"),
    ("zeros.png", bytes(1000), "not an image"),
    ("page.png", b"<html><body>404 not found</body></html>", "not an image"),
    # Pillow would start Ghostscript for it
    ("drawing.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n", "not an image"),
    ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0", "truncated: the HEIC file ends before the picture does"),
    ("half.jpg", JPEG[: len(JPEG) // 2], "truncated: the file ends before the picture does"),
    ("half.png", PNG[: len(PNG) // 2], "truncated: the file ends before the picture does"),
    ("half.gif", GIF[: len(GIF) // 2], "truncated: the file ends before the picture does"),
    ("half.webp", WEBP[: len(WEBP) // 2], "truncated or damaged"),
    ("half.tif", TIFF[: len(TIFF) // 2], "truncated"),
    ("header.jpg", JPEG[:20], "truncated or damaged"),
    ("header.png", PNG[:20], "truncated or damaged"),
    ("broken.png", PNG[:200] + bytes(400) + PNG[600:], "damaged"),
    # 11000 x 11000 = 121 megapixels; from 179 megapixels on, Pillow itself refuses
    ("large.png", huge_png(11_000, 11_000), "absurdly large: 11000 x 11000 px is over 100 megapixels"),
    ("bomb.png", huge_png(60_000, 60_000), "absurdly large: over 100 megapixels"),
    ("strip.png", encoded(noise((300, 31)), "PNG"), "too small: edge of 31 px is below 32"),
    ("dot.gif", encoded(noise((1, 1)), "GIF"), "too small: edge of 1 px is below 32"),
    ("nan.tif", encoded(Image.fromarray(NAN), "TIFF"), "not finite"),
]


def test_every_kind_of_bad_file_is_skipped_with_its_reason(tmp_path):
    good_pair(tmp_path)
    save(tmp_path / "just_enough.png", noise((32, 32)))
    for name, content, _ in BAD:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "folder.jpg").mkdir()  # a folder, whatever its name

    images = open_images([tmp_path])
    assert list(images.table["file_name"]) == ["good1.png", "good2.jpg", "just_enough.png"]
    reasons = dict(zip(images.skipped["file_name"], images.skipped["reason"], strict=True))
    assert reasons.pop("dangling.jpg") == "no such file"
    assert set(reasons) == {name for name, _, _ in BAD}
    for name, _, expected in BAD:
        assert reasons[name].startswith(expected), (name, reasons[name])
        assert "\n" not in reasons[name]
        if not expected.startswith("too small"):
            with pytest.raises(OrlError, match=name):
                load_rgb(tmp_path / name)


def test_a_file_that_is_too_big_to_read_is_not_read(tmp_path):
    good_pair(tmp_path)
    with (tmp_path / "sparse.tif").open("wb") as file:
        file.truncate((1 << 30) + 1)  # takes no room on the disk
    assert list(open_images([tmp_path]).skipped["reason"]) == ["absurdly large: over 1 GiB"]


def test_nothing_on_the_console(tmp_path):
    """In a fresh process, because pytest has its own handling of warnings."""
    good_pair(tmp_path)
    save(tmp_path / "exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40)
    for name, content, _ in BAD:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "warned.png").write_bytes(huge_png(10_000, 9_500))  # below our limit, above Pillow's warning
    code = "from orl_explore.images.opening import open_images; import sys, pathlib; "
    code += "open_images([pathlib.Path(sys.argv[1])])"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(("good", "words"), [(0, "no usable image"), (1, "only one usable image")])
def test_fewer_than_two_is_an_error_with_the_first_reasons(tmp_path, good, words):
    for number in range(good):
        save(tmp_path / f"good{number}.png")
    for number in range(5):
        (tmp_path / f"bad{number}.jpg").write_bytes(b"")
    with pytest.raises(OrlError) as error:
        open_images([tmp_path])
    message = str(error.value)
    assert words in message
    assert "bad0.jpg: empty file; bad1.jpg: empty file; bad2.jpg: empty file; and 2 more" in message
    assert "bad3" not in message


def test_empty_folder(tmp_path):
    with pytest.raises(OrlError, match="at least two are needed, with names such as"):
        open_images([tmp_path])


def test_report(tmp_path):
    good_pair(tmp_path)
    for number in range(3):
        (tmp_path / f"e{number}.jpg").write_bytes(b"")
    save(tmp_path / "s.png", noise((12, 40)))
    images = open_images([tmp_path])
    assert report(images, limit=2).splitlines() == [
        "2 usable, 4 skipped",
        "      3 empty file",
        "      1 too small",
        "  e0.jpg: empty file",
        "  e1.jpg: empty file",
        "  ... and 2 more",
    ]
    assert report(images, limit=None).splitlines()[-1] == "  s.png: too small: edge of 12 px is below 32"


# ---- folders -----------------------------------------------------------------------------------------------------


def test_folder_is_recursive_sorted_and_leaves_hidden_files_out(tmp_path):
    for name in ["b.PNG", "a/z.jpg", "a/b/c.webp", "a.bmp", ".hidden.png", ".cache/x.png", "a/.t/y.png"]:
        save(tmp_path / name)
    (tmp_path / "README.md").write_text("no picture, and no reason to mention it")
    images = open_images([tmp_path])
    assert list(images.table["file_name"]) == ["a.bmp", "a/b/c.webp", "a/z.jpg", "b.PNG"]
    assert images.skipped.empty
    assert images.roots == (tmp_path,)
    assert images.path(2) == tmp_path / "a" / "z.jpg"
    assert {name: str(kind) for name, kind in images.table.dtypes.items()} == {
        "image_id": "int64",
        "file_name": "str",
        "source": "int16",
        "width": "int32",
        "height": "int32",
        "content_hash": "str",
    }
    assert images.objects.empty
    assert list(images.objects) == ["object_id", "image_id", "x", "y", "w", "h", "category", "segmentation"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    save(tmp_path / "elsewhere/e.png")
    save(tmp_path / "set/a.png")
    (tmp_path / "set/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "set")
    assert list(open_images([tmp_path / "set"]).table["file_name"]) == ["a.png", "link/e.png"]


def test_ids_are_stable_and_safe(tmp_path):
    names = ["a.png", "sub/b.png", "ünï cödé.png", "q?#%&.png"]
    for name in names:
        save(tmp_path / name)
    before = open_images([tmp_path]).table.set_index("file_name")["image_id"]
    # Fixed for all time, because runs on disk refer to it: `printf a.png | b2sum -l 64`, without its last 11 bits
    assert before["a.png"] == 7952145634355070
    assert before.between(0, 2**53 - 1).all()
    assert before.is_unique
    save(tmp_path / "0_new.png")
    (tmp_path / "sub/b.png").unlink()
    after = open_images([tmp_path]).table.set_index("file_name")["image_id"]
    assert (after[["a.png", "ünï cödé.png"]] == before[["a.png", "ünï cödé.png"]]).all()


def test_name_that_is_not_unicode(tmp_path):
    good_pair(tmp_path)
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(PNG)
    except OSError:
        pytest.skip("this file system has Unicode names only")
    images = open_images([tmp_path])
    assert images.skipped.to_dict("records") == [{"file_name": "?.png", "reason": "file name is not valid Unicode"}]


def test_relative_folder_gets_an_absolute_root(tmp_path, monkeypatch):
    good_pair(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    assert open_images([Path("set")]).roots == (tmp_path / "set",)


def test_fingerprint(tmp_path):
    good_pair(tmp_path / "one")
    first = open_images([tmp_path / "one"])
    assert open_images([tmp_path / "one"]).fingerprint == first.fingerprint
    (tmp_path / "one").rename(tmp_path / "moved")
    assert open_images([tmp_path / "moved"]).fingerprint == first.fingerprint

    seen = {first.fingerprint}
    file = tmp_path / "moved/good1.png"
    file.write_bytes(file.read_bytes() + b"\0")  # the picture stays, a byte is new
    seen.add(open_images([tmp_path / "moved"]).fingerprint)
    file.rename(tmp_path / "moved/good0.png")
    seen.add(open_images([tmp_path / "moved"]).fingerprint)
    save(tmp_path / "moved/third.png")
    seen.add(open_images([tmp_path / "moved"]).fingerprint)
    assert len(seen) == 4


def test_equal_files_have_equal_hashes(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(PNG)
    save(tmp_path / "c.png", noise(seed=9))
    a, b, c = open_images([tmp_path]).table["content_hash"]
    assert a == b != c


def test_progress_counts_every_file(tmp_path):
    good_pair(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"")
    calls: list[tuple[int, int]] = []
    open_images([tmp_path], progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


# ---- afterwards --------------------------------------------------------------------------------------------------


def test_load_after_a_file_changed(tmp_path):
    good_pair(tmp_path)
    images = open_images([tmp_path])
    assert images.load(0).size == (64, 48)
    images.check_files()

    file = tmp_path / "good1.png"
    file.write_bytes(PNG[: len(PNG) // 2])
    with pytest.raises(OrlError, match=r"good1\.png.*truncated"):
        images.load(0)
    save(file, noise((80, 48)))
    with pytest.raises(OrlError, match=r"good1\.png was 64 x 48 px before"):
        images.load(0)
    file.unlink()
    with pytest.raises(OrlError, match=r"good1\.png.*no such file"):
        images.load(0)
    with pytest.raises(OrlError, match=r"good1\.png is gone"):
        images.check_files()


def test_reopened_from_parquet(tmp_path):
    images = open_images([write_coco(tmp_path)])
    for name in ("table", "objects", "skipped"):
        getattr(images, name).to_parquet(tmp_path / f"{name}.parquet")
    tables = [pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("table", "objects", "skipped")]
    again = ImageSet(*tables, images.roots)
    assert again.fingerprint == images.fingerprint
    pd.testing.assert_frame_equal(again.table, images.table)
    pd.testing.assert_frame_equal(again.objects, images.objects)
    assert again.load(1).size == (64, 48)


def test_subset(tmp_path):
    images = open_images([write_coco(tmp_path)])
    part = images.subset([1])
    assert list(part.table["file_name"]) == ["a.png"]
    assert set(part.objects["image_id"]) == {3}
    assert part.path(0) == tmp_path / "a.png"
    assert part.fingerprint != images.fingerprint


# ---- COCO --------------------------------------------------------------------------------------------------------


def write_coco(folder: Path, name: str = "annotations.json", **changes: object) -> Path:
    """Three 64 x 48 images whose order is neither that of their ids nor of their names."""
    for file in ("a.png", "b.png", "c.png"):
        save(folder / file)
    content: dict[str, object] = {
        "images": [
            {"id": 20, "file_name": "b.png", "width": 64, "height": 48, "context": "kitchen", "license": 1},
            {"id": 3, "file_name": "a.png", "width": 64, "height": 48, "context": "street", "views": [1]},
            {"id": 100, "file_name": "c.png", "width": 64, "height": 48},
        ],
        "annotations": [
            {"id": 7, "image_id": 3, "category_id": 1, "bbox": [10, 10, 20, 10], "iscrowd": 0},
            {"id": 5, "image_id": 20, "category_id": 2, "bbox": [1.5, 2, 3, 4]},
        ],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "bus"}],
    }
    if "images" in changes:
        content["annotations"] = []  # of images that are not listed, most of the file cannot be used
    file = folder / name
    file.write_text(json.dumps(content | changes))
    return file


def test_coco_keeps_ids_order_and_labels(tmp_path):
    images = open_images([write_coco(tmp_path)])
    assert list(images.table["image_id"]) == [20, 3, 100]
    assert list(images.table["file_name"]) == ["b.png", "a.png", "c.png"]
    # `license` says nothing about the picture, a list is no scalar
    assert list(images.table)[6:] == ["context"]
    assert images.table["context"].iloc[:2].tolist() == ["kitchen", "street"]
    assert pd.isna(images.table["context"].iloc[2])
    objects = images.objects.drop(columns="segmentation").to_dict("records")
    assert objects == [
        {"object_id": 7, "image_id": 3, "x": 10.0, "y": 10.0, "w": 20.0, "h": 10.0, "category": "cup"},
        {"object_id": 5, "image_id": 20, "x": 1.5, "y": 2.0, "w": 3.0, "h": 4.0, "category": "bus"},
    ]
    assert {str(images.objects[name].dtype) for name in "xywh"} == {"float32"}


@pytest.mark.parametrize(
    ("values", "expected", "dtype"),
    [
        (["x", "y", None], ["x", "y", None], "str"),
        ([1, 2, 3], [1, 2, 3], "int64"),
        ([1, None, 2.5], [1.0, None, 2.5], "float64"),
        ([True, False, True], [True, False, True], "bool"),
        ([True, None, False], ["True", None, "False"], "str"),
        ([1, "two", None], ["1", "two", None], "str"),
    ],
)
def test_label_columns_have_one_type(tmp_path, values, expected, dtype):
    for file in ("a.png", "b.png", "c.png"):
        save(tmp_path / file)
    images = [{"id": i, "file_name": f"{'abc'[i]}.png", "label": value} for i, value in enumerate(values)]
    column = open_images([write_coco(tmp_path, images=images)]).table["label"]
    assert str(column.dtype) == dtype
    assert [None if pd.isna(value) else value for value in column] == expected


def test_labels_cannot_replace_our_columns(tmp_path):
    images = [
        {"id": i, "file_name": f"{name}.png", "source": "web", "content_hash": "?", "image_id": 9, "width": 5}
        for i, name in enumerate("ab")
    ]
    table = open_images([write_coco(tmp_path, images=images)]).table
    assert list(table) == ["image_id", "file_name", "source", "width", "height", "content_hash"]
    assert table["image_id"].tolist() == [0, 1]
    assert table["width"].tolist() == [64, 64]


@pytest.mark.parametrize(
    ("json_at", "files_at", "root"),
    [
        ("set", "set", None),
        ("set", "set/images", None),
        ("coco/annotations", "coco/val2017", None),  # instances_val2017.json, as COCO is unpacked
        ("here", "there", "there"),
        ("here", "coco/val2017", "coco"),
    ],
)
def test_where_coco_files_are_found(tmp_path, json_at, files_at, root):
    (tmp_path / json_at).mkdir(parents=True)
    file = write_coco(tmp_path / files_at, "instances_val2017.json")
    file = file.rename(tmp_path / json_at / file.name)
    images = open_images([file], root=root and tmp_path / root)
    assert images.roots == (tmp_path / files_at,)
    assert len(images) == 3


def test_root_wins_over_the_folder_of_the_json(tmp_path):
    file = write_coco(tmp_path)
    write_coco(tmp_path / "other")
    assert open_images([file], root=tmp_path / "other").roots == (tmp_path / "other",)


def test_no_file_of_a_coco_json_found(tmp_path):
    file = write_coco(tmp_path / "pictures").rename(tmp_path / "x.json")
    (tmp_path / "elsewhere").mkdir()
    file = file.rename(tmp_path / "elsewhere/x.json")
    with pytest.raises(OrlError, match=r"no image of .*x\.json \(such as b\.png\).*pass their folder with --root"):
        open_images([file])
    with pytest.raises(OrlError, match="there is no folder"):
        open_images([file], root=tmp_path / "nowhere")


def test_coco_images_that_cannot_be_used(tmp_path):
    outside = save(tmp_path / "outside.png")
    names = ["../outside.png", str(outside), "sub/../../outside.png", "gone.png", "a.png", "x/../b.png", "\ud800.png"]
    images = [{"id": i, "file_name": name} for i, name in enumerate([*names, "a.png"])]
    images.append({"id": 5, "file_name": "c.png"})
    annotations = [{"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 9, 9]} for i in range(10)]
    found = open_images([write_coco(tmp_path / "set", images=images, annotations=annotations)])
    assert found.table[["image_id", "file_name"]].values.tolist() == [[4, "a.png"], [5, "b.png"]]
    leaves = "leaves its folder: the annotation file names a path outside"
    assert found.skipped.values.tolist() == [
        ["../outside.png", leaves],
        [str(outside), leaves],
        ["sub/../../outside.png", leaves],
        ["gone.png", "no such file"],
        ["?.png", "file name is not valid Unicode"],
        ["a.png", "listed twice: already image id 4"],
        ["c.png", "listed twice: image id 5 is already b.png"],
    ]
    assert found.objects["image_id"].tolist() == [4, 5]  # of images that are not there, no objects


BOX = {"image_id": 3, "category_id": 1}


@pytest.mark.parametrize(
    ("annotation", "expected"),  # of a 64 x 48 image
    [
        ({"bbox": [10, 10, 20, 10]}, [10, 10, 20, 10]),
        ({"bbox": [-5, -5, 20, 10]}, [0, 0, 15, 5]),
        ({"bbox": [50, 40, 100, 100]}, [50, 40, 14, 8]),
        ({"bbox": [64, 0, 10, 10]}, None),  # begins where the image ends
        ({"bbox": [10, 10, 0, 10]}, None),
        ({"bbox": [30, 10, -20, 10]}, None),
        ({"bbox": [float("nan"), 10, 5, 5]}, None),
        ({"bbox": [10, 10, float("nan"), 5]}, None),
        ({"bbox": [10, 10, float("inf"), 5]}, [10, 10, 54, 5]),
        ({"bbox": [1, 2, 3]}, None),
        ({"bbox": "1234"}, [1, 2, 3, 4]),
        ({"bbox": None}, None),
        ({}, None),
        ({"bbox": [10, 10, 20, 10], "iscrowd": 1}, None),
        ({"bbox": [10, 10, 20, 10], "image_id": 999}, None),
        ({"bbox": [10, 10, 20, 10], "image_id": [3]}, None),
        ({"bbox": [10, 10, 20, 10], "category_id": {}}, None),
    ],
)
def test_coco_boxes(tmp_path, annotation, expected):
    # Further ones on another image, because a file of which most cannot be used is an error.
    others = [{"id": number, "image_id": 20, "category_id": 1, "bbox": [0, 0, 9, 9]} for number in (2, 3)]
    images = open_images([write_coco(tmp_path, annotations=[BOX | {"id": 1} | annotation, "no annotation", *others])])
    found = images.objects[images.objects["image_id"] == 3]
    assert found[["x", "y", "w", "h"]].values.tolist() == ([expected] if expected else [])


def test_the_file_knows_its_size_better_than_the_json(tmp_path):
    images = [{"id": i, "file_name": name, "width": 640, "height": 480} for i, name in enumerate(["a.png", "b.png"])]
    annotations = [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [32, 0, 320, 480]}]
    found = open_images([write_coco(tmp_path, images=images, annotations=annotations)])
    assert found.table["width"].tolist() == [64, 64]
    assert found.objects[["x", "y", "w", "h"]].values.tolist() == [[32, 0, 32, 48]]


@pytest.mark.parametrize("ids", [[1, 1], [1, None], ["a", "b"], [1, 2**70]])
def test_object_ids_that_are_no_ids_are_replaced(tmp_path, ids):
    annotations = [BOX | {"id": number, "bbox": [0, 0, 9, 9]} for number in ids]
    assert open_images([write_coco(tmp_path, annotations=annotations)]).objects["object_id"].tolist() == [0, 1]


def test_unknown_category(tmp_path):
    annotations = [{"id": 1, "image_id": 3, "category_id": 77, "bbox": [0, 0, 9, 9]}]
    assert open_images([write_coco(tmp_path, annotations=annotations)]).objects["category"].tolist() == ["category 77"]


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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no JSON, or ends too early"),
        (b'{"images": [{"id": 1, "file_name": "a.p', "is no JSON, or ends too early"),
        (b"\xff\xfe\x00", "is no JSON, or ends too early"),
        (b"[" * 100_000, "is no JSON, or ends too early"),
        (b"[1, 2]", "is no COCO file"),
        (b'{"bbox": [[1, 2, 3, 4]]}', "is no COCO file"),
        # the authors' neighbor files have `images`, but as a table
        (b'{"images": {"file_name": [], "id": []}}', "is no COCO file"),
        (b'{"images": [1]}', r"images\[0\] lacks"),
        (b'{"images": [{"id": 1}]}', r"images\[0\] lacks"),
        (b'{"images": [{"id": "one", "file_name": "a.png"}]}', "whole number"),
        (b'{"images": [{"id": true, "file_name": "a.png"}]}', "whole number"),
        (b'{"images": [{"id": 1e400, "file_name": "a.png"}]}', "whole number"),
        (b'{"images": [{"id": 9223372036854775808, "file_name": "a.png"}]}', "whole number"),
        (b'{"images": [], "annotations": {}, "categories": 5}', "must be lists"),
        (b'{"images": [], "categories": [{"id": 1}]}', "a category lacks"),
        (b'{"images": []}', "no usable image"),
    ],
)
def test_files_that_are_no_coco(tmp_path, content, words):
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(OrlError, match=words) as error:
        open_images([file])
    assert "x.json" in str(error.value)


# ---- lists, and several sources ----------------------------------------------------------------------------------


def test_list_file(tmp_path):
    for name in ("set/b.png", "set/a b.png", "set/sub/c.png", "elsewhere/d.png"):
        save(tmp_path / name)
    far = tmp_path / "elsewhere/d.png"
    file = tmp_path / "set/list.txt"
    lines = ["# my pictures", "", f"  {tmp_path}/set/sub/c.png", "a b.png\r", f"{far}", "./b.png", "b.png", "gone.png"]
    file.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    images = open_images([file])
    assert images.table["file_name"].tolist() == ["sub/c.png", "a b.png", str(far), "b.png"]
    assert images.skipped.values.tolist() == [["b.png", "listed twice"], ["gone.png", "no such file"]]
    assert images.roots == (tmp_path / "set",)
    assert images.path(2) == far
    assert images.load(2).size == (64, 48)
    # the same ids as those of the folder
    of_folder = open_images([tmp_path / "set"]).table.set_index("file_name")["image_id"]
    assert images.table["image_id"][0] == of_folder["sub/c.png"]


@given(st.lists(st.integers(-(2**62), 2**62), unique=True, max_size=20), st.data())
def test_rows_of_image_ids(ids, data):
    table = pd.DataFrame({"image_id": np.array(ids, np.int64)})
    images = ImageSet(table, pd.DataFrame(), pd.DataFrame(), ())
    wanted = data.draw(st.lists(st.sampled_from(ids))) if ids else []
    assert images.rows_of(wanted).tolist() == [ids.index(image_id) for image_id in wanted]
    other = data.draw(st.integers(-(2**62), 2**62).filter(lambda number: number not in ids))
    for asked in (10**30, 2**63, 1.5, "7"):
        with pytest.raises(OrlError, match=f"there is no image {asked}$"):
            images.rows_of(asked)
    for asked in (other, [*wanted, other]):
        with pytest.raises(OrlError, match=f"there is no image {other}$"):
            images.rows_of(asked)


def test_list_file_with_root(tmp_path):
    good_pair(tmp_path / "set")
    file = tmp_path / "list.txt"
    file.write_text("good2.jpg\ngood1.png\n")
    images = open_images([file], root=tmp_path / "set")
    assert images.table["file_name"].tolist() == ["good2.jpg", "good1.png"]
    assert images.roots == (tmp_path / "set",)


def test_coco_plus_is_two_files(tmp_path):
    for name, ids in (("train2017", [2, 1]), ("unlabeled2017", [9, 4])):
        images = [{"id": i, "file_name": f"{letter}.png"} for i, letter in zip(ids, "ab", strict=True)]
        annotations = [{"id": 1, "image_id": ids[0], "category_id": 1, "bbox": [0, 0, 9, 9]}]
        write_coco(tmp_path / name, images=images, annotations=annotations if name == "train2017" else [])
    both = open_images([tmp_path / name / "annotations.json" for name in ("train2017", "unlabeled2017")])
    assert both.table["image_id"].tolist() == [2, 1, 9, 4]
    assert both.table["source"].tolist() == [0, 0, 1, 1]
    assert both.table["file_name"].tolist() == ["a.png", "b.png", "a.png", "b.png"]
    assert both.roots == (tmp_path / "train2017", tmp_path / "unlabeled2017")
    assert both.path(3) == tmp_path / "unlabeled2017/b.png"
    assert both.objects["image_id"].tolist() == [2]


def test_a_folder_beside_a_coco_json(tmp_path):
    good_pair(tmp_path / "folder")
    images = open_images([write_coco(tmp_path / "coco"), tmp_path / "folder"])
    assert images.table["source"].tolist() == [0, 0, 0, 1, 1]
    assert pd.isna(images.table["context"][4])


def test_the_same_image_from_two_sources(tmp_path):
    good_pair(tmp_path / "all/one")
    good_pair(tmp_path / "all/two")
    one, two = tmp_path / "all/one", tmp_path / "all/two"
    with pytest.raises(OrlError, match=rf"good1\.png is in both .*pass their common parent, {tmp_path}/all, instead"):
        open_images([one, two])
    for sources in ([one, one], [one, tmp_path / "all"], [tmp_path / "all", one]):
        with pytest.raises(OrlError, match=r"good1\.png is in both .*: pass only one of them"):
            open_images(sources)


def test_sources_that_are_none(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x80")
    for sources, words in [
        ([], "no images given"),
        ([tmp_path / "nowhere"], r"there is no .*nowhere"),
        ([tmp_path / "a.csv"], "neither a folder"),
        ([tmp_path / "binary.txt"], "cannot be read as a list"),
    ]:
        with pytest.raises(OrlError, match=words):
            open_images(sources)
