"""Every protocol from end to end, and the command that runs them."""

from __future__ import annotations

import dataclasses
import functools
import json
import types

import pytest

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.judging import results
from training import cli
from training.cli import judging
from training.transfer import fcn, in_context, knn, linear, retrieval, semi, svm
from training.transfer import runner as transfer
from training.transfer.encoders import JudgedEncoder
from training.transfer.protocols import PROTOCOLS
from training.transfer.setup import Setup

# ---- from end to end -----------------------------------------------------------------------------------------------


SHORT = {
    "voc07": svm.VocSettings(costs=(0.01, 1.0), folds=2),
    "voc07-lowshot": svm.LowShotSettings(k=(1, 2), samples=2, costs=(0.1,)),
    "knn": knn.KnnSettings(k=(5,)),
    "linear": linear.LinearSettings(epochs=1),
    "semi": semi.SemiSettings(epochs=1),
    "retrieval": retrieval.RetrievalSettings(queries=20),
    "in-context": in_context.InContextSettings(image_size=64, k=5, memory=200),
    "segmentation": fcn.SegmentationSettings(iterations=2, batch_size=4, size=(48, 96), crop=32, channels=8),
    "supervised": transfer.settings_class("supervised")(epochs=1),
}
LONG = {"voc07", "linear", "semi"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LONG else name  # the others take a second or less
        for name in PROTOCOLS
        if name in SHORT
    ],
)
def test_every_protocol_from_end_to_end(copy, tiny, practice, name):
    data = () if name in ("knn", "retrieval", "in-context", "segmentation") else (practice,)
    encoders = ["random", "stage1", "supervised"] if name == "knn" else ["random", "stage3"]
    judged = transfer.evaluate(copy, tiny, [name], encoders=encoders, data=data, settings=SHORT)
    assert [result["encoder"]["name"] for result in judged] == encoders
    for result in judged:
        assert 0 <= result["score"]["value"] <= 1
        assert 0 < result["figures"][f"{result['score']['name']}_chance"] < 1
        assert result["score"]["value"] == result["figures"][result["score"]["name"]]
        if name != "segmentation":
            assert result["settings"]["image_size"] == (SHORT[name].image_size or 32)  # that of the run, not 224
        assert {"seed", "seconds", "date", "command", "versions", "git", "code"} <= result.keys()
    assert len({result["encoder"]["hash"] for result in judged}) == len(encoders)
    stored = results.read_results(copy)
    assert sorted(stored, key=str) == sorted(judged, key=str)
    assert not [file for file in (copy.path / "evaluation" / "transfer").iterdir() if file.is_dir()]

    again = transfer.evaluate(copy, tiny, [name], encoders=encoders, data=data, settings=SHORT)
    assert again == judged  # the very same, dates too: not judged again
    anew = transfer.evaluate(copy, tiny, [name], encoders=["random"], data=data, settings=SHORT, overwrite=True)
    assert anew[0]["figures"] == judged[0]["figures"]  # and when it is, the figures are the same


def test_knn_on_folders_and_objects_of_a_json(copy, tiny, practice):
    settings = {"knn": SHORT["knn"]}
    for path, kind in ((practice, "a folder per class"), (practice / "annotations.json", "object crops")):
        result = transfer.evaluate(copy, tiny, ["knn"], encoders=["random"], data=(path,), settings=settings)[0]
        assert result["data"]["kind"] == kind
        assert len(result["data"]["classes"]) == 12


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_is_named(copy, changed, folders, workers):
    file = next((folders / "val" / "arrow").iterdir())
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(OrlError) as error:
        transfer.evaluate(copy, changed(workers=workers), ["knn"], encoders=["random"], data=(folders,))
    assert str(error.value).startswith(f"{file} cannot be used (truncated")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_result_of_other_code_is_told(copy, tiny, capsys, monkeypatch):
    judge = functools.partial(transfer.evaluate, copy, tiny, ["knn"], encoders=["random"], settings=SHORT)
    old = judge()
    assert judge() == old
    assert "judged by other code" not in capsys.readouterr().err
    monkeypatch.setattr(transfer, "code_hash", lambda: "0123456789")
    assert judge() == old
    assert "judged by other code; --overwrite judges it anew" in capsys.readouterr().err
    assert judge(overwrite=True)[0]["code"] == "0123456789"
    assert judge()[0]["code"] == "0123456789"


