"""The encoder: its shape, its weights at the start, golden tensors, and its file."""

from __future__ import annotations

import json
import math
import os
import re
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from encoder_files import fill
from orl_explore.encoder import Encoder, build_backbone, mlp
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings
from orl_explore.views import tensors


@pytest.fixture(scope="module")
def encoder(encoder_settings) -> Encoder:
    made = Encoder(encoder_settings)
    fill(made)
    return made.eval()


# ---- shape and initialization ------------------------------------------------------------------------------


def test_paper_defaults():
    assert EncoderSettings() == EncoderSettings(backbone="resnet50", hidden=4096, dim=256)


def test_projector_of_the_paper():
    with torch.device("meta"):  # shapes only: ResNet-50 need not be filled
        encoder = Encoder(EncoderSettings())
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.projector.state_dict().items()}
    assert encoder.width == 2048
    assert {name: shape for name, shape in shapes.items() if shape} == {
        "0.weight": (4096, 2048),
        "0.bias": (4096,),  # the first layer has a bias,
        "1.weight": (4096,),
        "1.bias": (4096,),
        "1.running_mean": (4096,),
        "1.running_var": (4096,),
        "3.weight": (256, 4096),  # the second none, and no BN follows
    }
    assert [type(layer) for layer in encoder.projector] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]


def test_mlp_is_initialized_by_kaiming_fan_in():
    torch.manual_seed(0)
    first, norm, _, second = mlp(400, 600, 300)
    # Normal with std sqrt(2 / fan_in); a sample std is off by about std / sqrt(2 n), taken five times.
    for layer, fan_in in ((first, 400), (second, 600)):
        weight = layer.weight.detach()
        assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=5 / math.sqrt(2 * weight.numel()))
        # A normal distribution, not a uniform one, has 4.6% beyond two standard deviations.
        assert (weight.abs() > 2 * weight.std()).float().mean().item() == pytest.approx(0.0455, abs=0.003)
    assert first.bias.eq(0).all()
    assert second.bias is None
    assert norm.weight.eq(1).all()
    assert norm.bias.eq(0).all()


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("resnet18", 512),
        ("resnet50", 2048),
        ("wide_resnet50_2", 2048),
        ("timm:resnet18", 512),
        ("timm:test_resnet", 96),
    ],
)
def test_backbones(name, width):
    with torch.device("meta"):
        backbone, found = build_backbone(name)
        features = backbone(torch.empty(2, 3, 64, 64))
    assert (found, tuple(features.shape)) == (width, (2, width))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51", "no ResNet 'resnet51': choose one of .*resnet50.*timm:NAME"),
        ("alexnet", "no ResNet 'alexnet'"),
        ("timm:resnet51", "timm has no model 'resnet51'"),
        ("timm:", "timm has no model ''"),
        ("", "no ResNet ''"),
    ],
)
def test_unknown_backbones(name, message):
    with pytest.raises(OrlError, match=message):
        build_backbone(name)


