"""What people said of boxes and pairs, put by before the stage goes that made these: nothing of it is lost.

`carrying.carry_over` gives to the stage that comes next what still fits, and sets the rest aside.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Final

import pandas as pd

from orl_explore.errors import OrlError
from orl_explore.runs.files import hash_file, known_hash, write_json
from orl_explore.runs.locking import no_writer

SAID: Final = ("reviews", "verdicts", "selections")
"""Tables that people make."""

FOLDER: Final = "said"
"""Of a run, while what was put by waits for its stage: a folder for each time, numbered."""
ASIDE: Final = "set-aside"
"""Of a run: what fits no longer, under names that tell its content."""
REGIONS, MADE_OF = "regions.parquet", "made_of.json"
"""Beside what was put by: the boxes that it is of, and the hashes of boxes and pairs."""


class MadeAnew(OrlError):
    """What was said is of boxes or pairs that the run no longer has: it can be saved neither now nor later."""


def check_same(table: Path, of: str | None) -> str:
    """Make sure that a table is still the one that numbers were taken from.

    Args:
        table: of a stage 2: its regions or pairs.
        of: hash of the table that the numbers are of; None: of the one that is there.

    Returns:
        Its hash.

    Raises:
        MadeAnew: it is another one.
    """
    today = known_hash(table)
    if of not in (None, today):
        raise MadeAnew(
            f"stage 2 of {table.parent.parent} was made anew since these boxes were shown, and their numbers are of"
            " others now: nothing was saved; open the page, or type the command, again"
        )
    return today


def put_by(run: Path, stage: Path) -> None:
    """Move what people said to RUN/said, with what is needed to know its boxes again.

    Args:
        run: the run folder.
        stage: the folder in which its stage 2 is, which is about to go.
    """
    with no_writer(run):
        _put_by(run, stage)


def _put_by(run: Path, stage: Path) -> None:
    files = [file for name in SAID[:2] if (file := stage / f"{name}.parquet").exists()]
    selections = run / f"{SAID[2]}.parquet"
    if _are_of(selections, stage / REGIONS):
        files.append(selections)
    if not files:
        return
    folder = run / FOLDER / str(len(list(run.glob(f"{FOLDER}/*"))))
    folder.mkdir(parents=True)
    made_of = {name: stage / f"{name}.parquet" for name in ("regions", "pairs")}
    write_json(folder / MADE_OF, {name: hash_file(file) for name, file in made_of.items() if file.exists()})
    if made_of["regions"].exists():
        shutil.copyfile(made_of["regions"], folder / REGIONS)
    for file in files:
        file.rename(folder / file.name)


def _are_of(selections: Path, regions: Path) -> bool:
    """Whether selections are of these boxes, and not of those of a stage before."""
    if not selections.exists() or not regions.exists():
        return False
    with contextlib.suppress(OSError, ValueError, KeyError):  # damaged: nobody knows
        return set(pd.read_parquet(selections)["regions_hash"].unique()) == {hash_file(regions)}
    return False


def set_aside(run: Path, file: Path, name: str) -> Path:
    """Move a file to RUN/set-aside, under a name that no other content has; returns where it is."""
    target = run / ASIDE / f"{name}-{hash_file(file)[:8]}.parquet"
    target.parent.mkdir(exist_ok=True)
    file.replace(target)
    return target
