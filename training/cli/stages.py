"""`orl run`, `orl stage1`, `orl stage2` and `orl stage3`: making a run."""

from __future__ import annotations

import argparse

from training.cli.arguments import Commands, add_config, add_images, add_json, add_run, own_settings
from training.cli.judging import show_figures


def register(commands: Commands) -> None:
    """Add the commands that make a run, as a whole or stage by stage."""
    run = commands.add("run", _run, "run all three stages and judge them", takes_settings=True)
    add_run(run)
    add_config(run)
    add_images(run)
    run.add_argument("--overwrite", action="store_true", help="make all stages anew; the old ones stand until then")
    add_json(run, "every figure")
    for name, summary in (
        ("stage1", "train the image-level encoder (BYOL)"),
        ("stage2", "find which regions of which images correspond"),
        ("stage3", "train on images, boxes and corresponding boxes"),
    ):
        stage = commands.add(name, _stage, summary, takes_settings=True)
        add_run(stage)
        add_config(stage)
        if name != "stage3":
            add_images(stage)
        stage.add_argument(
            "--overwrite",
            action="store_true",
            help="make the stage anew; the old one stands until then, and what was said about its pairs comes along",
        )
    _add_stage2_options(commands.parsers["stage2"])
    commands.parsers["stage3"].add_argument(
        "--reviews", choices=("use",), help="train on the pairs as reviewed in the dashboard (stage3.reviews)"
    )


def _add_stage2_options(stage2: argparse.ArgumentParser) -> None:
    stage2.add_argument(
        "--encoder",
        metavar="WHICH",
        help="mine with another encoder than stage 1's: embedded, timm:NAME, another run's as RUN:stage1, a file of"
        " weights, or another name that `orl encoders` lists (stage2.encoder)",
    )
    stage2.add_argument(
        "--proposals",
        choices=("fast", "opencv"),
        help="what searches for boxes: fast (default; compiled at its first use on a machine, which takes ten seconds)"
        " or opencv, the reference, several times slower (stage2.proposals)",
    )
    stage2.add_argument(
        "--max-side",
        type=int,
        metavar="PIXELS",
        help="search images scaled down to this longer side: faster, but objects are missed (stage2.max_side)",
    )


def _run(arguments: argparse.Namespace) -> None:
    """Run all three stages on a set of images, judge each and map the objects; finished stages are skipped.

    A new run needs --images. The config is stored with the run and used again when none is named.
    """
    from training import pipeline

    run, config = pipeline.prepare(
        arguments.run,
        config=arguments.config,
        overrides=arguments.overrides,
        images=arguments.images,
        root=arguments.root,
        label_field=arguments.field,
    )
    summary = pipeline.run_all(run, config, overwrite=arguments.overwrite)
    show_figures(summary, as_json=arguments.json)


def _stage(arguments: argparse.Namespace) -> None:
    """Run one stage, or continue it where it was stopped.

    A new run needs --images, with stage1 or, with an encoder from elsewhere, stage2.
    """
    from training import pipeline

    run, config = pipeline.prepare(
        arguments.run,
        config=arguments.config,
        overrides=[*arguments.overrides, *_stage_options(arguments)],
        images=getattr(arguments, "images", None),
        root=getattr(arguments, "root", None),
        label_field=getattr(arguments, "field", None),
    )
    pipeline.run_stage(arguments.command, run, config, overwrite=arguments.overwrite)


def _stage_options(arguments: argparse.Namespace) -> list[str]:
    """A stage's own options as the settings that they stand for."""
    own = {"stage2": ("encoder", "proposals", "max_side"), "stage3": ("reviews",)}.get(arguments.command, ())
    return own_settings(arguments, arguments.command, *own)
