"""From a command's arguments to a run, and what judging leaves."""

from __future__ import annotations

import pytest
from PIL import Image

from orl_explore.figures.summary_picture import summary_picture
from painted_runs import make_run
from training import evaluate, pipeline


@pytest.mark.parametrize("mined", [True, False])
def test_judging_a_run_leaves_the_picture(tmp_path, tiny, monkeypatch, capsys, mined):
    run = make_run(tmp_path)
    if not mined:
        run.note("stage2", state="running")
    monkeypatch.setattr(evaluate, "run", lambda run, config: {"seed": 0})
    assert pipeline.judge(run, tiny) == {"seed": 0}
    file = run.path / "summary.png"
    assert file.exists() == mined
    assert ("summary.png" in capsys.readouterr().err) == mined
    if mined:
        with Image.open(file) as picture:
            assert picture.tobytes() == summary_picture(run).tobytes()
