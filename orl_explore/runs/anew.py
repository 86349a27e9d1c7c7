"""A stage that was made with other settings or of other inputs than are named now: what differs, and what to type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orl_explore.errors import typed
from orl_explore.nested import at_key, differing_keys
from orl_explore.settings import LATER


def refusal(
    folder: Path,
    name: str,
    record: Mapping[str, Any],
    *,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    stored: Mapping[str, Any] | None = None,
) -> str:
    """Why a stage cannot be gone on with, with the command that makes it anew, and its cost; empty where it can.

    Args:
        folder: of the run.
        name: of the stage.
        record: what run.json says of it.
        config: the stage's settings now.
        inputs: hashes of what it is to be made from.
        stored: the settings of the whole run that a command without any takes; None: as in the record.
    """
    plain = json.loads(json.dumps(config))  # tuples become lists, as in run.json
    changed = [key for key in sorted({*inputs, *record["inputs"]}) if inputs.get(key) != record["inputs"].get(key)]
    settings = differing_keys(record["config"], plain)
    changed += [f"setting {key}" for key in settings]
    if not changed:
        return ""
    words = _typed(name, settings, {**LATER, **plain}, stored or {})
    return (
        f"{name} of {folder} was made with other {', '.join(changed[:4])}{' ...' if len(changed) > 4 else ''}:"
        f" `{typed(name, folder, '--overwrite', *words)}` makes it anew{_cost(record, config)}"
    )


def _typed(name: str, settings: Sequence[str], now: dict[str, Any], stored: Mapping[str, Any]) -> Iterator[str]:
    """Words that set some settings, and those that are stored otherwise, to what they are now.

    A setting that there is no longer is left out.
    """
    own = {key: value for key, value in {**stored, **stored.get(name, {})}.items() if key in now}
    others = differing_keys(own, {key: now[key] for key in own})
    for key in dict.fromkeys([*settings, *others]):
        try:
            value = at_key(now, key)
        except KeyError:
            continue
        if isinstance(value, Mapping):
            yield from _typed(name, [f"{key}.{inner}" for inner in value], now, {})
            continue
        yield f"--{key if key in ('seed', 'precision') else f'{name}.{key}'}"
        yield value if isinstance(value, str) else json.dumps(value)


def _cost(record: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """What making a stage anew takes, by what it took, where that is more than a minute; and of epochs, why anew."""
    epochs, more = record["config"].get("epochs"), config.get("epochs")
    seconds = record.get("seconds", 0.0) * (more / epochs if epochs and more else 1)
    why = ""
    if epochs and more and more != epochs and record["state"] == "finished":
        why = f"; the learning rate has come to its end after {epochs} epochs, so that {more} are another training"
    return why + (f", in about {seconds / 3600:.1f} hours, as before" if seconds > 60 else "")
