"""The prepared GPU session: what of the table of steps falls short of the goals, and that parts are done once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[1] / "benchmarks" / "gpu_day.py"


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_day", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_day", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "DONE", tmp_path)
    return module


TABLE = """
| stage | step | batch | samples/s | ratio to plain | share of matmul rate | peak GiB | with input, samples/s |
| --- | --- | --- | --- | --- | --- | --- | --- |
| stage 1 | plain | 64 | 600 | 1.00x | 20.0% | 9.1 | 590 |
| stage 1 | own | 64 | 1200 | 2.00x | 41.0% | 8.0 | 1190 |
| stage 1 | own, compiled | 64 | 840 | 1.40x | 39.9% | 8.0 | 700 |
| stage 3 | own | 512 | out of memory |  |  |  |  |
"""


def test_what_falls_short(day):
    # The plain step has no goals; ours meets all of them, the compiled one none; what did not fit says so itself.
    assert day.shortfalls(TABLE) == [
        "stage 1, own, compiled, batch 64: 1.40x plain, below 1.5x",
        "stage 1, own, compiled, batch 64: 39.9% of the matmul rate, below 40%",
        "stage 1, own, compiled, batch 64: 700 samples/s with input, 840 without: input is the limit",
    ]


@pytest.mark.slow
def test_a_part_is_kept_when_it_has_ended_only(day):
    part = day.Part("quick", ["-c", "print('done')"], ["-c", "import time; time.sleep(60)"], minutes=1)
    assert day.run_part(part, toy=True, minutes=0.02).startswith("not finished in")
    assert not part.file.exists()
    assert day.run_part(part, toy=False, minutes=1) == part.file.read_text() == "done"


def test_without_a_gpu_it_says_how_to_try_it(day, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FILE.parent)
    monkeypatch.setattr(sys, "argv", [str(FILE)])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit) as end:
        day.main()
    assert end.value.code == 2
    assert "--toy" in capsys.readouterr().err
