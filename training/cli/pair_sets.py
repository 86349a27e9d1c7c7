"""`orl pairs` and `orl select`: all accepted pairs of a run, and named selections of boxes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from orl_explore.errors import OrlError, typed
from orl_explore.numbers import percent_text
from training.cli.arguments import Commands, add_json, add_run

if TYPE_CHECKING:
    from orl_explore.runs.pair_query import AllPairs
    from orl_explore.runs.run import Run

QUERIES = """\
A QUERY is what the dashboard's page All pairs has in its address: words joined by &, in quotes, such as
  "sort=doubt&relation=different"           sort: doubt, similarity, margin, rank (with - in front: the other way),
                                            hub, random (with seed=3), table
  "relation=same"                           same, different, mixed (one unlabeled) or unlabeled (both)
  "query_category=cup&key_category=bowl"    a cell of the confusion matrix
  "similarity=0.5..0.7&size=0..0.1"         ranges; size is the share of its image that the smaller box covers
  "doubt=hub"                               near the cut, weak, hub, not mutual, labels differ, near-duplicates
  "image=5", "box=7", "key=7"               pairs of an image, of a box, of a box as key
  "verdict=rejected", "tag=blurred"         accepted, rejected, reviewed, unreviewed, disputed; #blurred in a note
  "selection=NAME"                          pairs that touch a selection
