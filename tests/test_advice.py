"""Advice is a command that works when it is typed as it stands, wherever the run is."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from pathlib import Path

import pytest

from orl_explore.errors import OrlError, typed
from orl_explore.judging import results
from orl_explore.maps import object_map
from orl_explore.runs import replay
from orl_explore.runs.anew import refusal
from orl_explore.runs.pair_query import AllPairs
from orl_explore.runs.run import Run
from orl_explore.runs.selections import selected
from orl_explore.settings import Stage3Settings
from training.cli.command import parse

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("orl_explore", "training") for path in (ROOT / package).rglob("*.py"))

FOLDER = "Ann's first runs"


def advised(text: str) -> list[str]:
    return re.findall(r"`(orl [^`]+)`", text)


def test_words_with_blanks_and_quotes_stay_words():
    assert shlex.split(typed("map", Path(FOLDER, "a"), "--limit", 9)) == ["orl", "map", f"{FOLDER}/a", "--limit", "9"]


def by_hand(code: str) -> list[str]:
    """Strings of a program into which something is put behind `orl ...`, where nothing quotes it."""
    found = []
    for node in ast.walk(ast.parse(code)):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for text, filled in itertools.pairwise(parts):
            if isinstance(text, ast.Constant) and isinstance(filled, ast.FormattedValue):
                put = re.search(r"(^|`|next: )orl( [\w./=-]+)* $", str(text.value))
                if put and ast.unparse(filled.value) not in ("__version__", "arguments.command"):
                    found.append(ast.unparse(node))
    return found


@pytest.mark.slow
def test_no_command_is_put_together_by_hand():
    assert by_hand('f"run `orl map {run.path}` first"')
    assert not by_hand("f\"run `{typed('map', run.path)}` first\"")
    assert not [found for path in SOURCES for found in by_hand(path.read_text(encoding="utf-8"))]


ADVICE = {
    "a summary": results.read_summary,
    "a map": object_map.read_object_map,
    "a map by an encoder": lambda run: object_map.read_object_map(run, "stage 1's"),
    "pairs": AllPairs,
    "a table": lambda run: run.read("regions"),
    "a selection": lambda run: selected(run, "mugs"),
    "settings": replay.stage3_settings,
    "a checkpoint": lambda run: replay.load_networks(run, Stage3Settings()),
    "a run": lambda run: Run.open(run.path / "other"),
}


@pytest.mark.parametrize("what", ADVICE)
def test_advice_for_a_run_in_a_folder_with_blanks_and_quotes(what, tmp_path, images):
    run = Run(tmp_path / FOLDER / "one")
    run.set_images(images, ["here"])
    with pytest.raises(OrlError) as raised:
        ADVICE[what](run)
    commands = advised(str(raised.value))
    assert commands
    for command in commands:
        words = shlex.split(command)
        assert words[2].startswith(str(run.path))
        assert parse(words[1:])


def test_what_to_type_next(tmp_path, images):
    run = Run(tmp_path / FOLDER / "one")
    run.set_images(images, ["here"])
    command = run.state("stage1").command
    assert command is not None
    assert shlex.split(command) == ["orl", "stage1", str(run.path)]
    record = {"state": "failed", "config": {}, "inputs": {}}
    (anew,) = advised(refusal(run.path, "stage2", record, config={"encoder": "it's mine.pth"}, inputs={}))
    assert shlex.split(anew)[2:] == [str(run.path), "--overwrite", "--stage2.encoder", "it's mine.pth"]
