"""The `orl` command: its parser, put together from what the modules beside this one register, and its exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orl_explore import __version__
from orl_explore.errors import OrlError
from training.cli import (
    app,
    encoders,
    exchange,
    explore,
    images,
    judging,
    maps,
    pair_sets,
    planning,
    proposals,
    reporting,
    stages,
)
from training.cli.arguments import Commands
from training.crash_log import UNEXPECTED

DESCRIPTION = """\
Object-level representation learning (ORL) from scene images, without labels.

  orl explore ~/Pictures                       look at photographs of your own, without training
  orl scenes data/demo                         make 1,000 practice scenes with ground truth
  orl run runs/demo --config demo --images data/demo/annotations.json
                                               train stage 1, mine stage 2, train stage 3, judge each
  orl run runs/mine --config tiny --images ~/Pictures
                                               the same on photographs of your own
  orl app                                      look at the runs in the browser

Every command explains itself: `orl COMMAND --help`. A command that was stopped continues where it left off when it is
typed again; what is finished is skipped.
"""

GROUPS = (explore, images, stages, judging, proposals, planning, encoders, maps, pair_sets, reporting, exchange, app)
"""Where the commands are, in the order of `orl --help`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 done, 1 failed, 2 typed wrong, 70 a fault of this project, 130 interrupted (Ctrl+C), 143 ended
        by SIGTERM or, in training, SIGUSR1.
    """
    typed = sys.argv[1:] if argv is None else argv
    arguments = parse(typed)
    with _terminated():  # until the error is said, too: a lost process is followed by a SIGTERM within milliseconds
        try:
            arguments.function(arguments)
            sys.stdout.flush()
        except OrlError as error:
            return _say(str(error), getattr(error, "EXIT_CODE", 1))
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                print("\nstopped; the same command goes on from here", file=sys.stderr)
            return 130
        except BrokenPipeError:  # `orl ... | head`
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return 1
        except Exception as error:
            return _unforeseen(error, typed, getattr(arguments, "run", None))
    return 0


def _say(message: str, code: int) -> int:
    """Say why a command ends, and give its exit code."""
    from orl_explore.images.image_source import shown
    from training.console import console

    # What went wrong is said by whichever process it was; that all end, by the first.
    console.quiet &= code not in (1, UNEXPECTED)
    with contextlib.suppress(BrokenPipeError):
        console.print("[bold red]orl:[/] ", end="")
        console.print("\n".join(map(shown, message.split("\n"))), markup=False)
    return code


def _unforeseen(error: Exception, typed: Sequence[str], run: Path | None) -> int:
    """End with a sentence, whatever it was; the traceback goes into a file."""
    from training.crash_log import known_trouble, write_crash_log

    log = write_crash_log(error, typed, run)
    where = f"the whole story is in {log}" if log else "the whole story is above"
    if trouble := known_trouble(error):
        return _say(f"{trouble} ({where})", 1)
    what = " ".join(str(error).split())[:300]
    return _say(f"unexpected {type(error).__name__}{f': {what}' if what else ''}: a fault of orl; {where}", UNEXPECTED)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read a command line; `function` of the result does the work, `overrides` are the settings that were typed.

    Raises:
        SystemExit: it was typed wrong, which has been said, or asks for help.
    """
    parser, commands = _parser()
    words = _join_settings(argv, commands)
    arguments, overrides = parser.parse_known_args(words)
    overrides = [word for word in overrides if word != "--"]
    if overrides and not arguments.takes_settings:
        parser.error(
            f"{arguments.command} does not know {overrides[0].partition('=')[0]}: see `orl {arguments.command} --help`"
        )
    if "--" in words and (behind := Counter(overrides) - Counter(words[: words.index("--")])):
        parser.error(f"{next(iter(behind))!r} stands behind --, where nothing is a setting: type it before that")
    arguments.overrides = overrides
    return arguments


def manual() -> dict[str, str]:
    """What `--help` prints of each command, by its name."""
    _, commands = _parser()
    return {name: each.format_help() for name, each in commands.items()}


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """End in order on SIGTERM, as jobs get it before their machine is taken away; training does so by itself."""

    def end(number: int, frame: object) -> None:
        from training.console import console

        if os.getpid() == own:
            console.print("orl: stopped by SIGTERM; the same command goes on from here", markup=False)
        raise SystemExit(128 + number)

    own = os.getpid()  # workers inherit the handler, and have nothing to say
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _join_settings(argv: Sequence[str], commands: Mapping[str, argparse.ArgumentParser]) -> list[str]:
    """Write `--seed 3` as `--seed=3`: argparse knows no settings and could take the 3 for the run folder."""
    command = commands.get(argv[0]) if argv else None
    if command is None or not command.get_default("takes_settings"):
        return list(argv)
    settled = list(argv).index("--") if "--" in argv else len(argv)  # behind it, nothing is a setting
    joined: list[str] = []
    for word in argv[:settled]:
        before = joined[-1] if joined else ""
        is_setting = before.startswith("--") and "=" not in before and before not in command._option_string_actions
        if is_setting and not word.startswith("--"):
            joined[-1] = f"{before}={word}"
        else:
            joined.append(word)
    return [*joined, *argv[settled:]]


def _parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser, and that of each command."""
    parser = argparse.ArgumentParser(
        prog="orl", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"orl {__version__}")
    commands = Commands(parser)
    for group in GROUPS:
        group.register(commands)
    return parser, commands.parsers
