"""What tests of pages share."""

from __future__ import annotations

import shutil

import pytest

from orl_explore.runs.run import Run
from training.embed_regions import embed_regions_by


@pytest.fixture(scope="session")
def finished_and_embedded(finished, tiny, tmp_path_factory) -> Run:
    """The finished run, its regions embedded by the untrained encoder and those of stages 1 and 3. For reading only."""
    run = Run(shutil.copytree(finished.path, tmp_path_factory.mktemp("embedded") / "run"))
    embed_regions_by(run, tiny)
    return run


@pytest.fixture
def embedded(run, finished_and_embedded) -> Run:
    """The run named "one", embedded likewise, to be changed at will."""
    shutil.copytree(finished_and_embedded.path, run.path, dirs_exist_ok=True)
    return run
