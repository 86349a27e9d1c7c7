"""BYOL by hand on networks of one matrix, its schedules at their ends and middle, and whose statistics are whose."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orl_explore.byol import (
    BYOL,
    TwinNetworks,
    learning_rate_at,
    learning_rate_factor,
    negative_cosine,
    target_momentum,
)
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings, Stage1Settings


def linear(rows: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows, dtype=torch.float32)
    return layer


IDENTITY = [[1, 0], [0, 1]]
QUARTER_TURN = [[0, -1], [1, 0]]  # (1, 0) -> (0, 1) -> (-1, 0)
OPPOSITE = [[-1, 0], [0, -1]]


@pytest.fixture
def byol(encoder_settings) -> BYOL:
    torch.manual_seed(0)
    return BYOL(encoder_settings)


@pytest.fixture
def twins(byol):
    """Twin networks of one matrix each."""

    def make(online, target) -> TwinNetworks:
        byol.online, byol.target = linear(online), linear(target).requires_grad_(False)
        return byol

    return make


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


# ---- the loss ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "target", "loss"),
    [
        ([[1, 0]], [[5, 0]], 0),  # lengths do not matter
        ([[1, 0]], [[0, 2]], 2),
        ([[1, 0]], [[-3, 0]], 4),
        ([[1, 0]], [[1, 1]], 2 - math.sqrt(2)),
        ([[1, 0], [1, 0]], [[1, 0], [-1, 0]], 2),  # the mean of 0 and 4
    ],
)
def test_negative_cosine(prediction, target, loss):
    prediction, target = torch.tensor(prediction).float(), torch.tensor(target).float()
    assert negative_cosine(prediction, target).item() == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(
    ("online", "target", "predictor", "view1", "view2", "loss"),
    [
        # q(f(v1)) against t(v2), plus q(f(v2)) against t(v1)
        (IDENTITY, IDENTITY, IDENTITY, [[1, 0]], [[1, 0]], 0),
        (IDENTITY, IDENTITY, IDENTITY, [[1, 0]], [[0, 1]], 4),  # 90 degrees twice: 2 + 2
        (IDENTITY, OPPOSITE, IDENTITY, [[1, 0]], [[1, 0]], 8),  # 180 degrees twice: the most there is
        (IDENTITY, OPPOSITE, OPPOSITE, [[1, 0]], [[1, 0]], 0),  # the predictor makes up for it
        (IDENTITY, QUARTER_TURN, IDENTITY, [[1, 0]], [[0, 1]], 4),  # (1,0).(-1,0): 4, and (0,1).(0,1): 0
        (QUARTER_TURN, IDENTITY, IDENTITY, [[1, 0]], [[0, 1]], 4),  # (0,1).(0,1): 0, and (-1,0).(1,0): 4
        (QUARTER_TURN, IDENTITY, QUARTER_TURN, [[1, 0]], [[1, 0]], 8),  # two quarter turns online, none in the target
        (IDENTITY, IDENTITY, IDENTITY, [[1, 0], [1, 0]], [[1, 0], [-1, 0]], 4),  # mean of 0 and 8
        (IDENTITY, [[1, 1], [0, 1]], IDENTITY, [[1, 0]], [[0, 1]], 4 - math.sqrt(2)),  # (1,0).(1,1): 2 - sqrt 2; 2
    ],
)
def test_pair_loss_by_hand(twins, online, target, predictor, view1, view2, loss):
    view1, view2 = torch.tensor(view1).float(), torch.tensor(view2).float()
    found, projection = twins(online, target).pair_loss(view1, view2, linear(predictor))
    assert found.item() == pytest.approx(loss, abs=1e-5)
    assert torch.equal(projection, view1 @ torch.tensor(online).float().T)
    assert not projection.requires_grad


@given(st.integers(0, 2**32))
@settings(max_examples=50)
def test_pair_loss_is_symmetric_and_bounded(seed):
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape).astype(np.float32))

    twins = TwinNetworks.__new__(TwinNetworks)
    nn.Module.__init__(twins)
    twins.online, twins.target, predictor = (
        linear(draw(3, 5).tolist()),
        linear(draw(3, 5).tolist()),
        linear(draw(3, 3).tolist()),
    )
    view1, view2 = draw(4, 5), draw(4, 5)
    loss = twins.pair_loss(view1, view2, predictor)[0].item()
    assert -1e-5 <= loss <= 8 + 1e-5
    assert twins.pair_loss(view2, view1, predictor)[0].item() == pytest.approx(loss, abs=1e-5)


def test_gradient_reaches_the_online_side_only(byol):
    view1, view2 = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    losses, _ = byol(view1, view2)
    losses["image"].backward()
    assert all(p.grad is None and not p.requires_grad for p in byol.target.parameters())
    assert all(p.grad is not None for p in [*byol.online.parameters(), *byol.predictor.parameters()])
    assert any(p.grad.abs().sum() > 0 for p in byol.online.backbone.parameters())


def test_no_gradient_to_the_target_even_if_it_could_have_one(twins):
    target = torch.tensor([[0, 1.0]], requires_grad=True)
    prediction = torch.tensor([[1.0, 0]], requires_grad=True)
    negative_cosine(prediction, target).backward()
    assert target.grad is None
    assert prediction.grad.tolist() == [[0, -2]]  # d(2 - 2 cos) = -2 target, of two unit vectors at 90 degrees

    networks = twins(IDENTITY, QUARTER_TURN)
    networks.target.requires_grad_(True)
    networks.pair_loss(torch.tensor([[1.0, 0]]), torch.tensor([[1.0, 1]]), linear(IDENTITY))[0].backward()
    assert networks.target.weight.grad is None
    assert networks.online.weight.grad.abs().sum() > 0


def test_the_target_is_a_constant_to_the_gradient(twins):
    # With f = q = t = identity and v1, v2 orthogonal and of length 1, the gradient of 2 - 2 cos(W v1, v2) in W is
    # -2 v2 v1^T, and that of the other direction -2 v1 v2^T.
    predictor = linear(IDENTITY)
    loss, _ = twins(IDENTITY, IDENTITY).pair_loss(torch.tensor([[1.0, 0]]), torch.tensor([[0, 1.0]]), predictor)
    loss.backward()
    np.testing.assert_allclose(predictor.weight.grad, [[0, -2], [-2, 0]], atol=1e-6)


def test_losses_are_computed_in_float32(byol):
    with torch.autocast("cpu", torch.bfloat16):
        losses, projection = byol(*torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert losses["image"].dtype == torch.float32
    assert projection.dtype == torch.bfloat16


# ---- twins -------------------------------------------------------------------------------------------------


def test_twins_start_alike(byol):
    online, target = byol.online.state_dict(), byol.target.state_dict()
    assert online.keys() == target.keys()
    assert all(torch.equal(online[name], target[name]) for name in online)
    assert not {p.data_ptr() for p in byol.online.parameters()} & {p.data_ptr() for p in byol.target.parameters()}


def test_each_view_is_a_pass_of_its_own(byol):
    view1, view2 = torch.randn(2, 4, 3, 32, 32)
    byol.train()
    byol(view1, view2)
    for network in (byol.online, byol.target, byol.predictor):
        norms = batch_norms(network)
        assert norms
        assert {int(norm.num_batches_tracked) for norm in norms} == {2}
    # So its own batch statistics, too: the running mean has moved by each view's mean in turn (momentum 0.1).
    probe = copy.deepcopy(byol)
    first = batch_norms(probe.online)[0]
    conv = next(m for m in probe.online.modules() if isinstance(m, nn.Conv2d))
    mean1, mean2 = (conv(view).mean(dim=(0, 2, 3)) for view in (view1, view2))
    np.testing.assert_allclose(first.running_mean, (0.1 * mean1 * 0.9 + 0.1 * mean2).detach(), atol=1e-5)


def test_target_statistics_are_its_own(byol):
    for p in byol.online.parameters():
        p.data += 0.1  # as if trained: the two networks now see different activations
    byol(*torch.randn(2, 4, 3, 32, 32))
    own = [norm.running_mean.clone() for norm in batch_norms(byol.target)]
    assert not torch.allclose(own[-1], batch_norms(byol.online)[-1].running_mean)
    assert all(norm.training for norm in batch_norms(byol.target))  # batch statistics, not running ones
    byol.update_target(0.0)  # parameters: all of them at once
    assert all(torch.equal(p, q) for p, q in zip(byol.online.parameters(), byol.target.parameters(), strict=True))
    assert all(torch.equal(a, norm.running_mean) for a, norm in zip(own, batch_norms(byol.target), strict=True))


@pytest.mark.parametrize(
    ("target", "online", "momentum", "expected"),
    [
        (1.0, 3.0, 0.99, 1.02),  # 0.99 * 1 + 0.01 * 3
        (1.0, 3.0, 1.0, 1.0),
        (1.0, 3.0, 0.0, 3.0),
        (-2.0, 2.0, 0.75, -1.0),
    ],
)
def test_update_target(twins, target, online, momentum, expected):
    networks = twins([[online]], [[target]])
    networks.update_target(momentum)
    assert networks.target.weight.item() == pytest.approx(expected, abs=1e-6)
    assert networks.online.weight.item() == online


def test_predictor_shapes(byol):
    linear1, norm, relu, linear2 = byol.predictor
    assert tuple(linear1.weight.shape) == (32, 16)  # dim -> hidden
    assert linear1.bias is not None
    assert isinstance(norm, nn.BatchNorm1d)
    assert isinstance(relu, nn.ReLU)
    assert tuple(linear2.weight.shape) == (16, 32)
    assert linear2.bias is None


# ---- schedules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.99),
        (25, 1 - 0.01 * (math.sqrt(0.5) + 1) / 2),  # cos 45 degrees
        (50, 0.995),
        (75, 1 - 0.01 * (1 - math.sqrt(0.5)) / 2),
        (99, 0.9999975),  # the last step: cos(0.99 pi) = -0.99951
        (100, 1.0),
    ],
)
def test_target_momentum(step, expected):
    assert target_momentum(step, 100) == pytest.approx(expected, abs=1e-7)


def test_target_momentum_from_another_base():
    assert target_momentum(0, 10, base=0.9) == pytest.approx(0.9)
    assert target_momentum(5, 10, base=0.9) == pytest.approx(0.95)
    assert target_momentum(3, 10, base=1.0) == 1


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-4),
        (5, 1e-4 + 0.9999 / 2),  # the middle of the warm-up
        (9, 1e-4 + 0.9999 * 0.9),
        (10, 1.0),  # the end of the warm-up
        (40, (1 + 0.5) / 2),  # a third of the cosine: cos 60 degrees
        (55, 0.5),  # the middle of the cosine, 10 + 90 / 2
        (70, (1 - 0.5) / 2),
        (99, (1 + math.cos(math.pi * 89 / 90)) / 2),  # the last step: 0.0003
        (100, 0.0),
    ],
)
def test_learning_rate_factor(step, expected):
    assert learning_rate_factor(step, 100, 10) == pytest.approx(expected, abs=1e-9)


def test_learning_rate_without_warmup():
    assert learning_rate_factor(0, 100, 0) == 1
    assert learning_rate_factor(50, 100, 0) == pytest.approx(0.5)


@given(st.integers(1, 500), st.data())
def test_schedules_are_monotonous(total, data):
    warmup = data.draw(st.integers(0, total - 1))
    rates = [learning_rate_factor(step, total, warmup) for step in range(total + 1)]
    momenta = [target_momentum(step, total) for step in range(total + 1)]
    assert np.all(np.diff(rates[: warmup + 1]) > 0)
    assert np.all(np.diff(rates[warmup:]) < 0)
    assert np.all(np.diff(momenta) >= 0)
    assert rates[warmup] == max(rates) == 1
    assert rates[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.4e-4),
        (464, 0.4 * (1e-4 + 0.9999 / 2)),  # after 2 of the 4 epochs of warm-up
        (928, 0.4),  # after 4
        (928 + (185_600 - 928) // 2, 0.2),  # the middle of the rest
        (185_600, 0),
    ],
)
def test_learning_rate_on_coco(step, rate):
    """A cosine per step, which is not the paper's; that one is in test_paper.py."""
    assert learning_rate_at(Stage1Settings(schedule="step"), step, 118_287) == pytest.approx(rate, abs=1e-9)


# ---- memory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "bf16"),
    [("test_resnet", False), ("test_resnet", True), ("test_convnext", False), ("test_vit", True)],
)
def test_gradient_checkpointing_changes_nothing(backbone, bf16):
    def step(save_memory):
        torch.manual_seed(0)
        networks = BYOL(EncoderSettings(f"timm:{backbone}", 32, 16))
        if save_memory:
            networks.save_memory()
        view1, view2 = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses, _ = networks(view1, view2)
        losses["image"].backward()
        gradients = {name: p.grad for name, p in networks.named_parameters() if p.grad is not None}
        return {**networks.state_dict(), **gradients, "loss": losses["image"]}

    plain, saving = step(False), step(True)
    assert plain.keys() == saving.keys()  # so checkpoints fit as well
    for name in plain:
        torch.testing.assert_close(saving[name], plain[name], rtol=0, atol=0, msg=name)


def test_gradient_checkpointing_and_other_batch_statistics():
    """timm's way would count a batch twice in the running statistics."""
    networks = BYOL(EncoderSettings("timm:test_efficientnet", 32, 16))
    with pytest.raises(OrlError, match="leave it off"):
        networks.save_memory()
