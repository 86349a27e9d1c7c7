"""Names are what people see, not bytes: find the file that a json, a list or another tool means by its name.

The exact name comes first, then, in this order, what `WAYS` lists. Only a unique match counts: a name that fits two
files, or a file that two names fit, is not found.
"""

from __future__ import annotations

import bisect
import difflib
import os
import re
import unicodedata
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from orl_explore.images.kinds import SUFFIXES

UNICODE, CASE, SLASHES, URL, BLANKS, BEHIND, END = WAYS = (
    "in the other Unicode form (NFC or NFD)",
    "in other letter case",
    "with / for \\ and without the drive",
    "without %20, file:// and the like",
    "without blanks or quotes at the ends",
    "without what stands behind the path",
    "by the end of the path",
)
"""How a name can be found that is not there as it stands, in the order in which it is tried."""

DOUBTFUL: Final = (CASE, BEHIND, END)
"""Ways by which different names can fit one file that is not meant by them all."""

LISTED: Final = 500_000
"""Files of a folder that names are looked for among; a folder with more is looked at in part."""

NEAREST: Final = 1000
"""Names without a file for which the nearest one is looked up: nobody reads more of them."""

INVISIBLE: Final = " \t\r\n\"'\u00a0\ufeff\u200b"
"""What nobody means who writes it before or behind a name: blanks, quotes, a byte order mark, a space of no width."""

_PATH_END = re.compile(rf"(?:{'|'.join(re.escape(suffix) for suffix in SUFFIXES)})(?=[\s,;|\"'])", re.IGNORECASE)


@dataclass(frozen=True)
class Match:
    """Where a name was found among others, and how."""

    index: int | None
    """None: nowhere."""
    way: str | None = None
    """None: exactly."""
    rivals: tuple[str, ...] = ()
    """What it could mean as well, where that is why it was not found."""


@dataclass
class Spelling:
    """How many names were found in each way, with one example a way."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, way: str | None, asked: str, found: str) -> None:
        """Count a name that was found."""
        if way is not None:
            self.counts[way] += 1
            self.examples.setdefault(way, (asked, found))

    def note(self, where: str) -> str | None:
        """One line that says how many were found how; None when all were found exactly."""
        if not self.counts:
            return None
        total = self.counts.total()
        parts = []
        for way in WAYS:
            if self.counts[way]:
                asked, found = self.examples[way]
                parts.append(f"{self.counts[way]:,} {way} ({asked!r} is {found!r})")
        return f"{total:,} {'name' if total == 1 else 'names'} of {where} found in another form: {'; '.join(parts)}"


def composed(name: str) -> str:
    """The form in which accents are one character with their letter, which makes both forms equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Equal for names that differ in letter case or Unicode form alone."""
    return composed(composed(name).casefold())


_FORMS: Final = ((lambda name: name, None), (composed, UNICODE), (folded, CASE))


class FileNames:
    """Names that exist, to be found by names that people and tools write.

    Args:
        names: POSIX paths, each once.
    """

    def __init__(self, names: Sequence[str]):
        self.names = list(names)

    @cached_property
    def _tables(self) -> list[dict[str, list[int]]]:
        """For each form, the places of the names that have it."""
        return [_grouped(form(name) for name in self.names) for form, _ in _FORMS]

    @cached_property
    def _by_base(self) -> list[dict[str, list[int]]]:
        """For each form, the places of the names that end in this file name."""
        return [_grouped(form(name.rpartition("/")[2]) for name in self.names) for form, _ in _FORMS]

    def find(self, asked: str, *, line: bool = False, by_file_name: bool = False) -> Match:
        """Look for one name.

        Args:
            asked: the name as somebody wrote it.
            line: it is a line of a list, which may have a label or numbers behind the path.
            by_file_name: a relative path, too, may be found by its file name alone, whatever its folders are.
        """
        spellings = list(_spellings(asked, line))
        rivals: tuple[str, ...] = ()
        for spelling, way in spellings:
            for (form, form_way), table in zip(_FORMS, self._tables, strict=True):
                places = table.get(form(spelling), ())
                if len(places) == 1:
                    return Match(places[0], _later(way, form_way))
                if places:
                    rivals = rivals or tuple(self.names[place] for place in places)
        if rivals:
            return Match(None, rivals=rivals)
        # The cleanest spelling first, but of a line the longest path.
        cleanest = sorted(spellings, key=lambda item: item[1] != BEHIND) if line else spellings[::-1]
        for spelling, _ in cleanest:
            match = self._by_end(spelling, by_file_name)
            if match.index is not None:
                return match
            rivals = rivals or match.rivals
        return Match(None, rivals=rivals)

    def _by_end(self, asked: str, by_file_name: bool) -> Match:
        """Look for the only name that has the longest end in common with a path."""
        absolute = asked.startswith("/")
        path = os.path.normpath(asked).lstrip("/")
        parts = [part for part in path.split("/") if part != ".."]
        if not parts or parts == ["."]:
            return Match(None)
        for (form, _), table in zip(_FORMS, self._by_base, strict=True):
            wanted = [form(part) for part in reversed(parts)]
            ends = []
            for place in table.get(wanted[0], ()):
                own = [form(part) for part in reversed(self.names[place].split("/"))]
                common = next((n for n, (a, b) in enumerate(zip(own, wanted, strict=False)) if a != b), None)
                whole = common is None  # one is the end of the other
                if whole or absolute or by_file_name:
                    ends.append((min(len(own), len(wanted)) if common is None else common, place))
            if ends:
                longest = max(ends)[0]
                places = [place for length, place in ends if length == longest]
                if len(places) == 1:
                    return Match(places[0], END)
                return Match(None, rivals=tuple(self.names[place] for place in places))
        return Match(None)

    def find_all(self, asked: Sequence[str], *, line: bool = False, taken: Collection[str | None] = ()) -> list[Match]:
        """Look for many names; of those that fit a file in a doubtful way only one may mean it.

        Args:
            asked: the names as somebody wrote them.
            line: as for `find`.
            taken: names that others mean exactly.
        """
        matches = [self.find(name, line=line) for name in asked]
        certain = {match.index for match in matches if match.way not in DOUBTFUL}
        claims: dict[int | None, set[str]] = defaultdict(set)
        for name, match in zip(asked, matches, strict=True):
            if match.way in DOUBTFUL:
                claims[match.index].add(name.strip())
        result = []
        for match in matches:
            if match.index is not None and match.way in DOUBTFUL:
                claimed = match.index in certain or len(claims[match.index]) > 1
                if claimed or self.names[match.index] in taken:
                    match = Match(None, rivals=(self.names[match.index],))
            result.append(match)
        return result

    @cached_property
    def _sorted(self) -> list[tuple[str, int]]:
        return sorted((_stem(name), place) for place, name in enumerate(self.names))

    @cached_property
    def _sorted_backwards(self) -> list[tuple[str, int]]:
        return sorted((_stem(name)[::-1], place) for place, name in enumerate(self.names))

    def nearest(self, asked: str) -> str | None:
        """The name that is most like one that was not found; None when none is."""
        stem = _stem(re.sub(r"\\", "/", asked))
        around: dict[str, int] = {}
        for ordered, key in ((self._sorted, stem), (self._sorted_backwards, stem[::-1])):
            at = bisect.bisect_left(ordered, (key, -1))
            for text, place in ordered[max(at - 25, 0) : at + 25]:
                around.setdefault(text if ordered is self._sorted else text[::-1], place)
        close = difflib.get_close_matches(stem, around, n=1, cutoff=0.6)
        return self.names[around[close[0]]] if close else None


def existing_path(path: Path) -> tuple[Path | None, str | None]:
    """The only path that one means which is not there, but for letter case or Unicode form; else what is nearest."""
    found = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        if not (found / part).exists():
            try:
                known = FileNames(sorted(item.name for item in found.iterdir()))
            except OSError:
                return None, None
            match = known.find(part)
            if match.index is None or match.way not in (UNICODE, CASE):
                nearest = known.nearest(part)
                return None, str(found / nearest) if nearest else None
            part = known.names[match.index]
        found /= part
    return found, None


def not_found(match: Match, nearest: str | None) -> str:
    """Why a file is skipped whose name was not found."""
    if match.rivals:
        return f"no such file: it could be {' or '.join(match.rivals[:2])}, which other names mean or fit as well"
    return "no such file" + (f": the nearest name is {nearest}" if nearest else "")


def list_files(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it, in the order of the disk; at most `LISTED`."""
    found: list[str] = []
    seen = set()
    for place, subfolders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen or len(found) > LISTED:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = os.path.relpath(place, folder)
        prefix = "" if relative == "." else relative.replace(os.sep, "/") + "/"
        found += [prefix + name for name in names if not name.startswith(".")]
    return found[:LISTED]


