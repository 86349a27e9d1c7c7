"""Weights of other projects in, and out for other libraries: equal features, or a refusal that names the keys."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
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
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.interchange import weights, weights_export
from orl_explore.interchange.card import resnet_shape
from orl_explore.interchange.weights import read_encoder
from orl_explore.orl import ORL
from orl_explore.settings import EncoderSettings
from training.cli.exchange import EXPORT_NAMES
from training.cli.exchange import EXPORTS as EXPORT_HELP
from training.exporting import EXPORTS, export
from training.importing import import_files

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
    """Reads arrays and plain values, by names that every version of NumPy has, and nothing else."""

    def find_class(self, module, name):
        assert (module, name) in {("numpy", "ndarray"), ("builtins", "bytearray")}
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


def resnet50_shapes() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Detectron2's ResNet-50: written down from its BasicStem, BottleneckBlock and get_norm."""
    shapes: dict[str, tuple[int, ...]] = {"stem.conv1": (64, 3, 7, 7)}
    before = 64
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
        out = 256 * 2 ** (stage - 2)
        for block in range(blocks):
            name = f"res{stage}.{block}"
            if block == 0:
                shapes[f"{name}.shortcut"] = (out, before, 1, 1)
            shapes[f"{name}.conv1"] = (out // 4, before, 1, 1)
            shapes[f"{name}.conv2"] = (out // 4, out // 4, 3, 3)
            shapes[f"{name}.conv3"] = (out, out // 4, 1, 1)
            before = out
    norms = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.weight": shape for name, shape in shapes.items()} | {
        f"{name}.norm.{part}": shape[:1] for name, shape in shapes.items() for part in norms
    }


def test_a_resnet50_has_the_keys_and_shapes_of_detectron2(tmp_path):
    weights_export.for_detectron2(Encoder.random(EncoderSettings("resnet50", 0, 2048), seed=0), tmp_path / "w.pkl")
    with (tmp_path / "w.pkl").open("rb") as file:
        model = ArraysOnly(file).load()["model"]
    assert {key: array.shape for key, array in model.items()} == resnet50_shapes()
    assert {(array.dtype.str, array.flags.writeable) for array in model.values()} == {("<f4", True)}
    assert len(model) == 53 * 5  # 1 + 16 x 3 + 4 convolutions, each with a norm of four


def test_a_resnet50_has_the_keys_and_shapes_of_mmdetection():
    # Its ResNet has conv1 and bn1, layer1 .. layer4 of blocks with conv1, bn1 .. conv3, bn3, and downsample.0 and .1.
    with torch.device("meta"):
        state = Encoder(EncoderSettings("resnet50", 0, 2048)).backbone.state_dict()
    expected = {}
    for key, shape in resnet50_shapes().items():
        name = key.removeprefix("stem.")
        for theirs, ours in (("shortcut.norm", "downsample.1"), ("shortcut.", "downsample.0.")):
            name = name.replace(theirs, ours)
        for number in "123":
            name = name.replace(f"conv{number}.norm", f"bn{number}")
        for stage in "2345":
            name = name.replace(f"res{stage}.", f"layer{int(stage) - 1}.")
        expected[name] = shape
        if name.endswith("running_var"):
            expected[f"{name.removesuffix('running_var')}num_batches_tracked"] = ()
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == expected


@pytest.mark.parametrize(
    ("name", "detectron2", "mmdetection"),
    [
        # Detectron2 insists on 64 channels in res2 of the small ones, and widens by width per group.
        ("resnet18", "DEPTH: 18, RES2_OUT_CHANNELS: 64", 'type="ResNet", depth=18'),
        ("resnet50", "DEPTH: 50", 'type="ResNet", depth=50'),
        (
            "resnext50_32x4d",
            "DEPTH: 50, NUM_GROUPS: 32, WIDTH_PER_GROUP: 4",
            'type="ResNeXt", depth=50, groups=32, base_width=4',
        ),
        # MMDetection's networks of one group have no other width.
        ("wide_resnet50_2", "DEPTH: 50, NUM_GROUPS: 1, WIDTH_PER_GROUP: 128", None),
    ],
)
def test_the_card_spells_the_shape_of_the_network(name, detectron2, mmdetection):
    assert resnet_shape(name, "detectron2") == detectron2
    if mmdetection:
        assert resnet_shape(name, "mmdetection") == mmdetection
    else:
        with pytest.raises(OrlError, match=f"MMDetection has no {name}"):
            resnet_shape(name, "mmdetection")


def test_every_resnet_of_torchvision_has_a_shape_to_spell():
    names = [name for name in torchvision.models.list_models(module=torchvision.models) if "resne" in name]
    assert len([resnet_shape(name, "detectron2") for name in names]) == len(names) >= 9


def test_mmdetection_has_torchvisions_names(with_encoder, tmp_path):
    out, _ = export(with_encoder, "mmdetection", tmp_path / "w.pth")
    state = torch.load(out, weights_only=True)["state_dict"]
    model = torchvision.models.resnet18()
    model.fc = torch.nn.Identity()
    model.load_state_dict(state)
    assert difference(model.eval(), encoder().features) < 1e-5


@pytest.mark.slow
def test_onnx_gives_the_same_features_and_projections(with_encoder, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out, card = export(with_encoder, "onnx", tmp_path / "w.onnx")
    session = onnxruntime.InferenceSession(str(out))
    for number, side in ((1, 64), (2, 64), (5, 96)):
        images = torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(number))
        found = session.run(["features", "projection"], {"images": images.numpy()})
        with torch.inference_mode():
            expected = encoder().features(images), encoder()(images)
        for ours, theirs in zip(expected, found, strict=True):
            assert np.abs(ours.numpy() - theirs).max() < 1e-5
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(told["std"]) == [0.229, 0.224, 0.225]
    assert "divided by 255" in told["input"]
    assert json.loads(told["encoder"]) == {"backbone": "resnet18", "hidden": 24, "dim": 8}
    assert sorted(path.name for path in tmp_path.glob("w*")) == ["w.md", "w.onnx"]  # no weights beside it
    assert "`projection`: the projector's output of 8" in card.read_text()


def test_onnx_says_what_it_needs(with_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OrlError, match="by means of onnx and onnxscript: pip install onnx onnxscript"):
        export(with_encoder, "onnx", tmp_path / "w.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_every_export_can_be_typed():
    assert {*EXPORTS, *weights_export.TARGETS} == set(EXPORT_NAMES)
    assert all(name in EXPORT_HELP for name in EXPORT_NAMES)


@pytest.mark.parametrize("name", ["stage1/encoder.safetensors", "new.safetensors", "stage9/new.safetensors"])
def test_an_export_takes_the_place_of_nothing_in_a_run(with_encoder, tmp_path, name):
    before = {path: path.read_bytes() for path in with_encoder.path.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(with_encoder.path)
    for folder in (with_encoder.path, tmp_path / "link"):
        with pytest.raises(OrlError, match=r"lies among the files of the run run: export to .*/run/exports/"):
            export(with_encoder, "torchvision", folder / name)
    assert {path: path.read_bytes() for path in with_encoder.path.rglob("*") if path.is_file()} == before
    assert export(with_encoder, "torchvision", with_encoder.path / "exports" / "w.safetensors")[0].exists()


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
    root = Path(__file__).parents[2]
    found = torch.hub.load(str(root), "load_encoder", str(with_encoder.encoder_file("stage1")), source="local")
    assert difference(found, encoder().features) == 0
