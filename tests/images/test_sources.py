"""What folders, COCO jsons and lists name: files with ids that stay, labels, and where the files are."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from image_files import PNG, good_pair, noise, save, write_coco
from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images

# ---- folders -----------------------------------------------------------------------------------------------------


def test_folder_is_recursive_sorted_and_leaves_hidden_files_out(tmp_path):
    for name in ["b.PNG", "a/z.jpg", "a/b/c.webp", "a.bmp", ".hidden.png", ".cache/x.png", "a/.t/y.png"]:
        save(tmp_path / name)
    (tmp_path / "README.md").write_text("no picture, and no reason to mention it")
    images = open_images([tmp_path])
    assert list(images.table["file_name"]) == ["a.bmp", "a/b/c.webp", "a/z.jpg", "b.PNG"]
    assert images.skipped.empty
    assert images.roots == (tmp_path,)
    assert images.path(2) == tmp_path / "a" / "z.jpg"
    assert {name: str(kind) for name, kind in images.table.dtypes.items()} == {
        "image_id": "int64",
        "file_name": "str",
        "source": "int16",
        "width": "int32",
        "height": "int32",
        "content_hash": "str",
    }
    assert images.objects.empty
    assert list(images.objects) == ["object_id", "image_id", "x", "y", "w", "h", "category", "segmentation"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    save(tmp_path / "elsewhere/e.png")
    save(tmp_path / "set/a.png")
    (tmp_path / "set/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "set")
    assert list(open_images([tmp_path / "set"]).table["file_name"]) == ["a.png", "link/e.png"]


def test_folders_go_by_their_own_names(tmp_path):
    """A link that comes first in the alphabet takes no labels away, as these lie beside the folder's own name."""
    save(tmp_path / "set/images/a.png")
    save(tmp_path / "set/images/b.png")
    (tmp_path / "set/labels").mkdir()
    (tmp_path / "set/labels/a.txt").write_text("0 0.5 0.5 0.2 0.2")
    (tmp_path / "set/all").symlink_to(tmp_path / "set/images")
    (tmp_path / "set/deep/er").mkdir(parents=True)
    (tmp_path / "set/deep/er/again").symlink_to(tmp_path / "set/images")
    images = open_images([tmp_path / "set"])
    assert list(images.table["file_name"]) == ["images/a.png", "images/b.png"]
    assert len(images.objects) == 1
    assert "2 links lead to what has another name, such as all/: not read twice" in "\n".join(images.findings.notes)


def test_what_may_be_pictures_is_counted(tmp_path):
    """A link into a drive that is not there, and pictures whose names do not say so; not what is anything else."""
    for number, name in enumerate(["a.png", "b.png", "no_suffix", "b.jpg_large", "c.jpg.download", "d.png ", "x.jpg~"]):
        save(tmp_path / "there.png")
        (tmp_path / "there.png").rename(tmp_path / name)
        with (tmp_path / name).open("ab") as file:
            file.write(bytes([number]))  # no copies
    (tmp_path / "drive").symlink_to("/not/mounted/2019")
    (tmp_path / "Makefile").write_text("all:")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    images = open_images([tmp_path])
    assert list(images.table["file_name"]) == ["a.png", "b.png"]
    reasons = dict(zip(images.skipped["file_name"], images.skipped["reason"], strict=True))
    assert reasons.pop("drive") == "a link to what is not there"
    assert reasons.keys() == {"no_suffix", "b.jpg_large", "c.jpg.download", "d.png ", "x.jpg~"}
    assert {reason.partition(":")[0] for reason in reasons.values()} == {"a PNG file whose name does not end as one's"}


def test_runs_among_pictures_are_none(tmp_path):
    save(tmp_path / "a.png")
    for name, manifest in {"run": {"format": 2, "stages": {}}, "other": {"format": 2}, "broken": None}.items():
        save(tmp_path / name / "b.png")
        (tmp_path / name / "run.json").write_text("{" if manifest is None else json.dumps(manifest))
    images = open_images([tmp_path])
    assert sorted(images.table["file_name"]) == ["a.png", "broken/b.png", "other/b.png"]
    assert "1 run is no pictures: left out, such as run/" in "\n".join(images.findings.notes)
    save(tmp_path / "run/c.png")
    assert len(open_images([tmp_path / "run"]).table) == 2  # where a person says so


