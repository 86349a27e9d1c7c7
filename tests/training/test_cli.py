"""The `orl` command: what it explains, what it refuses and in how many words, and its exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from orl_explore import __version__
from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images
from orl_explore.runs.run import Run
from training import cli, pipeline
from training.config import load_config, to_yaml
from training.twin_training import TwinTraining

COMMANDS = ["run", "stage1", "stage2", "stage3", "evaluate", "project", "scenes", "verify", "config"]
COMMANDS += ["import", "export", "data", "plan"]


@pytest.fixture
def orl(capsys):
    """Type a command; gives its exit code and what it printed to stdout and stderr."""

    def type_in(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse's way out
            code = end.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return type_in


@pytest.fixture
def copy(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "copy"))


# ---- help --------------------------------------------------------------------------------------------------


def test_help_teaches(orl):
    code, text, _ = orl("--help")
    assert code == 0
    assert "orl run runs/demo --config demo --images data/demo/annotations.json" in text
    for command in COMMANDS:
        assert f"\n    {command} " in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(orl, command):
    code, text, _ = orl(command, "--help")
    assert code == 0
    assert text.startswith(f"usage: orl {command} ")
    assert len(text.splitlines()) > 5
    if command in ("run", "stage1", "stage2", "stage3", "evaluate"):
        assert "--stage1.epochs 20" in text  # how settings are changed
        assert "orl config demo" in text


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
        (["stage1", "{new}", "--config", "demo", "--images", "{photos}"], "24 images do not fill a batch of 64"),
        (
            ["stage2", "{done}", "--stage2.min_side", "17"],
            "made with other setting min_side: `orl stage2 {done} --overwrite`",
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


def test_a_locked_run(orl, finished):
    with finished.lock():
        code, _, err = orl("stage1", finished.path)
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


@pytest.mark.slow
def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m training.cli config demo | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


# ---- verify, scenes, config --------------------------------------------------------------------------------


def test_verify(orl, tmp_path, images):
    for row in range(3):
        images.load(row).save(tmp_path / f"{row}.png")
    for number in range(22):
        (tmp_path / f"bad{number:02}.jpg").write_bytes(b"")
    code, text, _ = orl("verify", tmp_path)
    assert code == 0
    assert text.startswith("3 usable, 22 skipped\n")
    assert "22 empty file" in text
    assert "bad00.jpg: empty file" in text
    assert "and 2 more" in text
    assert "bad21.jpg: empty file" in orl("verify", tmp_path, "--all")[1]


def test_verify_looks_under_root(orl, annotations, tmp_path):
    moved = shutil.copy(annotations, tmp_path / "elsewhere.json")
    assert orl("verify", moved)[0] == 1
    code, text, _ = orl("verify", moved, "--root", annotations.parent / "images")
    assert (code, text.splitlines()[0]) == (0, "24 usable, 0 skipped")


def test_scenes(orl, tmp_path):
    out = tmp_path / "scenes"
    code, _, err = orl("scenes", out, "--count", 3, "--size", 64, "--seed", 4)
    assert code == 0
    assert f"orl run runs/demo --config demo --images {out}/annotations.json" in " ".join(err.split()).replace(
        "/ ", "/"
    )
    images = open_images([out / "annotations.json"])
    assert len(images) == 3
    assert images.load(0).size == (64, 64)
    assert json.loads((out / "annotations.json").read_text())["categories"]


def test_config_lists(orl):
    code, text, _ = orl("config")
    assert code == 0
    assert "demo" in text
    assert "all three stages on 1,000 practice scenes" in text
    assert "--stage1.base_lr" in text
    assert "Learning rate at a batch of 512" in text


def test_config_shows_every_value(orl, tmp_path):
    code, text, _ = orl("config", "demo", "--stage1.epochs", 12)
    assert code == 0
    (tmp_path / "shown.yaml").write_text(text)
    assert load_config(tmp_path / "shown.yaml") == load_config("demo", ["--stage1.epochs", "12"])


def test_config_without_a_name_shows_the_papers(orl):
    assert orl("config", "--seed", 3)[1].startswith("seed: 3\n")


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


# ---- runs --------------------------------------------------------------------------------------------------


def test_stages_one_by_one(orl, tmp_path, annotations, tiny_yaml, finished):
    """What the commands do is what the functions do; the config is needed once."""
    path = tmp_path / "run"
    assert orl("stage1", path, "--images", annotations, "--config", tiny_yaml)[0] == 0
    assert orl("stage2", path)[0] == 0
    assert orl("stage3", path)[0] == 0
    run = Run(path)
    for name in ("pairs", "region_embeddings"):
        assert run.file(name).read_bytes() == finished.file(name).read_bytes()
    for stage in ("stage1", "stage3"):
        assert run.encoder_file(stage).read_bytes() == finished.encoder_file(stage).read_bytes()
    code, _, err = orl("stage1", path)
    assert code == 0
    assert "is finished: skipped" in err


def test_overwrite(orl, copy):
    assert orl("stage1", copy.path, "--stage1.epochs", 3, "--overwrite")[0] == 0
    assert load_config(copy.path / "config.yaml").stage1.epochs == 3
    assert copy.stage("stage1")["config"]["epochs"] == 3
    code, _, err = orl("stage2", copy.path)
    assert code == 1
    assert f"stage2 of {copy.path} was made with other encoder: `orl stage2 {copy.path} --overwrite`" in err
    assert orl("stage2", copy.path, "--overwrite")[0] == 0


def test_a_config_without_images_is_kept_for_later(orl, new_run, tiny_yaml, monkeypatch):
    run = new_run()
    monkeypatch.setitem(pipeline.STAGES, "stage1", lambda run, config: run)  # as if killed before it began
    assert orl("stage1", run.path, "--config", tiny_yaml)[0] == 0
    assert (run.path / "config.yaml").read_text() == tiny_yaml.read_text()


def test_other_images_are_refused(orl, copy, tmp_path):
    assert orl("scenes", tmp_path / "other", "--count", 4, "--size", 64)[0] == 0
    code, _, err = orl("stage1", copy.path, "--images", tmp_path / "other")
    assert code == 1
    assert "was begun with other images" in err
    assert_short(err)


@pytest.mark.slow
def test_run_does_everything_once(orl, tmp_path, annotations, tiny_yaml):
    path = tmp_path / "run"
    code, out, _ = orl("run", path, "--images", annotations, "--config", tiny_yaml, "--json")
    assert code == 0
    figures = json.loads(out)  # one object and nothing else
    assert {"random", "stage1", "stage2", "stage3"} <= figures.keys()
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*") if p.parent.name in ("stage1", "stage2", "stage3")}
    code, again, err = orl("run", path, "--json")
    assert (code, json.loads(again)) == (0, figures)
    assert err.count("is finished: skipped") == 3
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.slow
def test_sigkill_in_a_whole_run(tmp_path, annotations, tiny_yaml, finished):
    """Kill `orl run` as soon as each stage has begun; the same command always goes on."""
    run = Run(tmp_path / "run")
    command = [sys.executable, "-m", "training.cli", "run", str(run.path), "--images", str(annotations)]
    command += ["--config", str(tiny_yaml)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for stage in ("stage1", "stage2", "stage3"):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
            while process.poll() is None and run.stage(stage).get("state") is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert run.encoder_file("stage3").read_bytes() == finished.encoder_file("stage3").read_bytes()
    assert run.file("pairs").read_bytes() == finished.file("pairs").read_bytes()


@pytest.mark.slow
def test_a_whole_run_of_two_processes(tmp_path, annotations, tiny_yaml):
    """The second process trains along in stages 1 and 3, waits meanwhile, and writes nothing."""
    run = Run(tmp_path / "run")
    command = [sys.executable, "-m", "training.cli", "run", str(run.path), "--images", str(annotations)]
    command += ["--config", str(tiny_yaml), "--devices", "2", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"random", "stage1", "stage2", "stage3"} <= json.loads(done.stdout).keys()  # judged once, by the first
    assert all(run.finished(stage) for stage in ("stage1", "stage2", "stage3"))
    for stage in ("stage1", "stage3"):
        assert (run.path / stage / "metrics.csv").read_text().count("\n") == 1 + 6


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["stage2", "x", "--proposals", "opencv"], ["--stage2.proposals=opencv"]),
        (["stage2", "x", "--max-side", "320", "--seed", "3"], ["--seed=3", "--stage2.max_side=320"]),
        (["stage3", "x", "--reviews", "use"], ["--stage3.reviews=use"]),
        (["stage1", "x"], []),
    ],
)
def test_options_of_a_stage_stand_for_settings(orl, monkeypatch, arguments, settings):
    def prepare(path, *, overrides, **_):
        assert overrides == settings
        raise OrlError("as far as this goes")

    monkeypatch.setattr(pipeline, "prepare", prepare)
    code, *_ = orl(*arguments)
    assert code == 1


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
