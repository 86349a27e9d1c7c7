"""Statistics of batch normalization, estimated anew from many batches."""

from __future__ import annotations

import torch
from torch import nn

from training.transfer.precise_bn import reestimate


def test_statistics_are_those_of_all_batches_as_one():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(3)
    model = nn.Sequential(norm).eval()
    batches = [torch.randn(50, 3) * scale + scale for scale in (1.0, 2.0, 4.0)]
    for batch in [torch.full((50, 3), 100.0)] * 5:
        norm.train()(batch)  # a past that is forgotten
    model.eval()
    assert reestimate(model, [lambda batch=batch: model(batch) for batch in batches]) == 3
    together = torch.cat(batches)
    assert torch.allclose(norm.running_mean, together.mean(0), atol=1e-5)
    assert torch.allclose(norm.running_var, together.var(0), rtol=0.02)  # to within n / (n - 1) of a batch
    assert norm.momentum == 0.1
    assert not model.training
    assert not norm.training


def test_of_no_batch_nothing_changes():
    norm = nn.BatchNorm1d(3)
    norm(torch.randn(9, 3))
    before = norm.running_mean.clone()
    assert reestimate(norm, []) == 0
    assert torch.equal(norm.running_mean, before)
