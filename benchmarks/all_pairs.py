"""How fast are all accepted pairs of a run asked? Times of the first page of every order and filter.

What the page All pairs asks for a first page is asked again and again, with other values each time, so that nothing of
the answer lies ready: the pairs and their rows, and the figures of the set. Pictures are not part of it. On a machine
that is busy with other work the processor time tells more than the clock: it is given beside it.

    python benchmarks/make_large_run.py /tmp/large/coco
    python benchmarks/all_pairs.py /tmp/large/coco
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import report

from orl_explore.judging.pair_facts import make_pair_facts
from orl_explore.runs.pair_query import DOUBTS, RELATIONS, AllPairs, PairQuery
from orl_explore.runs.run import Run

GOAL = 1.0
"""Seconds in which a first page is to be there, 95th percentile."""


def queries(pairs: AllPairs, rng: np.random.Generator) -> dict[str, PairQuery]:
    """Every order and filter once, with other values at each call."""
    first = pairs.rows(rng.integers(0, pairs.total, 1))
    low = float(rng.uniform(0.3, 0.9))
    query, key = (pairs.spelling(int(first[f"{side}_category"].iloc[0])) for side in ("query", "key"))
    orders = ("doubt", "similarity", "-similarity", "margin", "-margin", "rank", "-rank", "hub", "table")
    return {
        **{f"order {name}": PairQuery(sort=name) for name in orders},
        "order random": PairQuery(sort="random", seed=int(rng.integers(2**31))),
        **{f"labels {name}": PairQuery(relation=name) for name in RELATIONS},
        "a cell of the matrix": PairQuery(query_category=query, key_category=key),
        "similarity": PairQuery(similarity=(low, low + 0.02), sort="margin"),
        "box size": PairQuery(size=(low / 10, low / 10 + 0.02), sort="-similarity"),
        "a shared box": PairQuery(key=int(first["key_region"].iloc[0])),
        "an image": PairQuery(image=int(first["neighbor_id"].iloc[0])),
        "without a verdict": PairQuery(verdict="unreviewed", sort="random", seed=int(rng.integers(2**31))),
        "a reason and labels": PairQuery(doubt=str(rng.choice(DOUBTS)), relation="different", sort="similarity"),
    }


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    start, used = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - start, time.process_time() - used


def main() -> None:
    """Time everything and write benchmarks/results/NAME.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run with pairs")
    parser.add_argument("--repeats", type=int, default=5, help="times that each is asked (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of the values that are asked for (default: 0)")
    parser.add_argument("--keep", action="store_true", help="do not work out the facts of the pairs anew")
    parser.add_argument("--name", default="all_pairs", help="of the file of results (default: all_pairs)")
    parser.add_argument("--remark", default="", help="a sentence on the machine's state, to go into the results")
    arguments = parser.parse_args()

    run = Run.open(arguments.run)
    made = None if arguments.keep else timed(lambda: make_pair_facts(run))
    pairs, rng = AllPairs(run), np.random.default_rng(arguments.seed)
    times: dict[str, list[tuple[float, float, float, float]]] = {}
    for _ in range(arguments.repeats):
        for name, query in queries(pairs, rng).items():
            page = timed(lambda query=query: pairs.page(query))
            figures = timed(lambda query=query: pairs.figures(query))
            times.setdefault(name, []).append((*page, *figures))
    table = {name: np.array(values) for name, values in times.items()}
    every = np.concatenate(list(table.values()))
    header = ["asked", "first page: median", "95th percentile", "processor", "figures: median", "processor"]
    rows = [[name, *_row(values)] for name, values in [*table.items(), ("**all**", every)]]
    body = report.markdown_table([header, *rows])
    body += f"\n\nAll in seconds. {run.count('pairs'):,} pairs, {run.count('regions'):,} regions,"
    body += f" {run.count('images'):,} images; each asked {arguments.repeats} times, seed {arguments.seed}."
    slow = np.percentile(every[:, 0], 95)
    body += f" 95th percentile of all first pages: {slow:.2f} s (goal {GOAL:.0f} s)."
    size = run.file("pair_facts").stat().st_size
    if made:
        body += f" Working out `pair_facts.parquet` ({size / 1e6:.0f} MB), once: {made[0]:.0f} s,"
        body += f" {made[1]:.0f} s of the processor."
    body += f"\n\n{arguments.remark}" if arguments.remark else ""
    report.save(arguments.name, f"All pairs of a run of {run.count('images'):,} images: times of a first page", body)


def _row(values: np.ndarray) -> list[str]:
    median, used, figures, figures_used = np.median(values, axis=0)
    slow = np.percentile(values[:, 0], 95)
    return [f"{value:.2f}" for value in (median, slow, used, figures, figures_used)]


if __name__ == "__main__":
    main()
