"""The encoders that a run has, and what identifies them."""

from __future__ import annotations

import shutil

import pytest

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.runs.encoders import RunEncoder, run_encoders
from orl_explore.runs.files import hash_file
from orl_explore.runs.run import Run
from orl_explore.settings import EncoderSettings


@pytest.fixture
def copy(finished, tmp_path):
    """A finished run whose stage 1 has kept an encoder on its way."""
    shutil.copytree(finished.path, tmp_path / "run")
    run = Run(tmp_path / "run")
    (run.path / "stage1" / "encoders").mkdir()
    shutil.copy(run.encoder_file("stage3"), run.path / "stage1" / "encoders" / "epoch=7.safetensors")
    return run


def test_names_and_files(copy):
    found = run_encoders(copy)
    assert list(found) == ["random", "stage1@7", "stage1", "stage3"]
    assert [encoder.name for encoder in found.values()] == list(found)
    assert found["stage1@7"].file == copy.path / "stage1" / "encoders" / "epoch=7.safetensors"
    assert found["stage3"].file == copy.encoder_file("stage3")
    assert found["stage1@7"].hash() == found["stage3"].hash() == hash_file(copy.encoder_file("stage3"))


def test_the_untrained_one_is_known_by_what_makes_it(copy, tiny):
    found = run_encoders(copy)["random"]
    expected = Encoder.random(tiny.stage1.encoder, tiny.seed).state_dict()
    assert all((value == expected[name]).all() for name, value in found.load().state_dict().items())
    others = [
        RunEncoder(copy.path, "random", tiny.stage1.encoder, 1),
        RunEncoder(copy.path, "random", EncoderSettings()),
    ]
    assert len({encoder.hash() for encoder in (found, *others)}) == 3


def test_one_that_is_gone(copy):
    source = run_encoders(copy)["stage3"]
    source.file.unlink()
    for look in (source.load, source.hash):
        with pytest.raises(OrlError, match=r"run `orl stage3 "):
            look()


def test_whose_it_is(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunEncoder(copy.path / ".." / "run", "stage1").is_of(Run("run"))
    assert not RunEncoder(copy.path, "stage1").is_of(Run("other"))


def test_a_new_run_has_none(new_run):
    assert run_encoders(new_run("new")) == {}
