"""Boxes and pairs that no encoder chose: few enough to be told by hand, and what holds of any."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_explore.boxes import BOX
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.judging.controls import annotated_boxes, oracle_pairs, random_boxes, random_pairs

IDS = [7, 3, 5]  # in no order, as the images of a bundle can be
MUG, KEY, FAR = (1.5, 2.0, 10.0, 20.2), (50.0, 50.0, 30.0, 30.0), (60.0, 0.0, 40.0, 20.0)


def image_set(objects: list[tuple], ids: list[int] = IDS) -> ImageSet:
    """Images of 100 x 80 px with objects (image_id, x, y, w, h, category)."""
    table = pd.DataFrame({"image_id": ids, "width": 100, "height": 80})
    annotated = pd.DataFrame(objects, columns=["image_id", *BOX, "category"]).rename_axis("object_id").reset_index()
    return ImageSet(table, annotated, pd.DataFrame(), ())


def regions_of(rows: list[tuple]) -> pd.DataFrame:
    """A table of regions from rows (image_id, x, y, w, h), grouped by image."""
    return pd.DataFrame(rows, columns=["image_id", *BOX]).rename_axis("region_id").reset_index()


IMAGES = image_set([(7, *MUG, "mug"), (7, *KEY, "key"), (3, *KEY, "mug")])
REGIONS = regions_of([(7, 1, 2, 11, 21), (7, 50, 50, 30, 30), (7, *FAR), (3, 52, 52, 20, 20), (3, *FAR), (5, *FAR)])
"""On the mug, on the key, on nothing; on the mug of the next image, on nothing; on nothing."""


def test_annotated_boxes_are_those_of_the_objects_in_whole_pixels():
    assert annotated_boxes(IMAGES)[["region_id", "image_id", *BOX]].to_numpy().tolist() == [
        [0, 7, 1, 2, 11, 21],  # from 1.5 to 11.5 and from 2 to 22.2: outwards
        [1, 7, 50, 50, 30, 30],
        [2, 3, 50, 50, 30, 30],
        [3, 5, 0, 0, 100, 80],  # nothing is annotated: the whole image
    ]


def test_oracle_pairs_by_hand():
    # The mugs of two images are the only two boxes on objects of one category: the key has none to be paired with.
    found = oracle_pairs(IMAGES, REGIONS, seed=0)
    assert found.to_numpy().tolist() == [[3, 7, 3, 0], [7, 3, 0, 3]]
    assert found.columns.tolist() == ["image_id", "neighbor_id", "query_region", "key_region"]


def test_so_many_boxes_of_an_image_are_paired_at_most():
    images = image_set([(image_id, *KEY, "key") for image_id in IDS])
    regions = regions_of([(image_id, 50, 50, 30 - less, 30) for image_id in IDS for less in range(6)])
    found = oracle_pairs(images, regions, per_image=4, seed=0)
    assert found["image_id"].value_counts().to_dict() == {7: 4, 3: 4, 5: 4}
    assert found["query_region"].is_unique


def test_pairs_of_whole_objects_alone():
    """Boxes 0, 2 and 4 are the key's, 1, 3 and 5 a corner of it, which is on it, but no whole one."""
    images = image_set([(image_id, *KEY, "key") for image_id in IDS])
    regions = regions_of([(image_id, 50, 50, side, side) for image_id in IDS for side in (30, 10)])
    parts, whole = (oracle_pairs(images, regions, whole=whole, seed=0) for whole in (False, True))
    assert set(parts["query_region"]) == set(range(6))
    assert set(whole["query_region"]) == {0, 2, 4}
    assert set(whole["key_region"]) <= {0, 2, 4}


def test_named_boxes_are_paired_as_often_as_they_are_named():
    images = image_set([(image_id, *KEY, "key") for image_id in IDS])
    regions = regions_of([(image_id, 50, 50, 30 - less, 30) for image_id in IDS for less in range(3)] + [(5, *FAR)])
    # Of image 7 region 1, twice; of image 5 region 8, and region 9, which is on nothing; of image 3 none.
    found = oracle_pairs(images, regions, queries=np.array([1, 9, 8, 1]), seed=0)
    assert found[["image_id", "query_region"]].to_numpy().tolist() == [[5, 8], [7, 1], [7, 1]]
    assert (found["image_id"] != found["neighbor_id"]).all()
    assert set(found["key_region"]) <= set(range(9))


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (image_set([]), r"no annotated objects: begin a run.*`orl run runs/labeled --images annotations\.json`"),
        (image_set([(7, *MUG, "mug"), (3, *KEY, "key")]), r"no two images have boxes on objects of one category"),
    ],
)
def test_without_labels_that_two_images_share_there_is_no_oracle(images, sentence):
    with pytest.raises(OrlError, match=sentence):
        oracle_pairs(images, REGIONS, seed=0)


