"""`orl map`: the object map of a run."""

from __future__ import annotations

import argparse

from orl_explore.errors import typed
from training.cli.arguments import Commands, add_run


def register(commands: Commands) -> None:
    """Add `orl embed-regions`, `orl map`, and `orl project`, as the latter was called before."""
    embed = commands.add("embed-regions", _embed_regions, "embed the kept boxes by any encoders", takes_settings=True)
    add_run(embed, "the run folder; its stage 2 must be finished")
    embed.add_argument(
        "--encoder",
        nargs="+",
        default=[],
        metavar="WHICH",
        help="which encoders, as `orl encoders RUN` lists them (default: untrained and those of the stages)",
    )
    embed.add_argument(
        "--limit",
        type=int,
        help="of more boxes, embed a random sample of this size (default: as the run's other encoders, else 100000)",
    )
    embed.add_argument("--sample-seed", type=int, default=0, help="decides the sample (default: 0)")
    embed.add_argument("--overwrite", action="store_true", help="embed anew although it is done")
    for name, function, summary in (
        ("map", _map, "make the object map: all kept boxes, laid out by UMAP"),
        ("project", _project, "the former name of `orl map`"),
    ):
        added = commands.add(name, function, summary)
        add_run(added, "the run folder; its stage 2 must be finished")
        added.add_argument(
            "--encoder",
            nargs="+",
            default=[],
            metavar="WHICH",
            help="maps of these encoders, aligned to each other, of boxes that `orl embed-regions` has embedded"
            " (default: one map of what stage 2 mined with)",
        )
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


def _embed_regions(arguments: argparse.Namespace) -> None:
    """Embed the kept boxes of a run by any encoders, so that their maps and features can be compared.

    Each goes to RUN/objects/ENCODER/, with what it was made from. Images are decoded once for all encoders that are
    named. What is there is skipped, and a stopped command goes on where it was. Of more than 100,000 boxes, a random
    sample is embedded, the same one by all encoders.
    """
    from orl_explore.runs.region_embeddings import folder_of, read_region_embeddings
    from training import pipeline
    from training.console import console
    from training.embed_regions import embed_regions_by

    run, config = pipeline.prepare(arguments.run, overrides=arguments.overrides)
    names = embed_regions_by(
        run,
        config,
        arguments.encoder,
        limit=arguments.limit,
        seed=arguments.sample_seed,
        overwrite=arguments.overwrite,
    )
    for name in names:
        found = read_region_embeddings(run, name)
        count, of = len(found.region_ids), found.facts["sample"]["of"]
        console.print(f"{count:,} of {of:,} regions by {name}: {folder_of(run, name)}", markup=False)


def _map(arguments: argparse.Namespace) -> None:
    """Lay all kept boxes out on the object map (UMAP of their embeddings), which the dashboard shows.

    Near points look alike to the encoder; distances between groups and their sizes mean little. The map is stored as
    RUN/object_map.parquet, with a cluster for every box; with --encoder, as RUN/objects/ENCODER/object_map.parquet for
    each. A map that is up to date is left as it is.
    """
    from contextlib import contextmanager

    from orl_explore.interchange.encoders import find_encoder
    from orl_explore.maps import object_map
    from orl_explore.numbers import percent_text
    from orl_explore.runs.region_embeddings import canonical, embedded_encoders
    from orl_explore.runs.run import Run
    from training.console import console, progress_bar

    run = Run.open(arguments.run)
    for name in arguments.encoder:
        if canonical(name) not in embedded_encoders(run):
            find_encoder(name, run)  # nobody is told to embed by what is no encoder
    names = ("neighbors", "min_dist", "metric", "clusters", "seed", "limit")
    settings = object_map.MapSettings(**{name: getattr(arguments, name) for name in names})
    made_now = []

    @contextmanager
    def watch(encoder):
        made_now.append(encoder)
        with progress_bar("map" if encoder == object_map.MINED else f"map of {encoder}") as progress:
            yield progress

    encoders = arguments.encoder or [object_map.MINED]
    made = object_map.make_object_maps(run, encoders, settings, overwrite=arguments.overwrite, watch=watch)
    for encoder, found in made.items():
        file = object_map.map_file(run, encoder)
        if encoder not in made_now:
            of = run.path if encoder == object_map.MINED else f"{encoder} of {run.path}"
            console.print(f"the map of {of} is up to date: skipped", markup=False)
            continue
        share = percent_text(found.table["kept"].mean())
        kept = f", which keeps {share} of their nearest neighbors" if len(found.table) else ""
        console.print(f"{len(found.table):,} of {found.regions:,} regions are on the map{kept}: {file}", markup=False)


def _project(arguments: argparse.Namespace) -> None:
    """Do what `orl map` does, under its former name, which goes with the next release."""
    from training.console import console

    console.print(f"`orl project` is now called `orl map`: type `{typed('map', arguments.run)}`", markup=False)
    _map(arguments)
