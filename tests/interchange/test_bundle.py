"""Bundles: stage 3 elsewhere from the same tables, and no bundle that was tampered with."""

from __future__ import annotations

import io
import json
import zipfile

import pandas as pd
import pytest
from PIL import Image

from authors_files import RAW, files_of, mined
from bundle_files import repack
from orl_explore.errors import OrlError
from orl_explore.interchange.bundle import write_bundle
from orl_explore.runs.tables import TABLES
from training import stage3
from training.exporting import export
from training.importing import import_files


@pytest.mark.slow
def test_a_bundle_starts_stage_3_elsewhere(finished, images, annotations, tmp_path, tiny):
    export(finished, "bundle", tmp_path / "b.zip")
    run = import_files(tmp_path / "run", [tmp_path / "b.zip"], images=[annotations])
    for name in ("images", "neighbors", "proposals", "regions", "pairs"):
        pd.testing.assert_frame_equal(run.read(name), finished.read(name))
    assert not (run.path / "stage1").exists()
    stage3.run(run, tiny)
    # From the same images, regions, pairs and settings comes the same encoder, byte by byte.
    assert run.encoder_file("stage3").read_bytes() == finished.encoder_file("stage3").read_bytes()


def test_other_pairs_take_the_place_of_those_of_stage_2(finished, annotations, tmp_path):
    ids, regions = finished.images().table["image_id"].tolist(), finished.read("regions")
    first = regions.groupby("image_id")["region_id"].min()
    met = [(ids[2], ids[0]), (ids[1], ids[2]), (ids[2], ids[1]), (ids[2], ids[0])]  # in no order
    columns = ["image_id", "neighbor_id", "query_region", "key_region"]
    given = pd.DataFrame([(a, b, first[a] + (n == 3), first[b]) for n, (a, b) in enumerate(met)], columns=columns)
    write_bundle(finished, tmp_path / "b.zip", pairs=given)
    run = import_files(tmp_path / "run", [tmp_path / "b.zip"], images=[annotations])
    found = run.read("pairs")
    pd.testing.assert_frame_equal(found[columns], given.loc[[1, 0, 3, 2]].reset_index(drop=True))
    assert found[["neighbor_rank", "rank"]].to_numpy().tolist() == [[0, 0], [0, 0], [0, 1], [1, 0]]
    neighbors = run.read("neighbors")
    assert neighbors[["image_id", "rank", "neighbor_id"]].to_numpy().tolist() == [
        [ids[1], 0, ids[2]],
        [ids[2], 0, ids[0]],
        [ids[2], 1, ids[1]],
    ]
    assert found["similarity"].isna().all()
    assert run.stage("stage2")["imported"]["pairs"] == "given"
    pd.testing.assert_frame_equal(run.read("regions"), regions)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"entries": {"../evil.txt": b"x"}}, r"has the entry '../evil.txt', which no bundle has"),
        ({"entries": {"/etc/evil": b"x"}}, r"has the entry '/etc/evil', which no bundle has"),
        ({"entries": {"stage2/pairs.parquet": b"x"}}, r"stage2/pairs.parquet is not what manifest.json says"),
        ({"entries": {"stage2/pairs.parquet": None}}, r"lacks stage2/pairs.parquet"),
        ({"entries": {"manifest.json": None}}, r"has no manifest.json of a bundle"),
        ({"entries": {"manifest.json": b"[]"}}, r"has no manifest.json of a bundle"),
        ({"entries": {"LICENSE-NOTE.md": bytes(2 << 20)}}, r"LICENSE-NOTE.md has 2,097,152 bytes"),
        ({"entries": {"LICENSE-NOTE.md": bytes(1 << 20)}, "compress": True}, r"is compressed or encrypted"),
    ],
)
def test_bundles_that_were_tampered_with_are_refused(packed, photos, tmp_path, changes, sentence):
    other = repack(packed, **changes)
    before = files_of(tmp_path)
    with pytest.raises(OrlError, match=sentence):
        import_files(tmp_path / "run", [other], images=[photos])
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("text", [b"&a\nstage1: *a\n", b"\xff\xfe", b"[" * 20_000, b"- " * 5_000])
def test_a_config_that_is_an_attack_is_refused(packed, photos, tmp_path, text):
    other = repack(packed, signed=True, entries={"config.yaml": text})
    with pytest.raises(OrlError, match=r"config\.yaml is no config that `orl` wrote"):
        import_files(tmp_path / "run", [other], images=[photos])


def test_bundles_of_imported_runs_come_back_and_hold_no_labels(tmp_path, photos, write):
    content = json.loads(photos.read_text())
    for image in content["images"]:
        image["context"] = "beach"
    photos.write_text(json.dumps(content))
    run = import_files(tmp_path / "run", [write(mined()), write({"bbox": RAW}, "p.json")], images=[photos])
    assert "context" in run.read("images")
    export(run, "bundle", tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert list(pd.read_parquet(io.BytesIO(archive.read("images.parquet")))) == list(TABLES["images"].columns)
    again = import_files(tmp_path / "again", [tmp_path / "b.zip"], images=[photos])
    for what, expected in (("correspondences", mined()), ("proposals", {"bbox": RAW})):
        export(again, what, tmp_path / "out.json")
        assert json.loads((tmp_path / "out.json").read_text()) == expected


def test_a_bundle_is_refused_where_the_images_are_others(packed, photos, tmp_path):
    Image.new("RGB", (80, 60)).save(photos.parent / "4.jpg")
    with pytest.raises(OrlError, match=r"was mined from another 4\.jpg"):
        import_files(tmp_path / "run", [packed], images=[photos])


def test_a_bundle_cut_off_is_refused(packed, photos, tmp_path):
    packed.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(OrlError, match="is no zip file, or is damaged"):
        import_files(tmp_path / "run", [packed], images=[photos])
