"""The tables of the claim, from the results that are there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import report
from claim_judging import FIGURES

from orl_explore.judging.intervals import interval, read_resampled

COMPARED = (("untrained", "stage1"), ("untrained", "full"), ("stage1", "full"), ("full", "oracle"))
TESTS = {"known": "known instances", "new": "new instances"}


def write(folder: Path, titles: Mapping[str, str], name: str) -> None:
    """Write benchmarks/results/NAME.md: every figure of every arm, and its difference to stage 1.

    A figure is the mean over seeds, with their standard deviation. A difference is the mean of the seeds' differences
    with its 95 % interval: of each seed, the same images are drawn for both arms, and seeds are taken as they are.
    """
    results = {arm: _of_arm(folder, arm) for arm in titles}
    done = {arm: of for arm, of in results.items() if of}
    if not done:
        raise SystemExit(f"{folder} has no results yet")
    blocks = [
        "Figures in %: mean over seeds ± their standard deviation. In brackets: what the arm gains on stage 1,"
        " with the 95 % interval over images, for these seeds; **bold** where it does not hold 0."
    ]
    for test, called in TESTS.items():
        if not any(f"probe/{test}" in one["figures"] for of in done.values() for one in of.values()):
            continue
        figures = _measured(done, test)
        rows: list[list[object]] = [[f"{called}", "seeds", *figures.values()]]
        for arm, of in done.items():
            cells = [_cell(folder, arm, of, results["stage1"], f"{figure}/{test}") for figure in figures]
            rows.append([titles[arm], " ".join(str(seed) for seed in of), *cells])
        blocks.append(report.markdown_table(rows))
    figures = _measured(done, *TESTS)
    rows = [["gain", "over", "on", *figures.values()]]
    for first, second in COMPARED:
        seeds = [seed for seed in results[second] if seed in results[first]]
        tests = [test for test in TESTS if all(f"probe/{test}" in results[second][seed]["figures"] for seed in seeds)]
        for test in tests if seeds else []:
            cells = []
            for key in (f"{figure}/{test}" for figure in figures):
                both = [seed for seed in seeds if all(key in results[arm][seed]["figures"] for arm in (first, second))]
                cells.append(_shown(*gain(folder, first, second, both, key)) if both else "")
            rows.append([titles[second], titles[first], TESTS[test], *cells])
    if len(rows) > 1:
        blocks.append(report.markdown_table(rows))
    rows = [["pairs", "pairs", "of two objects", "of these, of one category", "chance", "times chance"]]
    for arm, of in done.items():
        if all("purity" in one for one in of.values()):
            mean = {
                key: np.mean([one[key] for one in of.values()])
                for key in ("pairs", "object_pairs", "purity", "purity_chance")
            }
            rows.append(
                [
                    titles[arm],
                    f"{mean['pairs']:,.0f}",
                    *(f"{100 * mean[key]:.1f} %" for key in ("object_pairs", "purity", "purity_chance")),
                    f"{mean['purity'] / mean['purity_chance']:.1f}",
                ]
            )
    if len(rows) > 1:
        blocks.append(report.markdown_table(rows))
    missing = [titles[arm] for arm in titles if arm not in done]
    if missing:
        blocks.append(f"Not run: {'; '.join(missing)}.")
    for seed in sorted({seed for of in done.values() for seed in of}):
        built_on = {of[seed]["stage1"] for of in done.values() if "stage1" in of.get(seed, {})}
        if len(built_on) > 1:
            blocks.append(f"Arms of seed {seed} build on {len(built_on)} different stages 1: do not compare them.")
    hours = sum(one["core_seconds"] for of in done.values() for one in of.values()) / 3600
    blocks.append(f"{hours:.1f} core hours at least: of what was stopped and continued, only the last part counts.")
    report.save(name, "What decides whether stage 3 wins", "\n\n".join(blocks))


def _of_arm(folder: Path, arm: str) -> dict[int, dict[str, Any]]:
    """The results of an arm by seed."""
    files = sorted(folder.glob(f"seed*/{arm}.json"))
    found = [json.loads(file.read_text()) for file in files]
    return {one["seed"]: one for one in found}


def _measured(done: Mapping[str, Mapping[int, dict[str, Any]]], *tests: str) -> dict[str, str]:
    """The figures that at least one result on these test images has: results from before one was added lack it."""
    known = {name for of in done.values() for one in of.values() for name in one["figures"]}
    return {key: title for key, title in FIGURES.items() if any(f"{key}/{test}" in known for test in tests)}


def _cell(
    folder: Path, arm: str, of: Mapping[int, dict[str, Any]], stage1: Mapping[int, dict[str, Any]], figure: str
) -> str:
    """One figure of an arm over its seeds; empty where it was not measured."""
    of, stage1 = ({seed: one for seed, one in some.items() if figure in one["figures"]} for some in (of, stage1))
    if not of:
        return ""
    values = [100 * one["figures"][figure]["value"] for one in of.values()]
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    shown = f"{np.mean(values):.1f}{spread}"
    both = [seed for seed in of if seed in stage1]
    if arm == "stage1" or not both:
        return shown
    return f"{shown} ({_shown(*gain(folder, 'stage1', arm, both, figure))})"


def _shown(value: float, low: float, high: float) -> str:
    """A gain with its interval; bold where that does not hold 0."""
    text = f"{100 * value:+.1f}, {100 * low:+.1f} to {100 * high:+.1f}"
    return f"**{text}**" if low > 0 or high < 0 else text


def gain(folder: Path, first: str, second: str, seeds: list[int], figure: str) -> tuple[float, float, float]:
    """What the second arm has over the first: the mean over seeds, and its interval over images."""
    value, values = [], []
    for seed in seeds:
        a, b = (read_resampled(folder / f"seed{seed}/{arm}.npz", figure) for arm in (first, second))
        assert a is not None
        assert b is not None
        value.append(b.value - a.value)
        values.append(b.values - a.values)
    # Seeds have images of their own: resamples of the one and of the other seed are independent draws.
    shuffled = [np.random.default_rng(seed).permutation(of) for seed, of in zip(seeds, values, strict=True)]
    mean = float(np.mean(value))
    return mean, *interval(np.mean(shuffled, axis=0), mean)
