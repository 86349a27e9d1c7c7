"""Every mode, every orientation and every kind of bad file: as RGB, or refused with a reason."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from image_files import GIF, JPEG, PNG, WEBP, encoded, good_pair, noise, save
from orl_explore.errors import OrlError
from orl_explore.images import decoding
from orl_explore.images.decoding import Unusable, decode, decode_pixels, load_rgb
from orl_explore.images.opening import open_images


def huge_png(width: int, height: int) -> bytes:
    """A valid PNG header that promises pixels which never come."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


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


# ---- pixels of JPEG files ----------------------------------------------------------------------------------


@pytest.fixture(params=["simplejpeg", "OpenCV"])
def decoder(request, monkeypatch):
    """Each of the two decoders in turn."""
    if request.param == "OpenCV":
        monkeypatch.setattr(decoding, "jpeg_decoder", lambda: decoding.decode_with_opencv)
    else:
        pytest.importorskip("simplejpeg")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": 0, "quality": 40},
        {"subsampling": 1},
        {"restart_marker_blocks": 3, "comment": b"\xff\xda\xff\xe1"},
        {"icc_profile": b"\xff\xda" * 40_000},  # two segments, full of what elsewhere begins the scan
    ],
)
def test_pixels_are_those_of_the_image(scene, mode, orientation, options, decoder):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    data = jpeg(scene.convert(mode), exif=exif, **options)
    pixels = decode_pixels(data)
    assert (pixels.dtype, pixels.flags.writeable) == (np.uint8, True)
    np.testing.assert_array_equal(pixels, np.array(decode(data)))


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (16, 16), (17, 31), (640, 33)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_pixels_of_odd_sizes(scene, size, subsampling, decoder):
    data = jpeg(scene.resize(size), subsampling=subsampling)
    np.testing.assert_array_equal(decode_pixels(data), np.array(decode(data)))


def test_channels_kept_as_red_green_blue(scene, decoder):
    data = jpeg(scene, keep_rgb=True)
    np.testing.assert_array_equal(decode_pixels(data), np.array(decode(data)))


def test_an_orientation_in_xmp(scene, decoder):
    data = jpeg(scene, xmp=b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>')
    assert decode_pixels(data).shape == (300, 260, 3)  # upright: 260 wide
    np.testing.assert_array_equal(decode_pixels(data), np.array(decode(data)))


def test_only_plain_headers_are_called_plain(scene):
    data = jpeg(scene)
    assert decoding._is_plain_jpeg(data)
    frame = data.index(b"\xff\xc0") + 5  # depth lies before it; then height and width of 2 bytes, and the channels
    huge = data[:frame] + b"\xff\xff\xff\xff" + data[frame + 4 :]
    for other in (b"", b"\xff\xd8", data[:200], huge, jpeg(scene.convert("L")), jpeg(scene.convert("CMYK")), data[2:]):
        assert not decoding._is_plain_jpeg(other)
    with pytest.raises(Unusable, match="absurdly large"):
        decode_pixels(huge)


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_damage_is_noticed_as_ever(scene, keep, decoder):
    data = jpeg(scene, quality=95)
    with pytest.raises(Unusable, match="truncated"):
        decode_pixels(data[: int(len(data) * keep)])


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()
