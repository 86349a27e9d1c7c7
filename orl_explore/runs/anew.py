"""A stage that was made with other settings or of other inputs than are named now: what differs, and what to type."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from orl_explore.errors import typed
from orl_explore.nested import differing_keys


def refusal(
    folder: Path, name: str, record: Mapping[str, Any], *, config: Mapping[str, Any], inputs: Mapping[str, str]
) -> str:
    """Why a stage cannot be gone on with, with the command that makes it anew, and its cost; empty where it can.

    Args:
        folder: of the run.
        name: of the stage.
        record: what run.json says of it.
        config: the stage's settings now.
        inputs: hashes of what it is to be made from.
    """
    changed = [key for key in sorted({*inputs, *record["inputs"]}) if inputs.get(key) != record["inputs"].get(key)]
    # Tuples become lists, as in run.json.
    changed += [f"setting {key}" for key in differing_keys(record["config"], json.loads(json.dumps(config)))]
    if not changed:
        return ""
    return (
        f"{name} of {folder} was made with other {', '.join(changed[:4])}{' ...' if len(changed) > 4 else ''}:"
        f" `{_command(folder, name, changed, config)}` makes it anew{_cost(record, config)}"
    )


def _command(folder: Path, name: str, changed: Sequence[str], config: Mapping[str, Any]) -> str:
    """What makes a stage anew, with the settings that were typed if these fit into a line.

    Args:
        folder: of the run.
        name: of the stage.
        changed: what differs from its record; of a setting, `setting KEY`.
        config: the stage's settings now.
    """
    words = []
    for key in (one.removeprefix("setting ") for one in changed if one.startswith("setting ")):
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None or isinstance(value, Mapping | list | tuple):
            return typed(name, folder, "--overwrite")
        words.append((f"--{key if key in ('seed', 'precision') else f'{name}.{key}'}", value))
    return typed(name, folder, "--overwrite", *(chain(*words) if len(words) <= 4 else ()))


def _cost(record: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """What making a stage anew takes, by what it took, where that is more than a minute; and of epochs, why anew."""
    epochs, more = record["config"].get("epochs"), config.get("epochs")
    seconds = record.get("seconds", 0.0) * (more / epochs if epochs and more else 1)
    why = ""
    if epochs and more and more != epochs and record["state"] == "finished":
        why = f"; the learning rate has come to its end after {epochs} epochs, so that {more} are another training"
    return why + (f", in about {seconds / 3600:.1f} hours, as before" if seconds > 60 else "")