def _grouped(keys: Iterator[str]) -> dict[str, list[int]]:
    table: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        table.setdefault(key, []).append(place)
    return table


def _later(first: str | None, second: str | None) -> str | None:
    """The one of two ways that is tried later, which is what a person has to know."""
    return max((first, second), key=lambda way: -1 if way is None else WAYS.index(way))


def _spellings(asked: str, line: bool) -> Iterator[tuple[str, str | None]]:
    """The name as it stands, then with one thing after the other taken out of it."""
    seen = {asked}
    name = asked
    yield name, None
    if name and (clean := os.path.normpath(name)) not in seen:
        seen.add(clean)
        yield clean, None
    steps = (
        (_without_backslashes, SLASHES),
        (_without_url, URL),
        (lambda text: text.strip(INVISIBLE), BLANKS),
    )
    for step, way in steps:
        name = step(name)
        clean = os.path.normpath(name) if name else name
        if clean not in seen:
            seen.add(clean)
            yield clean, way
    if line:
        for found in reversed(list(_PATH_END.finditer(name))):
            path = name[: found.end()].strip(INVISIBLE)
            if path not in seen:
                seen.add(path)
                yield os.path.normpath(path), BEHIND


def _without_backslashes(name: str) -> str:
    return re.sub(r"^[A-Za-z]:(?=/)", "", name.replace("\\", "/"))


def _without_url(name: str) -> str:
    if re.match(r"^[a-z][a-z0-9+]*://", name, re.IGNORECASE):
        name = re.sub(r"^/(?=[A-Za-z]:/)", "", urllib.parse.unquote(url_parts(name).path))  # file:///C:/...
        return re.sub(r"^[A-Za-z]:(?=/)", "", name)
    return urllib.parse.unquote(name) if "%" in name else name


def url_parts(text: str) -> urllib.parse.SplitResult:
    """The parts of an address; what is none, as `http://[a`, is a path."""
    try:
        return urllib.parse.urlsplit(text)
    except ValueError:
        return urllib.parse.SplitResult("", "", text, "", "")


def _stem(name: str) -> str:
    return folded(name.rpartition("/")[2].rpartition(".")[0] or name)
