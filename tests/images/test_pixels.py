"""Pixels as the eye would see them: range, color profile, kind; or a word for what cannot be read."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageCms

from orl_explore.errors import OrlError
from orl_explore.images.decoding import Unusable, decode, decode_pixels, examine, load_rgb
from orl_explore.images.deep import MOST, RangeMeter, measured_range
from orl_explore.images.kinds import UNREAD
from orl_explore.images.opening import open_images, report
from orl_explore.runs.run import Run

CASES = Path(__file__).parent / "cases"


def tiff(pixels, *, photometric=2, extra=(), form=1, orientation=1, bits=None, more=(), planes=False) -> bytes:
    """An uncompressed little-endian TIFF file of any number of bands, (H, W) or (H, W, bands)."""
    height, width = pixels.shape[:2]
    bands = 1 if pixels.ndim == 2 else pixels.shape[2]
    parts = [pixels[..., band].tobytes() for band in range(bands)] if planes else [pixels.tobytes()]
    entries = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits or 8 * pixels.itemsize] * bands),
        259: ("H", [1]),
        262: ("H", [photometric]),
        273: ("I", [0] * len(parts)),
        274: ("H", [orientation]),
        277: ("H", [bands]),
        278: ("I", [height]),
        279: ("I", [len(part) for part in parts]),
        284: ("H", [2 if planes else 1]),
        339: ("H", [form] * bands),
        **({338: ("H", list(extra))} if extra else {}),
        **dict(more),
    }
    codes = {"H": 3, "I": 4, "f": 11, "d": 12}
    after = 8 + 2 + 12 * len(entries) + 4
    long = {tag: struct.calcsize(f"<{len(values)}{form}") for tag, (form, values) in entries.items()}
    start = after + sum(size + size % 2 for size in long.values() if size > 4)
    entries[273] = ("I", [start + sum(len(part) for part in parts[:n]) for n in range(len(parts))])
    table, rest = b"", b""
    for tag, (form_, values) in sorted(entries.items()):
        raw = struct.pack(f"<{len(values)}{form_}", *values)
        if len(raw) > 4:
            place = struct.pack("<I", after + len(rest))
            rest += raw + b"\0" * (len(raw) % 2)
            raw = place
        table += struct.pack("<HHI", tag, codes[form_], len(values)) + raw.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + rest + b"".join(parts)


def ramp(top: float, dtype: str, bands: int = 0) -> np.ndarray:
    """64 x 48 values from 0 to `top`, row by row."""
    gray = np.linspace(0, top, 48 * 64).reshape(48, 64)
    return (np.stack([gray] * bands, -1) if bands else gray).astype(dtype)


def png16(pixels: np.ndarray) -> bytes:
    """A PNG file with 16 bits a sample: gray, gray and alpha, RGB or RGBA."""
    height, width, channels = pixels.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# ---- more than 8 bits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "last"),  # of a ramp that begins with 0: what its largest value is shown as
    [
        (tiff(ramp(4095, "u2"), photometric=1), 255),
        (tiff(ramp(4095, "u2", 3)), 255),
        (tiff(ramp(4095, "u2", 3), planes=True), 255),
        (tiff(ramp(1, "f4", 3), form=3, planes=True), 255),
        (tiff(ramp(10_000, "u2", 4), extra=[0], planes=True), 255),
        (tiff(ramp(10_000, "u2", 4), extra=[0]), 255),  # near infrared is no alpha
        (tiff(ramp(10_000, "u2", 4)), 255),
        (tiff(ramp(65535, "u2", 3)), 255),
        (tiff(ramp(40_000, "u2"), photometric=1), 156),  # it fills the upper half of 16 bits: 40,000 / 257
        (tiff(ramp(1023, "u2"), photometric=1, more=[(281, ("H", [4095]))]), 64),  # the file says 4095
        (tiff(ramp(1023, "u2"), photometric=1, more=[(281, ("H", [65535]))]), 255),  # that says nothing
        (tiff(ramp(1, "f4"), photometric=1, form=3), 255),
        (tiff(ramp(1, "f4", 3), form=3), 255),
        (tiff(ramp(0.75, "f4", 3), form=3), 191),  # 0..1, of which it fills the upper half
        (tiff(ramp(0.3, "f8", 3), form=3), 255),
        (tiff(ramp(200, "f4", 3), form=3), 200),
        (tiff(ramp(1, "f4", 3), form=3, more=[(340, ("f", [0.0] * 3)), (341, ("f", [2.0] * 3))]), 128),
        (tiff(ramp(2000, "i2") - np.int16(1000), photometric=1, form=2), 255),
        (tiff(ramp(1000, "i2", 3), form=2), 255),
        (tiff(ramp(10**6, "u4"), photometric=1), 255),
        (png16(ramp(4095, "u2", 1)), 255),
        (png16(ramp(4095, "u2", 3)), 255),
        (png16(ramp(65535, "u2", 3)), 255),
        (b"P5 64 48 4095\n" + ramp(4095, ">u2").tobytes(), 255),  # Netpbm names its largest value
        (b"P5 64 48 4095\n" + ramp(1000, ">u2").tobytes(), 62),
    ],
)
def test_range(data, last):
    pixels = np.asarray(decode(data))
    assert pixels.shape == (48, 64, 3)
    assert pixels[0, 0].tolist() == [0] * 3
    assert pixels[-1, -1].tolist() == pytest.approx([last] * 3, abs=1)
    np.testing.assert_array_equal(decode_pixels(data), pixels)


def test_zero_means_white_where_the_file_says_so():
    pixels = np.asarray(decode(tiff(ramp(4095, "u2"), photometric=0)))
    assert (pixels[0, 0, 0], pixels[-1, -1, 0]) == (255, 0)


def test_alpha_of_16_bits_lies_over_white():
    rgba = np.concatenate([np.zeros((48, 64, 3)), np.full((48, 64, 1), 32768)], axis=2)
    for data in (png16(rgba), tiff(rgba.astype("u2"), extra=[2])):
        assert np.asarray(decode(data))[0, 0].tolist() == [127] * 3


@pytest.mark.parametrize("form", ["f4", "u2"])
@pytest.mark.parametrize(("bands", "planes"), [(0, False), (3, False), (3, True)])
def test_deep_pictures_are_upright(form, bands, planes):
    stored = ramp(4095, form, bands)
    data = tiff(stored, photometric=2 if bands else 1, form=3 if form == "f4" else 1, orientation=6, planes=planes)
    picture = examine(data)
    assert (picture.size, picture.orientation) == ((48, 64), 6)
    pixels = np.asarray(decode(data))
    assert pixels.shape == (64, 48, 3)
    assert pixels[0, -1, 0] == 0  # the stored top left corner, turned clockwise
    assert pixels[-1, 0, 0] == 255


def test_one_range_for_all_files_of_a_set(tmp_path):
    for name, top in (("dark", 1000), ("bright", 4000)):
        (tmp_path / f"{name}.tif").write_bytes(tiff(ramp(top, "u2", 3)))
    images = open_images([tmp_path])
    assert set(images.ranges) == {"16-bit"}
    brightest = {name: images.load(row).getextrema()[0][1] for row, name in enumerate(images.table["file_name"])}
    assert brightest["bright.tif"] == 255
    assert brightest["dark.tif"] == pytest.approx(64, abs=1)
    for row in range(2):
        np.testing.assert_array_equal(images.load_pixels(row), np.asarray(images.load(row)))
    assert "in 2 pictures with 16-bit samples 0 is black and" in report(images)
    # A run shows them in the same way, also a part of it.
    run = Run(tmp_path / "run")
    run.set_images(images, ["x"])
    assert run.images().ranges == images.ranges
    assert images.subset([0]).ranges == images.ranges
    # Alone, the dark one would be stretched.
    assert load_rgb(tmp_path / "dark.tif").getextrema()[0][1] == 255


def test_runs_from_before_keep_their_range(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.tif").write_bytes(tiff(ramp(4095, "u2"), photometric=1))
    run = Run(tmp_path / "run")
    run.set_images(open_images([tmp_path]), ["x"])
    manifest = run.manifest()
    for key in ("ranges", "annotations", "notes"):
        del manifest["images"][key]
    import json

    (run.path / "run.json").write_text(json.dumps(manifest))
    assert run.images().load(0).getextrema()[0][1] == 16  # 4095 / 257
    assert run.images().findings.lines() == []


def test_plain_pictures_are_named(tmp_path):
    Image.new("RGB", (64, 48), (9, 9, 9)).save(tmp_path / "equal.png")
    dark = np.random.default_rng(0).integers(0, 12, (48, 64, 3), np.uint8)
    Image.fromarray(dark).save(tmp_path / "dark.png")
    Image.fromarray(dark * 20).save(tmp_path / "fine.png")
    half = np.zeros((48, 64, 3), np.uint8)
    half[40:, 50:] = 200
    Image.fromarray(half).save(tmp_path / "corner.png")
    images = open_images([tmp_path])
    assert images.findings.notes == (
        "1 picture is all dark, with nothing above 15 of 255, such as dark.png",
        "1 picture is of one color throughout, such as equal.png",
    )
    assert len(images) == 4


@given(
    arrays.arrays(
        st.sampled_from([np.uint16, np.int32, np.float32]), st.integers(1, 300), elements=st.integers(0, 30_000)
    )
)
def test_a_measured_range_holds_the_values(values):
    low, high = measured_range(values)
    assert low <= high
    inside = ((values >= low) & (values <= high)).mean()
    assert inside >= 0.99
    assert low in (0, values.min()) or inside < 1


def test_the_meter_forgets_evenly():
    meter = RangeMeter()
    for number in range(300):
        meter.add("float", np.full(20_000, number, np.float32))
    assert sum(map(len, meter.kept["float"])) <= MOST
    low, high = meter.ranges()["float"]
    assert (low, high) == (0, 299)


# ---- color ---------------------------------------------------------------------------------------------------------


def profile(red, green, blue, gamma: float = 2.2) -> bytes:
    """A display profile with these primaries, XYZ as they stand in it (adapted to D50)."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values) -> bytes:
        return b"XYZ " + bytes(4) + b"".join(map(number, values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    text = b"text" + bytes(4) + b"none\0\0\0\0"
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67 + 3)
    tags = {
        b"rXYZ": xyz(red),
        b"gXYZ": xyz(green),
        b"bXYZ": xyz(blue),
        b"wtpt": xyz((0.9642, 1, 0.8249)),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
        b"cprt": text,
        b"desc": name,
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    header = (header + bytes(28)).ljust(68, b"\0") + b"".join(map(number, (0.9642, 1, 0.8249)))
    return header.ljust(128, b"\0") + table + body


P3 = profile((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_wide_gamut_becomes_srgb(tmp_path, suffix):
    """Display P3's (200, 100, 100) is about (215, 96, 97) in sRGB: the same red needs more of sRGB's."""
    image = Image.new("RGB", (64, 48), (200, 100, 100))
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    image.save(tmp_path / f"wide.{suffix}", icc_profile=P3, **options)
    image.save(tmp_path / f"plain.{suffix}", icc_profile=SRGB, **options)
    red, green, blue = load_rgb(tmp_path / f"wide.{suffix}").getpixel((5, 5))
    assert red == pytest.approx(215, abs=4)
    assert (green, blue) == (pytest.approx(96, abs=4), pytest.approx(97, abs=4))
    assert load_rgb(tmp_path / f"plain.{suffix}").getpixel((5, 5)) == pytest.approx((200, 100, 100), abs=1)
    data = (tmp_path / f"wide.{suffix}").read_bytes()
    np.testing.assert_array_equal(decode_pixels(data), np.asarray(decode(data)))


def test_alpha_and_gray_with_a_profile(tmp_path):
    Image.new("RGBA", (64, 48), (200, 100, 100, 0)).save(tmp_path / "a.png", icc_profile=P3)
    assert load_rgb(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)
    Image.new("L", (64, 48), 100).save(tmp_path / "gray.png", icc_profile=P3)  # a profile for another kind of color
    assert load_rgb(tmp_path / "gray.png").getpixel((0, 0)) == (100, 100, 100)


def test_damaged_profiles_cost_nothing(tmp_path):
    for number, icc in enumerate((b"", b"x", P3[:200], P3[:100] + bytes(300))):
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (64, 48), (200, 100, 100)).save(file, icc_profile=icc)
        assert load_rgb(file).getpixel((0, 0)) == (200, 100, 100)


def test_lab(tmp_path):
    # L 255 of 255 is white
    Image.new("LAB", (64, 48), (255, 128, 128)).save(tmp_path / "white.tif")
    assert min(load_rgb(tmp_path / "white.tif").getpixel((0, 0))) >= 250


# ---- telephones' files ---------------------------------------------------------------------------------------------


def smooth() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)).resize((96, 64))


@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "a.jpg", "a.avif"])
def test_heic_is_read_whatever_its_suffix_says(tmp_path, name):
    import pillow_heif

    pillow_heif.from_pillow(smooth()).save(str(tmp_path / "b.heic"), quality=95)
    (tmp_path / "b.heic").rename(tmp_path / name)
    smooth().save(tmp_path / "other.png")
    images = open_images([tmp_path])
    assert images.skipped.empty
    row = images.table["file_name"].tolist().index(name)
    difference = np.abs(np.asarray(images.load(row)).astype(int) - np.asarray(smooth()))
    assert difference.mean() < 4
    np.testing.assert_array_equal(images.load_pixels(row), np.asarray(images.load(row)))


