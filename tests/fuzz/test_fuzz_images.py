"""COCO jsons, lists and picture files of any kind: every image and annotation is used, or counted with a reason."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from fuzzing import (
    JUNK,
    NUMBERS,
    TEXTS,
    assert_all_counted,
    assert_short,
    contents,
    damaged,
    fuzz,
    mostly,
    objects,
    type_in,
)
from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images

pytestmark = pytest.mark.slow

NAMES = ["a.png", "b.png", "Sub/c.PNG", "ä.png", "d e.png"]
SPELLINGS = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(["A.PNG", "sub/c.png", "Sub\\c.PNG", "a\u0308.png", "d%20e.png", "./a.png", "/x/y/b.png", "c.PNG"]),
    st.sampled_from(["file:///a.png", " a.png ", "a", "../a.png", "", ".", "/", "a.png/", "\ud800.png", "Sub"]),
    TEXTS,
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(folder / name)
    return folder


IDS = mostly(st.one_of(st.integers(1, 5), st.sampled_from(["1", "2", 3.0, "img_1", True, 2**60])))
BOXES = mostly(st.lists(mostly(st.floats(-10, 60), st.one_of(NUMBERS, TEXTS)), min_size=4, max_size=4))
POLYGONS = st.lists(st.lists(st.floats(-5, 60), min_size=4, max_size=10), max_size=2)
RLES = st.fixed_dictionaries(
    {"size": st.just([40, 50]), "counts": st.one_of(st.text(max_size=8), st.lists(st.integers(-5, 2100), max_size=6))}
)
COCO = mostly(
    objects(
        images=mostly(
            st.lists(
                mostly(
                    objects(
                        id=IDS,
                        file_name=mostly(SPELLINGS),
                        width=mostly(st.sampled_from([50, 40, "50", 50.0])),
                        height=mostly(st.just(40)),
                    )
                ),
                max_size=6,
            )
        ),
        annotations=mostly(
            st.lists(
                mostly(
                    objects(
                        id=mostly(st.integers(0, 9)),
                        image_id=IDS,
                        category_id=mostly(st.integers(1, 3)),
                        bbox=BOXES,
                        iscrowd=mostly(st.sampled_from([0, 1, "0", False, 1.0])),
                        segmentation=mostly(st.one_of(st.just([]), POLYGONS, RLES)),
                    )
                ),
                max_size=8,
            )
        ),
        categories=mostly(st.lists(mostly(objects(id=mostly(st.integers(1, 3)), name=mostly(TEXTS))), max_size=4)),
    )
)


def test_coco_jsons(pictures, tmp_path):
    before = contents(pictures)

    def check(content: object) -> None:
        path = tmp_path / "a.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        try:
            images = open_images([path], root=pictures)
        except OrlError as error:
            assert_short(error)
        else:
            assert_all_counted(images, len(content["images"]))
            assert images.findings.given == len(content.get("annotations") or [])
        type_in("verify", path, "--root", pictures)
        assert contents(pictures) == before
        assert [one.name for one in tmp_path.iterdir()] == ["a.json"]

    fuzz(COCO, check, examples=60)


def test_lists(pictures, tmp_path):
    before = contents(pictures)
    lines = st.lists(
        st.one_of(SPELLINGS, st.text(max_size=10), st.sampled_from(["# x", "a.png 3", "b.png,cat", "\ufeffa.png"])),
        max_size=8,
    )

    def check(drawn: tuple[list[str], str, bytes]) -> None:
        names, end, more = drawn
        text = end.join(names).encode("utf-8", "surrogatepass") + more
        path = tmp_path / "a.txt"
        path.write_bytes(text)
        try:
            images = open_images([path], root=pictures)
        except OrlError:
            pass
        else:
            listed = [line.strip() for line in text.decode("utf-8-sig").splitlines()]
            assert_all_counted(images, len([line for line in listed if line and not line.startswith("#")]))
        type_in("verify", path, "--root", pictures)
        assert contents(pictures) == before

    fuzz(
        st.tuples(lines, st.sampled_from(["\n", "\r\n", "\r", "\n\n"]), mostly(st.just(b""), st.binary(max_size=4))),
        check,
        examples=60,
    )


def sound_files() -> list[bytes]:
    """Pictures of many kinds, small, so that most bytes mean something."""
    rng = np.random.default_rng(1)
    rgb = Image.fromarray(rng.integers(0, 255, (36, 40, 3), np.uint8))
    kinds = {
        "JPEG": ({"quality": 50}, {"progressive": True}, {"exif": _turned()}),
        "PNG": ({}, {"compress_level": 0}),
        "GIF": ({"save_all": True, "append_images": [rgb.transpose(Image.Transpose.ROTATE_180)]},),
        "BMP": ({},),
        "WEBP": ({}, {"lossless": True}),
        "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "jpeg"}),
        "PPM": ({},),
        "AVIF": ({},),
        "MPO": ({"save_all": True, "append_images": [rgb]},),
    }
    files = []
    for kind, several in kinds.items():
        for options in several:
            out = io.BytesIO()
            rgb.save(out, kind, **options)
            files.append(out.getvalue())
    for mode in ("L", "P", "LA", "RGBA", "CMYK", "1", "I;16", "F"):
        out = io.BytesIO()
        picture = (
            Image.fromarray(rng.integers(0, 4000, (36, 40)).astype(np.uint16)) if mode == "I;16" else rgb.convert(mode)
        )
        picture.save(out, "PNG" if mode in ("L", "P", "LA", "RGBA", "1", "I;16") else "TIFF")
        files.append(out.getvalue())
    try:
        import pillow_heif
    except ImportError:
        return files
    out = io.BytesIO()
    pillow_heif.from_pillow(rgb).save(out)
    return [*files, out.getvalue()]


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


def test_picture_files(pictures, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((pictures / name).read_bytes())

    def check(drawn: tuple[list[bytes], str]) -> None:
        files, suffix = drawn
        for number, data in enumerate(files):
            (tmp_path / f"x{number}{suffix}").write_bytes(data)
        before = contents(tmp_path)
        images = open_images([tmp_path])
        assert_all_counted(images, 2 + len(files))
        assert set(images.table["file_name"]) >= {"a.png", "b.png"}
        for row in range(len(images)):
            assert np.asarray(images.load(row)).shape == images.load_pixels(row).shape
        type_in("verify", "--all", tmp_path)
        assert contents(tmp_path) == before
        for path in tmp_path.glob("x*"):
            path.unlink()

    files = st.lists(damaged(sound_files()), min_size=1, max_size=3)
    fuzz(st.tuples(files, st.sampled_from([".png", ".jpg", ".tif", ".heic", ".WEBP"])), check, examples=60)


def test_jsons_that_are_anything(pictures, tmp_path):
    """Not even COCO: whatever JSON, or half of one."""

    def check(drawn: tuple[object, int]) -> None:
        content, cut = drawn
        text = json.dumps(content).encode()
        (tmp_path / "a.json").write_bytes(text[: len(text) - cut] if cut else text)
        type_in("verify", tmp_path / "a.json", "--root", pictures)
        type_in("verify", pictures, tmp_path / "a.json")

    fuzz(st.tuples(st.one_of(JUNK, COCO), mostly(st.just(0), st.integers(1, 20))), check, examples=40)
