"""What benchmarks are made of: a large run, in small; the images and intervals of the claim."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pandas as pd
import pytest

from flat_maps import flat_layout
from orl_explore.images.opening import open_images
from orl_explore.judging.intervals import Scored, write_items
from orl_explore.judging.remining import Remined
from orl_explore.maps import object_map
from orl_explore.practice.scenes import make_scenes
from orl_explore.runs.samples import ObjectViews
from orl_explore.settings import Stage3Settings

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
def test_a_large_run_in_small(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    make = __import__("make_large_run").make_large_run
    run = make(tmp_path / "large", images=120, pictures=3, pairs=25)
    sys.modules.pop("make_large_run")
    ids = run.images().table["image_id"].to_numpy()
    assert len(run.images()) == 120
    assert run.images().load(119).size == (640, 480)
    neighbors, pairs, regions = run.read("neighbors"), run.read("pairs"), run.read("regions")
    assert (neighbors["image_id"] != neighbors["neighbor_id"]).all()
    assert len(neighbors) == 1200
    assert len(pairs) == 3000
    owner = regions["image_id"].to_numpy()
    assert (owner[pairs["query_region"]] == pairs["image_id"]).all()
    assert (owner[pairs["key_region"]] == pairs["neighbor_id"]).all()
    assert run.read_array("region_embeddings").shape == (len(regions), 64)
    assert [run.finished(stage) for stage in ("stage1", "stage2", "stage3")] == [True] * 3
    assert len(run.read("pairs", image_id=int(ids[5]))) == 25
    assert len(object_map.read_object_map(run).table) == len(regions)
    assert object_map.mapped_encoders(run) == ["untrained", "stage1", "stage3"]
    assert object_map.read_object_map(run, "stage3").aligned["encoder"] == "stage1"
    json.loads((run.path / "evaluation" / "summary.json").read_text())


# ---- the claim -----------------------------------------------------------------------------------------------------


@pytest.fixture
def claim(monkeypatch):
    """The modules of the benchmark, by their bare names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield {name: importlib.import_module(name) for name in ("claim_data", "claim_table", "claim_figure", "claim")}
    for name in ("claim", "claim_data", "claim_figure", "claim_judging", "claim_table", "report"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claim")
    return [
        make_scenes(folder / str(seed), count=12, size=64, seed=seed, instances=3, disguise=True) for seed in (3, 4)
    ]


def test_photographs_are_held_out_and_small_boxes_do_not_count(claim, sources, tmp_path):
    data = claim["claim_data"].photographs(tmp_path, seed=0, sources=sources, min_side=30)
    train = open_images([data.train], root=data.root)
    known = data.tests["known"]
    assert (len(train), len(known)) == (20, 4)  # two times 12, of each of which a fifth, 2, is held out
    whole = [open_images([source]).objects for source in sources]
    large = sum((objects[["w", "h"]].min(axis=1) >= 30).sum() for objects in whole)
    assert len(train.objects) + len(known.objects) == large
    assert 0 < large < sum(len(objects) for objects in whole)


@pytest.mark.parametrize(("init", "left_out"), [("torchvision", "init-torchvision"), ("paper", "init-paper")])
def test_the_initialization_that_stage_3_has_is_no_arm(claim, init, left_out):
    module = claim["claim"]
    found = module.arms_of(module.load_config("demo", ["--stage3.encoder.init", init]))
    assert module.ARMS.keys() - found.keys() == {left_out}


def test_pairs_that_an_encoder_finds_are_found_once(claim, tmp_path, monkeypatch):
    module, embedded = claim["claim"], []
    found = pd.DataFrame({"image_id": [3], "neighbor_id": [7], "query_region": [1], "key_region": [2]})
    monkeypatch.setattr(module, "embed_run", lambda run, encoder, stage: embedded.append(encoder))
    monkeypatch.setattr(module, "remine", lambda *_: Remined(found, found))
    seed = object.__new__(module.Seed)
    seed.folder, seed.run, seed.config = tmp_path, None, module.load_config("demo", [])
    for _ in range(2):
        pd.testing.assert_frame_equal(seed.mined_by("embedded", lambda: "an encoder"), found)
    assert embedded == ["an encoder"]
    seed.mined_by("full", lambda: "another")
    assert embedded == ["an encoder", "another"]


def test_pairs_of_one_thing_are_told_from_those_of_one_category(claim, tmp_path):
    """A thing with itself, twice a thing with another of its category, and one with a thing of another category."""
    module = claim["claim"]
    path = make_scenes(tmp_path, count=30, size=64, seed=1, instances=2, disguise=True)
    images = open_images([path])
    of = images.objects.assign(thing=images.objects["object_id"].map(claim["claim_data"].instances(path)))
    assert [thing.partition("/")[0] for thing in of["thing"]] == of["category"].tolist()
    regions = of[["image_id", "x", "y", "w", "h"]].rename_axis("region_id").reset_index()
    any_two = of.reset_index().merge(of.reset_index(), how="cross").query("image_id_x != image_id_y")
    category, thing = any_two["category_x"] == any_two["category_y"], any_two["thing_x"] == any_two["thing_y"]
    chosen = pd.concat([any_two[thing][:1], any_two[category & ~thing][:2], any_two[~category][:1]])
    pairs = chosen[["image_id_x", "image_id_y", "index_x", "index_y"]]
    pairs = pairs.set_axis(["image_id", "neighbor_id", "query_region", "key_region"], axis=1)
    seed = object.__new__(module.Seed)
    seed.data = claim["claim_data"].Data(path, None, {})
    facts = seed.purity(images, regions, pairs)
    counted = ("object_pairs", "purity", "same_thing", "whole_objects")
    assert [facts[name] for name in counted] == [1, 0.75, 0.25, 0.75]
    assert pairs["query_region"].iloc[1] == pairs["query_region"].iloc[2]
    narrow = regions["region_id"] == pairs["query_region"].iloc[1]  # a third of the thing that two others are paired to
    parts = regions.assign(w=regions["w"].mask(narrow, regions["w"] // 3))
    assert [seed.purity(images, parts, pairs)[name] for name in counted] == [1, 0.75, 0.25, 0.25]


def test_whole_views_are_stage_3_without_boxes_and_pairs(claim, sources):
    images = open_images([sources[0]])
    ids = images.table["image_id"].to_numpy()
    rows = np.arange(len(ids))
    regions = pd.DataFrame({"image_id": ids, "x": 0, "y": 0, "w": 30, "h": 30})
    pairs = pd.DataFrame(
        {"image_id": ids, "neighbor_id": np.roll(ids, 1), "query_region": rows, "key_region": np.roll(rows, 1)}
    )
    given = (images, regions, pairs, Stage3Settings(), 0)
    whole, objects = claim["claim"].WholeViews(*given), ObjectViews(*given)
    ours, theirs = whole.sample(2, 3), objects.sample(2, 3)
    assert ours == whole.sample(2, 3) != whole.sample(3, 3)
    assert ours.views == theirs.views
    assert ours.neighbor_id == ours.image_id != theirs.neighbor_id
    boxes = [view.box for view in (*ours.views, *ours.intra, *ours.inter)]
    assert len(set(boxes)) == 6  # six crops of the image, each by itself
    assert {key: tuple(view.shape) for key, view in whole[2, 3].items() if key != "image_id"} == {
        key: tuple(view.shape) for key, view in objects[2, 3].items() if key != "image_id"
    }


def test_the_gain_is_the_mean_over_seeds(claim, tmp_path):
    rng = np.random.default_rng(0)
    for seed, gained in ((1, 0.2), (2, 0.1)):
        right = rng.random(400)
        for arm, share in (("stage1", 0.5), ("full", 0.5 + gained)):
            folder = tmp_path / f"seed{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            write_items(folder / f"{arm}.npz", {"knn/known": Scored.of(right < share)})
    value, low, high = claim["claim_table"].gain(tmp_path, "stage1", "full", [1, 2], "knn/known")
    assert value == pytest.approx(0.15, abs=0.03)
    assert 0 < low < value < high < 0.3
    same = claim["claim_table"].gain(tmp_path, "full", "full", [1, 2], "knn/known")
    assert same == (0, 0, 0)


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        # The seed adds 10 to all: nothing is left, and x has 25 - 21 more than the mean of both trainings.
        ({"full": (10, 20), "again": (12, 22), "x": (15, 25)}, {"x": (4, 0)}),
        # Off go means of arms (0) and of seeds (1, -1): left are -1 1, -1 1, 2 -2, whose squares sum up to 12. Two
        # degrees of freedom: spread sqrt(6), t 4.303; a mean of two less another has it once.
        ({"full": (0, 0), "again": (0, 0), "x": (3, -3)}, {"x": (0, 4.303 * 6**0.5)}),
        ({"full": (0, 0), "y": (0, 0), "x": (3, -3)}, dict.fromkeys("yx", (0, 4.303 * 6**0.5))),
        # What has no training and what lacks a seed are left out.
        ({"untrained": (9, 0), "full": (10, 20), "again": (12, 22), "x": (15, 25), "z": (1,)}, {"x": (4, 0)}),
        ({"full": (10, 20, 99), "again": (12, 22), "x": (15, 25)}, {"x": (4, 0)}),  # one seed more than most have
        ({"full": (10, 20), "x": (15, 25)}, {}),  # too few arms to tell noise from what a seed does
        ({"full": (10,), "again": (12,), "x": (15,)}, {}),
        ({"x": (10, 20), "y": (12, 22), "z": (15, 25)}, {}),  # nothing to compare with
    ],
)
def test_the_scatter_is_what_arms_and_seeds_leave(claim, arms, expected):
    results = {
        arm: {seed: {"figures": {"probe/new": {"value": value}}} for seed, value in enumerate(values, start=1)}
        for arm, values in arms.items()
    }
    found = claim["claim_table"].over_trainings(results, "probe/new")
    assert found.keys() == expected.keys()
    for name, of in expected.items():
        assert found[name] == pytest.approx(of, abs=2e-3)


def results(folder, arms, tests=("known", "new")):
    """Results of seeds 1 and 2: `arms` says how many of 16 objects each arm has right with either."""
    for number, seed in enumerate((1, 2)):
        (folder / f"seed{seed}").mkdir(parents=True)
        for arm, counts in arms.items():
            items = Scored.of(np.arange(16) < counts[number])
            figures = {f"{key}/{test}": {"value": items.value()} for key in ("probe", "knn") for test in tests}
            file = folder / f"seed{seed}" / arm
            write_items(file.with_suffix(".npz"), dict.fromkeys(figures, items))
            facts = {"seed": seed, "core_seconds": 3600, "figures": figures, "stage1": f"weights of {seed}"}
            if arm != "stage1":
                facts |= {"pairs": 100, "object_pairs": 0.5, "purity": 0.3, "purity_chance": 0.05}
            if arm == "full":
                facts |= {"same_thing": 0.12, "whole_objects": 0.03}
            file.with_suffix(".json").write_text(json.dumps(facts))


def test_the_table_has_gains_over_stage_3_seeds_and_what_is_missing(claim, tmp_path, monkeypatch):
    """Of 16: stage 1 has 8 and 8, stage 3 12 and 10, without inter 12 and 14: 50, 68.75 and 81.25 %."""
    results(tmp_path, {"stage1": (8, 8), "full": (12, 10), "intra": (12, 14)})
    written = []
    monkeypatch.setattr(claim["claim_table"].report, "save", lambda name, title, body: written.append(body))
    titles = {"stage1": "stage 1", "full": "stage 3", "intra": "without inter", "oracle": "oracle pairs"}
    claim["claim_table"].write(tmp_path, titles, "name")
    lines = written[-1].splitlines()
    (gained,) = [line for line in lines if line.startswith("| without inter | stage 3 | new instances")]
    assert gained.split(" | ")[3].lstrip("*").startswith("+12.5, ")
    # The probe and kNN of known and new instances, seeds 1 and 2: 12 and 14 of 16; then pairs.
    assert f"| without inter | 1 2 |{' 75.0 / 87.5 |' * 4} 6.0 / 6.0 |" in lines
    # Left of sixteenths are 0 0, 1 -1, -1 1, whose squares sum up to 4, with two degrees of freedom: sqrt(2), t 4.303.
    half = 100 / 16 * 4.303 * 2**0.5
    (more,) = [line for line in lines if line.startswith("| without inter | +12.5, ")]
    assert more.split(" | ")[1] == f"+12.5, {12.5 - half:+.1f} to {12.5 + half:+.1f}"
    assert f"one arm with one seed* | {100 / 16 * 2**0.5:.1f} |" in written[-1]
    assert "| stage 3 | 1 2 | 68.8 ± 8.8 (" in written[-1]
    assert "| stage 3 | 100 | 50.0 % | 30.0 % | 5.0 % | 6.0 | 40.0 % | 10.0 % |" in lines  # of 30 %, 12 and 3
    assert "| without inter | 100 | 50.0 % | 30.0 % | 5.0 % | 6.0 |  |  |" in lines  # from before that was counted
    assert "Not run: oracle pairs." in written[-1]
    assert "6.0 core hours" in written[-1]
    assert "do not compare" not in written[-1]
    file = tmp_path / "seed2" / "intra.json"
    file.write_text(file.read_text().replace("weights of 2", "others"))
    claim["claim_table"].write(tmp_path, titles, "name")
    assert "Arms of seed 2 build on 2 different stages 1: do not compare them." in written[-1]
    with pytest.raises(SystemExit, match="no results"):
        claim["claim_table"].write(tmp_path / "nowhere", titles, "name")


def test_other_arms_are_compared_with_one_another_and_with_chance(claim, tmp_path, monkeypatch):
    """Of 16 the embedded encoder's pairs have 14 and 14, oracle pairs 12 and 10: 18.75 points less."""
    results(tmp_path, {"stage1": (8, 8), "full": (12, 10), "oracle": (12, 10), "embedded": (14, 14)})
    for seed, share in ((1, 0.25), (2, 0.5)):
        commonest = {"seed": seed, "figures": {"probe/new": {"value": share}}}
        (tmp_path / f"seed{seed}" / "chance.json").write_text(json.dumps(commonest))
    written = []
    monkeypatch.setattr(claim["claim_table"].report, "save", lambda name, title, body: written.append(body))
    claim["claim_table"].write(tmp_path, {name: name for name in ("stage1", "full", "oracle", "embedded")}, "name")
    # Left of sixteenths are -1/2 1/2 for stage 1 and embedded, 1/2 -1/2 for both others: squares sum up to 2, three
    # degrees of freedom, t 3.182, and a mean of two seeds less another has the spread once.
    half = 100 / 16 * 3.182 * (2 / 3) ** 0.5
    cell = f"**+18.8, {18.75 - half:+.1f} to {18.75 + half:+.1f}**"
    assert f"| embedded | oracle |{f' {cell} |' * 4}" in written[-1].splitlines()
    assert written[-1].count("| embedded | passes |") == 0
    rows = [line for line in written[-1].splitlines() if line.startswith("| *always")]
    assert rows == [f"| *always the commonest category* | 1 2 | {cells}  |" for cells in (" |", "37.5 ± 17.7 |")]


def test_the_commonest_category_is_the_training_images(claim, sources, tmp_path):
    data = claim["claim_data"].photographs(tmp_path, seed=0, sources=sources, min_side=30)
    train = open_images([data.train], root=data.root)
    counts = train.objects["category"].value_counts()
    judging = importlib.import_module("claim_judging")
    judging.chance(train, data, claim["claim"].load_config("demo", []), tmp_path / "chance.json")
    found = json.loads((tmp_path / "chance.json").read_text())["figures"]
    test = data.tests["known"].objects["category"]
    assert found["probe/known"] == found["knn/known"] == {"value": (test == counts.index[0]).mean()}


def test_photographs_are_not_called_known(claim, tmp_path, monkeypatch):
    """All of their instances are new, and the only ones."""
    results(tmp_path, {"stage1": (8, 8), "full": (12, 10), "intra": (12, 14)}, tests=("known",))
    written = []
    monkeypatch.setattr(claim["claim_table"].report, "save", lambda name, title, body: written.append(body))
    claim["claim_table"].write(tmp_path, dict.fromkeys(("stage1", "full", "intra"), "an arm"), "name")
    assert "known" not in written[-1]
    heads = [line for line in written[-1].splitlines() if line.startswith(("| seed by", "| more", "| held-out"))]
    assert heads == [
        "| held-out images | seeds | linear probe | kNN |",
        "| seed by seed | seeds | linear probe | kNN | pairs, times chance |",
        "| more than stage 3 | linear probe | kNN |",
    ]


def test_the_figure_shows_each_arm_with_its_seeds(claim, tmp_path):
    """Of one seed 12 of 16 are right where stage 1 has 8, of the other 10: +25 and +12.5 points, 18.75 on average."""
    results(tmp_path / "scenes", {"stage1": (8, 8), "full": (12, 10), "again": (12, 12)})
    made = claim["claim_figure"].draw(tmp_path)
    assert list(made.layout.yaxis.ticktext) == ["stage 3", "stage 3 again, trained with another seed"]
    thin, thick, seeds = [trace for trace in made.data if trace.y[0] > 2]  # the probe stands above the line
    assert list(thick.x) == list(thin.x) == [18.75, 25]
    assert sorted(seeds.x) == [12.5, 25, 25, 25]
    assert thick.error_x.array[0] > 0
    # Off go means of arms and seeds: left are, in sixteenths, -1/3 1/3, 2/3 -2/3, -1/3 1/3; squares sum up to 4/3.
    # Two degrees of freedom, t 4.303: spread sqrt(2/3), which a mean of two less another has once.
    assert thin.error_x.array == pytest.approx([100 / 16 * 4.303 * (2 / 3) ** 0.5] * 2, abs=0.01)
    with pytest.raises(SystemExit, match="no results"):
        claim["claim_figure"].draw(tmp_path / "scenes")


def test_how_long_one_waits_for_maps(finished, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = importlib.import_module("object_maps")
    monkeypatch.setattr(object_map, "umap_layout", flat_layout)
    monkeypatch.setattr(benchmark.layout, "umap_layout", create_autospec(benchmark.layout.umap_layout))
    saved = []
    monkeypatch.setattr(benchmark.report, "save", lambda name, title, body: saved.append(body))
    benchmark.times(finished)
    (body,) = saved
    assert f"map of all {finished.count('regions')} boxes" in body
    assert body.count("\n|") == 5  # the head, its line, and three figures
    assert not object_map.map_file(finished).exists()
