"""The tables of the claim, from the results that are there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import report
from claim_judging import FIGURES
from numpy.typing import NDArray
from scipy import stats

from orl_explore.judging.intervals import interval, read_resampled

TESTS = {"known": "known instances", "new": "new instances"}
HELD_OUT = "held-out images"
"""What "known" is called where no test has new instances: in photographs, all are."""
BY_SEED = ("probe/known", "probe/new", "knn/known", "knn/new", "scene_map/known", "scene_map/new")
"""Figures that are shown seed by seed, where there are new instances; else all."""
STAGE3 = ("full", "again")
"""Arms that differ by the training seed alone."""
COMPARED = (
    (("oracle-whole",), ("oracle",)),
    (("embedded",), ("oracle",)),
    (("embedded",), ("oracle-whole",)),
    (("embedded",), ("embedded-oracle",)),
    (("embedded",), ("passes",)),
    (("second-round",), ("full",)),
    (("second-again",), ("again",)),
    (("second-round", "second-again"), STAGE3),
)
"""What else is compared over seeds and trainings: the first with the second, of several arms their mean."""

Results = Mapping[str, Mapping[int, dict[str, Any]]]
"""By arm and seed, what `claim.py` wrote."""


def write(folder: Path, titles: Mapping[str, str], name: str) -> None:
    """Write benchmarks/results/NAME.md: every figure of every arm, its gains, its seeds, and how pure its pairs are.

    A figure is the mean over seeds, with their standard deviation. A difference is the mean of the seeds' differences
    with its 95 % interval: of each seed, the same images are drawn for both arms, and seeds are taken as they are.
    """
    results = read(folder, titles)
    if not results:
        raise SystemExit(f"{folder} has no results yet")
    blocks = [
        "Figures in %: mean over seeds ± their standard deviation. In brackets: what the arm gains on stage 1,"
        " with the 95 % interval over images, for these seeds; **bold** where it does not hold 0.",
        *(_figures(folder, results, titles, test) for test in _tests(results)),
        _gains(folder, results, titles),
        _seeds(results, titles),
        _trainings(results, titles),
        _others(results, titles),
        _pairs(results, titles),
        *_remarks(results, titles),
    ]
    report.save(name, "What decides whether stage 3 wins", "\n\n".join(block for block in blocks if block))


def _tests(results: Results) -> list[str]:
    """The test images on which anything was measured."""
    return [test for test in TESTS if _measured(results, test)]


def _called(results: Results, test: str) -> str:
    return TESTS[test] if "new" in _tests(results) else HELD_OUT


def _figures(folder: Path, results: Results, titles: Mapping[str, str], test: str) -> str:
    """Every figure of every arm on some test images."""
    figures, stage1 = _measured(results, test), results.get("stage1", {})
    rows: list[list[object]] = [[_called(results, test), "seeds", *figures.values()]]
    if of := read(folder, ["chance"]).get("chance"):
        cells = [_cell(folder, "chance", of, {}, f"{figure}/{test}") for figure in figures]
        rows.append(["*always the commonest category*", " ".join(map(str, of)), *cells])
    for arm, of in results.items():
        cells = [_cell(folder, arm, of, stage1, f"{figure}/{test}") for figure in figures]
        rows.append([titles[arm], " ".join(str(seed) for seed in of), *cells])
    return report.markdown_table(rows)


def _gains(folder: Path, results: Results, titles: Mapping[str, str]) -> str:
    """What stage 1 and stage 3 gain on the untrained network and on each other, and every other arm on stage 3."""
    compared = [("untrained", "stage1"), ("untrained", "full"), ("stage1", "full")]
    compared += [("full", arm) for arm in results if arm not in ("untrained", "stage1", "full")]
    figures = _measured(results, *TESTS)
    rows: list[list[object]] = [["gain", "over", "on", *figures.values()]]
    for first, second in compared:
        for test in _tests(results):
            cells = []
            for key in (f"{figure}/{test}" for figure in figures):
                of = [
                    {seed for seed, one in results.get(arm, {}).items() if key in one["figures"]}
                    for arm in (first, second)
                ]
                both = sorted(set.intersection(*of))
                cells.append(_shown(*gain(folder, first, second, both, key)) if both else "")
            if any(cells):
                rows.append([titles[second], titles[first], _called(results, test), *cells])
    return report.markdown_table(rows) if len(rows) > 1 else ""


def _seeds(results: Results, titles: Mapping[str, str]) -> str:
    """Some figures of every arm, seed by seed, and how many times chance its pairs join one category."""
    keys = _keys(results)
    rows: list[list[object]] = [
        ["seed by seed", "seeds", *(_named(results, key) for key in keys), "pairs, times chance"]
    ]
    for arm, of in results.items():
        measured = ([one["figures"][key]["value"] for one in of.values() if key in one["figures"]] for key in keys)
        pure = [one["purity"] / one["purity_chance"] for one in of.values() if "purity" in one]
        cells = [" / ".join(f"{100 * value:.1f}" for value in values) for values in measured]
        rows.append([titles[arm], " ".join(map(str, of)), *cells, " / ".join(f"{value:.1f}" for value in pure)])
    return report.markdown_table(rows)


def _keys(results: Results) -> list[str]:
    """The figures that are shown seed by seed."""
    known = {key for of in results.values() for one in of.values() for key in one["figures"]}
    if "new" in _tests(results):
        return [key for key in BY_SEED if key in known]
    return [key for key in (f"{figure}/known" for figure in FIGURES) if key in known]


def _named(results: Results, key: str) -> str:
    figure, test = key.split("/")
    return f"{FIGURES[figure]}, {test}" if "new" in _tests(results) else FIGURES[figure]


def _trainings(results: Results, titles: Mapping[str, str]) -> str:
    """What every arm has more than stage 3, with the interval over seeds and trainings."""
    tables = {key: found for key in _keys(results) if (found := over_trainings(results, key))}
    if not tables:
        return ""
    rows: list[list[object]] = [["more than stage 3", *(_named(results, key) for key in tables)]]
    for arm in (arm for arm in results if any(arm in of for of in tables.values())):
        given = (of.get(arm) for of in tables.values())
        rows.append([titles[arm], *(_shown(one[0], one[0] - one[1], one[0] + one[1]) if one else "" for one in given)])
    spreads = (scatter(np.array(list(_complete(results, key).values())))[0] for key in tables)
    rows.append(["*standard deviation of one arm with one seed*", *(f"{100 * value:.1f}" for value in spreads)])
    return (
        "In points, what an arm has more than stage 3 (the mean of its trainings), on the mean of the seeds that most"
        " arms have (arms that lack one of these are left out), with the 95 % interval over seeds *and trainings*: how"
        " far arms scatter from seed to seed beyond what a seed does to all of them tells what another training would"
        " change. It is taken to be the same for all arms.\n\n"
    ) + report.markdown_table(rows)


def over_trainings(results: Results, key: str, base: tuple[str, ...] = STAGE3) -> dict[str, tuple[float, float]]:
    """By arm, what it has more than the mean of some, and half of the 95 % interval over seeds and trainings.

    Arms that lack one of the seeds that most arms have, and the untrained network, which has no training, are left
    out; empty where there are fewer than three arms or two seeds.
    """
    whole = _complete(results, key)
    compared = [arm for arm in base if arm in whole]
    values = np.array(list(whole.values()))  # (arms, seeds)
    if len(whole) < 3 or values.shape[1] < 2 or not compared:
        return {}
    spread, freedom = scatter(values)
    # Several trainings of `base` share their seeds' pairs: they are not taken to be closer to the truth than one.
    half = stats.t.ppf(0.975, freedom) * spread * np.sqrt(2 / values.shape[1])
    mean = np.mean([whole[arm] for arm in compared])
    return {arm: (float(np.mean(of) - mean), float(half)) for arm, of in whole.items() if arm not in compared}


def _others(results: Results, titles: Mapping[str, str]) -> str:
    """The same for arms other than stage 3, and for single trainings of it."""
    keys = _keys(results)
    rows: list[list[object]] = [["more than another", "than", *(_named(results, key) for key in keys)]]
    for arms, base in COMPARED:
        if {*arms, *base} <= results.keys():
            found = (over_trainings(results, key, base) for key in keys)
            of = [[one[arm] for arm in arms if arm in one] for one in found]
            means = ((float(np.mean([mean for mean, _ in one])), one[0][1]) if one else None for one in of)
            cells = (_shown(one[0], one[0] - one[1], one[0] + one[1]) if one else "" for one in means)
            rows.append([*(", ".join(titles[arm] for arm in some) for some in (arms, base)), *cells])
    return report.markdown_table(rows) if len(rows) > 1 else ""


def scatter(values: NDArray[np.floating]) -> tuple[float, int]:
    """Standard deviation of what is peculiar to one arm with one seed, and degrees of freedom, from (arms, seeds).

    A two-way layout with one training in each cell: what is left of a figure when the means of its arm and of its seed
    are taken off. It is the training's, and what this arm makes of these images and pairs; the same for all arms.
    """
    left = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    freedom = (values.shape[0] - 1) * (values.shape[1] - 1)
    return float(np.sqrt((left**2).sum() / freedom)), freedom


def _complete(results: Results, key: str) -> dict[str, list[float]]:
    """A figure of all trained arms that have the seeds that most of them have, in the order of these."""
    trained = {
        arm: {seed: one["figures"][key]["value"] for seed, one in of.items() if key in one["figures"]}
        for arm, of in results.items()
        if arm != "untrained"
    }
    having = Counter(seed for of in trained.values() for seed in of)
    seeds = sorted(seed for seed, count in having.items() if 2 * count > max(having.values()))
    return {arm: [of[seed] for seed in seeds] for arm, of in trained.items() if set(seeds) <= of.keys()}


def _pairs(results: Results, titles: Mapping[str, str]) -> str:
    """How many pairs the arms had, and how often these join one category."""
    heads = ("of two objects", "of these, of one category", "chance", "times chance")
    parts = ("of those of one category, of one thing", "of those of one category, of whole objects")
    rows: list[list[object]] = [["pairs", "pairs", *heads, *parts]]
    for arm, of in results.items():
        if not all("purity" in one for one in of.values()):
            continue
        names = ("pairs", "object_pairs", "purity", "purity_chance")
        mean = {name: np.mean([one[name] for one in of.values()]) for name in names}
        shares = (f"{100 * mean[name]:.1f} %" for name in names[1:])
        of_one = {
            name: [one[name] / one["purity"] for one in of.values() if name in one]
            for name in ("same_thing", "whole_objects")
        }
        times = f"{mean['purity'] / mean['purity_chance']:.1f}"
        shown = (f"{100 * np.mean(each):.1f} %" if each else "" for each in of_one.values())
        rows.append([titles[arm], f"{mean['pairs']:,.0f}", *shares, times, *shown])
    return report.markdown_table(rows) if len(rows) > 1 else ""


def _remarks(results: Results, titles: Mapping[str, str]) -> list[str]:
    """What a reader has to know of all of it."""
    found = []
    if missing := [titles[arm] for arm in titles if arm not in results]:
        found.append(f"Not run: {'; '.join(missing)}.")
    for seed in sorted({seed for of in results.values() for seed in of}):
        built_on = {of[seed]["stage1"] for of in results.values() if "stage1" in of.get(seed, {})}
        if len(built_on) > 1:
            found.append(f"Arms of seed {seed} build on {len(built_on)} different stages 1: do not compare them.")
    hours = sum(one["core_seconds"] for of in results.values() for one in of.values()) / 3600
    return [*found, f"{hours:.1f} core hours at least: of what was stopped and continued, only the last part counts."]


def read(folder: Path, arms: Iterable[str]) -> dict[str, dict[int, dict[str, Any]]]:
    """What is there of some arms, by seed; without those of which there is nothing."""
    found = {}
    for arm in arms:
        files = sorted(folder.glob(f"seed*/{arm}.json"))
        if files:
            found[arm] = {one["seed"]: one for one in map(json.loads, (file.read_text() for file in files))}
    return found


def _measured(results: Results, *tests: str) -> dict[str, str]:
    """The figures that at least one result on these test images has: results from before one was added lack it."""
    known = {name for of in results.values() for one in of.values() for name in one["figures"]}
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
