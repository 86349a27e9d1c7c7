"""What tests of runs share."""

from __future__ import annotations

import pytest

from orl_explore.runs.run import Run


@pytest.fixture
def run(tmp_path):
    """A run that is not there yet."""
    return Run(tmp_path / "some" / "run")
