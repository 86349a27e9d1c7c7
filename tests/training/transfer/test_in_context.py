"""In-context segmentation by hand, and on encoders of several kinds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings
from training.transfer import in_context
from training.transfer.in_context import InContextSettings, Memory
from training.transfer.label_maps import Segmentation


def test_a_vote_by_hand():
    patches = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    memory = Memory(patches, torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]]))
    ((first, second),) = memory.vote(torch.tensor([[1.0, 0.0]]), k=2, temperature=0.4).tolist()
    weight = 1 / (1 + np.exp((0.6 - 1.0) / 0.4))  # of the first against the second; the third is not asked
    assert first == pytest.approx(weight + (1 - weight) * 0.25)
    assert second == pytest.approx((1 - weight) * 0.75)
    # More neighbors than there are: all vote.
    assert memory.vote(torch.tensor([[1.0, 0.0]]), k=9, temperature=1e9).tolist() == [pytest.approx([5 / 12, 7 / 12])]


def test_labels_of_patches():
    labels = np.array([[0, 0, 1, -1], [0, 2, -1, -1], [2, 2, 1, 1]], np.int16)  # 3 x 4 px: the middle row is divided
    found = in_context.patch_labels(labels, 2, 3)
    # Rows 0 and 1 of pixels belong to the upper cells, as 1 * 2 // 3 = 0.
    assert found.tolist() == [[3, 0, 1], [0, 1, 0], [0, 0, 2], [0, 2, 0]]


def test_rare_classes_stay_more_often():
    counts = np.zeros((40, 3), int)
    counts[:30, 0] = 5  # 30 patches of class 0
    counts[30:32, 1] = 5  # two of class 1, eight without any label
    kept = [in_context.choose(counts, 4, np.random.default_rng(seed)).tolist() for seed in range(200)]
    assert all(len(one) == 4 and one == sorted(set(one)) and max(one) < 32 for one in kept)
    rare = np.mean([place in one for one in kept for place in (30, 31)])
    common = np.mean([place in one for one in kept for place in range(30)])
    assert rare > 0.8 > 0.2 > common
    assert in_context.choose(counts, 40, np.random.default_rng(0)).tolist() == list(range(32))


class Halves:
    """Images whose left half is one color and right half another, with their labels."""

    def __init__(self, count: int, colors: tuple[int, int]):
        self.count, self.colors = count, colors

    def __len__(self) -> int:
        return self.count

    def load(self, row: int):
        labels = np.zeros((40, 48), np.int16)
        labels[:, 24:] = 1
        pixels = np.random.default_rng(row).integers(-20, 20, (40, 48, 3)) + np.array(self.colors)[labels][..., None]
        return pixels.astype(np.uint8), labels

    def names(self):
        return [[self.count, list(self.colors)]]


@pytest.mark.parametrize(
    "backbone", ["timm:test_resnet", "timm:test_vit", "timm:test_convnext", "timm:test_efficientnet"]
)
def test_every_kind_of_encoder_tells_light_from_dark(setup, backbone):
    encoder = Encoder.random(EncoderSettings(backbone=backbone, hidden=0, dim=0), seed=0).eval()
    data = Segmentation("halves", ("dark", "light"), Halves(4, (40, 200)), Halves(2, (40, 200)), {})
    settings = InContextSettings(image_size=96, k=3, memory=30, batch_size=3)
    found = in_context.judge(encoder, data, settings, setup)
    assert found["miou"] > 0.8 > 0.3 > found["miou_chance"]
    assert found["memory"] == 4 * min(7, found["cells"] ** 2)
    again = in_context.judge(encoder, data, settings, setup)
    assert again["miou"] == found["miou"]
    swapped = Segmentation("halves", ("dark", "light"), Halves(4, (40, 200)), Halves(2, (200, 40)), {})
    other = in_context.judge(encoder, swapped, settings, setup)["miou"]
    assert other < found["miou"] - 0.1  # it goes by the color, not by the place alone


def test_fewer_patches_than_images(setup):
    encoder = Encoder.random(EncoderSettings(backbone="timm:test_resnet", hidden=0, dim=0), seed=0).eval()
    data = Segmentation("halves", ("dark", "light"), Halves(5, (40, 200)), Halves(1, (40, 200)), {})
    assert in_context.judge(encoder, data, InContextSettings(image_size=64, memory=3), setup)["memory"] == 3


def test_images_have_whole_cells(setup):
    encoder = Encoder.random(EncoderSettings(backbone="timm:test_resnet", hidden=0, dim=0), seed=0).eval()
    assert in_context.grid(encoder, 73, setup) == (2, 64)  # trained with 32 px, one cell: a stride of 32
    assert in_context.grid(encoder, 1, setup) == (1, 32)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"memory": 0}, {"temperature": 0.0}, {"batch_size": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(OrlError, match=f"in-context.{next(iter(wrong))} is 0"):
        InContextSettings(**wrong)
