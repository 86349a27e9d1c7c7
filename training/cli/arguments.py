"""What the commands have in common: how they are added to the parser, and the arguments that several of them take."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

from orl_explore.errors import OrlError

SETTINGS = """\
Settings: any value of the config can be changed on the command line, for example
  --stage1.epochs 20 --stage2.pair_ratio 0.2 --seed 3
`orl config` explains every setting, `orl config demo` prints the values of a config.
"""


class Commands:
    """The commands of `orl`, as the modules register them."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._added = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")

    @property
    def parsers(self) -> Mapping[str, argparse.ArgumentParser]:
        """The parser of every command, by its name."""
        return self._added.choices

    def add(
        self,
        name: str,
        function: Callable[[argparse.Namespace], None],
        summary: str,
        *,
        epilog: str = "",
        takes_settings: bool = False,
    ) -> argparse.ArgumentParser:
        """Add a command; its help is the docstring of its function.

        Args:
            name: what is typed after `orl`.
            function: does the work, given the parsed arguments.
            summary: its line in `orl --help`.
            epilog: what its own help says below the options.
            takes_settings: whether options that it does not know are settings; they arrive as `overrides`.
        """
        added = self._added.add_parser(
            name,
            help=summary,
            description=inspect.getdoc(function),
            epilog="\n".join(part for part in (epilog, SETTINGS if takes_settings else "") if part),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(function=function, takes_settings=takes_settings)
        return added


def add_run(parser: argparse.ArgumentParser, help: str = "the run folder") -> None:
    """Add the run folder, the first argument of most commands."""
    parser.add_argument("run", type=Path, metavar="RUN", help=help)


def add_config(parser: argparse.ArgumentParser, *, default: str = "the run's own, or the paper's") -> None:
    """Add --config; `default` says in words what holds without it."""
    parser.add_argument(
        "--config", help=f"a config by name (`orl config` lists them) or a YAML file; default: {default}"
    )


def add_images(parser: argparse.ArgumentParser, *, positional: bool = False) -> None:
    """Add where the images are, as the first argument or as --images, --root, and --field."""
    parser.add_argument(
        "images" if positional else "--images",
        nargs="+",
        action="extend",  # a second --images adds to the first
        type=Path,
        metavar="IMAGES" if positional else "PATH",
        help="a folder, a COCO json, a .txt list of files, or several of them",
    )
    parser.add_argument("--root", type=Path, help="where the files of a COCO json or a list are (default: beside it)")
    add_field(parser)


def add_field(parser: argparse.ArgumentParser) -> None:
    """Add --field, which chooses among the fields of a FiftyOne data set."""
    parser.add_argument("--field", metavar="NAME", help="of FiftyOne samples: whose boxes, where there are several")


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --json, for scripts."""
    parser.add_argument("--json", action="store_true", help=f"print {what} as one JSON object")


def own_settings(arguments: argparse.Namespace, stage: str, *names: str) -> list[str]:
    """A command's own options as the settings of a stage that they stand for, written as `--stage2.max_side=640`.

    Raises:
        OrlError: a setting was typed both ways.
    """
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    for name in given:
        if any(word.partition("=")[0] == f"--{stage}.{name}" for word in arguments.overrides):
            option = f"--{name.replace('_', '-')}"
            raise OrlError(f"{option} and --{stage}.{name} are the same setting: leave one of them out")
    return [f"--{stage}.{name}={value}" for name, value in given.items()]