def test_avif_is_read_whatever_its_suffix_says(tmp_path):
    smooth().save(tmp_path / "a.avif", quality=95)
    (tmp_path / "a.avif").rename(tmp_path / "a.heic")
    assert np.abs(np.asarray(load_rgb(tmp_path / "a.heic")).astype(int) - np.asarray(smooth())).mean() < 4


def test_heic_is_upright(tmp_path):
    import pillow_heif

    exif = Image.Exif()
    exif[0x0112] = 6
    pillow_heif.from_pillow(smooth()).save(str(tmp_path / "a.heic"), quality=95, exif=exif.tobytes())
    image = load_rgb(tmp_path / "a.heic")
    assert image.size == (64, 96)
    upright = np.asarray(smooth().transpose(Image.Transpose.ROTATE_270))
    assert np.abs(np.asarray(image).astype(int) - upright).mean() < 4
    assert examine((tmp_path / "a.heic").read_bytes()).orientation == 6


@pytest.mark.parametrize("keep", [24, 200, 0.5, 0.95])
def test_a_cut_heic_is_truncated(tmp_path, keep):
    import pillow_heif

    pillow_heif.from_pillow(smooth()).save(str(tmp_path / "a.heic"))
    data = (tmp_path / "a.heic").read_bytes()
    with pytest.raises(Unusable, match=r"^truncated: the (HEIC )?file ends before the picture does"):
        decode(data[: keep if isinstance(keep, int) else int(keep * len(data))])


