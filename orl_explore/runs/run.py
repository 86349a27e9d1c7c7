"""The run folder: everything one run makes, as plain files that pandas, DuckDB and numpy open without us.

A file appears under its name only when it is complete, and every stage records what it was made from, so that a killed
job can go on and a stale one is refused. The layout and all columns are documented in `docs/formats.md`.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.runs.reading import image_ids, read_image

FORMAT = 1
"""Version of the run folder; raised whenever a table, column or file name changes."""


ROW_GROUP = 100_000
"""Rows that a table is read in at least; small, so that one image's rows do not take decoding a million others."""


@dataclass(frozen=True)
class Table:
    """One table of a run: where it is, its columns with their types, and the command that makes it."""

    file: str
    command: str
    columns: Mapping[str, str]


_BOX = {"x": "int32", "y": "int32", "w": "int32", "h": "int32"}

TABLES = {
    "images": Table(
        "images.parquet",
        "orl stage1 RUN --images PATH",
        {
            "image_id": "int64",
            "file_name": "str",
            "source": "int16",
            "width": "int32",
            "height": "int32",
            "content_hash": "str",
        },
    ),
    "objects": Table(
        "objects.parquet",
        "orl stage1 RUN --images PATH",
        {
            "object_id": "int64",
            "image_id": "int64",
            "x": "float32",
            "y": "float32",
            "w": "float32",
            "h": "float32",
            "category": "str",
            "segmentation": "str",
        },
    ),
    "neighbors": Table(
        "stage2/neighbors.parquet",
        "orl stage2 RUN",
        {"image_id": "int64", "rank": "int16", "neighbor_id": "int64", "similarity": "float32"},
    ),
    "proposals": Table(
        "stage2/proposals.parquet",
        "orl stage2 RUN",
        {"image_id": "int64", "rank": "int32", **_BOX, "reason": "str"},
    ),
    "regions": Table("stage2/regions.parquet", "orl stage2 RUN", {"region_id": "int64", "image_id": "int64", **_BOX}),
    "pairs": Table(
        "stage2/pairs.parquet",
        "orl stage2 RUN",
        {
            "image_id": "int64",
            "neighbor_id": "int64",
            "neighbor_rank": "int16",
            "rank": "int16",
            "query_region": "int64",
            "key_region": "int64",
            "similarity": "float32",
        },
    ),
    "reviews": Table(
        "stage2/reviews.parquet",
        "orl app",
        {
            "image_id": "int64",
            "neighbor_id": "int64",
            "query_region": "int64",
            "key_region": "int64",
            "verdict": "str",
            "note": "str",
            "time": "str",
            "pairs_hash": "str",
        },
    ),
    "projection": Table(
        "projection.parquet",
        "orl project RUN",
        {"region_id": "int64", "x": "float32", "y": "float32", "cluster": "int16"},
    ),
}

ARRAYS = {
    "image_embeddings": Table("stage2/image_embeddings.npy", "orl stage2 RUN", {}),
    "region_embeddings": Table("stage2/region_embeddings.npy", "orl stage2 RUN", {}),
}