@pytest.mark.parametrize("size", [32, 48])
def test_sizes_are_those_of_the_run(copy, changed, monkeypatch, size):
    asked = {}
    monkeypatch.setattr(
        transfer, "_judge", lambda name, _, __, ___, settings, *____, **_____: asked.update({name: settings})
    )
    transfer.evaluate(copy, changed("stage1", image_size=size), ["knn", "in-context"], encoders=["random"])
    assert {name: settings.image_size for name, settings in asked.items()} == {
        "knn": size,
        "in-context": round(512 / 224 * size),
    }
    without = {name for name, protocol in PROTOCOLS.items() if not hasattr(protocol.settings(), "image_size")}
    assert without == {"segmentation", "detection"}


def test_whatever_a_result_depends_on_makes_another_file(copy, tiny, encoder_settings, tmp_path):
    made = dataclasses.replace(PROTOCOLS["knn"], judge=lambda *_: {"accuracy": 0.5})
    encoder = Encoder.random(encoder_settings, 0)

    def judged(*, protocol="knn", k=5, data="one", weights="1", seed=0):
        which = JudgedEncoder("random", encoder, None, weights)
        place = Setup(copy, dataclasses.replace(tiny, seed=seed), (), "", tmp_path)
        read = types.SimpleNamespace(fingerprint=data, facts={})
        transfer._judge(protocol, made, which, read, knn.KnnSettings(k=(k,)), place, overwrite=False)
        return {file.name for file in (copy.path / results.TRANSFER).glob("*.json")}

    assert len(judged()) == len(judged()) == 1
    changes = [{"protocol": "other"}, {"k": 6}, {"data": "two"}, {"weights": "2"}, {"seed": 1}]
    assert [len(judged(**change)) for change in changes] == [2, 3, 4, 5, 6]


# ---- the command ---------------------------------------------------------------------------------------------------


def test_command_knows_every_protocol():
    assert tuple(PROTOCOLS) == judging.PROTOCOL_NAMES
    for name in PROTOCOLS:
        assert f"\n  {name} " in judging.PROTOCOLS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "voc7"], "no protocol 'voc7': did you mean voc07?"),
        (["--protocol", "knn", "--knn.temprature", "1"], "unknown setting 'knn.temprature'.*knn.temperature"),
        (["--protocol", "knn", "--knn.k", "many"], "knn: "),
        (["--protocol", "knn", "--knn.k", "[0]"], "k of 1 or more"),
        (["--protocol", "knn", "--linear.lr", "1"], "--linear.lr is a setting of linear: add --protocol linear"),
        (["--protocol", "knn", "--encoder", "stage2"], "mined with no other encoder than stage 1's"),
        (["--protocol", "knn", "--stage1.epochz", "2"], "unknown setting 'stage1.epochz'"),
        (["--protocol", "voc07"], "name it with --data DIR"),
        (["--protocol", "linear", "--data", "nowhere"], "has no folder train/"),
        (["--encoder", "stage1"], "add --protocol"),
    ],
)
def test_what_is_typed_wrong_is_explained(copy, capsys, words, message):
    import re

    assert cli.main(["evaluate", str(copy.path), *words]) == 1
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert not list((copy.path / "evaluation").glob("transfer/*"))


@pytest.mark.slow
def test_command_judges_and_prints(copy, capsys):
    words = ["evaluate", str(copy.path), "--protocol", "knn", "--protocol", "retrieval", "--knn.k", "[3]"]
    assert cli.main([*words, "--encoder", "random", str(copy.encoder_file("stage1")), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [(r["protocol"], r["encoder"]["name"]) for r in results] == [
        ("knn", "random"),
        ("knn", "copy-stage1"),  # of its folders: every run has an encoder.safetensors
        ("retrieval", "random"),
        ("retrieval", "copy-stage1"),
    ]
    assert results[0]["settings"]["k"] == [3]
    assert cli.main(words) == 0
    assert "object retrieval, mAP" in capsys.readouterr().out


@pytest.mark.parametrize("name", [*PROTOCOLS, "supervised"])
def test_command_explains_the_settings(name, capsys):
    assert cli.main(["config", name]) == 0
    said = capsys.readouterr().out
    for field in dataclasses.fields(transfer.settings_class(name)):
        assert f"--{name}.{field.name} " in said
    assert "(type: int" in said
