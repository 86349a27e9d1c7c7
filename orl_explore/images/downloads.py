"""COCO from its servers: downloaded with resuming, checked, unpacked and laid out as `open_images` expects it.

torchvision's download helpers start a broken download anew and report to tqdm; for files of 20 GB that will not do, so
the standard library does it here.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from orl_explore.errors import OrlError

URL: Final = "http://images.cocodataset.org"
RECORD: Final = "downloads.json"
CHUNK: Final = 1 << 20
ATTEMPTS: Final = 5
"""Failures in a row, none of which brought a byte, before a download gives up."""

Progress = Callable[[int, int], None]
Bar = Callable[[str, Literal["", "B"]], AbstractContextManager[Progress]]
"""Title and unit ("B": bytes) -> a bar, given as the function progress(done, total)."""


@dataclass(frozen=True)
class Archive:
    """A zip on the server, and what is taken from it."""

    path: str
    """Below the base URL."""
    size: int | None
    """Bytes; None: whatever the server says."""
    md5: str
    """COCO publishes no hashes: these are the ones that other projects check the same files against."""
    unpacked: int
    """Bytes of what is taken from it, roughly."""
    folder: str
    """The members `folder/*` are taken and become ROOT/folder/*."""
    files: int
    """How many."""
    prefix: str = ""
    """Take only names that begin like this."""

    @property
    def name(self) -> str:
        """File name of the zip."""
        return PurePosixPath(self.path).name


def _images(split: str, size: int, md5: str, files: int) -> Archive:
    return Archive(f"zips/{split}.zip", size, md5, unpacked=size, folder=split, files=files)  # JPEGs shrink no further


_INSTANCES = Archive(
    "annotations/annotations_trainval2017.zip",
    252_907_541,
    "f4bbac642086de4f52a3fdda2de5fa2c",
    unpacked=500_000_000,
    folder="annotations",
    files=2,
    prefix="instances_",
)
_IMAGE_INFO = Archive(
    "annotations/image_info_unlabeled2017.zip",
    None,
    "ede38355d5c3e5251bb7f8b68e2c068f",
    unpacked=50_000_000,
    folder="annotations",
    files=1,
    prefix="image_info_",
)

COCO: dict[str, tuple[Archive, ...]] = {
    "train2017": (_images("train2017", 19_336_861_798, "cced6f7f71b7629ddf16f17bbcfab6b2", 118_287), _INSTANCES),
    "val2017": (_images("val2017", 815_585_330, "442b8da7639aecaf257c1dceb8ba8c80", 5_000), _INSTANCES),
    "unlabeled2017": (
        _images("unlabeled2017", 20_126_613_414, "7ebc562819fdb32847aab79530457326", 123_403),
        _IMAGE_INFO,
    ),
}
"""The archives of each split."""

ANNOTATIONS: Final = {
    "train2017": "annotations/instances_train2017.json",
    "val2017": "annotations/instances_val2017.json",
    "unlabeled2017": "annotations/image_info_unlabeled2017.json",
}
"""Below the root: what to name as images."""


@contextlib.contextmanager
def _no_bar(title: str, unit: str) -> Any:
    yield lambda done, total: None


def download_coco(
    root: Path, splits: Sequence[str] = ("train2017",), *, url: str = URL, keep_zips: bool = False, bar: Bar = _no_bar
) -> list[Path]:
    """Download splits of COCO 2017 and lay them out; what is there already is not fetched again.

    Images go to ROOT/SPLIT, annotations to ROOT/annotations; ROOT/downloads.json records size, MD5 and SHA-256 of every
    archive. A download that was stopped goes on where it was.

    Args:
        root: the folder; it need not exist yet.
        splits: names out of `COCO`.
        url: where COCO's folders `zips/` and `annotations/` are; a mirror, for example.
        keep_zips: leave the archives beside the images.
        bar: shows progress.

    Returns:
        The annotation file of each split, to be named as images.

    Raises:
        OrlError: too little disk space, no connection, an archive that is not the one expected.
    """
    if not url.startswith(("http://", "https://")):
        raise OrlError(f"--url is {url!r}: it must begin with http:// or https://")
    unknown = [split for split in splits if split not in COCO]
    if unknown:
        raise OrlError(f"COCO has no split {unknown[0]!r} here: choose from {', '.join(COCO)}")
    with _lock(root):
        archives = dict.fromkeys(archive for split in splits for archive in COCO[split])
        missing = [archive for archive in archives if not _is_there(root, archive)]
        _require_space(root, space_needed(root, missing, keep_zips=keep_zips))
        for archive in missing:
            _fetch(root, archive, f"{url.rstrip('/')}/{archive.path}", keep_zips, bar)
    return [root / ANNOTATIONS[split] for split in splits]


def space_needed(root: Path, archives: Sequence[Archive], *, keep_zips: bool = False) -> int:
    """Most bytes that are taken at any time while these archives are fetched one after the other, roughly."""
    taken = peak = 0
    for archive in archives:
        zipped = (archive.size or 0) - max(_size(root / archive.name), _size(_part(root, archive)))
        peak = max(peak, taken + zipped + archive.unpacked)
        # Removing a zip gives back all of it, also the part that was there before.
        taken += archive.unpacked + (zipped if keep_zips else zipped - (archive.size or 0))
    return peak


def _is_there(root: Path, archive: Archive) -> bool:
    """Whether an archive was unpacked here and nothing of it was deleted since."""
    folder = root / archive.folder
    if archive.name not in _record(root) or not folder.is_dir():
        return False
    names = (f"{archive.folder}/{name}" for name in os.listdir(folder))  # noqa: PTH208 - with 100,000 names, faster
    return sum(_taken(archive, name) for name in names) >= archive.files


def _fetch(root: Path, archive: Archive, url: str, keep_zip: bool, bar: Bar) -> None:
    path, part = root / archive.name, _part(root, archive)
    fetched = not path.exists()
    if fetched:
        with bar(f"downloading {archive.name}", "B") as progress:
            _download(url, part, archive.size, progress)
    source = part if fetched else path
    with bar(f"checking {archive.name}", "B") as progress:
        md5, sha256 = _hashes(source, progress)
    if md5 != archive.md5:
        if fetched:
            part.unlink()
            raise OrlError(
                f"{url} came with MD5 {md5}, and not {archive.md5}; it was removed. Type the command again, or name"
                " another server with --url"
            )
        raise OrlError(f"{path} has MD5 {md5}, and not {archive.md5}: move it away, and it is downloaded anew")
    if fetched:
        part.replace(path)
    with bar(f"unpacking {archive.name}", "") as progress:
        _unpack(path, root, archive, progress)
    facts = {
        "url": url,
        "bytes": _size(path),
        "md5": md5,
        "sha256": sha256,
        "files": archive.files,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    os.sync()  # the images before the record that says that they are there
    _write_record(root, {**_record(root), archive.name: facts})
    if not keep_zip:
        path.unlink()


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Keep other processes from downloading into the same folder; the lock ends with the process."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OrlError(f"another process is downloading into {root}: wait for it, or end it first") from None
        yield


def _write_record(root: Path, record: dict[str, Any]) -> None:
    temporary = root / f".{RECORD}.tmp"
    temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    temporary.replace(root / RECORD)


# ---- download --------------------------------------------------------------------------------------------------------


def _download(url: str, part: Path, size: int | None, progress: Progress) -> None:
    """Fetch a file, going on behind the bytes that are there, with a few attempts where the connection breaks."""
    failures = 0
    while True:
        before = _size(part)
        try:
            if _download_once(url, part, size, progress):
                return
            reason: object = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not before:
                raise OrlError(f"{url}: the server says {error.code} {error.reason}: is --url right?") from None
            part.unlink()  # longer than the file on the server: something else
            reason = error
        except (http.client.HTTPException, OSError) as error:
            if error.__class__ is OSError and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
                raise OrlError(
                    f"{part} cannot be written ({error.strerror}): make room and type the command again; it goes on"
                ) from None
            reason = getattr(error, "reason", error)
        failures = 0 if _size(part) > before else failures + 1
        if failures == ATTEMPTS:
            raise OrlError(f"{url} cannot be fetched ({reason}): once you are online, the same command goes on")
        time.sleep(_pause(failures))


def _pause(failures: int) -> float:
    """Seconds to wait before the next attempt."""
    return float(2**failures)


def _download_once(url: str, part: Path, size: int | None, progress: Progress) -> bool:
    """Fetch what is missing as far as the connection lasts; says whether that was all."""
    done = _size(part)
    if done and done == size:
        return True
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=60) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            done = 0  # a server that cannot resume sends everything
        total = done + int(response.headers["Content-Length"]) if response.headers["Content-Length"] else size
        if size is not None and total != size:
            raise OrlError(f"{url} has {total:,} bytes instead of {size:,}: it is another file; is --url right?")
        with part.open("ab" if done else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(done, total or done)
    return total is None or done == total


def _hashes(path: Path, progress: Progress) -> tuple[str, str]:
    """MD5 and SHA-256 of a file, read once."""
    md5, sha256, done, total = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0, _size(path)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
            done += len(chunk)
            progress(done, total)
    return md5.hexdigest(), sha256.hexdigest()


# ---- unpack ----------------------------------------------------------------------------------------------------------


def _unpack(path: Path, root: Path, archive: Archive, progress: Progress) -> None:
    """Unpack the members that are wanted; those that are there in full are left alone."""
    try:
        with zipfile.ZipFile(path) as file:
            members = {entry.filename: entry for entry in file.infolist() if not entry.is_dir()}
            for name in members:
                if "\\" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                    raise OrlError(f"{path} holds {name!r}, which leads out of its folder: it is not COCO's")
            wanted = {name: entry for name, entry in members.items() if _taken(archive, name)}
            if len(wanted) != archive.files:
                raise OrlError(f"{path} holds {len(wanted):,} files of {archive.folder}/, not {archive.files:,}")
            left = {name: entry for name, entry in wanted.items() if _size(root / name) != entry.file_size}
            _require_space(root, sum(entry.file_size for entry in left.values()))
            (root / archive.folder).mkdir(exist_ok=True)
            for done, (name, entry) in enumerate(left.items(), start=1 + len(wanted) - len(left)):
                target = root / name
                temporary = target.with_name(f".{target.name}.tmp")
                with file.open(entry) as source, temporary.open("wb") as copy:
                    shutil.copyfileobj(source, copy)  # checks the CRC at its end
                temporary.replace(target)
                progress(done, len(wanted))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise OrlError(f"{path} is damaged ({error}): delete it and type the command again") from None
    except OSError as error:
        raise OrlError(f"{path} cannot be unpacked ({error.strerror or error}): the same command goes on") from None


def _taken(archive: Archive, name: str) -> bool:
    folder, _, file = name.partition("/")
    if "/" in file or not file or file.startswith("."):
        return False
    return folder == archive.folder and file.startswith(archive.prefix)


# ---- files -----------------------------------------------------------------------------------------------------------


def _require_space(root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if needed > free:
        raise OrlError(
            f"{root} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed: make room, or"
            " choose another --root"
        )


def _record(root: Path) -> dict[str, Any]:
    try:
        return json.loads((root / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise OrlError(
            f"{root / RECORD} is damaged ({error}): delete it; archives that were kept serve again"
        ) from None


def _part(root: Path, archive: Archive) -> Path:
    return root / f"{archive.name}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
