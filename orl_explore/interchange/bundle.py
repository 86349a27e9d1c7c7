"""Mining bundles: one zip with all that stage 3 needs of stages 1 and 2, for somebody who has the same images.

The pictures themselves are not in it. A bundle is stored, not compressed, as its tables are compressed already: so that
nothing in it can unpack to more than it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from orl_explore.errors import OrlError, typed
from orl_explore.images.image_set import ImageSet
from orl_explore.interchange import unpacking
from orl_explore.interchange.names import match_images, renumber
from orl_explore.runs.files import atomic_write, hash_file, json_text
from orl_explore.runs.run import Run
from orl_explore.runs.tables import ROW_GROUP, TABLES, write_table

VERSION: Final = 1
"""Version of the bundle's own layout."""

TABLE_NAMES: Final = ("images", "neighbors", "proposals", "regions", "pairs")
MEMBERS: Final = {TABLES[name].file: name for name in TABLE_NAMES}
"""File in the bundle -> table. Beside them there are only manifest.json, config.yaml and LICENSE-NOTE.md."""

MOST_ROWS: Final = {
    "images": 100_000_000,
    "neighbors": 1000,
    "proposals": 100_000,
    "regions": 10_000,
    "pairs": 1_000_000,
}
"""Rows that a table may have at most, the others for each image: more are an attack on memory, or a mistake."""

TEXT: Final = 5000
"""Bytes that one text may have; a path has at most 4096."""

BYTES_PER_ROW: Final = 1000
"""Bytes that a row may unpack to on average; file names are the longest that there is."""

LICENSE_NOTE: Final = """\
# License note

This bundle holds tables about images: file names, sizes, hashes of contents, boxes and correspondences, mined without
labels. It holds no picture, no annotation and no weights. Whoever uses it needs the images from their own source, whose
terms go on to hold. The tables are given without warranty by whoever made the bundle; ask them for terms beyond that.
"""


def write_bundle(run: Run, path: Path, *, pairs: pd.DataFrame | None = None) -> dict[str, Any]:
    """Pack a run's mined tables; returns the manifest.

    Args:
        run: its stage 2 is finished.
        path: the file to write.
        pairs: pack these in place of those that stage 2 found, and as neighbors the images that they are with: columns
            image_id, neighbor_id, query_region, key_region. The manifest says so, and so does a run that imports it.

    Raises:
        OrlError: stage 2 is not finished.
    """
    if not run.finished("stage2"):
        raise OrlError(f"stage 2 of {run.path} is not finished: run `{typed('stage2', run.path)}` first")
    record, images = run.stage("stage2"), run.manifest()["images"]
    files = {TABLES[name].file: run.require(name) for name in TABLE_NAMES} | {"config.yaml": run.path / "config.yaml"}
    table = run.read("images", columns=list(TABLES["images"].columns))  # without the labels that the run may have
    own = {"images": table}
    if pairs is not None:
        own |= _given(pairs, table["image_id"])
        record = {**record, "imported": {**(record.get("imported") or {}), "pairs": "given"}}
    with tempfile.TemporaryDirectory() as folder:
        for name, frame in own.items():
            files[TABLES[name].file] = Path(folder) / f"{name}.parquet"
            write_table(files[TABLES[name].file], frame, TABLES[name].columns)
        return _pack(run, path, files, record, images)


def _given(pairs: pd.DataFrame, image_ids: pd.Series) -> dict[str, pd.DataFrame]:
    """Tables of neighbors and pairs from pairs alone, in the order of the images; ranks as they come."""
    place = pd.Index(image_ids).get_indexer(pd.Index(pairs["image_id"]))
    pairs = pairs.iloc[np.argsort(place, kind="stable")]
    met = pairs[["image_id", "neighbor_id"]].drop_duplicates()
    met = met.assign(neighbor_rank=met.groupby("image_id").cumcount(), similarity=np.nan, place=np.arange(len(met)))
    table = pairs.merge(met, on=["image_id", "neighbor_id"]).sort_values("place", kind="stable")
    table["rank"] = table.groupby("place").cumcount()
    return {
        "neighbors": met.rename(columns={"neighbor_rank": "rank"}).drop(columns="place"),
        "pairs": table.drop(columns="place"),
    }


def _pack(
    run: Run, path: Path, files: dict[str, Path], record: dict[str, Any], images: dict[str, Any]
) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "bundle": VERSION,
        "run": run.path.name,
        "images": {"count": images["count"], "fingerprint": images["fingerprint"]},
        "stage2": {key: record.get(key) for key in ("config", "seed", "finished", "versions", "git", "imported")},
        "files": {name: {"bytes": file.stat().st_size, "blake2b": hash_file(file)} for name, file in files.items()},
    }
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("manifest.json", json_text(manifest, indent=2))
        archive.writestr("LICENSE-NOTE.md", LICENSE_NOTE)
        for name, file in files.items():
            archive.write(file, name)
    return manifest


