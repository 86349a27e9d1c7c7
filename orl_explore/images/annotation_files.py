"""Annotations in a folder of pictures that are not read with it: which there are, and what is said of them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from orl_explore.errors import OrlError
from orl_explore.images.coco import read_json
from orl_explore.images.tool_exports import export_kind

TABLES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow", ".mat", ".tfrecord", ".tfrecords")
"""Suffixes of tables and the like, which are named whatever is in them."""
ANNOTATION_SUFFIXES: Final = (".json", ".geojson", ".xml", ".txt", *TABLES)
"""Suffixes of files that may hold annotations."""

BEGINNING: Final = 4096
"""Bytes by which a file is judged."""
MARKS: Final = re.compile(
    rb'"(images|annotations|samples|labels|classes|regions|_via_\w+|image|data)"\s*:|<annotations>'
)
"""What a source of many pictures has near its beginning."""
LIKELY: Final = re.compile(
    rb'"(images|samples)"\s*:|"[\w-]*(annotation|object|shape|region|label|bbox|box|polygon|points|segmentation|mask|geometry|class|categor)[\w-]*"\s*:'
    rb"|<(annotation|object|bndbox|box|polygon)\b",
    re.IGNORECASE,
)
"""What annotations of any tool have near their beginning."""

MAP_FOLDERS: Final = frozenset(
    (
        *("segmentationclass", "segmentationobject", "segmentationclassaug", "segmentations", "masks", "trimaps"),
        *("gtfine", "gtcoarse", "groundtruth", "ground_truth", "label_maps", "labels", "annotations"),
    )
)
"""What folders of label maps are called, in small letters."""

TRIED: Final = 20
"""Files of which it is tried whether they are sources; where none of them is one, no other file is."""
LARGE: Final = 2**24
"""Bytes beyond which a file with the marks of a source is taken for one without being read."""


@dataclass
class AnnotationFiles:
    """Annotation files by their names in a folder."""

    sources: list[str] = field(default_factory=list)
    """Those that can be named in place of the folder."""
    others: dict[str, list[str]] = field(default_factory=dict)
    """Those that cannot be read, by suffix."""

    def notes(self, folder: Path) -> list[str]:
        """Name them: a folder stands for its pictures, and for the label files that lie with them."""
        notes = []
        if self.sources:
            files = f"{len(self.sources):,} annotation files" if len(self.sources) > 1 else "an annotation file"
            notes.append(
                f"{folder} holds {files}, not read with a folder: name {folder / self.sources[0]} for annotations of"
                " these pictures"
            )
        for suffix, names in sorted(self.others.items()):
            files = f"{len(names):,} {suffix} {'file' if len(names) == 1 else 'files'}"
            notes.append(f"{folder} holds {files} that may be annotations and cannot be read, such as {names[0]}")
        return notes


def annotation_files(folder: Path, names: Sequence[str]) -> AnnotationFiles:
    """Find out which files in a folder are annotations of pictures.

    Args:
        folder: where they are.
        names: of files that are not read with their pictures; their suffixes are in ANNOTATION_SUFFIXES.
    """
    found = AnnotationFiles()
    tried = 0
    for name in sorted(names):
        suffix = PurePath(name).suffix.lower()
        beginning = b"" if suffix in TABLES else _beginning(folder / name)
        if beginning is None:
            found.others.setdefault(suffix, []).append(name)
            continue
        may_be_source = suffix in (".json", ".xml") and MARKS.search(beginning) and (tried < TRIED or found.sources)
        tried += bool(may_be_source)
        if may_be_source and _is_source(folder / name):
            found.sources.append(name)
        elif suffix in TABLES or _is_likely(suffix, beginning):
            found.others.setdefault(suffix, []).append(name)
    return found


def _beginning(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(BEGINNING)
    except OSError:
        return None


def _is_source(path: Path) -> bool:
    """Whether a file that looks like one can be opened as a source."""
    try:
        if path.stat().st_size > LARGE:
            return True
        if path.suffix.lower() == ".xml":
            tree = ElementTree.parse(path).getroot()
            return tree.tag == "annotations" and tree.find("image") is not None
        content = read_json(path)
    except (OSError, ElementTree.ParseError, OrlError):
        return False
    return export_kind(content) is not None or (isinstance(content, dict) and isinstance(content.get("images"), list))


def _is_likely(suffix: str, beginning: bytes) -> bool:
    """Whether a file of an unknown tool has annotations; a text file, if most of its lines are four numbers or more."""
    if suffix != ".txt":
        return LIKELY.search(beginning) is not None
    lines = [line for line in beginning.decode("utf-8", "replace").splitlines()[:TRIED] if line.strip()]
    return bool(lines) and 2 * sum(map(_are_numbers, lines)) > len(lines)


def _are_numbers(line: str) -> bool:
    words = re.split(r"[\s,;]+", line.strip())
    numbers = sum(re.fullmatch(r"[-+]?\d*\.?\d+", word) is not None for word in words)
    return numbers >= 4 and 2 * numbers > len(words)


def map_notes(folder: Path, names: Sequence[str]) -> list[str]:
    """Say which pictures of a folder may be label maps, as they are read with the others.

    Args:
        folder: where they are.
        names: of all pictures in it.
    """
    maps = {name for name in names if MAP_FOLDERS & {part.lower() for part in name.split("/")[:-1]}}
    others = {name.partition("/")[0] if "/" in name else "" for name in names if name not in maps}
    if not maps or not others:
        return []
    pictures = "1 picture of" if len(maps) == 1 else f"{len(maps):,} pictures of"
    advice = f"name {folder / min(others)}" if len(others) == 1 and min(others) else "name the folders of the others"
    return [f"{pictures} {folder} may be label maps, by their folders, such as {min(maps)}: {advice} to do without"]
