"""`orl map`: the object map of a run."""

from __future__ import annotations

import argparse

from training.cli.arguments import Commands, add_run


def register(commands: Commands) -> None:
    """Add `orl map`, and `orl project`, as it was called before."""
    for name, function, summary in (
        ("map", _map, "make the object map: all kept boxes, laid out by UMAP"),
        ("project", _project, "the former name of `orl map`"),
    ):
        added = commands.add(name, function, summary)
        add_run(added, "the run folder; its stage 2 must be finished")
        added.add_argument(
            "--neighbors",
            type=int,
            default=15,
            help="neighbors kept together: few show details, many the whole (default: 15)",
        )
        added.add_argument("--min-dist", type=float, default=0.1, help="least distance of points, 0..1 (default: 0.1)")
        added.add_argument("--metric", default="cosine", help="cosine (default), euclidean or correlation")
        added.add_argument("--clusters", type=int, default=12, help="groups that k-means finds (default: 12)")
        added.add_argument("--seed", type=int, default=0, help="same seed, same map (default: 0)")
        added.add_argument(
            "--limit", type=int, default=100_000, help="draw a sample where there are more boxes (default: 100000)"
        )
        added.add_argument("--overwrite", action="store_true", help="make it anew although it is up to date")


def _map(arguments: argparse.Namespace) -> None:
    """Lay all kept boxes out on the object map (UMAP of their embeddings), which the dashboard shows.

    Near points look alike to the encoder; distances between groups and their sizes mean little. The map is stored as
    RUN/object_map.parquet, with a cluster for every box. A map that is up to date is left as it is.
    """
    from orl_explore.maps import object_map
    from orl_explore.runs.run import Run
    from training.console import console, progress_bar

    run = Run.open(arguments.run)
    names = ("neighbors", "min_dist", "metric", "clusters", "seed", "limit")
    settings = object_map.MapSettings(**{name: getattr(arguments, name) for name in names})
    if not arguments.overwrite and object_map.is_current(run, settings):
        console.print(f"the map of {run.path} is up to date: skipped", markup=False)
        return
    with progress_bar("map") as progress:
        made = object_map.make_object_map(run, settings, progress=progress)
    console.print(
        f"{len(made.table):,} of {made.regions:,} regions are on the map: {run.file('object_map')}", markup=False
    )


def _project(arguments: argparse.Namespace) -> None:
    """Do what `orl map` does, under its former name, which goes with the next release."""
    from training.console import console

    console.print(f"`orl project` is now called `orl map`: type `orl map {arguments.run}`", markup=False)
    _map(arguments)