def unpack_bundle(path: Path, run: Run) -> dict[str, Any]:
    """Unpack a bundle into a new run folder, each file checked against its hash; returns the manifest.

    Tables are read and written anew; what its config.yaml says is for the caller to check.

    Raises:
        OrlError: names the entry that is unknown, compressed, missing, damaged or leads out of the folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if len(entries) < len(archive.infolist()):
                raise OrlError(f"{path} has an entry twice: it is no bundle that `orl export` wrote")
            for name, entry in entries.items():
                _check_entry(path, name, entry)
            manifest = _manifest(path, archive, entries)
            for name, facts in manifest["files"].items():
                target = run.path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.blake2b(digest_size=16)
                with archive.open(entries[name]) as source, target.open("xb") as out:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        out.write(block)
                if digest.hexdigest() != facts.get("blake2b"):
                    raise OrlError(
                        f"{path}: {name} is not what manifest.json says (other hash): fetch the bundle again"
                    )
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise OrlError(
            f"{path} is no zip file, or is damaged ({' '.join(str(error).split())}): fetch it again"
        ) from None
    _unpack_tables(path, run)
    return manifest


def _check_entry(path: Path, name: str, entry: zipfile.ZipInfo) -> None:
    if name not in {*MEMBERS, "manifest.json", "config.yaml", "LICENSE-NOTE.md"}:
        raise OrlError(f"{path} has the entry {name!r}, which no bundle has: it was not written by `orl export`")
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
        raise OrlError(f"{path}: {name} is compressed or encrypted, which bundles are not: refuse it, or pack it anew")
    if name not in MEMBERS and entry.file_size > 1 << 20:
        raise OrlError(f"{path}: {name} has {entry.file_size:,} bytes, more than any bundle's: refuse it")


def _manifest(path: Path, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> dict[str, Any]:
    try:
        manifest = json.loads(archive.read("manifest.json"))
        files, fingerprint, settings = (
            manifest["files"],
            manifest["images"]["fingerprint"],
            manifest["stage2"]["config"],
        )
        imported = manifest["stage2"].get("imported") or {}
        mappings = (files, settings, imported, imported.get("info", {}), *files.values())
        if not (isinstance(fingerprint, str) and all(isinstance(value, dict) for value in mappings)):
            raise TypeError
        missing = sorted({*MEMBERS, "config.yaml"} - (files.keys() & entries.keys()))
        version = manifest["bundle"]
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise OrlError(f"{path} has no manifest.json of a bundle: it was not written by `orl export`") from None
    if version != VERSION:
        raise OrlError(f"{path} is a bundle of version {version}, this version reads {VERSION}: export it anew")
    if missing:
        raise OrlError(f"{path} lacks {', '.join(missing)}: fetch the bundle again")
    return {**manifest, "files": {name: files[name] for name in [*MEMBERS, "config.yaml"]}}


def _unpack_tables(path: Path, run: Run) -> None:
    """Put tables of our own, and no larger than such tables can be, in the place of those of the bundle."""
    tables = [
        {
            "source": str(run.path / file),
            "target": str(run.path / f"{file}.own"),
            "columns": dict(TABLES[name].columns),
            "rows": MOST_ROWS[name],
            "bytes_per_row": BYTES_PER_ROW,
            "text": TEXT,
            "row_group": ROW_GROUP,
        }
        for file, name in MEMBERS.items()
    ]
    done = subprocess.run(
        [sys.executable, "-P", unpacking.__file__],
        input=json.dumps({"memory": unpacking.MEMORY, "tables": tables}),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | unpacking.ENVIRONMENT,
    )
    if done.returncode:  # no answer: ended by the system
        raise OrlError(f"{path}: a table cannot be unpacked (exit status {done.returncode}): refuse the bundle")
    if answer := json.loads(done.stdout):
        file = list(MEMBERS)[answer["table"]]
        raise OrlError(f"{path}: {file} {answer['problem']}: refuse it, or fetch the bundle again")
    for file in MEMBERS:
        (run.path / f"{file}.own").replace(run.path / file)


def same_images(
    bundled: pd.DataFrame, images: ImageSet, *, path: Path, say: Callable[[str], None] = lambda _: None
) -> ImageSet:
    """Give the user's images the order and the ids of a bundle's; `say` is told of names in another form.

    Raises:
        OrlError: names an image that is missing, or whose content is another.
    """
    names = bundled["file_name"].tolist()
    rows = match_images(images, names, where=f"{path}: file_name of images.parquet", say=say)
    found = images.subset(rows.tolist())
    other = found.table["content_hash"].to_numpy() != bundled["content_hash"].to_numpy()
    if other.any():
        name = names[int(np.flatnonzero(other)[0])]
        raise OrlError(f"{path} was mined from another {name} ({int(other.sum()):,} differ): get the same images")
    return renumber(found, bundled["image_id"].to_numpy(np.int64))
