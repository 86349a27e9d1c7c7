"""The checkpoints of a training stage: which of the files in the folder are its own, whole, and newest.

Only these are gone on from, and only these are ever deleted; whatever else somebody put there stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from orl_explore.errors import OrlError

_NAME = re.compile(r"step=(0|[1-9]\d{0,14})\.ckpt")

PARTS: Final = ("state_dict", "global_step", "optimizer_states", "lr_schedulers", "loops")
"""What a checkpoint needs so that training can go on from it."""


@dataclass(frozen=True)
class Resume:
    """Where training goes on."""

    file: Path | None = None
    """The checkpoint; None: training begins."""
    step: int = 0
    """Optimizer steps behind it."""
    own: frozenset[Path] = frozenset()
    """All checkpoints of this training, which may be deleted once there is a newer one."""
    notes: list[str] = field(default_factory=list)
    """Sentences about files that were passed over."""


def named_checkpoints(folder: Path) -> dict[int, Path]:
    """Files with the name of a checkpoint, by the steps that their names say, ascending."""
    found = {int(match[1]): path for path in folder.glob("step=*.ckpt") if (match := _NAME.fullmatch(path.name))}
    return {step: found[step] for step in sorted(found) if found[step].is_file()}


def latest_checkpoint(folder: Path) -> tuple[Path | None, int]:
    """Newest checkpoint by name, and the number of optimizer steps that this says; (None, 0) without one."""
    found = named_checkpoints(folder)
    return (found[max(found)], max(found)) if found else (None, 0)


def read_checkpoint(path: Path, shapes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a checkpoint, on the CPU, without running code from it.

    Args:
        path: the file.
        shapes: shape of each tensor that its `state_dict` must hold; None: any.

    Raises:
        ValueError: says why it is none of this training, or damaged.
    """
    import torch

    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # pickle, zip and torch raise nearly everything
        empty = not path.stat().st_size
        raise ValueError("it is empty" if empty else f"it is cut or damaged ({_short(error)})") from None
    if not isinstance(content, dict) or any(part not in content for part in PARTS):
        raise ValueError("it is no checkpoint that training can go on from")
    step = re.fullmatch(_NAME, path.name)
    if step and content["global_step"] != int(step[1]):
        raise ValueError(f"it is of step {content['global_step']}")
    state = content["state_dict"]
    if shapes is not None and _shapes(state) != {name: tuple(shape) for name, shape in shapes.items()}:
        raise ValueError("it is of other networks")
    return content


def _shapes(state: Any) -> dict[str, tuple[int, ...] | None]:
    """The shape of each tensor of a state dict, None of what is no tensor; empty where it is no state dict."""
    items = state.items() if isinstance(state, Mapping) else ()
    return {name: tuple(value.shape) if hasattr(value, "shape") else None for name, value in items}


def find_resume(folder: Path, shapes: Mapping[str, Any] | None = None) -> Resume:
    """Find the newest whole checkpoint of a training.

    Args:
        folder: of the checkpoints; need not exist.
        shapes: as for `read_checkpoint`.

    Raises:
        OrlError: there are files with names of checkpoints, and none of them can be used.
    """
    good: dict[int, Path] = {}
    bad: dict[Path, str] = {}
    for step, path in named_checkpoints(folder).items():
        try:
            read_checkpoint(path, shapes)
        except ValueError as error:
            bad[path] = str(error)
        else:
            good[step] = path
    others = sorted(path for path in folder.glob("*.ckpt") if path not in bad and path not in good.values())
    if bad and not good:
        path, why = next(reversed(bad.items()))
        copies = f"; if {others[0].name} is a copy, it can take its place" if others else ""
        raise OrlError(
            f"{path} cannot be used: {why}. Put a whole one there{copies}; or move it away, and the same command begins"
            " the stage again"
        )
    notes = [f"{path.name} in {folder} is passed over: {why}" for path, why in bad.items()]
    if others:
        named = f"{others[0].name}{f' and {len(others) - 1} more' if len(others) > 1 else ''}"
        notes.append(f"{named} in {folder}: not a name of ours, left alone")
    if not good:
        return Resume(notes=notes)
    step = max(good)
    if bad:
        notes.append(f"going on from {good[step].name}, the last good one")
    return Resume(good[step], step, frozenset(good.values()), notes)


def set_aside(path: Path) -> Path | None:
    """Make room for a file of ours: what stands there gets another name, which is returned; None: nothing did.

    It is not deleted, as nobody knows what it is.
    """
    if not (path.exists() or path.is_symlink()):
        return None
    number, aside = 1, path.with_name(f"{path.name}.set-aside")
    while aside.exists() or aside.is_symlink():
        number += 1
        aside = path.with_name(f"{path.name}.set-aside-{number}")
    path.rename(aside)
    return aside


def _short(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:120]
