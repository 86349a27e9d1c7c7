"""What `orl evaluate` computes, on a run small enough to check."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from orl_explore.encoder import Encoder
from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images
from orl_explore.numbers import percent_text
from orl_explore.practice.scenes import make_scenes
from orl_explore.runs.run import Run
from orl_explore.settings import Config, EncoderSettings, EvaluateSettings, Stage1Settings
from training import evaluate
from training.evaluation_tables import summary_tables

CONFIG = Config(
    workers=0,
    stage1=Stage1Settings(encoder=EncoderSettings("resnet18", hidden=8, dim=4), image_size=32, batch_size=4),
)

METRICS = """step,epoch,lr,momentum,loss,loss_image,std,rank
0,0,0.1,0.99,8,8,,
1,0,0.1,0.99,6,6,0.9,30
2,1,0.1,0.99,3,3,,
3,1,0.1,0.99,2,2,0.8,20.5
"""


def shown(summary):
    console = Console(width=120, record=True, file=io.StringIO())
    for part in summary_tables(summary):
        console.print(part)
    return console.export_text()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return open_images([make_scenes(tmp_path_factory.mktemp("scenes"), count=20, size=64, seed=1, disguise=True)])


def mine(run, images):
    """Write tables of stage 2 whose figures are known: the regions are the objects themselves."""
    ids = images.table["image_id"].to_numpy()
    objects = images.objects
    whole = objects[["x", "y", "w", "h"]].round().astype("int32")
    regions = whole.assign(region_id=np.arange(len(objects)), image_id=objects["image_id"])
    run.write("regions", regions)
    run.write("proposals", regions.assign(rank=0, reason="kept"))
    similarity = [0.99] * 3 + [0.5] * (len(ids) - 3)
    neighbors = {"image_id": ids, "rank": 0, "neighbor_id": np.roll(ids, 1), "similarity": similarity}
    run.write("neighbors", pd.DataFrame(neighbors))
    first = regions.groupby("image_id")["region_id"].first().loc[ids].to_numpy()
    pairs = {"image_id": ids, "neighbor_id": np.roll(ids, 1), "neighbor_rank": 0, "rank": 0}
    run.write(
        "pairs",
        pd.DataFrame(pairs | {"query_region": first, "key_region": np.roll(first, 1), "similarity": 0.5}),
    )


@pytest.fixture(scope="module")
def full(scenes, tmp_path_factory):
    """A run with everything, and its summary."""
    run = Run(tmp_path_factory.mktemp("run"))
    run.set_images(scenes, ["scenes"])
    for stage, seed in (("stage1", 1), ("stage3", 2)):
        (run.path / stage).mkdir()
        Encoder.random(CONFIG.stage1.encoder, seed).save(run.encoder_file(stage))
    (run.path / "stage1" / "metrics.csv").write_text(METRICS)
    mine(run, scenes)
    return run, evaluate.run(run, CONFIG)


def test_a_full_run_has_every_figure(full):
    _, summary = full
    assert list(summary) == ["seed", "counts", "random", "stage1", "stage3", "stage2", "chance", "verdicts"]
    judged = {"feature_std", "feature_rank", "object_probe", "object_knn", "scene_map"}
    assert set(summary["random"]) == set(summary["stage3"]) == judged
    assert set(summary["stage1"]) > judged
    assert set(summary["chance"]) == {"object_probe", "object_knn", "scene_map"}
    assert {k for k in summary["stage2"] if k.endswith("_chance")} == {
        "context_agreement_chance",
        "category_overlap_chance",
        "object_pairs_chance",
        "purity_chance",
        "purity_neighbor_chance",
    }
    for name in judged - {"feature_rank"}:
        # kNN among so few objects can miss every one.
        lowest = 0 if name == "object_knn" else 1e-9
        assert all(lowest <= summary[encoder][name] <= 1 for encoder in ("random", "stage1", "stage3")), name
    assert len({summary[encoder]["feature_std"] for encoder in ("random", "stage1", "stage3")}) == 3, "three encoders"


def test_every_key_is_documented(full):
    _, summary = full
    names = {key for part in summary.values() if isinstance(part, dict) for key in part} | set(summary)
    words = set(evaluate.__doc__.replace(",", " ").replace(";", " ").split())
    documented_by_pattern = {n for n in names if n.endswith("_chance") and n.removesuffix("_chance") in words} | {
        "loss_image"
    }
    assert names - words - documented_by_pattern == set()


def test_stage_2_is_judged_by_its_tables(full, scenes):
    _, summary = full
    mined = summary["stage2"]
    # Regions are the objects themselves, so every object is found and every pair joins two objects.
    assert mined["recall_50"] == 1
    assert mined["recall_70"] == mined["object_regions"] == mined["object_pairs"] == 1
    assert mined["mixed_pairs"] == mined["unlabeled_pairs"] == 0
    assert mined["pairs"] == 20
    assert mined["regions"] == mined["kept"] == len(scenes.objects)
    assert mined["largest_hub"] == 1
    assert mined["near_duplicates"] == 3
    context = scenes.table["context"].to_numpy()
    assert mined["context_agreement"] == pytest.approx((context == np.roll(context, 1)).mean())
    categories = scenes.objects.groupby("image_id")["category"].first()[scenes.table["image_id"]].to_numpy()
    assert mined["purity"] == pytest.approx((categories == np.roll(categories, 1)).mean())
    low, high = mined["purity_interval"]
    assert low < mined["purity"] < high
    (first,) = mined["purity_by_rank"]  # there is one pair with each neighbor
    assert (first["purity"], first["pairs"], first["interval"]) == (mined["purity"], 20, [low, high])
    assert sum(one["pairs"] for one in mined["purity_by_category"].values()) == 20
    assert set(mined["purity_by_category"]) == set(categories)
    assert mined["corloc"] == mined["corloc_support"] == mined["recall_at_boxes"]["100"] == 1
    assert mined["corloc_interval"] == [1, 1]
    objects = scenes.objects.groupby("image_id").size()
    # The first box is the first object itself, and meets another one at most by chance.
    assert len(objects) / len(scenes.objects) <= mined["recall_at_boxes"]["1"] < 1
    low, high = mined["recall_at_boxes_interval"]["1"]
    assert low < mined["recall_at_boxes"]["1"] < high
    assert mined["recall_at_boxes_interval"]["100"] == [1, 1]


def test_training_figures_are_epoch_means(full):
    _, summary = full
    stage = summary["stage1"]
    assert stage["epochs"] == 2
    assert (stage["loss_first"], stage["loss"], stage["loss_image"]) == (7, 2.5, 2.5)
    assert stage["loss_per_epoch"] == [7, 2.5]
    assert stage["std_per_epoch"] == [0.9, 0.8]
    assert stage["rank_per_epoch"] == [30, 20.5]
    assert (stage["std"], stage["rank"], stage["collapsed"]) == (0.8, 20.5, False)


def test_collapse_and_unfinished_epochs(tmp_path):
    run = Run(tmp_path)
    (tmp_path / "stage1").mkdir()
    (tmp_path / "stage1" / "metrics.csv").write_text(METRICS.replace("0.8,20.5", "0.04,1.1") + "4,2,0.1,0.99,1,1,,\n")
    figures = evaluate.training_figures(run, "stage1")
    assert figures["loss"] == 1
    assert np.isnan(figures["std"])  # epoch 2 has not ended
    assert not figures["collapsed"]
    (tmp_path / "stage1" / "metrics.csv").write_text(METRICS.replace("0.8,20.5", "0.04,1.1"))
    assert evaluate.training_figures(run, "stage1")["collapsed"]
    assert evaluate.training_figures(run, "stage3") == {}


@pytest.mark.slow
def test_summary_is_written_as_strict_json_and_is_the_same_again(full):
    run, summary = full
    file = run.path / "evaluation" / "summary.json"
    text = file.read_text()
    assert json.loads(text, parse_constant=pytest.fail) == summary  # no NaN or Infinity
    assert evaluate.run(run, CONFIG) == summary
    assert file.read_text() == text


def test_probes_are_fitted_on_the_training_part(full, scenes, monkeypatch):
    run, summary = full
    seen = {}

    def spy(name):
        def record(train_x, train_y, test_x, test_y, **_):
            seen[name] = (len(train_x), len(train_y), len(test_x), len(test_y))
            return 0.5

        return record

    for name in ("linear_probe", "knn_accuracy", "multilabel_map"):
        monkeypatch.setattr(evaluate.probes, name, spy(name))
    monkeypatch.setattr(evaluate, "write_json", lambda *_: None)
    evaluate.run(run, CONFIG)
    counts = summary["counts"]
    assert counts["train_crops"] + counts["test_crops"] == len(scenes.objects)
    assert (counts["train_images"], counts["test_images"]) == (14, 6)
    crops = (counts["train_crops"],) * 2 + (counts["test_crops"],) * 2
    assert seen == {"linear_probe": crops, "knn_accuracy": crops, "multilabel_map": (14, 14, 6, 6)}
    held_out = evaluate.held_out_images(scenes, CONFIG)
    assert counts["test_crops"] == scenes.objects["image_id"].isin(held_out).sum()


def test_tables_on_the_console(full):
    _, summary = full
    text = shown(summary)
    for expected in (
        "random",
        "stage 1",
        "stage 3",
        "chance",
        "probe on annotated",
        "purity",
        "recall at IoU 0.7",
    ):
        assert expected in text
    assert percent_text(summary["stage1"]["object_probe"]) in text
    assert "collapsed" not in text
    assert "equal epochs" not in text

    summary = json.loads(json.dumps(summary))
    summary["stage1"]["collapsed"] = True
    summary["stage3"]["epochs"] = 5
    text = shown(summary)
    assert "stage 1 has collapsed" in text
    assert "Not at equal epochs" in text


def test_a_run_without_annotations_reports_what_it_can(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    run = Run(tmp_path / "run")
    images = open_images([tmp_path])
    run.set_images(images, [str(tmp_path)])
    ids = images.table["image_id"]
    run.write(
        "neighbors",
        pd.DataFrame({"image_id": ids, "rank": 0, "neighbor_id": np.roll(ids, 1), "similarity": 0.5}),
    )
    box = {"image_id": ids, "x": 0, "y": 0, "w": 10, "h": 10}
    run.write("regions", pd.DataFrame({"region_id": range(4)} | box))
    run.write("proposals", pd.DataFrame({"rank": 0, "reason": "fallback"} | box))
    columns = ["image_id", "neighbor_id", "neighbor_rank", "rank", "query_region", "key_region", "similarity"]
    run.write("pairs", pd.DataFrame([[ids[1], ids[0], 0, 0, 1, 0, 0.5]], columns=columns))
    Encoder.random(CONFIG.stage1.encoder, 1).save(run.encoder_file("stage2"))
    summary = evaluate.run(run, CONFIG)
    assert "random" not in summary
    assert set(summary["pretrained"]) == {"feature_std", "feature_rank"}
    assert "no annotations: their spread alone" in capsys.readouterr().err
    assert summary["chance"] == {}
    assert summary["stage2"] == {
        "hubness": 0,
        "largest_hub": 1,
        "near_duplicates": 0,
        "proposals": 4,
        "kept": 0,
        "fallback": 4,
        **{f"rejected_{reason}": 0 for reason in ("side", "aspect", "iou", "count")},
        "regions": 4,
        "candidate_pairs": 4,
        "pairs": 1,
    }
    assert "Without annotations" in shown(summary)


def test_before_anything_is_trained_no_encoder_is_judged(scenes, tmp_path):
    run = Run(tmp_path)
    run.set_images(scenes, ["scenes"])
    summary = evaluate.run(run, CONFIG)
    assert list(summary) == ["seed", "counts", "chance", "verdicts"]
    assert not shown(summary)


@pytest.mark.slow
def test_the_encoder_that_mined_is_judged_and_embeds_once(scenes, tmp_path, monkeypatch, capsys):
    run = Run(tmp_path)
    run.set_images(scenes, ["scenes"])
    run.encoder_file("stage2").parent.mkdir()
    Encoder.random(CONFIG.stage1.encoder, 1).save(run.encoder_file("stage2"))
    embedded = []
    original = evaluate.embed_regions

    def embed(encoder, *arguments, **options):
        embedded.append(encoder)
        return original(encoder, *arguments, **options)

    monkeypatch.setattr(evaluate, "embed_regions", embed)
    first = evaluate.run(run, CONFIG)
    assert list(first) == ["seed", "counts", "pretrained", "chance", "verdicts"]
    assert 0 <= first["pretrained"]["object_probe"] <= 1
    assert "pretrained" in shown(first)
    assert "embeddings of pretrained" in capsys.readouterr().err
    assert evaluate.run(run, CONFIG) == first
    assert len(embedded) == 1
    evaluate.run(run, dataclasses.replace(CONFIG, evaluate=EvaluateSettings(max_crops=20)))  # other crops
    Encoder.random(CONFIG.stage1.encoder, 2).save(run.encoder_file("stage2"))  # another encoder
    assert evaluate.run(run, CONFIG)["pretrained"] != first["pretrained"]
    assert len(embedded) == 3
    next((run.path / evaluate.CACHE).iterdir()).write_bytes(b"torn")
    evaluate.run(run, CONFIG)
    assert len(embedded) == 4


def annotated(objects, *, size=(100, 80), count=10):
    """An image set that is only looked at, never loaded."""
    table = pd.DataFrame({"image_id": np.arange(count) * 11, "width": size[0], "height": size[1]})
    columns = ["image_id", "x", "y", "w", "h", "category"]
    return ImageSet(table, pd.DataFrame(objects, columns=columns), pd.DataFrame(), ())


def test_crops_are_whole_pixels_inside_the_image_and_grouped():
    objects = [
        (11, 0.0, 0.0, 20.0, 20.0, "cup"),
        (0, 10.6, 5.2, 20.0, 30.7, "key"),  # 10.6 .. 30.6 and 5.2 .. 35.9, outwards
        (11, 80.5, 60.5, 19.5, 19.5, "cup"),  # up to the very corner
        (0, 1.0, 1.0, 7.9, 50.0, "pin"),  # too narrow
        (0, 1.0, 1.0, 8.0, 50.0, "pen"),
    ]
    crops = evaluate.draw_crops(annotated(objects), Config())
    assert crops[["image_id", "x", "y", "w", "h", "category"]].to_numpy().tolist() == [
        [0, 10, 5, 21, 31, "key"],
        [0, 1, 1, 8, 50, "pen"],
        [11, 0, 0, 20, 20, "cup"],
        [11, 80, 60, 20, 20, "cup"],
    ]


def test_draws_are_limited_deterministic_and_seeded():
    images = annotated([(11 * (i % 10), i % 50, 0, 20, 20, "cup") for i in range(200)])

    def drawn(seed, limit):
        config = Config(seed=seed, evaluate=EvaluateSettings(max_crops=limit))
        crops = evaluate.draw_crops(images, config)
        return crops.to_numpy().tolist(), evaluate.draw_images(images, config).tolist()

    crops, rows = drawn(0, 7)
    assert len(crops) == len(rows) == 7
    assert rows == sorted(set(rows))
    assert drawn(0, 7) == (crops, rows)
    assert drawn(1, 7) != (crops, rows)
    assert len(drawn(0, 6000)[0]) == 200


@pytest.mark.parametrize(("share", "expected"), [(0.3, 3), (0.5, 5), (0.0, 0)])
def test_images_are_held_out_by_share_and_seed(share, expected):
    images = annotated([])
    config = Config(evaluate=EvaluateSettings(test_share=share))
    held_out = evaluate.held_out_images(images, config)
    assert len(set(held_out)) == expected
    assert set(held_out) <= set(images.table["image_id"])
    if expected == 3:
        others = [evaluate.held_out_images(images, dataclasses.replace(config, seed=seed)) for seed in range(5)]
        assert len({tuple(sorted(ids)) for ids in others}) > 1


def test_category_matrix():
    images = annotated([(0, 0, 0, 9, 9, "b"), (0, 0, 0, 9, 9, "b"), (22, 0, 0, 9, 9, "a"), (22, 0, 0, 9, 9, "c")])
    assert evaluate.category_matrix(images, np.array([2, 1, 0])).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
