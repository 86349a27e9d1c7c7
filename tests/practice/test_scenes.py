import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from orl_explore.boxes import filter_boxes, iou, is_kept
from orl_explore.errors import OrlError
from orl_explore.practice.categories import CATEGORIES, INSTANCES
from orl_explore.practice.natural import Things
from orl_explore.practice.placing import MIN_VISIBLE
from orl_explore.practice.scenery import PLACES
from orl_explore.practice.scenes import compose_scene, make_scenes
from orl_explore.proposals import selective_search


def read(path):
    return json.loads(path.read_text())


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def instances_of(content):
    return {annotation["instance"] for annotation in content["annotations"]}


@pytest.fixture(scope="module")
def composed():
    """Two hundred scenes, composed but not written: [(image, objects, context)]."""
    source = Things(size=96, instances=3)
    return [compose_scene(np.random.default_rng((0, i)), size=96, objects=source) for i in range(200)]


# -- the data set on disk


def test_same_settings_give_the_same_bytes(tmp_path):
    make_scenes(tmp_path / "a", count=6, size=96, seed=3)
    make_scenes(tmp_path / "b", count=6, size=96, seed=3)
    make_scenes(tmp_path / "c", count=6, size=96, seed=4)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    first = Path("images/000001.jpg")
    assert files_of(tmp_path / "a")[first] != files_of(tmp_path / "c")[first]


def test_a_longer_set_begins_with_the_shorter_one(tmp_path):
    short, long = make_scenes(tmp_path / "3", count=3, size=96), make_scenes(tmp_path / "7", count=7, size=96)
    few, many = read(short), read(long)
    assert many["images"][:3] == few["images"]
    assert many["annotations"][: len(few["annotations"])] == few["annotations"]
    longer = files_of(tmp_path / "7" / "images")
    assert len(longer) == 7
    assert all(longer[name] == content for name, content in files_of(tmp_path / "3" / "images").items())


def test_annotations_are_coco_and_masks_agree_with_boxes(tmp_path):
    done = []
    path = make_scenes(tmp_path, count=8, size=128, progress=lambda *step: done.append(step))
    content = read(path)
    assert path == tmp_path / "annotations.json"
    assert done == [(i + 1, 8) for i in range(8)]
    assert [category["name"] for category in content["categories"]] == list(CATEGORIES)
    assert (content["info"]["seed"], content["info"]["disguise"], content["info"]["instances"]) == (0, False, INSTANCES)
    for image in content["images"]:
        picture = cv2.imread(str(tmp_path / "images" / image["file_name"]))
        assert picture.shape == (image["height"], image["width"], 3) == (128, 128, 3)
        own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        masks = [coco_mask.decode(a["segmentation"]).astype(bool) for a in own]
        assert 2 <= len(own) <= 5
        assert sum(masks).max() == 1  # visible masks never overlap
        for annotation, mask in zip(own, masks, strict=True):
            ys, xs = np.nonzero(mask)
            extent = [xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()]
            assert annotation["bbox"] == extent
            assert annotation["area"] == mask.sum()
            assert annotation["visible"] >= MIN_VISIBLE - 1e-3
            assert annotation["instance"].startswith(content["categories"][annotation["category_id"] - 1]["name"])
    assert [a["id"] for a in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))


@pytest.mark.slow
def test_train_and_test_share_no_instance(tmp_path):
    train = read(make_scenes(tmp_path / "train", count=60, size=64, instances=8, holdout=0.25, part="train"))
    test = read(make_scenes(tmp_path / "test", count=60, size=64, instances=8, holdout=0.25, part="test"))
    assert instances_of(train).isdisjoint(instances_of(test))
    assert {name.split("/")[0] for name in instances_of(test)} == set(CATEGORIES)
    # Nor do they share layouts, though the seed is the same.
    assert [a["bbox"] for a in train["annotations"][:5]] != [a["bbox"] for a in test["annotations"][:5]]


