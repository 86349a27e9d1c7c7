"""What a person says of pairs: accepted, rejected, a note. Kept beside the pairs, shared by all who look at the run."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pandas as pd

from orl_explore.boxes import BOX
from orl_explore.errors import OrlError
from orl_explore.runs.files import known_hash
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
Verdict = Literal["accepted", "rejected", ""]

KEY: Final = ["image_id", "neighbor_id", "query_region", "key_region"]
NOTE_LENGTH: Final = 2000
"""Characters of a note at most."""


class Pair(NamedTuple):
    """What identifies a pair: a region of an image, and a region of its neighbor."""

    image_id: int
    neighbor_id: int
    query_region: int
    key_region: int


def read_reviews(run: Run) -> pd.DataFrame:
    """All reviews of a run, ordered by pair; no rows when nobody has reviewed anything.

    Raises:
        OrlError: they are of other pairs than the run has now, or the file is damaged, or there are no pairs.
    """
    run.require("pairs")
    if not run.file("reviews").exists():
        return _table([])
    try:
        reviews = run.read("reviews")
    except OrlError:
        raise OrlError(f"{run.file('reviews')} cannot be read: move it away to review anew") from None
    if set(reviews["pairs_hash"].unique()) - {pairs_hash(run)}:
        raise OrlError(
            f"the reviews in {run.file('reviews')} are of other pairs than stage 2 has now: move that file away to"
            " review anew"
        )
    return reviews


def save_review(run: Run, pair: Pair, *, verdict: Verdict | None = None, note: str | None = None) -> pd.DataFrame:
    """Set the verdict or the note of a pair, or both; a review left without either is removed.

    Others may write at the same time, from other processes, too: under a lock, the file is read again, this one pair
    changed, and the file replaced.

    Args:
        run: the run; it has pairs.
        pair: any region of an image with any region of one of its neighbors.
        verdict: None leaves it as it is, "" takes it back.
        note: None leaves it as it is, "" takes it back.

    Returns:
        All reviews as they are now.

    Raises:
        OrlError: no such regions; reviews of other pairs; a file that cannot be written.
    """
    if verdict not in (None, ACCEPTED, REJECTED, ""):
        raise OrlError(f"{verdict!r} is no verdict: choose accepted, rejected or nothing")
    if note is not None and len(note) > NOTE_LENGTH:
        raise OrlError(f"a note may have {NOTE_LENGTH} characters, this one has {len(note)}")
    pair = Pair(*map(int, pair))
    with _lock(run):
        reviews = read_reviews(run)
        rows = {Pair(*row[:4]): list(row) for row in reviews.itertuples(index=False, name=None)}
        if pair not in rows:
            _check_regions(run, pair)
        old = rows.get(pair, [*pair, "", "", "", ""])
        new_verdict = old[4] if verdict is None else verdict
        new_note = old[5] if note is None else note.strip()
        rows.pop(pair, None)
        if new_verdict or new_note:
            rows[pair] = [*pair, new_verdict, new_note, _now(), pairs_hash(run)]
        reviews = _table([rows[key] for key in sorted(rows)])
        run.write("reviews", reviews)
        return reviews


def apply_reviews(run: Run, pairs: pd.DataFrame, reviews: pd.DataFrame) -> pd.DataFrame:
    """The pairs to train on: without the rejected ones, and with accepted ones that stage 2 had not chosen.

    Args:
        run: for the neighbors and region embeddings that added pairs need.
        pairs: the pairs table.
        reviews: what `read_reviews` gives.

    Returns:
        A pairs table: what is left, in its order, then what is added, ordered by pair; an added pair's `rank` goes on
        after those of its two images.

    Raises:
        OrlError: no pair is left.
    """
    keys = pd.MultiIndex.from_frame(pairs[KEY])
    verdicts = {verdict: pd.MultiIndex.from_frame(rows[KEY]) for verdict, rows in reviews.groupby("verdict")}
    nothing = pd.MultiIndex.from_frame(reviews.iloc[:0][KEY])
    left = pairs[~keys.isin(verdicts.get(REJECTED, nothing))]
    added = verdicts.get(ACCEPTED, nothing).difference(keys).to_frame(index=False)
    if len(added):
        neighbors = run.read("neighbors")
        rank_of = neighbors[neighbors["image_id"].isin(added["image_id"])].set_index(["image_id", "neighbor_id"])[
            "rank"
        ]
        between = pd.MultiIndex.from_frame(added[KEY[:2]])
        used = pairs[pairs["image_id"].isin(added["image_id"])].groupby(KEY[:2])["rank"].max()
        added["neighbor_rank"] = rank_of.reindex(between).to_numpy()
        added["rank"] = used.reindex(between).fillna(-1).to_numpy() + 1 + added.groupby(KEY[:2]).cumcount()
        added["similarity"] = _similarity(run, added)
        columns = TABLES["pairs"].columns
        left = pd.concat([left[list(columns)], added[list(columns)].astype(columns)], ignore_index=True)
    if not len(left):
        raise OrlError("the reviews leave no pair to train on: accept some, or train without them")
    return left.reset_index(drop=True)


def _similarity(run: Run, pairs: pd.DataFrame) -> np.ndarray:
    """Cosine of the two regions of each pair, (P,); NaN in a run that was imported without embeddings."""
    if not run.file("region_embeddings").exists():
        return np.full(len(pairs), np.nan)
    vectors = run.read_array("region_embeddings")
    query, key = (
        np.asarray(vectors[pairs[name].to_numpy(np.int64)], np.float32) for name in ("query_region", "key_region")
    )
    lengths = np.linalg.norm(query, axis=1) * np.linalg.norm(key, axis=1)
    return ((query * key).sum(axis=1) / lengths).clip(-1, 1)


def next_unreviewed(pairs: pd.DataFrame, reviews: pd.DataFrame, after: Pair | None) -> Pair | None:
    """The first pair without a verdict that comes after a pair, in the order of `pairs`, going round; None: all have.

    Args:
        pairs: columns of `Pair`, in the order of reviewing.
        reviews: what `read_reviews` gives.
        after: begin after this one; where it is none of the pairs, begin at the first.
    """
    every = [Pair(*row) for row in pairs[KEY].itertuples(index=False, name=None)]
    judged = {Pair(*row) for row in reviews.loc[reviews["verdict"] != "", KEY].itertuples(index=False, name=None)}
    start = every.index(after) + 1 if after in every else 0
    return next((pair for pair in every[start:] + every[:start] if pair not in judged and pair != after), None)


def as_csv(reviews: pd.DataFrame) -> str:
    """Reviews as CSV text."""
    return reviews.to_csv(index=False)


def carry_reviews(run: Run, reviews: Path, regions: Path) -> int:
    """Carry reviews over from pairs that have been mined anew since: to the same boxes of the same images.

    Args:
        run: it has pairs, and no reviews.
        reviews: the table of before; it need not be there.
        regions: what its regions were.

    Returns:
        How many are lost, as one of their boxes is no longer there or the images are no neighbors any more.
    """
    if not reviews.exists():
        return 0
    old = pd.read_parquet(reviews)
    box = ["image_id", *BOX]
    wanted = [*old["query_region"], *old["key_region"]]
    before = pd.read_parquet(regions, filters=[("region_id", "in", wanted)]).set_index("region_id")
    today = run.read("regions").set_index(box)["region_id"]
    found = today.reindex(pd.MultiIndex.from_frame(before[box])).fillna(-1).astype(int)
    number = dict(zip(before.index, found, strict=True))
    neighbors = run.read("neighbors", columns=["image_id", "neighbor_id"])
    known = pd.MultiIndex.from_frame(old[["image_id", "neighbor_id"]]).isin(pd.MultiIndex.from_frame(neighbors))
    for name in ("query_region", "key_region"):
        old[name] = old[name].map(number)
    kept = old[known & (old["query_region"] >= 0) & (old["key_region"] >= 0)].assign(pairs_hash=pairs_hash(run))
    if len(kept):
        run.write("reviews", kept.sort_values(KEY, ignore_index=True))
    return len(old) - len(kept)


def as_coco(run: Run, reviews: pd.DataFrame) -> dict[str, Any]:
    """Reviews as a COCO json: the images and boxes in question, and beside them, COCO knows no such thing, the pairs.

    An annotation is a region; its id is the region's plus 1, as COCO's tools take 0 for "none". `pairs` has `query` and
    `key`, ids of annotations, and all columns of the reviews table.
    """
    used = np.unique(reviews[["query_region", "key_region"]].to_numpy(np.int64))
    regions = run.read("regions").iloc[used]
    images = run.read("images")
    images = images[images["image_id"].isin(np.unique(reviews[["image_id", "neighbor_id"]].to_numpy(np.int64)))]
    annotations = [
        {
            "id": region_id + 1,
            "image_id": image_id,
            "category_id": 1,
            "bbox": [x, y, w, h],
            "area": w * h,
            "iscrowd": 0,
        }
        for region_id, image_id, x, y, w, h in regions[["region_id", "image_id", "x", "y", "w", "h"]]
        .to_numpy()
        .tolist()
    ]
    return {
        "info": {"description": f"reviewed pairs of regions of {run.path.name}", "date_created": _now()},
        "images": [
            {"id": row.image_id, "file_name": row.file_name, "width": row.width, "height": row.height}
            for row in images.itertuples(index=False)
        ],
        "categories": [{"id": 1, "name": "region"}],
        "annotations": annotations,
        "pairs": [
            {**row, "query": row["query_region"] + 1, "key": row["key_region"] + 1}
            for row in reviews.to_dict("records")
        ],
    }


def as_coco_text(run: Run, reviews: pd.DataFrame) -> str:
    """`as_coco` as text."""
    return json.dumps(as_coco(run, reviews), ensure_ascii=False, indent=1)


def pairs_hash(run: Run) -> str:
    """Hash of the pairs table as it is now; reviews are of the pairs that have the same.

    Raises:
        OrlError: there is none yet.
    """
    return known_hash(run.require("pairs"))


def _check_regions(run: Run, pair: Pair) -> None:
    wanted = [pair.query_region, pair.key_region]
    found = pd.read_parquet(
        run.require("regions"), columns=["region_id", "image_id"], filters=[("region_id", "in", wanted)]
    )
    image_of = dict(zip(found["region_id"].tolist(), found["image_id"].tolist(), strict=True))
    if [image_of.get(region) for region in wanted] != [pair.image_id, pair.neighbor_id]:
        raise OrlError(
            f"region {pair.query_region} of image {pair.image_id} and region {pair.key_region} of image"
            f" {pair.neighbor_id} are no two regions of this run"
        )
    if not (run.read("neighbors", image_id=pair.image_id)["neighbor_id"] == pair.neighbor_id).any():
        raise OrlError(f"image {pair.neighbor_id} is no neighbor of image {pair.image_id}")


@contextlib.contextmanager
def _lock(run: Run) -> Iterator[None]:
    """Wait until nobody else writes reviews of this run; in threads of one process, too."""
    run.require("pairs")
    try:
        with (run.path / ".reviews.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise OrlError(f"the review could not be written to {run.path} ({error.strerror or error})") from None


def _table(rows: list[list[Any]]) -> pd.DataFrame:
    columns = TABLES["reviews"].columns
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
