"""Encoders of other projects in: the same features, and nothing that does not fit or runs code."""

from __future__ import annotations

import argparse
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from encoder_files import SETTINGS, State, difference, encoder, moco, plain
from orl_explore.byol import BYOL
from orl_explore.errors import OrlError
from orl_explore.interchange import weights
from orl_explore.interchange.weights import read_encoder
from orl_explore.orl import ORL
from orl_explore.settings import EncoderSettings


def renamed(state: State, names: dict[str, str], prefix: str = "") -> State:
    """Keys with the beginnings that `names` has replaced."""
    found = {}
    for key, value in state.items():
        for old, new in names.items():
            if key.startswith(old):
                found[prefix + new + key[len(old) :]] = value.clone()
    return found


def authors(networks: torch.nn.Module, predictors: dict[str, str]) -> dict:
    """A checkpoint in the authors' layout: one network under two names, target, predictors, optimizer."""
    layers = {"0.": "fc0.", "1.": "bn0.", "3.": "fc1."}
    state: State = {}
    for ours, theirs in (("online", "online_net"), ("target", "target_net")):
        part = getattr(networks, ours)
        state |= renamed(part.backbone.state_dict(), {"": ""}, f"{theirs}.0.")
        state |= renamed(part.projector.state_dict(), layers, f"{theirs}.1.")
    state |= renamed(networks.online.backbone.state_dict(), {"": ""}, "backbone.")
    state |= renamed(networks.online.projector.state_dict(), layers, "neck.")
    for ours, theirs in predictors.items():
        state |= renamed(getattr(networks, ours).state_dict(), layers, f"{theirs}.predictor.")
    return {
        "meta": {"epoch": 800},
        "state_dict": state,
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}},
    }


def trained(kind: type) -> torch.nn.Module:
    networks = kind(SETTINGS)
    networks.online.load_state_dict(encoder().state_dict())
    return networks


def lightly() -> dict:
    places = {"conv1.": "0.", "bn1.": "1.", "layer1.": "4.", "layer2.": "5.", "layer3.": "6.", "layer4.": "7."}
    head = {"projection_head.layers.0.weight": torch.ones(2, 512)}
    backbone = renamed(encoder().backbone.state_dict(), places, "backbone.")
    momentum = renamed(encoder().backbone.state_dict(), places, "backbone_momentum.")
    return {"epoch": 3, "state_dict": {**backbone, **{k: v + 1 for k, v in momentum.items()}, **head}}


def dino() -> dict:
    teacher = {f"backbone.{k}": v for k, v in encoder().backbone.state_dict().items()}
    student = {f"module.{k}": v + 1 for k, v in teacher.items()}
    teacher["head.mlp.0.weight"] = torch.ones(8, 512)
    return {"student": student, "teacher": teacher, "args": argparse.Namespace(arch="resnet18"), "epoch": 1}


def without_counters() -> State:
    return {key: value for key, value in plain().items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("content", "network"),
    [
        (plain, ""),
        (without_counters, ""),
        (lambda: {"model": {f"module.{k}": v for k, v in plain().items()}}, "module."),
        (lightly, "backbone."),
        (moco, "module.encoder_q."),
        (dino, "backbone."),
    ],
)
def test_backbones_of_others_give_the_same_features(tmp_path, content, network):
    path = tmp_path / "theirs.pth"
    torch.save(content(), path)
    found, fit = read_encoder(path)
    assert found.settings == EncoderSettings("resnet18", hidden=0, dim=512)
    assert fit.network == network
    assert fit.stage == "stage1"
    assert difference(found, encoder().features) == 0  # without a projector, features are all there is
    # Every key of the file is accounted for.
    state = weights.read_state(path)
    assert len(fit.taken) + sum(fit.left_out.values()) == len(state)