MINED = ("image_embeddings", "neighbors", "proposals", "regions", "region_embeddings", "pairs")
"""What stage 2 makes, in order."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there is flushed and renamed to `path` at the end.

    Raises:
        OrlError: the disk is full, or is there no longer; what stood at `path` before is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_trouble(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # of a disk that is gone
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_trouble(path: Path) -> Iterator[None]:
    """Say in words what became of the disk that `path` is written to, where that is why writing failed.

    Raises:
        OrlError: it is full, over quota, or gone.
    """
    try:
        yield
    except OrlError:
        raise
    except Exception as error:
        # torch, NumPy and safetensors hide the number of the error, and some of them the words, too.
        number = error.errno if isinstance(error, OSError) else None
        known = re.search(
            r"[Nn]o space left|[Qq]uota exceeded|os error (28|122)\b|requested and \d+ written", str(error)
        )
        if number in (errno.ENOSPC, errno.EDQUOT) or known or _is_full(path.parent):
            what = "the disk is full"
        elif number in (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN, errno.EROFS, errno.ETIMEDOUT):
            what = f"the disk does not answer ({os.strerror(number)})"
        else:
            raise
        raise OrlError(
            f"{path} could not be written, {what}: what was complete before is intact, and once there is room the same"
            " command goes on from there"
        ) from error


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < 1 << 16
    except OSError:
        return False


def hash_file(path: Path) -> str:
    """blake2b of a file's bytes, 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def known_hash(path: Path) -> str:
    """`hash_file`, remembered until the file changes: files of a run are replaced, never edited in place."""
    stat = path.stat()
    return _known_hash(path.absolute(), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _known_hash(path: Path, _time: int, _size: int) -> str:
    return hash_file(path)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, indented for people."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_table(path: Path, frame: pd.DataFrame, columns: Mapping[str, str]) -> None:
    """Write a table atomically with the columns and types of its schema first; further columns follow."""
    write_table_parts(path, [frame], columns)


def write_table_parts(path: Path, parts: Iterable[pd.DataFrame], columns: Mapping[str, str]) -> None:
    """Write a table as `write_table` does, from parts of which one at a time is in memory.

    Where one part ends and the next begins leaves no trace: every row group but the last has `ROW_GROUP` rows.

    Args:
        path: the file.
        parts: at least one; all with the same columns.
        columns: the schema.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def table(frame: pd.DataFrame) -> pa.Table:
        extra = [name for name in frame.columns if name not in columns]
        return pa.Table.from_pandas(frame[[*columns, *extra]].astype(dict(columns)), preserve_index=False)

    tables = map(table, parts)
    waiting = next(tables)
    with atomic_write(path) as temporary, pq.ParquetWriter(temporary, waiting.schema, compression="zstd") as writer:
        while True:
            while len(waiting) >= ROW_GROUP:
                writer.write_table(waiting.slice(0, ROW_GROUP), row_group_size=ROW_GROUP)
                waiting = waiting.slice(ROW_GROUP)
            following = next(tables, None)
            if following is None:
                break
            waiting = pa.concat_tables([waiting, following.cast(waiting.schema)])
        if len(waiting):
            writer.write_table(waiting.combine_chunks(), row_group_size=ROW_GROUP)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file atomically."""
    write_array_parts(path, [array])


def write_array_parts(path: Path, parts: Sequence[np.ndarray]) -> None:
    """Write the rows of several arrays as one .npy file, atomically; memory-mapped parts are not read into memory."""
    shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
    header = {"descr": np.lib.format.dtype_to_descr(parts[0].dtype), "fortran_order": False, "shape": shape}
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            np.ascontiguousarray(part).tofile(file)


def kept_encoder_file(folder: Path, epoch: int) -> Path:
    """Where a stage with this folder leaves the encoder that it has after so many epochs."""
    return folder / "encoders" / f"epoch={epoch}.safetensors"


class Run:
    """One run folder.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open a run that exists.

        Raises:
            OrlError: nothing there, or made by another version.
        """
        run = cls(path)
        if not run._manifest_file.exists():
            raise OrlError(f"no run at {path}: make one with `orl run {path} --config demo --images PATH`")
        run.manifest()
        return run

    # ---- the manifest ------------------------------------------------------------------------------------------

    @property
    def _manifest_file(self) -> Path:
        return self.path / "run.json"

    def manifest(self) -> dict[str, Any]:
        """What run.json says; an empty run's manifest when there is none.

        Raises:
            OrlError: the file is damaged or of another format version.
        """
        try:
            manifest = json.loads(self._manifest_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"format": FORMAT, "created": now(), "images": None, "stages": {}}
        except ValueError as error:  # not JSON, or not even text
            raise OrlError(f"{self._manifest_file} is damaged ({error}): delete it and run the stages again") from None
        version = manifest.get("format") if isinstance(manifest, dict) else None
        if version != FORMAT:
            raise OrlError(f"{self.path} has format {version}, this version reads {FORMAT}: make the run anew")
        return manifest

    def stage(self, name: str) -> dict[str, Any]:
        """Record of one stage: state, config, inputs, outputs, seconds, ...; empty when it never started."""
        return self.manifest()["stages"].get(name, {})

    def finished(self, name: str) -> bool:
        """Whether a stage has finished."""
        return self.stage(name).get("state") == "finished"

    def imported(self, name: str) -> bool:
        """Whether a stage's results came from elsewhere (`orl import`), so that there is nothing to do."""
        return self.finished(name) and "imported" in self.stage(name)

    def note(self, name: str, **facts: object) -> None:
        """Add facts to the record of a stage."""
        manifest = self.manifest()
        manifest["stages"].setdefault(name, {}).update(facts)
        write_json(self._manifest_file, manifest)

    @contextlib.contextmanager
    def working_on(
        self, name: str, *, config: Mapping[str, Any], seed: int, inputs: Mapping[str, str]
    ) -> Iterator[None]:
        """Record a stage as running, then as finished; or as failed, with the reason, when it ends with an error."""
        before = self.stage(name).get("seconds", 0.0)
        facts = {
            "config": dict(config),
            "seed": seed,
            "inputs": dict(inputs),
            "versions": versions(),
            "git": git_sha(),
        }
        self.note(name, state="running", started=now(), error=None, **facts)
        for leftover in (self.path / name).rglob(".*.tmp"):  # of a process that was killed while writing
            leftover.unlink()
        start = time.monotonic()
        try:
            yield
        except BaseException as error:
            seconds = round(before + time.monotonic() - start, 2)
            with contextlib.suppress(OrlError):  # on a full disk this fails as well, and is not the reason
                self.note(name, state="failed", error=f"{type(error).__name__}: {error}"[:2000], seconds=seconds)
            raise
        seconds = round(before + time.monotonic() - start, 2)
        self.note(name, state="finished", finished=now(), seconds=seconds)

    def check(self, name: str, *, config: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
        """Decide whether a stage is done already; True: skip it, False: start it or go on with it.

        Raises:
            OrlError: it was begun with other settings or from other inputs.
        """
        record = self.stage(name)
        if not record:
            return False
        changed = [key for key in sorted({*inputs, *record["inputs"]}) if inputs.get(key) != record["inputs"].get(key)]
        changed += [f"setting {key}" for key in differing_keys(record["config"], _plain(config))]
        if changed:
            raise OrlError(
                f"{name} of {self.path} was made with other {', '.join(changed[:4])}"
                f"{' ...' if len(changed) > 4 else ''}: `orl {name} {self.path} --overwrite` makes it anew"
            )
        return record["state"] == "finished"

    def clear(self, name: str) -> None:
        """Forget a stage and everything it made."""
        shutil.rmtree(self.path / name, ignore_errors=True)
        manifest = self.manifest()
        if manifest["stages"].pop(name, None) is not None:
            write_json(self._manifest_file, manifest)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from working on this run; the lock ends with the process, however that ends.

        Raises:
            OrlError: another process is at work.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise OrlError(f"another process is working on {self.path}: wait for it, or end it first") from None
            yield

    # ---- tables ------------------------------------------------------------------------------------------------

    def file(self, name: str) -> Path:
        """Path of a table or array by its name."""
        return self.path / (TABLES.get(name) or ARRAYS[name]).file

    def write(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table atomically, with the types of its schema."""
        write_table(self.file(name), frame, TABLES[name].columns)

    def read(self, name: str, *, image_id: int | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a table, or one image's rows of it, which takes milliseconds from the second image on (see `rows`).

        Raises:
            OrlError: the table is not there yet, or is damaged.
        """
        file = self.require(name)
        wanted = list(columns) if columns else None
        try:
            return pd.read_parquet(file, columns=wanted) if image_id is None else read_image(file, image_id, wanted)
        except (OSError, ValueError, KeyError) as error:
            raise self._unreadable(name, error) from None

    def image_ids(self, name: str) -> np.ndarray:
        """Ids of the images that a table has rows of, ascending, int64.

        Raises:
            OrlError: the table is not there yet, or is damaged.
        """
        file = self.require(name)
        try:
            return image_ids(file)
        except (OSError, ValueError, KeyError) as error:
            raise self._unreadable(name, error) from None

    def count(self, name: str) -> int:
        """Number of rows of a table, which its file says without being read.

        Raises:
            OrlError: the table is not there yet, or is damaged.
        """
        import pyarrow.parquet

        file = self.require(name)
        try:
            return int(pyarrow.parquet.read_metadata(file).num_rows)
        except (OSError, ValueError) as error:
            raise self._unreadable(name, error) from None

    def read_array(self, name: str) -> np.ndarray:
        """Open an array, memory-mapped.

        Raises:
            OrlError: it is not there yet, or is damaged.
        """
        file = self.require(name)
        try:
            return np.load(file, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise self._unreadable(name, error) from None

    def require(self, name: str) -> Path:
        """Path of a table or array that must exist.

        Raises:
            OrlError: names the command that makes it.
        """
        file = self.file(name)
        if not file.exists():
            if name in ARRAYS and self.imported("stage2"):
                raise OrlError(
                    f"{file} is not there: stage 2 was imported, and embeddings are no part of that; `orl embed"
                    f" {self.path}` makes them with the encoder of stage 1"
                )
            raise OrlError(f"{file} is not there yet: run `{self._command(name)}` first")
        return file

    def _command(self, name: str) -> str:
        return (TABLES.get(name) or ARRAYS[name]).command.replace("RUN", str(self.path))

    def _unreadable(self, name: str, error: Exception) -> OrlError:
        reason, command = " ".join(str(error).split()), self._command(name)
        return OrlError(f"{self.file(name)} cannot be read ({reason}): `{command} --overwrite` makes it anew")

    # ---- images and encoders -----------------------------------------------------------------------------------

    def set_images(self, images: ImageSet, sources: Sequence[str]) -> None:
        """Store the image set that this run is about.

        Raises:
            OrlError: the run was begun with other images.
        """
        manifest = self.manifest()
        known = manifest["images"]
        if known and known["fingerprint"] != images.fingerprint:
            raise OrlError(f"{self.path} was begun with other images: choose a new run folder, or delete this one")
        self.write("images", images.table)
        self.write("objects", images.objects)
        manifest["images"] = {
            "sources": list(sources),
            "roots": [str(root) for root in images.roots],
            "fingerprint": images.fingerprint,
            "count": len(images),
            "skipped": images.skipped.to_dict("records"),
        }
        write_json(self._manifest_file, manifest)

    def images(self) -> ImageSet:
        """Reopen the image set of this run.

        Raises:
            OrlError: the run has none yet.
        """
        table, objects = self.read("images"), self.read("objects")
        facts = self.manifest()["images"]
        skipped = pd.DataFrame(facts["skipped"], columns=["file_name", "reason"])
        return ImageSet(table, objects, skipped, tuple(Path(root) for root in facts["roots"]))

    def encoder_file(self, stage: str) -> Path:
        """Where a training stage leaves its encoder; that of stage 2 is one that took the place of stage 1's."""
        return self.path / stage / "encoder.safetensors"

    def progress_file(self, stage: str) -> Path:
        """Where a stage that works in parts says how far it is; gone when it is finished."""
        return self.path / stage / "shards" / "progress.json"

    def kept_encoders(self, stage: str) -> dict[int, Path]:
        """Encoders that a training stage has kept on its way (`keep_every`), by epochs behind them, ascending."""
        files = kept_encoder_file(self.path / stage, 0).parent.glob("epoch=*.safetensors")
        found = {file.stem.removeprefix("epoch="): file for file in files}
        return {int(epoch): found[epoch] for epoch in sorted(filter(str.isdecimal, found), key=int)}

    def mining_encoder_file(self) -> Path:
        """The encoder that stage 2 mines with: stage 1's, unless another took its place (setting stage2.encoder)."""
        other = self.encoder_file("stage2")
        return other if other.exists() else self.encoder_file("stage1")


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the values in which two nested dictionaries differ."""
    keys = []
    for key in [*old, *(key for key in new if key not in old)]:
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            keys += differing_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            keys.append(f"{prefix}{key}")
    return keys


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))  # tuples become lists, as in run.json


def now() -> str:
    """The time, as run.json has it: ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    names = (
        "orl-explore",
        "torch",
        "torchvision",
        "lightning",
        "numpy",
        "pillow",
        "opencv-contrib-python",
        "numba",
        "faiss-cpu",
        "scikit-learn",
        "pycocotools",
        "timm",
    )
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git_sha() -> str | None:
    """Commit of the source tree this code runs from; None when it was installed from elsewhere."""
    here = Path(__file__).resolve().parent
    try:
        result = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--verify", "HEAD"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return result.stdout.strip() or None