def test_instances_return(tmp_path):
    scenes = read(make_scenes(tmp_path / "scenes", count=40, size=64, instances=2))
    names = {annotation["instance"] for annotation in scenes["annotations"]}
    assert names <= {f"{category}/{number:03d}" for category in CATEGORIES for number in range(2)}
    assert len(names) > len(CATEGORIES), "both drawings of some category"


def test_a_new_set_replaces_the_old_one_when_it_is_complete(tmp_path):
    make_scenes(tmp_path, count=5, size=64)
    before = files_of(tmp_path)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_scenes(tmp_path, count=3, size=64, seed=1, progress=stop)
    assert before.items() <= files_of(tmp_path).items()  # untouched; left-overs lie beside it
    make_scenes(tmp_path, count=3, size=64, seed=1)
    make_scenes(tmp_path / "fresh", count=3, size=64, seed=1)
    fresh = files_of(tmp_path / "fresh")
    assert {name: data for name, data in files_of(tmp_path).items() if name.parts[0] != "fresh"} == fresh


def test_other_data_is_never_replaced(tmp_path):
    foreign = tmp_path / "coco" / "annotations.json"
    foreign.parent.mkdir()
    foreign.write_text('{"images": []}')
    photo = tmp_path / "photos" / "images" / "000001.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"mine")
    for folder in (foreign.parent, tmp_path / "photos", photo):
        with pytest.raises(OrlError, match="choose another folder"):
            make_scenes(folder, count=1, size=64)
    assert foreign.read_text() == '{"images": []}'
    assert photo.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "--count 0"),
        ({"size": 63}, "--size 63"),
        ({"seed": -1}, "--seed -1"),
        ({"instances": 0}, "--instances 0"),
        ({"instances": 1, "holdout": 0.5}, "--instances 1 .* 2 or more"),
        ({"holdout": 1.0}, "--holdout 1.0"),
        ({"holdout": -0.1}, "--holdout -0.1"),
        ({"part": "val"}, "--part val"),
        ({"part": "test"}, "add --holdout"),
        ({"cutouts": Path("nowhere")}, "no folder nowhere"),
        ({"cutouts": Path("nowhere"), "disguise": True}, "choose one of them"),
        ({"backgrounds": Path("nowhere")}, "no folder nowhere"),
    ],
)
def test_settings_that_cannot_work(tmp_path, settings, message):
    with pytest.raises(OrlError, match=message):
        make_scenes(tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


# -- what a scene shows


def test_number_size_and_visibility_of_objects(composed):
    assert {len(objects) for _, objects, _ in composed} == {2, 3, 4, 5}
    every = [thing for _, objects, _ in composed for thing in objects]
    assert min(thing.visible for thing in every) >= MIN_VISIBLE
    assert np.mean([thing.visible < 0.95 for thing in every]) > 0.25  # occlusion is usual
    longer = np.array([max(thing.box[2:]) for thing in every]) / 96
    assert 0.15 < longer.min() < 0.35 < np.median(longer) < 0.6  # near and far
    assert longer.max() < 0.85


def test_composing_depends_on_the_generator_alone():
    first, second = (compose_scene(np.random.default_rng(5), size=80, context="beach") for _ in range(2))
    assert first[2] == "beach"
    assert np.array_equal(first[0], second[0])
    assert first[0].dtype == np.uint8
    assert first[0].shape == (80, 80, 3)
    with pytest.raises(OrlError, match="choose one of kitchen"):
        compose_scene(np.random.default_rng(5), context="moon")


def test_nearer_things_stand_lower_and_come_last(composed):
    feet = [
        [thing.box[1] + thing.box[3] for thing in objects if not CATEGORIES[thing.category].floats]
        for _, objects, _ in composed
    ]
    steps = np.concatenate([np.diff(rows) for rows in feet])
    assert len(steps) > 100
    # A foot may be hidden by what is nearer, or cut off by the picture's border.
    assert np.mean(steps >= -1) > 0.8
    assert steps.mean() > 4


def test_contexts_make_categories_appear_together(composed):
    own = {context.name: set(context.categories) for context in PLACES}
    assert {context for *_, context in composed} == set(own)
    # A stranger is of an own category by chance in 4 of 24 cases: 0.95 + 0.05 * 4 / 24 = 0.96; independence gives 0.17.
    share = np.mean([thing.category in own[context] for _, objects, context in composed for thing in objects])
    assert 0.92 <= share <= 0.99
    # The same without looking at contexts: pairs of one scene meet in some context far more often than shuffled pairs.
    together = {(a, b) for names in own.values() for a in names for b in names}
    scene_categories = [[thing.category for thing in objects] for _, objects, _ in composed]
    flat = np.random.default_rng(0).permutation(np.concatenate(scene_categories)).tolist()
    shuffled = [[flat.pop() for _ in categories] for categories in scene_categories]

    def meeting(groups):
        return np.mean([(a, b) in together for group in groups for i, a in enumerate(group) for b in group[:i]])

    assert meeting(scene_categories) > meeting(shuffled) + 0.2


def test_objects_are_found_by_selective_search():
    found = []
    for index in range(12):
        image, objects, _ = compose_scene(np.random.default_rng((1, index)))
        boxes = selective_search(image, seed=0)
        kept = boxes[is_kept(filter_boxes(boxes, min_side=32))]
        found += list(iou(np.array([thing.box for thing in objects]), kept).max(axis=1) >= 0.5)
    assert len(found) > 30
    assert np.mean(found) >= 0.75  # clutter, shadows and grain make it harder than on flat drawings


# -- cut-outs and photographs


def test_scenes_from_cutouts_and_photographs(tmp_path, cutouts, photographs):
    settings = {"count": 12, "size": 96, "cutouts": cutouts, "backgrounds": photographs, "holdout": 0.25}
    train = read(make_scenes(tmp_path / "train", part="train", **settings))
    test = read(make_scenes(tmp_path / "test", part="test", **settings))
    again = tmp_path / "again"
    make_scenes(again, part="train", **settings)
    assert files_of(again) == files_of(tmp_path / "train")
    assert [category["name"] for category in train["categories"]] == ["ant", "bee", "cat", "dog", "eel", "fox"]
    assert instances_of(train).isdisjoint(instances_of(test))
    for annotation in train["annotations"]:
        assert (cutouts / annotation["instance"]).is_file()
        assert coco_mask.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]
    assert train["info"]["skipped"] == []


