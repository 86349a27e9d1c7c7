"""One grammar of names for encoders, and where it is used."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from orl_explore.embedding import embed_images, embed_regions
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.interchange.encoders import FORMS, find_encoder, known_encoders, load_pretrained, needs_stage
from orl_explore.judging import comparison
from orl_explore.runs.run import Run, kept_encoder_file
from orl_explore.settings import Config, EncoderSettings, InputSettings, Stage1Settings
from training import pipeline, stage2
from training.transfer import runner

PAGE = "compare"


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A finished run named "one" that kept an encoder of each stage, in a folder that is looked at from above."""
    shutil.copytree(finished.path, tmp_path / "runs" / "one")
    run = Run(tmp_path / "runs" / "one")
    for stage, epoch in (("stage1", 2), ("stage3", 1), ("stage1", 10)):
        file = kept_encoder_file(run.path / stage, epoch)
        file.parent.mkdir(exist_ok=True)
        Encoder.random(EncoderSettings("timm:test_resnet", 32, 16), seed=epoch).save(file)
    monkeypatch.chdir(tmp_path)
    return run


# ---- what a name stands for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "file"),
    [
        ("stage1", "stage", "runs/one/stage1/encoder.safetensors"),
        ("stage3", "stage", "runs/one/stage3/encoder.safetensors"),
        ("stage1@2", "stage", "runs/one/stage1/encoders/epoch=2.safetensors"),
        ("runs/one:stage3", "stage", "runs/one/stage3/encoder.safetensors"),
        ("runs/one:stage3@1", "stage", "runs/one/stage3/encoders/epoch=1.safetensors"),
        ("runs/one/stage1/encoder.safetensors", "file", "runs/one/stage1/encoder.safetensors"),
        ("./stage1", "file", "stage1"),
        ("timm:test_resnet", "timm", None),
        ("timm:test_resnet@a.pth", "timm", "a.pth"),
        ("hf-hub:timm/test_resnet", "hf-hub", None),
        ("torchvision:resnet18.IMAGENET1K_V1", "torchvision", None),
    ],
)
def test_names(name, kind, file, run):
    Path("stage1").touch()  # a file that is called like a stage needs the folder in front
    found = find_encoder(name, run)
    assert found.kind == kind
    assert (found.file and found.file.resolve()) == (file and Path(file).resolve())


def test_the_encoders_of_a_run_are_loaded(run):
    for name, seed in (("stage1@2", 2), ("stage1@10", 10), ("runs/one:stage3@1", 1)):
        expected = Encoder.random(EncoderSettings("timm:test_resnet", 32, 16), seed=seed).state_dict()
        found = find_encoder(name, run).load()
        assert not found.training
        assert all(torch.equal(value, expected[key]) for key, value in found.state_dict().items())


@pytest.mark.parametrize("name", ["random", "untrained"])
def test_untrained(name, run, tiny):
    expected = Encoder.random(tiny.stage1.encoder, tiny.seed).state_dict()
    for found in (find_encoder(name, run), find_encoder(name, None, tiny)):
        assert all(torch.equal(value, expected[key]) for key, value in found.load().state_dict().items())
    other = Config(seed=3, stage1=Stage1Settings(encoder=tiny.stage1.encoder))
    assert find_encoder(name, run, other).hash() != find_encoder(name, run).hash()
    with pytest.raises(OrlError, match="name a run, or another encoder"):
        find_encoder(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stage1@3", "has not kept stage1@3: choose stage1@2 or stage1@10$"),
        ("runs/one:stage1@3", "choose runs/one:stage1@2 or runs/one:stage1@10$"),
        ("stage2", "mined with no other encoder than stage 1's: name stage1$"),
        ("stage4", r"there is no encoder 'stage4': name random, .*embedded, .*timm:NAME.*or a file"),
        ("stage1@", "there is no encoder 'stage1@'"),
        ("embeded", "there is no encoder 'embeded': name .*embedded"),
        ("runs/two:stage1", "no run at runs/two"),
        ("runs/one", "is a run: name one of its encoders, .*runs/one:stage1.* or runs/one:stage3$"),
        ("nowhere.pth", "there is no encoder 'nowhere.pth'"),
    ],
)
def test_what_is_not_there(name, message, run):
    with pytest.raises(OrlError, match=message) as error:
        find_encoder(name, run)
    assert "\n" not in str(error.value)


def test_stages_that_are_not_there(run):
    shutil.rmtree(run.path / "stage3")
    with pytest.raises(OrlError, match=r"no encoder of stage3 yet: run `orl stage3 "):
        find_encoder("stage3", run)
    with pytest.raises(OrlError, match=r"kept no encoder of stage3 .*--stage3.keep_every N .*or take stage3"):
        find_encoder("stage3@1", run)
    with pytest.raises(OrlError, match="name it RUN:stage1, for example runs/demo:stage1"):
        find_encoder("stage1")


def test_what_is_known(run):
    known = known_encoders(run)
    own = ["random", "stage1@2", "stage1@10", "stage1", "stage3@1", "stage3"]
    assert list(known)[: len(own)] == own
    assert known["stage1@10"] == "stage 1 of this run after 10 epochs"
    assert known["stage3"] == "stage 3 of this run"
    assert "labels of ImageNet" in known["embedded"]
    assert {"RUN:stage1", "timm:NAME", "hf-hub:ORG/NAME", "torchvision:NAME[.WEIGHTS]", "FILE"} < known.keys()
    assert known_encoders() == FORMS
    for name in own:
        find_encoder(name, run)  # what is listed can be typed
    shutil.copy(run.encoder_file("stage1"), run.encoder_file("stage2"))
    run.note("stage2", pretrained={"encoder": "embedded"})
    assert known_encoders(run)["stage2"].endswith("in place of stage 1's: embedded")


