"""What a source of images names, before anything is decoded: its files, and annotations as they stand there."""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

NO_NUMBERS: Final = (TypeError, ValueError, KeyError, OverflowError)
"""What is raised where numbers of a file are read that are none, are missing, or are beyond all bounds."""


@dataclass(frozen=True)
class SourceFile:
    """A file as its source names it; with a `reason` where that alone makes it unusable."""

    name: str
    image_id: int
    labels: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


class Annotation(dict[str, Any]):
    """An annotation that was not read from a COCO json: one in COCO's form, and where it stands."""

    __slots__ = ("left_out", "where")

    def __init__(self, content: dict[str, Any], where: str, left_out: str | None = None):
        super().__init__(content)
        self.where = where
        self.left_out = left_out
        """Why it cannot be used, where that is known already."""


@dataclass
class Entry:
    """A picture as a labeling tool names it."""

    name: str
    items: list[Annotation] = field(default_factory=list)
    labels: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    unread: list[str] = field(default_factory=list)
    """What is said of it that becomes neither an annotation nor a label, each by its name or kind."""

    def add_labels(self, fields: dict[str, Any]) -> None:
        """Take fields of the tool as labels: texts and numbers. Lists and objects are not read."""
        self.labels |= {name: value for name, value in fields.items() if isinstance(value, str | int | float)}
        self.unread += [name for name, value in fields.items() if isinstance(value, list | dict) and value]


@dataclass
class ImageSource:
    """A folder, json or list: where its names start from, its files, and its annotations."""

    path: Path
    """What was named."""
    root: Path
    """Where the names of its files start from."""
    files: list[SourceFile]
    annotations: list[Any] = field(default_factory=list)
    """In COCO's form, as they stand in the file: nothing is checked yet."""
    categories: dict[Any, str] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Width and height that it gives its images, by its own ids."""
    ids: dict[int, int] = field(default_factory=dict)
    """Its own ids of images that go by another: a second listing, or one that another source had taken."""
    text_ids: dict[str, int] = field(default_factory=dict)
    """The numbers that images go by whose ids in the file are text."""
    scale: float | None = None
    """Boxes and masks are shares of the image, of which this is the whole (1 or 100); None: they are pixels."""
    label_fields: dict[str, int] = field(default_factory=dict)
    """Fields that its annotations can be taken from, and how many each has; none where there is nothing to choose."""
    notes: list[str] = field(default_factory=list)


WHOLE: Final = re.compile(r"([+-]?\d+)(?:\.0*)?")


def printable(name: str) -> str:
    """A name with what is not valid Unicode in it replaced by question marks."""
    return name.encode("utf-8", "replace").decode()


def shown(text: str) -> str:
    """A line for a terminal: what nobody would see, or what moves the cursor or sets colors, as its code."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or not _is_hidden(one) else repr(one)[1:-1] for one in text)


def _is_hidden(one: str) -> bool:
    # Two joiners are part of how some scripts and emojis are written.
    return unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") and one not in "\u200c\u200d"


def decoded(data: bytes, errors: str = "strict") -> str:
    """Text in UTF-8, or in the UTF-16 that its first bytes announce, as PowerShell writes.

    Args:
        data: the text's bytes.
        errors: what becomes of others, as in `bytes.decode`.

    Raises:
        UnicodeDecodeError: it is neither, and `errors` is "strict".
    """
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if utf_16 else "utf-8-sig", errors)


def bytes_of(path: str, unread: dict[str, str]) -> bytes:
    """What is in a file; nothing where it cannot be read, for the reason that `unread` gets: none, of a folder."""
    try:
        return Path(path).read_bytes()
    except IsADirectoryError:
        unread[path] = ""
    except OSError as error:
        unread[path] = error.strerror or type(error).__name__
    return b""


def text_of(path: str, unread: dict[str, str]) -> str:
    """As `bytes_of`, of a text file."""
    try:
        return decoded(bytes_of(path, unread))
    except UnicodeDecodeError:
        unread[path] = "its text is not UTF-8: save it as that"
        return ""


def absolute(path: Path) -> Path:
    """The path from the top, without `..`; symbolic links stay as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def path_id(name: str) -> int:
    """An id for a path: 53 bits, so that JavaScript and JSON readers keep them exactly."""
    try:
        data = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, which a json can hold and no file name
        data = name.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest()) >> 11


def whole(value: Any) -> int | None:
    """A whole number of 64 bits, also one that is written as text or as a fraction: 1, "1", 1.0; None: it is none.

    Text is digits, perhaps with a sign, and with zeros behind a point: what else Python takes for a number, such as
    "1_1" or "12e4", is a name.
    """
    if type(value) is str:
        written = WHOLE.fullmatch(value.strip())
        value = int(written[1]) if written and len(written[1]) < 30 else None
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) < 2**63 else None


def flag(value: Any) -> bool | None:
    """A truth value, also one that is written as text or number; None: it is none."""
    if isinstance(value, str):
        text = value.strip().casefold()
        return (
            text in ("1", "true", "yes") if text in ("", "0", "1", "true", "false", "yes", "no") else flag_number(text)
        )
    return flag_number(value)


def flag_number(value: Any) -> bool | None:
    """0 or 1 in any spelling; None, which is no flag, counts as 0."""
    number = 0 if value is None else int(value) if isinstance(value, bool) else whole(value)
    return bool(number) if number in (0, 1) else None