def test_unusable_cutouts_are_skipped_while_some_remain(tmp_path, cutouts):
    folder = tmp_path / "cutouts"
    (folder / "cup").mkdir(parents=True)
    (folder / "jug").mkdir()
    (folder / "cup" / "good.png").write_bytes((cutouts / "ant" / "0.png").read_bytes())
    cv2.imwrite(str(folder / "cup" / "opaque.png"), np.zeros((40, 40, 3), np.uint8))
    cv2.imwrite(str(folder / "cup" / "invisible.png"), np.zeros((40, 40, 4), np.uint8))
    (folder / "jug" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    content = read(make_scenes(tmp_path / "out", count=1, size=64, cutouts=folder))
    assert content["info"]["skipped"] == ["cup/invisible.png", "cup/opaque.png", "jug/broken.png"]
    assert instances_of(content) == {"cup/good.png"}
    with pytest.raises(OrlError, match="only one usable cut-out"):
        make_scenes(tmp_path / "out", count=1, size=64, cutouts=folder, holdout=0.5, part="test")
    (folder / "cup" / "good.png").unlink()
    with pytest.raises(OrlError, match=r"no usable cut-out .*CATEGORY"):
        make_scenes(tmp_path / "out", count=1, size=64, cutouts=folder)
    with pytest.raises(OrlError, match="no usable photograph"):
        make_scenes(tmp_path / "out", count=1, size=64, backgrounds=folder / "jug")
