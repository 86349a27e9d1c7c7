"""The `orl` command: what it explains, what it refuses and in how many words, and its exit codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from orl_explore import __version__
from orl_explore.errors import OrlError
from training import pipeline
from training.cli.command import parse
from training.config import load_config, to_yaml
from training.twin_training import TwinTraining

COMMANDS = ["explore", "scenes", "data", "verify", "run", "stage1", "stage2", "stage3", "evaluate"]
COMMANDS += ["compare-proposals", "plan", "config", "encoders", "embed-regions", "map", "project"]
COMMANDS += ["pairs", "select", "report", "import", "export", "embed", "app"]
TAKE_SETTINGS = ("explore", "run", "stage1", "stage2", "stage3", "evaluate", "plan", "config", "import", "embed")
TAKE_SETTINGS += ("embed-regions",)


# ---- help --------------------------------------------------------------------------------------------------


def test_help_teaches(orl):
    code, text, _ = orl("--help")
    assert code == 0
    assert "orl run runs/demo --config demo --images data/demo/annotations.json" in text
    assert re.findall(r"^    ([\w-]+)(?: |$)", text, flags=re.MULTILINE) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(orl, command):
    code, text, _ = orl(command, "--help")
    assert code == 0
    assert text.startswith(f"usage: orl {command} ")
    assert len(text.splitlines()) > 5
    assert ("--stage1.epochs 20" in text) == ("orl config demo" in text) == (command in TAKE_SETTINGS)


def test_version(orl):
    assert orl("--version") == (0, f"orl {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["trian"], "invalid choice: 'trian'"),
        (["scenes"], "the following arguments are required: OUT"),
        (["scenes", "x", "--cuont", "3"], "scenes does not know --cuont: see `orl scenes --help`"),
        (["scenes", "x", "--count", "many"], "argument --count: invalid int value: 'many'"),
        (["scenes", "x", "--part", "all-of-it"], "invalid choice: 'all-of-it'"),
        (["scenes", "x", "--coun", "3"], "scenes does not know --coun"),  # no guessing from beginnings of names
        (["verify"], "the following arguments are required: IMAGES"),
        (["verify", "x", "--stage1.epochs", "3"], "verify does not know --stage1.epochs"),
        (["run"], "the following arguments are required: RUN"),
        (["run", "x", "--images"], "argument --images: expected at least one argument"),
    ],
)
def test_typed_wrong(orl, arguments, message):
    code, out, err = orl(*arguments)
    assert code == 2
    assert out == ""
    assert message in err


@pytest.mark.parametrize(
    ("typed", "places", "overrides"),
    [
        ("explore -- -x", {"images": ["-x"]}, []),
        ("explore --seed 3 -- -x --seed", {"images": ["-x", "--seed"]}, ["--seed=3"]),
        ("run -- -R", {"run": "-R"}, []),
        ("run R --seed 3 --", {"run": "R"}, ["--seed=3"]),
        ("stage1 --seed 5 -- R", {"run": "R"}, ["--seed=5"]),
        ("verify -- -x", {"images": ["-x"]}, []),
    ],
)
def test_what_stands_behind_two_minuses_is_no_setting(typed, places, overrides):
    arguments = parse(typed.split())
    found = {name: getattr(arguments, name) for name in places}
    assert {name: list(map(str, v)) if isinstance(v, list) else str(v) for name, v in found.items()} == places
    assert arguments.overrides == overrides


@pytest.mark.parametrize(
    ("typed", "behind"),
    [
        ("run R -- -x", "-x"),
        ("stage1 R -- --seed=5", "--seed=5"),
        ("stage1 --seed=5 -- R --seed=5", "--seed=5"),
        ("stage1 --seed 5 -- R stray", "stray"),
        ("config -- demo --seed=5", "--seed=5"),
    ],
)
def test_settings_behind_two_minuses(typed, behind, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(typed.split())
    assert f"{behind!r} stands behind --, where nothing is a setting: type it before that" in capsys.readouterr().err


# ---- errors ------------------------------------------------------------------------------------------------


def assert_short(err: str) -> None:
    """One or two lines that begin with the command, at the end, and nothing of Python."""
    before, _, message = err.rpartition("orl: ")
    assert before == "" or before.endswith("\n"), err
    assert 1 <= len(message.strip().splitlines()) <= 2, err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "{new}"], "has no images yet: `orl run {new} --images PATH`"),
        (["stage1", "{new}"], "has no images yet"),
        (["stage2", "{new}"], "has no images yet"),
        (["evaluate", "{new}"], "has no images yet"),
        (["run", "{new}", "--images", "/nowhere"], "/nowhere"),
        (["verify", "/nowhere"], "/nowhere"),
        (["run", "{new}", "--config", "dmeo"], "no config 'dmeo': did you mean demo?"),
        (["config", "dmeo"], "no config 'dmeo': did you mean demo?"),
        (
            ["run", "{new}", "--config", "demo", "--stage1.epoch", "3"],
            "unknown setting 'stage1.epoch' on the command line",
        ),
        (["config", "demo", "--stage2.ratio", "3"], "did you mean stage2.pair_ratio?"),
        (
            ["stage1", "{new}", "--images", "{photos}", "--stage1.epochs", "-1"],
            "stage1.epochs is -1: it must be above 0",
        ),
        (["stage1", "{new}", "--config", "demo", "--images", "{photos}"], "24 images do not fill a batch of 32"),
        (
            ["stage2", "{done}", "--stage2.min_side", "17"],
            "made with other setting min_side: `orl stage2 {done} --overwrite --stage2.min_side 17`",
        ),
        (["scenes", "{new}", "--count", "0"], "count"),
        (["scenes", "{new}", "--size", "1"], "size"),
    ],
)
def test_errors_are_short(orl, tmp_path, annotations, finished, arguments, message):
    words = {"new": tmp_path / "new", "photos": annotations, "done": finished.path}
    code, out, err = orl(*[argument.format(**words) for argument in arguments])
    assert code == 1
    assert out == ""
    assert message.format(**words) in err
    assert_short(err)


def test_a_long_message_is_not_broken_up(orl, tmp_path):
    path = tmp_path / ("very_" * 30) / "run"  # wider than any terminal
    _, _, err = orl("stage2", path)
    assert f"orl stage1 {path}" in err or f"orl run {path}" in err


def test_brackets_in_names_are_printed_as_they_are(orl):
    _, _, err = orl("verify", "/no[bold]where[/]")
    assert "/no[bold]where[/]" in err


def test_a_refused_command_changes_nothing(orl, copy):
    before = {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file() and path.name != ".lock"}
    for arguments in (["stage1", "--stage1.epochs", "5"], ["stage3", "--config", "demo"], ["run", "--seed", "4"]):
        code, _, _ = orl(arguments[0], copy.path, *arguments[1:])
        assert code == 1
    assert {path: path.read_bytes() for path in before} == before
    assert load_config(copy.path / "config.yaml").seed == 0


def test_other_images_are_refused(orl, copy, tmp_path):
    assert orl("scenes", tmp_path / "other", "--count", 4, "--size", 64)[0] == 0
    code, _, err = orl("stage1", copy.path, "--images", tmp_path / "other")
    assert code == 1
    assert "was begun with other images" in err
    assert_short(err)


def test_a_locked_run(orl, finished):
    held, done = threading.Event(), threading.Event()

    def hold() -> None:  # this thread could take its own lock again
        with finished.lock():
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    code, _, err = orl("stage1", finished.path)
    done.set()
    thread.join()
    assert code == 1
    assert "another process is working on" in err
    assert_short(err)


def test_ctrl_c_says_how_to_go_on(orl, new_run, tiny_yaml, monkeypatch):
    def interrupted(self, batch, batch_idx):
        raise KeyboardInterrupt

    monkeypatch.setattr(TwinTraining, "training_step", interrupted)
    code, _, err = orl("stage1", new_run().path, "--config", tiny_yaml)
    assert code == 130
    assert "stopped; the same command goes on from here" in err


@pytest.mark.slow
def test_no_traceback_from_the_real_command(tmp_path):
    """Once with everything around it: its own process, no terminal."""
    command = [sys.executable, "-m", "training.cli", "stage2", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert_short(done.stderr)


def test_sigterm_while_an_error_is_said_has_the_last_word(orl, tmp_path, monkeypatch):
    """torchrun sends it to the processes that are left, which are just saying that one was lost; see test_scaleout."""

    class Lost(OrlError):
        def __str__(self) -> str:
            os.kill(os.getpid(), signal.SIGTERM)  # with Python's own handler, the end of the tests
            return super().__str__()

    def prepare(*_: object, **__: object) -> None:
        raise Lost("a process was lost")

    monkeypatch.setattr(pipeline, "prepare", prepare)
    code, _, said = orl("stage1", tmp_path / "run")
    assert code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM; the same command goes on from here" in said


# ---- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "--seed", "3", "--stage2.min_similarity", "-0.1", "--stage1.epochs", "12"),
        ("--seed", "3", "demo", "--stage2.min_similarity=-0.1", "--stage1.epochs=12"),  # the 3 is no name
        ("--stage2.min_similarity", "-0.1", "--stage1.epochs", "12", "--seed=3", "demo"),
    ],
)
def test_settings_may_stand_anywhere(orl, arguments):
    expected = load_config("demo", ["--seed", "3", "--stage2.min_similarity", "-0.1", "--stage1.epochs", "12"])
    code, text, _ = orl("config", *arguments)
    assert (code, text) == (0, to_yaml(expected))


@pytest.mark.parametrize(
    "arguments",
    [("{run}", "--seed", "3"), ("--seed", "3", "{run}"), ("--config", "demo", "--seed", "3", "{run}")],
)
def test_the_value_of_a_setting_is_not_the_run_folder(orl, tmp_path, arguments):
    _, _, err = orl("stage2", *[argument.format(run=tmp_path / "new") for argument in arguments])
    assert f"{tmp_path}/new has no images yet" in err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("stage2", "{run}", "--max-side", "5", "--stage2.max_side", "7"), "--max-side and --stage2.max_side"),
        (("stage2", "{run}", "--stage2.max_side=5", "--max-side", "5"), "--max-side and --stage2.max_side"),
        (("stage2", "{run}", "--encoder", "embedded", "--stage2.encoder=x"), "--encoder and --stage2.encoder"),
        (("stage2", "{run}", "--proposals", "fast", "--stage2.proposals", "opencv"), "--proposals and"),
        (("stage3", "{run}", "--reviews", "use", "--stage3.reviews", "null"), "--reviews and --stage3.reviews"),
        (("explore", "{photos}", "--run", "{run}", "--no-app", "--encoder", "x", "--stage2.encoder", "y"), "--encoder"),
    ],
)
def test_a_setting_that_is_typed_both_ways(orl, new_run, tmp_path, words, option):
    run = new_run().path
    (tmp_path / "photos").mkdir()
    code, _, err = orl(*[word.format(run=run, photos=tmp_path / "photos") for word in words])
    assert code == 1
    assert re.search(f"{option}.* the same setting: leave one of them out", " ".join(err.split()))
