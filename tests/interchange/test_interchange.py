"""`orl import` and `orl export`: files in their real layouts, made here; what is damaged leaves nothing behind."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orl_explore.embedding import embed_images, embed_regions
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.interchange import jsonstream, unpacking
from orl_explore.interchange.jsonstream import stream_json
from orl_explore.maps import object_map
from orl_explore.runs.files import hash_file
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES
from training import cli, evaluate, stage2, stage3
from training.config import load_config
from training.embed_imported import embed_imported
from training.exporting import export
from training.importing import import_files

SIZES = [(40, 30), (40, 30), (60, 50), (20, 20)]
"""Width and height of four images, file names 9.jpg, 4.jpg, 7.jpg, 2.jpg, ids 90, 40, 70, 20: in no order."""
NAMES = [9, 4, 7, 2]

RAW = [
    [[0, 0, 20, 20], [1, 1, 20, 20], [20, 0, 20, 30], [0, 0, 5, 5]],
    [5, 5, 30, 20],  # the only box of the second image: the authors' files have it without its list
    [[0, 0, 30, 30], [30, 20, 30, 30], [0, 0, 60, 10]],
    [[0, 0, 3, 3], [1, 1, 4, 4]],
]
"""With a least side of 10, a greatest aspect of 3 and a greatest IoU of 0.5, the filter drops: the second box of the
first image (IoU 361 / 439 with the first), its last one and both of the last image by their sides (of which the first
falls back), the third of the third image by its aspect of 6."""
REASONS = ["kept", "iou", "kept", "side", "kept", "kept", "kept", "aspect", "fallback", "side"]
KEPT = [[[0, 0, 20, 20], [20, 0, 20, 30]], [[5, 5, 30, 20]], [[0, 0, 30, 30], [30, 20, 30, 30]], [[0, 0, 3, 3]]]
NEAR = [[1, 2], [0, 2], [3, 0], [2, 1]]
"""Rows, not ids."""
PAIRS = [
    [[KEPT[row][-1] + KEPT[near][-1]] for near in nearest]  # one pair: its last box with the neighbor's last box
    for row, nearest in enumerate(NEAR)
]
INFO = {
    "bbox_min_size": 10,
    "bbox_max_aspect_ratio": 3,
    "bbox_max_iou": 0.5,
    "intra_bbox_num": 100,
    "knn_image_num": 2,
    "knn_bbox_pair_ratio": 0.1,
}


def mined() -> dict:
    """A correspondence file."""
    return {
        "info": dict(INFO),
        "images": {"file_name": [f"{name}.jpg" for name in NAMES], "id": [10 * name for name in NAMES]},
        "pseudo_annotations": {
            "image_id": [10 * name for name in NAMES],
            "bbox": json.loads(json.dumps(KEPT)),
            "knn_image_id": json.loads(json.dumps(NEAR)),
            "knn_bbox_pair": json.loads(json.dumps(PAIRS)),
        },
    }


def neighbors() -> dict:
    """A neighbor file."""
    content = mined()
    content["info"] = {"knn_image_num": 2}
    del content["pseudo_annotations"]["bbox"], content["pseudo_annotations"]["knn_bbox_pair"]
    return content


@pytest.fixture
def photos(tmp_path) -> Path:
    """A COCO json of four images, in the order of the authors' files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = []
    for name, (width, height) in zip(NAMES, SIZES, strict=True):
        pixels = rng.integers(0, 255, (height, width, 3), np.uint8)
        Image.fromarray(pixels).resize((2 * width, 2 * height)).save(folder / f"{name}.jpg")
        images.append({"id": 10 * name, "file_name": f"{name}.jpg", "width": 2 * width, "height": 2 * height})
    path = folder / "all.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return path


@pytest.fixture
def write(tmp_path):
    def to_file(content: object, name: str = "theirs.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return to_file


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


# ---- JSON that is larger than memory -------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@settings(max_examples=25, deadline=None)
@given(
    items=st.lists(json_values),
    value=json_values,
    chunk=st.sampled_from([1, 2, 5, 1000]),
    indent=st.sampled_from([None, 1]),
)
def test_streaming_reads_what_json_reads(tmp_path_factory, items, value, chunk, indent):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps({"list": items, "deep": {"list": items}, "value": value}, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonstream, "CHUNK", chunk)
        found = list(stream_json(path, ("", "list", "deep", "deep.list")))
    expected = [("list", index, item) for index, item in enumerate(items)]
    expected += [("deep.list", index, item) for index, item in enumerate(items)]
    assert found == [*expected, ("value", None, value)]


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_file_cut_off_anywhere_is_refused(tmp_path, cut):
    text = '{"bbox": [[1, 2], [3]], "b": 12}'
    path = tmp_path / "a.json"
    path.write_text(text[:-cut])
    with pytest.raises(OrlError, match=r"ends too early|is no JSON"):
        list(stream_json(path, ("", "bbox")))


def test_only_one_item_at_a_time_is_in_memory(tmp_path, monkeypatch):
    # 2,000 items of 1,000 characters, read 4,096 at a time: the text held never exceeds a few items.
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"bbox": [[7] * 333] * 2000}))
    monkeypatch.setattr(jsonstream, "CHUNK", 4096)
    held = []
    more = jsonstream._Reader._more

    def watched(reader):
        more(reader)
        held.append(len(reader.text))

    monkeypatch.setattr(jsonstream._Reader, "_more", watched)
    assert sum(1 for _ in stream_json(path, ("", "bbox"))) == 2000
    assert max(held) < 3 * 4096


