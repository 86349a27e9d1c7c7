"""A folder per class, and lists of some of its images."""

from __future__ import annotations

import json
import shutil

import pytest

from orl_explore.errors import OrlError
from training.transfer.folders import read_folders, read_list


def test_folder_layout_holds_every_crop_once(practice):
    data = read_folders((practice,))
    content = json.loads((practice / "annotations.json").read_text())
    assert len(data.train) + len(data.val) == len(content["annotations"])
    assert len(data.classes) == len(content["categories"])
    of_image = {thing["id"]: thing["image_id"] for thing in content["annotations"]}
    train, val = ({of_image[int(file.stem)] for file in part.files} for part in (data.train, data.val))
    assert not train & val  # split by image
    for share in ("1percent.txt", "10percent.txt"):
        part = read_list(data, data.root / share)
        assert set(part.labels.tolist()) == set(range(len(data.classes)))  # each class at least once
        assert {file.parent.name for file in part.files} == set(data.classes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root / "val"), "has no folder val/"),
        (lambda root: (root / "val" / "arow").mkdir(), "arow has no image"),
        (lambda root: (root / "val" / "arrow").rename(root / "val" / "arow"), r"'arow', which train has not.*arrow"),
        (lambda root: [file.unlink() for file in (root / "train" / "arrow").iterdir()], "train/arrow has no image"),
    ],
)
def test_malformed_folders_are_refused(folders, change, message):
    change(folders)
    with pytest.raises(OrlError, match=message):
        read_folders((folders,))


def test_what_is_no_picture_is_counted(folders, capsys):
    before = read_folders((folders,))
    assert capsys.readouterr().err == ""
    (folders / "train" / "arrow" / "x.jp2").write_bytes(b"")
    (folders / "val" / "arrow" / "notes.md").write_text("")
    (folders / "val" / "arrow" / ".hidden").write_text("")
    assert len(read_folders((folders,)).train) == len(before.train)
    said = " ".join(capsys.readouterr().err.split())
    assert "2 files and folders are left out, such as" in said
    assert "JPEG 2000" in said
    shutil.copy(before.train.files[0], folders / "train" / "0.jpg")
    shutil.rmtree(folders / "val" / "arrow")
    read_folders((folders,))
    said = " ".join(capsys.readouterr().err.split())
    assert "0.jpg: in no class" in said
    assert "1 class of train, such as arrow, is not in val" in said


@pytest.mark.parametrize("form", ["{class}/{name}", "{name}", "train/{class}/{name}", "{class}/{name} 3"])
def test_lists_in_the_forms_that_are_around(folders, form):
    data = read_folders((folders,))
    files = data.train.files[:5]
    lines = [form.format(**{"class": file.parent.name, "name": file.name}) for file in files]
    (folders / "mine.txt").write_text("\n".join(lines))
    part = read_list(data, folders / "mine.txt")
    assert part.files == files
    assert part.labels.tolist() == data.train.labels[:5].tolist()


def test_a_file_name_that_two_classes_have_is_refused_where_it_stands_alone(folders):
    file = min((folders / "train" / "arrow").iterdir())
    shutil.copy(file, folders / "train" / "fish" / file.name)
    other = sorted((folders / "train" / "arrow").iterdir())[1]
    (folders / "mine.txt").write_text(f"{other.name}\n{file.name}\n")
    with pytest.raises(OrlError, match=r"line 2 is .*, which 2 classes have: write CLASS/FILE"):
        read_list(read_folders((folders,)), folders / "mine.txt")
    (folders / "mine.txt").write_text(f"fish/{file.name}\narrow/{file.name}\n")
    assert [path.parent.name for path in read_list(read_folders((folders,)), folders / "mine.txt").files] == [
        "fish",
        "arrow",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arrow/nothing.jpg\n", r"line 1 is 'arrow/nothing\.jpg', which is not in"),
        ("", "names 0 images"),
        (None, "cannot be read"),
    ],
)
def test_malformed_lists_of_labeled_images_are_refused(folders, text, message):
    if text is not None:
        (folders / "mine.txt").write_text(text)
    with pytest.raises(OrlError, match=message):
        read_list(read_folders((folders,)), folders / "mine.txt")
