"""A map of the region embeddings: UMAP to two dimensions, with clusters of the embeddings themselves.

Near points of the map look alike to the encoder; how far apart two groups lie, and how large they are, means little.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.runs.files import atomic_write, hash_file
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
        if self.seed < 0:
            raise OrlError(f"seed is {self.seed}: it must be 0 or more")


@dataclass(frozen=True)
class ObjectMap:
    """A stored map."""

    table: pd.DataFrame
    """region_id, x, y, cluster."""
    settings: MapSettings
    """What it was made with."""
    regions: int
    """Regions of the run; more than the table's rows where it is a sample."""


def lay_out(
    embeddings: NDArray[np.floating],
    *,
    neighbors: int = 15,
    min_dist: float = 0.1,
    metric: str = "cosine",
    clusters: int = 12,
    seed: int = 0,
    limit: int = LIMIT,
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
        progress: called as progress(steps done, steps in all).

    Returns:
        `region_id` int64 (row of `embeddings`, ascending), `x` and `y` float32, `cluster` int16, 0 = largest.

    Raises:
        OrlError: a setting out of range, or too few regions.
    """
    MapSettings(neighbors, min_dist, metric, clusters, seed, limit)
    rows = sample(len(embeddings), limit=limit, seed=seed)
    if len(rows) < FEWEST:
        raise OrlError(f"{len(rows)} regions are too few for a map: it needs at least {FEWEST}")
    vectors = np.asarray(embeddings[rows], np.float32)
    group = _clusters(vectors, clusters, seed)
    points = _umap(vectors, min(neighbors, len(rows) - 1), min_dist, metric, seed, progress)
    return pd.DataFrame({"region_id": rows, "x": points[:, 0], "y": points[:, 1], "cluster": group}).astype(
        TABLES["object_map"].columns
    )


def sample(count: int, *, limit: int, seed: int) -> NDArray[np.int64]:
    """Rows 0 .. count - 1, or a sample of `limit` of them, each equally likely; ascending."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def _clusters(vectors: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int64]:
    """Group of each row, numbered by size: k-means in the space of the embeddings, where distances are true."""
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(min(count, len(vectors)), random_state=seed, n_init=3, batch_size=4096)
    _, group = np.unique(means.fit_predict(vectors), return_inverse=True)
    order = np.argsort(-np.bincount(group), kind="stable")
    return np.argsort(order)[group]


def _umap(
    vectors: NDArray[np.float32], neighbors: int, min_dist: float, metric: str, seed: int, progress: Progress | None
) -> NDArray[np.float32]:
    try:
        import umap
    except ModuleNotFoundError:
        raise OrlError("the map needs UMAP: pip install umap-learn") from None

    layout = umap.UMAP(
        n_neighbors=neighbors,
        min_dist=min_dist,
        metric=metric,
        random_state=seed,
        n_jobs=1,  # what a seed means to UMAP; said here, or it warns
        init="spectral" if len(vectors) > 50 else "random",
        tqdm_kwds={"disable": progress is None, "file": _Counter(progress), "bar_format": "{n}/{total}"},
    )
    points = layout.fit_transform(vectors)
    if not np.isfinite(points).all():  # regions that UMAP finds unconnected to all others
        points = np.where(np.isfinite(points), points, np.nanmean(np.where(np.isfinite(points), points, np.nan), 0))
    return points


class _Counter:
    """Takes the bar that UMAP would print, "3/200", as numbers: UMAP has no other way to tell how far it is."""

    def __init__(self, progress: Progress | None):
        self.progress = progress

    def write(self, text: str) -> None:
        done, _, total = text.strip().partition("/")
        if self.progress and done.isdecimal() and total.isdecimal():
            self.progress(int(done), int(total))

    def flush(self) -> None:
        pass


# ---- a run's map ---------------------------------------------------------------------------------------------------


def fingerprint(run: Run) -> str:
    """Hash of the region embeddings: what stage 2 recorded, else worked out from the file.

    Raises:
        OrlError: there are none yet.
    """
    file = run.require("region_embeddings")
    return run.stage("stage2").get("outputs", {}).get("region_embeddings") or hash_file(file)


def make_object_map(run: Run, settings: MapSettings | None = None, *, progress: Progress | None = None) -> ObjectMap:
    """Make the map of a run anew and store it as `object_map.parquet`.

    Raises:
        OrlError: stage 2 is missing, or too few regions.
    """
    settings = settings or MapSettings()
    made_from = fingerprint(run)
    embeddings = run.read_array("region_embeddings")
    table = lay_out(embeddings, **asdict(settings), progress=progress)
    made = ObjectMap(table, settings, len(embeddings))
    write_object_map(run, made, made_from)
    return made


def write_object_map(run: Run, made: ObjectMap, made_from: str) -> None:
    """Store a map, with what it was made with and the fingerprint of the embeddings it was made from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts = {"settings": asdict(made.settings), "regions": made.regions, "embeddings": made_from}
    content = pa.Table.from_pandas(made.table, preserve_index=False)
    content = content.replace_schema_metadata({**(content.schema.metadata or {}), METADATA: json.dumps(facts)})
    with atomic_write(run.file("object_map")) as temporary:
        pq.write_table(content, temporary, compression="zstd")


def read_object_map(run: Run) -> ObjectMap:
    """Read the map of a run.

    Raises:
        OrlError: there is none, or it shows other embeddings than the run has now.
    """
    import pyarrow.parquet as pq

    made_from = fingerprint(run)
    table = run.read("object_map")
    facts: dict[str, Any] = json.loads(
        (pq.read_schema(run.file("object_map")).metadata or {}).get(METADATA.encode(), "{}")
    )
    again = f"`orl map {run.path} --overwrite` makes it anew"
    if facts.get("embeddings") != made_from:
        raise OrlError(f"{run.file('object_map')} was made from other region embeddings: {again}")
    try:
        settings = MapSettings(**facts["settings"])
    except (KeyError, TypeError):
        raise OrlError(f"{run.file('object_map')} was made by another version of this project: {again}") from None
    return ObjectMap(table, settings, int(facts["regions"]))


def is_current(run: Run, settings: MapSettings) -> bool:
    """Whether the run has a map with these settings of the embeddings that it has now."""
    run.require("region_embeddings")
    try:
        return read_object_map(run).settings == settings
    except OrlError:
        return False