def test_random_is_decided_by_the_seed_alone(encoder_settings):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = (Encoder.random(encoder_settings, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["projector.0.weight"], other["projector.0.weight"])


# ---- golden tensors ----------------------------------------------------------------------------------------


GOLDEN = {
    # Computed once with torch 2.14; they change only when the network or its preprocessing does.
    "resnet18": {
        "features": [0.036536, 0.003698, 0.000284, 0.046938, 0.069906],
        "projection": [0.081975, -0.00914, 0.021825, -0.351726, -0.148847],
    },
    "timm:test_resnet": {
        "features": [0.057948, 0.0, 0.115177, 0.180288, 0.302387],
        "projection": [0.227439, 0.127233, -0.051204, -0.003982, -0.255296],
    },
}


@pytest.mark.parametrize("backbone", GOLDEN)
def test_golden_tensors(backbone):
    encoder = Encoder(EncoderSettings(backbone, hidden=32, dim=16))
    fill(encoder)
    ramp = torch.arange(2 * 3 * 32 * 32).mul(7).remainder(251).to(torch.uint8).view(2, 3, 32, 32)
    with torch.inference_mode():
        encoder.eval()
        features = encoder.features(tensors.normalize(ramp))
        projection = encoder(tensors.normalize(ramp))
    assert features.shape == (2, encoder.width)
    assert projection.shape == (2, 16)
    unit = [nn.functional.normalize(vectors, dim=1)[1, :5].numpy() for vectors in (features, projection)]
    assert unit[0] == pytest.approx(GOLDEN[backbone]["features"], abs=1e-4)
    assert unit[1] == pytest.approx(GOLDEN[backbone]["projection"], abs=1e-4)


def test_torchvision_layer_names():
    names = Encoder(EncoderSettings("resnet18", 8, 4)).state_dict().keys()
    assert {"backbone.conv1.weight", "backbone.layer1.0.bn2.running_var", "backbone.layer4.1.conv2.weight"} <= names
    assert not any(name.startswith("backbone.fc") for name in names)


# ---- the file ----------------------------------------------------------------------------------------------


def test_save_and_load(encoder, tmp_path):
    path = tmp_path / "encoder.safetensors"
    encoder.save(path, stage="stage1", image_size=32)
    loaded = Encoder.load(path)
    assert loaded.settings == encoder.settings
    assert not loaded.training
    saved = encoder.state_dict()
    assert loaded.state_dict().keys() == saved.keys()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in loaded.state_dict().items())
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"encoder"}
    assert json.loads(metadata["encoder"]) == {
        "settings": {"backbone": "timm:test_resnet", "hidden": 32, "dim": 16, "init": "paper"},
        "provenance": {"stage": "stage1", "image_size": 32},
    }


def test_equal_encoders_are_equal_files(encoder, tmp_path):
    for name in map(str, range(8)):
        encoder.save(tmp_path / name, stage="stage1", image_size=32)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_others_may_read_an_encoder_as_far_as_the_umask_says(encoder, tmp_path):
    before = os.umask(0o027)
    try:
        encoder.save(tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o640


def test_channels_last_weights_are_saved_in_plain_order(encoder_settings, tmp_path):
    encoder = Encoder.random(encoder_settings, seed=0)
    encoder.save(tmp_path / "a")
    encoder.to(memory_format=torch.channels_last).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def foreign(path, encoder):
    save_file({"weight": torch.zeros(2)}, path)


def other_settings(path, encoder):
    save_file({"weight": torch.zeros(2)}, path, metadata={"encoder": json.dumps({"settings": {"depth": 50}})})


def other_weights(path, encoder):
    settings = {"backbone": "timm:test_resnet", "hidden": 64, "dim": 16}
    save_file(encoder.state_dict(), path, metadata={"encoder": json.dumps({"settings": settings})})


def other_metadata(path, encoder):
    save_file(encoder.state_dict(), path, metadata={"encoder": "resnet"})


def truncated(path, encoder):
    encoder.save(path)
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, encoder: None, "no encoder at .*`orl stage1"),
        (lambda path, encoder: path.write_bytes(b""), "damaged or not a safetensors file"),
        (lambda path, encoder: path.write_bytes(b"no weights at all" * 9), "damaged or not a safetensors file"),
        (truncated, "damaged or not a safetensors file"),
        (foreign, "no encoder.safetensors of a run"),
        (other_settings, "another version"),
        (other_weights, "another version"),
        (other_metadata, "another version"),
    ],
)
def test_files_that_are_no_encoder(encoder, tmp_path, make, message):
    path = tmp_path / "encoder.safetensors"
    make(path, encoder)
    with pytest.raises(OrlError, match=message) as error:
        Encoder.load(path)
    assert str(path) in str(error.value)
    assert str(error.value).count("\n") <= 1


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("my run/stage1/encoder.safetensors", "`orl stage1 '{}/my run' --overwrite` makes it anew"),
        ("run/stage3/encoders/epoch=4.safetensors", "`orl stage3 {}/run --overwrite` makes it anew"),
        ("elsewhere.safetensors", "fetch it again, or make it again with what made it"),
    ],
)
def test_a_cut_encoder_says_what_makes_it_again(encoder, tmp_path, place, said):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    truncated(path, encoder)
    with pytest.raises(OrlError, match=re.escape(said.format(tmp_path))):
        Encoder.load(path)
