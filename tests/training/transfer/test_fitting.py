"""Training with labels: rates, views, what a probe learns, and going on after a kill."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.settings import InputSettings
from orl_explore.views import cropping, parameters, tensors
from training.transfer import fitting, linear
from training.transfer.fitting import COLORS_TOO, Answers, EachOnce, Heads, LabeledViews, fit_heads, step_decay


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0, 1), (7.9, 1), (8, 0.1), (16, 0.01), (23.99, 0.01), (24, 0.001), (27, 0.001)]
)
def test_learning_rate_falls_at_the_steps(epoch, factor):
    assert step_decay((8, 16, 24), 0.1)(epoch) == pytest.approx(factor)


def squares(classes=2, count=12, size=16):
    """Images of one gray each, that tells the class."""
    labels = np.arange(count) % classes

    def load(row):
        return Image.new("RGB", (size, size), (90 * int(labels[row]) + 20,) * 3)

    return LabeledViews(load, labels, size=size, seed=0)


def fit_head(setup, encoder_settings, epochs, *, layers="last", folder="fit", seed=0):
    torch.manual_seed(seed)
    probe = linear.LinearProbe(Encoder.random(encoder_settings, 0), 2, layers, size=16)
    before = {name: value.clone() for name, value in probe.backbone.state_dict().items()}
    found = fit_heads(
        probe,
        squares(),
        squares(),
        groups=[{"params": list(probe.heads.parameters()), "lr": 0.1}],
        factor=step_decay((8,), 0.1),
        epochs=epochs,
        batch_size=6,
        sgd={"momentum": 0.9, "nesterov": True},
        setup=setup,
        precision="fp32",
        folder=setup.folder / folder,
    )
    return probe, before, found


def test_an_incomplete_last_batch_is_left_out(setup, encoder_settings):
    seen = []
    views = squares(count=7)
    load = views.load
    views.load = lambda row: seen.append(row) or load(row)
    probe = linear.LinearProbe(Encoder.random(encoder_settings, 0), 2, "last", size=16)
    groups = [{"params": list(probe.heads.parameters()), "lr": 0.1}]
    options = {"groups": groups, "factor": lambda epoch: 1.0, "sgd": {}, "setup": setup, "precision": "fp32"}
    fit_heads(probe, views, None, epochs=2, batch_size=3, folder=setup.folder / "fit", **options)
    assert len(seen) == 2 * 6
    assert all(len(set(epoch)) == 6 for epoch in (seen[:6], seen[6:]))


@pytest.mark.parametrize(
    ("count", "devices", "message"),
    [
        (12, 4, r"test\.batch_size is 6: 4 processes cannot share it equally, .* --devices 3 "),
        (3, 2, "3 training images are too few for 2 processes: take --devices 1"),
    ],
)
def test_a_batch_that_devices_cannot_share(count, devices, message, setup, encoder_settings):
    setup = dataclasses.replace(setup, config=dataclasses.replace(setup.config, devices=devices))
    probe = linear.LinearProbe(Encoder.random(encoder_settings, 0), 2, "last", size=16)
    options = {"factor": lambda epoch: 1.0, "sgd": {}, "setup": setup, "precision": "fp32", "folder": setup.folder}
    with pytest.raises(OrlError, match=message):
        fit_heads(probe, squares(count=count), None, groups=[], epochs=1, batch_size=6, **options)


def test_a_linear_probe_learns_and_leaves_the_backbone_alone(setup, encoder_settings):
    probe, before, found = fit_head(setup, encoder_settings, 10, layers="all")
    assert set(found) == {"res1", "res2", "res3", "res4", "res5"}
    assert found["res5"].top1 == 1.0
    after = probe.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # running statistics of BN, too
    assert not any(p.requires_grad for p in probe.backbone.parameters())
    norm = probe.heads["res5"][0]
    assert norm.weight is None  # no affine part
    assert norm.num_batches_tracked > 0
    assert not (setup.folder / "fit").exists()  # its checkpoints go when it is done


@pytest.mark.slow
def test_a_killed_fit_goes_on_to_the_same_weights(setup, encoder_settings, monkeypatch):
    whole, _, _ = fit_head(setup, encoder_settings, 100, folder="whole")
    import training.transfer.fitting as fitting

    real = fitting.Heads.training_step

    def killed(self, batch, batch_idx):
        if self.global_step == 150:  # a checkpoint is written after step 100
            raise RuntimeError("killed")
        return real(self, batch, batch_idx)

    monkeypatch.setattr(fitting.Heads, "training_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        fit_head(setup, encoder_settings, 100, folder="part")
    assert [file.name for file in (setup.folder / "part" / "checkpoints").iterdir()] == ["step=100.ckpt"]
    monkeypatch.setattr(fitting.Heads, "training_step", real)
    resumed, _, _ = fit_head(setup, encoder_settings, 100, folder="part", seed=9)  # other weights at first
    for (name, a), b in zip(whole.heads.state_dict().items(), resumed.heads.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@given(count=st.integers(1, 40), world=st.integers(1, 5))
def test_every_test_image_is_seen_by_one_process(count, world):
    rows = [row for rank in range(world) for row in EachOnce(count, rank=rank, world=world)]
    assert sorted(rows) == list(range(count))


def test_views_are_decided_by_seed_epoch_and_row():
    def image(row):
        return Image.fromarray(np.random.default_rng(row).integers(0, 255, (40, 40, 3), dtype=np.uint8))

    a, b = (LabeledViews(image, np.array([0, 1]), size=16, seed=seed) for seed in (3, 4))
    first = a[(0, 1)]["image"]
    assert torch.equal(a[(0, 1)]["image"], first)
    assert not torch.equal(a[(1, 1)]["image"], first)
    assert not torch.equal(b[(0, 1)]["image"], first)
    assert torch.equal(a[1]["image"], b[1]["image"])  # tests are not random


def views(**options):
    pixels = np.random.default_rng(0).integers(60, 200, (40, 40, 3), dtype=np.uint8)
    return LabeledViews(lambda row: Image.fromarray(pixels), np.zeros(9, int), size=16, seed=0, **options)


def test_images_are_resized_as_the_encoder_wants_them():
    picture = views().load(0)
    own = InputSettings(interpolation="bicubic", crop=1.0, rounding="down")
    shown, paper = views(inputs=own), views()
    for made, inputs in ((shown, own), (paper, InputSettings())):
        assert torch.equal(made[0]["image"], tensors.to_tensor(cropping.center_view(picture, 16, inputs)))
    assert not torch.equal(shown[0]["image"], paper[0]["image"])
    # A random view is of the same part of the image either way.
    rng = np.random.default_rng([0, 2, 0])
    box = parameters.sample_view(rng, fitting.CROP_AND_FLIP, view=0, image_size=picture.size).box
    for made, interpolation in ((shown, "bicubic"), (paper, "bilinear")):
        crop = tensors.to_tensor(cropping.crop_image(picture, box, 16, interpolation))
        assert any(torch.equal(made[(2, 0)]["image"], seen) for seen in (crop, crop.flip(2)))


def test_colors_are_jittered_and_shifted_in_training_alone():
    plain, colored = views(), views(augment=COLORS_TOO, color_noise=0.1)
    shifts = np.stack([colored[(epoch, 0)]["shift"].numpy() for epoch in range(300)])
    assert len(np.unique(shifts[:, 0])) == 300
    # Of the components' scales 0.2175, 0.0188 and 0.0045 the first, nearly gray, counts: 0.1 * 0.2175 * 0.57 = 0.0124.
    assert shifts.std(axis=0) == pytest.approx([0.0124, 0.0126, 0.0127], rel=0.15)
    assert np.corrcoef(shifts.T)[0, 2] > 0.95
    assert not torch.equal(plain[(0, 0)]["image"], colored[(0, 0)]["image"])
    for test in (plain[0], colored[0]):
        assert test["shift"].tolist() == [0, 0, 0]
    assert torch.equal(plain[0]["image"], colored[0]["image"])


def test_color_noise_by_hand(monkeypatch):
    # Once along the first component, half against the second, three times the third.
    rng = type("Rng", (), {"normal": lambda self, mean, deviation, count: deviation * np.array([1, -0.5, 3])})()
    by_hand = [
        0.1 * (-0.5675 * 0.2175 - 0.5 * 0.7192 * 0.0188 + 3 * 0.4009 * 0.0045),
        0.1 * (-0.5808 * 0.2175 + 0.5 * 0.0045 * 0.0188 - 3 * 0.8140 * 0.0045),
        0.1 * (-0.5836 * 0.2175 + 0.5 * 0.6948 * 0.0188 + 3 * 0.4203 * 0.0045),
    ]
    assert fitting.color_shift(rng, 0.1) == pytest.approx(by_hand)


def test_the_shift_is_added_to_what_the_network_sees():
    batch = {"image": torch.full((1, 3, 2, 2), 255, dtype=torch.uint8), "shift": torch.tensor([[0.1, 0.0, -0.1]])}
    shown = fitting._shown(batch, InputSettings())[0, :, 0, 0].tolist()
    # (1 + shift - mean) / std, beyond white where the shift leads there.
    assert shown == pytest.approx([(1.1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (0.9 - 0.406) / 0.225], rel=1e-5)
    half = InputSettings(mean=(0.5,) * 3, std=(0.5,) * 3)  # of an encoder that was trained otherwise
    assert fitting._shown(batch, half)[0, :, 0, 0].tolist() == pytest.approx([1.2, 1.0, 0.8], rel=1e-5)


def test_places_of_the_right_class():
    logits = torch.tensor([[5.0, 4, 3, 2, 1, 0, -1]]).repeat(4, 1)
    network = torch.nn.Module()
    network.inputs = InputSettings()
    network.forward = lambda images: {"head": logits}
    network.inputs = InputSettings()
    module = Heads(network, groups=[], factor=lambda _: 1.0, steps_per_epoch=1, epochs=1, sgd={})
    batch = {"image": torch.zeros(4, 3, 2, 2, dtype=torch.uint8), "shift": torch.zeros(4, 3)}
    module.validation_step({**batch, "label": torch.tensor([0, 3, 4, 6])}, 0)
    places = np.concatenate(module.places["head"])
    assert places.tolist() == [0, 3, 4, 5]
    tested = Answers(places)
    assert (tested.top1, tested.top5) == (1 / 4, 3 / 4)
    assert tested.items.value() == 1 / 4
