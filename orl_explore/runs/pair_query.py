"""All accepted pairs of a run, asked at once: sorted, filtered, a page at a time, with figures of the set.

DuckDB scans `stage2/pair_facts.parquet`, of which it reads only the columns that are asked for. A query has one
spelling, `sort=doubt&relation=different`, in the dashboard's addresses, on the command line and in files.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.errors import OrlError, typed
from orl_explore.images.image_source import whole
from orl_explore.images.labels import NO_CATEGORY, category_label
from orl_explore.runs.files import known_hash
from orl_explore.runs.reviews import KEY, Pair, read_disputes, read_reviews, tags_of
from orl_explore.runs.run import Run
from orl_explore.runs.selections import selected

METADATA: Final = b"pair_facts"
"""Entry of the file's metadata, JSON."""
UNLABELED_CODE: Final = -1
"""Number of the category of a region that is on no annotated object."""
UNLABELED: Final = "unlabeled"
"""How a query names that, where no category is called so."""

DOUBTS: Final = ("near the cut", "weak", "hub", "not mutual", "labels differ", "near-duplicates")
"""Reasons to doubt a pair, in the order of the bits of the column `doubts`."""

SORTS: Final = {
    "doubt": "doubt desc",
    "similarity": "similarity",
    "-similarity": "similarity desc",
    "margin": "margin",
    "-margin": "margin desc",
    "rank": "neighbor_rank, rank",
    "-rank": "neighbor_rank desc, rank desc",
    "hub": "key_count desc, key_region",
    "random": "xor(shuffle, $mask)",
    "table": "pair",
}
"""Name of an order -> the columns; what is equal comes in the order of the pairs table."""

RELATIONS: Final = {
    "same": "query_category >= 0 and query_category = key_category",
    "different": "query_category >= 0 and key_category >= 0 and query_category <> key_category",
    "mixed": "(query_category < 0) <> (key_category < 0)",
    "unlabeled": "query_category < 0 and key_category < 0",
}
"""What the categories of a pair's two boxes have to do with each other."""

MOST: Final = 100_000
"""Pairs that are judged at once at most."""

VERDICTS: Final = ("accepted", "rejected", "reviewed", "unreviewed", "disputed")


@dataclass(frozen=True, kw_only=True)
class PairQuery:
    """Which pairs, and in which order; every field left alone asks for nothing.

    Raises:
        OrlError: a value that is none.
    """

    sort: str = "doubt"
    """A key of `SORTS`."""
    seed: int = 0
    """Of the random order."""
    relation: str = ""
    """A key of `RELATIONS`."""
    query_category: str = ""
    """Category of the box in the image; "unlabeled" where it is on no object, "#3" by number."""
    key_category: str = ""
    """Category of the box in the neighbor."""
    doubt: str = ""
    """One of `DOUBTS`: pairs with that reason."""
    similarity: tuple[float, float] | None = None
    """Least and most."""
    size: tuple[float, float] | None = None
    """Share of its image that the smaller of the two boxes covers, least and most."""
    key: int | None = None
    """Region in the neighbor: the pairs of a hub."""
    box: int | None = None
    """Region on either side."""
    image: int | None = None
    """Image on either side."""
    tag: str = ""
    """A word that a note has behind a #."""
    verdict: str = ""
    """One of `VERDICTS`."""
    selection: str = ""
    """Name of a selection that one of the boxes is in."""

    def __post_init__(self):
        for name, known in (
            ("sort", tuple(SORTS)),
            ("relation", ("", *RELATIONS)),
            ("doubt", ("", *DOUBTS)),
            ("verdict", ("", *VERDICTS)),
        ):
            if (value := getattr(self, name)) not in known:
                raise OrlError(f"{name}={value} is no choice: type one of {', '.join(filter(None, known))}")
        for name in ("similarity", "size"):
            bounds = getattr(self, name)
            if bounds is not None and not bounds[0] <= bounds[1]:
                raise OrlError(f"{name}={bounds[0]}..{bounds[1]} is no range: type {name}=0.2..0.8")
        for name in ("seed", "key", "box", "image"):
            value = getattr(self, name)
            if value is not None and not -(2**63) <= value < 2**63:
                raise OrlError(f"{name}={value} is too large: type a number of 64 bits")

    @classmethod
    def parse(cls, text: str) -> PairQuery:
        """Read a query as it is spelled, `sort=random&seed=3&similarity=0.2..0.8`.

        Raises:
            OrlError: an unknown word or value.
        """
        return cls.from_words(dict(parse_qsl(text.lstrip("?"), keep_blank_values=True)))

    @classmethod
    def from_words(cls, words: dict[str, str]) -> PairQuery:
        """The same from names and values that are taken apart already."""
        types = {field.name: str(field.type) for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, text in words.items():
            if name not in types:
                raise OrlError(f"a query of pairs has no {name}: type one of {', '.join(types)}")
            try:
                values[name] = _value(text, types[name])
            except ValueError:
                raise OrlError(f"{name}={text} cannot be read: type {_EXAMPLES.get(types[name], 'a word')}") from None
        return cls(**values)

    def words(self) -> dict[str, str]:
        """What differs from an empty query, by name."""
        given = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}
        return {name: "..".join(map(str, one)) if isinstance(one, tuple) else str(one) for name, one in given.items()}

    def text(self) -> str:
        """Its spelling; empty for an empty query."""
        return urlencode(self.words())

    def filtered(self) -> bool:
        """Whether it leaves any pair out."""
        return bool(set(self.words()) - {"sort", "seed"})


