"""Read JSON that is larger than memory: long lists item by item, with the standard library's decoder."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from orl_explore.errors import OrlError

CHUNK: Final = 1 << 20
"""Characters read at a time."""

LIMIT: Final = 1 << 23
"""Characters that one value may have, in memory up to 30 times as many bytes; 100 boxes and 100 pairs have 10,000."""

SPACE: Final = re.compile(r"[ \t\r\n]*")

Event = tuple[str, int | None, Any]
"""Dotted path of a value; its place in its list, or None where the whole value is given; the value."""


def stream_json(path: Path, enter: Collection[str]) -> Iterator[Event]:
    """Walk a JSON file from front to back and give its values one at a time.

    Args:
        path: a UTF-8 file.
        enter: dotted paths of the objects and lists to walk into; "" is the outermost value. Of such a list, every item
            is given with its place; of such an object, the values. What is not entered is given whole.

    Raises:
        OrlError: unreadable, no JSON, cut off, NaN or infinite numbers, a key twice, or a single value above `LIMIT`
            characters.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            reader = _Reader(path, file)
            yield from reader.walk("", enter)
            reader.end()
    except UnicodeDecodeError:
        raise OrlError(f"{path} is no UTF-8 text: fetch it again") from None
    except OSError as error:
        raise OrlError(f"{path} cannot be read ({error.strerror}): check its name and permissions") from None


class _NoValueError(ValueError):
    """What Python's decoder takes and JSON has not, or not with one meaning."""


def _no_constant(name: str) -> NoReturn:
    raise _NoValueError(f"holds {name}, which is no number")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _NoValueError(f"has the key {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return found


class _Reader:
    def __init__(self, path: Path, file: Any):
        self.path, self.file = path, file
        self.text, self.at, self.ended = "", 0, False
        self.decoder = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_key_twice)

    def walk(self, where: str, enter: Collection[str]) -> Iterator[Event]:
        opening = self._peek(where)
        if where not in enter or opening not in "[{":
            yield where, None, self._value(where)
        elif opening == "[":
            for index in self._members(where, "]"):
                yield where, index, self._value(f"{where}[{index}]")
        else:
            seen = set()
            for _ in self._members(where, "}"):
                if self._peek(where) != '"':
                    self._refuse(where, "is no JSON: a key is missing")
                key = self._value(where)
                if key in seen:
                    self._refuse(where, f"has the key {key!r} twice")
                seen.add(key)
                self._take(":", where)
                inner = f"{where}.{key}" if where else key
                if inner in enter and (not key or "." in key):  # it would pass for what lies deeper, or for the whole
                    self._refuse(where, f"has the key {key!r}, which no such file has")
                yield from self.walk(inner, enter)

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self._peek("", or_end=True):
            raise OrlError(f"{self.path} goes on after its end: is it two files in one?")

    def _members(self, where: str, closing: str) -> Iterator[int]:
        """Give 0, 1, ... as long as there is another member; the caller takes it each time."""
        self._take(self._peek(where), where)
        if self._peek(where) != closing:
            for index in itertools.count():
                yield index
                if self._peek(where) == closing:
                    break
                self._take(",", f"{where}[{index}]" if closing == "]" else where)
        self._take(closing, where)

    def _peek(self, where: str, *, or_end: bool = False) -> str:
        """The next character that is no space."""
        while True:
            found = SPACE.match(self.text, self.at)
            assert found  # it matches nothing, too
            self.at = found.end()
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                if or_end:
                    return ""
                self._refuse(where, "ends too early")
            self._more()

    def _take(self, character: str, where: str) -> None:
        if self._peek(where) != character:
            self._refuse(where, f"is no JSON: {character!r} is missing")
        self.at += 1

    def _value(self, where: str) -> Any:
        """Decode one value; where it goes beyond what has been read, read on and begin again."""
        self._peek(where)
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if self.ended:
                    self._refuse(where, f"ends too early or is no JSON ({error.msg})")
            except _NoValueError as error:
                self._refuse(where, str(error))
            except (RecursionError, ValueError):
                self._refuse(where, "is nested too deeply, or has a number of thousands of digits")
            else:
                # At the end of what has been read, a number could go on, also behind "1." or "1e".
                if self.ended or (end < len(self.text) and self.text[end] not in ".eE"):
                    self.at = end
                    return value
            if len(self.text) - self.at > LIMIT:
                self._refuse(where, f"is no JSON, or has a value of more than {LIMIT:,} characters")
            self._more()

    def _more(self) -> None:
        rest = self.text[self.at :]
        more = self.file.read(max(CHUNK, len(rest)))  # doubled, so that a long value takes linear time
        self.text, self.at, self.ended = rest + more, 0, not more

    def _refuse(self, where: str, problem: str) -> NoReturn:
        raise OrlError(f"{self.path} {problem}{f', at {where}' if where else ''}: fetch or write it again")
