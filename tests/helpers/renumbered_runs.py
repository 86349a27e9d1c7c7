"""Runs whose images have other ids: negative ones, and such as float64 and JavaScript cannot hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from orl_explore.maps import object_map
from orl_explore.runs.run import Run

WIDE = 2**53 + 1
"""The first whole number that float64 does not have; that plus 2 it does."""


def with_map(run: Run) -> Run:
    """Give a run an object map without UMAP: two numbers of each embedding."""
    vectors = run.read_array("region_embeddings").astype(float)
    table = pd.DataFrame({"region_id": range(len(vectors)), "x": vectors[:, 0], "y": vectors[:, 1], "cluster": 0})
    made = object_map.ObjectMap(table, object_map.MapSettings(), len(vectors))
    object_map.write_object_map(run, made, object_map.fingerprint(run))
    return run


def renumbered(run: Run, path: Path) -> Run:
    """A copy of a run in which every other image has a negative id, and the others have ids above 2**53."""
    made = Run(shutil.copytree(run.path, path))
    ids = made.read("images")["image_id"].tolist()
    new = {old: -1 - row if row % 2 else WIDE + 2 * row for row, old in enumerate(ids)}
    for name in ("images", "objects", "neighbors", "proposals", "regions", "pairs"):
        table = made.read(name)
        for column in ("image_id", "neighbor_id"):
            if column in table:
                table[column] = table[column].map(new)
        made.write(name, table)
    return made
