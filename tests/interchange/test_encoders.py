"""Encoders from elsewhere in stage 1's place: what is loaded, what is refused, and runs that have no stage 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from orl_explore.embedding import embed_images, embed_regions
from orl_explore.encoder import Encoder, build_backbone
from orl_explore.errors import OrlError
from orl_explore.interchange.encoders import find_encoder, load_pretrained
from orl_explore.runs.files import hash_file
from orl_explore.runs.run import Run
from orl_explore.settings import EncoderSettings
from training import evaluate, pipeline, stage2, stage3

RESNET = "timm:test_resnet"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of a small ResNet as timm saves them, with its classifier."""
    import timm

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=10).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("timm:resnet50", None),
        ("timm:resnet50@weights/a.pth", "weights/a.pth"),
        ("torchvision:resnet50.IMAGENET1K_V2", None),
        ("weights/a.pth", "weights/a.pth"),
    ],
)
def test_what_a_name_stands_for(name, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.pth").touch()
    found = find_encoder(name).file
    assert (str(found) if found else None) == file


def test_backbones_without_a_projector_compare_images_by_their_pooled_feature(weights, images):
    prior = load_pretrained(f"{RESNET}@{weights}", image_size=32)
    width = build_backbone(RESNET)[1]
    assert (prior.image_dim, prior.region_dim) == (width, width)
    assert len(prior.differs) == 2
    assert f"image neighbors come from the pooled feature, {width} numbers" in prior.differs[1]
    found = embed_images(prior.encoder, images, size=32)
    assert found.shape == (24, width)
    np.testing.assert_array_equal(found, embed_images(prior.encoder, images, size=32, features=True))


def test_encoders_of_this_project_keep_their_projector(finished, images, tiny):
    file = finished.encoder_file("stage1")
    prior = load_pretrained(str(file), image_size=32)
    assert (prior.image_dim, prior.region_dim) == (16, build_backbone(RESNET)[1])
    assert len(prior.differs) == 1
    np.testing.assert_array_equal(
        embed_images(prior.encoder, images, size=32), embed_images(Encoder.load(file), images, size=32)
    )


def test_other_normalization_and_transformers(tmp_path, images):
    """A transformer has no conv1: its weights are taken as timm names them, and timm gives it images in -1..1."""
    import timm

    model = timm.create_model("test_vit2", num_classes=5)
    path = tmp_path / "vit.safetensors"
    save_file(model.state_dict(), path)
    size = model.pretrained_cfg["input_size"][-1]
    prior = load_pretrained(f"timm:test_vit2@{path}", image_size=32)
    assert prior.encoder.inputs.size == size
    assert torch.equal(
        prior.encoder.backbone.state_dict()["patch_embed.proj.weight"], model.state_dict()["patch_embed.proj.weight"]
    )
    assert tuple(model.pretrained_cfg["mean"]) == (0.5, 0.5, 0.5)
    assert prior.encoder.inputs.mean == prior.encoder.inputs.std == (0.5, 0.5, 0.5)
    prior.encoder.save(tmp_path / "own.safetensors")  # and travels as this project's
    again = Encoder.load(tmp_path / "own.safetensors")
    assert embed_images(again, images, [0], size=33).shape == (1, prior.image_dim)
    with pytest.raises(OrlError, match=r"test_vit2@.* cannot see crops of 33 px .*--stage2.encoder_size"):
        load_pretrained(f"timm:test_vit2@{path}", image_size=32, size=33)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet5000", "timm has no model 'resnet5000'"),
        ("timm:resnet14t", "could not be fetched .*--encoder timm:resnet14t@FILE"),
        ("timm:resnet18@nowhere.pth", "no file 'nowhere.pth' with weights of timm:resnet18"),
        ("timm:vit_tiny_patch16_224@nowhere.pth", "no file 'nowhere.pth' with weights of timm:vit_tiny"),
        ("torchvision:vit_b_16", "torchvision has no ResNet 'vit_b_16'"),
        ("torchvision:resnet18.V9", "no weights 'V9' of resnet18: choose one of IMAGENET1K_V1, DEFAULT"),
        ("torchvision:resnet18", "could not be fetched .*--encoder FILE"),
        ("dino", "no encoder 'dino': name random, .*embedded, timm:NAME, .*or a file of weights"),
    ],
)
def test_refused(name, message, monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("timm.models._builder.load_pretrained", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(OrlError, match=message) as error:
        load_pretrained(name, image_size=32)
    assert "\n" not in str(error.value)


def test_weights_of_another_model_are_refused(weights):
    with pytest.raises(OrlError, match=r"fits? "):
        load_pretrained(f"timm:resnet18@{weights}", image_size=32)


# ---- runs that have no stage 1 -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mined(tmp_path_factory, images, annotations, weights, changed):
    """A run whose stage 2 used another encoder, and the config."""
    run = Run(tmp_path_factory.mktemp("prior") / "run")
    run.set_images(images, [str(annotations)])
    config = changed("stage2", encoder=f"{RESNET}@{weights}")
    stage2.run(run, config)
    return run, config


@pytest.mark.slow
def test_a_run_without_stage_1(mined, weights, images):
    run, _ = mined
    record = run.stage("stage2")
    assert not run.encoder_file("stage1").exists()
    assert record["inputs"]["encoder"] == hash_file(run.encoder_file("stage2"))
    assert run.mining_encoder_file() == run.encoder_file("stage2")
    width = build_backbone(RESNET)[1]
    assert record["pretrained"] == {
        "encoder": f"{RESNET}@{weights}",
        "backbone": RESNET,
        "image_dim": width,
        "region_dim": width,
        "inputs": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bilinear",
            "crop": 0.95,
            "crop_mode": "center",
            "rounding": "down",
            "size": 160,
        },
        "labels": None,
        "differs": record["pretrained"]["differs"],
        "source": hash_file(weights),
    }
    encoder = load_pretrained(f"{RESNET}@{weights}", image_size=32).encoder
    np.testing.assert_allclose(run.read_array("image_embeddings"), embed_images(encoder, images, size=32), atol=1e-5)
    regions = run.read("regions")
    expected = embed_regions(encoder, images, regions, size=32).astype(np.float16)
    np.testing.assert_allclose(run.read_array("region_embeddings"), expected, atol=2e-3)


def test_another_encoder_is_refused(mined, weights, changed, capsys, tmp_path):
    run, config = mined
    stage2.run(run, config)
    assert "is finished: skipped" in capsys.readouterr().err
    again = r"`orl stage2 .* --overwrite --stage2.encoder .*other.safetensors`"
    with pytest.raises(OrlError, match=rf"made with other encoder, setting encoder: {again}"):
        stage2.run(run, changed("stage2", encoder=str(weights_of(tmp_path))))
    before = weights.read_bytes()
    try:
        save_file({key: value + 1 for key, value in build_backbone(RESNET)[0].state_dict().items()}, weights)
        with pytest.raises(OrlError, match="made with other encoder: "):  # the same name, other contents
            stage2.run(run, config)
        weights.unlink()
        stage2.run(run, config)  # the run has its own copy
        assert "is finished: skipped" in capsys.readouterr().err
    finally:
        weights.write_bytes(before)


def weights_of(folder):
    path = folder / "other.safetensors"
    Encoder.random(EncoderSettings(RESNET, hidden=32, dim=16), seed=8).save(path)
    return path


@pytest.mark.slow
def test_the_rest_goes_on_without_stage_1(mined, monkeypatch, visit, tmp_path, capsys):
    run, config = mined
    stage3.run(run, config)
    assert run.finished("stage3")
    summary = evaluate.run(run, config)
    assert summary["stage2"]
    assert "stage1" not in summary or not summary["stage1"]
    assert pipeline.STAGES.keys() == {"stage1", "stage2", "stage3"}
    monkeypatch.setenv("ORL_RUNS", str(run.path.parent))
    page = visit(run="run", page="overview")
    assert any("in place of stage 1" in caption.value for caption in page.caption)


def test_orl_run_leaves_stage_1_out(mined, monkeypatch, capsys):
    run, config = mined
    done, mapped = [], []
    monkeypatch.setattr(pipeline, "run_stage", lambda name, run, config, overwrite: done.append(name))
    monkeypatch.setattr(pipeline, "judge", lambda run, config: {})
    monkeypatch.setattr(pipeline, "make_object_maps", lambda run, names, watch: mapped.extend(names))
    pipeline.run_all(run, config)
    assert done == ["stage2", "stage3"]
    assert "stage2" in mapped
    assert "stage1" not in mapped
    assert "stage 1 is left out: stage 2 uses timm:test_resnet@" in capsys.readouterr().err


def test_what_an_encoder_began_as_is_kept(tmp_path):
    shape = EncoderSettings(RESNET, hidden=0, dim=0, init="torchvision")
    Encoder.random(shape, seed=8).save(tmp_path / "bare.safetensors")
    loaded = load_pretrained(str(tmp_path / "bare.safetensors"), image_size=32).encoder.settings
    assert loaded == EncoderSettings(RESNET, hidden=0, dim=96, init="torchvision")
