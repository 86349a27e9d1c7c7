"""Weights to begin with: copied to both sides, recorded, refused where they do not fit, not needed afterwards."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch

from orl_explore.byol import BYOL
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.runs.checkpoints import latest_checkpoint
from orl_explore.runs.files import hash_file
from orl_explore.runs.run import Run
from orl_explore.settings import EncoderSettings, InputSettings
from stage_runs import STAGES, outputs
from training.starting_weights import begin_with

OTHER = InputSettings(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1), interpolation="bicubic", size=40)


@pytest.fixture
def given(tmp_path, encoder_settings):
    """A file with an encoder of the tiny shape, fed in a way of its own."""
    encoder = Encoder.random(encoder_settings, seed=7)
    encoder.inputs = OTHER
    encoder.save(tmp_path / "given.safetensors")
    return tmp_path / "given.safetensors"


def test_both_sides_begin_with_it(given, new_run, changed, encoder_settings):
    run, networks = new_run(), BYOL(encoder_settings)
    drawn = networks.predictor[0].weight.clone()
    facts = begin_with(networks, run, changed("stage1", init=str(given)), "stage1")
    expected = Encoder.load(given).state_dict()
    for side in (networks.online, networks.target):
        found = side.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    assert not any(p.requires_grad for p in networks.target.parameters())
    assert torch.equal(networks.predictor[0].weight, drawn)
    assert facts["encoder"] == str(given)
    assert facts["hash"] == hash_file(given)
    assert facts["projector"] is True
    # The numbers that were subtracted and divided by come along; sizes and crops are training's own.
    assert networks.online.inputs == InputSettings(mean=OTHER.mean, std=OTHER.std)


def test_a_backbone_alone(new_run, changed, encoder_settings, tmp_path):
    backbone = Encoder.random(dataclasses.replace(encoder_settings, hidden=0, dim=96), seed=3)
    backbone.save(tmp_path / "backbone.safetensors")
    networks = BYOL(encoder_settings)
    projector = networks.online.projector[0].weight.clone()
    facts = begin_with(networks, new_run(), changed("stage1", init=str(tmp_path / "backbone.safetensors")), "stage1")
    assert facts["projector"] is False
    assert torch.equal(networks.online.projector[0].weight, projector)
    assert torch.equal(networks.target.backbone.conv1[0].weight, backbone.backbone.conv1[0].weight)


def test_from_scratch_nothing_is_said(new_run, tiny, encoder_settings):
    networks = BYOL(encoder_settings)
    before = networks.online.backbone.conv1[0].weight.clone()
    assert begin_with(networks, new_run(), tiny, "stage1") is None
    assert torch.equal(networks.online.backbone.conv1[0].weight, before)
    assert networks.online.inputs == InputSettings()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            EncoderSettings("timm:test_resnet", 48, 16),
            r"projector.0.weight \(48x96 there, 32x96 here\), .* and 3 more; add --stage1.encoder.hidden 48"
            r" --stage1.encoder.dim 16",
        ),
        (EncoderSettings("resnet18", 0, 512), r"backbone.conv1.0.weight .*; add --stage1.encoder.backbone resnet18"),
        (EncoderSettings("timm:test_vit", 0, 64), r"missing there, .*--stage1.encoder.backbone timm:test_vit"),
    ],
)
def test_another_shape_is_refused(shape, message, new_run, changed, encoder_settings, tmp_path):
    Encoder.random(shape, seed=0).save(tmp_path / "other.safetensors")
    run = new_run()
    with pytest.raises(
        OrlError, match=r"other\.safetensors is of another shape than stage1.encoder: " + ".*" + message
    ):
        STAGES["stage1"].run(run, changed("stage1", init=str(tmp_path / "other.safetensors")))
    assert run.stage("stage1") == {}


@pytest.mark.parametrize(("stage", "name"), [("stage1", "stage1"), ("stage1", "stage3"), ("stage3", "stage3")])
def test_not_with_what_comes_after(stage, name, finished, changed):
    for which in (name, f"{finished.path}:{name}"):
        with pytest.raises(OrlError, match=rf"{stage}.init is .*{name}, which this run has only after {stage}"):
            begin_with(BYOL(EncoderSettings("timm:test_resnet", 32, 16)), finished, changed(stage, init=which), stage)


def test_a_transformer_that_cannot_see_the_patches(new_run, changed):
    run = new_run()
    networks = BYOL(EncoderSettings("timm:test_vit", 32, 16))
    config = changed("stage3", encoder=networks.settings, patch_size=24)  # its own patches are of 16 px
    with pytest.raises(OrlError, match=r"timm:test_vit cannot see crops of 24 px .* another size with --stage3.patch"):
        begin_with(networks, run, config, "stage3")
    networks = BYOL(EncoderSettings("timm:test_vit", 32, 16))
    begin_with(networks, run, changed("stage3", encoder=networks.settings), "stage3")
    assert networks.training
    assert networks.target.training


@pytest.mark.slow
def test_the_whole_of_stage_3(unfinished, changed, given):
    """Begun with stage 1's encoder, recorded, skipped when done, and refused with another start."""
    run = unfinished("stage3")
    config = changed("stage3", init="stage1")
    STAGES["stage3"].run(run, config)
    record = run.stage("stage3")
    assert record["inputs"]["init"] == record["init"]["hash"] == hash_file(run.encoder_file("stage1"))
    assert record["config"]["init"] == "stage1"
    STAGES["stage3"].run(run, config)  # skipped
    with pytest.raises(OrlError, match=r"stage3 of .* was made with other init"):
        STAGES["stage3"].run(run, changed("stage3", init=str(given)))
    with pytest.raises(OrlError, match=r"stage3 of .* was made with other init"):
        STAGES["stage3"].run(run, changed("stage3"))


VIT = {"encoder": EncoderSettings("timm:test_vit", 32, 16), "optimizer": "adamw", "base_lr": 0.01}
LARS = {"optimizer": "lars"}


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "starts"), [({}, True), (LARS, True), (VIT, False)])
def test_an_interruption_leaves_no_trace(settings, starts, new_run, changed, given, stop_at):
    """With every optimizer, and though the file is gone: what was read from it is in the checkpoint and the record."""
    config = changed("stage1", **settings, **({"init": str(given)} if starts else {}))
    whole, run = new_run("whole"), new_run("stopped")
    STAGES["stage1"].run(whole, config)
    undo = stop_at(3)
    with pytest.raises(RuntimeError, match="stopped at step 3"):
        STAGES["stage1"].run(run, config)
    assert latest_checkpoint(run.path / "stage1/checkpoints")[1] == 2
    undo()
    given.unlink()
    STAGES["stage1"].run(run, config)
    assert outputs(run, "stage1") == outputs(whole, "stage1")
    loaded = Encoder.load(run.encoder_file("stage1"))
    assert loaded.inputs == (InputSettings(mean=OTHER.mean, std=OTHER.std) if starts else InputSettings())
    STAGES["stage1"].run(run, config)  # finished, so skipped
    copy = Run(shutil.copytree(run.path, run.path.with_name("copy")))
    copy.clear("stage1")
    if starts:
        with pytest.raises(OrlError, match="there is no encoder"):  # to begin anew it is needed
            STAGES["stage1"].run(copy, config)
