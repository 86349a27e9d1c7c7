"""What people said of regions, carried over to the regions of a run whose pictures or settings have changed since."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd

from orl_explore.boxes import BOX
from orl_explore.runs import said
from orl_explore.runs.files import known_hash
from orl_explore.runs.locking import no_writer
from orl_explore.runs.reviews import KEY, pairs_hash
from orl_explore.runs.run import Run

REGIONS = {"reviews": KEY[2:], "verdicts": KEY[2:], "selections": ["region_id"]}
"""Columns that name regions."""
UNIQUE = {"reviews": KEY, "verdicts": [*KEY, "reviewer"], "selections": ["name", "region_id"]}
"""What a table has one row of."""


def carry_over(run: Run) -> list[str]:
    """Carry reviews, verdicts and selections over that were put by: to the same boxes of the same images.

    What has no place any more, as a box is gone or two images are no neighbors, goes to RUN/set-aside, with the boxes
    that it was said of. May be interrupted anywhere and begun again.

    Args:
        run: while stage 2 has not made pairs yet, nothing is done.

    Returns:
        What became of it, a sentence a table.
    """
    if not (run.path / said.FOLDER).exists() or not all(
        run.file(name).exists() for name in ("regions", "neighbors", "pairs")
    ):
        return []
    with no_writer(run.path):
        return _carry_over(run)


def _carry_over(run: Run) -> list[str]:
    folders = sorted((run.path / said.FOLDER).glob("[0-9]*"), key=lambda folder: int(folder.name), reverse=True)
    sentences = [
        _carry(run, folder, name) for folder in folders for name in said.SAID if (folder / f"{name}.parquet").exists()
    ]
    shutil.rmtree(run.path / said.FOLDER, ignore_errors=True)
    return sentences


def _carry(run: Run, folder: Path, name: str) -> str:
    file, columns = folder / f"{name}.parquet", REGIONS[name]
    try:
        table = pd.read_parquet(file)
        table = table if "reviewer" in table or name == "selections" else table.assign(reviewer="")
    except (OSError, ValueError):
        return f"{name} could not be read: they are in {said.set_aside(run.path, file, name)}"
    known = folder / said.REGIONS
    hashes = json.loads((folder / said.MADE_OF).read_text(encoding="utf-8"))
    of = "regions_hash" if name == "selections" else "pairs_hash"
    fits = table[of] == hashes.get(of.removesuffix("_hash"))
    moved = table
    if known.exists():
        number = _numbers(run, known)
        moved = table.assign(**{column: table[column].map(number) for column in columns})
        fits &= moved[columns].notna().all(axis=1)
    else:
        fits &= False
    if name != "selections":
        neighbors = pd.MultiIndex.from_frame(run.read("neighbors", columns=KEY[:2]))
        fits &= pd.MultiIndex.from_frame(table[KEY[:2]]).isin(neighbors)
    if fits.any():
        today = known_hash(run.require("regions")) if name == "selections" else pairs_hash(run)
        kept = moved[fits].assign(**{of: today})
        both = pd.concat([run.read(name), kept]) if run.file(name).exists() else kept
        both = both.drop_duplicates(UNIQUE[name])  # what was said since has the last word
        run.write(name, both.sort_values(UNIQUE[name], ignore_index=True))
    words = f"{fits.sum():,} of {len(table):,} rows of {name} are carried over to the same boxes"
    if not fits.all():
        rest = folder / f"{name}-rest.parquet"
        _with_boxes(table[~fits], known, columns).to_parquet(rest, index=False)
        words += (
            "; the others, of boxes that are gone or images that are no neighbors any more, are in"
            f" {said.set_aside(run.path, rest, name)}"
        )
    file.unlink()
    return words


def _numbers(run: Run, regions: Path) -> pd.Series:
    """Former region -> today's; those that are no longer there are left out."""
    place = ["image_id", *BOX]
    today = run.read("regions").drop_duplicates(place)
    both = pd.read_parquet(regions).merge(today, on=place, suffixes=("_before", ""))
    return both.set_index("region_id_before")["region_id"]


def _with_boxes(table: pd.DataFrame, regions: Path, columns: list[str]) -> pd.DataFrame:
    """Rows with the boxes of their regions, as these are no longer in the run."""
    if not regions.exists():
        return table
    boxes = pd.read_parquet(regions).set_index("region_id")[BOX]
    found = [boxes.reindex(table[column]).add_prefix(f"{column}_").set_axis(table.index) for column in columns]
    return pd.concat([table, *found], axis=1)
