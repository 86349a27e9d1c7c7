"""Files beside YOLO's labels that name their classes: `data.yaml`, `classes.txt`, `obj.names`."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import yaml

from orl_explore.images.image_source import ImageSource, printable, text_of, whole

CLASS_FILES: Final = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "_darknet.labels")


def class_names(source: ImageSource, files: ClassFiles, labels: str) -> dict[Any, str]:
    """Names of classes by number for the label files of a folder, from the nearest file that has any, at or above it.

    Where the folder is not near the source's root, of those above it only two are looked at, and those about the root.
    """
    top = source.root.parent.parent
    above = [Path(labels), *Path(labels).parents]
    near = [folder for place, folder in enumerate(above) if place < 3 or folder.is_relative_to(top)]
    return next(filter(None, map(files.names, (*near, source.root, source.root.parent, top))), {})


class ClassFiles:
    """Files that name classes, each read once; a note tells of those that cannot be."""

    def __init__(self, source: ImageSource, labels: Collection[str]):
        self.source, self.labels = source, labels
        self.found: dict[Path, dict[Any, str]] = {}

    def names(self, folder: Path) -> dict[Any, str]:
        """Names by number from a file in the folder itself; empty without one."""
        if folder not in self.found:
            self.found[folder] = next(filter(None, (self._read(folder / name) for name in CLASS_FILES)), {})
        return self.found[folder]

    def _read(self, path: Path) -> dict[Any, str]:
        unread: dict[str, str] = {}
        text = "" if str(path) in self.labels else text_of(str(path), unread)
        names: dict[int, str] = {}
        try:
            is_yaml = path.suffix in (".yaml", ".yml")
            names = yaml_names(text) if is_yaml else dict(enumerate(map(str.strip, text.splitlines())))
        except ValueError as error:
            unread[str(path)] = str(error)
        if unread and os.path.lexists(path):
            name = os.path.relpath(path, self.source.root)
            self.source.notes.append(f"no names of classes are read from {name}: {unread[str(path)]}")
        return {number: name for number, name in names.items() if name}


def yaml_names(text: str) -> dict[int, str]:
    """The entry `names` of a YOLO data.yaml: a list, or names by number.

    Raises:
        ValueError: it is neither, or the text is no YAML.
    """
    try:
        content = yaml.load(text, yaml.BaseLoader)  # safe, and all is text to it, also `no` and `1.0`
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError("it is no YAML" + (f", see line {mark.line + 1}" if mark else "")) from None
    names = content.get("names") if isinstance(content, dict) else None
    if not names:
        return {}
    if isinstance(names, list):
        names = dict(enumerate(names))
    pairs = names.items() if isinstance(names, dict) else [(None, names)]
    numbered = {number: name for key, name in pairs if (number := whole(key)) is not None and isinstance(name, str)}
    if len(numbered) < len(pairs):
        raise ValueError(
            "`names` in it is neither a list of names nor one name for each number: quote those with a colon"
        )
    return {number: printable(name) for number, name in numbered.items()}
