"""An image set after it was opened: loaded, made smaller, stored, asked for ids."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_files import PNG, good_pair, noise, save, write_coco
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images


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


def test_files_that_are_gone_are_counted(tmp_path):
    good_pair(tmp_path)
    images = open_images([tmp_path])
    first, second = (images.path(row) for row in (0, 1))
    moved = "; where the pictures have moved, `orl stage2 RUN --images PATH` takes that"
    for file, without, put_back in (
        (first, f"{first} is gone", "put it back, or begin a new run without it"),
        (second, f"{first} is gone, and 1 more of the 2 files", "put them back"),
    ):
        file.unlink()
        for command, advice in (("", ""), ("orl stage2 RUN --images PATH", moved)):
            with pytest.raises(OrlError) as error:
                dataclasses.replace(images, named_anew=command).check_files()
            assert str(error.value) == f"{without}: {put_back}{advice}"
    with pytest.raises(OrlError, match=r"or begin a new run; where the pictures have moved, `orl x` takes that"):
        dataclasses.replace(images, named_anew="orl x").load(0)


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
