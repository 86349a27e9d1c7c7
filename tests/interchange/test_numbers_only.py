"""Checkpoints with objects of frameworks in them: the numbers are read, nothing else comes to life."""

from __future__ import annotations

import itertools
import pickle
import shlex
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder_files import difference, encoder, plain
from orl_explore.errors import OrlError
from orl_explore.interchange.numbers_only import Inert, read_numbers
from orl_explore.interchange.weights import read_encoder


@pytest.fixture
def framework(monkeypatch):
    """A framework that is here while a file is written, and not when it is read."""
    module = types.ModuleType("theirs")

    class History:
        def __init__(self):
            self.values, self.seen = [1.0, 2.0], {"a": {1, 2}}

        def append(self, value):
            raise AssertionError("a method of theirs was called")

    class Items(list):
        pass

    for kind in (History, Items):
        kind.__module__, kind.__qualname__ = "theirs", kind.__name__
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "theirs", module)
    yield module
    sys.modules.pop("theirs", None)


def own() -> dict[str, torch.Tensor]:
    parts = {"backbone": encoder().backbone, "projector": encoder().projector}
    return {f"{name}.{k}": v for name, part in parts.items() for k, v in part.state_dict().items()}


@pytest.mark.parametrize("beside", ["numpy", "history", "items", "path", "all"])
def test_the_numbers_alone_are_read(beside, framework, tmp_path, monkeypatch, caplog):
    things = {
        "numpy": np.float64(0.5),
        "history": framework.History(),
        "items": framework.Items([1, framework.History()]),
        "path": Path("/a/b"),
    }
    meta = things if beside == "all" else {beside: things[beside]}
    torch.save({"meta": meta, "state_dict": own(), "best": np.array([1.0, 2.0])}, tmp_path / "theirs.pth")
    monkeypatch.delitem(sys.modules, "theirs")
    found, _ = read_encoder(tmp_path / "theirs.pth")
    assert difference(found, encoder()) == 0
    assert "the numbers alone are read, without" in caplog.text
    assert "theirs" not in sys.modules


