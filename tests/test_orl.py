"""Stage 3: how a sample is drawn, what is drawn of it, and that the three losses are three pair losses."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from orl_explore.boxes import iou
from orl_explore.byol import TwinNetworks
from orl_explore.orl import ORL, draw_sample, render_sample
from orl_explore.settings import ViewSettings

PAPER = ViewSettings()
STILL = dataclasses.replace(PAPER, flip=0, color_jitter=0, gray=0, blur=(0, 0), solarize=(0, 0))
SIZE = (200, 160)
BOXES = np.array([[10, 10, 60, 50], [80, 40, 70, 90], [20, 60, 100, 60]], np.int32)
# Neighbor 7 has a single pair, 8 has two, 9 has five: each neighbor must come up a third of the time all the same.
PAIRS = np.array(
    [[7, 0, 0, 10, 10, 0, 0, 11, 11]]
    + [[8, 0, 0, 20, 20 + i, 0, 0, 21, 21] for i in range(2)]
    + [[9, 0, 0, 30, 30 + i, 0, 0, 31, 31] for i in range(5)],
    np.int64,
)
DRAWS = 3000


def draw(seed, pairs=PAIRS, strength=PAPER):
    rng = np.random.default_rng(seed)
    return draw_sample(rng, strength, image_id=5, image_size=SIZE, boxes=BOXES, pairs=pairs)


@pytest.fixture(scope="module")
def drawn():
    return [draw([0, i]) for i in range(DRAWS)]


def assert_uniform(values, outcomes):
    """Every outcome comes up equally often, within five standard deviations, and no other does."""
    p = 1 / len(outcomes)
    counts = {outcome: values.count(outcome) for outcome in outcomes}
    assert sum(counts.values()) == len(values)
    assert all(abs(n - p * len(values)) <= 5 * math.sqrt(len(values) * p * (1 - p)) for n in counts.values()), counts


# ---- drawing -----------------------------------------------------------------------------------------------


def test_neighbor_is_uniform_over_neighbors(drawn):
    assert_uniform([s.neighbor_id for s in drawn], [7, 8, 9])


@pytest.mark.parametrize(("neighbor", "pairs"), [(7, 1), (8, 2), (9, 5)])
def test_pair_is_uniform_within_its_neighbor(drawn, neighbor, pairs):
    queries = [s.inter[0].box for s in drawn if s.neighbor_id == neighbor]
    side = 10 * (neighbor - 6)
    assert_uniform(queries, [(0, 0, side, side + i) for i in range(pairs)])
    assert {s.inter[1].box for s in drawn if s.neighbor_id == neighbor} == {(0, 0, side + 1, side + 1)}


def test_box_is_uniform(drawn):
    assert_uniform([s.intra[0].box for s in drawn], [tuple(box) for box in BOXES.tolist()])


def test_jittered_box_is_valid(drawn):
    first, second = (np.array([s.intra[i].box for s in drawn], float) for i in (0, 1))
    assert (second[:, :2] >= 0).all()
    assert (second[:, :2] + second[:, 2:] <= SIZE).all()
    overlap = np.array([iou(a, b)[0, 0] for a, b in zip(first, second, strict=True)])
    assert (overlap > 0.5).all()
    assert (overlap < 1).mean() > 0.95  # jittered, not copied
    assert len({tuple(box) for box in second.tolist()}) > DRAWS / 2


def test_first_of_a_pair_has_the_settings_of_view_1(drawn):
    # View 1 is always blurred and never solarized; view 2 is blurred in 10% and solarized in 20% of the draws.
    for kind in ("views", "intra", "inter"):
        first, second = ([getattr(s, kind)[i] for s in drawn] for i in (0, 1))
        assert all(p.blur_sigma is not None and not p.solarize for p in first)
        assert sum(p.blur_sigma is not None for p in second) / DRAWS == pytest.approx(0.1, abs=0.03)
        assert sum(p.solarize for p in second) / DRAWS == pytest.approx(0.2, abs=0.04)


def test_whole_image_views_are_random_crops(drawn):
    first, second = (np.array([s.views[i].box for s in drawn]) for i in (0, 1))
    assert len(np.unique(first, axis=0)) > DRAWS * 0.9
    assert (first != second).any(axis=1).mean() > 0.99  # independent of each other
    share = first[:, 2] * first[:, 3] / (SIZE[0] * SIZE[1])
    assert share.min() > 0.07
    assert share.max() <= 1


def test_same_generator_same_sample():
    assert draw([1, 2, 3]) == draw([1, 2, 3])
    assert draw([1, 2, 3]) != draw([1, 2, 4])


def test_sample_says_whose_it_is(drawn):
    assert {s.image_id for s in drawn} == {5}


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 12))
@settings(max_examples=40)
def test_inter_boxes_belong_to_one_pair(seed, neighbors, pairs):
    rng = np.random.default_rng(seed)
    table = rng.integers(1, 100, (pairs, 9))
    table[:, 0] = rng.integers(0, neighbors, pairs)
    sample = draw(seed, table)
    assert (sample.neighbor_id, *sample.inter[0].box, *sample.inter[1].box) in {tuple(row) for row in table.tolist()}


# ---- rendering ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{}, {"image_size": 48, "patch_size": 20}])
def test_render_sizes(sizes):
    images = [Image.new("RGB", SIZE, "white")] * 2
    rendered = render_sample(draw(0), *images, **sizes)
    whole, patch = sizes.get("image_size", 224), sizes.get("patch_size", 96)  # the paper's by default
    assert {name: tuple(view.shape) for name, view in rendered.items()} == {
        "view1": (3, whole, whole),
        "view2": (3, whole, whole),
        "intra1": (3, patch, patch),
        "intra2": (3, patch, patch),
        "inter1": (3, patch, patch),
        "inter2": (3, patch, patch),
    }
    assert all(view.dtype == torch.uint8 for view in rendered.values())


def test_only_the_key_box_shows_the_neighbor():
    rendered = render_sample(
        draw(0, strength=STILL), Image.new("RGB", SIZE, (9, 9, 9)), Image.new("RGB", SIZE, (200, 0, 0))
    )
    assert {name: view[0].unique().tolist() for name, view in rendered.items()} == {
        "view1": [9],
        "view2": [9],
        "intra1": [9],
        "intra2": [9],
        "inter1": [9],
        "inter2": [200],
    }


# ---- the losses --------------------------------------------------------------------------------------------


@pytest.fixture
def orl(encoder_settings):
    torch.manual_seed(0)
    return ORL(encoder_settings)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    sizes = {"view1": 32, "view2": 32, "intra1": 16, "intra2": 16, "inter1": 16, "inter2": 16}
    return {name: torch.randn(4, 3, size, size, generator=generator) for name, size in sizes.items()}


def test_forward_is_three_pair_losses(orl, batch):
    losses, projection = orl(**batch)
    assert list(losses) == ["image", "intra", "inter"]
    # In train mode batch statistics decide, so that losses do not depend on what went through before.
    for name, first, second in (
        ("image", "view1", "view2"),
        ("intra", "intra1", "intra2"),
        ("inter", "inter1", "inter2"),
    ):
        loss, _ = TwinNetworks.pair_loss(orl, batch[first], batch[second], getattr(orl, f"{name}_predictor"))
        assert losses[name].item() == pytest.approx(loss.item(), abs=1e-5)
        assert 0 < losses[name].item() < 8
    assert torch.allclose(projection, orl.online(batch["view1"]), atol=1e-5)


@pytest.mark.parametrize("name", ["image", "intra", "inter"])
def test_every_loss_has_its_own_predictor(orl, batch, name):
    orl(**batch)[0][name].backward()
    reached = {
        kind: all(p.grad is not None for p in getattr(orl, f"{kind}_predictor").parameters())
        for kind in ("image", "intra", "inter")
    }
    assert reached == {kind: kind == name for kind in ("image", "intra", "inter")}
    assert all(p.grad is not None for p in orl.online.parameters())  # the encoder is shared
    assert all(p.grad is None for p in orl.target.parameters())


def test_predictors_do_not_share_weights(orl):
    weights = [getattr(orl, f"{kind}_predictor")[0].weight for kind in ("image", "intra", "inter")]
    assert not any(torch.equal(a, b) for a, b in zip(weights, weights[1:] + weights[:1], strict=True))


def test_six_passes_per_step_on_each_side(orl, batch):
    orl(**batch)
    for network, passes in ((orl.online, 6), (orl.target, 6), (orl.image_predictor, 2), (orl.inter_predictor, 2)):
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert {int(norm.num_batches_tracked) for norm in norms} == {passes}
