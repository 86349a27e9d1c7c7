"""Why two crops are alike: maps of places, heat maps, shares of the cosine."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orl_explore.embedding import embed_regions
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.judging import alike
from orl_explore.judging.alike import FeatureMap
from orl_explore.pretrained import timm_inputs, without_projector
from orl_explore.settings import EncoderSettings

BOXES = [(10, 20, 200, 180), (60, 5, 90, 230)]
NOTHING = np.zeros(1, np.float32)


def map_of(cells: np.ndarray) -> FeatureMap:
    """A map of these cells (h, w, D)."""
    return FeatureMap(np.asarray(cells, np.float32), NOTHING, 0, NOTHING, 0)


def encoder_of(name: str) -> Encoder:
    torch.manual_seed(0)
    encoder = without_projector(name)
    if name.startswith("timm:"):
        encoder.inputs = timm_inputs(encoder.backbone, name)
    for layer in encoder.backbone.modules():  # norms that do nothing would hide that they were forgotten
        if isinstance(layer, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return encoder


@pytest.fixture(scope="module")
def pixels():
    y, x = np.mgrid[:260, :300] / 20
    waves = np.stack([np.sin(x), np.cos(y * 0.7 + x), np.sin(x * 0.5 + y)], axis=-1)
    noise = np.random.default_rng(0).uniform(-40, 40, waves.shape)
    return (127.5 + 80 * waves + noise).clip(0, 255).astype(np.uint8)


def maps_by(encoder: Encoder, pixels: np.ndarray, **options: int) -> list[FeatureMap]:
    return alike.feature_maps(encoder, [pixels, pixels[:, ::-1]], BOXES, **options)


# ---- networks ------------------------------------------------------------------------------------------------------

MEANS = {  # what each ends with before its mean: nothing, LayerNorm after it, conv_head, tokens, RMSNorm after it
    "resnet18": 14,
    "timm:test_resnet": 15,  # 160 px are 5 cells, so that crops are enlarged three times
    "timm:test_convnext": 15,
    "timm:test_efficientnet": 15,
    "timm:test_vit2": 20,  # 10 cells at 160 px
    "timm:test_vit4": 20,
}
OTHERS = {
    "timm:test_vit": "class token",
    "timm:test_vit3": "attention",
    "timm:mobilenetv3_small_050": "once more after pooling",
    "timm:test_mambaout": "another way",
}


@pytest.mark.parametrize("name", MEANS)
def test_shares_add_up_to_the_cosine_of_the_pooled_features(name, pixels):
    a, b = maps_by(encoder_of(name), pixels)
    assert a.cells.shape[:2] == (MEANS[name], MEANS[name])
    assert not a.neglected
    shares = alike.shares(a, b)
    expected = alike.cosine(a.pooled, b.pooled)
    assert shares.a.sum() == pytest.approx(expected, abs=1e-5)
    assert shares.b.sum() == pytest.approx(expected, abs=1e-5)
    assert expected < 0.99999, "crops that cannot be told apart show nothing"


@pytest.mark.parametrize("name", OTHERS)
def test_other_ways_to_pool_are_told(name, pixels):
    a, b = maps_by(encoder_of(name), pixels)
    assert OTHERS[name] in a.neglected
    shares = alike.shares(a, b)
    assert shares.a.sum() == pytest.approx(shares.cosine)
    assert a.pooled.shape != a.mean.shape or np.abs(a.pooled - a.mean).max() > 0.01


def test_a_pooling_with_a_name_is_named():
    assert "(gem)" in alike._other_pooling(type("Net", (nn.Module,), {"global_pool": "gem"})())


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit"])
def test_own_features_are_those_of_stage_2(name, images):
    encoder = encoder_of(name)
    encoder.inputs = type(encoder.inputs)(size=64)
    ids = images.table["image_id"].iloc[[3, 1]].to_numpy()
    boxes = pd.DataFrame([(ids[0], 5, 6, 40, 50), (ids[1], 0, 0, 80, 33)], columns=["image_id", "x", "y", "w", "h"])
    found = alike.region_maps(encoder, images, boxes)
    embedded = embed_regions(encoder, images, boxes)
    for one, vector in zip(found, embedded, strict=True):
        np.testing.assert_allclose(one.own / np.linalg.norm(one.own), vector, atol=1e-5)
        assert (one.own_side, one.side) == (64, 64 * (7 if name == "timm:test_resnet" else 4))


def test_places_stand_where_they_are():
    """A bright quarter of a dark picture: its cells differ from the rest, and lie where it lies."""
    encoder = encoder_of("timm:test_vit2")
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:50, 50:] = 255
    (found,) = alike.feature_maps(encoder, [picture], [(0, 0, 100, 100)])
    heat = alike.similarity_to(found, *found.cell_at(0.75, 0.25), found)
    quarter = heat[:10, 10:]
    assert quarter.mean() > max(heat[10:].mean(), heat[:10, :10].mean()) + 0.05


def test_a_network_for_one_size_keeps_its_map(pixels, monkeypatch):
    encoder = encoder_of("timm:test_resnet")
    forward = encoder.backbone.forward_features

    def of_one_size(images):
        assert images.shape[-1] == 160
        return forward(images)

    monkeypatch.setattr(encoder.backbone, "forward_features", of_one_size)
    (found, _) = maps_by(encoder, pixels)
    assert found.side == found.own_side == 160
    assert found.cells.shape[:2] == (5, 5)


def test_a_network_without_places(pixels):
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward_features(self, images):
            return images.mean(dim=(2, 3))

        def forward_head(self, features):
            return features

    encoder = Encoder(EncoderSettings("timm:test_resnet", hidden=0, dim=0))
    encoder.backbone = Flat()
    with pytest.raises(OrlError, match="no map of places"):
        maps_by(encoder, pixels)
    encoder.backbone = nn.Conv2d(3, 3, 1)
    with pytest.raises(OrlError, match="does not say what it pools"):
        maps_by(encoder, pixels)


# ---- two maps ------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    *(st.tuples(st.integers(1, 6), st.integers(1, 6)) for _ in range(2)),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.floats(-3, 3),
)
def test_shares_of_any_maps_add_up(shape_a, shape_b, width, seed, offset):
    rng = np.random.default_rng(seed)
    a, b = (map_of(rng.normal(offset, 1, (*shape, width)) + 1e-3) for shape in (shape_a, shape_b))
    found = alike.shares(a, b)
    assert found.a.shape == shape_a
    assert found.b.shape == shape_b
    assert found.a.sum() == pytest.approx(found.cosine, abs=1e-9)
    assert found.b.sum() == pytest.approx(found.cosine, abs=1e-9)
    assert found.cosine == pytest.approx(alike.cosine(a.mean, b.mean), abs=1e-9)


def test_shares_by_hand():
    """Means (1, 1) and (2, 0): cosine 1/sqrt(2), to which only the cell along the first axis adds."""
    a, b = map_of([[[2, 0], [0, 2]]]), map_of([[[2, 0]]])
    found = alike.shares(a, b)
    np.testing.assert_allclose(found.a, [[2**-0.5, 0]])
    np.testing.assert_allclose(found.b, [[2**-0.5]])


def test_heat_map_and_best_match():
    cells = np.eye(6, dtype=np.float32).reshape(2, 3, 6)  # six places that have nothing in common
    other = 5 * cells[::-1, ::-1]  # turned around, and longer
    a, b = map_of(cells), map_of(other)
    for row in range(2):
        for column in range(3):
            heat = alike.similarity_to(a, row, column, b)
            assert heat.shape == (2, 3)
            assert alike.best_match(heat) == (1 - row, 2 - column)
            assert heat.max() == pytest.approx(1)
            np.testing.assert_allclose(alike.similarities(a, b)[row, column], heat, atol=1e-6)


def test_cells_and_places():
    one = map_of(np.ones((4, 2, 3)))
    assert one.cell_at(0.6, 0.3) == (1, 1)
    assert one.cell_at(1.0, 1.0) == (3, 1)
    assert one.cell_at(-1, 0) == (0, 0)
    assert one.place_of(1, 1) == (0.75, 0.375)


def test_pca_colors_are_on_one_scale():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(4, 8))
    a = map_of(kinds[[0, 1, 2, 3, 0, 1]].reshape(2, 3, 8))
    b = map_of(3 * kinds[[3, 2, 1, 0]].reshape(1, 4, 8))
    of_a, of_b = alike.pca_colors([a, b])
    assert of_a.shape == (2, 3, 3)
    assert of_b.shape == (1, 4, 3)
    np.testing.assert_array_equal(of_a.reshape(-1, 3)[:4], of_b.reshape(-1, 3)[::-1])  # alike places, alike colors
    assert len(np.unique(of_b.reshape(-1, 3), axis=0)) == 4
    np.testing.assert_array_equal(alike.pca_colors([a, b])[0], of_a)


def test_pca_colors_of_places_all_alike():
    (colors,) = alike.pca_colors([map_of(np.ones((2, 2, 5)))])
    assert not colors.any()
