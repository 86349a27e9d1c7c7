"""Named selections of boxes, kept in the run: from a lasso, a filter, a search; combined, and heeded by stage 3."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from orl_explore.errors import OrlError, typed
from orl_explore.runs.files import known_hash
from orl_explore.runs.locking import one_writer
from orl_explore.runs.run import Run
from orl_explore.runs.said import check_same
from orl_explore.runs.tables import TABLES

NAME_LENGTH: Final = 80
"""Characters of a name at most."""

Combination = Literal["union", "intersection", "difference"]
COMBINATIONS: Final[dict[str, Callable[..., NDArray[np.int64]]]] = {
    "union": np.union1d,
    "intersection": np.intersect1d,
    "difference": np.setdiff1d,
}


def read_selections(run: Run) -> pd.DataFrame:
    """The selections of a run, ordered by name: columns name, boxes (how many), origin, time; no rows without any.

    Raises:
        OrlError: they are of other regions than the run has now, or the file is damaged.
    """
    table = _read(run)
    found = table.groupby("name").agg(boxes=("region_id", "size"), origin=("origin", "first"), time=("time", "first"))
    return found.reset_index()


def selected(run: Run, name: str) -> NDArray[np.int64]:
    """Regions of a selection, ascending.

    Raises:
        OrlError: there is none of that name; or as `read_selections`.
    """
    table = _read(run)
    found = table.loc[table["name"] == name, "region_id"].to_numpy(np.int64)
    if not len(found):
        known = ", ".join(table["name"].unique().tolist()) or "no selection yet"
        raise OrlError(
            f"{run.path} has no selection {name!r}; it has {known}: `{typed('select', run.path)}` lists them"
        )
    return found


def save_selection(run: Run, name: str, regions: ArrayLike, *, origin: str = "", of: str | None = None) -> int:
    """Keep a selection under a name; one of the same name is replaced.

    Others may write at the same time: see `reviews.save_review`.

    Args:
        run: the run; it has regions.
        name: any text of one line that a command line takes as one: `null`, `~`, and what begins with `-`, `#`, `&` or
            `!` is something else there, and stage 3 would leave no box out.
        regions: region ids, in any order; what occurs twice counts once.
        origin: where they are from, in words, such as the query of pairs.
        of: `regions_hash` of when the regions were read; None: they are numbers of those that are there now.

    Returns:
        How many boxes it has.

    Raises:
        OrlError: no name, or not such a one; no boxes; boxes that the run does not have, or that were made anew since;
            a file that cannot be written.
    """
    name = " ".join(name.split())
    if not name or len(name) > NAME_LENGTH:
        raise OrlError(f"{name[:NAME_LENGTH]!r} is no name for a selection: type 1 to {NAME_LENGTH} characters")
    if name[0] in "-#&!" or name.lower() in ("null", "~"):
        raise OrlError(f"{name!r} means something else on a command line, such as stage 3's: choose another name")
    try:
        found = np.unique(np.asarray(regions, np.int64))
    except OverflowError:
        raise OrlError(
            f"a region of more than 64 bits is none of this run: it has 0 to {run.count('regions') - 1}"
        ) from None
    if not len(found):
        raise OrlError(f"the selection {name!r} would have no box: select some first")
    run.require("regions")
    with one_writer(run.path, "selection"):
        today = check_same(run.require("regions"), of)
        if found[0] < 0 or found[-1] >= run.count("regions"):
            wrong = found[0] if found[0] < 0 else found[-1]
            raise OrlError(f"region {wrong} is none of this run: it has 0 to {run.count('regions') - 1}")
        made = pd.DataFrame(
            {
                "name": name,
                "region_id": found,
                "origin": origin,
                "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "regions_hash": today,
            }
        )
        table = _read(run)
        table = pd.concat([table[table["name"] != name], made.astype(dict(TABLES["selections"].columns))])
        run.write("selections", table.sort_values(["name", "region_id"], ignore_index=True))
    return len(found)


def combine(run: Run, name: str, how: Combination, names: Sequence[str]) -> int:
    """Keep under a name what some selections have together, in common, or the first without the others.

    Returns:
        How many boxes that is.

    Raises:
        OrlError: fewer than two names; one of them unknown; nothing is left.
    """
    if len(names) < 2:
        raise OrlError(f"a {how} is of two selections or more: name another one")
    of = regions_hash(run)
    first, *others = (selected(run, other) for other in names)
    boxes = reduce(COMBINATIONS[how], others, first)
    if not len(boxes):
        raise OrlError(f"the {how} of {', '.join(names)} has no box: nothing was kept")
    return save_selection(run, name, boxes, origin=f"{how} of {', '.join(names)}", of=of)


def regions_hash(run: Run) -> str:
    """Hash of the regions as they are now; selections are of the regions that have the same.

    Raises:
        OrlError: there are none yet.
    """
    return known_hash(run.require("regions"))


def remove_selection(run: Run, name: str) -> None:
    """Forget a selection.

    Raises:
        OrlError: there is none of that name.
    """
    run.require("regions")
    with one_writer(run.path, "selection"):
        selected(run, name)
        table = _read(run)
        run.write("selections", table[table["name"] != name])


def _read(run: Run) -> pd.DataFrame:
    columns = TABLES["selections"].columns
    file = run.file("selections")
    if not file.exists():
        return pd.DataFrame(columns=list(columns)).astype(dict(columns))
    try:
        table = run.read("selections").astype(dict(columns))
    except OrlError:
        raise OrlError(f"{file} cannot be read: move it away to begin anew") from None
    if set(table["regions_hash"].unique()) - {regions_hash(run)}:
        raise OrlError(f"the selections in {file} are of other regions than stage 2 has now: move that file away")
    return table
