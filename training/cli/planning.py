"""`orl plan` and `orl config`: what a run will take and which settings it has, before it is begun."""

from __future__ import annotations

import argparse

from training.cli.arguments import Commands, add_config, add_images, add_json, add_run
from training.cli.judging import PROTOCOL_NAMES


def register(commands: Commands) -> None:
    """Add `orl plan` and `orl config`."""
    plan = commands.add("plan", _plan, "estimate time, memory and disk of a run beforehand", takes_settings=True)
    add_run(plan, "the run folder; it need not exist, and nothing is written")
    add_config(plan, default="the run's own, or the paper's")
    add_images(plan)
    add_json(plan, "the plan")

    config = commands.add("config", _config, "list the configs, or show one with every value", takes_settings=True)
    config.add_argument("name", nargs="?", help="a config by name, a YAML file, or a transfer protocol")


def _plan(arguments: argparse.Namespace) -> None:
    """Do a little of every stage on a few images, a minute or two in all, and extrapolate to the whole run.

    Below the table, the plan says what was measured and how it was extrapolated. A machine that is busy with other
    things gives figures that are too high.
    """
    import shlex

    from training.console import console, progress_bar
    from training.plan import plan, show

    with progress_bar("measuring") as progress:
        made = plan(
            arguments.run,
            config=arguments.config,
            overrides=arguments.overrides,
            images=arguments.images,
            root=arguments.root,
            label_field=arguments.field,
            progress=progress,
            begin=lambda what: console.print(f"measuring: {what}", markup=False),
        )
    if arguments.json:
        import json

        print(json.dumps(made.as_dict()))
    else:
        show(made)
    for warning in made.warnings:
        console.print(f"careful: {warning}", markup=False)
    words = ["orl", "run", str(arguments.run), *(["--config", arguments.config] if arguments.config else [])]
    words += ["--images", *map(str, arguments.images)] if arguments.images else []
    words += ["--root", str(arguments.root)] if arguments.root else []
    words += ["--field", arguments.field] if arguments.field else []
    console.print(f"next: {shlex.join([*words, *arguments.overrides])}", markup=False)


def _config(arguments: argparse.Namespace) -> None:
    """List the configs that come with the project and explain every setting, or print one config as YAML.

    With the name of a protocol of `orl evaluate --protocol`, or `supervised`, its settings are explained.
    """
    from training.config import CONFIGS, config_names, config_parser, load_config, to_yaml

    if arguments.name in (*PROTOCOL_NAMES, "supervised"):
        from training.transfer.runner import print_settings

        print_settings(arguments.name)
        return
    if arguments.name or arguments.overrides:
        print(to_yaml(load_config(arguments.name, arguments.overrides)), end="")
        return
    for name in config_names():
        lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        what = next((line for line in lines if line.startswith("# What:")), "# What:")
        print(f"{name:12} {what.removeprefix('# What:').strip()}")
    print("\nSettings, with the paper's values as defaults:\n")
    config_parser(prog="orl run RUN", usage=argparse.SUPPRESS, add_help=False).print_help()
