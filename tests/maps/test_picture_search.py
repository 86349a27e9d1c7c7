"""Search with a picture from outside: as stage 2 would see it, whole or a box of it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from orl_explore.embedding import embed_box, embed_picture
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.maps.picture_search import inside, read_picture, searcher
from orl_explore.runs.run import Run


def test_a_picture_of_the_run_finds_itself(runs):
    run = Run(runs / "one")
    images = run.images()
    picture = read_picture(images.path(5).read_bytes())
    assert picture.size == (80, 80)
    found = searcher(run).images(picture)
    assert found["neighbor_id"].iloc[0] == images.table["image_id"].iloc[5]
    assert found["similarity"].iloc[0] == pytest.approx(1, abs=1e-4)
    assert len(found) == 3  # the run's K


def test_a_box_finds_the_region_that_it_is(runs):
    run = Run(runs / "one")
    region = run.read("regions").iloc[7]
    picture = run.images().load(int(run.images().rows_of(int(region["image_id"]))))
    found = searcher(run).regions(picture, region[["x", "y", "w", "h"]].tolist(), count=4)
    assert found["region_id"].iloc[0] == 7
    assert found["similarity"].iloc[0] == pytest.approx(1, abs=1e-3)  # stored as float16
    assert len(found) == 4
    assert len(searcher(run).regions(picture, count=10**6)) == len(run.read("regions"))  # without a box: all of it


def test_it_is_embedded_as_stage_2_does(finished):
    encoder = Encoder.load(finished.encoder_file("stage1"))
    vector = embed_picture(encoder, finished.images().load(2), size=32)
    assert vector == pytest.approx(finished.read_array("image_embeddings")[2], abs=1e-5)
    row = finished.read("regions", image_id=int(finished.images().table["image_id"].iloc[2])).iloc[0]
    box = tuple(int(row[name]) for name in ("x", "y", "w", "h"))
    vector = embed_box(encoder, finished.images().load(2), box, size=32)
    assert vector == pytest.approx(finished.read_array("region_embeddings")[row["region_id"]].astype(float), abs=1e-3)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty file"), (b"<html>", "not an image"), (b"\x89PNG\r\n", "damaged"), (b"x" * (21 << 20), "20 MB")],
)  # fmt: skip
def test_what_is_no_picture(data, message):
    with pytest.raises(OrlError, match=message):
        read_picture(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_whatever_image_sets_read(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, kind)
    assert read_picture(buffer.getvalue()).size == (40, 30)


def test_another_encoder_is_refused(runs):
    run = Run(runs / "one")
    run.note("stage2", inputs={"encoder": "0" * 32})
    with pytest.raises(OrlError, match="another encoder"):
        searcher(run)
    run.clear("stage1")
    with pytest.raises(OrlError, match="no encoder to look with: stage 1 is not begun: `orl stage1"):
        searcher(run)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 40, 30), (0, 0, 40, 30)),
        ((-5, -5, 10, 10), (0, 0, 5, 5)),
        ((38, 28, 100, 100), (38, 28, 2, 2)),
        ((99, 99, 1, 1), (39, 29, 1, 1)),
        ((3.6, 2.4, 0, 0), (4, 2, 1, 1)),
    ],
)
def test_a_box_is_on_the_picture(box, expected):
    assert inside(np.array(box), Image.new("RGB", (40, 30))) == expected
