"""Every command that README.md and docs/ print in a ```sh block is typed here, on a few small pictures.

A document is one session in a folder of its own: what a command needs is made by the commands printed before it, or,
where it comes from elsewhere (photographs, COCO, another project's weights, a run of another page), laid out with
practice data. Sizes are overridden by SMALL, appended to what is printed, so that a command takes a second or two.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
import torchvision

from commands import CLI, do, torchrun
from commands import Command as Process
from export_files import fiftyone
from orl_explore.images.opening import open_images
from orl_explore.practice.benchmark_folders import write_imagefolder, write_voc, write_voc2012
from orl_explore.practice.scenes import make_scenes
from orl_explore.runs.run import Run
from training import cli
from training.cli.command import parse
from training.config import config_names
from training.exporting import export
from training.plan import plan

pytestmark = pytest.mark.slow  # a second each, a minute for all

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SLOW = r"torchrun |orl map |orl embed-regions |orl explore |orl evaluate .* --protocol (voc07|linear|semi|detection)"
"""Beginnings of commands that take more than a few seconds all the same: two processes; UMAP, when first imported;
whole protocols."""

LISTED = {
    r"orl data coco ": "19 GB from a server; tests/images/test_downloads.py does it with a small one of its own",
    r"torchrun --nnodes ": "several machines",
    r"sbatch ": "Slurm; tests/training/test_scaleout.py starts processes as it does",
    r"python benchmarks/": "measurements of many minutes",
}
"""Printed commands that are not run here, by their beginning: why not."""

PLACEHOLDERS = {
    "RUN": "runs/placeholder",
    "FOLDER": "runs",
    "PATH": "photos",
    "IMAGES": "photos",
    "PHOTOS": "photos",
    "FILE": "correspondence.json",
    "WHAT": "coco",
    "OUT": "out.json",
}
"""Words in capitals stand for what the reader has."""

MACHINE = {"precision": "fp32", "workers": 0}
TRAINING = {"image_size": 32, "epochs": 1, "warmup_epochs": 0.5, "batch_size": 8}
TRAINING |= {"encoder.backbone": "timm:test_resnet", "encoder.hidden": 32, "encoder.dim": 16}
STAGE2 = {"image_size": 32, "min_side": 8, "neighbors": 2, "batch_size": 16, "shard_images": 8}
WHOLE_RUN = {
    **MACHINE,
    **{f"{stage}.{key}": value for stage in ("stage1", "stage3") for key, value in TRAINING.items()},
    **{f"stage2.{key}": value for key, value in STAGE2.items()},
    "stage3.patch_size": 16,
}
LITTLE = "--stage2.encoder_size=64"
"""Of an encoder that has a size of its own: a dozen times as quick."""
PROTOCOLS = {
    "voc07": {"costs": [1], "folds": 2},
    "voc07-lowshot": {"k": [1, 2], "samples": 1, "costs": [1]},
    "linear": {"epochs": 1, "steps": [1], "batch_size": 16},
    "semi": {"epochs": 1, "steps": [1]},
    "in-context": {"memory": 512},
    "segmentation": {"iterations": 1, "batch_size": 2, "size": [64, 96], "crop": 32, "channels": 8},
    "detection": {"iterations": 1, "batch_size": 2, "train_sizes": [32], "channels": 8}
    | {"regions": 4, "warmup": 1, "precise_bn": 1},
}
SMALL = {
    **dict.fromkeys(("run", "stage1", "stage2", "stage3", "plan"), WHOLE_RUN),
    "import": MACHINE | {"stage2.image_size": 32, "stage2.min_side": STAGE2["min_side"]},
    "embed": MACHINE | {"stage2.image_size": 32},
    "explore": MACHINE | {f"stage2.{key}": value for key, value in STAGE2.items()},
    **dict.fromkeys(("evaluate", "embed-regions"), MACHINE),
    "config": {},
}
"""Command -> settings that make it quick."""

MANY = 90
"""Scenes of which protocols are given: enough for two images of every category on both sides of a split."""

MAKES = ("explore", "scenes", "export", "run", "stage1", "stage2", "stage3", "import", "embed", "embed-regions")
"""Commands that others can build on."""

BEGINS_RUNS = ("run", "stage1", "import")
STAGES = ("stage1", "stage2", "stage3")
NEEDS = {"stage2": ("stage1",), "stage3": ("stage1", "stage2")}
"""Command -> stages of the run of another page that it goes on with; all three where it is not named."""


# ---- what is printed -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, repr=False)
class Command:
    """A printed command: the document it is in, its place there, and its words as a shell would pass them on."""

    document: Path
    number: int
    words: tuple[str, ...]

    def __repr__(self) -> str:
        return f"{self.document.name}: {self.text}"

    @property
    def text(self) -> str:
        return shlex.join(self.words)

    @property
    def reasons(self) -> list[str]:
        """Why it is only listed."""
        return [reason for pattern, reason in LISTED.items() if re.match(pattern, self.text)]

    @property
    def is_script(self) -> bool:
        """Whether Python runs a file of the repository."""
        return self.words[0] == "python" and self.words[1].startswith("notebooks/")

    @property
    def of_orl(self) -> list[str] | None:
        """Arguments of `orl`; None where it is another command."""
        if self.words[0] == "orl":
            return list(self.words[1:])
        if self.words[0] == "torchrun" and "training.cli" in self.words:
            return list(self.words[self.words.index("training.cli") + 1 :])
        return None


def lines_of(markdown: str) -> Iterator[str]:
    """Lines of ```sh blocks; those that end with a backslash go on in the next."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", markdown, flags=re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def commands_in(document: Path, markdown: str) -> Iterator[Command]:
    """Every command of a document, in order."""
    variables: dict[str, str] = {}
    number = 0
    for line in lines_of(markdown):
        for name, value in variables.items():
            line = re.sub(rf"\${name}\b", value, line)
        words = [_synopsis(word) for word in shlex.split(line, comments=True) if word != "..."]
        if not words:
            continue
        if len(words) == 1 and re.match(r"[A-Z]+=", words[0]):
            name, _, variables[name] = words[0].partition("=")
            continue
        words[0] = words[0].removeprefix(".venv/bin/")
        number += 1
        yield Command(document, number, tuple(words))


def _synopsis(word: str) -> str:
    """`[--images` and `PATH]` without the brackets around what may be left out; `[1,2]` is a value."""
    if word.startswith("[--"):
        word = word[1:]
    return word if "[" in word else word.rstrip("]")


COMMANDS = [command for path in DOCUMENTS for command in commands_in(path, path.read_text(encoding="utf-8"))]


def test_commands_are_read_as_a_shell_does():
    markdown = """
```sh
.venv/bin/orl run runs/a --seed 3     # a comment
orl evaluate runs/a \\
    --knn.k [1,2] --linear.steps '[4,8]'

