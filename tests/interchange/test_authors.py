"""The ORL authors' files become tables; what is damaged or does not fit is named and leaves nothing behind."""

from __future__ import annotations

import json

import pytest

from authors_files import KEPT, PAIRS, RAW, REASONS, change, files_of, mined, neighbors
from orl_explore.errors import OrlError
from orl_explore.runs.tables import TABLES
from training import stage2
from training.config import load_config
from training.exporting import export
from training.importing import import_files


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


def test_proposals_of_two_files_and_neighbors_wait_for_stage_2(tmp_path, photos, write):
    sources = [write({"bbox": RAW[:2]}, "a.json"), write({"bbox": RAW[2:]}, "b.json"), write(neighbors())]
    run = import_files(tmp_path / "run", sources, images=[photos], overrides=["--stage2.min_side=10"])
    assert run.read("proposals")["reason"].tolist() == REASONS
    assert len(run.read("regions")) == 6
    assert run.stage("stage2") == {}
    assert load_config(run.path / "config.yaml").stage2.min_side == 10
    with pytest.raises(OrlError, match=r"neighbors of \S+ were imported with stage2\.neighbors 2, not 3"):
        stage2.run(run, load_config(run.path / "config.yaml", ["--stage2.neighbors=3"]))


MINED = "pseudo_annotations"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (change(f"{MINED}.bbox", KEPT[:3]), r"pseudo_annotations.bbox has 3 entries, images.id has 4"),
        (change(f"{MINED}.knn_bbox_pair", PAIRS[:1]), r"knn_bbox_pair has 1 entries"),
        (change(f"{MINED}.bbox", 5), r"pseudo_annotations.bbox is no list"),
        # Clipped or left out (see test_clipping.py), so that a pair is of none of the image's boxes.
        (change(f"{MINED}.bbox.2.1", [31, 20, 30, 81]), r"knn_bbox_pair\[2\]\[0\]\[0\] has the query box"),
        (change(f"{MINED}.bbox.2.1", [30, 20, 0, 3]), r"knn_bbox_pair\[2\]\[0\]\[0\] has the query box"),
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
        (change(MINED, [None]), r"pseudo_annotations is a list: is it a file of the ORL authors' code\?"),
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
        (lambda content: '{"images": [{"id": 1}]}', r"none of its 1 images is in the run"),
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
        (
            [*RAW[:3], [[0, 0, 99, 9]]],
            r"image 2.jpg the filter keeps 1 boxes, and not the 1 of the correspondence file",
        ),
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
