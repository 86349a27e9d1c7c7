"""Sources of images: a folder, a json or a list, each opened as what it is, and brought together without doubles."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from orl_explore.errors import OrlError
from orl_explore.images.annotation_files import ANNOTATION_SUFFIXES, annotation_files, map_notes
from orl_explore.images.coco import open_coco, read_json
from orl_explore.images.file_names import FileNames, existing_path, list_files
from orl_explore.images.image_source import ImageSource, SourceFile, absolute, decoded, path_id
from orl_explore.images.kinds import SUFFIXES, picture_kind, unread
from orl_explore.images.label_columns import conflict_note, merge_labels
from orl_explore.images.label_files import read_label_files
from orl_explore.images.locating import FOLDERS, Located, locate
from orl_explore.images.tool_exports import open_cvat, open_export

RUN_MANIFEST: Final = "run.json"


def open_source(path: Path, root: Path | None, label_field: str | None = None) -> ImageSource:
    """Read what a source names.

    Args:
        path: a folder, .json, .xml or .txt file.
        root: folder that the names in files start from; None looks beside the file.
        label_field: of FiftyOne samples, the field that holds the annotations; None: the only one, or ground_truth.

    Raises:
        OrlError: it is missing, unreadable, or nothing that names images.
    """
    if path.is_dir():
        return _open_folder(path, root, label_field)
    if not path.exists():
        return _open_other_form(path, root, label_field)
    suffix = path.suffix.lower()
    if suffix == ".json":
        content = read_json(path)
        return open_export(path, root, content, label_field) or open_coco(path, root, content)
    if suffix == ".xml":
        return open_cvat(path, root)
    if suffix == ".txt":
        return _open_list(path, root)
    if suffix in (".yaml", ".yml"):
        raise OrlError(f"{path} names classes, and no pictures: name the folder of these, such as {path.parent}")
    raise OrlError(
        f"{path} is neither a folder, nor a COCO .json, nor a .txt list of files (nor an export that is"
        " known): pass its folder"
    )


def _open_other_form(path: Path, root: Path | None, label_field: str | None) -> ImageSource:
    """Open what a path means that is not there as it stands."""
    found, nearest = existing_path(path)
    if found is None:
        hint = f" (the nearest name is {nearest})" if nearest else ""
        raise OrlError(f"there is no {path}{hint}: name a folder, a COCO json or a .txt list of files")
    source = open_source(found, root, label_field)
    source.notes.append(f"{path} is {found}")
    return source


def _open_folder(path: Path, root: Path | None, label_field: str | None) -> ImageSource:
    folder_path, path = path, absolute(path)
    files: list[SourceFile] = []
    annotations: list[str] = []
    notes: list[str] = []
    for at, names in _folders(path, files, notes):
        for name in names:
            if name.startswith("."):
                continue
            relative = f"{at}{name}"
            looked_at = name.lower().endswith(SUFFIXES)
            reason = None
            if name.lower().endswith(ANNOTATION_SUFFIXES):
                annotations.append(relative)
            elif not looked_at:
                reason = unread(name) or _why_not_read(path / relative)
            if looked_at or reason:
                files.append(SourceFile(relative, path_id(relative), reason=reason))
    source = ImageSource(folder_path, path, sorted(files, key=lambda file: file.name))
    settled = read_label_files(source)
    found = annotation_files(folder_path, [name for name in annotations if name not in settled])
    no_pictures = all(file.reason for file in files)
    if no_pictures and len(found.sources) == 1:  # as `annotations/`, beside the folder of the pictures
        named = open_source(folder_path / found.sources[0], root, label_field)
        named.notes.append(f"{folder_path} holds no pictures: {found.sources[0]} in it is read")
        named.files += files
        return named
    read = [file.name for file in source.files if file.reason is None]
    source.notes += [*notes, *found.notes(folder_path), *map_notes(folder_path, read)]
    return source


def _folders(path: Path, files: list[SourceFile], notes: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Every folder below one, as what its files' names begin with, and the names in it; each once.

    Folders are read by their own names before those that links give them, whichever comes first, as labels lie beside
    them under these. Runs are left out: their pictures are made of those that are there.
    """
    links, seen = [str(path)], set[str]()  # real paths: a link to a parent folder would otherwise never end
    again, runs = list[str](), list[str]()

    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename, path)
        files.append(SourceFile(name, path_id(name), reason=f"cannot be read: {error.strerror}"))

    for start in links:  # grows
        for folder, subfolders, names in os.walk(start, onerror=unreadable):
            at = "" if folder == str(path) else f"{os.path.relpath(folder, path)}/"
            if (real := os.path.realpath(folder)) in seen:
                again.append(at)
                subfolders.clear()
                continue
            if at and _is_run(folder, names):
                runs.append(at)
                subfolders.clear()
                continue
            seen.add(real)
            visible = sorted(name for name in subfolders if not name.startswith("."))
            linked = [name for name in visible if os.path.islink(f"{folder}/{name}")]  # noqa: PTH114
            links += [f"{folder}/{name}" for name in linked]
            subfolders[:] = [name for name in visible if name not in linked]
            yield at, names
    if again:
        links_lead = "link leads" if len(again) == 1 else "links lead"
        notes.append(f"{len(again):,} {links_lead} to what has another name, such as {again[0]}: not read twice")
    if runs:
        runs_are = "run is" if len(runs) == 1 else "runs are"
        notes.append(f"{len(runs):,} {runs_are} no pictures: left out, such as {runs[0]}")


