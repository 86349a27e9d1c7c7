"""Embeddings: what a batch, a worker or a type of number may change, and crops by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from encoder_files import fill
from orl_explore.embedding import embed_images, embed_regions
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.views import cropping, tensors
from orl_explore.views.cropping import crop_pixels


@pytest.fixture(scope="module")
def encoder(encoder_settings) -> Encoder:
    made = Encoder(encoder_settings)
    fill(made)
    return made.eval()


@torch.inference_mode()
def by_hand(encoder, crops, *, projected):
    images = torch.stack([torch.from_numpy(np.array(crop)) for crop in crops]).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tensors.IMAGENET_MEAN, tensors.IMAGENET_STD))
    vectors = encoder.backbone((images / 255 - mean) / std)
    vectors = encoder.projector(vectors) if projected else vectors
    return (vectors / vectors.norm(dim=1, keepdim=True)).numpy()


@pytest.mark.parametrize("features", [False, True])
def test_embed_images_by_hand(encoder, images, features):
    found = embed_images(encoder, images, size=32, features=features)
    crops = [cropping.center_view(images.load(row), 32) for row in range(len(images))]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(encoder, crops, projected=not features), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.std(found, axis=0).max() > 1e-3  # images differ


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (5, 0), (24, 0), (7, 2)])
def test_embed_images_in_any_batches(encoder, images, batch_size, workers):
    calls = []
    found = embed_images(
        encoder,
        images,
        size=32,
        batch_size=batch_size,
        workers=workers,
        progress=lambda done, total: calls.append((done, total)),
    )
    np.testing.assert_allclose(found, embed_images(encoder, images, size=32), atol=1e-5)
    assert calls == [(done, len(images)) for done in range(1, len(images) + 1)]


def test_embed_some_images_in_the_order_asked(encoder, images):
    everything = embed_images(encoder, images, size=32)
    np.testing.assert_allclose(embed_images(encoder, images, [5, 2, 9], size=32), everything[[5, 2, 9]], atol=1e-5)


def test_embedding_uses_eval_mode(encoder, images):
    state = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder.train()
    embed_images(encoder, images, [0, 1], size=32)
    assert not encoder.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in encoder.state_dict().items())


def test_bfloat16_points_the_same_way(encoder, images):
    exact, rounded = (embed_images(encoder, images, size=32, bf16=bf16) for bf16 in (False, True))
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    assert (exact * rounded).sum(axis=1).min() > 0.99


@pytest.fixture(scope="module")
def regions(images):
    """Images out of order, with 3, 1 and 2 boxes; the last box touches the corner."""
    ids = images.table["image_id"].to_numpy()
    return pd.DataFrame(
        [
            (ids[4], 0, 0, 80, 80),
            (ids[4], 10, 20, 30, 40),
            (ids[4], 10, 20, 31, 40),
            (ids[1], 5, 5, 17, 60),
            (ids[9], 40, 3, 33, 33),
            (ids[9], 79, 79, 1, 1),
        ],
        columns=["image_id", "x", "y", "w", "h"],
    )


def test_embed_regions_by_hand(encoder, images, regions):
    found = embed_regions(encoder, images, regions, size=32)
    crops, pillows = [], []
    for row, (_, x, y, w, h) in zip([4, 4, 4, 1, 9, 9], regions.itertuples(index=False), strict=True):
        pixels = np.array(images.load(row))[y : y + h, x : x + w].copy()  # nothing outside the box
        crops.append(crop_pixels(pixels, (0, 0, w, h), 32))
        pillows.append(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR))
    assert found.dtype == np.float32
    assert found.shape == (6, encoder.width)  # the pooled backbone feature, not the projection
    np.testing.assert_allclose(found, by_hand(encoder, crops, projected=False), atol=1e-5)
    # Pillow and torch round some pixels of a crop differently, by one level.
    np.testing.assert_allclose(found, by_hand(encoder, pillows, projected=False), atol=2e-3)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (2, 0), (4, 2), (6, 0)])
def test_embed_regions_in_any_batches(encoder, images, regions, batch_size, workers):
    found = embed_regions(encoder, images, regions, size=32, batch_size=batch_size, workers=workers)
    np.testing.assert_allclose(found, embed_regions(encoder, images, regions, size=32), atol=1e-5)


def test_embed_regions_counts_images(encoder, images, regions):
    calls = []
    embed_regions(encoder, images, regions, size=32, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_embed_no_regions(encoder, images, regions):
    assert embed_regions(encoder, images, regions[:0], size=32).shape == (0, encoder.width)


def test_regions_of_an_image_must_stand_together(encoder, images, regions):
    with pytest.raises(OrlError, match="sort the table"):
        embed_regions(encoder, images, regions.iloc[[0, 3, 1]], size=32)


def test_what_lies_outside_a_mask_is_faded(encoder, images):
    """By hand: the box is cut out, pixels outside the mask become the mean color, the rest stays."""
    ids = images.table["image_id"].to_numpy()[:2]
    regions = pd.DataFrame({"image_id": ids, "x": [4, 0], "y": [8, 0], "w": [40, 50], "h": [30, 60]})
    inside = np.zeros((80, 80), bool)
    inside[10:30, 10:40] = True
    encoded = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))["counts"].decode()
    whole = embed_regions(encoder, images, regions, size=32)
    assert np.array_equal(embed_regions(encoder, images, regions, size=32, masks=[encoded, None]), whole)
    found = embed_regions(encoder, images, regions, size=32, masks=[encoded, None], mask_outside=1)
    assert np.array_equal(found[1], whole[1])  # it has none
    pixels = images.load_pixels(0)
    pixels[~inside] = [round(255 * value) for value in tensors.IMAGENET_MEAN]
    crop = crop_pixels(pixels, (4, 8, 40, 30), 32)
    np.testing.assert_allclose(found[:1], by_hand(encoder, [crop], projected=False), atol=1e-5)
    half = embed_regions(encoder, images, regions, size=32, masks=[encoded, None], mask_outside=0.5)
    assert not np.allclose(half[0], whole[0], atol=1e-4)
    assert not np.allclose(half[0], found[0], atol=1e-4)
