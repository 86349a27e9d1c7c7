"""An encoder from elsewhere: how wide its answers are, and what is no longer as in the paper."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from orl_explore import pretrained
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings


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
    ("hidden", "normalization", "words"),
    [
        (32, None, [r"was not trained by this run"]),
        (0, None, [r"was not trained", r"no projector: .* pooled feature, 9 numbers"]),
        (0, {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}, [r"was not trained", r"no projector", r"by \(0.5"]),
        # ImageNet's own, as timm spells them: no difference
        (32, {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, [r"was not trained"]),
    ],
)
def test_what_differs_from_the_paper(hidden, normalization, words):
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=hidden, dim=hidden and 8), 0)
    if normalization:
        encoder.backbone.pretrained_cfg = normalization
    found = pretrained.differences_from_paper(encoder, 9)
    assert len(found) == len(words)
    for sentence, pattern in zip(found, words, strict=True):
        assert re.search(pattern, sentence), sentence


def test_facts_are_what_run_json_says():
    encoder = pretrained.without_projector("resnet18")
    made = pretrained.Pretrained("torchvision:resnet18", encoder, 512, 512, ("one", "two"))
    assert made.facts() == {
        "encoder": "torchvision:resnet18",
        "backbone": "resnet18",
        "image_dim": 512,
        "region_dim": 512,
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
