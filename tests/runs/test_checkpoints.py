"""Which files of a checkpoint folder are gone on from, whatever else lies there; and that nothing of others is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_explore.errors import OrlError
from orl_explore.runs.checkpoints import find_resume, latest_checkpoint, named_checkpoints, set_aside

SHAPES = {"a": (2, 3), "b": ()}


def write(path: Path, step: int, **changes: object) -> Path:
    content = {"state_dict": {"a": torch.zeros(2, 3), "b": torch.tensor(1.0)}, "global_step": step}
    content |= {"optimizer_states": [], "lr_schedulers": [], "loops": {}} | changes
    torch.save(content, path)
    return path


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "text": b"hello", "head": data[:1]}[how])


NAMES = [
    "step=4 copy.ckpt",
    "step=04.ckpt",
    "step=x.ckpt",
    "step=-1.ckpt",
    "step=\u0663.ckpt",
    "Step=5.ckpt",
    "best.ckpt",
]
NAMES += ["step=9.ckpt.bak", "step=.ckpt", "step=4 (1).ckpt", "step=4.ckpt.123.tmp", "step=1e3.ckpt", "last.ckpt"]


def test_names_of_others(tmp_path):
    for name in NAMES:
        write(tmp_path / name, 4)
    (tmp_path / "step=7.ckpt").mkdir()
    assert named_checkpoints(tmp_path) == {}
    assert latest_checkpoint(tmp_path) == (None, 0)
    assert find_resume(tmp_path).file is None
    assert "left alone" in find_resume(tmp_path).notes[0]


@pytest.mark.parametrize("state", [[1], None, {"a": 3, "b": "x"}, {"a": torch.zeros(3, 2), "b": torch.tensor(1.0)}])
def test_a_checkpoint_of_something_else_is_passed_over(state, tmp_path):
    good = write(tmp_path / "step=2.ckpt", 2)
    write(tmp_path / "step=4.ckpt", 4, state_dict=state)
    found = find_resume(tmp_path, SHAPES)
    assert found.file == good
    assert "step=4.ckpt" in found.notes[0]
    assert found.notes[0].endswith("it is of other networks")


@pytest.mark.parametrize("how", ["empty", "cut", "text", "head"])
def test_the_last_good_one_is_used_and_said(how, tmp_path):
    good, bad = write(tmp_path / "step=2.ckpt", 2), write(tmp_path / "step=4.ckpt", 4)
    damage(bad, how)
    found = find_resume(tmp_path, SHAPES)
    assert (found.file, found.step, found.own) == (good, 2, {good})
    assert "step=4.ckpt" in found.notes[0]
    assert found.notes[-1] == "going on from step=2.ckpt, the last good one"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"global_step": 3}, "it is of step 3"),
        ({"state_dict": {"a": torch.zeros(3, 2), "b": torch.tensor(1.0)}}, "it is of other networks"),
        ({"state_dict": {"c": torch.zeros(1)}}, "it is of other networks"),
    ],
)
def test_a_foreign_one_is_no_way_on(changes, why, tmp_path):
    write(tmp_path / "step=4.ckpt", 4, **changes)
    write(tmp_path / "step=2 copy.ckpt", 2)
    with pytest.raises(OrlError, match=rf"step=4.ckpt cannot be used: {why}.*if step=2 copy.ckpt is a copy.*move it"):
        find_resume(tmp_path, SHAPES)


def test_what_is_no_checkpoint(tmp_path):
    torch.save({"model": torch.zeros(3)}, tmp_path / "step=4.ckpt")
    with pytest.raises(OrlError, match="it is no checkpoint that training can go on from"):
        find_resume(tmp_path)
    torch.save([1, 2], tmp_path / "step=4.ckpt")
    with pytest.raises(OrlError, match="it is no checkpoint that training can go on from"):
        find_resume(tmp_path)


@settings(max_examples=30)
@given(data=st.data())
def test_bytes_flipped_and_cut(data, tmp_path_factory):
    """A checkpoint with any byte changed is whole, or passed over; never a traceback, and nothing is deleted."""
    folder = tmp_path_factory.mktemp("checkpoints")
    good, other = write(folder / "step=2.ckpt", 2), write(folder / "step=4.ckpt", 4)
    content = bytearray(other.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] ^= data.draw(st.integers(1, 255))
    other.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    found = find_resume(folder, SHAPES)
    assert found.step in (2, 4)
    assert found.file in (good, other)
    assert len(list(folder.iterdir())) == 2


def test_setting_aside_never_loses_a_file(tmp_path):
    names = []
    for number in range(3):
        (tmp_path / "x").write_text(str(number))
        names.append(set_aside(tmp_path / "x").name)
    assert names == ["x.set-aside", "x.set-aside-2", "x.set-aside-3"]
    assert [(tmp_path / name).read_text() for name in names] == ["0", "1", "2"]
    assert set_aside(tmp_path / "x") is None
    (tmp_path / "x").symlink_to(tmp_path / "nowhere")
    assert set_aside(tmp_path / "x")
    shutil.rmtree(tmp_path)
