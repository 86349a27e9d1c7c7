"""Weights of other projects in, and out for other libraries: equal features, or a refusal that names the keys."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from orl_explore.byol import BYOL
from orl_explore.encoder import Encoder, EncoderSettings
from orl_explore.errors import OrlError
from orl_explore.interchange import weights
from orl_explore.interchange.weights import detectron2_name, read_encoder
from orl_explore.orl import ORL
from training.interchange import export, import_files

SETTINGS = EncoderSettings("resnet18", hidden=24, dim=8)
State = dict[str, torch.Tensor]


@functools.cache
def encoder() -> Encoder:
    """An encoder whose batch statistics are not the ones it begins with, so that losing them would show."""
    made = Encoder.random(SETTINGS, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        made.train()(torch.randn(4, 3, 32, 32))
    return made.eval()


def pictures() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def difference(first: Callable, second: Callable) -> float:
    return (first(pictures()) - second(pictures())).abs().max().item()


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


# ---- in --------------------------------------------------------------------------------------------------------------


def plain() -> State:
    model = torchvision.models.resnet18()
    model.fc = torch.nn.Linear(512, 5)
    return {**{f"fc.{k}": v for k, v in model.fc.state_dict().items()}, **encoder().backbone.state_dict()}


def lightly() -> dict:
    places = {"conv1.": "0.", "bn1.": "1.", "layer1.": "4.", "layer2.": "5.", "layer3.": "6.", "layer4.": "7."}
    head = {"projection_head.layers.0.weight": torch.ones(2, 512)}
    backbone = renamed(encoder().backbone.state_dict(), places, "backbone.")
    momentum = renamed(encoder().backbone.state_dict(), places, "backbone_momentum.")
    return {"epoch": 3, "state_dict": {**backbone, **{k: v + 1 for k, v in momentum.items()}, **head}}


def moco() -> dict:
    query = {f"module.encoder_q.{k}": v for k, v in encoder().backbone.state_dict().items()}
    query |= {"module.encoder_q.fc.0.weight": torch.ones(8, 512), "module.encoder_q.fc.2.weight": torch.ones(4, 8)}
    key = {k.replace("_q", "_k"): v + 1 for k, v in query.items()}
    return {"epoch": 200, "arch": "resnet18", "state_dict": {**query, **key, "module.queue": torch.ones(4, 9)}}


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
        with pytest.raises(OrlError, match="it could run code, and is not read"):
            read_encoder(Path(name))
    Path("some.pkl").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(OrlError, match="is a pickle, which can run code"):
        read_encoder(Path("some.pkl"))
    assert not Path("been-here").exists()


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
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(OrlError, match="is no safetensors file, or is damaged"):
        read_encoder(tmp_path / "a.safetensors")


def test_an_import_begins_stage_2(new_run, tmp_path, annotations, capsys):
    # A backbone of another project stands in for stage 1: its settings are the run's, and the table of keys is shown.
    from training import stage2
    from training.config import load_config

    torch.save(moco(), tmp_path / "moco.pth.tar")
    overrides = ["--stage2.image_size=32", "--stage2.neighbors=2", "--stage2.min_side=16", "--workers=0"]
    overrides += ["--precision=fp32"]
    run = import_files(tmp_path / "run", [tmp_path / "moco.pth.tar"], images=[annotations], overrides=overrides)
    printed = capsys.readouterr().err
    assert "module.encoder_q.* -> backbone.*" in printed
    # 20 convolutions and 20 norms of five tensors; the head has two; key network and queue are others.
    lines = {tuple(line.rsplit("  ", 1)) for line in printed.splitlines()[1:5]}
    assert {(keys.strip(), fate) for keys, fate in lines} == {
        ("module.encoder_q.* -> backbone.*", "120 taken"),
        ("module.encoder_q.fc.*", "2 left out"),
        ("module.encoder_k.*", "122 left out"),
        ("module.queue", "1 left out"),
    }
    config = load_config(run.path / "config.yaml")
    assert config.stage1.encoder == EncoderSettings("resnet18", hidden=0, dim=512)
    stage2.run(run, config)
    assert run.read_array("image_embeddings").shape == (24, 512)
    assert run.finished("stage2")


# ---- out -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_encoder(new_run):
    """A run with an encoder of stage 1."""
    run = new_run()
    run.encoder_file("stage1").parent.mkdir()
    encoder().save(run.encoder_file("stage1"), stage="stage1", image_size=32)
    return run


def test_torchvision_gives_the_same_features(with_encoder, tmp_path):
    out, card = export(with_encoder, "torchvision", tmp_path / "w.safetensors")
    model = torchvision.models.resnet18()
    model.fc = torch.nn.Identity()
    model.load_state_dict(load_file(out))
    assert difference(model.eval(), encoder().features) < 1e-5
    assert 'load_file("w.safetensors")' in card.read_text()


def test_timm_gives_the_same_features(with_encoder, tmp_path):
    import timm

    out, card = export(with_encoder, "timm", tmp_path / "w.safetensors")
    model = timm.create_model("resnet18", num_classes=0, checkpoint_path=str(out)).eval()
    assert difference(model, encoder().features) < 1e-5
    assert 'checkpoint_path="w.safetensors"' in card.read_text()


class ArraysOnly(pickle.Unpickler):
    """Reads numpy arrays and plain values, as Detectron2's checkpointer needs them, and nothing else."""

    def find_class(self, module, name):
        assert (module.partition(".")[0], name) in {
            ("numpy", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy", "_frombuffer"),
        }
        return super().find_class(module, name)


def test_detectron2_has_its_names_and_shapes(with_encoder, tmp_path):
    out, card = export(with_encoder, "detectron2", tmp_path / "w.pkl")
    with out.open("rb") as file:
        content = ArraysOnly(file).load()
    model, ours = content["model"], encoder().backbone.state_dict()
    assert content["matching_heuristics"] is True
    assert len(model) == sum(not key.endswith("num_batches_tracked") for key in ours)
    for theirs, key in {
        "stem.conv1.weight": "conv1.weight",
        "stem.conv1.norm.running_mean": "bn1.running_mean",
        "res2.0.conv1.weight": "layer1.0.conv1.weight",
        "res2.0.conv2.norm.bias": "layer1.0.bn2.bias",
        "res5.0.shortcut.weight": "layer4.0.downsample.0.weight",
        "res5.0.shortcut.norm.running_var": "layer4.0.downsample.1.running_var",
    }.items():
        np.testing.assert_array_equal(model[theirs], ours[key].numpy())
    assert "DEPTH: 18" in card.read_text()


def test_detectron2_names_of_a_resnet50_are_those_of_its_zoo():
    # BottleneckBlock has conv1..conv3 with a norm each; res2..res5 have 3, 4, 6, 3 blocks, the first with a shortcut.
    expected = {"stem.conv1"} | {
        f"res{stage}.{block}.{layer}"
        for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3))
        for block in range(blocks)
        for layer in ("conv1", "conv2", "conv3", *(("shortcut",) if block == 0 else ()))
    }
    with torch.device("meta"):
        model = torchvision.models.resnet50()
    found = {detectron2_name(name) for name in model.state_dict() if not name.startswith("fc.") and "num_" not in name}
    norms = ("weight", "bias", "running_mean", "running_var")
    assert found == {f"{name}.weight" for name in expected} | {f"{n}.norm.{part}" for n in expected for part in norms}


