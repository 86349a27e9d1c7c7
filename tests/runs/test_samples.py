"""What a training run sees: the order of its batches, and that a sample depends on (seed, epoch, image_id) alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images
from orl_explore.runs.samples import ImageViews, ObjectViews, StepSampler


def batches(images, *, batch_size, epochs=3, seed=0, **options):
    return list(StepSampler(images, batch_size=batch_size, epochs=epochs, seed=seed, **options))


sizes = st.tuples(st.integers(2, 60), st.integers(2, 20), st.integers(1, 4), st.integers(0, 100)).filter(
    lambda s: s[1] <= s[0]
)


# ---- the order ---------------------------------------------------------------------------------------------


@given(sizes)
def test_an_epoch_visits_each_row_once(size):
    images, batch_size, epochs, seed = size
    found = batches(images, batch_size=batch_size, epochs=epochs, seed=seed)
    steps = -(-images // batch_size)
    assert len(found) == epochs * steps == len(StepSampler(images, batch_size=batch_size, epochs=epochs, seed=seed))
    for epoch in range(epochs):
        of_epoch = found[epoch * steps : (epoch + 1) * steps]
        assert {e for batch in of_epoch for e, _ in batch} == {epoch}
        assert all(len(batch) == batch_size for batch in of_epoch[:-1])
        rows = [row for batch in of_epoch for _, row in batch]
        if images % batch_size == 1:  # batch normalization needs two: the first row of the epoch comes again
            assert rows.pop() == rows[0]
        assert sorted(rows) == list(range(images))


@given(sizes)
def test_an_incomplete_batch_can_be_left_out(size):
    images, batch_size, epochs, seed = size
    options = {"batch_size": batch_size, "epochs": epochs, "seed": seed}
    kept, dropped = batches(images, **options), batches(images, **options, drop_last=True)
    assert len(dropped) == epochs * (images // batch_size)
    whole = [batch for batch in kept if len(batch) == batch_size]
    # A last batch of one image is filled up to two, which is a whole batch where two are one.
    assert dropped == (whole if images % batch_size != 1 or batch_size != 2 else [b for b in whole if b in dropped])


@pytest.mark.parametrize(
    ("images", "world", "accumulate", "size"),
    [
        (15, 1, 1, 5),  # 10 + 5
        (15, 2, 1, 6),  # three for each of two processes
        (15, 4, 1, 8),  # two for each of four
        (15, 1, 2, 6),  # two passes of three
        (11, 1, 1, 2),  # one alone is no batch
        (11, 2, 2, 8),  # two for each of four passes
        (20, 3, 1, 10),  # a whole batch stays as it is: 4, 3, 3
    ],
)
def test_what_fills_up_the_last_batch(images, world, accumulate, size):
    order = StepSampler(images, batch_size=10, epochs=1, seed=0).order(0)
    last = images - images % 10 if images % 10 else images - 10
    shares = [
        batches(images, batch_size=10, epochs=1, rank=rank, world=world, accumulate=accumulate)[-accumulate:]
        for rank in range(world)
    ]
    lengths = {len(part) for share in shares for part in share}
    assert len(lengths) == 1 or images == 20
    assert min(lengths) >= 2
    rows = sorted(row for share in shares for part in share for _, row in part)
    assert rows == sorted([*order[last:], *order[: size - (images - last)]])


@given(sizes, st.data())
def test_resuming_gives_the_tail(size, data):
    images, batch_size, epochs, seed = size
    everything = batches(images, batch_size=batch_size, epochs=epochs, seed=seed)
    step = data.draw(st.integers(0, len(everything)))
    assert batches(images, batch_size=batch_size, epochs=epochs, seed=seed, start_step=step) == everything[step:]


@given(sizes, st.integers(1, 4))
def test_processes_share_every_batch(size, world):
    images, batch_size, epochs, seed = size
    options = {"batch_size": batch_size, "epochs": epochs, "seed": seed}
    whole = batches(images, **options, drop_last=True)
    options["drop_last"] = True  # an incomplete batch is filled up to a multiple of the processes
    parts = [batches(images, **options, rank=rank, world=world) for rank in range(world)]
    assert all(len(part) == len(whole) for part in parts)  # the same number of steps, or one would wait forever
    for step, batch in enumerate(whole):
        shares = [part[step] for part in parts]
        assert sorted(index for share in shares for index in share) == sorted(batch)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_order_changes_with_epoch_and_seed():
    sampler = StepSampler(50, batch_size=5, epochs=2, seed=0)
    assert sampler.order(0).tolist() != sampler.order(1).tolist()
    assert sampler.order(0).tolist() != StepSampler(50, batch_size=5, epochs=2, seed=1).order(0).tolist()
    assert sampler.order(0).tolist() != list(range(50))
    # An epoch's order has nothing to do with how many epochs there are, or how large the batch is.
    assert sampler.order(1).tolist() == StepSampler(50, batch_size=7, epochs=9, seed=0).order(1).tolist()


@given(sizes, st.integers(1, 4), st.integers(1, 3))
def test_passes_share_every_step(size, accumulate, world):
    images, batch_size, epochs, seed = size
    options = {"batch_size": batch_size, "epochs": epochs, "seed": seed, "rank": 0, "world": world, "drop_last": True}
    steps, passes = batches(images, **options), batches(images, **options, accumulate=accumulate)
    assert len(passes) == accumulate * len(steps)
    assert accumulate * len(steps) == len(StepSampler(images, **options, accumulate=accumulate))
    for step, batch in enumerate(steps):
        parts = passes[accumulate * step : accumulate * (step + 1)]
        assert [index for part in parts for index in part] == batch
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert batches(images, **options, accumulate=accumulate, start_step=1) == passes[accumulate:]


def test_every_row_is_left_out_now_and_then():
    seen = [sum(row == 0 for batch in batches(9, batch_size=4, epochs=300, drop_last=True) for _, row in batch)]
    assert 235 < seen[0] < 295  # 8 of 9 rows an epoch: 267 of 300, 5 standard deviations are 27


# ---- stage 1 -----------------------------------------------------------------------------------------------


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key])) for key in a)


@pytest.fixture(scope="module")
def image_views(images, tiny):
    return ImageViews(images, tiny.stage1, seed=0)


def test_image_views(image_views, images):
    sample = image_views[0, 3]
    assert sample["image_id"] == images.table["image_id"].iloc[3]
    for name in ("view1", "view2"):
        assert sample[name].dtype == torch.uint8
        assert tuple(sample[name].shape) == (3, 32, 32)
    assert not torch.equal(sample["view1"], sample["view2"])


def test_a_sample_depends_on_seed_epoch_and_image_alone(image_views, images, tiny):
    first = image_views[1, 3]
    image_views[0, 5], image_views[1, 4]  # whatever is drawn in between
    assert same(image_views[1, 3], first)
    assert not same(image_views[2, 3], first)
    assert not torch.equal(ImageViews(images, tiny.stage1, seed=1)[1, 3]["view1"], first["view1"])
    # The same image in another row of another set is drawn alike.
    moved = ImageViews(images.subset([7, 3]), tiny.stage1, seed=0)
    assert same(moved[1, 1], first)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(image_views, workers):
    def load(workers):
        sampler = StepSampler(len(image_views.images), batch_size=6, epochs=1, seed=0)
        return list(DataLoader(image_views, batch_sampler=sampler, num_workers=workers))

    alone, together = load(0), load(workers)
    assert len(alone) == len(together) == 4
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


# ---- stage 3 -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(finished):
    return finished.read("regions"), finished.read("pairs")


@pytest.fixture(scope="module")
def object_views(images, tables, tiny):
    return ObjectViews(images, *tables, tiny.stage3, seed=0)


def test_object_views(object_views, images):
    sample = object_views[0, 5]
    assert sample["image_id"] == images.table["image_id"].iloc[5]
    assert {name: tuple(view.shape) for name, view in sample.items() if name != "image_id"} == {
        "view1": (3, 32, 32),
        "view2": (3, 32, 32),
        "intra1": (3, 16, 16),
        "intra2": (3, 16, 16),
        "inter1": (3, 16, 16),
        "inter2": (3, 16, 16),
    }


def test_samples_are_made_of_the_images_own_rows(object_views, images, tables):
    regions, pairs = tables
    for epoch in range(20):
        for row in range(len(images)):
            sample = object_views.sample(epoch, row)
            image_id = images.table["image_id"].iloc[row]
            assert sample.image_id == image_id
            own = regions[regions["image_id"] == image_id]
            assert sample.intra[0].box in set(own[["x", "y", "w", "h"]].itertuples(index=False, name=None))
            found = pairs[(pairs["image_id"] == image_id) & (pairs["neighbor_id"] == sample.neighbor_id)]
            boxes = regions.set_index("region_id")[["x", "y", "w", "h"]]
            assert (sample.inter[0].box, sample.inter[1].box) in {
                (tuple(boxes.loc[q]), tuple(boxes.loc[k]))
                for q, k in found[["query_region", "key_region"]].itertuples(index=False)
            }
            if epoch:
                break  # all images once, and one of them often


def test_key_patches_come_from_the_neighbor(tmp_path, tiny):
    from PIL import Image

    for name, color in (("a", (250, 0, 0)), ("b", (0, 0, 250))):
        Image.new("RGB", (64, 64), color).save(tmp_path / f"{name}.png")
    images = open_images([tmp_path])
    a, b = images.table["image_id"]
    regions = pd.DataFrame({"region_id": [0, 1], "image_id": [a, b], "x": 0, "y": 0, "w": 40, "h": 40})
    pairs = pd.DataFrame({"image_id": [a, b], "neighbor_id": [b, a], "query_region": [0, 1], "key_region": [1, 0]})
    still = dataclasses.replace(tiny.stage3.views, color_jitter=0, gray=0, solarize=(0, 0))
    sample = ObjectViews(images, regions, pairs, dataclasses.replace(tiny.stage3, views=still), seed=0)[0, 0]
    assert sample["inter1"].float().mean(dim=(1, 2)).tolist() == [250, 0, 0]
    assert sample["inter2"].float().mean(dim=(1, 2)).tolist() == [0, 0, 250]


def test_an_object_sample_depends_on_seed_epoch_and_image_alone(object_views, images, tables, tiny):
    first = object_views[1, 3]
    object_views[0, 5]
    assert same(object_views[1, 3], first)
    assert not same(object_views[2, 3], first)
    assert not same(ObjectViews(images, *tables, tiny.stage3, seed=1)[1, 3], first)


def test_tables_may_come_in_any_order_of_images(object_views, images, tables, tiny):
    regions, pairs = tables
    # Regions are named by their place in the table, so only the pairs may be moved as a whole.
    order = pairs["image_id"].map({image_id: -row for row, image_id in enumerate(images.table["image_id"])})
    moved = ObjectViews(images, regions, pairs.iloc[np.argsort(order, kind="stable")], tiny.stage3, seed=0)
    assert all(moved.sample(0, row) == object_views.sample(0, row) for row in range(len(images)))


@pytest.mark.parametrize("missing", [[0], [23], [3, 4, 11]])
def test_images_without_pairs_are_left_out(object_views, images, tables, tiny, missing):
    regions, pairs = tables
    ids = images.table["image_id"].to_numpy()
    left = ObjectViews(images, regions, pairs[~pairs["image_id"].isin(ids[missing])], tiny.stage3, seed=0)
    rows = [row for row in range(len(images)) if row not in missing]
    assert len(left) == len(rows)
    assert [left[0, index]["image_id"] for index in range(len(left))] == ids[rows].tolist()
    assert same(left[0, len(rows) - 1], object_views[0, rows[-1]])  # the others are drawn as ever


def test_no_pair_at_all(images, tables, tiny):
    regions, pairs = tables
    with pytest.raises(OrlError, match="no pair: loosen its switches"):
        ObjectViews(images, regions, pairs[:0], tiny.stage3, seed=0)


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(0, 800))
def test_views_of_stage_1_render_for_any_epoch(image_views, seed, epoch):
    sample = ImageViews(image_views.images, image_views.config, seed)[epoch, seed % 24]
    assert tuple(sample["view1"].shape) == (3, 32, 32)


def objects(finished, images, config, augment):
    config = dataclasses.replace(config.stage3, augment=augment)
    return ObjectViews(images, finished.read("regions"), finished.read("pairs"), config, seed=0)


def test_a_batch_is_its_samples(finished, images, tiny):
    samples = objects(finished, images, tiny, "cpu")
    together = samples.__getitems__([(1, 3), (0, 5)])
    for one, index in zip(together, [(1, 3), (0, 5)], strict=True):
        alone = samples[index]
        assert alone.keys() == one.keys()
        assert all(torch.equal(torch.as_tensor(alone[name]), torch.as_tensor(one[name])) for name in one)
