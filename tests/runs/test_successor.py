"""A stage made again beside the one that is there: the old one stands to the end, whenever the process is killed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from killing import killed
from orl_explore.runs.files import hash_file, write_json
from orl_explore.runs.run import Run
from orl_explore.runs.successor import Successor, set_aside_unrecorded, settle


@pytest.fixture
def made(tmp_path: Path) -> Run:
    """A run whose stage 1 is finished, with files of others beside its own, and whose new stage 1 is finished, too."""
    run = Run(tmp_path / "run")
    for name, text in (("stage1", "old"), ("stage1.new", "new")):
        (run.path / name / "checkpoints").mkdir(parents=True)
        for file in ("encoder.safetensors", "metrics.csv", "checkpoints/step=6.ckpt"):
            (run.path / name / file).write_text(text)
    for name in ("notes.txt", "checkpoints/step=6 copy.ckpt", "kept/a/b.txt"):
        (run.path / "stage1" / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / "stage1" / name).write_text("mine")
    run.note("stage1", state="finished", config={"epochs": 2})
    Successor(run.path, "stage1").note("stage1", state="finished", config={"epochs": 3})
    return run


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def assert_taken(run: Run) -> None:
    own = dict.fromkeys(("encoder.safetensors", "metrics.csv", "checkpoints/step=6.ckpt"), "new")
    others = dict.fromkeys(("notes.txt", "checkpoints/step=6 copy.ckpt", "kept/a/b.txt"), "mine")
    assert contents(run.path / "stage1") == own | others
    assert sorted(path.name for path in run.path.iterdir()) == ["run.json", "stage1"]
    manifest = json.loads((run.path / "run.json").read_text())
    assert manifest["stages"]["stage1"]["config"]["epochs"] == 3
    assert not {"successors", "taking_place"} & manifest.keys()


def test_the_old_one_stands_while_the_new_one_grows(made):
    new = Successor(made.path, "stage1")
    assert made.stage("stage1")["config"]["epochs"] == 2
    assert made.encoder_file("stage1").read_text() == "old"
    assert new.stage("stage1")["config"]["epochs"] == 3
    assert new.encoder_file("stage1").read_text() == "new"
    assert new.file("pairs") == made.file("pairs")  # of another stage
    assert new.file("images") == made.file("images")
    new.clear("stage1")
    assert made.encoder_file("stage1").read_text() == "old"
    assert not (made.path / "stage1.new").exists()


def test_it_takes_the_place(made):
    new = Successor(made.path, "stage1")
    new.take_place()
    assert_taken(made)
    assert new.finished("stage1")  # for whoever still asks it


def test_what_could_not_come_along_stays(made):
    """A file that the new folder has, too: it is still there after another successor."""
    (made.path / "stage1.new" / "notes.txt").write_text("theirs")
    Successor(made.path, "stage1").take_place()
    assert contents(made.path / "stage1.old") == {"notes.txt": "mine"}
    shutil.copytree(made.path / "stage1", made.path / "stage1.new")
    Successor(made.path, "stage1").note("stage1", state="finished", config={"epochs": 4})
    Successor(made.path, "stage1").take_place()
    assert contents(made.path / "stage1.old.set-aside") == {"notes.txt": "mine"}
    assert (made.path / "stage1" / "notes.txt").read_text() == "theirs"


@pytest.mark.parametrize("killed_at", range(12))
def test_killed_while_it_takes_the_place(killed_at, made, monkeypatch):
    """At any file system call."""
    calls = (Path, "rename"), (Path, "replace"), (Path, "unlink"), (Path, "rmdir"), (shutil, "move")
    with killed(monkeypatch, killed_at, *calls):
        try:
            Successor(made.path, "stage1").take_place()
        except KeyboardInterrupt:
            interrupted = True
        else:
            interrupted = False
    if interrupted and "taking_place" not in made.manifest():
        if made.manifest().get("successors"):
            assert contents(made.path / "stage1")["encoder.safetensors"] == "old"
            Successor(made.path, "stage1").take_place()
    else:
        settle(made)
    for leftover in made.path.glob(".*.tmp"):
        leftover.unlink()
    assert_taken(made)


@pytest.mark.parametrize(
    ("files", "recorded", "imported", "aside"),
    [
        (["encoder.safetensors"], False, False, True),
        (["checkpoints/step=6.ckpt", "notes.txt"], False, False, True),
        (["pairs.parquet", "reviews.parquet"], False, False, True),
        (["shards/pairs-00000"], False, False, True),
        (["encoder.safetensors"], True, False, False),
        (["notes.txt"], False, False, False),
        ([], False, False, False),
        (["proposals.parquet", "masks.parquet"], False, True, False),
    ],
)
@pytest.mark.parametrize("successor", [False, True])
def test_results_without_a_record_are_set_aside(files, recorded, imported, aside, successor, tmp_path):
    run = Successor(tmp_path / "run", "stage2") if successor else Run(tmp_path / "run")
    folder = run.folder("stage2")
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    if recorded:
        run.note("stage2", state="failed")
    if imported:
        table = {"settings": {}, "hash": hash_file(folder / "proposals.parquet")}
        write_json(run.path / "run.json", run.manifest() | {"imported_tables": {"proposals": table}})
    found = set_aside_unrecorded(run, "stage2")
    assert found == (folder.with_name(f"{folder.name}.set-aside") if aside else None)
    said = [] if successor else [name for name in files if name.startswith("reviews") and aside]
    left = {name: name for name in files if name not in said}
    assert (contents(found or folder)) == left
    assert [path.name for path in run.path.glob("said/0/reviews*")] == said  # which a new stage 2 gets


def test_what_people_said_comes_along(finished, tmp_path):
    from orl_explore.runs.carrying import carry_over
    from orl_explore.runs.reviews import Pair, read_reviews, save_review
    from orl_explore.runs.selections import save_selection, selected

    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    first = run.read("pairs").iloc[0]
    key = tuple(int(first[name]) for name in ("image_id", "neighbor_id", "query_region", "key_region"))
    save_review(run, Pair(*key), verdict="accepted")
    save_selection(run, "mine", [key[2]])
    for other in (False, True):
        new = shutil.copytree(
            run.path / "stage2", run.path / "stage2.new", ignore=shutil.ignore_patterns("reviews*", "verdicts*")
        )
        successor = Successor(run.path, "stage2")
        if other:  # other pairs of the same boxes
            pairs = run.read("pairs")
            pairs.iloc[5:].to_parquet(new / "pairs.parquet")
        successor.note("stage2", **run.stage("stage2"))
        successor.take_place()
        carry_over(run)
        assert read_reviews(run)["query_region"].tolist() == [key[2]]
        assert selected(run, "mine").tolist() == [key[2]]
