"""COCO from a server on this machine: resuming, checks, layout, and what is refused."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import shutil
import threading
import zipfile

import pytest
from PIL import Image

from orl_explore.errors import OrlError
from orl_explore.images import downloads
from orl_explore.images.downloads import ANNOTATIONS, COCO, RECORD, Archive, download_coco, space_needed
from orl_explore.images.opening import open_images
from training import cli


def jpeg(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), (shade, 9, 9)).save(file, "JPEG")
    return file.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def annotations(split: str, first: int) -> bytes:
    images = [{"id": first + n, "file_name": f"{first + n:012}.jpg"} for n in range(3)]
    return json.dumps({"images": images, "annotations": [], "categories": []}).encode()


FIRST = {"train2017": 1, "val2017": 11, "unlabeled2017": 21}
FILES = {
    **{
        f"/zips/{split}.zip": zipped(
            {f"{split}/": b"", **{f"{split}/{first + n:012}.jpg": jpeg(first + n) for n in range(3)}}
        )
        for split, first in FIRST.items()
    },
    "/annotations/annotations_trainval2017.zip": zipped(
        {
            "annotations/instances_train2017.json": annotations("train2017", 1),
            "annotations/instances_val2017.json": annotations("val2017", 11),
            "annotations/captions_train2017.json": b"{}",
        }
    ),
    "/annotations/image_info_unlabeled2017.zip": zipped(
        {"annotations/image_info_unlabeled2017.json": annotations("unlabeled2017", 21)}
    ),
}


class Server(http.server.ThreadingHTTPServer):
    """Serves FILES with ranges; can break off after so many bytes, know no ranges, or serve something else."""

    def __init__(self):
        super().__init__(("localhost", 0), Handler)
        self.files, self.log, self.breaks, self.ranges = dict(FILES), [], 0, True
        self.url = f"http://localhost:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers["Range"]
        server.log.append((self.path, wanted))
        data = server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if server.breaks:
            server.breaks -= 1
            self.wfile.write(data[start : start + 200])
        else:
            self.wfile.write(data[start:])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def small_coco(monkeypatch):
    """The table with sizes and hashes of the small files."""

    def small(archive: Archive) -> Archive:
        data = FILES[f"/{archive.path}"]
        size = None if archive.size is None else len(data)
        files = 3 if archive.path.startswith("zips/") else archive.files
        md5 = hashlib.md5(data).hexdigest()
        return Archive(archive.path, size, md5, len(data), archive.folder, files, archive.prefix)

    table = {split: tuple(map(small, archives)) for split, archives in COCO.items()}
    monkeypatch.setattr(downloads, "COCO", table)
    monkeypatch.setattr(downloads, "_pause", lambda failures: 0)


def tree(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


TRAIN = [f"train2017/{n:012}.jpg" for n in (1, 2, 3)]
JSONS = ["annotations/instances_train2017.json", "annotations/instances_val2017.json"]


# ---- what is known of COCO -----------------------------------------------------------------------------------


def test_the_table():
    assert {split: archives[0].files for split, archives in COCO.items()} == {
        "train2017": 118_287,
        "val2017": 5_000,
        "unlabeled2017": 123_403,
    }
    assert COCO["train2017"][0].files + COCO["unlabeled2017"][0].files == 241_690  # COCO+
    for archives in COCO.values():
        assert all(len(archive.md5) == 32 and int(archive.md5, 16) for archive in archives)


# ---- what it does --------------------------------------------------------------------------------------------


def test_layout(server, tmp_path):
    root = tmp_path / "new" / "coco"
    sources = download_coco(root, ["train2017", "unlabeled2017"], url=server.url)
    assert tree(root) == sorted(
        [".lock", RECORD, *TRAIN, *JSONS, ANNOTATIONS["unlabeled2017"]]
        + [f"unlabeled2017/{n:012}.jpg" for n in (21, 22, 23)]
    )
    images = open_images(sources)  # found without saying where they are
    assert images.table["image_id"].tolist() == [1, 2, 3, 21, 22, 23]
    record = json.loads((root / RECORD).read_text())
    data = FILES["/zips/train2017.zip"]
    assert record["train2017.zip"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["train2017.zip"]["bytes"] == len(data)


def test_nothing_is_fetched_twice(server, tmp_path):
    download_coco(tmp_path, url=server.url)
    assert server.log == [("/zips/train2017.zip", None), ("/annotations/annotations_trainval2017.zip", None)]
    download_coco(tmp_path, url=server.url)
    download_coco(tmp_path, ["train2017", "val2017"], url=server.url)
    assert server.log[2:] == [("/zips/val2017.zip", None)]  # its annotations came with the others
    (tmp_path / TRAIN[1]).unlink()
    download_coco(tmp_path, url=server.url)
    assert server.log[3:] == [("/zips/train2017.zip", None)]
    assert (tmp_path / TRAIN[1]).read_bytes() == jpeg(2)


def test_a_zip_that_is_there_is_used(server, tmp_path):
    (tmp_path / "train2017.zip").write_bytes(FILES["/zips/train2017.zip"])
    download_coco(tmp_path, url=server.url, keep_zips=True)
    assert [path for path, _ in server.log] == ["/annotations/annotations_trainval2017.zip"]
    assert {"train2017.zip", "annotations_trainval2017.zip"} <= set(tree(tmp_path))


@pytest.mark.parametrize(
    ("before", "breaks", "ranges", "asked"),
    [
        (100, 0, True, ["bytes=100-"]),  # an earlier command was stopped after 100 bytes
        (0, 2, True, [None, "bytes=200-", "bytes=400-"]),  # the connection breaks twice, after 200 bytes each
        (100, 0, False, ["bytes=100-"]),  # the server sends everything again
        (10**5, 0, True, ["bytes=100000-", None]),  # longer than the file: something else
    ],
)
def test_resuming(server, tmp_path, before, breaks, ranges, asked):
    data = FILES["/zips/train2017.zip"]
    (tmp_path / "train2017.zip.part").write_bytes(data[:before].ljust(before, b"x"))
    server.breaks, server.ranges = breaks, ranges
    download_coco(tmp_path, url=server.url)
    assert [wanted for path, wanted in server.log if path == "/zips/train2017.zip"] == asked
    assert tree(tmp_path) == sorted([".lock", RECORD, *TRAIN, *JSONS])


def test_a_complete_part_is_not_asked_for(server, tmp_path):
    (tmp_path / "train2017.zip.part").write_bytes(FILES["/zips/train2017.zip"])
    download_coco(tmp_path, url=server.url)
    assert [path for path, _ in server.log] == ["/annotations/annotations_trainval2017.zip"]


def test_unpacking_goes_on(server, tmp_path):
    (tmp_path / "train2017").mkdir()
    (tmp_path / TRAIN[0]).write_bytes(jpeg(1))
    (tmp_path / TRAIN[1]).write_bytes(jpeg(2)[:50])
    before = (tmp_path / TRAIN[0]).stat().st_mtime_ns
    download_coco(tmp_path, url=server.url)
    assert (tmp_path / TRAIN[0]).stat().st_mtime_ns == before
    assert (tmp_path / TRAIN[1]).read_bytes() == jpeg(2)


def test_space_by_hand(tmp_path):
    """One after the other, each zip removed: the images of the first stay while the second is zip and images."""
    first = Archive("a.zip", 100, "", unpacked=110, folder="a", files=1)
    second = Archive("b.zip", 200, "", unpacked=210, folder="b", files=1)
    assert space_needed(tmp_path, [first]) == 210
    assert space_needed(tmp_path, [first, second]) == 110 + 200 + 210
    assert space_needed(tmp_path, [first, second], keep_zips=True) == 210 + 200 + 210
    (tmp_path / "a.zip.part").write_bytes(b"x" * 40)
    assert space_needed(tmp_path, [first]) == 60 + 110
    assert space_needed(tmp_path, [first, second]) == 110 - 40 + 200 + 210


# ---- what is refused -----------------------------------------------------------------------------------------


def with_data(archive: Archive, data: bytes, monkeypatch) -> Archive:
    changed = Archive(archive.path, len(data), hashlib.md5(data).hexdigest(), len(data), archive.folder, 3)
    monkeypatch.setitem(downloads.COCO, "train2017", (changed,))
    return changed


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"../evil.jpg": b""}, "'../evil.jpg', which leads out"),
        ({"train2017/../../evil.jpg": b""}, "which leads out"),
        ({"/evil.jpg": b""}, "which leads out"),
        ({"train2017\\..\\evil.jpg": b""}, "which leads out"),
        ({}, "holds 2 files of train2017/, not 3"),
        ({"train2017/deep/3.jpg": b"", ".hidden": b""}, "holds 2 files of train2017/, not 3"),
    ],
)
def test_bad_archives(server, tmp_path, monkeypatch, members, message):
    data = zipped({"train2017/1.jpg": b"1", "train2017/2.jpg": b"2", **members})
    server.files["/zips/train2017.zip"] = data
    with_data(downloads.COCO["train2017"][0], data, monkeypatch)
    root = tmp_path / "root"
    with pytest.raises(OrlError, match=r"train2017\.zip holds") as error:
        download_coco(root, url=server.url)
    assert message in str(error.value)
    assert tree(tmp_path) == ["root/.lock", "root/train2017.zip"]  # nothing unpacked, inside or out


def test_wrong_hash(server, tmp_path):
    data = FILES["/zips/train2017.zip"]
    server.files["/zips/train2017.zip"] = data[:-1] + b"x"
    with pytest.raises(OrlError, match=r"came with MD5 \w{32}, and not \w{32}; it was removed"):
        download_coco(tmp_path, url=server.url)
    assert tree(tmp_path) == [".lock"]
    server.files["/zips/train2017.zip"] = data
    download_coco(tmp_path, url=server.url)
    assert set(TRAIN) <= set(tree(tmp_path))


def test_a_zip_of_somebody_else_is_left_alone(server, tmp_path):
    (tmp_path / "train2017.zip").write_bytes(b"mine")
    with pytest.raises(OrlError, match="move it away"):
        download_coco(tmp_path, url=server.url)
    assert (tmp_path / "train2017.zip").read_bytes() == b"mine"


def test_a_crc_that_is_wrong(server, tmp_path, monkeypatch):
    """The hash is right, so the archive was made like this: the image is not kept."""
    data = bytearray(zipped({f"train2017/{n}.jpg": b"some bytes of an image" for n in range(3)}))
    data[data.index(b"some bytes")] ^= 1
    server.files["/zips/train2017.zip"] = bytes(data)
    with_data(downloads.COCO["train2017"][0], bytes(data), monkeypatch)
    with pytest.raises(OrlError, match=r"is damaged \(Bad CRC-32"):
        download_coco(tmp_path, url=server.url)
    assert not (tmp_path / "train2017" / "0.jpg").exists()


def test_another_size(server, tmp_path):
    server.files["/zips/train2017.zip"] += b"more"
    with pytest.raises(OrlError, match=r"has \S+ bytes instead of \S+: it is another file"):
        download_coco(tmp_path, url=server.url)


def test_not_found(server, tmp_path):
    with pytest.raises(OrlError, match="the server says 404"):
        download_coco(tmp_path, url=f"{server.url}/nowhere")


def test_no_network(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(OrlError, match=r"cannot be fetched .*the same command goes on"):
        download_coco(tmp_path, url=server.url)


def test_no_space(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OrlError, match=r"0\.0 GB free, and 0\.0 GB are needed: make room"):
        download_coco(tmp_path, url=server.url)
    assert server.log == []  # before anything was fetched


def test_unknown_split(tmp_path):
    with pytest.raises(OrlError, match="no split 'train2014' here: choose from train2017, val2017, unlabeled2017"):
        download_coco(tmp_path, ["train2014"])
    with pytest.raises(OrlError, match="must begin with http"):
        download_coco(tmp_path, url="mirror.example")


# ---- the command ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "config", "splits"),
    [
        ([], "coco", ["train2017"]),
        (["--unlabeled"], "cocoplus", ["train2017", "unlabeled2017"]),
        (["--split", "train2017", "val2017"], "coco", ["train2017"]),
        (["--split", "val2017"], "photos", ["val2017"]),
    ],
)
def test_the_command_says_what_to_type_next(server, tmp_path, capsys, options, config, splits):
    root = tmp_path / "my coco"
    assert cli.main(["data", "coco", "--root", str(root), "--url", server.url, *options]) == 0
    sources = " ".join(f"'{root}/{ANNOTATIONS[split]}'" for split in splits)
    assert f"next: orl plan runs/{config} --config {config} --images {sources}\n" in capsys.readouterr().err
