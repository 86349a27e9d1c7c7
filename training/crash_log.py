"""What nobody foresaw: its traceback goes into a file, and the person at the keyboard reads one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from orl_explore import __version__

UNEXPECTED: Final = 70
"""Exit code of a command that met an error which is a fault of this project: EX_SOFTWARE of sysexits.h."""

_OWN: Final = {
    errno.EACCES: "permission denied",
    errno.EPERM: "the file system does not permit it",
    errno.EROFS: "the disk is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EISDIR: "it is a folder",
    errno.EEXIST: "it is there already",
    errno.ENOENT: "there is no such file or folder",
    errno.ELOOP: "its links lead in a circle",
    errno.EIO: "the disk does not answer",
    errno.ESTALE: "the disk does not answer",
    errno.EFBIG: "no file may be that large there (`ulimit -f unlimited`, or another disk)",
    errno.EMFILE: "too many files are open: raise `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine",
}
"""What the user or the machine can put right, in words."""

_OF_ANY_FILE: Final = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EFBIG)
"""Of them, those that say enough where it is not known which file it is about."""


def known_trouble(error: BaseException) -> str | None:
    """What is wrong with a file or the memory, in a sentence; None: that is not what it is about."""
    if isinstance(error, MemoryError):
        return "memory ran out: end other programs, or use smaller batches or fewer workers (setting workers)"
    from orl_explore.runs.files import error_number  # with pandas, for which `orl --help` does not wait

    number = error_number(error)
    if number not in _OWN:
        return None
    given = (error.filename, error.filename2) if isinstance(error, OSError) else ()
    if names := [str(os.fsdecode(name)) for name in given if isinstance(name, str | bytes)]:
        return f"{' and '.join(names)}: {_OWN[number]}"
    return f"a file could not be read or written: {_OWN[number]}" if number in _OF_ANY_FILE else None


def write_crash_log(error: BaseException, arguments: Sequence[str], run: Path | None) -> Path | None:
    """Write what was typed, with what, and the traceback; returns where, None when nothing can be written.

    Args:
        error: what was raised.
        arguments: as typed, without `orl`.
        run: the run folder, if there is one: the first place that is tried.
    """
    text = "\n".join(
        (
            f"orl {__version__}, Python {platform.python_version()}, {platform.platform()}",
            f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}, in {_folder()}",
            f"command: {[*map(str, arguments)]}",
            "".join(traceback.format_exception(error)),
        )
    )
    name = f"orl-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in _places(run):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # No link is followed: in a folder for all, anybody could have put one there.
            opened = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)
            with os.fdopen(opened, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except (OSError, RuntimeError):
            continue
        return folder / name
    print(text, file=sys.stderr)  # better here than nowhere
    return None


def _places(run: Path | None) -> Iterator[Path]:
    if run is not None and (run / "run.json").is_file():
        yield run / "logs"
    with contextlib.suppress(OSError):  # there is none that can be written to
        yield Path(tempfile.gettempdir())
    yield Path()


def _folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return "a folder that is gone"