def test_annotated_boxes_need_annotations():
    with pytest.raises(OrlError, match="no annotated objects"):
        annotated_boxes(image_set([]))


def test_a_single_image_has_no_other():
    pairs = pd.DataFrame({"image_id": [7], "neighbor_id": [7]})
    with pytest.raises(OrlError, match="takes two images, and there is one"):
        random_pairs(image_set([], [7]), regions_of([(7, *MUG)]), pairs, anywhere=True, seed=0)


def test_random_boxes_are_as_many_and_pass_the_filter():
    boxes = random_boxes(IMAGES, REGIONS, min_side=24, seed=0)
    assert boxes["image_id"].tolist() == [7, 7, 7, 3, 3, 5]
    assert boxes["region_id"].tolist() == [0, 1, 2, 3, 4, 5]
    assert boxes[["w", "h"]].min().min() >= 24
    assert (boxes["w"] / boxes["h"]).between(1 / 3, 3).all()
    assert (boxes[["x", "y"]] >= 0).all().all()
    assert (boxes["x"] + boxes["w"]).max() <= 100
    assert (boxes["y"] + boxes["h"]).max() <= 80


@st.composite
def scenes(draw) -> tuple[ImageSet, pd.DataFrame]:
    """Two to five images in any order, each with a few boxes on objects of three categories, and one beside them."""
    ids = draw(st.lists(st.integers(-9, 9), min_size=2, max_size=5, unique=True))
    kinds = {image_id: draw(st.lists(st.sampled_from(["mug", "key", "fish"]), max_size=4)) for image_id in ids}
    objects = [(image_id, 20 * n, 0, 18, 18, kind) for image_id in ids for n, kind in enumerate(kinds[image_id])]
    regions = [row for i in ids for row in [*((i, 20 * n, 0, 18, 18) for n in range(len(kinds[i]))), (i, 0, 40, 9, 9)]]
    return image_set(objects, ids), regions_of(regions)


@pytest.mark.slow
@settings(max_examples=40)
@given(scenes(), st.integers(0, 99))
def test_what_holds_of_any_pairs(scene, seed):
    images, regions = scene
    kinds = images.objects.groupby("image_id")["category"].agg(list)
    category = {
        int(rows["region_id"].iloc[n]): kind
        for image_id, rows in regions.groupby("image_id")
        for n, kind in enumerate(kinds.get(image_id, []))
    }
    owner = regions["image_id"].to_numpy()
    shared = {k for k in category.values() if len({owner[r] for r, other in category.items() if other == k}) > 1}
    if not shared:
        with pytest.raises(OrlError):
            oracle_pairs(images, regions, seed=seed)
        return
    oracle = oracle_pairs(images, regions, seed=seed)
    queries, keys = oracle["query_region"].tolist(), oracle["key_region"].tolist()
    assert [category[region] for region in queries] == [category[region] for region in keys]  # on objects, of one kind
    assert set(queries) <= {region for region, kind in category.items() if kind in shared}
    blind, anywhere = (random_pairs(images, regions, oracle, anywhere=how, seed=seed) for how in (False, True))
    assert blind[["image_id", "neighbor_id"]].equals(oracle[["image_id", "neighbor_id"]])
    for pairs in (oracle, blind, anywhere):
        assert len(pairs) == len(oracle)
        assert (pairs["image_id"] != pairs["neighbor_id"]).all()
        assert (owner[pairs["query_region"]] == pairs["image_id"]).all()
        assert (owner[pairs["key_region"]] == pairs["neighbor_id"]).all()
    again = random_pairs(images, regions, oracle, anywhere=True, seed=seed)
    pd.testing.assert_frame_equal(again, anywhere)
    pd.testing.assert_frame_equal(oracle_pairs(images, regions, seed=seed), oracle)


def test_another_seed_draws_others():
    images = dataclasses.replace(IMAGES, objects=image_set([(i, *KEY, "key") for i in IDS]).objects)
    regions = regions_of([(image_id, 50, 50, 30 - less, 30) for image_id in IDS for less in range(6)])
    first, second = (oracle_pairs(images, regions, seed=seed) for seed in (0, 1))
    assert not np.array_equal(first.to_numpy(), second.to_numpy())
    drawn = [random_pairs(images, regions, first, anywhere=True, seed=seed).to_numpy() for seed in (0, 1)]
    assert not np.array_equal(*drawn)
