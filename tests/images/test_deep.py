"""Pictures of more than 8 bits: ranges as the files say, or measured over the set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from deep_files import png16, ramp, tiff
from orl_explore.images.decoding import decode, decode_pixels, examine, load_rgb
from orl_explore.images.deep import MOST, RangeMeter, measured_range
from orl_explore.images.kinds import Unusable
from orl_explore.images.opening import open_images, report
from orl_explore.runs.run import Run


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


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("form", ["f4", "u2"])
def test_zstandard_is_read(form, planes):
    """As GDAL writes it, and neither OpenCV nor, at 16 bits, Pillow reads it."""
    stored, kind = ramp(4095, form, 3), 3 if form == "f4" else 1
    plain, packed = (tiff(stored, form=kind, planes=planes, zstd=zstd) for zstd in (False, True))
    assert len(packed) < len(plain)
    assert np.array_equal(np.asarray(decode(plain)), np.asarray(decode(packed)))
    with pytest.raises(Unusable, match=r"truncated|unsupported"):
        decode(packed[:-40])


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