@pytest.mark.parametrize(
    ("kind", "predictors", "stage"),
    [
        (BYOL, {"predictor": "head"}, "stage1"),
        (
            ORL,
            {
                "image_predictor": "global_head",
                "intra_predictor": "local_intra_head",
                "inter_predictor": "local_inter_head",
            },
            "stage3",
        ),
    ],
)
def test_the_authors_checkpoints_keep_their_projector(tmp_path, kind, predictors, stage):
    path = tmp_path / "epoch_800.pth"
    torch.save(authors(trained(kind), predictors), path)
    found, fit = read_encoder(path)
    assert found.settings == SETTINGS
    assert fit.network == "online_net.0."
    assert fit.stage == stage
    assert difference(found, encoder()) == 0


def test_the_authors_backbone_and_neck_alone(tmp_path):
    content = authors(trained(BYOL), {})
    content["state_dict"] = {k: v for k, v in content["state_dict"].items() if k.startswith(("backbone.", "neck."))}
    torch.save(content, tmp_path / "a.pth")
    assert difference(read_encoder(tmp_path / "a.pth")[0], encoder()) == 0


def test_this_projects_encoders_and_checkpoints(tmp_path):
    encoder().save(tmp_path / "e.safetensors", stage="stage3")
    found, fit = read_encoder(tmp_path / "e.safetensors")
    assert (found.settings, fit.stage) == (SETTINGS, "stage3")
    assert difference(found, encoder()) == 0
    state = {f"networks.{key}": value for key, value in trained(ORL).state_dict().items()}
    torch.save({"state_dict": state, "global_step": 3}, tmp_path / "step=3.ckpt")
    found, fit = read_encoder(tmp_path / "step=3.ckpt")
    assert (fit.network, fit.stage) == ("networks.online.backbone.", "stage3")
    assert difference(found, encoder()) == 0


def test_timm_models_need_their_name(tmp_path):
    import timm

    model = timm.create_model("resnet26d", num_classes=5).eval()
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    found, _ = read_encoder(tmp_path / "m.safetensors", backbone="timm:resnet26d")
    model.reset_classifier(0)
    assert difference(found, model) == 0
    with pytest.raises(OrlError, match=r"name the backbone|does not fit"):
        read_encoder(tmp_path / "m.safetensors")


def test_two_networks_are_a_question(tmp_path):
    state = encoder().backbone.state_dict()
    both = {f"student.{k}": v for k, v in state.items()} | {f"teacher.{k}": v + 1 for k, v in state.items()}
    torch.save({"state_dict": both}, tmp_path / "a.pth")
    with pytest.raises(OrlError, match=r"several networks: choose one with --network 'student.' or 'teacher.'"):
        read_encoder(tmp_path / "a.pth")
    assert difference(read_encoder(tmp_path / "a.pth", network="student")[0], encoder().features) == 0
    with pytest.raises(OrlError, match=r"has no network 'other.'"):
        read_encoder(tmp_path / "a.pth", network="other")


def holds_itself() -> dict:
    content: dict = {}
    content["state_dict"] = content
    return content