_EXAMPLES = {"int": "a whole number", "int | None": "a whole number", "tuple[float, float] | None": "0.2..0.8"}


def _value(text: str, kind: str) -> Any:
    if kind.startswith("int"):
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise ValueError  # int() takes 1_000 and the digits of every script, too
        return int(text)
    if kind.startswith("tuple"):
        least, _, most = text.partition("..")
        bounds = float(least), float(most)
        if any(map(math.isnan, bounds)):
            raise ValueError
        return bounds
    return text


@dataclass(frozen=True)
class Figures:
    """What a set of pairs is like."""

    pairs: int
    same: int
    """Both boxes on objects of one category."""
    different: int
    mixed: int
    """One box on an object."""
    unlabeled: int
    similarity: float
    """Mean; nan where nothing is known."""

    @property
    def purity(self) -> float:
        """Share of one category among pairs of two objects; nan without any."""
        return self.same / (self.same + self.different) if self.same + self.different else math.nan


def facts_fingerprint(run: Run) -> dict[str, str]:
    """Hashes of what the facts of pairs are made from, and how, where that has changed."""
    one_to_one = run.stage("stage2").get("config", {}).get("one_to_one")
    hashes = {name: known_hash(run.require(name)) for name in ("pairs", "regions", "objects")}
    return hashes | ({"mutual": "by all boxes"} if one_to_one else {})


def facts_are_current(run: Run) -> bool:
    """Whether the facts are there, and of the pairs that the run has now."""
    import pyarrow.parquet as pq

    try:
        found = json.loads((pq.read_schema(run.file("pair_facts")).metadata or {})[METADATA])
    except (OSError, ValueError, KeyError):
        return False
    return bool(found.get("made_from") == facts_fingerprint(run))


