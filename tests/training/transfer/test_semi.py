"""Semi-supervised classification: what learns, and how fast."""

from __future__ import annotations

from orl_explore.encoder import Encoder
from training.transfer import semi


def test_the_head_learns_with_a_rate_of_its_own(encoder_settings):
    network = semi.FineTuned(Encoder.random(encoder_settings, 0), 4)
    backbone, head = network.groups(0.01, 100.0)
    assert (backbone["lr"], head["lr"]) == (0.01, 1.0)
    counts = [sum(p.numel() for p in group["params"]) for group in (backbone, head)]
    assert sum(counts) == sum(p.numel() for p in network.parameters())
    assert counts[1] == 4 * network.head.in_features + 4
