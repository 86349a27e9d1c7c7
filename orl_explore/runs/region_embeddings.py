"""Embeddings of a run's regions by any encoder: `objects/ENCODER/`, one folder an encoder, for maps and comparisons.

Of a large run, these are of a sample of the regions, the same for all encoders. What stage 2 mined with is of all
regions and elsewhere; it is read here under the name `mined`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orl_explore.errors import OrlError, typed
from orl_explore.runs.encoders import run_encoders
from orl_explore.runs.files import known_hash
from orl_explore.runs.run import Run

FOLDER: Final = "objects"

MINED: Final = "mined"
"""The embeddings that stage 2 mined with, of all regions: in `stage2/`, not in `objects/`."""

LIMIT: Final = 100_000
"""Regions embedded at most; of more, a random sample of this size."""

VECTORS, IDS, MANIFEST = "region_embeddings.npy", "region_ids.npy", "manifest.json"


@dataclass(frozen=True)
class RegionEmbeddings:
    """Regions as an encoder sees them.

    Attributes:
        encoder: its name; see `orl_explore.interchange.encoders`. `mined` is the one that stage 2 mined with.
        region_ids: (R,) int64, ascending.
        vectors: (R, D) float16, of `mined` also float32, memory-mapped; row i is region `region_ids[i]`, of length 1.
        facts: what they were made from: `encoder`, `hash`, `regions`, `of`, `size`, `precision`, ...
    """

    encoder: str
    region_ids: NDArray[np.int64]
    vectors: NDArray[np.floating]
    facts: dict[str, Any]

    def rows_of(self, region_ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows of some regions; -1 for those that are not in the sample."""
        wanted = np.asarray(region_ids, np.int64)
        places = np.minimum(np.searchsorted(self.region_ids, wanted), len(self.region_ids) - 1)
        return np.where(self.region_ids[places] == wanted, places, -1)


def sample(count: int, *, limit: int, seed: int) -> NDArray[np.int64]:
    """Regions 0 .. count - 1, or a sample of `limit` of them, each equally likely; ascending.

    Of two limits with one seed, the smaller sample is part of the larger.
    """
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit])


def shared_regions(*embeddings: RegionEmbeddings) -> NDArray[np.int64]:
    """Regions that all of these have, ascending."""
    found = embeddings[0].region_ids
    for other in embeddings[1:]:
        found = np.intersect1d(found, other.region_ids, assume_unique=True)
    return found


def folder_of(run: Run, encoder: str) -> Path:
    """Where what concerns an encoder's regions is: named after it, in letters that every file system takes.

    A name with others of them gets eight digits of its hash, so that no two names share a folder.
    """
    if encoder == MINED:
        return run.path
    encoder = canonical(encoder)
    safe = re.sub(r"[^A-Za-z0-9._@=-]", "_", encoder).lstrip(".")[:80]
    if safe != encoder:
        safe += "-" + hashlib.blake2b(encoder.encode(), digest_size=4).hexdigest()
    return run.path / FOLDER / safe


def canonical(encoder: str) -> str:
    """One name for the untrained encoder, which has two."""
    return "untrained" if encoder == "random" else encoder


def name_of(run: Run, encoder: str) -> str:
    """What an encoder is called in a sentence."""
    if encoder == MINED:
        used = (run.stage("stage2").get("pretrained") or {}).get("encoder") or "what stage 2 mined with"
        return "the embedded encoder" if used == "embedded" else str(used)
    stage = re.fullmatch(r"stage([123])(?:@(\d+))?", encoder)
    if stage is None:
        return "the untrained network" if encoder == "untrained" else encoder
    return f"stage {stage[1]}" + (f" after {stage[2]} epochs" if stage[2] else "")


def command_for_all(run: Run, encoders: Iterable[str]) -> str:
    """The command that embeds all regions of a run, and not a sample of them, by some encoders."""
    names = dict.fromkeys(map(canonical, encoders))
    return typed("embed-regions", run.path, "--encoder", *names, "--limit", run.count("regions"))


def regions_fingerprint(run: Run) -> str:
    """Hash of the table of regions.

    Raises:
        OrlError: there is none yet.
    """
    return known_hash(run.require("regions"))


def embedded_encoders(run: Run) -> list[str]:
    """Names of the encoders that the run's regions are embedded by: untrained, stages in order, then others."""
    found = []
    for file in (run.path / FOLDER).glob(f"*/{MANIFEST}"):
        if (file.parent / VECTORS).exists():
            found.append(str(read_json(file)["encoder"]))
    return sorted(found, key=_order)


def _order(encoder: str) -> tuple[int, int, str]:
    stage = re.fullmatch(r"stage([123])(?:@(\d+))?", encoder)
    if stage:
        return int(stage[1]), int(stage[2] or 1 << 40), encoder
    return (0, 0, encoder) if encoder == "untrained" else (9, 0, encoder)


def read_region_embeddings(run: Run, encoder: str) -> RegionEmbeddings:
    """Open the embeddings of a run's regions by an encoder.

    Args:
        run: the run.
        encoder: as it was named for `orl embed-regions`, or `mined`.

    Raises:
        OrlError: there are none, or they were made from other regions or another encoder than the run has now.
    """
    if encoder == MINED:
        vectors = run.read_array("region_embeddings")
        digest = run.stage("stage2").get("inputs", {}).get("encoder")
        return RegionEmbeddings(MINED, np.arange(len(vectors)), vectors, {"hash": digest, "of": len(vectors)})
    encoder = canonical(encoder)
    folder = folder_of(run, encoder)
    command = typed("embed-regions", run.path, "--encoder", encoder)
    if not (folder / MANIFEST).exists() or not (folder / VECTORS).exists():
        raise OrlError(f"the regions of {run.path} are not embedded by {encoder} yet: run `{command}` first")
    facts = read_json(folder / MANIFEST)
    if facts["regions"] != regions_fingerprint(run):
        raise OrlError(f"{folder} was made from other regions than {run.path} has now: `{command}` makes it anew")
    own = run_encoders(run).get("random" if encoder == "untrained" else encoder)
    if own is not None and own.hash() != facts["hash"]:
        raise OrlError(f"{encoder} of {run.path} is another one than {folder} was made with: `{command}` makes it anew")
    try:
        vectors, ids = np.load(folder / VECTORS, mmap_mode="r"), np.load(folder / IDS)
    except (OSError, ValueError, EOFError) as error:
        raise OrlError(f"{folder} cannot be read ({error}): `{command} --overwrite` makes it anew") from None
    return RegionEmbeddings(encoder, ids, vectors, facts)


def read_json(file: Path) -> dict[str, Any]:
    """What embeddings were made from.

    Raises:
        OrlError: the file is damaged.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OrlError(f"{file} is damaged ({error}): delete its folder and run `orl embed-regions` again") from None
