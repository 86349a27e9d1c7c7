"""Which run belongs to which photographs; and the command from Python."""

from __future__ import annotations

import os

import pytest

import orl_explore
from orl_explore.errors import OrlError
from orl_explore.runs.exploring import explore, folder_for
from orl_explore.runs.files import write_json


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders of the same name, and one beside them."""
    monkeypatch.chdir(tmp_path)
    for name in ("2024/june", "2025/june", "july"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "july/list.txt").touch()
    return tmp_path


def begin(folder, *sources):
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {"format": 2, "images": {"sources": list(sources)}, "stages": {}})


def test_a_run_is_named_after_the_folder(folders):
    assert str(folder_for([folders / "2024/june"])) == "runs/june"
    assert str(folder_for([folders / "july/list.txt", folders / "2024"])) == "runs/july"
    os.chdir(folders / "july")
    assert folder_for([folders / "july/."]).name == "july"


def test_the_same_images_find_their_run_again_and_others_never_take_it(folders):
    begin(folders / "runs/june", "2024/june")  # as typed in this folder
    begin(folders / "runs/june-2", str(folders / "elsewhere"))
    assert folder_for([folders / "2024/june"]).name == "june"
    assert folder_for([folders / "2025/june"]).name == "june-3"
    (folders / "runs/june-3").mkdir()
    assert folder_for([folders / "2025/june"]).name == "june-3"
    (folders / "runs/june-3/mine.txt").touch()
    assert folder_for([folders / "2025/june"]).name == "june-4"


def test_a_missing_folder_begins_nothing(folders):
    with pytest.raises(OrlError, match=r"there is no nowhere: name a folder of photographs"):
        explore("nowhere")
    assert not (folders / "runs").exists()


@pytest.mark.slow
def test_what_the_command_refuses_is_an_error_with_its_sentence(folders, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as kernels of notebooks do, which draw no bars
    assert orl_explore.explore is explore
    with pytest.raises(OrlError, match=r"^no usable image in"):
        orl_explore.explore(folders / "july")
    assert not (folders / "runs/july").exists()
    said = capfd.readouterr().out
    assert "no usable image in" in said
    assert "\x1b" not in said
