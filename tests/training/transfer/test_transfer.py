"""The transfer protocols: their arithmetic by hand, the layouts they read, and each of them from end to end."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.judging import results
from orl_explore.practice.benchmark_folders import write_imagefolder, write_voc
from orl_explore.practice.scenes import make_scenes
from orl_explore.runs.run import Run
from orl_explore.settings import EncoderSettings
from training import cli
from training.transfer import knn, linear, retrieval, semi, svm
from training.transfer import runner as transfer
from training.transfer.encoders import name_of
from training.transfer.fitting import EachOnce, LabeledViews, fit_heads, step_decay
from training.transfer.folders import read_folders, read_list
from training.transfer.protocols import PROTOCOLS
from training.transfer.setup import Setup
from training.transfer.svm import COSTS, average_precision, chance, sample_labels
from training.transfer.voc import find_voc, read_annotation, read_voc


@pytest.fixture(scope="module")
def practice(tmp_path_factory):
    """90 scenes as VOC2007/ and imagefolder/, with annotations.json beside them. Copy before changing."""
    folder = tmp_path_factory.mktemp("practice")
    annotations = make_scenes(folder, count=90, size=64, seed=5, disguise=True)
    write_voc(annotations, folder)
    write_imagefolder(annotations, folder)
    return folder


@pytest.fixture
def voc(practice, tmp_path):
    """A copy of VOC2007, to be damaged."""
    return shutil.copytree(practice / "VOC2007", tmp_path / "VOC2007")


@pytest.fixture
def folders(practice, tmp_path):
    """A copy of imagefolder, to be damaged."""
    return shutil.copytree(practice / "imagefolder", tmp_path / "imagefolder")


@pytest.fixture
def copy(finished, tmp_path):
    """A run with all stages, to be judged."""
    return Run(shutil.copytree(finished.path, tmp_path / "copy"))


@pytest.fixture
def setup(copy, tiny, tmp_path):
    return Setup(copy, tiny, (), "test", tmp_path / "work")


# ---- average precision ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected"),
    [  # of images ranked 1, 2, 3, ...
        pytest.param([1, 1, -1, -1], 1.0, id="all first"),
        pytest.param([1, -1, 1, -1], (1 + 2 / 3) / 2, id="precision 1/1, then 2/3"),
        pytest.param([-1, 1, 1], 2 / 3, id="1/2, then 2/3: the better later precision counts for both"),
        pytest.param([-1, -1, 1], 1 / 3, id="last"),
        pytest.param([0, 1, 0, -1], 1.0, id="difficult images are as if they were not there"),
        pytest.param([1, -1, -1, 1, 1], (1 + 3 / 5 + 3 / 5) / 3, id="2/4 is raised to 3/5"),
    ],
)
def test_average_precision_by_hand(labels, expected):
    scores = -np.arange(len(labels), dtype=float)
    assert average_precision(scores, np.array(labels)) == pytest.approx(expected)


@given(st.lists(st.sampled_from([-1, 1]), min_size=1, max_size=30).filter(lambda labels: 1 in labels), st.randoms())
def test_average_precision_is_the_area_under_the_envelope(labels, random):
    order = list(range(len(labels)))
    random.shuffle(order)
    scores, y = np.array(order, float), np.array(labels)
    ranked = y[np.argsort(-scores)] == 1
    recalls = np.cumsum(ranked) / ranked.sum()
    precisions = np.cumsum(ranked) / np.arange(1, len(y) + 1)
    # The definition: over the steps of recall, the best precision reached at this recall or a higher one.
    area, before = 0.0, 0.0
    for recall in sorted(set(recalls[ranked])):
        area += (recall - before) * precisions[recalls >= recall].max()
        before = recall
    assert average_precision(scores, y) == pytest.approx(area)
    assert average_precision(2 * scores + 7, y) == pytest.approx(area)


def test_chance_is_the_mean_share_of_positives_without_the_difficult():
    labels = np.array([[1, 1], [-1, 1], [-1, 0], [-1, -1]])  # 1 of 4; 2 of 3
    assert chance(labels) == pytest.approx((1 / 4 + 2 / 3) / 2)


# ---- SVMs ----------------------------------------------------------------------------------------------------------


def test_costs_are_those_of_the_literature():
    assert len(COSTS) == 19
    assert list(COSTS) == sorted([0.0625 / 2**n for n in range(16)] + [1, 10, 100])


def test_svm_has_the_settings_of_the_literature():
    made = svm.linear_svm(0.5, svm.VocSettings(), seed=0).get_params()
    wanted = {"C": 0.5, "loss": "squared_hinge", "penalty": "l2", "dual": True, "tol": 1e-4, "max_iter": 2000}
    assert wanted.items() <= made.items()
    assert made["class_weight"] == {1: 2.0, -1: 1.0}


def test_cost_is_the_one_that_cross_validates_best(setup):
    # One feature tells the class, among many of noise: a strong penalty ranks as well as a weak one on training data,
    # but the weak one fits the noise. So the chosen cost must have the best mean AP over the folds, whatever it is.
    rng = np.random.default_rng(0)
    y = np.where(rng.random(60) < 0.4, 1, -1).astype(np.int8)
    x = rng.normal(size=(60, 20)) + y[:, None] * np.eye(20)[0]
    settings = svm.VocSettings(image_size=32, costs=(1e-4, 1.0, 100.0))
    data = type("Data", (), {})()
    data.classes, data.embed = ["thing"], lambda *_: (x[:40], x[40:])
    data.trainval = type("Split", (), {"labels": y[:40, None]})
    data.test = type("Split", (), {"labels": y[40:, None]})
    figures = svm.judge(None, data, settings, setup)
    scores = [svm.cross_validated(x[:40], y[:40], cost, settings, 0) for cost in settings.costs]
    assert len(set(scores)) > 1
    assert figures["cost"] == {"thing": settings.costs[int(np.argmax(scores))]}
    assert figures["map"] == figures["ap"]["thing"] > figures["map_chance"]


def test_difficult_images_are_not_trained_on_unless_asked():
    labels = np.array([1, 0, -1], np.int8)
    assert svm._trained_on(labels, "ignore").tolist() == [1, 0, -1]
    assert svm._trained_on(labels, "negative").tolist() == [1, -1, -1]
    # An image of 0 has no part in a fit: with another feature there, the same scores.
    x, y = np.array([[1.0], [5.0], [-1.0], [-2.0]]), np.array([1, 0, -1, -1], np.int8)
    test_x, test_y = np.array([[2.0], [-2.0]]), np.array([1, -1])
    moved = x.copy()
    moved[1] = -500
    results = [svm.precision_on_test(z, y, test_x, test_y, 1.0, svm.VocSettings(), 0) for z in (x, moved)]
    assert results == [1.0, 1.0]


@given(k=st.integers(1, 3), seed=st.integers(0, 99))
def test_low_shot_draws_k_positives_and_their_negatives(k, seed):
    rng = np.random.default_rng(1)
    labels = rng.choice([-1, 1], size=(60, 4), p=[0.7, 0.3]).astype(np.int8)
    labels[0] = 0
    kept = sample_labels(labels, k, [seed])
    assert ((kept == 1).sum(axis=0) == k).all()
    assert ((kept == -1).sum(axis=0) == 3 * k).all()  # (classes - 1) k
    assert (labels[kept != 0] == kept[kept != 0]).all()  # no label is made up, none of a difficult image is used
    assert (sample_labels(labels, k, [seed]) == kept).all()


def test_low_shot_draws_are_independent():
    labels = np.repeat(np.array([[1], [-1]], np.int8), 40, axis=0).repeat(2, axis=1)
    draws = [sample_labels(labels, 4, [0, draw, 4]).tolist() for draw in range(5)]
    assert len({json.dumps(draw) for draw in draws}) == 5


# ---- VOC -----------------------------------------------------------------------------------------------------------


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


def test_voc_boxes_count_from_1_and_include_their_end(practice):
    content = json.loads((practice / "annotations.json").read_text())
    thing = content["annotations"][0]
    x, y, w, h = thing["bbox"]
    text = (practice / "VOC2007" / "Annotations" / f"{thing['image_id']:06d}.xml").read_text()
    assert f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>" in text


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


# ---- a folder per class --------------------------------------------------------------------------------------------


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


# ---- retrieval and kNN ---------------------------------------------------------------------------------------------


def test_retrieval_by_hand():
    # The query points along the first axis; crops of other images are ranked by that coordinate: a, b, a.
    x = np.array([[1.0, 0], [0.9, 0], [0.8, 0], [0.7, 0], [1.0, 0]])
    labels = np.array(["a", "a", "b", "a", "a"])
    image_ids = np.array([0, 1, 1, 2, 0])  # the last one is of the query's own image: not found, however similar
    precision, share = retrieval.ranked_precision(x, labels, image_ids, np.array([0, 2]))
    assert precision[0] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert share[0] == pytest.approx(2 / 3)
    assert np.isnan(precision[1])  # no other image has a b
    assert np.isnan(share[1])


def test_knn_votes_can_all_weigh_the_same(setup, monkeypatch):
    # Nearest first: a, b, b. Weighted sharply a wins, counted b.
    train = np.array([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6]])
    data = type("Data", (), {"labels": np.array(list("abba"), object), "test": np.array([False] * 3 + [True])})()
    data.crops = None
    monkeypatch.setattr(knn, "embed_crops", lambda *_: np.vstack([train, [[1.0, 0.0]]]))
    found = {
        temperature: knn.judge(None, data, knn.KnnSettings(image_size=8, k=(3, 1), temperature=temperature), setup)
        for temperature in (0.07, 0.0)
    }
    assert found[0.07]["accuracy_by_k"] == {"3": 1.0, "1": 1.0}
    assert found[0.0]["accuracy_by_k"] == {"3": 0.0, "1": 1.0}
    assert found[0.0]["accuracy"] == 0.0  # that of the first k


# ---- training with labels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0, 1), (7.9, 1), (8, 0.1), (16, 0.01), (23.99, 0.01), (24, 0.001), (27, 0.001)]
)
def test_learning_rate_falls_at_the_steps(epoch, factor):
    assert step_decay((8, 16, 24), 0.1)(epoch) == pytest.approx(factor)


def test_presets_are_those_of_the_literature():
    resolved = {name: linear.LinearSettings(preset=name).resolved() for name in linear.PRESETS}
    assert {name: (s.epochs, s.steps) for name, s in resolved.items()} == {
        "imagenet": (28, (8, 16, 24)),
        "places205": (14, (4, 8, 12)),
        "inaturalist18": (84, (24, 48, 72)),
    }
    assert linear.LinearSettings(preset="places205", epochs=3).resolved().epochs == 3
    default = semi.SemiSettings()
    assert (default.epochs, default.lr, default.steps, default.gamma) == (20, 0.01, (12, 16), 0.2)


def test_the_head_learns_with_a_rate_of_its_own(encoder_settings):
    network = semi.FineTuned(Encoder.random(encoder_settings, 0), 4)
    backbone, head = network.groups(0.01, 100.0)
    assert (backbone["lr"], head["lr"]) == (0.01, 1.0)
    counts = [sum(p.numel() for p in group["params"]) for group in (backbone, head)]
    assert sum(counts) == sum(p.numel() for p in network.parameters())
    assert counts[1] == 4 * network.head.in_features + 4


def squares(classes=2, count=12, size=16):
    """Images of one gray each, that tells the class."""
    labels = np.arange(count) % classes

    def load(row):
        return Image.new("RGB", (size, size), (90 * int(labels[row]) + 20,) * 3)

    return LabeledViews(load, labels, size=size, seed=0)


def fit_head(setup, encoder_settings, epochs, *, layers="last", folder="fit", seed=0):
    torch.manual_seed(seed)
    probe = linear.LinearProbe(Encoder.random(encoder_settings, 0), 2, layers)
    before = {name: value.clone() for name, value in probe.backbone.state_dict().items()}
    found = fit_heads(
        probe,
        squares(),
        squares(),
        groups=[{"params": list(probe.heads.parameters()), "lr": 0.1}],
        factor=step_decay((8,), 0.1),
        epochs=epochs,
        batch_size=6,
        sgd={"momentum": 0.9, "nesterov": True},
        setup=setup,
        precision="fp32",
        folder=setup.folder / folder,
    )
    return probe, before, found


def test_a_linear_probe_learns_and_leaves_the_backbone_alone(setup, encoder_settings):
    probe, before, found = fit_head(setup, encoder_settings, 10, layers="all")
    assert set(found) == {"last", "res1", "res2", "res3", "res4", "res5"}
    assert found["last"]["top1"] == found["res5"]["top1"] == 1.0
    after = probe.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # running statistics of BN, too
    assert not any(p.requires_grad for p in probe.backbone.parameters())
    norm = probe.heads["last"][0]
    assert norm.weight is None  # no affine part
    assert norm.num_batches_tracked > 0
    assert not (setup.folder / "fit").exists()  # its checkpoints go when it is done


def test_stages_are_pooled_to_the_grids_of_the_literature():
    encoder = Encoder.random(EncoderSettings("resnet50", hidden=0), 0)
    probe = linear.LinearProbe(encoder, 10, "all")
    widths = {name: head[1].in_features for name, head in probe.heads.items()}
    assert widths == {"last": 2048, "res1": 9216, "res2": 9216, "res3": 8192, "res4": 9216, "res5": 8192}


def test_a_killed_fit_goes_on_to_the_same_weights(setup, encoder_settings, monkeypatch):
    whole, _, _ = fit_head(setup, encoder_settings, 100, folder="whole")
    import training.transfer.fitting as fitting

    real = fitting.Heads.training_step

    def killed(self, batch, batch_idx):
        if self.global_step == 150:  # a checkpoint is written after step 100
            raise RuntimeError("killed")
        return real(self, batch, batch_idx)

    monkeypatch.setattr(fitting.Heads, "training_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        fit_head(setup, encoder_settings, 100, folder="part")
    assert [file.name for file in (setup.folder / "part" / "checkpoints").iterdir()] == ["step=100.ckpt"]
    monkeypatch.setattr(fitting.Heads, "training_step", real)
    resumed, _, _ = fit_head(setup, encoder_settings, 100, folder="part", seed=9)  # other weights at first
    for (name, a), b in zip(whole.heads.state_dict().items(), resumed.heads.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@given(count=st.integers(1, 40), world=st.integers(1, 5))
def test_every_test_image_is_seen_by_one_process(count, world):
    rows = [row for rank in range(world) for row in EachOnce(count, rank=rank, world=world)]
    assert sorted(rows) == list(range(count))


def test_views_are_decided_by_seed_epoch_and_row():
    def image(row):
        return Image.fromarray(np.random.default_rng(row).integers(0, 255, (40, 40, 3), dtype=np.uint8))

    a, b = (LabeledViews(image, np.array([0, 1]), size=16, seed=seed) for seed in (3, 4))
    first = a[(0, 1)]["image"]
    assert torch.equal(a[(0, 1)]["image"], first)
    assert not torch.equal(a[(1, 1)]["image"], first)
    assert not torch.equal(b[(0, 1)]["image"], first)
    assert torch.equal(a[1]["image"], b[1]["image"])  # tests are not random


# ---- from end to end -----------------------------------------------------------------------------------------------

SHORT = {
    "voc07": svm.VocSettings(costs=(0.01, 1.0), folds=2),
    "voc07-lowshot": svm.LowShotSettings(k=(1, 2), samples=2, costs=(0.1,)),
    "knn": knn.KnnSettings(k=(5,)),
    "linear": linear.LinearSettings(epochs=1, layers="all"),
    "semi": semi.SemiSettings(epochs=1),
    "retrieval": retrieval.RetrievalSettings(queries=20),
    "supervised": transfer.settings_class("supervised")(epochs=1),
}


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name in SHORT])
def test_every_protocol_from_end_to_end(copy, tiny, practice, name):
    data = () if name in ("knn", "retrieval") else (practice,)
    encoders = ["random", "stage1", "supervised"] if name == "knn" else ["random", "stage3"]
    judged = transfer.evaluate(copy, tiny, [name], encoders=encoders, data=data, settings=SHORT)
    assert [result["encoder"]["name"] for result in judged] == encoders
    for result in judged:
        assert 0 <= result["score"]["value"] <= 1
        assert 0 < result["figures"][f"{result['score']['name']}_chance"] < 1
        assert result["score"]["value"] == result["figures"][result["score"]["name"]]
        assert result["settings"].get("image_size", 32) == 32  # that of the run, not 224
        assert {"seed", "seconds", "date", "command", "versions", "git", "code"} <= result.keys()
    assert len({result["encoder"]["hash"] for result in judged}) == len(encoders)
    stored = results.read_results(copy)
    assert sorted(stored, key=str) == sorted(judged, key=str)
    assert not [file for file in (copy.path / "evaluation" / "transfer").iterdir() if file.is_dir()]

    again = transfer.evaluate(copy, tiny, [name], encoders=encoders, data=data, settings=SHORT)
    assert again == judged  # the very same, dates too: not judged again
    anew = transfer.evaluate(copy, tiny, [name], encoders=["random"], data=data, settings=SHORT, overwrite=True)
    assert anew[0]["figures"] == judged[0]["figures"]  # and when it is, the figures are the same


def test_knn_on_folders_and_objects_of_a_json(copy, tiny, practice):
    settings = {"knn": SHORT["knn"]}
    for path, kind in ((practice, "a folder per class"), (practice / "annotations.json", "object crops")):
        result = transfer.evaluate(copy, tiny, ["knn"], encoders=["random"], data=(path,), settings=settings)[0]
        assert result["data"]["kind"] == kind
        assert len(result["data"]["classes"]) == 12


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_is_named(copy, changed, folders, workers):
    file = next((folders / "val" / "arrow").iterdir())
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(OrlError) as error:
        transfer.evaluate(copy, changed(workers=workers), ["knn"], encoders=["random"], data=(folders,))
    assert str(error.value).startswith(f"{file} cannot be used (truncated")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("runs/a/stage1/encoder.safetensors", "a-stage1"),
        ("weights/moco v2.pth", "moco_v2"),
        ("weights/stage1.pth", "stage1.pth"),  # not to be taken for the run's own
        ("weights/<b>.pth", "_b_"),
    ],
)
def test_files_of_weights_have_names_of_their_own(file, name):
    assert name_of(Path(file)) == name


def test_results_are_laid_side_by_side():
    def result(encoder, value, date, protocol="knn", k=20, data="x", code="c1"):
        return {
            "protocol": protocol,
            "encoder": {"name": encoder},
            "score": {"name": "accuracy", "title": protocol, "value": value},
            "figures": {"accuracy": value, "accuracy_chance": 0.1},
            "settings": {"k": k, "temperature": 0.07},
            "data": {"fingerprint": data, "paths": ["/data/voc"]},
            "seed": 0,
            "date": date,
            "code": code,
        }

    table = results.transfer_table(
        [
            result("stage1", 0.5, "2"),
            result("stage1", 0.9, "1"),  # older
            result("random", 0.2, "1", code="c2"),
            result("stage1", 0.6, "1", k=5),
            result("mine", 0.7, "1", protocol="linear"),
        ]
    )
    rows = table.set_index("").astype(object).where(table.set_index("").notna(), None).to_dict("index")
    assert list(table.columns) == ["", "untrained", "stage 1", "mine", "chance", "data", "code"]
    scores = {"untrained": 0.2, "stage 1": 0.5, "mine": None, "chance": 0.1}
    assert rows["knn, k = 20"] == {**scores, "data": "voc", "code": "c2, c1"}  # by different code
    assert rows["knn, k = 5"]["code"] == "c1"
    assert rows["knn, k = 5"]["stage 1"] == 0.6
    assert rows["linear"]["mine"] == 0.7


def test_a_result_of_other_code_is_told(copy, tiny, capsys, monkeypatch):
    judge = functools.partial(transfer.evaluate, copy, tiny, ["knn"], encoders=["random"], settings=SHORT)
    old = judge()
    assert judge() == old
    assert "judged by other code" not in capsys.readouterr().err
    monkeypatch.setattr(transfer, "code_hash", lambda: "0123456789")
    assert judge() == old
    assert "judged by other code; --overwrite judges it anew" in capsys.readouterr().err
    assert judge(overwrite=True)[0]["code"] == "0123456789"
    assert judge()[0]["code"] == "0123456789"


# ---- the command ---------------------------------------------------------------------------------------------------


def test_command_knows_every_protocol():
    assert tuple(PROTOCOLS) == cli.PROTOCOL_NAMES
    for name in PROTOCOLS:
        assert f"\n  {name} " in cli.PROTOCOLS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "voc7"], "no protocol 'voc7': did you mean voc07?"),
        (["--protocol", "knn", "--knn.temprature", "1"], "unknown setting 'knn.temprature'.*knn.temperature"),
        (["--protocol", "knn", "--knn.k", "many"], "knn: "),
        (["--protocol", "knn", "--knn.k", "[0]"], "k of 1 or more"),
        (["--protocol", "knn", "--linear.lr", "1"], "--linear.lr is a setting of linear: add --protocol linear"),
        (["--protocol", "knn", "--encoder", "stage2"], "there is no encoder 'stage2'"),
        (["--protocol", "knn", "--stage1.epochz", "2"], "unknown setting 'stage1.epochz'"),
        (["--protocol", "voc07"], "name it with --data DIR"),
        (["--protocol", "linear", "--data", "nowhere"], "has no folder train/"),
        (["--encoder", "stage1"], "add --protocol"),
    ],
)
def test_what_is_typed_wrong_is_explained(copy, capsys, words, message):
    import re

    assert cli.main(["evaluate", str(copy.path), *words]) == 1
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert not list((copy.path / "evaluation").glob("transfer/*"))


def test_command_judges_and_prints(copy, capsys):
    words = ["evaluate", str(copy.path), "--protocol", "knn", "--protocol", "retrieval", "--knn.k", "[3]"]
    assert cli.main([*words, "--encoder", "random", str(copy.encoder_file("stage1")), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [(r["protocol"], r["encoder"]["name"]) for r in results] == [
        ("knn", "random"),
        ("knn", "copy-stage1"),  # of its folders: every run has an encoder.safetensors
        ("retrieval", "random"),
        ("retrieval", "copy-stage1"),
    ]
    assert results[0]["settings"]["k"] == [3]
    assert cli.main(words) == 0
    assert "object retrieval, mAP" in capsys.readouterr().out


@pytest.mark.parametrize("name", [*PROTOCOLS, "supervised"])
def test_command_explains_the_settings(name, capsys):
    assert cli.main(["config", name]) == 0
    said = capsys.readouterr().out
    for field in dataclasses.fields(transfer.settings_class(name)):
        assert f"--{name}.{field.name} " in said
    assert "(type: int" in said


def test_command_writes_the_layouts(tmp_path, capsys):
    words = ["scenes", str(tmp_path / "out"), "--count", "6", "--size", "64", "--layout", "voc", "imagefolder"]
    assert cli.main(words) == 0
    assert (tmp_path / "out" / "VOC2007" / "ImageSets" / "Main" / "test.txt").read_text().count("\n") == 3
    assert (tmp_path / "out" / "imagefolder" / "1percent.txt").exists()


# ---- while a stage trains ------------------------------------------------------------------------------------------


def test_watching_by_knn_changes_nothing_else(new_run, changed):
    from training import stage1

    plain, watched = new_run("plain"), new_run("watched")
    stage1.run(plain, changed())
    stage1.run(watched, changed("stage1", knn_every=1))
    assert watched.encoder_file("stage1").read_bytes() == plain.encoder_file("stage1").read_bytes()
    assert (watched.path / "stage1" / "metrics.csv").read_text() == (plain.path / "stage1" / "metrics.csv").read_text()
    rows = [line.split(",") for line in (watched.path / "stage1" / "knn.csv").read_text().splitlines()]
    assert rows[0] == ["step", "epoch", "knn"]
    assert [row[:2] for row in rows[1:]] == [["2", "0"], ["5", "1"]]  # three steps an epoch
    last = transfer.evaluate(watched, changed(), ["knn"], encoders=["stage1"])[0]
    assert float(rows[-1][2]) == pytest.approx(last["figures"]["accuracy"], abs=1e-4)
    stage1.run(watched, changed())  # finished: the setting makes no other run of it
    assert not (plain.path / "stage1" / "knn.csv").exists()
