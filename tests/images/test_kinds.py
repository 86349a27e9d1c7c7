"""Telephones' files, and pictures that cannot be read: called what they are."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deep_files import png16, ramp, tiff
from orl_explore.errors import OrlError
from orl_explore.images.decoding import Unusable, decode, examine, load_rgb
from orl_explore.images.kinds import UNREAD
from orl_explore.images.opening import open_images, report

CASES = Path(__file__).parent / "cases"


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
    for name in ("c.jp2", "d.TGA", "e.dng", "f.cr2", "g.psd", "sub/h.exr", "i.jxl", "j.MOV", "k.zip"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "notes.md").write_text("no picture")
    images = open_images([tmp_path])
    assert len(images) == 2
    assert len(images.skipped) == 9
    assert "      9 unsupported kind" in report(images).splitlines()
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
        found = examine(cut, 1)
        if found.deep:
            found.deep.samples()  # as whoever opens a set does, to measure ranges: NaN has to show before
        picture = found
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