# ---- the authors' JSON -----------------------------------------------------------------------------------------------


@pytest.fixture
def imported(tmp_path, photos, write) -> Run:
    sources = [write(mined()), write({"bbox": RAW}, "proposals.json")]
    return import_files(tmp_path / "runs" / "theirs", sources, images=[photos])


def test_correspondences_become_tables(imported):
    assert imported.read("images")["image_id"].tolist() == [90, 40, 70, 20]
    near = imported.read("neighbors")
    assert near["image_id"].tolist() == [90, 90, 40, 40, 70, 70, 20, 20]
    assert near["neighbor_id"].tolist() == [40, 70, 90, 70, 20, 90, 70, 40]  # ids, where the file has rows
    assert near["similarity"].isna().all()
    assert imported.read("proposals")["reason"].tolist() == REASONS
    regions = imported.read("regions")
    assert regions[["x", "y", "w", "h"]].to_numpy().tolist() == [box for boxes in KEPT for box in boxes]
    assert regions["image_id"].tolist() == [90, 90, 40, 70, 70, 20]
    pairs = imported.read("pairs")
    # The last boxes of the images are regions 1, 2, 4 and 5.
    assert pairs["query_region"].tolist() == [1, 1, 2, 2, 4, 4, 5, 5]
    assert pairs["key_region"].tolist() == [2, 4, 1, 4, 5, 1, 4, 2]
    assert pairs["neighbor_rank"].tolist() == [0, 1] * 4
    for name in ("neighbors", "regions", "pairs", "proposals"):
        assert {c: str(t) for c, t in imported.read(name).dtypes.items()} == dict(TABLES[name].columns)
    stage = imported.stage("stage2")
    assert stage["state"] == "finished"
    assert (stage["config"]["min_side"], stage["config"]["neighbors"]) == (10, 2)


def test_the_way_back_gives_equal_files(imported, tmp_path):
    for what, content in (("correspondences", mined()), ("neighbors", neighbors()), ("proposals", {"bbox": RAW})):
        out = tmp_path / f"{what}.json"
        export(imported, what, out)
        assert json.loads(out.read_text()) == content


