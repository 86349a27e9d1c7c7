"""Selective search: the same boxes whatever ran before, in whatever process; and what becomes of them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from orl_explore import proposals as proposals_module
from orl_explore.boxes import filter_boxes
from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images
from orl_explore.proposals import Proposer, propose, regions_from, selective_search

SETTINGS = {"min_side": 16, "max_aspect": 3.0, "max_iou": 0.5, "max_boxes": 20}


def scene(seed: int, side: int = 96) -> np.ndarray:
    """Colored rectangles on a smooth background, (side, side, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    image = np.linspace(40, 120, side)[:, None, None] * np.ones((1, side, 3))
    for _ in range(6):
        x, y = rng.integers(0, side - 20, 2)
        w, h = rng.integers(16, 40, 2)
        image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return image.astype(np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for index in range(7):
        Image.fromarray(scene(index)).save(folder / f"{index}.png")
    Image.new("RGB", (64, 48), (90, 90, 90)).save(folder / "flat.png")
    return open_images([folder])


@pytest.fixture(scope="module")
def proposals(images):
    return propose(images, range(len(images)), **SETTINGS, seed=3)


def as_bytes(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


both = pytest.mark.parametrize("method", ["fast", "opencv"])


@both
def test_boxes_lie_inside_the_image(method):
    boxes = selective_search(scene(0), seed=0, method=method)
    assert boxes.dtype == np.int32
    assert len(boxes) > 20
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert boxes[:, :2].min() >= 0
    assert boxes[:, 2:].min() >= 1
    assert (boxes[:, :2] + boxes[:, 2:]).max() == 96  # half-open: the last column is inside


@both
def test_a_rectangle_is_found_where_it_is(method):
    image = np.full((120, 160, 3), (200, 200, 190), np.uint8)
    image[30:80, 40:110] = (20, 90, 160)
    boxes = selective_search(image, seed=0, method=method)
    assert [40, 30, 70, 50] in boxes.tolist()


def test_opencv_gets_its_channels_in_its_order():
    import cv2

    def raw(image):
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(image))
        search.switchToSelectiveSearchFast()
        return sorted(search.process().tolist())

    image = scene(0)
    assert raw(image) != raw(image[..., ::-1])  # reds are not blues to HSV and Lab
    assert sorted(selective_search(image, seed=0, method="opencv").tolist()) == raw(image[..., ::-1])
    fast = set(map(tuple, selective_search(image, seed=0).tolist()))
    right, wrong = (set(map(tuple, raw(picture))) for picture in (image[..., ::-1], image))
    assert len(fast & right) > len(fast & wrong)


@both
def test_the_seed_decides_the_order_and_nothing_else_does(method):
    image = scene(1)
    first = selective_search(image, seed=5, method=method)
    other = selective_search(image, seed=6, method=method)
    assert sorted(first.tolist()) == sorted(other.tolist())
    assert first.tolist() != other.tolist()
    ctypes.CDLL(None).rand()  # the state that OpenCV draws from, moved on
    np.random.seed(0)
    np.testing.assert_array_equal(selective_search(image, seed=5, method=method), first)
    view = image[:, ::-1].copy()[:, ::-1]
    np.testing.assert_array_equal(selective_search(view, seed=5, method=method), first)
    np.testing.assert_array_equal(selective_search(image, seed=5 + 2**32, method=method), first)


@both
def test_threads_of_opencv_do_not_matter(method):
    import cv2

    before = cv2.getNumThreads()
    try:
        found = []
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            found.append(selective_search(scene(2), seed=1, method=method).tolist())
    finally:
        cv2.setNumThreads(before)
    assert found[0] == found[1] == found[2]


@both
def test_searches_in_several_threads_do_not_disturb_each_other(method):
    def search(seed):
        return selective_search(scene(seed), seed=seed, method=method).tolist()

    alone = [search(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        together = pool.map(search, range(6))
        assert list(together) == alone


def test_the_table(images, proposals):
    assert {name: str(dtype) for name, dtype in proposals.dtypes.items()} == {
        "image_id": "int64",
        "rank": "int32",
        **dict.fromkeys("xywh", "int32"),
        "reason": "category",
    }
    assert proposals.image_id.unique().tolist() == images.table.image_id.tolist()
    for row, (_, table) in enumerate(proposals.groupby("image_id", sort=False)):
        boxes = table[list("xywh")].to_numpy()
        assert table["rank"].tolist() == list(range(len(table)))
        assert table.reason.tolist() == filter_boxes(boxes, **SETTINGS).tolist()
        assert sorted(boxes.tolist()) == sorted(selective_search(np.asarray(images.load(row)), seed=0).tolist())
    assert {"kept", "side", "iou"} <= set(proposals.reason)  # the scenes put the filter to work


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_change_a_byte(images, proposals, workers):
    calls = []
    table = propose(
        images,
        range(len(images)),
        **SETTINGS,
        seed=3,
        workers=workers,
        progress=lambda *call: calls.append(call),
    )
    pd.testing.assert_frame_equal(table, proposals)
    assert as_bytes(table) == as_bytes(proposals)
    assert calls == [(done, len(images)) for done in range(1, len(images) + 1)]


def test_an_image_gets_the_same_boxes_in_any_company(images, proposals):
    rows = [5, 2]
    table = propose(images, rows, **SETTINGS, seed=3)
    ids = images.table.image_id.iloc[rows].tolist()
    expected = pd.concat([proposals[proposals.image_id == image_id] for image_id in ids], ignore_index=True)
    pd.testing.assert_frame_equal(table, expected)


@pytest.mark.slow
def test_workers_are_started_once(images, proposals):
    with Proposer(images, **SETTINGS, seed=3, workers=2) as proposer:
        first = proposer.propose([0, 1])
        processes = list(proposer._pool._processes)
        rest = proposer.propose(range(2, len(images)))
        assert set(processes) <= set(proposer._pool._processes)  # those that were idle do the rest
    pd.testing.assert_frame_equal(pd.concat([first, rest], ignore_index=True).astype(proposals.dtypes), proposals)


def test_method_and_max_side_reach_the_search(images, proposals):
    settings = {**SETTINGS, "seed": 3}
    opencv = propose(images, range(len(images)), method="opencv", **settings)
    assert as_bytes(opencv) != as_bytes(proposals)  # other random numbers
    assert set(opencv.image_id) == set(proposals.image_id)
    small = propose(images, range(len(images)), max_side=48, **settings)
    assert 0 < len(small) < len(proposals)


def test_the_seed_matters(images, proposals):
    other = propose(images, range(len(images)), **SETTINGS, seed=4)
    assert as_bytes(other) != as_bytes(proposals)
    columns = ["image_id", "x", "y", "w", "h"]
    assert sorted(other[columns].values.tolist()) == sorted(proposals[columns].values.tolist())


def test_two_images_with_the_same_pixels_draw_their_own_numbers(tmp_path):
    for name in "ab":
        Image.fromarray(scene(0)).save(tmp_path / f"{name}.png")
    table = propose(open_images([tmp_path]), [0, 1], seed=0)
    first, second = (rows[list("xywh")].values.tolist() for _, rows in table.groupby("image_id", sort=False))
    assert sorted(first) == sorted(second)
    assert first != second


def test_every_image_keeps_a_box(images):
    table = propose(images, range(len(images)), min_side=1000, seed=3)
    assert (table[table.reason == "fallback"]["rank"] == 0).all()
    assert table[table.reason == "fallback"].image_id.tolist() == images.table.image_id.tolist()
    assert len(regions_from(table)) == len(images)


def test_no_box_at_all_means_the_whole_image(images, monkeypatch):
    monkeypatch.setattr("orl_explore.proposals.selective_search", lambda *_, **__: np.empty((0, 4), np.int32))
    flat = images.table.file_name.tolist().index("flat.png")
    table = propose(images, [flat])
    assert table.drop(columns="image_id").values.tolist() == [[0, 0, 0, 64, 48, "fallback"]]
    assert len(propose(images, [])) == 0


def test_a_search_that_fails_names_the_picture(images, monkeypatch):
    def out_of_memory(*_, **__):
        raise MemoryError

    monkeypatch.setattr("orl_explore.proposals.selective_search", out_of_memory)
    with pytest.raises(OrlError, match=r"0\.png \(96 x 96 px\)"):
        propose(images, [images.table.file_name.tolist().index("0.png")])


def test_regions_are_the_kept_boxes_in_order(proposals):
    regions = regions_from(proposals)
    assert {name: str(dtype) for name, dtype in regions.dtypes.items()} == {
        "region_id": "int64",
        "image_id": "int64",
        **dict.fromkeys("xywh", "int32"),
    }
    assert regions.region_id.tolist() == list(range(len(regions)))
    kept = proposals[proposals.reason.isin(["kept", "fallback"])]
    columns = ["image_id", "x", "y", "w", "h"]
    assert regions[columns].values.tolist() == kept[columns].values.tolist()
    half = len(proposals) // 2
    first = regions_from(proposals[:half])
    parts = [first, regions_from(proposals[half:], first=len(first))]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), regions)


class Fatal:
    """Stands in for an ImageSet whose picture costs the worker its life, as an out-of-memory kill does."""

    table = pd.DataFrame({"image_id": range(8)})

    def __init__(self, folder: Path, deaths: int):
        self.folder, self.deaths = folder, deaths

    def __len__(self):
        return len(self.table)

    def path(self, row):
        return Path(f"{row}.png")

    def load(self, row):
        if row == 5 and len(list(self.folder.iterdir())) < self.deaths:
            (self.folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Image.fromarray(np.random.default_rng(row).integers(0, 255, (40, 40, 3), np.uint8))


class Unreadable(Fatal):
    def load(self, row):
        raise OrlError(f"cannot read {row}.png: run orl verify")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_worker_that_dies_changes_nothing(tmp_path, caplog):
    (tmp_path / "deaths").mkdir()
    found = propose(Fatal(tmp_path / "deaths", 1), range(8), workers=2, min_side=4)
    pd.testing.assert_frame_equal(found, propose(Fatal(tmp_path / "deaths", 0), range(8), workers=1, min_side=4))
    assert "this goes on with one of them (setting workers)" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message"),
    [(Fatal, r"while it searched 5.png: search smaller pictures with --stage2.max_side"), (Unreadable, "run orl")],
)
def test_trouble_in_a_worker_is_a_clear_error(kind, message, tmp_path):
    with pytest.raises(OrlError, match=message):
        propose(kind(tmp_path, 99), range(8), workers=2)
    for child in multiprocessing.active_children():
        if "Spawn" in child.name:
            child.join()  # it was told to end, which takes a busy machine its time


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_search_that_does_not_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(proposals_module, "PATIENCE", 0.01)
    with pytest.raises(OrlError, match="has searched one picture for 0 minutes: search smaller pictures"):
        propose(Fatal(tmp_path, 0), range(8), workers=2)


def test_importing_it_is_cheap():
    code = "import orl_explore.proposals, sys; print({'torch', 'cv2', 'faiss', 'numba'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
