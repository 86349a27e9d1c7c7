"""The overview says what became of the data."""

from __future__ import annotations

import json

PAGE = "overview"


def test_annotations_that_were_left_out_are_shown(run, visit):
    file = run.path / "run.json"
    manifest = json.loads(file.read_text())
    left_out = [{"what": "marked iscrowd", "count": 3, "example": "annotations[1] of a.json"}]
    manifest["images"]["annotations"] = {"given": 8, "used": 5, "left_out": left_out, "changed": []}
    manifest["images"]["notes"] = ["2 names of a.json found in another form"]
    file.write_text(json.dumps(manifest))
    shown = " ".join(box.value.replace("\\", "") for box in visit({"data": True}).markdown)
    assert "5 objects of 8 annotations" in shown
    assert "left out: 3 annotations marked iscrowd, such as annotations[1] of a.json" in shown
    assert "2 names of a.json found in another form" in shown