def test_images_of_a_folder_get_the_ids_and_the_order_of_the_file(tmp_path, photos, write):
    photos.unlink()
    shutil.copy(photos.parent / "2.jpg", photos.parent / "other.jpg")  # a picture that the file is not about
    run = import_files(tmp_path / "run", [write(mined())], images=[photos.parent])
    assert run.read("images")["image_id"].tolist() == [90, 40, 70, 20]
    export(run, "correspondences", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == mined()
    with pytest.raises(OrlError, match="has no raw proposals"):
        export(run, "proposals", tmp_path / "out.json")


def test_proposals_of_two_files_and_neighbors_wait_for_stage_2(tmp_path, photos, write):
    sources = [write({"bbox": RAW[:2]}, "a.json"), write({"bbox": RAW[2:]}, "b.json"), write(neighbors())]
    run = import_files(tmp_path / "run", sources, images=[photos], overrides=["--stage2.min_side=10"])
    assert run.read("proposals")["reason"].tolist() == REASONS
    assert len(run.read("regions")) == 6
    assert run.stage("stage2") == {}
    assert load_config(run.path / "config.yaml").stage2.min_side == 10
    with pytest.raises(OrlError, match=r"neighbors of \S+ were imported with stage2\.neighbors 2, not 3"):
        stage2.run(run, load_config(run.path / "config.yaml", ["--stage2.neighbors=3"]))


def test_an_imported_run_goes_through_the_rest(imported, changed, tiny):
    # Stage 2 has nothing to do; stage 3 trains on the pairs; figures leave out what is not known.
    config = changed("stage3", batch_size=2, epochs=2, checkpoint_steps=50)
    stage2.run(imported, config)
    stage3.run(imported, config)
    assert imported.finished("stage3")
    summary = evaluate.run(imported, config)
    assert summary["stage2"]["pairs"] == 8
    assert "near_duplicates" not in summary["stage2"]


@pytest.mark.parametrize("page", ["overview", "neighbors", "proposals", "pairs", "object_map", "compare", "sample"])
def test_the_app_opens_an_imported_run(imported, page, monkeypatch):
    from streamlit.testing.v1 import AppTest

    monkeypatch.setenv("ORL_RUNS", str(imported.path.parent))
    app = AppTest.from_file(str(Path(__file__).parents[2] / "app.py"), default_timeout=120)
    app.query_params.update({"run": "theirs", "page": page})
    app.run()
    assert not app.exception
    assert not app.error
    # What needs embeddings or an encoder says so; everything else is there.
    needs = {"object_map": "embeddings are no part of that", "compare": "encoder"}
    assert len(app.warning) == (page in needs)
    assert needs.get(page, "") in "".join(warning.value for warning in app.warning)


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
        assert not [*app.error, *app.warning]
        assert not [box.value for box in app.info if "embeddings" in box.value]


def test_a_mined_run_has_embeddings_of_its_own(finished, new_run, tiny):
    with pytest.raises(OrlError, match="was not imported: it has embeddings of its own"):
        embed_imported(finished, tiny)
    with pytest.raises(OrlError, match="has no stage 2 to embed"):
        embed_imported(new_run(), tiny)


def change(path: str, value: object):
    """A change of a correspondence file: `change("info.a", 1)`."""

    def apply(content: dict) -> dict:
        *parents, last = path.split(".")
        part = content
        for parent in parents:
            part = part[int(parent) if isinstance(part, list) else parent]
        part[int(last) if isinstance(part, list) else last] = value
        return content

    return apply


MINED = "pseudo_annotations"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (change(f"{MINED}.bbox", KEPT[:3]), r"pseudo_annotations.bbox has 3 entries, images.id has 4"),
        (change(f"{MINED}.knn_bbox_pair", PAIRS[:1]), r"knn_bbox_pair has 1 entries"),
        (change(f"{MINED}.bbox", 5), r"pseudo_annotations.bbox is no list"),
        (
            change(f"{MINED}.bbox.2.1", [31, 20, 30, 81]),
            r"bbox\[2\]\[1\] is \[31, 20, 30, 81\], outside its image 7.jpg",
        ),
        (change(f"{MINED}.bbox.2.1", [30, 20, 0, 3]), r"bbox\[2\]\[1\] is \[30, 20, 0, 3\], outside"),
        (change(f"{MINED}.bbox.2.1", [30, 20, 3]), r"bbox\[2\] is no list of 4"),
        (change(f"{MINED}.bbox.2.1", [30, 20, 3, "3"]), r"bbox\[2\] is no list of 4 whole numbers"),
        (change(f"{MINED}.bbox.2.1", [30, 20, 3, 3.5]), r"bbox\[2\] is no list of 4 whole numbers"),
        (
            change(f"{MINED}.bbox.2.1", [30, 20, 3, float("nan")]),
            r"bbox\[2\]: .*|holds NaN, which is no number, at .*bbox\[2\]",
        ),
        (change(f"{MINED}.bbox.2.1", [30, 20, 3, 1e99]), r"bbox\[2\] has a number beyond"),
        (change(f"{MINED}.bbox.2.1", [30, 20, 3, 10**30]), r"bbox\[2\] is no list of 4 whole"),
        (change(f"{MINED}.bbox.2.1", [30, 20, 3, True]), r"bbox\[2\] is no list of 4 whole numbers"),
        (change(f"{MINED}.knn_bbox_pair.2.1.0.7", True), r"knn_bbox_pair\[2\]\[1\] is no list of 8 whole numbers"),
        (change(f"{MINED}.bbox.3", []), r"bbox\[3\] has no box"),
        (change(f"{MINED}.bbox.3", [[]]), r"bbox\[3\] is no list of 4 whole numbers"),
        (change(f"{MINED}.image_id.1", 41), r"image_id\[1\] is 41, but images.id\[1\] is 40"),
        (change("images.id.1", 90), r"images.id has an id twice|image_id\[1\]"),
        (change("images.id.1", 4.5), r"images.id\[1\] is 4.5, no whole number"),
        (change("images.file_name.1", None), r"images.file_name\[1\] is None, no text"),
        (change("images.file_name.1", "5.jpg"), r"images.file_name\[1\] is '5.jpg', which is not among the images"),
        (change("images.file_name.1", "../../etc/passwd"), r"file_name\[1\] is '../../etc/passwd', which is not among"),
        (change("images.file_name.1", "9.jpg"), r"file_name\[1\] is '9.jpg', the image that \[0\] is already"),
        (change(f"{MINED}.knn_image_id.2.0", 4), r"knn_image_id\[2\] has 4, which is no row of the 4 images"),
        (change(f"{MINED}.knn_image_id.2.0", 2), r"knn_image_id\[2\] has 2, the image itself"),
        (change(f"{MINED}.knn_image_id.2.0", 0), r"knn_image_id\[2\] has a neighbor twice"),
        (change(f"{MINED}.knn_image_id.2", [0]), r"knn_image_id\[2\] has 1 neighbors instead of 2"),
        (change(f"{MINED}.knn_bbox_pair.2", PAIRS[2][:1]), r"knn_bbox_pair\[2\] has pairs with 1 neighbors"),
        (change(f"{MINED}.knn_bbox_pair.2.1", []), r"knn_bbox_pair\[2\]\[1\] has no pair"),
        (
            change(f"{MINED}.knn_bbox_pair.2.1.0", [30, 20, 30, 30, 20, 0, 20, 29]),
            r"knn_bbox_pair\[2\]\[1\]\[0\] has the key box \[20, 0, 20, 29\], which is none of bbox\[0\]",
        ),
        (change("info.bbox_min_size", -1), r"info.bbox_min_size is -1"),
        (change("info.knn_image_num", 3), r"knn_image_id\[0\] has 2 neighbors instead of 3"),
        (change("info", []), r"info is no object"),
        (
            lambda content: json.dumps(content).replace('"knn_image_num"', '"knn_image_num": 2, "knn_image_num"'),
            r"has the key 'knn_image_num' twice, at info",
        ),
        (
            lambda content: '{"bbox": ["' + "x" * (1 << 24) + '"]}',
            r"a value of more than 8,388,608 characters, at bbox\[0\]",
        ),
        (lambda content: json.dumps(content)[:-40], r"ends too early or is no JSON .*knn_bbox_pair\[3\]"),
        (lambda content: json.dumps(content) + "{}", r"goes on after its end"),
        (change(f"{MINED}.knn_image_id", [[]] * 4), r"knn_image_id\[0\] is no list of neighbors"),
        (
            lambda content: json.dumps(content)[:-1] + ', "pseudo_annotations.bbox": [[[0, 0, 1, 1]]]}',
            r"has the key 'pseudo_annotations.bbox', which no such file has",
        ),
        (lambda content: "[" * 100_000, r"nested too deeply"),
        (lambda content: '{"images": [{"id": 1}]}', r"is a COCO data set: name it with --images"),
        (lambda content: '{"something": 1}', r"is none of the files that can be imported"),
    ],
)
def test_damage_is_refused_by_name_and_leaves_nothing(tmp_path, photos, write, damage, sentence):
    source = write(damage(mined()))
    before = files_of(tmp_path)
    with pytest.raises(OrlError, match=sentence):
        import_files(tmp_path / "run", [source], images=[photos])
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (RAW[:3], r"bbox has 3 entries for 4 usable images"),
        ([*RAW[:3], [[0, 0, 99, 9]]], r"bbox\[3\]\[0\] is \[0, 0, 99, 9\], outside its image 2.jpg of 40 x 40 px"),
        ([RAW[0][:1], *RAW[1:]], r"image 9.jpg the filter keeps 1 boxes, and not the 2 of the correspondence file"),
    ],
)
def test_proposals_that_do_not_fit_are_refused(tmp_path, photos, write, raw, sentence):
    sources = [write(mined()), write({"bbox": raw}, "proposals.json")]
    before = files_of(tmp_path)
    with pytest.raises(OrlError, match=sentence):
        import_files(tmp_path / "run", sources, images=[photos])
    assert files_of(tmp_path) == before


