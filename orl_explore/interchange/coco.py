"""Regions as COCO annotations, and pairs as one flat table, for tools that know no run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orl_explore.errors import OrlError
from orl_explore.interchange.tables import BOX, batches
from orl_explore.runs.files import atomic_write, csv_text
from orl_explore.runs.run import Run


def write_annotations(run: Run, path: Path) -> None:
    """Write images and kept boxes as a COCO json; an annotation's id is its `region_id` plus 1, as 0 means "none"."""
    images = run.read("images")
    info = {"description": f"regions of the run {run.path.name}", "version": "1.0"}
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'{{"info": {json.dumps(info)}, "categories": [{{"id": 1, "name": "region"}}], "images": [')
        for index, row in enumerate(images.itertuples(index=False)):
            image = {"id": row.image_id, "file_name": row.file_name, "width": row.width, "height": row.height}
            file.write(f"{',' if index else ''}\n{json.dumps(image)}")
        file.write('],\n"annotations": [')
        _write_regions(run, file)
        file.write("]}\n")


def _write_regions(run: Run, file: TextIO) -> None:
    for part in batches(run, "regions"):
        for region_id, image_id, x, y, w, h in part[["region_id", "image_id", *BOX]].to_numpy().tolist():
            box = (
                f'"image_id": {image_id}, "category_id": 1, "bbox": [{x}, {y}, {w}, {h}], "area": {w * h}, "iscrowd": 0'
            )
            file.write(f'{"," if region_id else ""}\n{{"id": {region_id + 1}, {box}}}')


def write_pairs(run: Run, path: Path) -> None:
    """Write all pairs with file names and boxes, as `.csv` or `.parquet`; `docs/interchange.md` lists the columns.

    Raises:
        OrlError: another suffix.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise OrlError(f"pairs are written as .csv or .parquet: name the file {path.stem}.csv or {path.stem}.parquet")
    names = run.read("images", columns=["image_id", "file_name"]).set_index("image_id")["file_name"]
    boxes = run.read("regions", columns=BOX)
    with atomic_write(path) as temporary:
        writer: Any = None
        for part in batches(run, "pairs"):
            flat = _flat(part, names, boxes)
            if path.suffix == ".csv":
                text = csv_text(flat)
                with temporary.open("a", encoding="utf-8") as file:
                    file.write(text.partition("\n")[2] if writer else text)
                writer = "begun"
            else:
                table = pa.Table.from_pandas(flat, preserve_index=False)
                writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
                writer.write_table(table)
        if isinstance(writer, pq.ParquetWriter):
            writer.close()


def _flat(pairs: pd.DataFrame, names: pd.Series, boxes: pd.DataFrame) -> pd.DataFrame:
    query, key = (
        boxes.iloc[pairs[column].to_numpy()].add_prefix(f"{side}_").reset_index(drop=True)
        for side, column in (("query", "query_region"), ("key", "key_region"))
    )
    pairs = pairs.reset_index(drop=True)
    flat = pairs[["image_id", "neighbor_id", "neighbor_rank", "rank"]].copy()
    flat.insert(1, "file_name", names.loc[pairs["image_id"]].to_numpy())
    flat.insert(3, "neighbor_file_name", names.loc[pairs["neighbor_id"]].to_numpy())
    return pd.concat([flat, query, key, pairs["similarity"]], axis=1)