class Call:
    """Calls something when it is read as pickles usually are."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [eval, exec, __import__, getattr, print, open], ids=lambda f: f.__name__)
def test_calls_of_python_are_refused(function, tmp_path):
    torch.save({"state_dict": own(), "x": Call(function, "1")}, tmp_path / "a.pth")
    with pytest.raises(OrlError, match=r"it could run code, and is not read .*which no checkpoint needs.*python -c"):
        read_encoder(tmp_path / "a.pth")


class Whole(torch.nn.Module):
    """A module that is saved as a whole, by the name of its class."""

    def __init__(self):
        super().__init__()
        self.backbone, self.projector = encoder().backbone, encoder().projector


@pytest.mark.parametrize("name", ["old.pth", "it's old, $HOME.ckpt"])
@pytest.mark.parametrize(
    "content",
    [
        lambda: {"state_dict": own(), "x": np.float64(1)},
        Whole,
        lambda: {"model": Whole(), "args": np.float64(1)},
        lambda: {"net": own(), "model": Whole(), "epoch": 3},
        lambda: {"ema": {"model": torch.nn.DataParallel(Whole())}, "optimizer": torch.optim.SGD(Whole().parameters())},
    ],
    ids=["state", "module", "mapping", "both", "nested"],
)
def test_what_is_typed_converts_what_is_not_read(content, name, tmp_path):
    path = tmp_path / name
    torch.save(content(), path, _use_new_zipfile_serialization=False)
    convert(path)
    assert difference(read_encoder(path.with_suffix(".weights.pth"))[0], encoder()) == 0


def convert(path: Path) -> None:
    """Type what a refusal advises."""
    with pytest.raises(OrlError) as error:
        read_encoder(path)
    typed = str(error.value).partition("Where you trust it: ")[2]
    python, option, code = shlex.split(typed)
    assert (python, option) == ("python", "-c")
    exec(code, {})  # as in a process of its own, which would have to import torch


def test_a_torchscript_program_is_converted(tmp_path):
    torch.jit.trace(Traced(), torch.zeros(2, 3, 32, 32)).save(str(tmp_path / "a.pt"))
    convert(tmp_path / "a.pt")
    assert difference(read_encoder(tmp_path / "a.weights.pth")[0], encoder()) == 0


class Traced(Whole):
    def forward(self, pictures):
        return self.projector(self.backbone(pictures))


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_plain_pickle_is_called_one_whatever_its_name(protocol, tmp_path):
    file = tmp_path / "a.pth"
    file.write_bytes(pickle.dumps({"conv1.weight": np.zeros(3)}, protocol))
    with pytest.raises(OrlError, match=r"a\.pth is a pickle, .*: export it as .safetensors or .pth"):
        read_encoder(file)


def test_torchscript_is_no_checkpoint(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "a.pth"))
    with pytest.raises(ValueError, match="TorchScript"):
        read_numbers(tmp_path / "a.pth")


def test_inert_things_do_nothing():
    thing = Inert(1, a=2)
    thing.append(1)
    thing.extend([1])
    thing[1] = 2
    thing.__setstate__({"__class__": int})
    assert type(thing) is Inert
    assert thing(3) is thing


# ---- layouts -------------------------------------------------------------------------------------------------------

PREFIXES = ("_orig_mod.", "module.", "model.")


@pytest.mark.parametrize("order", [(), ("model.",), *itertools.permutations(PREFIXES, 3)], ids="".join)
def test_prefixes_in_any_order_keep_the_projector(order, tmp_path):
    torch.save({"state_dict": {"".join(order) + key: value for key, value in own().items()}}, tmp_path / "a.torch")
    assert difference(read_encoder(tmp_path / "a.torch")[0], encoder()) == 0


@pytest.mark.slow
@settings(max_examples=8)
@given(
    wrappers=st.lists(st.sampled_from(["state_dict", "model", "base_model", "trunk", "classy_state_dict"]), max_size=5),
    inner=st.sampled_from(["", "_feature_blocks.", "_orig_mod.", "encoder._orig_mod.module."]),
    beside=st.booleans(),
)
def test_nested_states(wrappers, inner, beside, tmp_path_factory):
    """As VISSL has them, or deeper; the optimizer's state beside them is none of it."""
    path = tmp_path_factory.mktemp("nested") / "a.torch"
    content: object = {inner + key: value for key, value in plain().items() if not key.startswith("fc.")}
    for name in wrappers:
        content = {name: content}
        if beside:
            content |= {"optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}}, "epoch": 3}
    torch.save(content, path)
    found, fit = read_encoder(path)
    assert difference(found.features, encoder().features) == 0
    assert not fit.left_out


def test_vissl(tmp_path):
    trunk = {f"_feature_blocks.{k}": v for k, v in plain().items() if not k.startswith("fc.")}
    heads = {"0.clf.0.weight": torch.ones(4, 512), "0.clf.0.bias": torch.ones(4)}
    model = {"base_model": {"model": {"trunk": trunk, "heads": heads}}, "loss": {"x": torch.ones(2)}}
    torch.save({"classy_state_dict": model}, tmp_path / "vissl.torch")
    found, fit = read_encoder(tmp_path / "vissl.torch")
    assert fit.network == "trunk._feature_blocks."
    assert sum(fit.left_out.values()) == 2
    assert difference(found.features, encoder().features) == 0


def test_a_projector_is_not_left_behind(tmp_path):
    state = {f"net.{k}": v for k, v in encoder().backbone.state_dict().items()}
    state |= {f"other.projector.{k}": v for k, v in encoder().projector.state_dict().items()}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(OrlError, match=r"has a projector, other.projector.\*, that is not beside the backbone net.\*"):
        read_encoder(tmp_path / "a.pth")
