"""`orl report`, typed."""

from __future__ import annotations

import shutil

from training.cli.command import main


def test_report(finished, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(finished.path, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    (run / "stage2" / "pair_facts.parquet").unlink()  # an older run
    assert main(["report", str(run)]) == 0
    assert "<figure>" in (tmp_path / "run.html").read_text()
    assert main(["report", str(run), "--pairs", "relation=same", "-o", "same.html", "--title", "Mine"]) == 0
    assert "<h1>Mine</h1>" in (tmp_path / "same.html").read_text()
    capsys.readouterr()
    assert main(["report", str(run), "-o", "same.pdf"]) == 1
    assert "same.html" in capsys.readouterr().err
    assert main(["report", str(run), "--pairs", "sort=best"]) == 1
