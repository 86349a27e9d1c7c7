"""What a person says of pairs: accepted, rejected, a note. Kept beside the pairs, shared by all who look at the run."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pandas as pd

from orl_explore.errors import OrlError
from orl_explore.runs.files import csv_text, json_text, known_hash
from orl_explore.runs.locking import one_writer
from orl_explore.runs.run import Run
from orl_explore.runs.said import check_same
from orl_explore.runs.tables import TABLES

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
Verdict = Literal["accepted", "rejected", ""]

KEY: Final = ["image_id", "neighbor_id", "query_region", "key_region"]
NOTE_LENGTH: Final = 2000
"""Characters of a note at most."""
REVIEWER_LENGTH: Final = 80
"""Characters of a reviewer's name at most."""
FEW: Final = 50
"""Images whose neighbors are read one by one; of more, all at once."""


class Pair(NamedTuple):
    """What identifies a pair: a region of an image, and a region of its neighbor."""

    image_id: int
    neighbor_id: int
    query_region: int
    key_region: int


def read_reviews(run: Run) -> pd.DataFrame:
    """All reviews of a run, ordered by pair; no rows when nobody has reviewed anything.

    A pair that several people judged has one row, of whoever judged it last: `read_disputes` lists who disagrees.

    Raises:
        OrlError: they are of other pairs than the run has now, or the file is damaged, or there are no pairs.
    """
    return _read(run, "reviews")


def read_verdicts(run: Run) -> pd.DataFrame:
    """The last verdict of each reviewer on each pair, ordered by pair and time; raises as `read_reviews`."""
    return _read(run, "verdicts")


def read_disputes(run: Run) -> pd.DataFrame:
    """The verdicts on pairs that two reviewers judged differently: rows of `read_verdicts`."""
    verdicts = read_verdicts(run)
    several = verdicts[verdicts.duplicated(KEY, keep=False)]
    kinds = several.groupby(KEY)["verdict"].transform("nunique")
    return several[kinds > 1].reset_index(drop=True)


def of_images(reviews: pd.DataFrame, image_ids: Iterable[int]) -> pd.DataFrame:
    """The reviews, or verdicts, of the pairs of some images; of many thousands, a page needs few."""
    return reviews[reviews["image_id"].isin({*image_ids})]


def _read(run: Run, name: str) -> pd.DataFrame:
    run.require("pairs")
    file = run.file(name)
    if not file.exists():
        return _none(name).copy()
    try:
        found = run.read(name)
    except OrlError:
        raise OrlError(f"{file} cannot be read: move it away to review anew") from None
    if set(found["pairs_hash"].unique()) - {pairs_hash(run)}:
        raise OrlError(
            f"the reviews in {file} are of other pairs than stage 2 has now: move that file away to review anew"
        )
    if "reviewer" not in found:  # from before reviewers had names
        found["reviewer"] = ""
    return found.astype(dict(TABLES[name].columns))


def save_review(
    run: Run,
    pair: Pair,
    *,
    verdict: Verdict | None = None,
    note: str | None = None,
    reviewer: str = "",
    of: str | None = None,
) -> pd.DataFrame:
    """Set the verdict or the note of a pair, or both; a review left without either is removed.

    Others may write at the same time, from other processes, too: under a lock, the file is read again, this one pair
    changed, and the file replaced.

    Args:
        run: the run; it has pairs.
        pair: any region of an image with any region of one of its neighbors.
        verdict: None leaves it as it is, "" takes it back.
        note: None leaves it as it is, "" takes it back.
        reviewer: who says so.
        of: `pairs_hash` of when the pair was read; None: it is read from the pairs that are there now.

    Returns:
        All reviews as they are now.

    Raises:
        OrlError: no such regions; pairs that were made anew since; reviews of other pairs; a file that cannot be
            written.
    """
    return _change(run, [(pair, verdict, note)], reviewer, of)


def save_verdicts(
    run: Run, verdicts: Iterable[tuple[Pair, Verdict]], *, reviewer: str = "", of: str | None = None
) -> pd.DataFrame:
    """`save_review` of many verdicts at once, in their order: the files are read and replaced one time."""
    return _change(run, [(pair, verdict, None) for pair, verdict in verdicts], reviewer, of)


