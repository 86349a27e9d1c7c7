"""Crops of annotated objects: split by image, and told apart by a fingerprint."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.settings import Config, EvaluateSettings
from training.evaluate import held_out_images
from training.transfer.objects import read_objects, split_objects

CONFIG = Config(evaluate=EvaluateSettings(test_share=0.4))


def annotated(image_ids, count=10):
    """Ten images of 100 x 80 px that are only looked at, with a cup in each of `image_ids`."""
    table = pd.DataFrame({"image_id": np.arange(count), "width": 100, "height": 80, "content_hash": "x"})
    objects = pd.DataFrame([(i, 5, 5, 20, 20, "cup") for i in image_ids])
    return ImageSet(table, objects.set_axis(["image_id", *"xywh", "category"], axis=1), pd.DataFrame(), ())


def test_objects_of_an_image_are_all_on_one_side():
    images = annotated([*range(10), *range(10)])
    data = split_objects(images, CONFIG, where="here")
    tested, trained = (set(data.crops["image_id"][side]) for side in (data.test, ~data.test))
    assert tested == set(held_out_images(images, CONFIG))
    assert len(tested) == 4  # two fifths of ten images
    assert not tested & trained
    assert data.facts == {"kind": "object crops", "train": 12, "test": 8, "classes": ["cup"]}


def test_objects_that_are_too_small_or_too_many_are_counted(capsys):
    images = annotated([*range(10), *range(10)])
    images.objects.loc[:1, "w"] = 7
    config = dataclasses.replace(CONFIG, evaluate=EvaluateSettings(test_share=0.4, max_crops=15))
    assert len(split_objects(images, config, where="here").crops) == 15
    assert "here: 5 of 20 objects are left out: smaller than 8 px" in " ".join(capsys.readouterr().err.split())


def test_objects_on_one_side_alone_are_refused():
    held_out = held_out_images(annotated([0]), CONFIG)
    kept = sorted(set(range(10)) - set(held_out))
    for some in (held_out, kept):
        with pytest.raises(OrlError, match="here has objects in too few images to split them: annotate more"):
            split_objects(annotated(some), CONFIG, where="here")


def test_a_run_without_objects_is_told_what_to_name(setup, monkeypatch):
    monkeypatch.setattr(type(setup.run), "images", lambda self: annotated([0]).subset([1]))
    with pytest.raises(OrlError, match="has no annotated objects: name a COCO json with --data FILE"):
        read_objects(setup)


def test_any_change_of_a_crop_changes_the_fingerprint(setup):
    data = read_objects(setup)
    assert data.fingerprint == read_objects(setup).fingerprint
    changes = [(column, data.crops[column].iloc[0] + 1) for column in "xywh"] + [("category", "unicorn")]
    prints = {data.fingerprint}
    for column, value in changes:
        crops = data.crops.copy()
        crops.loc[crops.index[0], column] = value
        prints.add(dataclasses.replace(data, crops=crops).fingerprint)
    prints.add(dataclasses.replace(data, test=~data.test).fingerprint)
    assert len(prints) == 7
