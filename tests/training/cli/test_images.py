"""`orl scenes` and `orl verify`; `orl data` is tested in tests/images/test_downloads.py."""

from __future__ import annotations

import json
import shutil

from orl_explore.images.opening import open_images


def test_verify(orl, tmp_path, images):
    for row in range(3):
        images.load(row).save(tmp_path / f"{row}.png")
    for number in range(22):
        (tmp_path / f"bad{number:02}.jpg").write_bytes(b"")
    code, text, _ = orl("verify", tmp_path)
    assert code == 0
    assert text.startswith("3 usable, 22 skipped\n")
    assert "22 empty file" in text
    assert "bad00.jpg: empty file" in text
    assert "and 2 more" in text
    assert "bad21.jpg: empty file" in orl("verify", tmp_path, "--all")[1]


def test_verify_looks_under_root(orl, annotations, tmp_path):
    moved = shutil.copy(annotations, tmp_path / "elsewhere.json")
    assert orl("verify", moved)[0] == 1
    code, text, _ = orl("verify", moved, "--root", annotations.parent / "images")
    assert (code, text.splitlines()[0]) == (0, "24 usable, 0 skipped")


def test_scenes(orl, tmp_path):
    out = tmp_path / "scenes"
    code, _, err = orl("scenes", out, "--count", 3, "--size", 64, "--seed", 4)
    assert code == 0
    assert f"orl run runs/{out.name} --config demo --images {out}/annotations.json" in " ".join(err.split()).replace(
        "/ ", "/"
    )
    images = open_images([out / "annotations.json"])
    assert len(images) == 3
    assert images.load(0).size == (64, 64)
    assert json.loads((out / "annotations.json").read_text())["categories"]
