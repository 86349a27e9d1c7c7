"""`orl pairs` and `orl select`, typed."""

from __future__ import annotations

import json
import shutil

import pytest

from orl_explore.runs.reviews import read_reviews
from orl_explore.runs.run import Run
from orl_explore.runs.selections import selected
from training.cli.command import main


@pytest.fixture
def run(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "run"))


def test_pairs_of_an_older_run(run, capsys):
    run.file("pair_facts").unlink()
    assert main(["pairs", str(run.path), "sort=similarity&relation=mixed", "--count", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"] == found["mixed"] < found["of"] == run.count("pairs")
    assert [row["similarity"] for row in found["shown"]] == sorted(row["similarity"] for row in found["shown"])
    assert len(found["shown"]) == 3
    assert main(["pairs", str(run.path)]) == 0
    shown = capsys.readouterr().out
    assert f"of {run.count('pairs'):,} pairs" in shown
    assert "…" not in shown  # a part of an id is another id


def test_select(run, tmp_path, capsys):
    path = str(run.path)
    for words in (
        ["hubs", "--pairs", "doubt=hub", "--side", "key"],
        ["mixed", "--pairs", "relation=mixed"],
        ["both", "--union", "hubs", "mixed"],
    ):
        assert main(["select", path, *words]) == 0
    assert set(selected(run, "both")) == {*selected(run, "hubs"), *selected(run, "mixed")}
    facts = run.read("pair_facts")
    touches = facts["query_region"].isin(selected(run, "hubs")) | facts["key_region"].isin(selected(run, "hubs"))
    out = tmp_path / "hubs.csv"
    assert main(["select", path, "hubs", "--reject", "--reviewer", "Ann", "--export", str(out)]) == 0
    reviews = read_reviews(run)
    assert len(reviews) == touches.sum()
    assert set(reviews["verdict"]) == {"rejected"}
    assert set(reviews["reviewer"]) == {"Ann"}
    assert len(out.read_text().splitlines()) == 1 + len(selected(run, "hubs"))
    capsys.readouterr()
    assert main(["select", path, "mixed", "--delete"]) == 0
    assert main(["select", path]) == 0
    assert "union of hubs, mixed" in capsys.readouterr().out


def test_regions_by_their_numbers(run, tmp_path):
    """As they are typed, and as files have them: what the object map gives, and what a selection is exported as."""
    path, listed = str(run.path), tmp_path / "ids.txt"
    listed.write_text("3, 7\n9 9")
    assert main(["select", path, "typed", "--regions", "3", "7", "9", "--export", str(tmp_path / "three.csv")]) == 0
    assert main(["select", path, "same", "--regions", "3,7,9", "--export", str(tmp_path / "three.parquet")]) == 0
    for name, file in (("a", listed), ("b", tmp_path / "three.csv"), ("c", tmp_path / "three.parquet")):
        assert main(["select", path, name, "--regions", str(file)]) == 0
    assert {tuple(selected(run, name)) for name in ("typed", "same", "a", "b", "c")} == {(3, 7, 9)}


@pytest.mark.parametrize(
    "words",
    [
        ["pairs", "RUN", "sort=best"],
        ["select", "RUN", "nothing"],
        ["select", "RUN", "a", "--regions", "x"],
        ["select", "RUN", "a", "--regions", "-1"],
        ["select", "RUN", "a", "--regions", "999999999"],
        ["select", "RUN", "a", "--regions", "1", "--pairs", "doubt=hub"],
        ["select", "RUN", "a", "--pairs", "", "--union", "b", "c"],
        ["select", "RUN", "a", "--pairs", "", "--accept", "--reject"],
    ],
)
def test_typed_wrong(run, words):
    assert main([str(run.path) if word == "RUN" else word for word in words]) == 1