def test_which_names_need_stage_1():
    names = {None: True, "stage1": True, "stage1@3": True, "stage3": False, "runs/a:stage1": False, "embedded": False}
    assert {name: needs_stage(name, "stage1") for name in names} == names


def test_what_is_the_same_has_the_same_hash(run, tmp_path):
    assert find_encoder("stage1", run).hash() == find_encoder("runs/one:stage1").hash()
    state = Encoder.random(EncoderSettings("timm:test_vit", 0, 64), seed=0).backbone.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    hashes = {find_encoder(name).hash() for name in ("timm:test_vit@a.safetensors", "timm:test_vit2@a.safetensors")}
    assert len(hashes) == 2  # they are fed differently


# ---- stage 2 -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_stage_2_with_the_embedded_encoder(new_run, changed, images, tiny, capsys):
    run = new_run()
    config = changed("stage2", encoder="embedded", encoder_size=64)
    stage2.run(run, config)
    said = " ".join(capsys.readouterr().err.split())
    assert "supervised: it was trained with the labels of ImageNet" in said
    assert "it sees pictures of 64 px, bicubic, normalized by (0.5, 0.5, 0.5)" in said
    record = run.stage("stage2")["pretrained"]
    assert (record["encoder"], record["labels"], record["inputs"]["size"]) == ("embedded", "ImageNet", 64)
    assert record["inputs"]["mean"] == [0.5, 0.5, 0.5]
    encoder = load_pretrained("embedded", image_size=32, size=64).encoder
    np.testing.assert_allclose(run.read_array("image_embeddings"), embed_images(encoder, images, size=32), atol=1e-5)
    expected = embed_regions(encoder, images, run.read("regions"), size=32)
    np.testing.assert_allclose(run.read_array("region_embeddings"), expected, atol=2e-3)
    # Whoever looks at the run feeds it the same: the dashboard by this,
    source = comparison.compared_encoders(run)["stage2"]
    np.testing.assert_allclose(comparison.embeddings(run, source), run.read_array("image_embeddings"), atol=1e-5)
    stage2.run(run, config)
    assert "is finished: skipped" in capsys.readouterr().err
    with pytest.raises(OrlError, match="other setting encoder_size: "):
        stage2.run(run, changed("stage2", encoder="embedded", encoder_size=96))


def test_stage_2_with_an_encoder_of_the_run_itself(run, changed, capsys):
    """Stage 3's encoder finds the pairs of a second round."""
    run.clear("stage2")
    stage2.run(run, changed("stage2", encoder="stage3"))
    record = run.stage("stage2")["pretrained"]
    assert record["differs"] == ["stage 2 mined with stage3 of this run and not with the last encoder of stage 1"]
    assert record["inputs"]["size"] is None
    expected = embed_images(Encoder.load(run.encoder_file("stage3")), run.images(), size=32)
    np.testing.assert_allclose(run.read_array("image_embeddings"), expected, atol=1e-5)


def test_orl_run_trains_what_the_name_needs(run, changed, monkeypatch):
    done = []
    monkeypatch.setattr(pipeline, "run_stage", lambda name, run, config, overwrite: done.append(name))
    monkeypatch.setattr(pipeline, "judge", lambda run, config: {})
    monkeypatch.setattr(pipeline, "show_objects", lambda run, config: None)
    pipeline.run_all(run, changed("stage2", encoder="stage1@2"))
    assert done == ["stage1", "stage2", "stage3"]


# ---- orl evaluate --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_evaluate_takes_the_same_names(run, tiny):
    names = ["untrained", "stage1@2", "runs/one:stage3", "embedded"]
    found = runner.evaluate(run, tiny, ["retrieval"], encoders=names)
    assert [result["encoder"]["name"] for result in found] == ["random", "stage1@2", "stage3", "embedded"]
    assert [result["settings"]["image_size"] for result in found] == [32, 32, 32, 224]
    assert found[3]["encoder"]["inputs"]["mean"] == [0.5, 0.5, 0.5]
    assert found[3]["encoder"]["file"] is None
    again = runner.evaluate(run, tiny, ["retrieval"], encoders=["embedded"])
    assert again[0]["date"] == found[3]["date"]  # read, not judged anew
    with pytest.raises(OrlError, match="there is no encoder 'stage9'"):
        runner.evaluate(run, tiny, ["retrieval"], encoders=["random", "stage9"])


def test_evaluate_at_another_size(run, tiny):
    settings = {"retrieval": runner.parse_settings("retrieval", ["--image_size=64"])}
    (found,) = runner.evaluate(run, tiny, ["retrieval"], encoders=["embedded"], settings=settings)
    assert (found["settings"]["image_size"], found["encoder"]["inputs"]["size"]) == (64, 64)


def test_how_an_encoder_is_fed_is_part_of_what_it_is(tiny):
    from training.transfer.encoders import weights_hash

    encoder = Encoder.random(tiny.stage1.encoder, seed=0)
    before = weights_hash(encoder)
    encoder.inputs = InputSettings(size=64)
    assert weights_hash(encoder) != before


# ---- the dashboard -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_embedded_encoder_is_compared(run, monkeypatch, visit):
    monkeypatch.setenv("ORL_RUNS", str(run.path.parent))
    shutil.copytree(run.path, run.path.parent / "two")
    app = visit({"compare tab": "Whole images"}, run="one")
    a = app.main.selectbox[0]
    assert "embedded, supervised (ImageNet)" in a.options
    assert "two · stage 1, images, epoch 10" in a.options
    app = a.set_value("embedded").run()
    assert not app.exception
    assert not app.error
    key = find_encoder("embedded").hash()
    assert list((run.path / "comparison").glob(f"{key}-*.npy"))
