"""Pictures in other color spaces become sRGB."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from orl_explore.images.decoding import decode, decode_pixels, load_rgb


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
