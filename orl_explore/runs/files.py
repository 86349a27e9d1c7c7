"""Files that appear under their name only when they are complete, and their hashes.

What goes wrong with a disk is said in words.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import resource
import shutil
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from orl_explore.errors import OrlError


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there is flushed and renamed to `path` at the end.

    Raises:
        OrlError: the disk is full, or is there no longer; what stood at `path` before is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_trouble(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # of a disk that is gone
            temporary.unlink(missing_ok=True)


FULL: Final = (errno.ENOSPC, errno.EDQUOT)
GONE: Final = (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN, errno.EROFS, errno.ETIMEDOUT)
HALF_WRITTEN: Final = r"requested and \d+ written|unexpected pos \d+ vs \d+"
"""How NumPy and torch say that not all was written; why, they do not say."""


@contextlib.contextmanager
def disk_trouble(path: Path) -> Iterator[None]:
    """Say in words what became of the disk that `path` is written to, where that is why writing failed.

    Raises:
        OrlError: it is full, over quota, gone or read-only, or takes no file that large.
    """
    try:
        yield
    except OrlError:
        raise
    except Exception as error:
        number, text = error_number(error), str(error)
        half_written = re.search(HALF_WRITTEN, text)
        if _is_full(path.parent) or number in FULL or re.search("[Nn]o space left|[Qq]uota exceeded", text):
            what, remedy = "the disk is full", "there is room"
        elif number == errno.EFBIG or (half_written and _sizes_are_limited()):
            what, remedy = "no file may be that large there", "it may (`ulimit -f unlimited`, or another disk)"
        elif half_written:
            what, remedy = "the disk is full", "there is room"
        elif number in GONE:
            what, remedy = f"the disk does not answer ({os.strerror(number)})", "it does"
        else:
            raise
        raise OrlError(
            f"{path} could not be written, {what}: what was complete before is intact, and once {remedy} the same"
            " command goes on from there"
        ) from error


def error_number(error: BaseException) -> int | None:
    """The system's number of an error, also where a library written in Rust, as safetensors, has it in words alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    said = re.search(r"\(os error (\d+)\)", str(error))
    return int(said[1]) if said else None


def _sizes_are_limited() -> bool:
    """Whether the shell or a batch system limits the size of files."""
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < 1 << 16
    except OSError:
        return False


def hash_file(path: Path) -> str:
    """blake2b of a file's bytes, 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def known_hash(path: Path) -> str:
    """`hash_file`, remembered until the file changes: files of a run are replaced, never edited in place."""
    stat = path.stat()
    return _known_hash(path.absolute(), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _known_hash(path: Path, _time: int, _size: int) -> str:
    return hash_file(path)


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON that people can read and UTF-8 can hold: half a character (a lone surrogate) is escaped, as JSON allows."""
    return json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, indented for people."""
    with atomic_write(path) as temporary:
        temporary.write_text(json_text(value, indent=2) + "\n", encoding="utf-8")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file atomically."""
    write_array_parts(path, [array])


def write_array_parts(path: Path, parts: Sequence[np.ndarray]) -> None:
    """Write the rows of several arrays as one .npy file, atomically; memory-mapped parts are not read into memory.

    Of float16 and float32 parts, as of a stage that an older version began, all become float32.
    """
    kind = np.result_type(*parts)
    shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            np.ascontiguousarray(part, kind).tofile(file)


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV of which a spreadsheet executes nothing: text that would be a formula gets an apostrophe."""
    safe = frame.rename(columns=_inert)
    for place, kind in enumerate(safe.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            safe.isetitem(place, safe.iloc[:, place].map(_inert).array)
    return str(safe.to_csv(index=False))


def _inert(cell: object) -> object:
    """A cell or a heading that a spreadsheet only shows, even one that ends cells at semicolons, tabs or line feeds.

    A carriage return would end the line, unlike a line feed.
    """
    if not isinstance(cell, str):
        return cell
    return re.sub(r"(?m)(^|[;\t])(?=[ \"]*[=+\-@\t\r])", r"\1'", cell).replace("\r", " ")