def test_ids_are_stable_and_safe(tmp_path):
    names = ["a.png", "sub/b.png", "ünï cödé.png", "q?#%&.png"]
    for name in names:
        save(tmp_path / name)
    before = open_images([tmp_path]).table.set_index("file_name")["image_id"]
    # Fixed for all time, because runs on disk refer to it: `printf a.png | b2sum -l 64`, without its last 11 bits
    assert before["a.png"] == 7952145634355070
    assert before.between(0, 2**53 - 1).all()
    assert before.is_unique
    save(tmp_path / "0_new.png")
    (tmp_path / "sub/b.png").unlink()
    after = open_images([tmp_path]).table.set_index("file_name")["image_id"]
    assert (after[["a.png", "ünï cödé.png"]] == before[["a.png", "ünï cödé.png"]]).all()


def test_name_that_is_not_unicode(tmp_path):
    good_pair(tmp_path)
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(PNG)
    except OSError:
        pytest.skip("this file system has Unicode names only")
    images = open_images([tmp_path])
    assert images.skipped.to_dict("records") == [{"file_name": "?.png", "reason": "file name is not valid Unicode"}]


def test_relative_folder_gets_an_absolute_root(tmp_path, monkeypatch):
    good_pair(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    assert open_images([Path("set")]).roots == (tmp_path / "set",)


# ---- COCO --------------------------------------------------------------------------------------------------------


def test_coco_keeps_ids_order_and_labels(tmp_path):
    images = open_images([write_coco(tmp_path)])
    assert list(images.table["image_id"]) == [20, 3, 100]
    assert list(images.table["file_name"]) == ["b.png", "a.png", "c.png"]
    # `license` says nothing about the picture, a list is no scalar
    assert list(images.table)[6:] == ["context"]
    assert images.table["context"].iloc[:2].tolist() == ["kitchen", "street"]
    assert pd.isna(images.table["context"].iloc[2])
    objects = images.objects.drop(columns="segmentation").to_dict("records")
    assert objects == [
        {"object_id": 7, "image_id": 3, "x": 10.0, "y": 10.0, "w": 20.0, "h": 10.0, "category": "cup"},
        {"object_id": 5, "image_id": 20, "x": 1.5, "y": 2.0, "w": 3.0, "h": 4.0, "category": "bus"},
    ]
    assert {str(images.objects[name].dtype) for name in "xywh"} == {"float32"}


@pytest.mark.parametrize(
    ("json_at", "files_at", "root"),
    [
        ("set", "set", None),
        ("set", "set/images", None),
        ("coco/annotations", "coco/val2017", None),  # instances_val2017.json, as COCO is unpacked
        ("here", "there", "there"),
        ("here", "coco/val2017", "coco"),
    ],
)
def test_where_coco_files_are_found(tmp_path, json_at, files_at, root):
    (tmp_path / json_at).mkdir(parents=True)
    file = write_coco(tmp_path / files_at, "instances_val2017.json")
    file = file.rename(tmp_path / json_at / file.name)
    images = open_images([file], root=root and tmp_path / root)
    assert images.roots == (tmp_path / files_at,)
    assert len(images) == 3


def test_root_wins_over_the_folder_of_the_json(tmp_path):
    file = write_coco(tmp_path)
    write_coco(tmp_path / "other")
    assert open_images([file], root=tmp_path / "other").roots == (tmp_path / "other",)


def test_no_file_of_a_coco_json_found(tmp_path):
    file = write_coco(tmp_path / "pictures").rename(tmp_path / "x.json")
    (tmp_path / "elsewhere").mkdir()
    file = file.rename(tmp_path / "elsewhere/x.json")
    with pytest.raises(OrlError, match=r"no image of .*x\.json \(such as b\.png\).*pass their folder with --root"):
        open_images([file])
    with pytest.raises(OrlError, match="there is no folder"):
        open_images([file], root=tmp_path / "nowhere")


def test_coco_images_that_cannot_be_used(tmp_path):
    outside = save(tmp_path / "outside.png")
    names = ["../outside.png", str(outside), "sub/../../outside.png", "gone.png", "a.png", "x/../b.png", "\ud800.png"]
    images = [{"id": i, "file_name": name} for i, name in enumerate([*names, "a.png"])]
    images.append({"id": 5, "file_name": "c.png"})
    annotations = [{"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 9, 9]} for i in range(10)]
    found = open_images([write_coco(tmp_path / "set", images=images, annotations=annotations)])
    assert found.table[["image_id", "file_name"]].values.tolist() == [[4, "a.png"], [5, "b.png"]]
    leaves = f"leaves its folder: the annotation file names a path outside; pass --root {tmp_path} (root=...)"
    assert found.skipped.values.tolist() == [
        ["../outside.png", leaves],
        [str(outside), leaves],
        ["sub/../../outside.png", leaves],
        ["gone.png", "no such file"],
        ["?.png", "file name is not valid Unicode"],
        ["a.png", "listed twice: already image id 4"],
        ["c.png", "listed twice: image id 5 is already b.png"],
    ]
    assert found.objects["image_id"].tolist() == [4, 5]  # of images that are not there, no objects


@pytest.mark.parametrize("folder", ["photos", "my photos"])
@pytest.mark.parametrize(
    ("names", "where"),
    [
        (["../{}/a.png", "../{}/b.png"], "{}"),
        (["/{}/a.png", "/{}/b.png"], "{}"),
        (["../{}/a.png", "../{}/sub/c.png"], "{}"),
        (["../{}/sub/c.png", "../{}/sub/d.png"], "{}/sub"),
        (["inside.png", "../{}/a.png"], ""),
        (["../nowhere/a.png", "../nowhere/b.png"], None),
    ],
)
def test_names_that_leave_the_folder_come_with_a_root_that_takes_them(tmp_path, folder, names, where):
    for name in ("a", "b", "sub/c", "sub/d"):
        (tmp_path / folder / "sub").mkdir(parents=True, exist_ok=True)
        save(tmp_path / folder / f"{name}.png")
    names = [name.format(f"{tmp_path}/{folder}"[1:] if name.startswith("/") else folder) for name in names]
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    save(tmp_path / "json/inside.png")
    file = tmp_path / "json/x.json"
    file.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    with pytest.raises(OrlError, match="leaves its folder") as error:
        open_images([file])
    advised = re.search(r"; pass --root (\S+|'.+?') \(root=", str(error.value))
    if where is None:
        assert advised is None
        assert "; pass the folder of the images with --root" in str(error.value)
        return
    root = shlex.split(advised[1])[0]
    assert Path(root) == tmp_path / where.format(folder)
    assert len(open_images([file], root=Path(root))) == len(names)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no JSON, or ends too early"),
        (b'{"images": [{"id": 1, "file_name": "a.p', "is no JSON, or ends too early"),
        (b"\xff\xfe\x00", "is no JSON, or ends too early"),
        (b"[" * 100_000, "is no JSON, or ends too early"),
        (b"[1, 2]", "is no COCO file"),
        (b'{"bbox": [[1, 2, 3, 4]]}', "is no COCO file"),
        # the authors' neighbor files have `images`, but as a table
        (b'{"images": {"file_name": [], "id": []}}', "is no COCO file"),
        (b'{"images": [1]}', r"images\[0\] lacks"),
        (b'{"images": [{"id": 1}]}', r"images\[0\] lacks"),
        (b'{"images": [{"id": " ", "file_name": "a.png"}]}', "whole number or text"),
        (b'{"images": [{"id": true, "file_name": "a.png"}]}', "whole number"),
        (b'{"images": [{"id": 1e400, "file_name": "a.png"}]}', "whole number"),
        (b'{"images": [{"id": 9223372036854775808, "file_name": "a.png"}]}', "whole number"),
        (b'{"images": [], "annotations": {}, "categories": 5}', "must be lists"),
        (b'{"images": [], "categories": [{"id": 1}]}', "a category lacks"),
        (b'{"images": []}', "no usable image"),
    ],
)
def test_files_that_are_no_coco(tmp_path, content, words):
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(OrlError, match=words) as error:
        open_images([file])
    assert "x.json" in str(error.value)


# ---- lists, and several sources ----------------------------------------------------------------------------------


def test_list_file(tmp_path):
    for name in ("set/b.png", "set/a b.png", "set/sub/c.png", "elsewhere/d.png"):
        save(tmp_path / name)
    far = tmp_path / "elsewhere/d.png"
    file = tmp_path / "set/list.txt"
    lines = ["# my pictures", "", f"  {tmp_path}/set/sub/c.png", "a b.png\r", f"{far}", "./b.png", "b.png", "gone.png"]
    file.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    images = open_images([file])
    assert images.table["file_name"].tolist() == ["sub/c.png", "a b.png", str(far), "b.png"]
    assert images.skipped.values.tolist() == [["b.png", "listed twice"], ["gone.png", "no such file"]]
    assert images.roots == (tmp_path / "set",)
    assert images.path(2) == far
    assert images.load(2).size == (64, 48)
    # the same ids as those of the folder
    of_folder = open_images([tmp_path / "set"]).table.set_index("file_name")["image_id"]
    assert images.table["image_id"][0] == of_folder["sub/c.png"]


def test_list_file_with_root(tmp_path):
    good_pair(tmp_path / "set")
    file = tmp_path / "list.txt"
    file.write_text("good2.jpg\ngood1.png\n")
    images = open_images([file], root=tmp_path / "set")
    assert images.table["file_name"].tolist() == ["good2.jpg", "good1.png"]
    assert images.roots == (tmp_path / "set",)


def test_the_same_image_from_two_sources(tmp_path):
    good_pair(tmp_path / "all/one")
    good_pair(tmp_path / "all/two")
    one, two = tmp_path / "all/one", tmp_path / "all/two"
    with pytest.raises(OrlError, match=rf"good1\.png is in both .*pass their common parent, {tmp_path}/all, instead"):
        open_images([one, two])
    for sources in ([one, one], [one, tmp_path / "all"], [tmp_path / "all", one]):
        with pytest.raises(OrlError, match=r"good1\.png is in both .*: pass only one of them"):
            open_images(sources)


def test_sources_that_are_none(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "binary.txt").write_bytes(b"\xfe\x00\x80\x81")
    for sources, words in [
        ([], "no images given"),
        ([tmp_path / "nowhere"], r"there is no .*nowhere"),
        ([tmp_path / "a.csv"], "neither a folder"),
        ([tmp_path / "binary.txt"], "cannot be read as a list"),
    ]:
        with pytest.raises(OrlError, match=words):
            open_images(sources)


@pytest.mark.parametrize("name", ["instances.json", "deep/er/_annotations.coco.json"])
def test_a_folder_with_a_json_alone_is_the_json(tmp_path, name):
    written = write_coco(tmp_path / "images")
    path = tmp_path / "annotations" / name
    path.parent.mkdir(parents=True)
    written.rename(path)
    (tmp_path / "annotations" / "all.zip").write_bytes(b"")
    images = open_images([tmp_path / "annotations"], root=tmp_path / "images")
    assert images.table["image_id"].tolist() == [20, 3, 100]
    assert f"holds no pictures: {name} in it is read" in "\n".join(images.findings.lines())
    assert "all.zip" in images.skipped["file_name"].tolist()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_lists_have_labels_and_any_unicode(tmp_path, encoding):
    """VOC's list of stems has the label files of its pictures, without those of others; PowerShell writes UTF-16."""
    for name in "abc":
        save(tmp_path / "JPEGImages" / f"{name}.png", noise(seed=ord(name)))
        box = "".join(
            f"<{key}>{n}</{key}>" for key, n in zip(("xmin", "ymin", "xmax", "ymax"), (1, 1, 20, 20), strict=True)
        )
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        text = f"<annotation><object><name>cup</name><bndbox>{box}</bndbox></object></annotation>"
        (tmp_path / "Annotations" / f"{name}.xml").write_text(text)
    path = tmp_path / "ImageSets" / "Main" / "train.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes((b"\xff\xfe" if encoding == "utf-16-le" else b"") + "a\nb\n".encode(encoding))
    images = open_images([path])
    assert len(images) == len(images.objects) == images.findings.given == 2
