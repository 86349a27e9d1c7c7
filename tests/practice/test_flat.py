"""Disguised scenes: drawings whose color and texture tell nothing of their category."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from orl_explore.practice import contexts
from orl_explore.practice.contexts import CONTEXTS, make_background
from orl_explore.practice.flat import SIDES
from orl_explore.practice.placing import MIN_VISIBLE
from orl_explore.practice.scenes import compose_scene, make_scenes
from orl_explore.practice.shapes import DrawnObjects


@pytest.mark.skipif(cv2.__version__ != "5.0.0", reason="other releases of OpenCV may round otherwise")
@pytest.mark.parametrize(
    ("settings", "pictures", "truth"),
    [
        ({}, "d8ceb495c49d851e", "0a12cc62fc563cc5"),
        ({"seed": 7, "size": 96, "part": "train", "holdout": 0.25}, "f6fd6bc003e77064", "e40195bd2c7146af"),
        (
            {"seed": 7, "size": 128, "part": "test", "holdout": 0.25, "instances": 12},
            *("d1b36513c7d0257a", "4519d48d2abef0ce"),
        ),
    ],
)
def test_disguise_gives_the_scenes_of_before(tmp_path, settings, pictures, truth):
    """Hashes of the images' bytes and of their ground truth, made when these were the only scenes."""
    path = make_scenes(tmp_path, count=8, disguise=True, **settings)
    content = json.loads(path.read_text())
    images = hashlib.blake2b(digest_size=8)
    for file in sorted((tmp_path / "images").glob("*.jpg")):
        images.update(file.read_bytes())
    assert images.hexdigest() == pictures
    told = json.dumps([content[key] for key in ("images", "annotations", "categories")]).encode()
    assert hashlib.blake2b(told, digest_size=8).hexdigest() == truth
    assert (content["info"]["disguise"], content["info"]["instances"]) == (True, settings.get("instances", 6))


def test_number_size_and_visibility_of_objects():
    source = DrawnObjects()
    drawn = [compose_scene(np.random.default_rng((0, i)), size=96, objects=source) for i in range(100)]
    counts = [len(objects) for _, objects, _ in drawn]
    assert set(counts) == {2, 3, 4, 5}
    every = [thing for _, objects, _ in drawn for thing in objects]
    assert min(thing.visible for thing in every) >= MIN_VISIBLE
    assert np.mean([thing.visible < 0.95 for thing in every]) > 0.1  # some occlusion there is
    # Longer sides of 96 px scenes; two pixels of rounding either way, where nothing is hidden.
    longer = [max(thing.box[2:]) for thing in every if thing.visible == 1]
    assert min(longer) >= SIDES[0] * 96 - 2
    assert max(longer) <= SIDES[1] * 96 + 2


def test_backgrounds_differ_between_scenes_and_are_faint():
    for context in CONTEXTS:
        rng = np.random.default_rng(0)
        pictures = [make_background(context, rng, 64)[0] for _ in range(6)]
        assert all(picture.dtype == np.float32 for picture in pictures)
        # Contrast: 0.25 of a span of at most 0.8, and light that varies by 12%.
        assert max(np.ptp(picture[..., channel]) for picture in pictures for channel in range(3)) <= 0.32
        assert min(picture.std(axis=(0, 1)).max() for picture in pictures) > 0.005
        assert np.std([picture.mean(axis=(0, 1)) for picture in pictures], axis=0).max() > 0.02
    with pytest.raises(ValueError, match="no pattern lava"):
        contexts._pattern("lava", np.random.default_rng(0), 64)
