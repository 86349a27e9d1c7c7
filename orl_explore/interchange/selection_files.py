"""A selection of boxes as files of other tools: Parquet, CSV, COCO, a folder of crops."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pandas as pd

from orl_explore.boxes import BOX
from orl_explore.errors import OrlError
from orl_explore.runs.files import atomic_write, csv_text, disk_trouble, json_text
from orl_explore.runs.run import Run
from orl_explore.runs.selections import selected

SUFFIXES: Final = (".parquet", ".csv", ".json")


def table_of(run: Run, name: str, labels: pd.Series | None = None) -> pd.DataFrame:
    """The boxes of a selection: region_id, image_id, file_name, x, y, w, h and, where known, label.

    Args:
        run: the run.
        name: of the selection.
        labels: text by region_id, such as `judging.diagnostics.region_labels` gives.

    Raises:
        OrlError: there is no such selection.
    """
    chosen = selected(run, name)
    table = run.read("regions").iloc[chosen][["region_id", "image_id", *BOX]].reset_index(drop=True)
    names = run.read("images", columns=["image_id", "file_name"]).set_index("image_id")["file_name"]
    table.insert(2, "file_name", names.loc[table["image_id"]].to_numpy())
    return table if labels is None else table.assign(label=labels.loc[table["region_id"]].to_numpy())


def as_coco(run: Run, name: str, labels: pd.Series | None = None) -> dict[str, Any]:
    """A selection as a COCO json; an annotation's id is its `region_id` plus 1, as 0 means "none"."""
    table = table_of(run, name, labels)
    kinds = sorted(table["label"].unique().tolist()) if labels is not None else ["region"]
    number = {kind: place for place, kind in enumerate(kinds, start=1)}
    images = run.read("images")
    images = images[images["image_id"].isin(table["image_id"])]
    return {
        "info": {"description": f"selection {name} of the run {run.path.name}"},
        "categories": [{"id": place, "name": kind} for kind, place in number.items()],
        "images": images[["image_id", "file_name", "width", "height"]]
        .rename(columns={"image_id": "id"})
        .to_dict("records"),
        "annotations": [
            {
                "id": row["region_id"] + 1,
                "image_id": row["image_id"],
                "category_id": number[row.get("label", "region")],
                "bbox": [row[side] for side in BOX],
                "area": row["w"] * row["h"],
                "iscrowd": 0,
            }
            for row in table.to_dict("records")
        ],
    }


def export_selection(
    run: Run,
    name: str,
    out: Path,
    *,
    labels: pd.Series | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a selection as `.parquet`, `.csv`, `.json` (COCO) or, under any other name, as a new folder of crops.

    A crop is called after its region, its label and its image, in letters that every file system takes.

    Returns:
        How many boxes were written.

    Raises:
        OrlError: no such selection; another suffix; a folder that is there already; images that cannot be read.
    """
    table = table_of(run, name, labels)
    if out.suffix in SUFFIXES:
        with atomic_write(out) as temporary:
            if out.suffix == ".parquet":
                table.to_parquet(temporary, index=False)
            elif out.suffix == ".csv":
                temporary.write_text(csv_text(table), encoding="utf-8")
            else:
                temporary.write_text(json_text(as_coco(run, name, labels)), encoding="utf-8")
        return len(table)
    if out.suffix:
        raise OrlError(f"{out.name}: name a file .parquet, .csv or .json (COCO), or a folder for the crops")
    if out.exists():
        raise OrlError(f"{out} is there already: name a new folder for the crops")
    images = run.images()
    row_of = {image_id: row for row, image_id in enumerate(images.table["image_id"].tolist())}
    with disk_trouble(out):
        out.mkdir(parents=True)
        done = 0
        for image_id, part in table.groupby("image_id", sort=False):
            picture = images.load(row_of[image_id])
            for row in part.to_dict("records"):
                x, y, w, h = (row[side] for side in BOX)
                words = [f"{row['region_id']:08d}", row.get("label", ""), Path(row["file_name"]).stem]
                file = out / ("_".join(filter(None, map(safe_name, words))) + ".png")
                picture.crop((x, y, x + w, y + h)).save(file)
            done += len(part)
            if progress:
                progress(done, len(table))
    return len(table)


def safe_name(text: str, length: int = 60) -> str:
    """Text as a part of a file name: ASCII letters, digits, minus and dot; what else there is becomes a minus."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9.]+", "-", plain).strip("-.")[:length]
