"""What benchmarks are made of: a large run, in small."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from orl_explore.maps import object_map


def test_a_large_run_in_small(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    make = __import__("make_large_run").make_large_run
    run = make(tmp_path / "large", images=120, pictures=3, pairs=25)
    sys.modules.pop("make_large_run")
    ids = run.images().table["image_id"].to_numpy()
    assert len(run.images()) == 120
    assert run.images().load(119).size == (640, 480)
    neighbors, pairs, regions = run.read("neighbors"), run.read("pairs"), run.read("regions")
    assert (neighbors["image_id"] != neighbors["neighbor_id"]).all()
    assert len(neighbors) == 1200
    assert len(pairs) == 3000
    owner = regions["image_id"].to_numpy()
    assert (owner[pairs["query_region"]] == pairs["image_id"]).all()
    assert (owner[pairs["key_region"]] == pairs["neighbor_id"]).all()
    assert run.read_array("region_embeddings").shape == (len(regions), 64)
    assert [run.finished(stage) for stage in ("stage1", "stage2", "stage3")] == [True] * 3
    assert len(run.read("pairs", image_id=int(ids[5]))) == 25
    assert len(object_map.read_object_map(run).table) == len(regions)
    json.loads((run.path / "evaluation" / "summary.json").read_text())
