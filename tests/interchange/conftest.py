"""What tests of interchange share."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.exporting import export


@pytest.fixture
def packed(imported, tmp_path) -> Path:
    """A bundle of an imported run."""
    export(imported, "bundle", tmp_path / "b.zip")
    return tmp_path / "b.zip"
