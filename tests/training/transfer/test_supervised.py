"""The upper bound: crops as annotated, trained once for the same settings, refused where nothing can be learned."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from training.transfer import supervised
from training.transfer.objects import read_objects
from training.transfer.supervised import Crops, SupervisedSettings, supervised_file


@pytest.fixture
def fits(monkeypatch):
    """Data and options of every training, none of which is done."""
    found = []
    monkeypatch.setattr(
        supervised, "fit_heads", lambda network, data, test, **options: found.append((data, options, network))
    )
    return found


def test_a_crop_is_what_the_annotation_says(setup):
    data = read_objects(setup)
    rows = np.array([4, 0])
    crops = Crops(data, rows)
    ids = data.images.table["image_id"].tolist()
    for place, row in enumerate(rows):
        image_id, x, y, w, h = data.crops.iloc[row][["image_id", "x", "y", "w", "h"]]
        whole = np.asarray(data.images.load(ids.index(image_id)))
        np.testing.assert_array_equal(np.asarray(crops(place)), whole[y : y + h, x : x + w])


def test_it_is_trained_once_and_never_on_what_is_held_out(setup, fits, monkeypatch):
    file = supervised_file(setup, SupervisedSettings())
    assert file == supervised_file(setup, SupervisedSettings())
    assert len(fits) == 1
    data = read_objects(setup)
    views = fits[0][0]
    assert len(views.labels) == (~data.test).sum() < len(data.crops)
    held_out = set(data.crops["image_id"][data.test])
    ids = data.images.table["image_id"].to_numpy()
    assert not held_out & set(ids[views.load.image_rows])
    encoder = Encoder.load(file)
    assert encoder.settings.backbone == setup.config.stage1.encoder.backbone
    assert encoder.settings.hidden == 0


@pytest.mark.parametrize("init", ["paper", "torchvision"])
def test_it_begins_as_the_runs_untrained_network(setup, fits, init):
    own = dataclasses.replace(setup.config.stage1.encoder, init=init)
    config = dataclasses.replace(setup.config, stage1=dataclasses.replace(setup.config.stage1, encoder=own))
    file = supervised_file(dataclasses.replace(setup, config=config), SupervisedSettings())
    begun, untrained = fits[0][2].backbone.state_dict(), Encoder.random(own, config.seed).backbone.state_dict()
    assert begun.keys() == untrained.keys()
    assert all((begun[name] == untrained[name]).all() for name in begun)
    assert Encoder.load(file).settings.init == init
    assert (file == supervised_file(setup, SupervisedSettings())) == (init == setup.config.stage1.encoder.init)


@pytest.mark.parametrize("change", [{"epochs": 3}, {"lr": 0.2}, {"weight_decay": 0.0}])
def test_other_settings_are_another_encoder(setup, fits, change):
    first = supervised_file(setup, SupervisedSettings())
    other = supervised_file(setup, SupervisedSettings(**change))
    assert len({first, other}) == len(fits) == 2


def test_the_rate_falls_to_0_along_a_cosine(setup, fits):
    supervised_file(setup, SupervisedSettings(epochs=4))
    factor = fits[0][1]["factor"]
    assert [factor(epoch) for epoch in (0, 2, 4)] == pytest.approx([1, 0.5, 0])
    assert fits[0][1]["precision"] == setup.config.precision


def test_one_category_teaches_nothing(setup, fits, monkeypatch):
    data = read_objects(setup)
    alike = dataclasses.replace(data, crops=data.crops.assign(category="cup"))
    monkeypatch.setattr(supervised, "read_objects", lambda setup: alike)
    with pytest.raises(OrlError, match="needs objects of two categories or more"):
        supervised_file(setup, SupervisedSettings())
    assert not fits


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"epochs": 0}, {"batch_size": 1}])
def test_settings_that_cannot_work(wrong):
    with pytest.raises(OrlError, match="needs lr and epochs above 0, and batch_size of 2 or more"):
        SupervisedSettings(**wrong)