def test_proposals_do_not_know_the_images_of_a_folder(tmp_path, photos, write):
    with pytest.raises(OrlError, match="in the order of a COCO json"):
        import_files(tmp_path / "run", [write({"bbox": RAW})], images=[photos.parent])


def test_proposals_are_refused_where_two_orders_are_possible(tmp_path, photos, write):
    # The json has 9.jpg first, the neighbor file 2.jpg: whose box the first one is, neither file says.
    content = neighbors()
    for key in ("file_name", "id"):
        content["images"][key].reverse()
    content[MINED]["image_id"].reverse()
    sources = [write(content), write({"bbox": [[0, 0, 10, 10]] * 4}, "p.json")]
    with pytest.raises(OrlError, match="in another order than --images"):
        import_files(tmp_path / "run", sources, images=[photos])


def test_ids_of_64_bits_stay_as_they_are(tmp_path, photos, write):
    # 2^53 + 1 is the first whole number that a float cannot hold.
    ids = [2**53 + 1, 2**62 + 3, -7, 2**63 - 1]
    content, json_of_images = mined(), json.loads(photos.read_text())
    content["images"]["id"] = content[MINED]["image_id"] = ids
    for image, image_id in zip(json_of_images["images"], ids, strict=True):
        image["id"] = image_id
    photos.write_text(json.dumps(json_of_images))
    run = import_files(tmp_path / "run", [write(content)], images=[photos])
    assert run.read("pairs")["image_id"].unique().tolist() == ids
    export(run, "correspondences", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == content


def test_the_run_folder_may_be_empty_but_no_file(tmp_path, photos, write, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    with pytest.raises(OrlError, match="is no folder: name the run folder first"):
        import_files(write(mined()), [write(mined())], images=[photos])
    import_files(tmp_path / "link", [write(mined())], images=[photos])
    assert (tmp_path / "link").is_symlink()
    assert Run.open(tmp_path / "here").finished("stage2")
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    assert import_files(Path(), [write(mined())], images=[photos]).finished("stage2")


def test_a_run_is_replaced_only_when_told(imported, write):
    before = (imported.path / "run.json").read_bytes()
    with pytest.raises(OrlError, match="has its own stage2 already"):
        import_files(imported.path, [write(neighbors(), "n.json")])
    assert (imported.path / "run.json").read_bytes() == before
    import_files(imported.path, [write(neighbors(), "n.json")], overwrite=True)
    assert imported.stage("stage2") == {}
    assert not imported.file("pairs").exists()
    imports = [entry["file"] for entry in imported.manifest()["imports"]]
    assert imports == ["proposals.json", "theirs.json", "n.json"]


# ---- boxes of other tools --------------------------------------------------------------------------------------------


def coco_results() -> list[dict]:
    return [
        {"image_id": 90, "category_id": 1, "bbox": [0.4, 0, 20.2, 19.6], "score": 0.2},
        {"image_id": 70, "category_id": 1, "bbox": [0, 0, 60, 50], "score": 0.1},
        {"image_id": 90, "category_id": 1, "bbox": [20, 30, 60.5, 30.4], "score": 0.9},
    ]


def fiftyone() -> dict:
    box = {"_cls": "Detection", "label": "cat"}
    first = [
        {**box, "bounding_box": [0.005, 0, 0.2525, 19.6 / 60], "confidence": 0.2},
        {**box, "bounding_box": [0.25, 0.5, 0.75625, 30.4 / 60], "confidence": 0.9},
    ]
    second = [{**box, "bounding_box": [0, 0, 0.5, 0.5]}]
    return {
        "name": "some",
        "samples": [
            {"filepath": "/somewhere/9.jpg", "tags": [], "found": {"_cls": "Detections", "detections": first}},
            {"filepath": "/somewhere/7.jpg", "metadata": None, "found": {"_cls": "Detections", "detections": second}},
        ],
    }


CSV = """file_name,x,y,w,h,score
9.jpg,0.4,0,20.2,19.6,0.2
7.jpg,0,0,60,50,
9.jpg,20,30,60.5,30.4,0.9
"""

# Best score first; corners to the nearest pixel and not beyond the image of 80 x 60; the whole image where nothing is.
EXPECTED = {
    90: [[20, 30, 60, 30], [0, 0, 21, 20]],
    40: [[0, 0, 80, 60]],
    70: [[0, 0, 60, 50]],
    20: [[0, 0, 40, 40]],
}


@pytest.mark.parametrize(
    ("name", "content"), [("results.json", coco_results()), ("samples.json", fiftyone()), ("boxes.csv", CSV)]
)
def test_boxes_of_other_tools_become_proposals(tmp_path, photos, write, name, content):
    run = import_files(tmp_path / "run", [write(content, name)], images=[photos], overrides=["--stage2.min_side=10"])
    boxes = run.read("proposals").groupby("image_id")[["x", "y", "w", "h"]].apply(lambda part: part.to_numpy().tolist())
    assert boxes.to_dict() == EXPECTED
    assert run.read("regions")["image_id"].tolist() == [90, 90, 40, 70, 20]
    # The boxes were filtered with a least side of 10: stage 2 does not claim another one.
    config = load_config(run.path / "config.yaml", ["--stage2.min_side=20"])
    with pytest.raises(OrlError, match=r"proposals of \S+ were imported with stage2\.min_side 10, not 20"):
        stage2.run(run, config)
    assert run.stage("stage2") == {}
    run.clear("stage2")  # as --overwrite does
    with pytest.raises(OrlError, match="no encoder at"):
        stage2.run(run, config)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("r.json", [{"image_id": 5, "bbox": [0, 0, 1, 1]}], r"\[0\] is of image 5, which is not in the run"),
        ("r.json", [{"image_id": 90}], r"\[0\] lacks image_id or bbox"),
        ("r.json", [{"image_id": 90, "bbox": [0, 0, 1]}], r"\[0\] has no box of four numbers"),
        ("r.json", [{"image_id": 90, "bbox": [0, 0, 90, 1]}], r"\[0\] has the box .* outside its image of 80 x 60"),
        ("r.json", [{"image_id": 90, "bbox": [0, 0, 0, 1]}], r"\[0\] has the box .* empty or outside"),
        ("r.json", [{"image_id": 90, "bbox": [0, 0, 1, 1], "score": "x"}], r"\[0\].score is 'x', which is no number"),
        ("r.json", [{"image_id": 90, "bbox": [0, 0, "1", 1]}], r"\[0\]: box is '1', which is no number"),
        (
            "r.json",
            '[{"image_id": 90, "bbox": [0, 0, 1, 1], "bbox": [0, 0, 2, 2]}]',
            r"has the key 'bbox' twice, at \[0\]",
        ),
        ("r.json", '[{"image_id": 90, "bbox": [0, 0, Infinity, 1]}]', r"holds Infinity, which is no number, at \[0\]"),
        ("s.json", {"samples": [{"filepath": "8.jpg"}]}, r"samples\[0\] is '8.jpg', which is not in the run"),
        ("s.json", {"samples": 5}, r"samples is no list"),
        ("s.json", {"samples": [{}]}, r"samples\[0\] has no filepath"),
        ("b.csv", "a,b\n1,2\n", r"needs a first line with the columns"),
        ("b.csv", "file_name,x,y,w,h\n9.jpg,0,0,1,nan\n", r"line 2: box is nan, which is no number"),
        ("b.csv", "file_name,x,y,w,h\n9.jpg,0,0,1,one\n", r"line 2: box is 'one', which is no number"),
        ("b.csv", "file_name,x,y,w,h\n9.jpg,0,0,1,1,1\n", r"line 2 has more values than the first line has columns"),
        ("b.csv", "file_name,x,x,y,w,h\n9.jpg,0,0,0,1,1\n", r"has a column twice in its first line"),
        ("b.csv", "file_name,x,y,w,h\n", r"b.csv has no box in it"),
        ("s.json", {"samples": [{"filepath": "9.jpg"}]}, r"s.json has no box in it"),
        ("b.csv", "file_name,x,y,w,h\n9.jpg,0,0\n", r"line 2: box is None, which is no number"),
        ("b.csv", "file_name,x,y,w,h\n../9.png,0,0,1,1\n", r"line 2 is of image '../9.png', which is not in the run"),
    ],
)
def test_boxes_that_are_wrong_are_refused_by_name(tmp_path, photos, write, name, content, sentence):
    source = write(content, name)
    before = files_of(tmp_path)
    with pytest.raises(OrlError, match=sentence):
        import_files(tmp_path / "run", [source], images=[photos])
    assert files_of(tmp_path) == before