"""

HOW = ("union", "intersection", "difference")


def register(commands: Commands) -> None:
    """Add both commands."""
    pairs = commands.add("pairs", _pairs, "ask all accepted pairs of a run", epilog=QUERIES)
    add_run(pairs, "the run folder; its stage 2 must be finished")
    pairs.add_argument("query", nargs="?", default="", metavar="QUERY", help="which pairs (default: the doubtful ones)")
    pairs.add_argument("--count", type=int, default=10, help="pairs listed (default: 10)")
    pairs.add_argument("--overwrite", action="store_true", help="work out anew what is asked of pairs")
    add_json(pairs, "figures and pairs")

    select = commands.add("select", _select, "keep, combine, export and use named selections of boxes", epilog=QUERIES)
    add_run(select)
    select.add_argument("name", nargs="?", metavar="NAME", help="a selection; without one, all are listed")
    select.add_argument("--pairs", metavar="QUERY", help="keep the boxes of these pairs under the name")
    select.add_argument(
        "--regions",
        nargs="+",
        metavar="ID",
        help="keep these regions under the name; or those that a file has: one of numbers, or a table (.csv, .parquet)"
        " with a column region_id, as the dashboard's object map gives",
    )
    select.add_argument("--side", choices=("both", "query", "key"), default="both", help="which boxes of the pairs")
    for how in HOW:
        select.add_argument(f"--{how}", nargs="+", metavar="OTHER", help=f"keep the {how} of others under the name")
    select.add_argument("--export", type=Path, metavar="OUT", help="write it: .parquet, .csv, .json, or a folder")
    for word in ("accept", "reject"):
        select.add_argument(f"--{word}", action="store_true", help=f"{word} every pair that touches it")
    select.add_argument("--reviewer", default="", help="whose verdicts these are")
    select.add_argument("--delete", action="store_true", help="forget it")


def _pairs(arguments: argparse.Namespace) -> None:
    """List accepted pairs of the whole run, and say what the set is like: the worst ones, unless a query says else.

    At first it works out what is asked of pairs, once (stage 2 does so when it ends): RUN/stage2/pair_facts.parquet.
    """
    from orl_explore.runs.pair_query import PairQuery

    query = PairQuery.parse(arguments.query)
    pairs = prepared(arguments.run, overwrite=arguments.overwrite)
    figures, whole = pairs.figures(query), pairs.figures(PairQuery())
    page = pairs.page(query, count=arguments.count)
    shown = ["image_id", "neighbor_id", "query_region", "key_region", "similarity", "margin", "neighbor_rank"]
    shown += ["query_name", "key_name", "verdict"]
    if arguments.json:
        import dataclasses
        import json

        listed = json.loads(page[["pair", *shown]].to_json(orient="records"))
        print(json.dumps({**dataclasses.asdict(figures), "of": whole.pairs, "shown": listed}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{figures.pairs:,} of {whole.pairs:,} pairs")
    for name in shown:  # a part of an id is another id
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in page[shown].itertuples(index=False):
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row))
    Console().print(table)
    for name, value in (("of one category", figures.purity), ("in the whole run", whole.purity)):
        if value == value:
            Console().print(f"{percent_text(value)} of the pairs of two objects {name}", highlight=False)


def prepared(path: Path, *, overwrite: bool = False) -> AllPairs:
    """All pairs of a run; what is asked of them is worked out first where that has not been done."""
    from orl_explore.judging.pair_facts import make_pair_facts
    from orl_explore.runs.pair_query import AllPairs, facts_are_current
    from orl_explore.runs.run import Run
    from training.console import progress_bar

    run = Run.open(path)
    run.require("pairs")
    if overwrite or not facts_are_current(run):
        with progress_bar("facts of the pairs") as progress:
            make_pair_facts(run, progress=progress)
    return AllPairs(run)


def _select(arguments: argparse.Namespace) -> None:
    """Keep boxes under a name in RUN/selections.parquet; list, combine, export and use such selections.

    Stage 3 leaves a selection's boxes out with `--stage3.without NAME`.
    """
    from orl_explore.runs import selections
    from orl_explore.runs.run import Run
    from training.console import console

    run, name = Run.open(arguments.run), arguments.name
    combined = [how for how in HOW if getattr(arguments, how)]
    if name is None:
        for row in selections.read_selections(run).itertuples():
            print(f"{row.name}: {row.boxes:,} boxes, {row.origin}")
        return
    if len(combined) + (arguments.pairs is not None) + (arguments.regions is not None) > 1:
        raise OrlError(
            "a selection comes from one thing: type one of --pairs, --regions, --union, --intersection, --difference"
        )
    if combined:
        selections.combine(run, name, cast(Any, combined[0]), getattr(arguments, combined[0]))
    elif arguments.regions is not None:
        regions, origin = _regions(arguments.regions)
        selections.save_selection(run, name, regions, origin=origin, of=None)
    elif arguments.pairs is not None:
        from orl_explore.runs.pair_query import PairQuery

        query = PairQuery.parse(arguments.pairs)
        pairs = prepared(run.path)
        boxes, origin = pairs.regions(query, side=arguments.side), f"pairs {query.text() or 'all'}, {arguments.side}"
        selections.save_selection(run, name, boxes, origin=origin, of=pairs.made_from["regions"])
    console.print(f"{name}: {len(selections.selected(run, name)):,} boxes", markup=False, highlight=False)
    _use(run, name, arguments)


def _regions(words: list[str]) -> tuple[list[int], str]:
    """Regions as they were typed, or as a file has them, and where they are from."""
    import pandas as pd

    file = Path(words[0])
    if len(words) > 1 or words[0].isdecimal() or not file.is_file():
        texts, origin = [part for word in words for part in word.split(",")], "typed"
    elif file.suffix in (".csv", ".parquet"):
        table = pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
        if "region_id" not in table:
            raise OrlError(f"{file} has no column region_id, but {', '.join(map(str, table.columns[:8]))}")
        texts, origin = table["region_id"].astype(str).tolist(), file.name
    else:
        texts, origin = file.read_text(encoding="utf-8").replace(",", " ").split(), file.name
    if wrong := [text for text in texts if not text.isdecimal()]:
        raise OrlError(f"{wrong[0][:40]!r} is no region and no file: type numbers of regions, or one file with them")
    return [int(text) for text in texts], origin


def _use(run: Run, name: str, arguments: argparse.Namespace) -> None:
    from orl_explore.runs import selections
    from training.console import console, progress_bar

    if arguments.accept and arguments.reject:
        raise OrlError("pairs are accepted or rejected: type --accept or --reject")
    if arguments.accept or arguments.reject:
        from orl_explore.runs.pair_query import PairQuery
        from orl_explore.runs.reviews import ACCEPTED, REJECTED, Verdict, save_verdicts

        verdict: Verdict = ACCEPTED if arguments.accept else REJECTED
        known = prepared(run.path)
        pairs, of = known.pairs(PairQuery(selection=name)), known.made_from["pairs"]
        save_verdicts(run, [(pair, verdict) for pair in pairs], reviewer=arguments.reviewer, of=of)
        anew = ["--overwrite"] if run.finished("stage3") else []
        command = typed("stage3", run.path, "--reviews", "use", *anew)
        console.print(f"{len(pairs):,} pairs {verdict}; `{command}` heeds that", markup=False)
    if arguments.export:
        from orl_explore.interchange.selection_files import export_selection
        from orl_explore.judging.diagnostics import region_labels

        labels = region_labels(run.read("regions"), run.images())
        with progress_bar("export") as progress:
            count = export_selection(run, name, arguments.export, labels=labels, progress=progress)
        console.print(f"{arguments.export}: {count:,} boxes", markup=False)
    if arguments.delete:
        selections.remove_selection(run, name)
        console.print(f"{name} is forgotten", markup=False)
