"""Where the files are that a json or list names: which folder they start from, and which file each name means."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orl_explore.errors import OrlError
from orl_explore.images.file_names import NEAREST, FileNames, Spelling, list_files, not_found
from orl_explore.images.image_source import absolute

SAMPLE = 1000
"""Names by which a folder is judged where no name is found exactly."""

FOLDERS = ("images", "Images", "data", "JPEGImages", "img", "imgs")
"""What tools call the folder of the pictures."""

LEAVES = "leaves its folder: the annotation file names a path outside"


@dataclass
class Located:
    """The folder that names start from, and the file that each means."""

    root: Path
    names: list[str | None]
    """Relative to the folder, as on the disk; None where there is no such file."""
    reasons: list[str | None]
    """Why there is none."""
    spelling: Spelling = field(default_factory=Spelling)


def candidate_folders(path: Path, root: Path | None) -> list[Path]:
    """Folders that the names in an annotation file may start from, the likeliest first.

    Beside the json lie `images/`, as many tools have it, or, as COCO has it, `train2017/` next to
    `annotations/instances_train2017.json`; CVAT has `images/Train/` next to `annotations/instances_Train.json`.
    """
    split = path.stem.split("_")[-1]  # instances_train2017 -> train2017
    if root is not None:
        found = [root, root / split, *(root / name / split for name in FOLDERS), *(root / name for name in FOLDERS)]
    else:
        folder = path.parent
        found = [folder, folder / "images", folder / split, folder.parent / split]
        for base in (folder, folder.parent):
            found += [base / name / split for name in FOLDERS] + [base / name for name in FOLDERS]
    return list(dict.fromkeys(absolute(candidate) for candidate in found))


def locate(path: Path, names: Sequence[str], candidates: Sequence[Path], *, line: bool = False) -> Located:
    """Find the folder that has most of the files, and each of them in it.

    Args:
        path: the json or list, for messages.
        names: as they stand there.
        candidates: folders, the likeliest first.
        line: the names are lines of a list: one may be an absolute path anywhere, or have a label behind it.

    Raises:
        OrlError: not one file is found.
    """
    inside = [os.path.normpath(name) if name else name for name in names]
    may_be = [bool(name) and not os.path.isabs(name) and name.split("/", 1)[0] != ".." for name in inside]  # noqa: PTH117
    # Text instead of Path: with 100,000 names, that is one second against ten.
    best, found = candidates[0], [False] * len(names)
    for folder in candidates:
        if folder != candidates[0] and not folder.is_dir():
            continue
        here = [fits and _is_file(f"{folder}/{name}") for name, fits in zip(inside, may_be, strict=True)]
        if sum(here) > sum(found):
            best, found = folder, here
        if all(here) or (line and any(here)):
            break
    located = Located(best, list(inside), [None] * len(names))
    missing = [place for place, is_there in enumerate(found) if not is_there]
    if missing and line:
        missing = _settle_absolute(located, missing, best)
    if not missing:
        return located
    if len(missing) == len(names):
        located.root = _best_by_sample(path, names, candidates, line)
        missing = _settle_inside(located, missing, may_be)
    _look_closer(path.parent, located, missing, names, line)
    if names and len(missing) == len(names) and all(name is None for name in located.names) and not line:
        usual = [place for place in missing if may_be[place]]
        if usual:
            hint = (located.reasons[usual[0]] or "").removeprefix("no such file")  # the nearest name
            where = ", ".join(str(candidate) for candidate in candidates if candidate.is_dir())
            raise OrlError(
                f"no image of {path} (such as {names[usual[0]]}) is in {where}{hint}: pass their folder with --root"
                " (root=...)"
            )
    return located


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)  # noqa: PTH113
    except ValueError:  # a zero byte
        return False


def _settle_absolute(located: Located, missing: list[int], root: Path) -> list[int]:
    """Keep absolute paths and paths with `..` of a list that are there; give the others."""
    rest = []
    for place in missing:
        target = os.path.normpath(root / (located.names[place] or ""))
        if _is_file(target):
            inside = Path(target)
            located.names[place] = (inside.relative_to(root) if inside.is_relative_to(root) else inside).as_posix()
        else:
            rest.append(place)
    return rest


def _settle_inside(located: Located, missing: list[int], may_be: list[bool]) -> list[int]:
    """After the folder has changed: give the places of names that it does not have exactly."""
    return [p for p in missing if not (may_be[p] and _is_file(f"{located.root}/{located.names[p]}"))]


def _best_by_sample(path: Path, names: Sequence[str], candidates: Sequence[Path], line: bool) -> Path:
    """The folder in which most of some names are found in another form; the first one where none is."""
    some = list(dict.fromkeys(names[:: max(1, len(names) // SAMPLE)]))
    best, most = candidates[0], 0
    for folder in candidates:
        if folder.is_dir():
            matches = FileNames(list_files(folder)).find_all(some, line=line)
            count = sum(match.index is not None for match in matches)
            if count > most:
                best, most = folder, count
    return best


def _look_closer(base: Path, located: Located, missing: list[int], names: Sequence[str], line: bool) -> None:
    """Find names in their other forms, and say of the others why they are not found; `base` is the json's folder."""
    gone = set(missing)
    known = FileNames(list_files(located.root))
    taken = {name for place, name in enumerate(located.names) if place not in gone}
    matches = known.find_all([names[place] for place in missing], line=line, taken=taken)
    leaving: list[str] = []
    for number, (place, match) in enumerate(zip(missing, matches, strict=True)):
        inside = located.names[place] or ""
        if inside.startswith(f"{located.root}/") and _is_file(inside):
            located.names[place] = inside.removeprefix(f"{located.root}/")
            continue
        if match.index is not None:
            located.names[place] = known.names[match.index]
            located.spelling.add(match.way, names[place], known.names[match.index])
            continue
        outside = os.path.isabs(inside) or inside.split("/", 1)[0] == ".."  # noqa: PTH117
        located.names[place] = None
        if outside and not line and not match.rivals:
            located.reasons[place] = LEAVES
            leaving.append(os.path.normpath(base.absolute() / inside))
        else:
            nearest = known.nearest(names[place]) if number < NEAREST and not match.rivals else None
            located.reasons[place] = not_found(match, nearest)
    if leaving:
        reason = f"{LEAVES}; {_root_of(leaving, located)}"
        located.reasons = [reason if found == LEAVES else found for found in located.reasons]


def _root_of(files: list[str], located: Located) -> str:
    """What to pass as the folder of files that are named outside of it."""
    folders = {os.path.dirname(file) for file in files if _is_file(file)}  # noqa: PTH120
    if folders and any(located.names):
        folders.add(str(located.root))
    common = os.path.commonpath(folders) if folders else "/"
    if common == "/":
        return "pass the folder of the images with --root (root=...)"
    return f"pass --root {shlex.quote(common)} (root=...)"