# ---- tables out ------------------------------------------------------------------------------------------------------


def test_coco_annotations_are_the_kept_boxes(imported, tmp_path):
    from pycocotools.coco import COCO

    export(imported, "coco", tmp_path / "out.json")
    coco = COCO(tmp_path / "out.json")
    assert coco.getImgIds() == [90, 40, 70, 20]
    found = coco.loadAnns(coco.getAnnIds(imgIds=[70]))
    assert [item["bbox"] for item in found] == KEPT[2]
    assert [item["id"] for item in found] == [4, 5]


def test_pairs_are_written_flat(imported, tmp_path):
    export(imported, "pairs", tmp_path / "pairs.parquet")
    export(imported, "pairs", tmp_path / "pairs.csv")
    flat = pd.read_parquet(tmp_path / "pairs.parquet")
    third = flat.iloc[2]  # 4.jpg with its nearest neighbor 9.jpg: the last boxes of both
    assert (third["file_name"], third["neighbor_file_name"]) == ("4.jpg", "9.jpg")
    assert third[["query_x", "query_y", "query_w", "query_h"]].tolist() == [5, 5, 30, 20]
    assert third[["key_x", "key_y", "key_w", "key_h"]].tolist() == [20, 0, 20, 30]
    with (tmp_path / "pairs.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(flat) == 8
    assert lines[2]["key_x"] == "20"
    with pytest.raises(OrlError, match=r"\.csv or \.parquet"):
        export(imported, "pairs", tmp_path / "pairs.txt")


def test_a_run_without_pairs_has_a_table_without_rows(imported, tmp_path):
    imported.write("pairs", imported.read("pairs").iloc[:0])
    for name in ("pairs.csv", "pairs.parquet"):
        export(imported, "pairs", tmp_path / name)
    assert (tmp_path / "pairs.csv").read_text().startswith("image_id,file_name,neighbor_id")
    assert len(pd.read_parquet(tmp_path / "pairs.parquet")) == 0


def test_exports_say_what_can_be_written(imported, tmp_path):
    with pytest.raises(OrlError, match="cannot export 'pictures': choose one of proposals, "):
        export(imported, "pictures", tmp_path / "out")
    with pytest.raises(OrlError, match="is a folder: name the file"):
        export(imported, "coco", tmp_path)


# ---- bundles ---------------------------------------------------------------------------------------------------------


def test_a_bundle_starts_stage_3_elsewhere(finished, images, annotations, tmp_path, tiny):
    export(finished, "bundle", tmp_path / "b.zip")
    run = import_files(tmp_path / "run", [tmp_path / "b.zip"], images=[annotations])
    for name in ("images", "neighbors", "proposals", "regions", "pairs"):
        pd.testing.assert_frame_equal(run.read(name), finished.read(name))
    assert not (run.path / "stage1").exists()
    stage3.run(run, tiny)
    # From the same images, regions, pairs and settings comes the same encoder, byte by byte.
    assert run.encoder_file("stage3").read_bytes() == finished.encoder_file("stage3").read_bytes()


@pytest.fixture
def packed(imported, tmp_path) -> Path:
    export(imported, "bundle", tmp_path / "b.zip")
    return tmp_path / "b.zip"


def repack(path: Path, *, signed: bool = False, **changes: object) -> Path:
    """Write a bundle again with entries replaced (bytes), added or left out (None), or the whole compressed.

    With `signed`, the manifest gets the hashes of the new entries, as whoever forges a bundle would do.
    """
    compression = zipfile.ZIP_DEFLATED if changes.pop("compress", False) else zipfile.ZIP_STORED
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries |= changes.pop("entries", {})
    if signed:
        manifest = json.loads(entries["manifest.json"])
        for name, facts in manifest["files"].items():
            if isinstance(facts, dict):
                facts["blake2b"] = hashlib.blake2b(entries[name], digest_size=16).hexdigest()
        entries["manifest.json"] = json.dumps(manifest)
    out = path.with_name("other.zip")
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in entries.items():
            if data is not None:
                archive.writestr(name, data)
    return out


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


def forged(packed: Path, name: str, change: Callable[[Any], Any]) -> Path:
    """A bundle with another table or manifest, and hashes that fit."""
    with zipfile.ZipFile(packed) as archive:
        data = archive.read(name)
    if name == "manifest.json":
        manifest = json.loads(data)
        change(manifest)
        return repack(packed, signed=True, entries={name: json.dumps(manifest).encode()})
    out = io.BytesIO()
    change(pd.read_parquet(io.BytesIO(data))).to_parquet(out, index=False)
    return repack(packed, signed=True, entries={name: out.getvalue()})


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("manifest.json", lambda m: m["files"].update({"images.parquet": 5}), "has no manifest.json of a bundle"),
        ("manifest.json", lambda m: m["stage2"].update(imported=5), "has no manifest.json of a bundle"),
        ("manifest.json", lambda m: m["stage2"].update(imported={"info": "x"}), "has no manifest.json of a bundle"),
        ("manifest.json", lambda m: m["stage2"]["config"].update(evil=1), "unknown setting 'stage2.evil'"),
        (
            "images.parquet",
            lambda t: t.assign(file_name=[None, *t["file_name"][1:]]),
            "images.parquet has missing values in file_name",
        ),
        (
            "images.parquet",
            lambda t: pd.concat([t, t]),
            "is about 8 images, and --images has 4",
        ),
        (
            "stage2/regions.parquet",
            lambda t: pd.concat([t] * 10_000),  # 6 rows
            "stage2/regions.parquet has more than 40,000 rows",
        ),
        (
            "images.parquet",
            lambda t: t.assign(image_id=list("abcd")),
            "images.parquet has the column image_id str instead of int64",
        ),
        (
            "images.parquet",
            lambda t: t.assign(file_name=["x" * 5001] * 4),
            "texts of more than 5,000 bytes in file_name",
        ),
        (
            "stage2/pairs.parquet",
            lambda t: t.assign(evil=1),
            "stage2/pairs.parquet has the column evil int64 instead of missing",
        ),
        (
            "stage2/pairs.parquet",
            lambda t: t.drop(columns="rank"),
            "stage2/pairs.parquet has the column rank missing instead of",
        ),
        (
            "stage2/pairs.parquet",
            lambda t: t.astype({"query_region": str}),
            "has the column query_region str instead of",
        ),
    ],
)
def test_forged_bundles_are_refused(packed, photos, tmp_path, name, change, sentence):
    other = forged(packed, name, change)
    before = files_of(tmp_path)
    with pytest.raises(OrlError, match=sentence):
        import_files(tmp_path / "run", [other], images=[photos])
    assert files_of(tmp_path) == before