E="--encoder random"
orl evaluate runs/a $E
orl import RUN FILE ... [--images PATH]
```
```
orl not-a-command
```
1. In a list:

   ```sh
   make demo APP=0
   ```
"""
    assert [command.text for command in commands_in(ROOT / "x.md", markdown)] == [
        "orl run runs/a --seed 3",
        "orl evaluate runs/a --knn.k '[1,2]' --linear.steps '[4,8]'",
        "orl evaluate runs/a --encoder random",
        "orl import RUN FILE --images PATH",
        "make demo APP=0",
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_printed_command_is_run_or_listed(command):
    is_run = command.of_orl is not None or command.is_script or command.words[0] == "make"
    assert is_run or command.reasons, "run it here, or say in LISTED why not"
    assert not {"|", ">", "&&", ";", "&"} & set(command.words), "a line of several commands: print them one by one"


@pytest.mark.parametrize("pattern", LISTED)
def test_a_listed_command_is_printed(pattern):
    assert any(re.match(pattern, command.text) for command in COMMANDS), "take it out of LISTED"


# ---- practice data -------------------------------------------------------------------------------------------------


class Supplies:
    """What readers bring along, made of practice scenes; made once, copied to wherever a command looks for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.many = folder, folder / "many"
        self.scenes = make_scenes(folder / "scenes", count=12, size=64, seed=1, disguise=True)

    def photographs(self, path: Path) -> None:
        """A folder of pictures without annotations; or a list of them."""
        folder = path.with_suffix("") if path.suffix == ".txt" else path
        folder.mkdir(parents=True)
        for file in (self.scenes.parent / "images").iterdir():
            shutil.copy(file, folder)
        if path.suffix == ".txt":
            path.write_text("".join(f"{folder.name}/{file.name}\n" for file in sorted(folder.iterdir())))

    def coco(self, path: Path) -> None:
        """A COCO json, its images where COCO has them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.scenes, path)
        beside = path.parent.name != "annotations"
        images = path.parent / "images" if beside else path.parent.parent / path.stem.rpartition("_")[2]
        shutil.copytree(self.scenes.parent / "images", images, dirs_exist_ok=True)
        if path.name == "samples.json":
            fiftyone(path, images)

    def benchmark(self, path: Path, *, voc: bool) -> None:
        """A folder in the layout of PASCAL VOC, or with a folder of images per class."""
        folders = {"VOC2007": write_voc, "VOC2012": write_voc2012} if voc else {"imagefolder": write_imagefolder}
        for name, write in folders.items():
            if not (self.many / name).exists():
                annotations = make_scenes(self.many, count=MANY, size=64, seed=1, disguise=True)
                write(annotations, self.many)
            shutil.copytree(self.many / name, path / name if voc else path)

    @functools.cache  # noqa: B019 - one object for the whole session
    def weights(self, backbone: str) -> Path:
        """Untrained weights as torchvision saves them."""
        path = self.folder / f"{backbone}.pth"
        torch.save(torchvision.models.get_model(backbone).state_dict(), path)
        return path

    @functools.cache  # noqa: B019
    def run(self, config: str) -> Path:
        """A run of all three stages on the scenes."""
        path = self.folder / "runs" / config
        words = ["run", str(path), "--config", config, "--images", str(self.scenes), *settings("run")]
        assert cli.main(words) == 0
        return path

    def stages_of_a_run(self, path: Path, stages: Iterable[str]) -> None:
        """A run of another page, done so far; with the config that it is named after, if there is one."""
        shutil.copytree(self.run(path.name if path.name in config_names() else "tiny"), path)
        run = Run.open(path)
        for stage in set(STAGES).difference(stages):
            run.clear(stage)

    def foreign(self, path: Path) -> None:
        """A file of another tool, by its name."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".pth", ".pt"):
            shutil.copy(self.weights("resnet50" if "resnet50" in path.name else "resnet18"), path)
        elif found := re.search("correspondence|neighbor|proposal", path.name):
            export(Run.open(self.run("tiny")), f"{found[0]}s", path)
        elif "maskcut" in path.name:  # a data set of its own, whose boxes have masks and scores
            found_objects = json.loads(self.scenes.read_text())
            for annotation in found_objects["annotations"]:
                annotation["score"] = 0.9
            path.write_text(json.dumps(found_objects))
        elif path.suffix == ".json":
            objects = open_images([self.scenes]).objects
            boxes = objects[["x", "y", "w", "h"]].to_numpy().tolist()
            found_boxes = zip(objects["image_id"].tolist(), boxes, strict=True)
            path.write_text(json.dumps([{"image_id": i, "bbox": box, "score": 0.5} for i, box in found_boxes]))
        else:
            pytest.fail(f"{path.name} is a file of a new kind: make one here")


def settings(command: str, protocols: Iterable[str] = ()) -> list[str]:
    """What is appended to a command to make it quick."""
    small = dict(SMALL[command])
    for name in protocols:
        small |= {f"{name}.{key}": value for key, value in PROTOCOLS.get(name, {}).items()}
    if command == "evaluate" and protocols:
        small |= {"supervised.epochs": 1}
    return [f"--{key}={json.dumps(value) if isinstance(value, list) else value}" for key, value in small.items()]


# ---- typing it -----------------------------------------------------------------------------------------------------


class Session:
    """A document's commands, typed in a folder of their own; each at most once, after those that it builds on."""

    def __init__(self, folder: Path, supplies: Supplies, commands: list[Command]) -> None:
        self.folder, self.supplies, self.commands = folder, supplies, commands
        self.codes: dict[int, int] = {}

    def words(self, command: Command) -> list[str]:
        """What is typed after `orl`: with the reader's paths, and the settings that make it quick."""
        given = command.of_orl
        assert given is not None
        own = {**PLACEHOLDERS, "RUN": f"runs/placeholder{command.number}"}
        words = [own.get(word, word).replace("~/", "home/") for word in given]
        arguments = parse(words)
        if arguments.command == "scenes":
            words += [f"--count={MANY}", "--size=64", "--disguise"]  # of a few kinds: two images of each
        elif arguments.command == "explore":
            words += ["--no-app", *settings("explore"), LITTLE]
        elif arguments.takes_settings:
            small = settings(arguments.command, getattr(arguments, "protocol", ()))
            shapes = tuple(f"{word}=" for word in given if word.endswith(".encoder.backbone"))  # not a size: it stays
            words += [word for word in small if not shapes or not word.startswith(shapes)]
            if arguments.command == "embed-regions":
                words += ["--limit=20"]
            elif arguments.command == "stage2" and "embedded" in given:
                words += [LITTLE]
            if command.words[0] != "torchrun" and arguments.command != "config":
                words += ["--devices=1"]
        return words

    def type(self, command: Command) -> int:
        """Run a command and, before, what it builds on; returns its exit code."""
        if command.number not in self.codes:
            words = self.words(command)
            for earlier in self.commands[: command.number - 1]:
                if earlier.of_orl is not None and not earlier.reasons and _builds_on(words, self.words(earlier)):
                    self.type(earlier)
            arguments = parse(words)
            self.lay_out(arguments)
            for path in _missing({_path(word) for word in words if re.match(r"runs/\w+:stage", word)}):
                self.supplies.stages_of_a_run(path, STAGES)  # another run's encoder
            print("$ orl", shlex.join(words))
            if command.words[0] == "torchrun":
                self.codes[command.number] = Process(*torchrun(), *CLI, *words, log=Path("torchrun.log")).wait()
            else:
                self.codes[command.number] = cli.main(words)
        return self.codes[command.number]

    def lay_out(self, arguments: Namespace) -> None:
        """Lay out what a command reads and no earlier one has made."""
        given = vars(arguments)
        for path in _missing(given.get("images") or ()):
            self.supplies.coco(path) if path.suffix == ".json" else self.supplies.photographs(path)
        if given.get("images") and given.get("root"):
            shutil.copytree(self.supplies.scenes.parent / "images", arguments.root, dirs_exist_ok=True)
        for path in _missing(given.get("data") or ()):
            voc = not {"linear", "semi"} & set(arguments.protocol)
            self.supplies.coco(path) if path.suffix == ".json" else self.supplies.benchmark(path, voc=voc)
        encoders = given.get("encoder") or ()
        files = [name.rpartition("@")[2] for name in ([encoders] if isinstance(encoders, str) else encoders)]
        for path in _missing([*given.get("files", ()), *(Path(name) for name in files if "." in name)]):
            self.supplies.foreign(path)
        if given.get("run") and arguments.command not in ("plan", "explore", *BEGINS_RUNS) and not given.get("images"):
            for path in _missing([arguments.run]):
                self.supplies.stages_of_a_run(path, NEEDS.get(arguments.command, STAGES))


def _path(word: str) -> Path:
    return Path(word.partition(":")[0])  # of a run, in RUN:stage3


def _missing(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if not path.exists()]


def _builds_on(words: list[str], earlier: list[str]) -> bool:
    """Whether a command names what an earlier one makes, or something in it."""
    arguments = parse(earlier)
    if arguments.command not in MAKES:
        return False
    made = arguments.out if "out" in arguments else arguments.run
    if arguments.command == "explore" and made is None:
        made = Path("runs") / arguments.images[0].name
    return any(made in (path, *path.parents) for path in map(_path, words))


@pytest.fixture(scope="session")
def supplies(tmp_path_factory: pytest.TempPathFactory) -> Supplies:
    return Supplies(tmp_path_factory.mktemp("supplies"))


@pytest.fixture(scope="session")
def sessions(tmp_path_factory: pytest.TempPathFactory, supplies: Supplies) -> dict[Path, Session]:
    """The session of every document."""
    of = {path: [command for command in COMMANDS if command.document == path] for path in DOCUMENTS}
    return {path: Session(tmp_path_factory.mktemp(path.stem), supplies, commands) for path, commands in of.items()}


def _marked(command: Command) -> object:
    return pytest.param(command, marks=[pytest.mark.slow] if re.match(SLOW, command.text) else [], id=str(command))


RUN_HERE = [_marked(command) for command in COMMANDS if command.of_orl is not None and not command.reasons]


@pytest.mark.parametrize("command", RUN_HERE)
def test_a_printed_command_works(command, sessions, monkeypatch):
    session = sessions[command.document]
    monkeypatch.chdir(session.folder)
    monkeypatch.setitem(plan.__kwdefaults__, "seconds", 0.1)  # of a measurement, not of the whole plan
    monkeypatch.setattr(os, "execve", lambda *_: None)  # `orl app` up to where Streamlit takes its place
    assert session.type(command) == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", {one.text: one for one in COMMANDS if one.is_script}.values(), ids=str)
def test_a_printed_script_works(command, supplies, tmp_path, monkeypatch):
    words = [word.replace("~/", "home/") for word in command.words[1:]]
    supplies.photographs(tmp_path / words[words.index("--images") + 1])
    monkeypatch.chdir(tmp_path)
    do(ROOT / words[0], *words[1:], "--epochs", 1, log=tmp_path / "log")


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.words[0] == "make"], ids=str)
def test_make_knows_what_is_printed(command):
    if shutil.which("make") is None:
        pytest.skip("no make here")
    of_make = re.compile(r"MAKE|MFLAGS|(APP|ARGS|FAISS|PHOTOS|VENV)$")
    own = {name: value for name, value in os.environ.items() if not of_make.match(name)}
    done = subprocess.run(["make", "--dry-run", *command.words[1:]], cwd=ROOT, env=own, check=False)
    assert done.returncode == 0
