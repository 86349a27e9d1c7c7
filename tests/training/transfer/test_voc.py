"""VOC's layout: what it says, and every way in which it can be wrong."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.settings import EncoderSettings
from orl_explore.views import tensors
from orl_explore.views.cropping import squeezed_view
from training.transfer.voc import find_voc, read_annotation, read_voc


def test_voc_layout_says_what_the_scenes_show(practice):
    data = read_voc(practice / "VOC2007")
    content = json.loads((practice / "annotations.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert data.classes == sorted(names.values())
    assert len(data.trainval.files) == len(data.test.files) == 45
    row_of = {image["id"]: row for row, image in enumerate(content["images"])}
    shown = np.full((90, len(names)), -1)
    for thing in content["annotations"]:
        place = row_of[thing["image_id"]], data.classes.index(names[thing["category_id"]])
        shown[place] = max(shown[place], 0 if thing["visible"] < 0.72 else 1)
    assert (shown == 0).any()  # some are difficult
    for part in (data.trainval, data.test):
        rows = [int(file.stem) - 1 for file in part.files]
        assert (part.labels == shown[rows]).all()


def test_lists_and_annotations_of_the_voc_layout_agree(voc):
    listed = read_voc(voc)
    for file in (voc / "ImageSets" / "Main").glob("*_*.txt"):
        file.unlink()
    annotated = read_voc(voc)  # without lists per class, the annotations say it
    assert annotated.classes == listed.classes
    for part in ("trainval", "test"):
        assert (getattr(annotated, part).labels == getattr(listed, part).labels).all()
    assert annotated.fingerprint == listed.fingerprint
    with (voc / "ImageSets" / "Main" / "test.txt").open("a") as file:
        file.write(f"{listed.test.files[0].stem}\n")
    with pytest.raises(OrlError, match=rf"test\.txt names {listed.test.files[0].stem} a second time"):
        read_voc(voc)


@pytest.mark.parametrize("inside", ["", "VOCdevkit"])
def test_voc_is_found_in_the_folders_around_it(voc, tmp_path, inside):
    root = tmp_path / inside
    root.mkdir(exist_ok=True)
    if inside:
        shutil.move(voc, root)
    assert find_voc((tmp_path,)) == root / "VOC2007"


def damage(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text) if text is not None else path.unlink()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("arrow_test.txt", None, r"arrow_test\.txt is missing"),
        ("arrow_trainval.txt", None, r"arrow_trainval\.txt is missing"),
        ("arrow_trainval.txt", "000001 yes\n", r"arrow_trainval\.txt, line 1 is '000001 yes'"),
        ("arrow_trainval.txt", "000001\n", r"line 1 is '000001'"),
        ("arrow_trainval.txt", "1 1\n1 1\n", r"line 2 names 1 a second time"),
        ("bottle_trainval.txt", "999999 1\n", r"do not list the same images"),
        ("unicorn_test.txt", "000001 1\n", r"unicorn_trainval\.txt is missing"),
    ],
)
def test_malformed_lists_are_refused_by_name(voc, file, text, message):
    damage(voc / "ImageSets" / "Main" / file, text)
    with pytest.raises(OrlError, match=message):
        read_voc(voc)


def test_a_class_without_images_is_named(voc):
    file = voc / "ImageSets" / "Main" / "arrow_trainval.txt"
    file.write_text(file.read_text().replace("  1\n", " -1\n"))
    with pytest.raises(OrlError, match="class 'arrow' has 0 images in trainval"):
        read_voc(voc)


def test_a_missing_image_is_named(voc):
    (voc / "JPEGImages" / "000007.jpg").unlink()
    with pytest.raises(OrlError, match=r"JPEGImages/000007\.jpg is missing"):
        read_voc(voc)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a b"])
def test_lists_cannot_name_files_elsewhere(voc, name):
    for split in ("trainval", "test"):
        for file in (voc / "ImageSets" / "Main").glob(f"*_{split}.txt"):
            file.unlink()
        (voc / "ImageSets" / "Main" / f"{split}.txt").write_text(f"{name}\n")
    with pytest.raises(OrlError, match=r"which is no name of a VOC image|is missing"):
        read_voc(voc)


BOMB = '<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;">]><annotation><object><name>&c;</name></object></annotation>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "is not valid XML"),
        (BOMB, "has a document type"),
        ("<annotation><object><difficult>1</difficult></object></annotation>", "object 1 has no name"),
    ],
)
def test_malformed_annotations_are_refused(tmp_path, text, message):
    file = tmp_path / "000001.xml"
    file.write_text(text)
    with pytest.raises(OrlError, match=message) as error:
        read_annotation(file)
    assert "000001.xml" in str(error.value)


def test_annotations_of_another_encoding_are_refused(tmp_path):
    file = tmp_path / "000001.xml"
    file.write_bytes(BOMB.encode("utf-16"))
    with pytest.raises(OrlError, match="cannot be read"):
        read_annotation(file)


@pytest.mark.parametrize(("feature", "numbers"), [("map", 8192), ("pooled", 2048)])
def test_features_of_the_papers_network(setup, practice, feature, numbers):
    data = read_voc(practice / "VOC2007")
    encoder = Encoder.random(EncoderSettings("resnet50", hidden=0, dim=2048), 0)
    few = type(data)(data.root, data.classes, *(type(p)(p.files[:1], p.labels[:1]) for p in (data.trainval, data.test)))
    train, test, facts = few.embed(encoder, 224, feature, setup)
    assert train.shape == test.shape == (1, numbers)
    assert np.linalg.norm(train) == pytest.approx(1)
    how = {"map": "7 x 7 to 2 x 2, kernel 6, stride 1, padding 0", "pooled": "global average"}[feature]
    assert facts == {"name": feature, "numbers": numbers, "pooling": how}
    with torch.inference_mode():
        image = tensors.to_tensor(squeezed_view(Image.open(few.test.files[0]), 224))[None]
        net = encoder.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(tensors.normalize(image)))))
        found = net.layer4(net.layer3(net.layer2(net.layer1(x))))  # (1, 2048, 7, 7)
    if feature == "map":
        windows = [found[:, :, y : y + 6, x : x + 6].mean((2, 3)) for y in (0, 1) for x in (0, 1)]
        by_hand = torch.stack(windows, dim=2).flatten(1)
    else:
        by_hand = found.mean((2, 3))
    assert test[0] == pytest.approx((by_hand / by_hand.norm())[0].numpy(), abs=1e-5)


def test_hooks_are_gone_afterwards(setup, practice):
    data = read_voc(practice / "VOC2007")
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=0, dim=512), 0)
    train, _, facts = data.embed(encoder, 32, "map", setup)
    assert train.shape == (45, 4 * 512)
    assert facts["pooling"] == "1 x 1 to 2 x 2, adaptive"
    assert not encoder.backbone.layer4._forward_hooks


def test_a_network_without_stages_has_the_pooled_feature_alone(setup, practice):
    data = read_voc(practice / "VOC2007")
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=0, dim=512), 0)
    encoder.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(OrlError, match=r"has no layer4, so it is no ResNet: use --test\.feature pooled"):
        data.embed(encoder, 32, "map", setup)
    assert data.embed(encoder, 32, "pooled", setup)[0].shape == (45, 4)
