"""A map of the region embeddings: UMAP to two dimensions, with clusters of the embeddings themselves.

Near points of the map look alike to the encoder; how far apart two groups lie, and how large they are, means little.
Every encoder that the regions are embedded by can have its map; they begin at, and are turned onto, one of them, so
that a region lies near its place on all of them where the features allow it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.errors import OrlError, typed
from orl_explore.maps.alignment import NEAR, neighbors_kept, procrustes
from orl_explore.maps.layout import umap_layout
from orl_explore.maps.plane import plane
from orl_explore.runs.files import atomic_write, hash_file, known_hash
from orl_explore.runs.region_embeddings import (
    MINED,
    canonical,
    embedded_encoders,
    folder_of,
    read_region_embeddings,
    sample,
)
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES

Progress = Callable[[int, int], None]

LIMIT: Final = 100_000
"""Regions drawn at most: a browser still moves that many points smoothly."""

FEWEST: Final = 4
"""Regions below which there is nothing to lay out."""

METRICS: Final = ("cosine", "euclidean", "correlation")

METADATA: Final = "object_map"
"""Entry of the Parquet file's metadata that holds what the map was made with."""


@dataclass(frozen=True)
class MapSettings:
    """What a map depends on, besides the embeddings."""

    neighbors: int = 15
    """Neighbors that UMAP keeps together: few show fine structure, many show the whole."""
    min_dist: float = 0.1
    """Least distance between points of the map, 0..1: small values pack groups tightly."""
    metric: str = "cosine"
    """How embeddings are compared: one of `METRICS`."""
    clusters: int = 12
    """Groups that k-means finds in the embeddings."""
    seed: int = 0
    """Decides the sample, the layout and the clusters."""
    limit: int = LIMIT
    """Regions laid out at most; of more, a random sample."""

    def __post_init__(self):
        if not 2 <= self.neighbors <= 200:
            raise OrlError(f"neighbors is {self.neighbors}: it must lie between 2 and 200")
        if not 0 <= self.min_dist <= 1:
            raise OrlError(f"min_dist is {self.min_dist}: it must lie between 0 and 1")
        if self.metric not in METRICS:
            raise OrlError(f"metric is {self.metric!r}: choose one of {', '.join(METRICS)}")
        if not 1 <= self.clusters <= 100:
            raise OrlError(f"clusters is {self.clusters}: it must lie between 1 and 100")
        if self.limit < FEWEST:
            raise OrlError(f"limit is {self.limit}: a map needs at least {FEWEST} regions")
        if not 0 <= self.seed < 2**32:
            raise OrlError(f"seed is {self.seed}: it must be 0 or more, and at most {2**32 - 1}")


@dataclass(frozen=True)
class ObjectMap:
    """A stored map."""

    table: pd.DataFrame
    """region_id, x, y, cluster; of a map made by `lay_out`, also pca_x, pca_y and kept."""
    settings: MapSettings
    """What it was made with."""
    regions: int
    """Regions of the run; more than the table's rows where it is a sample."""
    encoder: str = MINED
    """Whose features it shows; `mined`: those that stage 2 mined with."""
    aligned: dict[str, str] = field(default_factory=dict)
    """`encoder` and `hash` of the map that it was aligned to; empty: it is not aligned to another one."""


