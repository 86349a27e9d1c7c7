"""`orl explore` from Python, and which run belongs to which photographs."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Final

from orl_explore.errors import OrlError
from orl_explore.runs.files import write_json
from orl_explore.runs.run import Run

MANIFEST: Final = "run.json"
COLOR: Final = ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""Variables by which somebody asks for what a terminal can show."""

RUNS: Final = Path("runs")
"""Where runs are that nobody named."""


def explore(
    photos: str | Path | Sequence[str | Path],
    run: str | Path | None = None,
    *,
    encoder: str | None = None,
    settings: Sequence[str] = (),
) -> Run:
    """Find neighbors, boxes, corresponding regions and the object map of photographs; nothing is trained.

    This types `orl explore --no-app` in a process of its own and prints what that says. Called again, it goes on where
    it was stopped and takes in new pictures.

    Args:
        photos: a folder, a COCO json, a list file, or several of them.
        run: the run folder; default: `folder_for` them.
        encoder: what to look with; default: the embedded encoder.
        settings: of the config, as typed, such as ["--stage2.max_boxes=50"].

    Returns:
        The run, opened.

    Raises:
        OrlError: what the command said.
    """
    sources = [Path(source) for source in ([photos] if isinstance(photos, (str, Path)) else photos)]
    check_there(sources)
    folder = Path(run) if run else folder_for(sources)
    command = [sys.executable, "-m", "training.cli", "explore", *map(str, sources), "--no-app", f"--run={folder}"]
    command += [f"--encoder={encoder}"] if encoder else []
    said = []
    # Kernels ask for color, and with it for bars that a terminal draws over: these would be a thousand lines here.
    environment = {name: value for name, value in os.environ.items() if name not in COLOR}
    with subprocess.Popen(
        [*command, *settings],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                said.append(line)
        except BaseException:  # the kernel was interrupted
            process.terminate()
            raise
    if process.returncode:
        found = re.search(r"^orl: (.+)", "".join(said), re.MULTILINE)
        raise OrlError(found[1] if found else "".join(said)[-2000:])
    return Run.open(folder)


def begin(run: Run) -> bool:
    """Make a run's folder with a run.json that says nothing yet, for the dashboard to list; False: it was there."""
    file = run.path / MANIFEST
    if file.exists():
        return False
    write_json(file, run.manifest())
    return True


def forget_beginning(run: Run) -> None:
    """Undo `begin`, unless the run has images by now."""
    if (run.path / MANIFEST).exists() and run.manifest()["images"] is None:
        for name in (MANIFEST, ".lock"):
            (run.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else is in there
            run.path.rmdir()


def set_explored(run: Run) -> None:
    """Record that a run was made by `orl explore`, so that `orl run` trains all stages that it lacks."""
    write_json(run.path / MANIFEST, run.manifest() | {"explored": True})


def is_explored(run: Run) -> bool:
    """Whether a run was made by `orl explore`."""
    return bool(run.manifest().get("explored"))


def check_there(sources: Sequence[Path]) -> None:
    """See whether the images are there, before anything is begun.

    Raises:
        OrlError: names what is not.
    """
    for source in sources:
        if not source.exists():
            raise OrlError(f"there is no {source}: name a folder of photographs, a COCO json or a .txt list of files")


def folder_for(sources: Sequence[Path], runs: Path = RUNS) -> Path:
    """The run of some images: that which was begun with them, else a new folder, named after the one they are in."""
    first = sources[0].resolve()
    name = (first if first.is_dir() else first.parent).name or "photographs"
    wanted = [str(source.resolve()) for source in sources]
    candidates = (runs / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(folder for folder in candidates if _is_for(folder, wanted))


def _is_for(folder: Path, sources: Sequence[str]) -> bool:
    """Whether a run of these images may be here: one that was begun with them, or nothing at all."""
    if not (folder / MANIFEST).exists():
        return not folder.exists() or not any(folder.iterdir())
    images = Run(folder).manifest()["images"]
    return images is None or [str(Path(source).resolve()) for source in images["sources"]] == list(sources)