def test_heic_headers_named_jpg():
    images = open_images([CASES / "heic"])
    assert len(images) == 2
    assert images.skipped["reason"].tolist() == ["truncated: the HEIC file ends before the picture does"] * 2


def test_the_first_picture_of_a_multi_picture_file(tmp_path):
    first, second = smooth(), Image.new("RGB", (96, 64), "red")
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[second], quality=95)
    first.save(tmp_path / "b.jpg", quality=95)
    images = open_images([tmp_path])
    assert images.table["file_name"].tolist() == ["a.mpo", "b.jpg"]
    for row in (0, 1):
        assert np.abs(np.asarray(images.load(row)).astype(int) - np.asarray(first)).mean() < 4
        np.testing.assert_array_equal(images.load_pixels(row), np.asarray(images.load(row)))


# ---- what cannot be read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(ramp(1, "f4", 5), extra=[0, 0], form=3), "unsupported kind: float TIFF with 5 bands"),
        (tiff(ramp(1, "f4", 2), photometric=1, extra=[0], form=3), "unsupported kind: float TIFF with 2 bands"),
        (tiff(ramp(1, "f2", 3), form=3), "unsupported kind: 16-bit float TIFF with 3 bands"),
        (tiff(ramp(4095, "u2", 13), photometric=1, extra=[0] * 12), "unsupported kind: 16-bit TIFF with 13 bands"),
        (tiff(ramp(1, "c8"), photometric=1, form=6), "unsupported kind: complex TIFF with 1 band"),
        (tiff(ramp(1, "f4", 3), form=3)[:20_000], "truncated: the file ends before the picture does"),
        (tiff(ramp(1, "f4", 5), extra=[0, 0], form=3)[:20_000], "truncated: the file ends before the picture does"),
        (tiff(ramp(4095, "u2", 3))[:9000], "truncated: the file ends before the picture does"),
        (tiff(np.full((48, 64, 3), np.nan, "f4"), form=3), "not finite: has NaN or infinite pixels"),
        (tiff(np.zeros((40, 20, 3), "f4"), form=3), "too small: edge of 20 px is below 32"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "unsupported kind: JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "unsupported kind: JPEG XL"),
        (b"\xff\x0a" + bytes(100), "unsupported kind: JPEG XL"),
        (b"8BPS\0\1" + bytes(100), "unsupported kind: Photoshop"),
        (b"\x76\x2f\x31\x01" + bytes(100), "unsupported kind: OpenEXR"),
        (b"\0\0\0\x18ftypcrx " + bytes(100), "unsupported kind: camera raw"),
        (b"\0\0\0\x18ftypisom" + bytes(100), "unsupported kind: video"),
        (b"\0\0\0\x18ftypavif" + bytes(12), "truncated: the AVIF file ends before the picture does"),
        (b"%PDF-1.7" + bytes(100), "unsupported kind: PDF"),
        (b"RIFF\0\0\0\0AVI " + bytes(100), "unsupported kind: RIFF AVI "),
        (b"\xff\xd8\xff\xc1\0\x11\x0c\0\x40\0\x40\3" + bytes(20), "unsupported kind: 12-bit JPEG"),
        (b"\xff\xd8\xff\xf7\0\x11\x08\0\x40\0\x40\3" + bytes(20), "unsupported kind: JPEG-LS"),
        (b"\xff\xd8\xff\xc3\0\x11\x08\0\x40\0\x40\3" + bytes(20), "unsupported kind: lossless JPEG"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "not an image: a pointer of Git LFS, whose file is still to be fetched",
        ),
        (bytes(128) + b"DICM" + bytes(100), "unsupported kind: DICOM"),
    ],
)
def test_a_word_for_what_it_is(data, reason):
    for read in (lambda data: decode(data, 32), lambda data: examine(data, 32).deep.samples()):
        with pytest.raises(Unusable) as error:
            read(data)
        assert str(error.value) == reason