def lay_out(
    embeddings: NDArray[np.floating],
    *,
    neighbors: int = 15,
    min_dist: float = 0.1,
    metric: str = "cosine",
    clusters: int = 12,
    seed: int = 0,
    limit: int = LIMIT,
    region_ids: NDArray[np.integer] | None = None,
    onto: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Lay regions out in two dimensions.

    Args:
        embeddings: (R, D), rows of length 1; may be memory-mapped.
        neighbors: neighbors that UMAP keeps together; fewer where there are fewer regions.
        min_dist: least distance between points of the map.
        metric: how embeddings are compared: one of `METRICS`.
        clusters: groups that k-means finds in the embeddings, largest first.
        seed: the same map again; UMAP then uses one core.
        limit: of more regions, a random sample of this size is laid out.
        region_ids: (R,), ids of the rows, ascending; default: 0 .. R - 1.
        onto: the table of another map, which this one begins at and is turned onto.
        progress: called as progress(percent, 100), of the time that all of it takes.

    Returns:
        `region_id` int64 (ascending), `x` and `y` float32, `cluster` int16, 0 = largest; `pca_x` and `pca_y` float32,
        the first two principal components; `kept` float32, the share of a region's 15 nearest by the features that are
        among its 50 nearest on the map.

    Raises:
        OrlError: a setting out of range, or too few regions.
    """
    MapSettings(neighbors, min_dist, metric, clusters, seed, limit)
    rows = sample(len(embeddings), limit=limit, seed=seed)
    if len(rows) < FEWEST:
        raise OrlError(f"{len(rows)} regions are too few for a map: it needs at least {FEWEST}")
    vectors = np.asarray(embeddings[rows], np.float32)
    table = pd.DataFrame({"region_id": rows if region_ids is None else np.asarray(region_ids)[rows]})
    flat = plane(vectors).astype(np.float32)
    known, there, begin = None, None, None
    if onto is not None:
        known = _places(table["region_id"], onto, ["x", "y"])
        there = np.isfinite(known[:, 0])
        begin = _begin(vectors, known, there) if there.sum() >= FEWEST else None
    layout = umap_layout(
        vectors, neighbors=neighbors, min_dist=min_dist, metric=metric, seed=seed, init=begin, progress=progress
    )
    points = layout.points
    if begin is not None and onto is not None and known is not None:
        points = procrustes(points, known, there)
        if "pca_x" in onto:
            flat = procrustes(flat, _places(table["region_id"], onto, ["pca_x", "pca_y"]), there)
    table[["x", "y"]] = points
    table["cluster"] = _clusters(vectors, clusters, seed)
    table[["pca_x", "pca_y"]] = flat
    table["kept"] = neighbors_kept(layout.neighbors[:, :NEAR], points)
    return table.astype(TABLES["object_map"].columns)


def _places(region_ids: pd.Series, onto: pd.DataFrame, columns: list[str]) -> NDArray[np.float64]:
    """(R, 2): where regions lie on another map; NaN where they do not."""
    return onto.set_index("region_id")[columns].reindex(region_ids).to_numpy(np.float64)


def _begin(vectors: NDArray[np.float32], known: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Where a map begins: each region at its place, those without one at that of the most similar region with one."""
    if there.all():
        return known
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors[there])
    begin = known.copy()
    begin[~there] = known[there][index.search(vectors[~there], 1)[1][:, 0]]
    return begin


def _clusters(vectors: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int64]:
    """Group of each row, numbered by size: k-means in the space of the embeddings, where distances are true."""
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(min(count, len(vectors)), random_state=seed, n_init=3, batch_size=4096)
    _, group = np.unique(means.fit_predict(vectors), return_inverse=True)
    order = np.argsort(-np.bincount(group), kind="stable")
    return np.argsort(order)[group]


# ---- a run's maps --------------------------------------------------------------------------------------------------


def map_file(run: Run, encoder: str = MINED) -> Path:
    """Where the map of an encoder is."""
    return folder_of(run, encoder) / run.file("object_map").name


def fingerprint(run: Run, encoder: str = MINED) -> str:
    """What identifies the embeddings that a map is made from.

    Raises:
        OrlError: there are none yet, or they are stale.
    """
    if encoder == MINED:
        file = run.require("region_embeddings")
        return run.stage("stage2").get("outputs", {}).get("region_embeddings") or hash_file(file)
    facts = read_region_embeddings(run, encoder).facts
    deciding = {name: facts.get(name) for name in ("hash", "regions", "sample", "size", "precision")}
    deciding |= {name: facts[name] for name in ("mask_outside",) if name in facts}
    return hashlib.blake2b(json.dumps(deciding, sort_keys=True).encode(), digest_size=16).hexdigest()


def make_object_map(
    run: Run,
    settings: MapSettings | None = None,
    encoder: str = MINED,
    *,
    onto: str | None = None,
    progress: Progress | None = None,
) -> ObjectMap:
    """Make the map of a run's regions by an encoder anew and store it.

    Args:
        run: the run.
        settings: of the layout.
        encoder: by which the regions are embedded (`orl embed-regions`); `mined`: what stage 2 mined with.
        onto: the encoder whose map this one is aligned to; that map must be there.
        progress: called as progress(percent, 100).

    Raises:
        OrlError: the embeddings or the other map are missing, or too few regions.
    """
    settings = settings or MapSettings()
    made_from = fingerprint(run, encoder)
    found = read_region_embeddings(run, encoder)
    other = None if onto is None else read_object_map(run, onto)
    table = lay_out(
        found.vectors,
        **asdict(settings),
        region_ids=found.region_ids,
        onto=None if other is None else other.table,
        progress=progress,
    )
    aligned = {} if onto is None else {"encoder": canonical(onto), "hash": known_hash(map_file(run, onto))}
    made = ObjectMap(table, settings, run.count("regions"), canonical(encoder), aligned)
    write_object_map(run, made, made_from)
    return made