def lying(table: pa.Table) -> bytes:
    """A Parquet file of one row group whose footer says that each column unpacks to 50 bytes, whatever it really is."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", use_dictionary=False, write_statistics=False)
    data, group = out.getvalue(), pq.read_metadata(out).row_group(0)
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    for size in (group.total_byte_size, *(group.column(i).total_uncompressed_size for i in range(group.num_columns))):
        if size > 10_000:
            true = varint(size)
            footer = footer.replace(true, varint(50, len(true)))
    return data[: -8 - length] + footer + data[-8:]


def varint(value: int, width: int = 1) -> bytes:
    """A number above 0 as a footer holds it: doubled, seven bits a byte, and as many zeros as it takes."""
    value, digits = 2 * value, []
    while value or len(digits) < width:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits[:-1], digits[-1] & 127])


@pytest.mark.parametrize(
    ("size", "memory", "sentence"),
    [
        (3_000_000, None, "images.parquet unpacks to 3,000,[0-9]+ bytes in its first 4 rows, too many"),
        pytest.param(
            100_000_000,
            48 << 20,
            "images.parquet has a piece that unpacks to more memory than any table needs",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone"),
        ),
    ],
)
def test_a_footer_that_lies_about_its_pages_is_found_out(packed, photos, tmp_path, monkeypatch, size, memory, sentence):
    if memory:
        monkeypatch.setattr(unpacking, "MEMORY", memory)
    with zipfile.ZipFile(packed) as archive:
        images = pq.read_table(io.BytesIO(archive.read("images.parquet")))
    names = pa.array(["a" * size, "b", "c", "d"], pa.string())
    data = lying(images.set_column(images.schema.get_field_index("file_name"), "file_name", names))
    assert len(data) < 100_000
    assert pq.read_metadata(io.BytesIO(data)).row_group(0).total_byte_size == 50
    other = repack(packed, signed=True, entries={"images.parquet": data})
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


@pytest.mark.parametrize(
    ("table", "column", "row", "value", "sentence"),
    [
        ("pairs", "key_region", 2, 5, r"row 2 of pairs.parquet has a key_region that is not on its image"),
        ("pairs", "query_region", 2, 99, r"row 2 of pairs.parquet has a query_region that is not on its image"),
        ("pairs", "similarity", 2, 7.0, r"row 2 of pairs.parquet has a similarity that is no cosine"),
        ("neighbors", "neighbor_id", 3, 5, r"row 3 of neighbors.parquet names image 5, which is not in the run"),
        ("neighbors", "neighbor_id", 3, 40, r"row 3 of neighbors.parquet has an image as its own neighbor"),
        ("regions", "w", 1, 500, r"row 1 of regions.parquet has the box \[20, 0, 500, 30\], outside its image"),
        ("regions", "region_id", 1, 0, r"row 1 of regions.parquet has a region_id that is not its row"),
        ("proposals", "reason", 1, "<b>", r"row 1 of proposals.parquet has the unknown reason '<b>'"),
    ],
)
def test_tables_that_contradict_each_other_are_refused(imported, photos, tmp_path, table, column, row, value, sentence):
    frame = imported.read(table)
    frame.loc[row, column] = value
    imported.write(table, frame)
    export(imported, "bundle", tmp_path / "b.zip")
    before = files_of(tmp_path)
    with pytest.raises(OrlError, match=sentence):
        import_files(tmp_path / "run", [tmp_path / "b.zip"], images=[photos])
    assert files_of(tmp_path) == before


# ---- commands --------------------------------------------------------------------------------------------------------


def test_the_commands(tmp_path, photos, write, capsys):
    run, out = str(tmp_path / "run"), tmp_path / "out.json"
    assert cli.main(["import", run, str(write(mined())), "--images", str(photos), "--seed", "3"]) == 0
    assert Run(run).stage("stage2")["seed"] == 3
    assert cli.main(["export", run, "correspondences", str(out)]) == 0
    assert json.loads(out.read_text()) == mined()
    capsys.readouterr()
    assert cli.main(["import", run, str(write("{", "cut.json"))]) == 1
    assert "cut.json ends too early" in capsys.readouterr().err
    assert cli.main(["stage2", run]) == 0
    assert "was imported: skipped" in capsys.readouterr().err


def test_a_run_needs_images_once(imported, photos, tmp_path, write):
    with pytest.raises(OrlError, match="a new run needs its images"):
        import_files(tmp_path / "new", [write(mined())])
    with pytest.raises(OrlError, match="has its images already"):
        import_files(imported.path, [write(mined())], images=[photos], overwrite=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    with pytest.raises(OrlError, match="is a folder, but no run"):
        import_files(tmp_path / "folder", [write(mined())], images=[photos])
    assert (tmp_path / "folder" / "thesis.txt").read_text() == "mine"
