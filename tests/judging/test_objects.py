"""Two encoders on the same boxes, by hand and on a tiny run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from orl_explore.judging import objects, results, useless
from orl_explore.judging.diagnostics import UNLABELED
from orl_explore.judging.objects import Boxes
from orl_explore.pairs import pair_regions, pairing
from orl_explore.runs.region_embeddings import MINED, RegionEmbeddings, read_region_embeddings
from orl_explore.settings import Stage2Settings


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def boxes():
    """40 images of 5 boxes: B knows the category of each, A knows nothing but that of mugs."""
    rng = np.random.default_rng(0)
    labels = np.array(["mug", "vase", "lamp", UNLABELED], object)[rng.integers(0, 4, 200)]
    kinds = {name: rng.normal(size=16) for name in ("mug", "vase", "lamp", UNLABELED)}
    b = np.array([kinds[name] for name in labels]) + 0.3 * rng.normal(size=(200, 16))
    a = rng.normal(size=(200, 16)) + np.where((labels == "mug")[:, None], 4 * kinds["mug"], 0)
    ids = np.arange(200) * 3  # a sample of more
    return Boxes(ids, np.repeat(np.arange(40), 5), labels, unit(a), unit(b))


def test_nearest_boxes_are_those_of_other_images(boxes, monkeypatch):
    monkeypatch.setattr(objects, "BLOCK", 37)
    queries = np.array([0, 7, 199])
    rows, cosines = objects.nearest(boxes.b, boxes.image_ids, queries, k=4)
    for query, found, values in zip(queries, rows, cosines, strict=True):
        every = boxes.b @ boxes.b[query]
        every[boxes.image_ids == boxes.image_ids[query]] = -2
        np.testing.assert_array_equal(found, np.argsort(-every)[:4])
        np.testing.assert_allclose(values, np.sort(every)[::-1][:4], atol=1e-6)


def test_fewer_boxes_than_wanted():
    rows, cosines = objects.nearest(np.eye(3), np.array([0, 0, 1]), np.array([0, 2]), k=2)
    assert rows.tolist() == [[2, -1], [0, 1]]
    assert np.isnan(cosines[0, 1])


def test_what_changed(boxes):
    told = []
    near = objects.neighborhoods(boxes, progress=lambda done, total: told.append(done / total))
    assert told[-1] == 1
    assert (boxes.labels[near.queries] != UNLABELED).all()
    alike_a, alike_b = near.alike()
    mugs = boxes.labels[near.queries] == "mug"
    assert alike_b.mean() > 0.9
    assert alike_a[mugs].mean() > 0.9
    assert alike_a[~mugs].mean() < 0.5
    moved = near.moved()
    assert moved["kept"].is_monotonic_increasing
    assert (moved["region_id"] % 3 == 0).all()
    one = moved.iloc[0]
    row = int(np.flatnonzero(boxes.region_ids[near.queries] == one["region_id"])[0])
    assert one["change"] == pytest.approx(alike_b[row] - alike_a[row])
    company = near.company("vase")
    assert company["a"].sum() == pytest.approx(1)
    assert company["b"].sum() == pytest.approx(1)
    assert company["nearest"].iloc[0] == "vase"
    own = objects.by_category(near, None).set_index("category").loc["vase"]
    assert company["error"].iloc[0] == pytest.approx(own["nearest_error"], rel=0.01)


def test_figures_and_categories(boxes):
    near, probed = objects.neighborhoods(boxes), objects.probe(boxes)
    found = objects.figures(near, probed)
    assert list(found) == [objects.NEAREST, objects.KNN, objects.PROBE]
    for figure in found.values():
        assert figure.b > figure.a + 3 * figure.error
        assert figure.b > figure.chance + 3 * figure.error_b
        assert 0 < figure.error < 0.1
    table = objects.by_category(near, probed)
    assert sorted(table["category"]) == ["lamp", "mug", "vase"]
    assert table["boxes"].sum() == len(boxes.on_objects)
    clear = table["nearest_change"].abs() > 2 * table["nearest_error"]
    assert clear.tolist() == [True, True, False]
    mug = table.set_index("category").loc["mug"]
    assert abs(mug["nearest_change"]) < 0.1
    assert table["category"].iloc[-1] == "mug"
    assert table["asked"].tolist() == table["boxes"].tolist()
    held_out = set(boxes.image_ids[probed.rows])
    assert len(held_out) <= 12


def test_a_category_that_is_clear_by_any_figure_comes_before_those_that_are_by_none(boxes):
    near, probed = objects.neighborhoods(boxes), objects.probe(boxes)
    mug = boxes.labels[probed.rows] == "mug"
    linear = np.array([~mug, np.ones(len(mug), bool)])  # half of the images are wrong by A, as far as mugs go
    linear[0, np.flatnonzero(mug)[::3]] = True
    near = dataclasses.replace(near, b=near.a)
    table = objects.by_category(near, dataclasses.replace(probed, knn=linear[[1, 1]], linear=linear))
    assert table["category"].iloc[0] == "mug"


def test_a_figure_is_the_same_wherever_it_is_told(boxes):
    few = Boxes(*(getattr(boxes, name)[:20] for name in ("region_ids", "image_ids", "labels", "a", "b")))
    for near in (objects.neighborhoods(boxes, limit=80), objects.neighborhoods(few, k=17)):  # of 17, two are missing
        for row in objects.by_category(near, None).dropna().itertuples():
            own = near.company(row.category).set_index("nearest").loc[row.category]
            assert (own["a"], own["b"]) == pytest.approx((row.nearest_a, row.nearest_b), abs=1e-6)
            moved = near.moved().query("category == @row.category")
            assert (len(moved), moved["alike_a"].mean()) == (row.asked, pytest.approx(row.nearest_a, abs=1e-6))


def test_figures_on_boxes_and_on_objects_have_names_that_say_so():
    here, there = {objects.KNN, objects.PROBE}, {results.ENCODER_ROWS[key] for key in ("object_knn", "object_probe")}
    assert all("on proposal boxes" in name for name in here)
    assert all("on annotated objects" in name for name in [*there, *useless.SCORES.values()])


def test_samples_are_the_same_every_time(boxes):
    first, again = (objects.neighborhoods(boxes, limit=30, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.queries, again.queries)
    assert len(first.queries) == 30
    assert len(objects.probe(boxes, limit=20).rows) <= 20


def test_no_labels(boxes):
    bare = Boxes(boxes.region_ids, boxes.image_ids, None, boxes.a, boxes.b)
    near = objects.neighborhoods(bare, limit=50)
    assert len(near.queries) == 50
    assert list(near.moved().columns) == ["region_id", "image_id", "kept"]
    assert objects.figures(near, objects.probe(bare)) == {}
    assert objects.purity_items(bare, pd.DataFrame()) is None
    for ask in (near.alike, lambda: near.company("mug"), lambda: objects.by_category(near, None)):
        with pytest.raises(ValueError, match="without labels"):
            ask()


def test_one_category_alone_has_no_probe(boxes):
    same = Boxes(boxes.region_ids, boxes.image_ids, np.full(200, "mug", object), boxes.a, boxes.b)
    assert objects.probe(same) is None
    near = objects.neighborhoods(same, limit=20)
    assert list(objects.figures(near, None)) == ["nearest boxes of the same category"]
    assert "knn_a" not in objects.by_category(near, None)


def test_pairs_of_all_boxes_are_those_of_stage_2(finished):
    mined = read_region_embeddings(finished, MINED)
    boxes = objects.shared_boxes(finished, mined, mined)
    stage = Stage2Settings()
    neighbors = finished.read("neighbors")
    found = objects.mined_pairs(boxes, boxes.a, neighbors, pairing(stage))
    ids = finished.images().table["image_id"].to_numpy()
    expected = pair_regions(np.sort(ids), neighbors, finished.read("regions"), mined.vectors, stage)
    pd.testing.assert_frame_equal(found, expected)
    items = objects.purity_items(boxes, found)
    assert items is None or 0 <= items.value() <= 1


def test_pairs_of_a_sample(finished):
    mined = read_region_embeddings(finished, MINED)
    ids = np.arange(0, len(mined.region_ids), 3)
    some = RegionEmbeddings("stage1", ids, np.array(mined.vectors[ids]), {})
    boxes = objects.shared_boxes(finished, some, mined)
    np.testing.assert_array_equal(boxes.region_ids, ids)
    np.testing.assert_array_equal(boxes.a, boxes.b)
    found = objects.mined_pairs(boxes, boxes.a, finished.read("neighbors"), pairing(Stage2Settings()))
    assert np.isin(found[["query_region", "key_region"]], ids).all()
    images = finished.read("regions").set_index("region_id")["image_id"]
    assert (images[found["query_region"]].to_numpy() == found["image_id"]).all()
    assert (images[found["key_region"]].to_numpy() == found["neighbor_id"]).all()