def write_object_map(run: Run, made: ObjectMap, made_from: str) -> None:
    """Store a map, with what it was made with and the fingerprint of the embeddings it was made from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts = {"settings": asdict(made.settings), "regions": made.regions, "embeddings": made_from}
    facts |= {"encoder": made.encoder, "aligned": made.aligned}
    content = pa.Table.from_pandas(made.table, preserve_index=False)
    content = content.replace_schema_metadata({**(content.schema.metadata or {}), METADATA: json.dumps(facts)})
    with atomic_write(map_file(run, made.encoder)) as temporary:
        pq.write_table(content, temporary, compression="zstd")


def read_object_map(run: Run, encoder: str = MINED) -> ObjectMap:
    """Read the map of a run's regions by an encoder.

    Raises:
        OrlError: there is none, or it shows other embeddings than the run has now.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    made_from, file = fingerprint(run, encoder), map_file(run, encoder)
    named = typed("map", run.path, *(() if encoder == MINED else ("--encoder", encoder)))
    again = f"`{named} --overwrite` makes it anew"
    if not file.exists():
        raise OrlError(f"{file} is not there yet: run `{named}` first")
    try:
        table = pd.read_parquet(file)
        facts: dict[str, Any] = json.loads((pq.read_schema(file).metadata or {}).get(METADATA.encode(), "{}"))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise OrlError(f"{file} cannot be read ({' '.join(str(error).split())}): {again}") from None
    if facts.get("embeddings") != made_from:
        raise OrlError(f"{file} was made from other region embeddings: {again}")
    try:
        settings = MapSettings(**facts["settings"])
    except (KeyError, TypeError):
        raise OrlError(f"{file} was made by another version of this project: {again}") from None
    return ObjectMap(table, settings, int(facts["regions"]), facts.get("encoder", MINED), facts.get("aligned", {}))


def best_of(encoders: Sequence[str]) -> str:
    """Which of some encoders is looked at first: that of the last stage, else stage 1's, else the last one."""
    return next((name for name in ("stage3", "stage1") if name in encoders), encoders[-1])


def read_best_map(run: Run) -> ObjectMap:
    """Read the map that is looked at first, of those that a run has; see `best_of`.

    Raises:
        OrlError: there is none, or those that there are show other embeddings than the run has now.
    """
    encoders = mapped_encoders(run)
    return read_object_map(run, best_of(encoders) if encoders else MINED)


def is_current(run: Run, settings: MapSettings | None, encoder: str = MINED, *, onto: str | None = None) -> bool:
    """Whether an encoder has a map with these settings (None: any) of the embeddings that there are now, aligned so."""
    fingerprint(run, encoder)
    try:
        found = read_object_map(run, encoder)
        there = {} if onto is None else {"encoder": canonical(onto), "hash": known_hash(map_file(run, onto))}
    except (OrlError, FileNotFoundError):
        return False
    return settings in (None, found.settings) and (encoder == MINED or found.aligned == there)


def base_of(encoders: Sequence[str]) -> str:
    """Which of some encoders the maps of the others are aligned to: stage 1, else the first that is trained."""
    return min(encoders, key=lambda name: (name != "stage1", canonical(name) == "untrained"))


def existing_base(run: Run, encoder: str) -> str | None:
    """The encoder whose map one of `encoder` is aligned to, of the maps that there are; None where it is that one."""
    if encoder == MINED:
        return None
    base = base_of([*mapped_encoders(run), canonical(encoder)])
    return None if base == canonical(encoder) else base


def mapped_encoders(run: Run) -> list[str]:
    """The encoders whose maps there are, current ones, in the order of `embedded_encoders`."""
    found = []
    for name in embedded_encoders(run):
        with suppress(OrlError):
            read_object_map(run, name)
            found.append(name)
    return found


def _unwatched(encoder: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, total: None)


def make_object_maps(
    run: Run,
    encoders: Sequence[str],
    settings: MapSettings | None = None,
    *,
    overwrite: bool = False,
    watch: Callable[[str], AbstractContextManager[Progress]] = _unwatched,
) -> dict[str, ObjectMap]:
    """Make the maps of several encoders, aligned to one of them; those that are there and current are left.

    Maps made later are aligned to the same one: it is chosen among all encoders that the regions are embedded by, and
    made where it is not there.

    Args:
        run: its regions are embedded by these.
        encoders: their names.
        settings: of all layouts.
        overwrite: make them anew.
        watch: encoder -> a context with its progress function, opened only for maps that are made.

    Returns:
        Encoder -> map, in the order asked for.
    """
    settings = settings or MapSettings()
    names = list(dict.fromkeys(canonical(name) for name in encoders))
    base = MINED if names == [MINED] else base_of([*names, *embedded_encoders(run)])
    found = {}
    for name in dict.fromkeys([base, *names]):
        onto = None if name == base else base
        wanted = settings if name in names else None  # the base may have any where it is not asked for
        if (overwrite and name in names) or not is_current(run, wanted, name, onto=onto):
            with watch(name) as progress:
                found[name] = make_object_map(run, settings, name, onto=onto, progress=progress)
    return {name: found.get(name) or read_object_map(run, name) for name in names}
