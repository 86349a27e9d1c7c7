"""The encoders that pages can ask."""

from __future__ import annotations

import shutil

import pytest

from orl_explore.ui import encoders


def test_sources(runs, run):
    shutil.copytree(runs / "one", runs / "two")
    every = encoders.sources(run)
    assert list(every)[:4] == ["random", "stage1", "stage3", "embedded"]
    assert list(every)[4:] == [f"{runs / 'two'}:stage1", f"{runs / 'two'}:stage3"]
    assert list(encoders.sources(run, others=False)) == ["random", "stage1", "stage3", "embedded"]
    assert all(source.hash() for source in every.values())


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("random", "untrained, where stage 1 starts"),
        ("stage1@20", "stage 1, images, epoch 20"),
        ("/runs/other:stage3", "other · stage 3, objects"),
        ("embedded", "embedded, supervised (ImageNet)"),
    ],
)
def test_titles(name, title):
    assert encoders.title(name) == title


def test_an_encoder_is_loaded_once(run):
    source = encoders.sources(run, others=False)["stage1"]
    assert encoders.load(source.hash(), source) is encoders.load(source.hash(), source)
