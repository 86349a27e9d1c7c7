"""kNN accuracy while a stage trains."""

from __future__ import annotations

import pytest

from training.transfer import runner as transfer


@pytest.mark.slow
def test_watching_by_knn_changes_nothing_else(new_run, changed):
    from training import stage1

    plain, watched = new_run("plain"), new_run("watched")
    stage1.run(plain, changed())
    stage1.run(watched, changed("stage1", knn_every=1))
    assert watched.encoder_file("stage1").read_bytes() == plain.encoder_file("stage1").read_bytes()
    assert (watched.path / "stage1" / "metrics.csv").read_text() == (plain.path / "stage1" / "metrics.csv").read_text()
    rows = [line.split(",") for line in (watched.path / "stage1" / "knn.csv").read_text().splitlines()]
    assert rows[0] == ["step", "epoch", "knn"]
    assert [row[:2] for row in rows[1:]] == [["2", "0"], ["5", "1"]]  # three steps an epoch
    last = transfer.evaluate(watched, changed(), ["knn"], encoders=["stage1"])[0]
    assert float(rows[-1][2]) == pytest.approx(last["figures"]["accuracy"], abs=1e-4)
    stage1.run(watched, changed())  # finished: the setting makes no other run of it
    assert not (plain.path / "stage1" / "knn.csv").exists()