def _change(
    run: Run, changes: list[tuple[Pair, Verdict | None, str | None]], reviewer: str, of: str | None
) -> pd.DataFrame:
    reviewer = " ".join(reviewer.split())[:REVIEWER_LENGTH]
    for _, verdict, note in changes:
        if verdict not in (None, ACCEPTED, REJECTED, ""):
            raise OrlError(f"{verdict!r} is no verdict: choose accepted, rejected or nothing")
        if note is not None and len(note) > NOTE_LENGTH:
            raise OrlError(f"a note may have {NOTE_LENGTH} characters, this one has {len(note)}")
    run.require("pairs")
    with one_writer(run.path, "review"):
        of_pairs = check_same(run.require("pairs"), of)
        wanted = [Pair(*map(int, pair)) for pair, _, _ in changes]
        known, other_reviews = _apart(read_reviews(run), wanted)
        judged, other_verdicts = _apart(read_verdicts(run), wanted)
        rows = {Pair(*row[:4]): list(row) for row in known.itertuples(index=False, name=None)}
        said: dict[Pair, dict[str, list[Any]]] = {}  # pair -> reviewer -> row, the last one said last
        for row in judged.sort_values("time", kind="stable").itertuples(index=False, name=None):
            said.setdefault(Pair(*row[:4]), {})[row[5]] = list(row)
        _check_regions(run, [pair for pair in wanted if pair not in rows])
        now = _now()
        for pair, (_, verdict, note) in zip(wanted, changes, strict=True):
            old = rows.pop(pair, [*pair, "", "", "", "", ""])
            of_pair = said.setdefault(pair, {})
            if old[4] and not of_pair:  # judged before each reviewer's verdict was kept
                of_pair[old[8]] = [*pair, old[4], old[8], old[6], of_pairs]
            new_verdict, author = old[4], old[8]
            if verdict is not None:
                of_pair.pop(reviewer, None)
                if verdict:
                    of_pair[reviewer] = [*pair, verdict, reviewer, now, of_pairs]
                # Taken back, what another one said last stands again.
                new_verdict, author = list(of_pair.values())[-1][4:6] if of_pair else ("", reviewer)
            new_note = old[5] if note is None else note.strip()
            author = author or reviewer
            if new_verdict or new_note:
                rows[pair] = [*pair, new_verdict, new_note, now, of_pairs, author]
        said_now = [row for of_pair in said.values() for row in of_pair.values()]
        run.write("verdicts", _together(other_verdicts, _table(said_now, "verdicts")))
        reviews = _together(other_reviews, _table([*rows.values()], "reviews"))
        run.write("reviews", reviews)
        return reviews


def _apart(table: pd.DataFrame, pairs: Iterable[Pair]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of some pairs, and all others."""
    pairs = set(pairs)
    near = np.flatnonzero(table["image_id"].isin({pair.image_id for pair in pairs}))
    keys = table.iloc[near][KEY].itertuples(index=False, name=None)
    found = np.zeros(len(table), bool)
    found[near] = [key in pairs for key in keys]
    return table[found], table[~found]


def _together(*tables: pd.DataFrame) -> pd.DataFrame:
    """All rows, ordered by pair; those of one pair stay in their order."""
    return pd.concat(tables).sort_values(KEY, kind="stable", ignore_index=True)


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


def tags_of(reviews: pd.DataFrame) -> pd.DataFrame:
    """The tags of reviews, words behind a `#` in their notes: `KEY`, verdict and tag; one row a pair and tag."""
    reviews = reviews[reviews["note"].str.contains("#", regex=False)]
    found = reviews[[*KEY, "verdict"]].assign(tag=reviews["note"].str.findall(r"#(\w+)").map(dict.fromkeys).map(list))
    return found.explode("tag").dropna(subset="tag").reset_index(drop=True)


def count_tags(reviews: pd.DataFrame) -> pd.DataFrame:
    """How many pairs have each tag, and how many of them were accepted and rejected: tag, pairs, accepted, rejected."""
    tags = tags_of(reviews)
    counts = {"pairs": tags.groupby("tag").size()} | {
        verdict: (tags["verdict"] == verdict).groupby(tags["tag"]).sum() for verdict in (ACCEPTED, REJECTED)
    }
    table = pd.DataFrame(counts).rename_axis("tag").reset_index()
    return table.sort_values(["pairs", "tag"], ascending=[False, True], ignore_index=True)


def as_csv(reviews: pd.DataFrame) -> str:
    """Reviews as CSV text, of which a spreadsheet executes nothing."""
    return csv_text(reviews)


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
    return json_text(as_coco(run, reviews), indent=1)


def pairs_hash(run: Run) -> str:
    """Hash of the pairs table as it is now; reviews are of the pairs that have the same.

    Raises:
        OrlError: there is none yet.
    """
    return known_hash(run.require("pairs"))


def _check_regions(run: Run, pairs: list[Pair]) -> None:
    """Make sure that pairs that nobody has reviewed yet are of two regions of this run, of an image and a neighbor."""
    if not pairs:
        return
    wanted = sorted({region for pair in pairs for region in (pair.query_region, pair.key_region)})
    found = pd.read_parquet(
        run.require("regions"), columns=["region_id", "image_id"], filters=[("region_id", "in", wanted)]
    )
    image_of = dict(zip(found["region_id"].tolist(), found["image_id"].tolist(), strict=True))
    images = sorted({pair.image_id for pair in pairs})
    if len(images) < FEW:
        tables = [run.read("neighbors", image_id=image_id) for image_id in images]
    else:
        tables = [pd.read_parquet(run.require("neighbors"), filters=[("image_id", "in", images)])]
    near = {row for table in tables for row in zip(table["image_id"], table["neighbor_id"], strict=True)}
    for pair in pairs:
        if [image_of.get(region) for region in (pair.query_region, pair.key_region)] != [*pair[:2]]:
            raise OrlError(
                f"region {pair.query_region} of image {pair.image_id} and region {pair.key_region} of image"
                f" {pair.neighbor_id} are no two regions of this run"
            )
        if (pair.image_id, pair.neighbor_id) not in near:
            raise OrlError(f"image {pair.neighbor_id} is no neighbor of image {pair.image_id}")


@functools.cache
def _none(name: str) -> pd.DataFrame:
    return _table([], name)


def _table(rows: list[list[Any]], name: str) -> pd.DataFrame:
    columns = TABLES[name].columns
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