def test_pictures_that_are_not_looked_at_are_counted(tmp_path):
    smooth().save(tmp_path / "a.png")
    smooth().save(tmp_path / "b.png")
    for name in ("c.jp2", "d.TGA", "e.dng", "f.cr2", "g.psd", "sub/h.exr", "i.jxl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "notes.md").write_text("no picture")
    images = open_images([tmp_path])
    assert len(images) == 2
    assert len(images.skipped) == 7
    assert "      7 unsupported kind" in report(images).splitlines()
    assert "  e.dng: unsupported kind: camera raw (.dng)" in report(images).splitlines()


def test_a_folder_of_nothing_else_says_so(tmp_path):
    for suffix in list(UNREAD)[:2]:
        (tmp_path / f"a{suffix}").write_bytes(b"x")
    with pytest.raises(OrlError, match=r"no usable image .* a.*: unsupported kind: JPEG 2000"):
        open_images([tmp_path])


FILES = [tiff(ramp(4095, "u2", 3)), tiff(ramp(1, "f4", 3), form=3), png16(ramp(4095, "u2", 3))]


@given(st.sampled_from(FILES), st.data())
def test_damage_is_a_picture_or_a_reason(data, draw):
    """Bytes flipped, cut or put elsewhere: a picture of its size, or a few words."""
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 8))):
        damaged[draw.draw(st.integers(0, min(len(damaged), 400) - 1))] = draw.draw(st.integers(0, 255))
    cut = bytes(damaged[: draw.draw(st.integers(1, len(damaged)))]) if draw.draw(st.booleans()) else bytes(damaged)
    picture, reason = None, ""
    try:
        picture = examine(cut, 1)
    except Unusable as error:
        reason = str(error)
    if picture is None:
        assert reason.strip()
        assert "\n" not in reason
        return
    shown = decode(cut)
    assert shown.mode == "RGB"
    assert shown.size == picture.size


def test_nothing_is_printed(capfd):
    for data in FILES:
        for end in (100, 300, len(data) // 2):
            with pytest.raises(Unusable):
                decode(data[:end])
    assert capfd.readouterr() == ("", "")


def test_encoded_by_pillow_and_read_as_bytes():
    """What Pillow itself writes with 16 bits is read as before: the whole range, scaled."""
    values = np.array([[0, 257, 32896, 65535]], np.uint16).repeat(48, 0)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    assert np.asarray(decode(buffer.getvalue()))[0, :, 0].tolist() == [0, 1, 128, 255]
