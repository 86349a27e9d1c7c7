"""What `orl evaluate` found, side by side."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.judging import intervals, results
from orl_explore.judging.intervals import Scored
from orl_explore.runs.run import Run


def test_results_are_laid_side_by_side():
    def result(encoder, value, date, protocol="knn", k=20, data="x", code="c1"):
        return {
            "protocol": protocol,
            "encoder": {"name": encoder},
            "score": {"name": "accuracy", "title": protocol, "value": value},
            "figures": {"accuracy": value, "accuracy_chance": 0.1},
            "settings": {"k": k, "temperature": 0.07},
            "data": {"fingerprint": data, "paths": ["/data/voc"]},
            "seed": 0,
            "date": date,
            "code": code,
        }

    table = results.transfer_table(
        [
            result("stage1", 0.5, "2"),
            result("stage1", 0.9, "1"),  # older
            result("random", 0.2, "1", code="c2"),
            result("stage1", 0.6, "1", k=5),
            result("mine", 0.7, "1", protocol="linear"),
        ]
    )
    rows = table.set_index("").astype(object).where(table.set_index("").notna(), None).to_dict("index")
    assert list(table.columns) == ["", "untrained", "stage 1", "mine", "chance", "data", "code"]
    scores = {"untrained": 0.2, "stage 1": 0.5, "mine": None, "chance": 0.1}
    assert rows["knn, k = 20"] == {**scores, "data": "voc", "code": "c2, c1"}  # by different code
    assert rows["knn, k = 5"]["code"] == "c1"
    assert rows["knn, k = 5"]["stage 1"] == 0.6
    assert rows["linear"]["mine"] == 0.7


def test_settings_that_a_title_has_are_not_told_twice():
    def result(backbone, crop):
        return {
            "protocol": "segmentation",
            "encoder": {"name": "stage1"},
            "score": {"name": "miou", "title": f"FCN (backbone {backbone}), mIoU", "value": 0.1},
            "figures": {"miou": 0.1},
            "settings": {"backbone": backbone, "crop": crop},
            "data": {"fingerprint": "x", "paths": []},
            "seed": 0,
            "date": "1",
        }

    table = results.transfer_table([result("frozen", 96), result("fine-tuned", 96)])
    assert table[""].tolist() == ["FCN (backbone frozen), mIoU", "FCN (backbone fine-tuned), mIoU"]
    table = results.transfer_table([result("frozen", 96), result("frozen", 128)])
    assert table[""].tolist() == ["FCN (backbone frozen), mIoU, crop = 96", "FCN (backbone frozen), mIoU, crop = 128"]


def test_evaluation_table():
    table = results.evaluation_table({"random": {"object_knn": 0.1}, "stage1": {"loss": 2}, "chance": {}})
    assert list(table.columns) == ["untrained", "stage 1"]
    assert len(table) == 2


# ---- with intervals ------------------------------------------------------------------------------------------------


def judged(run, encoder, right, protocol="knn"):
    """A result of 200 test images of which these are right, written as the runner writes it."""
    folder = run.path / results.TRANSFER
    items = Scored.of(np.arange(200) < right)
    name = f"{protocol}-{encoder}.npz"
    limits = intervals.write_items(folder / name, {"accuracy": items})
    return {
        "protocol": protocol,
        "encoder": {"name": encoder},
        "score": {"name": "accuracy", "title": protocol, "value": items.value(), "interval": limits["accuracy"]},
        "figures": {"accuracy": items.value(), "accuracy_chance": 0.125},
        "intervals": {"items": name},
        "settings": {},
        "data": {"fingerprint": "x", "paths": []},
        "seed": 0,
        "date": "1",
        "code": "c1",
    }


def test_scores_with_intervals_and_their_difference(tmp_path):
    run = Run(tmp_path)
    found = [judged(run, "random", 60), judged(run, "stage1", 100), judged(run, "stage3", 110)]
    table = results.text_table(found, run)
    assert list(table.columns) == ["", "untrained", "stage 1", "stage 3", "stage 3 - stage 1", "chance", "data", "code"]
    row = table.iloc[0]
    assert row["chance"] == "12.5"
    # 100 of 200: a standard error of 3.5 points, so 50 -+ 6.9.
    value, _, limits = row["stage 1"].partition(" ")
    low, high = (float(number) for number in limits.strip("[]").split(", "))
    assert value == "50.0"
    assert (low, high) == (pytest.approx(43.1, abs=1), pytest.approx(56.9, abs=1))
    # They differ in ten images, all for the better: 5 points, standard error sqrt(0.05 * 0.95 / 200) = 1.5.
    value, _, limits = row["stage 3 - stage 1"].partition(" ")
    low, high = (float(number) for number in limits.strip("[]").split(", "))
    assert value == "+5.0"
    assert limits.startswith("[+")
    assert (low, high) == (pytest.approx(2.0, abs=0.6), pytest.approx(8.0, abs=0.8))


def test_without_what_is_known_of_each_image_there_is_no_interval(tmp_path):
    run = Run(tmp_path)
    a, b = judged(run, "random", 60), judged(run, "mine", 50)
    (run.path / results.TRANSFER / "knn-mine.npz").unlink()
    row = results.text_table([a, b], run).iloc[0]
    assert row["mine - untrained"] == "-5.0"
    old = {**b, "score": {"name": "accuracy", "title": "knn", "value": 0.25}}
    del old["intervals"]
    row = results.text_table([a, old], run).iloc[0]
    assert (row["mine"], row["mine - untrained"]) == ("25.0", "-5.0")
    alone = results.text_table([a], run)
    assert list(alone.columns) == ["", "untrained", "chance", "data", "code"]
    assert results.text_table([], run).empty
