"""The model card: the network's shape as others spell it, and no claim that nobody measured."""

from __future__ import annotations

import pytest
import torch
import torchvision

from encoder_files import plain
from orl_explore.errors import OrlError
from orl_explore.interchange.card import resnet_shape
from training.exporting import export
from training.importing import import_files


@pytest.mark.parametrize(
    ("name", "detectron2", "mmdetection"),
    [
        # Detectron2 insists on 64 channels in res2 of the small ones, and widens by width per group.
        ("resnet18", "DEPTH: 18, RES2_OUT_CHANNELS: 64", 'type="ResNet", depth=18'),
        ("resnet50", "DEPTH: 50", 'type="ResNet", depth=50'),
        (
            "resnext50_32x4d",
            "DEPTH: 50, NUM_GROUPS: 32, WIDTH_PER_GROUP: 4",
            'type="ResNeXt", depth=50, groups=32, base_width=4',
        ),
        # MMDetection's networks of one group have no other width.
        ("wide_resnet50_2", "DEPTH: 50, NUM_GROUPS: 1, WIDTH_PER_GROUP: 128", None),
    ],
)
def test_the_card_spells_the_shape_of_the_network(name, detectron2, mmdetection):
    assert resnet_shape(name, "detectron2") == detectron2
    if mmdetection:
        assert resnet_shape(name, "mmdetection") == mmdetection
    else:
        with pytest.raises(OrlError, match=f"MMDetection has no {name}"):
            resnet_shape(name, "mmdetection")


def test_every_resnet_of_torchvision_has_a_shape_to_spell():
    names = [name for name in torchvision.models.list_models(module=torchvision.models) if "resne" in name]
    assert len([resnet_shape(name, "detectron2") for name in names]) == len(names) >= 9


def test_the_card_tells_only_what_is_known(with_encoder, tmp_path):
    card = export(with_encoder, "torchvision", tmp_path / "w.safetensors")[1].read_text()
    assert "Nobody has measured it yet" in card
    assert str(with_encoder.path.parent) not in card


def test_the_card_of_imported_weights_claims_nothing(tmp_path, annotations):
    # Torchvision's weights were trained with labels, on other images, at a size that the file does not tell.
    torch.save(plain(), tmp_path / "theirs.pth")
    run = import_files(tmp_path / "run", [tmp_path / "theirs.pth"], images=[annotations])
    card = export(run, "torchvision", tmp_path / "w.safetensors")[1].read_text()
    assert "imported from `theirs.pth`; how it was trained is not recorded" in card
    assert not any(claim in card for claim in ("without labels", "BYOL", "fingerprint", "trained at"))
