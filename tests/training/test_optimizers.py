"""Optimizers: who is decayed, a step of each by hand, and a step on every family of backbones."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from orl_explore.byol import BYOL
from orl_explore.settings import EncoderSettings, Stage1Settings
from training.optimizers import make_optimizer


def networks_of(backbone: str) -> BYOL:
    torch.manual_seed(0)
    return BYOL(EncoderSettings(backbone, hidden=16, dim=8))


def settings(optimizer: str, **others: float) -> Stage1Settings:
    # 512 images a batch: the rate is base_lr
    return Stage1Settings(**{"optimizer": optimizer, "base_lr": 0.01, "weight_decay": 0.1} | others)


def one_step(networks: BYOL, made: torch.optim.Optimizer) -> dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Parameter before, its gradient, parameter after, by name."""
    generator = torch.Generator().manual_seed(1)
    before = {name: p.detach().clone() for name, p in networks.named_parameters() if p.requires_grad}
    for name, p in networks.named_parameters():
        if name in before:
            p.grad = torch.randn(p.shape, generator=generator)
    made.step()
    after = dict(networks.named_parameters())
    return {name: (p, after[name].grad, after[name].detach()) for name, p in before.items()}


def test_sgd_decays_everything():
    networks = networks_of("timm:test_resnet")
    for before, gradient, after in one_step(networks, make_optimizer(networks, settings("sgd"))).values():
        torch.testing.assert_close(after, before - 0.01 * (gradient + 0.1 * before))


def test_adamw_by_hand():
    """In its first step AdamW moves every number by the rate, against the sign of its gradient."""
    networks = networks_of("timm:test_vit")
    moved = one_step(networks, make_optimizer(networks, settings("adamw")))
    for name, (before, gradient, after) in moved.items():
        plain = before.ndim < 2 or name in ("online.backbone.pos_embed", "online.backbone.cls_token")
        kept = before * (1 if plain else 1 - 0.01 * 0.1)
        torch.testing.assert_close(after, kept - 0.01 * gradient / (gradient.abs() + 1e-8), msg=name)
    assert {"online.backbone.pos_embed", "online.backbone.patch_embed.proj.weight"} <= moved.keys()


@pytest.mark.parametrize("decay", [0.1, 0.0])
def test_lars_by_hand(decay):
    """A weight's rate is scaled by 0.001 |w| / (|g| + decay |w|); biases and normalization move as in SGD."""
    networks = networks_of("timm:test_resnet")
    for before, gradient, after in one_step(
        networks, make_optimizer(networks, settings("lars", weight_decay=decay))
    ).values():
        if before.ndim < 2:
            torch.testing.assert_close(after, before - 0.01 * gradient)
            continue
        trust = 0.001 * before.norm() / (gradient.norm() + decay * before.norm())
        torch.testing.assert_close(after, before - 0.01 * trust * (gradient + decay * before), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
@pytest.mark.parametrize(
    "backbone", ["timm:test_resnet", "timm:test_convnext", "timm:test_vit", "timm:test_efficientnet"]
)
def test_a_step_of_every_family_at_both_sizes(backbone, optimizer):
    """All that is trained gets a gradient and moves; images and patches have sizes of their own."""
    networks = networks_of(backbone)
    made = make_optimizer(networks, dataclasses.replace(settings(optimizer), base_lr=0.02))
    generator = torch.Generator().manual_seed(2)
    before = {name: p.detach().clone() for name, p in networks.named_parameters()}
    loss = torch.zeros(())
    for side in (64, 32):
        views = [torch.randn(4, 3, side, side, generator=generator) for _ in range(2)]
        loss = loss + networks(*views)[0]["image"]
    loss.backward()
    made.step()
    for name, p in networks.named_parameters():
        assert p.isfinite().all(), name
        assert p.requires_grad == name.startswith(("online.", "predictor.")), name
        if p.requires_grad:
            assert p.grad is not None, name
            assert p.grad.abs().max() < 1e-6 or not torch.equal(p, before[name]), name
        else:
            assert torch.equal(p, before[name]), name


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_that_the_scaler_leaves_out_leaves_nothing_behind(optimizer):
    # In float16 the first gradients are usually infinite and their step is skipped: what comes then are first steps.
    after = {}
    for way, steps in (("scaled", (float("inf"), 1.0, 2.0)), ("plain", (1.0, 2.0))):
        networks = networks_of("timm:test_resnet")
        trained = [p for p in networks.parameters() if p.requires_grad]
        made = make_optimizer(networks, settings(optimizer), fused=way == "scaled")
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=way == "scaled")
        for step in steps:
            made.zero_grad()
            scaler.scale(sum((step * p).sum() for p in trained)).backward()  # every gradient is `step`
            scaler.step(made)
            scaler.update()
        after[way] = torch.cat([p.detach().flatten() for p in trained])
    assert torch.isfinite(after["scaled"]).all()
    torch.testing.assert_close(after["scaled"], after["plain"])
