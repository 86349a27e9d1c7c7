"""The ORL authors' JSON, written from a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.interchange.authors import SETTINGS
from orl_explore.interchange.tables import BOX, by_image
from orl_explore.runs.run import Run

# ---- out of a run ----------------------------------------------------------------------------------------------------


def export_proposals(run: Run, file: TextIO) -> None:
    """Write all boxes as the authors' proposal file: a list per image, in the order of the images table.

    Raises:
        OrlError: the run has only the kept boxes.
    """
    if (run.stage("stage2").get("imported") or {}).get("proposals") == "kept":
        raise OrlError(f"{run.path} has no raw proposals: they were not among the files that it was imported from")
    ids = run.read("images", columns=["image_id"])["image_id"].to_numpy()
    file.write('{"bbox": ')
    _write_list(file, (_squeezed(part[BOX].to_numpy().tolist()) for part in by_image(run, "proposals", ids)))
    file.write("}")


def export_mined(run: Run, file: TextIO, *, pairs: bool) -> None:
    """Write neighbors, or with `pairs` correspondences, as the authors' file.

    Raises:
        OrlError: a table is missing; images have different numbers of neighbors, or none, or a neighbor without pairs.
    """
    images = run.read("images", columns=["image_id", "file_name"])
    ids = images["image_id"].to_numpy()
    row_of = dict(zip(ids.tolist(), range(len(ids)), strict=True))
    neighbors = []
    for image_id, part in zip(ids.tolist(), by_image(run, "neighbors", ids), strict=True):
        neighbors.append([row_of[other] for other in part["neighbor_id"].tolist()])
        if len(neighbors[-1]) != len(neighbors[0]) or not neighbors[-1]:
            raise OrlError(
                f"image {image_id} has {len(neighbors[-1])} neighbors, the first one {len(neighbors[0])}: the format"
                " wants equally many; mine again without max_image_similarity"
            )
    record = run.stage("stage2")
    config = {**record.get("config", {}), "neighbors": len(neighbors[0])}
    names = SETTINGS if pairs else {"neighbors": SETTINGS["neighbors"]}
    info = ((record.get("imported") or {}).get("info") or {}) if pairs else {}
    info = {**{theirs: config[ours] for ours, theirs in names.items() if ours in config}, **info}
    file.write(f'{{"info": {json.dumps(info)}, "images": {{"file_name": ')
    _write_list(file, images["file_name"])
    file.write(', "id": ')
    _write_list(file, ids.tolist())
    file.write('}, "pseudo_annotations": {"image_id": ')
    _write_list(file, ids.tolist())
    if pairs:
        file.write(', "bbox": ')
        _write_list(file, (part[BOX].to_numpy().tolist() for part in by_image(run, "regions", ids)))
    file.write(', "knn_image_id": ')
    _write_list(file, neighbors)
    if pairs:
        file.write(', "knn_bbox_pair": ')
        boxes = run.read("regions", columns=BOX).to_numpy()  # (R, 4)
        of_image = zip(ids.tolist(), neighbors, by_image(run, "pairs", ids), strict=True)
        _write_list(file, (_pair_lists(image_id, len(near), part, boxes) for image_id, near, part in of_image))
    file.write("}}")


def _pair_lists(image_id: int, k: int, pairs: pd.DataFrame, boxes: NDArray[np.int32]) -> list[list[list[int]]]:
    """Query and key boxes of an image's pairs, by neighbor: K lists of P lists of 8."""
    rows = np.concatenate([boxes[pairs["query_region"]], boxes[pairs["key_region"]]], axis=1)  # (P, 8)
    rank = pairs["neighbor_rank"].to_numpy()
    lists = [rows[rank == number].tolist() for number in range(k)]
    if not all(lists):
        raise OrlError(f"image {image_id} has a neighbor without pairs: mine again without mutual and min_similarity")
    return lists


def _squeezed(boxes: list[list[int]]) -> list[Any]:
    return boxes[0] if len(boxes) == 1 else boxes


def _write_list(file: TextIO, items: Iterator[Any] | Sequence[Any] | pd.Series) -> None:
    """Write a JSON list item by item."""
    file.write("[")
    for index, item in enumerate(items):
        file.write(f"{', ' if index else ''}{json.dumps(item)}")
    file.write("]")
