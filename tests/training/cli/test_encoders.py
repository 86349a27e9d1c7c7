"""`orl encoders`."""

from __future__ import annotations

import json

from orl_explore.interchange.encoders import FORMS


def test_what_can_be_named(orl, copy):
    code, out, _ = orl("encoders")
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()] == list(FORMS)
    code, out, _ = orl("encoders", copy.path)
    assert code == 0
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    assert list(lines)[:3] == ["random", "stage1", "stage3"]
    assert lines["stage3"].strip() == "stage 3 of this run"
    code, out, _ = orl("encoders", copy.path, "--json")
    assert list(json.loads(out)) == list(lines)


def test_no_run(orl, tmp_path):
    code, _, text = orl("encoders", tmp_path / "nowhere")
    assert code == 1
    assert "no run at" in text
