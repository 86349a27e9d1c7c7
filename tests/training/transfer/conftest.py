"""What tests of transfer share: a run to be judged, and data sets to be damaged."""

from __future__ import annotations

import shutil

import pytest

from orl_explore.runs.run import Run
from training.transfer.setup import Setup


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
