"""What `orl evaluate` found, side by side."""

from __future__ import annotations

from orl_explore.judging import results


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


def test_evaluation_table():
    table = results.evaluation_table({"random": {"object_knn": 0.1}, "stage1": {"loss": 2}, "chance": {}})
    assert list(table.columns) == ["untrained", "stage 1"]
    assert len(table) == 2