def lacking(*keys: str) -> State:
    return {key: value for key, value in plain().items() if key not in keys}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (lambda: lacking("layer4.1.conv2.weight"), r"not loaded in part: 1 missing: backbone.layer4.1.conv2.weight$"),
        (lambda: {**plain(), "layer5.0.conv1.weight": torch.ones(2)}, r"1 unexpected: layer5.0.conv1.weight$"),
        (
            lambda: {**plain(), "bn1.weight": torch.ones(3)},
            r"1 of another shape: bn1.weight \(3,\) instead of \(64,\)$",
        ),
        (lambda: {**plain(), "bn1.weight": torch.full((64,), torch.nan)}, r"1 not finite: bn1.weight$"),
        (
            lambda: {**plain(), "bn1.weight": torch.full((64,), torch.nan).to(torch.float8_e4m3fn)},
            r"1 not finite: bn1.weight$",
        ),
        (lambda: {**plain(), "bn1.running_var": -torch.ones(64)}, r"1 variances below 0: bn1.running_var$"),
        (
            lambda: {**plain(), "bn1.weight": torch.ones(64, dtype=torch.int8)},
            r"of another type: bn1.weight torch.int8",
        ),
        (lambda: {**plain(), "bn1.weight": torch.ones(64, dtype=torch.complex64)}, r"bn1.weight is no plain array"),
        (lambda: {**plain(), "bn1.weight": torch.ones(64, device="meta")}, r"bn1.weight is no plain array"),
        (lambda: {**plain(), "bn1.weight": torch.ones(64).to_sparse()}, r"bn1.weight is no plain array"),
        (lambda: {**plain(), "x": torch.zeros(1).expand(1 << 50)}, r": x is no plain array"),  # a petabyte of zeros
        (
            lambda: {**plain(), "0.weight": torch.ones(64, 3, 7, 7), "4.0.conv1.weight": torch.ones(2)},
            r"has both conv1.weight and 0.weight for backbone.conv1.weight",
        ),
        (holds_itself, r"holds no state dict"),
        (lambda: {"a": torch.ones(2)}, r"has no ResNet in it"),
        (lambda: {"state_dict": {}}, r"holds no state dict"),
        (lambda: [1, 2], r"holds no state dict"),
    ],
)
def test_what_does_not_fit_is_refused_by_key(tmp_path, content, sentence):
    torch.save(content(), tmp_path / "a.pth")
    with pytest.raises(OrlError, match=sentence):
        read_encoder(tmp_path / "a.pth")


class Payload:
    """Pickled code: whoever loads it would make the folder `been-here`."""

    def __reduce__(self):
        return os.mkdir, ("been-here",)


def test_pickled_code_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": plain(), "meta": Payload()}, "new.pth")
    torch.save({"state_dict": plain(), "meta": Payload()}, "old.pth", _use_new_zipfile_serialization=False)
    Path("plain.pth").write_bytes(pickle.dumps(Payload()))
    for name in ("new.pth", "old.pth", "plain.pth"):
        with pytest.raises(OrlError, match=r"(could|can) run code"):
            read_encoder(Path(name))
    Path("some.pkl").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(OrlError, match="is a pickle, which can run code"):
        read_encoder(Path("some.pkl"))
    assert not Path("been-here").exists()


@pytest.mark.slow
def test_bombs_and_damage_are_refused(tmp_path):
    torch.save(plain(), tmp_path / "a.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:-5000])
    with pytest.raises(OrlError, match="is no checkpoint, or is damaged"):
        read_encoder(tmp_path / "cut.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as source,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in source.namelist():
            bomb.writestr(name, source.read(name))
    with pytest.raises(OrlError, match=r"^\S*bomb.pth has the compressed entry a/data.pkl"):
        read_encoder(tmp_path / "bomb.pth")
    for text, what in (
        ("version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        ("<!DOCTYPE html>", "a web page"),
        ("not a checkpoint", "nothing that torch.save writes"),
    ):
        (tmp_path / "text.pth").write_text(text)
        with pytest.raises(OrlError, match=rf"is no checkpoint, or is damaged \(it is {what}"):
            read_encoder(tmp_path / "text.pth")
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(OrlError, match="is no safetensors file, or is damaged"):
        read_encoder(tmp_path / "a.safetensors")


@pytest.mark.parametrize("text", ['{"settings": {"backbone": 5}, "provenance": {}}', "[" * 100_000, "[1]"])
def test_damaged_metadata_is_refused(tmp_path, text):
    save_file(encoder().backbone.state_dict(), tmp_path / "a.safetensors", metadata={"encoder": text})
    with pytest.raises(OrlError, match="made by another version"):
        read_encoder(tmp_path / "a.safetensors")


def test_hub_loads_an_encoder(with_encoder):
    root = Path(__file__).parents[2]
    found = torch.hub.load(str(root), "load_encoder", str(with_encoder.encoder_file("stage1")), source="local")
    assert difference(found, encoder().features) == 0