def _is_run(folder: str, names: Sequence[str]) -> bool:
    """Whether a folder is one that `orl` has made."""
    if RUN_MANIFEST not in names:
        return False
    try:
        content = json.loads(Path(folder, RUN_MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"format", "stages"} <= content.keys()


def _why_not_read(path: Path) -> str | None:
    """Why something without a picture's suffix is not read, where it may be one; None where it is something else."""
    if not path.is_file():  # a pipe would wait to be written to
        return "a link to what is not there" if path.is_symlink() and not path.exists() else None
    try:
        with path.open("rb") as file:
            kind = picture_kind(file.read(32))
    except OSError:
        return None
    return kind and f"a {kind} file whose name does not end as one's: give it such a suffix"


def _open_list(path: Path, root: Path | None) -> ImageSource:
    folder = absolute(path.parent if root is None else root)
    try:
        lines = [line.strip() for line in decoded(path.read_bytes()).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise OrlError(f"{path} cannot be read as a list of files ({error}): make it UTF-8 text") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    elsewhere = [folder / name for name in FOLDERS] + ([folder.parent] if root is None else [])
    located = locate(path, lines, [folder, *elsewhere], line=True)
    note = located.spelling.note(path.name)
    notes = [note] if note else []
    if lines and all(name is None for name in located.names):
        located = _without_suffixes(located, folder, lines)
        named = [line for line, name in zip(lines, located.names, strict=True) if name and len(line.split()) > 1]
        if named:
            notes.append(f"not read of {path.name}: what stands behind {len(named):,} names, such as {named[0]!r}")
    files: list[SourceFile] = []
    seen: set[str] = set()
    for line, found, reason in zip(lines, located.names, located.reasons, strict=True):
        name = line if found is None else found
        if reason is None and name in seen:
            reason = "listed twice"
        files.append(SourceFile(name, path_id(name), reason=reason))
        seen.add(name)
    source = ImageSource(path, located.root, files, notes=notes)
    read_label_files(source, orphans=False)
    return source


def _without_suffixes(located: Located, folder: Path, lines: Sequence[str]) -> Located:
    """Look for pictures of which a list names the stems alone, as VOC's `ImageSets/Main/train.txt` does."""
    for root in (folder, *folder.parents[:2]):
        names = [name for name in list_files(root) if name.lower().endswith(SUFFIXES)]
        stems = [name.rpartition(".")[0] for name in names]
        if len(set(stems)) == len(stems):
            matches = FileNames(stems).find_all([line.split()[0] for line in lines])
            found = [None if match.index is None else names[match.index] for match in matches]
            if any(found):
                return Located(root, found, [None if name else "no such file" for name in found])
    return located


# ---- several sources -----------------------------------------------------------------------------------------------


def bring_together(opened: Sequence[ImageSource]) -> None:
    """Make one of files that two sources name, and give an id of its own to an image whose id is taken.

    A file that a json names is the json's, with its id, labels and annotations, whatever else names it. Of two jsons
    the first has it, with the objects and labels of both; where these differ, with its own. An id that stands for two
    files stays with the first source; the other image gets one that is made of the json's name and its own, and the ids
    of the jsons become the column `original_id`.

    Raises:
        OrlError: two folders or lists hold the same image.
    """
    if len(opened) < 2:
        return
    second = [dict(source.ids) for source in opened]  # listings within each
    shared = _share_files(opened)
    _part_ids(opened)
    for number, own, first, image_id in shared:
        opened[number].ids[own] = opened[first].ids.get(image_id, image_id)
    for source, listings in zip(opened, second, strict=True):
        source.ids.update({other: source.ids.get(image_id, image_id) for other, image_id in listings.items()})


SHARED: Final = "shared"
"""Mark of a file that another source has: neither usable here nor skipped."""


def _share_files(opened: Sequence[ImageSource]) -> list[tuple[int, int, int, int]]:
    """Leave every file to one source; give source and id of the others, and those of the one that has it."""
    order = sorted(range(len(opened)), key=lambda number: not _is_json(opened[number]))  # jsons first
    owner: dict[str, tuple[int, SourceFile]] = {}
    shared: list[tuple[int, int, int, int]] = []
    for number in order:
        source, before = opened[number], len(shared)
        root = os.path.realpath(source.root)
        conflicts: Counter[str] = Counter()
        for at, file in enumerate(source.files):
            if file.reason:
                continue
            first, image = owner.setdefault(os.path.join(root, file.name), (number, file))  # noqa: PTH118
            if first == number:
                continue
            if os.path.realpath(opened[first].path) == os.path.realpath(source.path) or not _is_json(opened[first]):
                _refuse(opened[first], source, file)
            merge_labels(image.labels, file.labels, conflicts)
            shared.append((number, file.image_id, first, image.image_id))
            source.files[at] = SourceFile(file.name, file.image_id, reason=SHARED)
        if count := len(shared) - before:
            whose = "both" if source.annotations else "the json"
            source.notes.append(
                f"{count:,} of the files of {source.path} are those of {opened[shared[-1][2]].path}: each is one image,"
                f" with the objects of {whose}"
            )
        source.notes += conflict_note(str(source.path), "a json before it", conflicts)
    return shared


def _is_json(source: ImageSource) -> bool:
    return not source.path.is_dir() and source.path.suffix.lower() != ".txt"


def _refuse(one: ImageSource, two: ImageSource, file: SourceFile) -> None:
    both = f"both {one.path} and {two.path}"
    inside = one.root in (two.root, *two.root.parents) or one.root in two.root.parents or two.root in one.root.parents
    if not inside and one.path.is_dir() and two.path.is_dir():
        parent = os.path.commonpath([one.root, two.root])
        raise OrlError(f"{file.name} is in {both}: pass their common parent, {parent}, instead")
    raise OrlError(f"{two.root / file.name} is in {both}: pass only one of them")


def _part_ids(opened: Sequence[ImageSource]) -> None:
    """Give every image an id of its own."""
    owner: dict[int, tuple[int, str]] = {}
    renumbered = False
    for number, source in enumerate(opened):
        changed = 0
        for file in source.files:
            if file.reason:
                continue
            first, name = owner.setdefault(file.image_id, (number, file.name))
            if (first, name) == (number, file.name):
                continue
            if source.path.is_dir() and opened[first].path.is_dir():
                _refuse(opened[first], source, file)
            new, tries = path_id(f"{source.path.stem}/{file.name}"), 0
            while new in owner:
                tries += 1
                new = path_id(f"{source.path.stem}/{tries}/{file.name}")
            owner[new] = number, file.name
            source.ids[file.image_id] = new
            changed += 1
        if changed:
            renumbered = True
            source.notes.append(
                f"{changed:,} images of {source.path} have the id of another image: they are renumbered, and the"
                " ids of the jsons are the column original_id"
            )
    if renumbered:
        for source in filter(_is_json, opened):
            source.files[:] = [replace(f, labels={"original_id": f.image_id, **f.labels}) for f in source.files]
