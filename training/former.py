"""What stage 2 made before pictures came or went: of images that are still the same it is taken over, row by row.

`set_aside` moves the results to RUN/former, where stage 2 finds them when it runs again; when that is finished, they
are removed. Neighbors and pairs are of all images together and are always made anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from orl_explore.boxes import BOX
from orl_explore.images.grouping import Groups, Slices
from orl_explore.images.image_set import ImageSet
from orl_explore.runs.files import write_array_parts, write_json
from orl_explore.runs.locking import no_writer
from orl_explore.runs.reading import read_ids, read_rows
from orl_explore.runs.run import Run
from orl_explore.runs.said import put_by
from orl_explore.runs.successor import Successor, bring_along
from orl_explore.runs.tables import ARRAYS, TABLES, write_table_parts
from training.console import console

FOLDER: Final = "former"
STAGE: Final = "stage2"
RECORD, IMAGES, PARTIAL = "record.json", "images.parquet", "partial-"
"""What `set_aside` adds to it; the record last, and what was begun but not complete under names of its own."""
REUSED: Final = ("image_embeddings", "proposals", "region_embeddings")
"""What is of single images."""

Progress = Callable[[int, int], None]


def set_aside(run: Run) -> None:
    """Move what stage 2 has made so far to RUN/former, and forget the stage and what was made from it.

    What was set aside before and not yet used up stays; what stage 2 has made in between is then lost.
    """
    source, target, record = run.path / STAGE, run.path / FOLDER, run.stage(STAGE)
    if record and not (target / RECORD).exists():
        if source.exists() and not target.exists():
            with no_writer(run.path):
                source.rename(target)
        if target.exists():
            rows = {name: _join_shards(target, name, run, record["config"]["shard_images"]) for name in REUSED}
            shutil.copyfile(run.file("images"), target / IMAGES)
            write_json(target / RECORD, {"config": record["config"], "inputs": record["inputs"], "rows": rows})
    run.forget(STAGE)
    for name in ("object_map.parquet", "summary.png", "evaluation/summary.json"):
        (run.path / name).unlink(missing_ok=True)


def _join_shards(folder: Path, name: str, run: Run, size: int) -> list[int] | None:
    """Join the shards of a table or array that is not complete; gives the images that they are of, None: of all."""
    if _file(folder, name).exists():
        return None
    shards = sorted((folder / "shards").glob(f"{name}-*[0-9]"))
    if shards and name in ARRAYS:
        write_array_parts(_file(folder, name, PARTIAL), [np.load(shard, mmap_mode="r") for shard in shards])
    elif shards:
        parts = (pd.read_parquet(shard) for shard in shards)
        write_table_parts(_file(folder, name, PARTIAL), parts, TABLES[name].columns)
    starts = [int(shard.name.rpartition("-")[2]) * size for shard in shards]
    return [row for start in starts for row in range(start, min(start + size, run.count("images")))]


def _file(folder: Path, name: str, prefix: str = "") -> Path:
    """Where a table or array of stage 2 is, in the folder that its results are in now."""
    return folder / f"{prefix}{Path((TABLES.get(name) or ARRAYS[name]).file).name}"


class Former:
    """Results of stage 2 from before, by the rows of today's images.

    Args:
        run: whose results were set aside.
        images: today's.
    """

    def __init__(self, run: Run, images: ImageSet):
        self.run, self.folder = run, run.path / FOLDER
        self._ids = images.table["image_id"].to_numpy()
        self._images = pd.read_parquet(self.folder / IMAGES)
        same = ["image_id", "file_name", "width", "height", "content_hash"]
        places = pd.MultiIndex.from_frame(self._images[same])
        self._before = places.get_indexer(pd.MultiIndex.from_frame(images.table[same]))
        """(N,), the row that an image had; -1 for one that is new."""
        self._covered: dict[str, list[int] | None] = _record(self.folder)["rows"]

    @classmethod
    def of(cls, run: Run, images: ImageSet, *, config: dict[str, Any], encoder: str) -> Former | None:
        """What was set aside, if it was made as stage 2 is to be made now; else it is removed.

        Args:
            run: the run.
            images: its images.
            config: what stage 2 depends on, as its record has it.
            encoder: hash of the encoder.
        """
        folder = run.path / FOLDER
        if not (folder / RECORD).exists() or isinstance(run, Successor):  # which is to be made anew
            return None
        record = _record(folder)
        if record["config"] == json.loads(json.dumps(config)) and record["inputs"].get("encoder") == encoder:
            return cls(run, images)
        console.print("what was found before was found with other settings or another encoder: all is made anew")
        put_by(run.path, folder)
        shutil.rmtree(folder)
        return None

    def fill(self, name: str, rows: range, progress: Progress, make: Callable[[Sequence[int], Progress], Any]) -> Any:
        """Some rows of a table or array: those of known images as they were, the others made.

        Args:
            name: one of `REUSED`.
            rows: of today's images.
            progress: called as progress(images done, len(rows)).
            make: makes those of some images, in their order, with a progress function.
        """
        pieces = {row: piece for row in rows if (piece := self._piece(name, row)) is not None}
        rest = [row for row in rows if row not in pieces]
        count = len(pieces)
        progress(count, len(rows))
        if rest:
            made = make(rest, lambda done, _: progress(count + done, len(rows)))
            pieces |= zip(rest, self._split(name, rest, made), strict=True)
        ordered = [pieces[row] for row in rows]
        return pd.concat(ordered, ignore_index=True) if name in TABLES else np.concatenate(ordered)

    def finish(self) -> None:
        """Put by what people said of its regions, and remove what was set aside."""
        put_by(self.run.path, self.folder)
        own = [RECORD, IMAGES, "pair_facts.parquet"]
        for name in (*own, *(file.name for file in self.folder.glob(f"{PARTIAL}*"))):
            (self.folder / name).unlink(missing_ok=True)
        bring_along(self.folder, self.run.folder(STAGE))

    # ---- one image -------------------------------------------------------------------------------------------------

    def _piece(self, name: str, row: int) -> Any:
        """What there is of an image: rows of a table, or of an array; None where it has to be made."""
        before, covered = int(self._before[row]), self._places[name]
        if before < 0 or before not in covered:
            return None
        image_id = int(self._ids[row])
        if name == "proposals":
            return read_rows(self._file(name), *self._slices[name][image_id])
        if name == "image_embeddings":
            return self._arrays[name][covered[before] : covered[before] + 1]
        then = read_rows(self.folder / "regions.parquet", *self._slices["regions"][image_id])
        if not np.array_equal(then[BOX], self._regions(image_id)[BOX]):
            return None
        return self._arrays[name][covered[before] : covered[before] + len(then)]

    def _split(self, name: str, rows: Sequence[int], made: Any) -> list[Any]:
        """What was made of several images, one by one."""
        ids = self._ids[list(rows)].tolist()
        if name == "proposals":
            groups = Groups(made["image_id"].to_numpy())
            return [made.iloc[groups.rows(image_id)].astype({"reason": "str"}) for image_id in ids]
        counts = [1] * len(ids)
        if name == "region_embeddings":
            counts = [len(self._regions(image_id)) for image_id in ids]
        return np.split(made, np.cumsum(counts)[:-1])

    def _regions(self, image_id: int) -> pd.DataFrame:
        """Today's regions of an image."""
        return read_rows(self.run.file("regions"), *self._today[image_id])

    @cached_property
    def _today(self) -> Slices:
        return Slices(read_ids(self.run.file("regions")))

    def _file(self, name: str) -> Path:
        return _file(self.folder, name, PARTIAL if self._covered.get(name) is not None else "")

    @cached_property
    def _slices(self) -> dict[str, Slices]:
        files = {name: self._file(name) for name in ("proposals", "regions")}
        return {name: Slices(read_ids(file)) for name, file in files.items() if file.exists()}

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        files = {name: self._file(name) for name in REUSED if name in ARRAYS}
        return {name: np.load(file, mmap_mode="r") for name, file in files.items() if file.exists()}

    @cached_property
    def _places(self) -> dict[str, dict[int, int]]:
        """The images that a table or array is of, by their former rows -> where theirs begin in the array."""
        found = {}
        for name, rows in self._covered.items():
            covered = list(range(len(self._images))) if rows is None else rows
            counts = np.ones(len(covered), int)
            if name == "region_embeddings" and covered:
                ids = self._images["image_id"].to_numpy()[covered].tolist()
                counts = np.array(
                    [end - start for start, end in (self._slices["regions"][image_id] for image_id in ids)]
                )
            found[name] = dict(zip(covered, (np.cumsum(counts) - counts).tolist(), strict=True))
        return found


def _record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / RECORD).read_text(encoding="utf-8"))
