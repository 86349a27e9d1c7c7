"""Files that are imported: used, or refused in a sentence with the run as it was; never a traceback."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import strategies as st

from authors_files import mined
from fuzzing import JUNK, NUMBERS, TEXTS, assert_short, contents, damaged, fuzz, mostly, mutated, objects, type_in
from orl_explore.errors import OrlError
from orl_explore.interchange.weights import read_encoder

pytestmark = pytest.mark.slow


def import_into(folder: Path, source: Path, photos: Path) -> None:
    """Import a file into a new run: all of it, or nothing of a run is there."""
    before = contents(photos.parent)
    run = folder / "run"
    code, said = type_in("import", run, source, "--images", photos)
    assert run.exists() == (code == 0), said
    assert contents(photos.parent) == before
    left = [path.name for path in folder.iterdir() if path not in (run, source)]
    assert left == [], left
    shutil.rmtree(run, ignore_errors=True)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "here"
    made.mkdir()
    return made


def test_the_authors_files(folder, photos):
    def check(content: object) -> None:
        source = folder / "theirs.json"
        source.write_text(json.dumps(content))
        import_into(folder, source, photos)

    fuzz(mutated(mined()), check, examples=40)


def test_csv(folder, photos):
    names = st.sampled_from(["1.jpg", "2.jpg", "10", "20", "x.jpg", "", "photos/1.jpg"])
    numbers = mostly(st.floats(0, 200).map(str), st.one_of(TEXTS, NUMBERS.map(str)))
    rows = st.lists(st.tuples(names, numbers, numbers, numbers, numbers, numbers), max_size=5)
    header = mostly(
        st.sampled_from([("file_name", "x", "y", "w", "h", "score"), ("image_id", "x", "y", "w", "h", "score")]),
        st.lists(st.sampled_from(["file_name", "image_id", "x", "y", "w", "h", "score", ""]), max_size=7),
    )

    def check(drawn: tuple[list[str], list[tuple[str, ...]], str, bytes]) -> None:
        names, lines, comma, more = drawn
        text = "\n".join(comma.join(line) for line in [names, *lines]).encode("utf-8", "surrogatepass")
        source = folder / "boxes.csv"
        source.write_bytes(text + more)
        import_into(folder, source, photos)

    fuzz(
        st.tuples(
            header,
            rows,
            mostly(st.just(","), st.sampled_from([";", '"', "\t"])),
            mostly(st.just(b""), st.binary(max_size=5)),
        ),
        check,
        examples=40,
    )


def test_coco_results(folder, photos):
    results = st.lists(
        mostly(
            objects(
                image_id=mostly(st.sampled_from([10, 20, 30])),
                bbox=mostly(st.lists(mostly(st.floats(0, 90)), min_size=4, max_size=4)),
                score=mostly(st.floats(0, 1)),
            )
        ),
        max_size=5,
    )

    def check(content: object) -> None:
        source = folder / "results.json"
        source.write_text(json.dumps(content))
        import_into(folder, source, photos)

    fuzz(mostly(results), check, examples=40)


def checkpoint_files() -> list[bytes]:
    from encoder_files import SETTINGS
    from orl_explore.encoder import Encoder
    from orl_explore.settings import EncoderSettings

    assert SETTINGS
    encoder = Encoder.random(EncoderSettings("timm:test_resnet", hidden=8, dim=4), seed=0)
    files = []
    for content in (encoder.state_dict(), {"state_dict": encoder.state_dict(), "epoch": 3, "args": None}):
        for zipped in (True, False):
            out = io.BytesIO()
            torch.save(content, out, _use_new_zipfile_serialization=zipped)
            files.append(out.getvalue())
    return files


def test_bytes_of_checkpoints(tmp_path):
    def check(drawn: tuple[bytes, str]) -> None:
        data, suffix = drawn
        for left in tmp_path.iterdir():  # by an example that failed
            left.unlink()
        path = tmp_path / f"a{suffix}"
        path.write_bytes(data)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            try:
                read_encoder(path, backbone="timm:test_resnet")
            except OrlError as error:
                assert_short(error)
        assert sorted(one.name for one in tmp_path.iterdir()) == [path.name]
        path.unlink()

    fuzz(
        st.tuples(damaged(checkpoint_files()), st.sampled_from([".pth", ".ckpt", ".safetensors", ".torch"])),
        check,
        examples=60,
    )


def test_checkpoints_of_any_shape(tmp_path):
    tensors = st.sampled_from(
        [
            torch.zeros(2, 3),
            torch.zeros(64, 3, 7, 7),
            torch.zeros(()),
            torch.zeros(3).to(torch.int8),
            torch.zeros(2, dtype=torch.complex64),
            torch.zeros(3).to_sparse(),
            torch.zeros(1).expand(9, 9),
        ]
    )
    keys = st.sampled_from(
        [
            "conv1.weight",
            "module.conv1.weight",
            "backbone.0.weight",
            "state_dict",
            "model",
            "fc.weight",
            "projector.0.weight",
            "_orig_mod.conv1.weight",
            "",
            "a.b",
        ]
    )
    content = st.recursive(
        st.one_of(tensors, JUNK),
        lambda inner: st.one_of(
            st.dictionaries(st.one_of(keys, st.integers(0, 3)), inner, max_size=4), st.lists(inner, max_size=3)
        ),
        max_leaves=12,
    )

    def check(drawn: object) -> None:
        torch.save(drawn, tmp_path / "a.pth")
        try:
            read_encoder(tmp_path / "a.pth")
        except OrlError as error:
            assert_short(error)

    fuzz(content, check, examples=80)
