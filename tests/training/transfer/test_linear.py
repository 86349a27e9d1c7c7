"""Linear classification: the settings of the literature, and the grids that stages are pooled to."""

from __future__ import annotations

from orl_explore.encoder import Encoder
from orl_explore.settings import EncoderSettings
from training.transfer import linear, semi


def test_presets_are_those_of_the_literature():
    resolved = {name: linear.LinearSettings(preset=name).resolved() for name in linear.PRESETS}
    assert {name: (s.epochs, s.steps) for name, s in resolved.items()} == {
        "imagenet": (28, (8, 16, 24)),
        "places205": (14, (4, 8, 12)),
        "inaturalist18": (84, (24, 48, 72)),
    }
    assert linear.LinearSettings(preset="places205", epochs=3).resolved().epochs == 3
    default = semi.SemiSettings()
    assert (default.epochs, default.lr, default.steps, default.gamma) == (20, 0.01, (12, 16), 0.2)


def test_stages_are_pooled_to_the_grids_of_the_literature():
    encoder = Encoder.random(EncoderSettings("resnet50", hidden=0), 0)
    probe = linear.LinearProbe(encoder, 10, "all")
    widths = {name: head[1].in_features for name, head in probe.heads.items()}
    assert widths == {"last": 2048, "res1": 9216, "res2": 9216, "res3": 8192, "res4": 9216, "res5": 8192}
