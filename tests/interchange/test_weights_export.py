"""Weights for other libraries: the same features there, under their names and shapes."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import stat

import numpy as np
import pytest
import torch
import torchvision
import yaml
from safetensors.torch import load_file

from encoder_files import difference, encoder
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.interchange import weights_export
from orl_explore.settings import EncoderSettings
from training.exporting import export


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


@pytest.mark.parametrize("target", ["torchvision", "timm", "detectron2", "mmdetection"])
def test_others_may_read_what_is_exported_as_far_as_the_umask_says(with_encoder, tmp_path, target):
    before = os.umask(0o027)
    try:
        made = export(with_encoder, target, tmp_path / f"out{weights_export.TARGETS[target][0]}")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o640}


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
    settings = yaml.safe_load(card.read_text().split("```python\n")[1].split("```")[0])
    model = settings["MODEL"]
    assert model["ROI_BOX_HEAD"] == {"NAME": "FastRCNNConvFCHead", "NUM_CONV": 4, "NUM_FC": 1, "NORM": "SyncBN"}
    norms = [model[part]["NORM"] for part in ("RESNETS", "FPN", "ROI_MASK_HEAD")]
    assert norms == ["SyncBN"] * 3
    assert (model["BACKBONE"], settings["INPUT"]) == ({"FREEZE_AT": 0}, {"FORMAT": "RGB"})
    assert settings["TEST"] == {"PRECISE_BN": {"ENABLED": True}}


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
            assert np.abs(ours.numpy() - theirs).max() < 1e-5 * max(1, np.abs(theirs).max())
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert [one.shape[0] for one in session.get_outputs()] == ["batch", "batch"]
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(told["std"]) == [0.229, 0.224, 0.225]
    assert "divided by 255" in told["input"]
    assert json.loads(told["encoder"]) == {"backbone": "resnet18", "hidden": 24, "dim": 8, "init": "paper"}
    assert sorted(path.name for path in tmp_path.glob("w*")) == ["w.md", "w.onnx"]  # no weights beside it
    assert "`projection`: the projector's output of 8" in card.read_text()


def test_onnx_says_what_it_needs(with_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OrlError, match="by means of onnx and onnxscript: pip install onnx onnxscript"):
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
