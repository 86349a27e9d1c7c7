"""What people said of regions, carried over to the regions of a run whose pictures have changed since."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from orl_explore.boxes import BOX
from orl_explore.runs.files import known_hash
from orl_explore.runs.reviews import KEY, pairs_hash
from orl_explore.runs.run import Run


def carry_over(run: Run, former: Path) -> dict[str, int]:
    """Carry reviews, verdicts and selections over: to the same boxes of the same images.

    Args:
        run: its stage 2 is done; it has no reviews yet.
        former: the folder that stage 2 was in before, with its regions and reviews.

    Returns:
        How many rows of each are lost: a box is no longer there, or two images are no neighbors any more.
    """
    files = {name: former / f"{name}.parquet" for name in ("reviews", "verdicts")} | {
        "selections": run.file("selections")
    }
    found = {name: pd.read_parquet(file) for name, file in files.items() if file.exists()}
    if not found:
        return {}
    number = _numbers(run, former / "regions.parquet")
    neighbors = pd.MultiIndex.from_frame(run.read("neighbors", columns=KEY[:2]))
    lost = {}
    for name, table in found.items():
        columns = ["region_id"] if name == "selections" else KEY[2:]
        kept = table.assign(**{column: table[column].map(number) for column in columns}).dropna(subset=columns)
        if name == "selections":
            kept = kept.assign(regions_hash=known_hash(run.file("regions")))
        else:
            kept = kept[pd.MultiIndex.from_frame(kept[KEY[:2]]).isin(neighbors)].assign(pairs_hash=pairs_hash(run))
        lost[name] = len(table) - len(kept)
        if len(kept):
            run.write(name, kept.sort_values(["name", "region_id"] if name == "selections" else KEY))
        elif name == "selections":
            run.file(name).unlink()
    return lost


def _numbers(run: Run, regions: Path) -> pd.Series:
    """Former region -> today's; those that are no longer there are left out."""
    place = ["image_id", *BOX]
    today = run.read("regions").drop_duplicates(place)
    both = pd.read_parquet(regions).merge(today, on=place, suffixes=("_before", ""))
    return both.set_index("region_id_before")["region_id"]