def test_mmdetection_has_torchvisions_names(with_encoder, tmp_path):
    out, _ = export(with_encoder, "mmdetection", tmp_path / "w.pth")
    state = torch.load(out, weights_only=True)["state_dict"]
    model = torchvision.models.resnet18()
    model.fc = torch.nn.Identity()
    model.load_state_dict(state)
    assert difference(model.eval(), encoder().features) < 1e-5


def test_onnx_says_what_it_needs(with_encoder, tmp_path):
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxscript"):
        onnxruntime = pytest.importorskip("onnxruntime")
        out, _ = export(with_encoder, "onnx", tmp_path / "w.onnx")
        found = onnxruntime.InferenceSession(str(out)).run(None, {"images": pictures().numpy()})[0]
        assert np.abs(found - encoder().features(pictures()).detach().numpy()).max() < 1e-5
        return
    with pytest.raises(OrlError, match="pip install onnx onnxscript"):
        export(with_encoder, "onnx", tmp_path / "w.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_weights_that_a_library_cannot_hold_are_refused(new_run, tmp_path):
    run = new_run()
    run.encoder_file("stage1").parent.mkdir()
    Encoder.random(EncoderSettings("timm:test_resnet", 8, 4), 0).save(run.encoder_file("stage1"))
    for target, name in (("torchvision", "a.safetensors"), ("detectron2", "a.pkl"), ("mmdetection", "a.pth")):
        with pytest.raises(OrlError, match="export it for timm"):
            export(run, target, tmp_path / name)
    with pytest.raises(OrlError, match=r"from a \.pkl file: name it a\.pkl"):
        export(run, "detectron2", tmp_path / "a.pth")
    assert export(run, "timm", tmp_path / "a.safetensors")[0].exists()


def test_the_card_tells_only_what_is_known(with_encoder, tmp_path):
    card = export(with_encoder, "torchvision", tmp_path / "w.safetensors")[1].read_text()
    assert "Nobody has measured it yet" in card
    assert str(with_encoder.path.parent) not in card


def test_the_card_of_imported_weights_claims_nothing(tmp_path, annotations):
    # Torchvision's weights were trained with labels, on other images, at a size that the file does not tell.
    torch.save(plain(), tmp_path / "theirs.pth")
    run = import_files(tmp_path / "run", [tmp_path / "theirs.pth"], images=[annotations])
    card = export(run, "torchvision", tmp_path / "w.safetensors")[1].read_text()
    assert "imported from `theirs.pth`; how it was trained is not recorded" in card
    assert not any(claim in card for claim in ("without labels", "BYOL", "fingerprint", "trained at"))


@pytest.mark.parametrize("text", ['{"settings": {"backbone": 5}, "provenance": {}}', "[" * 100_000, "[1]"])
def test_damaged_metadata_is_refused(tmp_path, text):
    save_file(encoder().backbone.state_dict(), tmp_path / "a.safetensors", metadata={"encoder": text})
    with pytest.raises(OrlError, match="made by another version"):
        read_encoder(tmp_path / "a.safetensors")


def test_hub_loads_an_encoder(with_encoder):
    root = Path(__file__).parent.parent
    found = torch.hub.load(str(root), "load_encoder", str(with_encoder.encoder_file("stage1")), source="local")
    assert difference(found, encoder().features) == 0
