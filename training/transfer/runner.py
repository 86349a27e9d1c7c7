"""`orl evaluate RUN --protocol NAME`: judge encoders by protocols, one file for every result."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import hashlib
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

import orl_explore
import training
from orl_explore.errors import OrlError
from orl_explore.judging import intervals
from orl_explore.judging.results import TRANSFER, read_results, text_table
from orl_explore.pretrained import embedding_widths
from orl_explore.runs.files import write_json
from orl_explore.runs.provenance import git_sha, now, versions
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training.console import console
from training.import_kinds import has_fields
from training.machine import is_main_process
from training.transfer import encoders as of
from training.transfer import supervised
from training.transfer.protocols import PROTOCOLS, Protocol
from training.transfer.setup import Data, Setup, fingerprint


def evaluate(
    run: Run,
    config: Config,
    names: Sequence[str],
    *,
    encoders: Sequence[str] = (),
    data: Sequence[Path] = (),
    label_field: str | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Judge encoders by protocols; what was judged before, with the same settings, data and weights, is read instead.

    Args:
        run: the run.
        config: its settings, for the seed, the machine and the size that its encoders were trained with.
        names: of protocols, such as ["voc07", "knn"].
        encoders: `supervised`, or names as orl_explore/interchange/encoders.py knows them; default: untrained, and
            every stage there is.
        data: what the protocols read; default: the images of the run, where a protocol can.
        label_field: of FiftyOne samples among the data, the field that holds the annotations.
        settings: an instance of a protocol's settings by its name; defaults for those not named.
        overwrite: judge anew.

    Returns:
        Every result, as its file in evaluation/transfer/ has it (docs/formats.md).

    Raises:
        OrlError: an unknown protocol or encoder, data that are missing or malformed.
    """
    for name in names:
        protocol_named(name)
    if label_field is not None and not any(map(has_fields, data)):
        raise OrlError(f"--field {label_field} is about the samples.json of a FiftyOne data set: leave it out")
    wanted = list(encoders) or of.available(run)
    of.check_names(wanted, run, config)
    given = settings or {}
    place = Setup(run, config, tuple(data), "", run.path / TRANSFER, label_field)
    work = []
    for name in names:  # all data are read first: what is wrong with them shows before hours of work
        protocol = PROTOCOLS[name]
        if protocol.distributed or is_main_process():  # the first process does the others alone
            chosen = given.get(name) or protocol.settings()
            own = _resolved(chosen, round(protocol.enlarged * config.stage1.image_size))
            read = protocol.read(dataclasses.replace(place, title=name), own)
            work.append((name, chosen, read))
    bound = None
    if "supervised" in wanted:  # here, where all processes come by
        bound = supervised.supervised_file(place, given.get("supervised") or supervised.SupervisedSettings())
    results = []
    for name, chosen, read in work:
        for encoder in wanted:
            judged = of.load(encoder, run, config, bound)
            size, before = getattr(chosen, "image_size", None), judged.encoder.inputs
            if size and before.size not in (None, size):  # asked for in place of the encoder's own
                judged.encoder.inputs = dataclasses.replace(before, size=size)
                embedding_widths(judged.encoder, judged.name, size, setting=f"--{name}.image_size")
            protocol = PROTOCOLS[name]
            trained = judged.encoder.inputs.side(config.stage1.image_size)
            own = _resolved(chosen, round(protocol.enlarged * trained))
            results.append(_judge(name, protocol, judged, read, own, place, overwrite=overwrite))
    return results


