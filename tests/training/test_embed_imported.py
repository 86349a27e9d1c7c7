"""Embeddings for an imported stage 2: those that stage 2 would have made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orl_explore.embedding import embed_images, embed_regions
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.maps import object_map
from orl_explore.runs.files import hash_file
from training import cli
from training import embed_imported as embed_module
from training.embed_imported import embed_imported
from training.importing import import_files


@pytest.fixture
def weights(tmp_path, encoder_settings):
    """Files of encoders, by seed."""

    def make(seed: int) -> Path:
        path = tmp_path / f"encoder-{seed}.safetensors"
        Encoder.random(encoder_settings, seed).save(path, stage="stage1", image_size=32)
        return path

    return make


def test_an_imported_run_is_embedded_by_an_imported_encoder(imported, tiny, weights, encoder_settings, capsys):
    with pytest.raises(
        OrlError, match=r"no encoder of stage 1: import one with `orl import \S+ WEIGHTS --stage stage1`"
    ):
        embed_imported(imported, tiny)
    tables = {name: hash_file(imported.file(name)) for name in ("neighbors", "proposals", "regions", "pairs")}
    for seed in (1, 2):  # another encoder makes other embeddings, without being asked to
        import_files(imported.path, [weights(seed)], overwrite=True)
        embed_imported(imported, tiny)
        encoder, images, size = Encoder.random(encoder_settings, seed), imported.images(), tiny.stage2.image_size
        np.testing.assert_allclose(
            imported.read_array("image_embeddings"), embed_images(encoder, images, size=size), atol=1e-6
        )
        expected = embed_regions(encoder, images, imported.read("regions"), size=size)
        np.testing.assert_allclose(imported.read_array("region_embeddings"), expected, atol=1e-3)  # kept in 16 bits
        digest = hash_file(imported.encoder_file("stage1"))
        assert imported.stage("stage2")["embedded"] == {"encoder": digest, "image_size": 32, "precision": "fp32"}
        assert imported.stage("stage2")["inputs"]["encoder"] == digest
    assert {name: hash_file(imported.file(name)) for name in tables} == tables
    assert imported.imported("stage2")
    before = imported.file("region_embeddings").stat().st_mtime_ns
    assert cli.main(["embed", str(imported.path), "--stage2.image_size", "32", "--precision", "fp32"]) == 0
    assert "are there: skipped" in capsys.readouterr().err
    assert imported.file("region_embeddings").stat().st_mtime_ns == before


def test_embeddings_stand_until_others_have_been_made(imported, changed, tiny, weights, encoder_settings, monkeypatch):
    def held():
        return {name: imported.file(name).read_bytes() for name in embed_module.NAMES}

    import_files(imported.path, [weights(1)])
    embed_imported(imported, tiny)
    before, record = held(), imported.stage("stage2")
    import_files(imported.path, [weights(2)], overwrite=True)
    for config, overwrite in ((tiny, False), (tiny, True), (changed("stage2", image_size=40), False)):
        with monkeypatch.context() as patch:
            patch.setattr(embed_module, "embed_all_regions", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                embed_imported(imported, config, overwrite=overwrite)
        assert held() == before
        assert {**imported.stage("stage2"), "embedding": None} == record
    embed_imported(imported, tiny)  # not with what was begun with other settings
    expected = embed_images(Encoder.random(encoder_settings, 2), imported.images(), size=32)
    np.testing.assert_allclose(imported.read_array("image_embeddings"), expected, atol=1e-6)
    assert imported.stage("stage2")["embedding"] is None
    assert not (imported.path / "stage2" / "shards").exists()


@pytest.mark.usefixtures("streamlit_once")
@pytest.mark.slow
def test_the_app_shows_every_page_of_an_embedded_run(imported, tiny, weights, monkeypatch):
    from streamlit.testing.v1 import AppTest

    import_files(imported.path, [weights(1)])
    embed_imported(imported, tiny)
    shape = object_map.MapSettings(neighbors=2, clusters=2)
    made = object_map.make_object_map(imported, shape)
    object_map.write_object_map(imported, made, object_map.fingerprint(imported))
    monkeypatch.setenv("ORL_RUNS", str(imported.path.parent))
    for page in ("overview", "neighbors", "proposals", "pairs", "object_map", "compare", "sample"):
        app = AppTest.from_file(str(Path(__file__).parents[2] / "app.py"), default_timeout=120)
        app.query_params.update({"run": "theirs", "page": page})
        app.run()
        assert not app.exception
        assert not app.error
        # Nothing has embedded the regions by an untrained network, and what does is named.
        assert all(page == "compare" and "`orl embed-regions" in box.value for box in app.warning)
        assert not [box.value for box in app.info if "embeddings" in box.value]


def test_a_mined_run_has_embeddings_of_its_own(finished, new_run, tiny):
    with pytest.raises(OrlError, match="was not imported: it has embeddings of its own"):
        embed_imported(finished, tiny)
    with pytest.raises(OrlError, match="has no stage 2 to embed"):
        embed_imported(new_run(), tiny)