class AllPairs:
    """The accepted pairs of a run and what is known of each; made in milliseconds, may be asked from several threads.

    Args:
        run: a run with pairs and their facts.

    Raises:
        OrlError: the facts are missing or out of date.
    """

    def __init__(self, run: Run):
        import duckdb
        import pyarrow.parquet as pq

        run.require("pairs")
        if not facts_are_current(run):
            raise OrlError(f"what is asked of pairs is not worked out yet: run `{typed('pairs', run.path)}` first")
        self.run = run
        self._facts = str(run.file("pair_facts").absolute())
        described = json.loads(pq.read_schema(self._facts).metadata[METADATA])
        self.categories: list[str] = described["categories"]
        """Names of the categories, by number; empty without annotations."""
        self.made_from: dict[str, str] = described["made_from"]
        """Hashes of the pairs and regions, among others, that all numbers here are of; see `facts_fingerprint`."""
        self._connection = duckdb.connect()
        self._connection.execute("set parquet_metadata_cache = true; set enable_progress_bar = false")

    @cached_property
    def total(self) -> int:
        """Number of accepted pairs."""
        return self.run.count("pair_facts")

    def category(self, code: int) -> str:
        """A category by its number, as people read it; see `labels.category_label`."""
        return NO_CATEGORY if code < 0 else category_label(self.categories[code])

    def spelling(self, code: int) -> str:
        """How a query names a category."""
        if code < 0:
            return UNLABELED if UNLABELED not in self.categories else f"#{code}"
        name = self.categories[code]
        return name if name and not name.startswith("#") and name != UNLABELED else f"#{code}"

    def _code(self, name: str) -> int:
        code = whole(name[1:]) if name.startswith("#") else None
        if code is not None and code < len(self.categories):
            return max(code, UNLABELED_CODE)
        names = self.categories if name in self.categories else [*map(category_label, self.categories)]
        if name in names:
            return names.index(name)
        if name in (UNLABELED, NO_CATEGORY):
            return UNLABELED_CODE
        known = ", ".join(self.categories[:8]) or "none, as nothing is annotated"
        raise OrlError(f"there is no category {name!r} in this run: it has {known}")

    def page(self, query: PairQuery, *, start: int = 0, count: int = 24) -> pd.DataFrame:
        """Some pairs of a set, in its order.

        Args:
            query: the set and its order.
            start: pairs before the first one wanted.
            count: pairs wanted.

        Returns:
            The columns of the facts, `query_name` and `key_name` (categories), `verdict` and `note`.
        """
        return self.rows(self.numbers(query, start=start, count=count))

    def numbers(self, query: PairQuery, *, start: int = 0, count: int = 24) -> NDArray[np.int64]:
        """Rows of the pairs table, in the query's order, (count,) or fewer; an `OrlError` where one is negative."""
        if start < 0 or count < 0:
            raise OrlError(f"{count} pairs after the first {start} cannot be asked for: type 0 or more")
        start, count = (min(number, self.total) for number in (start, count))
        where, values, views = self._where(query)
        if query.sort == "random":
            values["mask"] = int(np.random.default_rng(query.seed % 2**64).integers(0, 2**32))
        order = SORTS[query.sort] + ("" if query.sort == "table" else ", pair")
        sql = f"select pair from facts {where} order by {order} limit {int(count)} offset {int(start)}"
        return self._ask(sql.replace(" desc", " desc nulls last"), values, views)["pair"].to_numpy(np.int64)

    def rows(self, numbers: NDArray[np.int64]) -> pd.DataFrame:
        """Facts of some pairs by their numbers, in the order given; see `page`. Without reviews, no verdicts."""
        wanted = ", ".join(str(int(number)) for number in numbers) or "null"
        found = self._ask(f"select * from facts where pair in ({wanted})", {}, {})
        found = found.set_index("pair", drop=False).reindex(numbers).reset_index(drop=True)
        for side in ("query", "key"):
            found[f"{side}_name"] = [self.category(int(code)) for code in found[f"{side}_category"]]
        try:
            reviews = read_reviews(self.run)
        except OrlError:
            return found.assign(verdict="", note="")
        reviews = reviews[reviews["query_region"].isin(found["query_region"])]
        found = found.merge(reviews[[*KEY, "verdict", "note"]], on=KEY, how="left")
        return found.fillna({"verdict": "", "note": ""})

    def pairs(self, query: PairQuery) -> list[Pair]:
        """All pairs of a set, to be judged at once.

        Raises:
            OrlError: more than `MOST`.
        """
        numbers = self.numbers(query, count=MOST + 1)
        if len(numbers) > MOST:
            raise OrlError(f"these are more than {MOST:,} pairs: choose fewer to judge at once")
        where = "pair in (select unnest($numbers::bigint[]))"
        found = self._ask(f"select {', '.join(KEY)} from facts where {where}", {"numbers": numbers.tolist()}, {})
        return [Pair(*row) for row in found.itertuples(index=False, name=None)]

    def figures(self, query: PairQuery) -> Figures:
        """What the pairs of a set are like."""
        return figures_of(self.confusion(query))

    def confusion(self, query: PairQuery) -> pd.DataFrame:
        """Pairs by the categories of their two boxes.

        Returns:
            Columns query_category, key_category (numbers), pairs, similarity (sum), known (similarities in it).
        """
        where, values, views = self._where(query)
        sql = (
            "select query_category, key_category, count(*) pairs, sum(similarity::double) similarity,"
            f" count(similarity) known from facts {where} group by all order by all"
        )
        return self._ask(sql, values, views)

    def quantiles(self, query: PairQuery, shares: list[float]) -> list[float]:
        """Similarities below which these shares of a set's pairs are; none where no similarity is known."""
        where, values, views = self._where(query)
        sql = f"select quantile_cont(similarity, $shares::double[])::float[] found from facts {where}"
        found = self._ask(sql, values | {"shares": shares}, views)["found"].iloc[0]
        return [float(value) for value in found] if found is not None and np.ndim(found) else []

    def hubs(self, query: PairQuery, *, count: int = 12) -> pd.DataFrame:
        """The hubs of the run that most pairs of a set share.

        Returns:
            Columns key_region, image_id (its image), pairs (of the set), similarity (mean), most shared first.
        """
        where, values, views = self._where(query, f"(doubts & {1 << DOUBTS.index('hub')}) <> 0")
        sql = (
            "select key_region, any_value(neighbor_id) image_id, count(*) pairs, avg(similarity) similarity"
            f" from facts {where} group by key_region order by pairs desc, key_region limit {int(count)}"
        )
        return self._ask(sql, values, views)

    def regions(self, query: PairQuery, *, side: str = "both") -> NDArray[np.int64]:
        """Boxes of the pairs of a set, ascending, each once.

        Args:
            query: the set.
            side: "query", "key" or "both".
        """
        where, values, views = self._where(query)
        sides = ("query", "key") if side == "both" else (side,)
        parts = [f"select {name}_region region from facts {where}" for name in sides]
        sql = f"select distinct region from ({' union all '.join(parts)}) order by region"
        return self._ask(sql, values, views)["region"].to_numpy(np.int64)

    def _where(self, query: PairQuery, *more: str) -> tuple[str, dict[str, Any], dict[str, pd.DataFrame]]:
        """The condition, its values, and tables that it looks into."""
        conditions = [*more]
        values: dict[str, Any] = {}
        views: dict[str, pd.DataFrame] = {}
        if query.relation:
            conditions.append(RELATIONS[query.relation])
        for name in ("query_category", "key_category"):
            if wanted := getattr(query, name):
                conditions.append(f"{name} = ${name}")
                values[name] = self._code(wanted)
        if query.doubt:
            conditions.append(f"(doubts & {1 << DOUBTS.index(query.doubt)}) <> 0")
        for name, column in (("similarity", "similarity"), ("size", "least_share")):
            if bounds := getattr(query, name):
                conditions.append(f"{column} between ${name}_least::float and ${name}_most::float")
                values |= {f"{name}_least": bounds[0], f"{name}_most": bounds[1]}
        for name, condition in (
            ("key", "key_region = $key"),
            ("box", "(query_region = $box or key_region = $box)"),
            ("image", "(image_id = $image or neighbor_id = $image)"),
        ):
            if (number := getattr(query, name)) is not None:
                conditions.append(condition)
                values[name] = number
        if query.verdict or query.tag:
            reviews = read_reviews(self.run)
            if query.verdict == "disputed":
                views["judged"] = read_disputes(self.run)[KEY].drop_duplicates()
            elif query.verdict in ("accepted", "rejected"):
                views["judged"] = reviews[reviews["verdict"] == query.verdict]
            elif query.verdict:
                views["judged"] = reviews[reviews["verdict"] != ""]
            if query.verdict:
                word = "not in" if query.verdict == "unreviewed" else "in"
                conditions.append(f"(query_region, key_region) {word} (select (query_region, key_region) from judged)")
            if query.tag:
                tags = tags_of(reviews)
                views["tagged"] = tags[tags["tag"] == query.tag.lstrip("#")]
                conditions.append("(query_region, key_region) in (select (query_region, key_region) from tagged)")
        if query.selection:
            views["chosen"] = pd.DataFrame({"region": selected(self.run, query.selection)})
            conditions.append(
                "(query_region in (select region from chosen) or key_region in (select region from chosen))"
            )
        views = {name: view[[c for c in ("region", *KEY[2:]) if c in view]] for name, view in views.items()}
        return ("where " + " and ".join(conditions) if conditions else ""), values, views

    def _ask(self, sql: str, values: dict[str, Any], views: dict[str, pd.DataFrame]) -> pd.DataFrame:
        import duckdb

        with self._connection.cursor() as cursor:
            for name, view in views.items():
                cursor.register(name, view)
            try:
                values = {"facts": self._facts} | values
                return cursor.execute(sql.replace("from facts", "from read_parquet($facts)"), values).df()
            except duckdb.Error as error:
                raise OrlError(
                    f"{self._facts} cannot be asked ({' '.join(str(error).split())[:200]}):"
                    f" `{typed('pairs', self.run.path, '--overwrite')}` makes it anew"
                ) from None


def figures_of(confusion: pd.DataFrame) -> Figures:
    """Figures of a set from what `AllPairs.confusion` gives."""
    query, key = confusion["query_category"], confusion["key_category"]
    pairs, known = confusion["pairs"], int(confusion["known"].sum())
    both = (query >= 0) & (key >= 0)
    return Figures(
        pairs=int(pairs.sum()),
        same=int(pairs[both & (query == key)].sum()),
        different=int(pairs[both & (query != key)].sum()),
        mixed=int(pairs[(query >= 0) != (key >= 0)].sum()),
        unlabeled=int(pairs[(query < 0) & (key < 0)].sum()),
        similarity=float(confusion["similarity"].sum() / known) if known else math.nan,
    )
