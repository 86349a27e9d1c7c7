"""Two proposers on the same images: whose boxes find the objects, and whose lead to pairs of one kind?

Each proposer's boxes have gone through the run's own filter; they are embedded by the encoder that the run mined with
and paired with those of the nearest images among the ones that are judged. What is known of each is kept in the run,
under `comparison/proposals/`; nothing there is needed by a stage, so the folder may be deleted at any time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from orl_explore.judging import diagnostics
from orl_explore.judging.intervals import Items, Scored, difference, interval, read_resampled, write_items
from orl_explore.runs.files import write_json
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES, write_table

FOLDER: Final = "comparison/proposals"

FIGURES: Final = {
    "boxes": "kept boxes an image",
    "recall_50": "objects with a box of IoU ≥ 0.5",
    "recall_70": "objects with a box of IoU ≥ 0.7",
    "on_object": "boxes on an annotated object",
    "object_pairs": "pairs of two boxes on objects",
    "purity": "of these, pairs of one category",
}
"""What proposers are judged by -> what that is."""


@dataclass(frozen=True)
class Proposer:
    """A proposer that was judged.

    Attributes:
        name: as it was asked for.
        folder: what is kept of it.
        facts: `name`, `made` (what the figures depend on), `chance` of purity, and what became of a file's boxes.
    """

    name: str
    folder: Path
    facts: dict[str, Any]

    def regions(self) -> pd.DataFrame:
        """Its kept boxes: region_id, image_id, x, y, w, h."""
        return pd.read_parquet(self.folder / "regions.parquet")

    def figure(self, name: str) -> tuple[float, tuple[float, float]]:
        """A figure with its 95 % interval over images; nan where there is nothing to judge it by."""
        known = read_resampled(self.folder / "items.npz", name)
        return (known.value, interval(known.values, known.value)) if known else (math.nan, (math.nan, math.nan))


def proposer_items(
    image_ids: NDArray[np.int64], objects: pd.DataFrame, regions: pd.DataFrame, pairs: pd.DataFrame
) -> dict[str, Items]:
    """What is known of a proposer's boxes, image by image; figures without anything to judge are left out.

    Args:
        image_ids: the images that are judged.
        objects: their annotated objects.
        regions: the kept boxes on them.
        pairs: what these lead to.
    """

    def scored(score: ArrayLike, images: ArrayLike) -> Scored:
        return Scored.of_images(score, images, image_ids)

    counts = regions["image_id"].value_counts().reindex(image_ids, fill_value=0)
    found: dict[str, Items] = {"boxes": scored(counts, image_ids)}
    if not len(objects):
        return found
    best = diagnostics.best_overlaps(objects, regions)
    found["recall_50"], found["recall_70"] = (scored(best >= limit, objects["image_id"]) for limit in (0.5, 0.7))
    categories = diagnostics.region_categories(regions, objects)
    if len(regions):
        found["on_object"] = scored(categories.notna(), regions["image_id"])
    if len(pairs):
        query, key = (categories.loc[pairs[name]].reset_index(drop=True) for name in ("query_region", "key_region"))
        both = (query.notna() & key.notna()).to_numpy()
        of = pairs["image_id"].reset_index(drop=True)
        found["object_pairs"] = scored(both, of)
        if both.any():
            found["purity"] = scored((query == key)[both], of[both])
    return found


def keep(run: Run, folder: Path, facts: Mapping[str, Any], regions: pd.DataFrame, items: Mapping[str, Items]) -> None:
    """Keep what is known of a proposer; its json is written last, so a folder that has one is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "proposer.json").unlink(missing_ok=True)
    write_table(folder / "regions.parquet", regions, TABLES["regions"].columns)
    write_items(folder / "items.npz", items)
    write_json(folder / "proposer.json", dict(facts))


def judged_proposers(run: Run) -> list[Proposer]:
    """The proposers that were judged on a run's images, by name."""
    found = []
    for file in sorted((run.path / FOLDER).glob("*/proposer.json")):
        facts = json.loads(file.read_text(encoding="utf-8"))
        found.append(Proposer(facts["name"], file.parent, facts))
    return sorted(found, key=lambda proposer: proposer.name)


def side_by_side(first: Proposer, second: Proposer) -> pd.DataFrame:
    """Figures of two proposers with 95 % intervals over images, and what the second has more.

    Returns:
        One row per figure: `figure`, and `first`, `second`, `more`, each with `_low` and `_high`; nan where a figure is
        not known, or the two were judged on different images.
    """
    same = first.facts["made"]["images"] == second.facts["made"]["images"]
    rows = []
    for name in FIGURES:
        row: dict[str, Any] = {"figure": name}
        known = []
        for side, proposer in (("first", first), ("second", second)):
            value, (low, high) = proposer.figure(name)
            row |= {side: value, f"{side}_low": low, f"{side}_high": high}
            known.append(read_resampled(proposer.folder / "items.npz", name))
        between = None
        if same and known[0] is not None and known[1] is not None:
            between = difference(known[0], known[1])
        low, high = between or (math.nan, math.nan)
        row |= {"more": row["second"] - row["first"] if between else math.nan, "more_low": low, "more_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def side_by_side_text(first: Proposer, second: Proposer) -> pd.DataFrame:
    """`side_by_side` as people read it: what is measured, A, B, and what B has more; what is not known is left out."""
    rows = []
    for row in side_by_side(first, second).to_dict("records"):
        name = str(row["figure"])
        if math.isnan(row["first"]) and math.isnan(row["second"]):
            continue
        texts = {}
        for letter, side, proposer in (("A", "first", first), ("B", "second", second)):
            values = (row[side], row[f"{side}_low"], row[f"{side}_high"])
            texts[letter] = _with_interval(name, *values, chance=proposer.facts["chance"].get(name))
        more = _number(name, row["more_low"]) + " to " + _number(name, row["more_high"])
        points = "" if name == "boxes" else " points"
        rows.append({"": FIGURES[name], **texts, "B - A": "-" if math.isnan(row["more_low"]) else more + points})
    return pd.DataFrame(rows)


def _number(name: str, value: float) -> str:
    return f"{value:.1f}" if name == "boxes" else f"{100 * value:.1f}"


def _with_interval(name: str, value: float, low: float, high: float, *, chance: float | None) -> str:
    if math.isnan(value):
        return "-"
    unit = "" if name == "boxes" else " %"
    by_chance = "" if chance is None else f"; chance {_number(name, chance)}"
    return f"{_number(name, value)}{unit} ({_number(name, low)} to {_number(name, high)}{by_chance})"
