"""`orl export`: what can be written, and where."""

from __future__ import annotations

import pytest

from orl_explore.errors import OrlError
from orl_explore.interchange import weights_export
from training.cli.exchange import EXPORT_NAMES
from training.cli.exchange import EXPORTS as EXPORT_HELP
from training.exporting import EXPORTS, export


def test_exports_say_what_can_be_written(imported, tmp_path):
    with pytest.raises(OrlError, match="cannot export 'pictures': choose one of proposals, "):
        export(imported, "pictures", tmp_path / "out")
    with pytest.raises(OrlError, match="is a folder: name the file"):
        export(imported, "coco", tmp_path)


def test_every_export_can_be_typed():
    assert {*EXPORTS, *weights_export.TARGETS} == set(EXPORT_NAMES)
    assert all(name in EXPORT_HELP for name in EXPORT_NAMES)


@pytest.mark.parametrize("name", ["stage1/encoder.safetensors", "new.safetensors", "stage9/new.safetensors"])
def test_an_export_takes_the_place_of_nothing_in_a_run(with_encoder, tmp_path, name):
    before = {path: path.read_bytes() for path in with_encoder.path.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(with_encoder.path)
    for folder in (with_encoder.path, tmp_path / "link"):
        with pytest.raises(OrlError, match=r"lies among the files of the run run: export to .*/run/exports/"):
            export(with_encoder, "torchvision", folder / name)
    assert {path: path.read_bytes() for path in with_encoder.path.rglob("*") if path.is_file()} == before
    assert export(with_encoder, "torchvision", with_encoder.path / "exports" / "w.safetensors")[0].exists()
