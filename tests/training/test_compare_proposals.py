"""Proposers of every kind on one run: a file of its own boxes is its own equal, and nothing is judged twice."""

from __future__ import annotations

import json
import shutil

import pytest

from orl_explore.errors import OrlError
from orl_explore.judging.proposers import side_by_side
from orl_explore.runs.run import Run
from training import cli, compare_proposals
from training.compare_proposals import compare_proposals as compare


@pytest.fixture
def run(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.fixture
def own_boxes(run, tmp_path):
    """The run's kept boxes as a CSV of names, best first as they were found."""
    names = run.read("images").set_index("image_id")["file_name"]
    regions = run.read("regions")
    frame = regions.assign(file_name=names.loc[regions["image_id"]].to_numpy())
    frame[["file_name", "x", "y", "w", "h"]].to_csv(tmp_path / "boxes.csv", index=False)
    return tmp_path / "boxes.csv"


def test_the_runs_own_boxes_from_a_file_are_its_equal(run, own_boxes, tiny, monkeypatch, tmp_path):
    other = shutil.copytree(run.path, tmp_path / "other")
    first, second, third = compare(run, tiny, ["run", str(own_boxes), str(other)])
    assert first.regions().equals(run.read("regions"))
    assert second.regions().equals(first.regions())
    assert third.regions().equals(first.regions())
    table = side_by_side(first, second).set_index("figure")
    assert table.loc["boxes", "first"] == len(run.read("regions")) / 24
    assert table["first"].notna().all()
    assert table["first"].to_numpy() == pytest.approx(table["second"].to_numpy())
    assert table.loc["recall_50", "more_high"] == 0
    assert first.facts["chance"].keys() == {"purity", "object_pairs"}
    monkeypatch.setattr(compare_proposals, "embed_regions", None)  # what is kept is not made again
    assert [one.folder for one in compare(run, tiny, [str(own_boxes), "run"])] == [second.folder, first.folder]


def test_some_images_and_a_search(run, tiny):
    first, second = compare(run, tiny, ["run", "fast"], limit=6)
    assert first.facts["count"] == 6
    assert first.regions()["image_id"].nunique() == 6
    # The run's own search with the run's own seed: the same boxes.
    assert second.regions().equals(first.regions())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("slow", "there is no proposer 'slow': name run, fast, opencv, the folder of another run"),
        ("authors.json", "has no boxes that name their images: `orl import` it into a run"),
    ],
)
def test_no_such_proposer(run, tiny, tmp_path, monkeypatch, name, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "authors.json").write_text(json.dumps({"bbox": [[[0, 0, 5, 5]]]}))
    with pytest.raises(OrlError, match=sentence):
        compare(run, tiny, ["run", name])
    assert not (run.path / "comparison").exists()


def test_the_command(run, own_boxes, capsys):
    assert cli.main(["compare-proposals", str(run.path), "run", str(own_boxes), "--limit", "8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 8
    assert [row["figure"] for row in found["figures"]][:2] == ["boxes", "recall_50"]
    assert cli.main(["compare-proposals", str(run.path), "run", str(own_boxes), "--limit", "8"]) == 0
    shown = capsys.readouterr().out
    assert "A: run" in shown
    assert "B: boxes.csv" in shown
    assert "; chance " in " ".join(shown.split())