def _judge(
    name: str, protocol: Protocol, judged: of.JudgedEncoder, data: Data, settings: Any, setup: Setup, *, overwrite: bool
) -> dict[str, Any]:
    run, config = setup.run, setup.config
    values = _plain(dataclasses.asdict(settings))
    key = fingerprint([name, values, data.fingerprint, judged.hash, config.seed])[:10]
    stem = f"{name}-{judged.name}-{key}"
    file = run.path / TRANSFER / f"{stem}.json"
    if not overwrite and (before := read_results(run, file.name)):
        stale = "" if before[0].get("code") == code_hash() else ", judged by other code; --overwrite judges it anew"
        console.print(f"{name} of {judged.name} is there: skipped ({file}){stale}", markup=False)
        return before[0]
    start = time.monotonic()
    place = dataclasses.replace(setup, title=f"{name} {judged.name}", folder=run.path / TRANSFER / stem)
    found = protocol.judge(judged.encoder, data, settings, place)
    items = found.pop("items", {})
    figures = _plain(found)
    limits: dict[str, list[float]] = {}
    if is_main_process():  # before the result, which says that all is there
        limits = _plain(intervals.write_items(file.with_suffix(".npz"), items))
    result = {
        "protocol": name,
        "encoder": {
            "name": judged.name,
            "file": None if judged.file is None else str(judged.file),
            "hash": judged.hash,
            "backbone": judged.encoder.settings.backbone,
            "inputs": _plain(dataclasses.asdict(judged.encoder.inputs)),
        },
        "score": {
            "name": protocol.score,
            "title": protocol.title.format(**values),
            "value": figures[protocol.score],
            "interval": limits.get(protocol.score),
        },
        "figures": figures,
        "intervals": {
            "figures": limits,
            "level": intervals.LEVEL,
            "resamples": intervals.RESAMPLES,
            "images": {name: of.units for name, of in items.items()},
            "items": f"{stem}.npz",
        },
        "settings": values,
        "data": {"paths": [str(path) for path in setup.data], "fingerprint": data.fingerprint, **data.facts},
        "seed": config.seed,
        "seconds": round(time.monotonic() - start, 1),
        "date": now(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": versions(),
        "git": git_sha(),
        "code": code_hash(),
    }
    if is_main_process():
        write_json(file, result)
        shutil.rmtree(place.folder, ignore_errors=True)
    return result


@functools.cache
def code_hash() -> str:
    """blake2b over the source of this project, its figures and pages apart: 10 hexadecimal digits.

    Unlike the commit it tells what was changed since, too. Results of different code need not agree.
    """
    digest = hashlib.blake2b(digest_size=5)
    for package in (orl_explore, training):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            name = file.relative_to(root).as_posix()
            if not name.startswith(("ui/", "figures/")):
                digest.update(f"{root.name}/{name}".encode() + hashlib.blake2b(file.read_bytes()).digest())
    return digest.hexdigest()


def _resolved(settings: Any, size: int) -> Any:
    if getattr(settings, "image_size", 0) is None:
        return dataclasses.replace(settings, image_size=size)
    return settings


def _plain(value: Any) -> Any:
    """JSON values; floats rounded to six digits."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return float(f"{value:.6g}") if isinstance(value, float) else value


# ---- settings ------------------------------------------------------------------------------------------------------


def protocol_named(name: str) -> Protocol:
    """Look a protocol up.

    Raises:
        OrlError: there is none; names the nearest.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = difflib.get_close_matches(name, PROTOCOLS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(PROTOCOLS)}"
    raise OrlError(f"no protocol {name!r}: {hint}")


def settings_class(name: str) -> type:
    """The dataclass of a protocol's settings, or of those of the supervised encoder."""
    return supervised.SupervisedSettings if name == "supervised" else protocol_named(name).settings


def split_overrides(overrides: Sequence[str], names: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Take the protocols' settings out of what was typed.

    Args:
        overrides: such as ["--knn.k=[5]", "--seed=3"].
        names: the protocols that will be run; settings of the supervised encoder may always be given.

    Returns:
        What is left, and the settings of every protocol by its name.

    Raises:
        OrlError: an unknown key (with the nearest valid one), a bad value, or a setting of a protocol that is not run.
    """
    left: list[str] = []
    own: dict[str, list[str]] = {name: [] for name in (*names, "supervised")}
    for word in overrides:
        prefix, dot, rest = word.removeprefix("--").partition(".")
        if not dot or prefix not in (*PROTOCOLS, "supervised") or not word.startswith("--"):
            left.append(word)
        elif prefix not in own:
            raise OrlError(f"{word.partition('=')[0]} is a setting of {prefix}: add --protocol {prefix}")
        else:
            own[prefix].append(f"--{rest}")
    return left, {name: parse_settings(name, words) for name, words in own.items()}


def parse_settings(name: str, words: Sequence[str]) -> Any:
    """Settings of a protocol with what was typed, such as ["--k=[5]"], in place of its defaults.

    Raises:
        OrlError: an unknown key (with the nearest valid one), or a bad value.
    """
    import jsonargparse

    kind = settings_class(name)
    known = [field.name for field in dataclasses.fields(kind)]
    for word in words:
        key = word.removeprefix("--").partition("=")[0]
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {name}.{near[0]}?" if near else f"it has {', '.join(known)}"
            raise OrlError(f"unknown setting '{name}.{key}' on the command line: {hint}")
    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        return kind(**vars(parser.instantiate(parser.parse_args(list(words)))))
    except jsonargparse.ArgumentError as error:
        raise OrlError(f"{name}: {' '.join(str(error).split())}") from None


def print_settings(name: str) -> None:
    """Print every setting of a protocol, its default and what it means."""
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = jsonargparse.ArgumentParser(prog="orl", usage=argparse.SUPPRESS, add_help=False)
    parser.add_class_arguments(settings_class(name), name)
    parser.print_help()


# ---- on the console ------------------------------------------------------------------------------------------------


def results_table(results: Sequence[Mapping[str, Any]], run: Run) -> Table:
    """Scores and their intervals: a row a protocol, and in it a line an encoder, then difference and chance.

    Args:
        results: what `evaluate` gives.
        run: whose results they are.
    """
    table = Table(title="Transfer, percent", title_justify="left", show_lines=True)
    table.add_column("protocol, data", min_width=24)
    table.add_column("encoder")
    table.add_column("score", justify="right")
    table.add_column("95 % interval", justify="right")
    for row in text_table(results, run).to_dict("records"):
        title, data = row.pop(""), row.pop("data")
        del row["code"]  # what is skipped tells of other code
        lines = [(name, *cell.removesuffix("]").partition(" [")[::2]) for name, cell in row.items() if cell]
        table.add_row(f"{title}\n{data}", *["\n".join(column) for column in zip(*lines, strict=True)])
    return table
