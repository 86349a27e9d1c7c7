"""`orl plan`: what it says of the tiny run beside what that run took."""

from __future__ import annotations

import json

import pytest
import torch

from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from training import cli
from training.plan import plan

NAMES = [
    "reading images",
    "stage 1",
    "image embeddings",
    "neighbors",
    "proposals",
    "region embeddings",
    "pairs",
    "stage 3",
]


@pytest.fixture(scope="module")
def made(finished):
    return plan(finished.path, seconds=0.01)


def test_steps(made):
    assert [step.name for step in made.steps] == NAMES
    assert made.images == made.sampled == 24
    assert all(step.seconds > 0 and step.measured and step.rule for step in made.steps)
    assert made.seconds == sum(step.seconds for step in made.steps)
    assert made.warnings == []
    rates = made.images_per_second
    for name, stage in (("stage 1", "stage1"), ("stage 3", "stage3")):  # 2 epochs of 3 steps of 8 images
        assert made.steps[NAMES.index(name)].seconds == pytest.approx(48 / rates[stage])


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_disk_and_memory_of_training(made, finished, stage):
    step = made.steps[NAMES.index({"stage1": "stage 1", "stage3": "stage 3"}[stage])]
    checkpoint = (finished.path / stage / "checkpoints" / "step=6.ckpt").stat().st_size
    encoder = finished.encoder_file(stage).stat().st_size
    # Two checkpoints while one takes the other's place; names and schedules in them weigh something with tiny networks.
    assert 2 * checkpoint * 0.7 < step.disk - encoder < 2 * checkpoint * 1.05
    state = torch.load(finished.path / stage / "checkpoints" / "step=6.ckpt", weights_only=True)["state_dict"]
    weights = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    assert step.memory > weights


@pytest.mark.slow
def test_stage_2_takes_what_it_took(finished):
    """With time to look at every image, boxes and pairs are those of the run, so sizes follow."""
    steps = {step.name: step for step in plan(finished.path, seconds=30).steps}
    size = {name: finished.file(name).stat().st_size for name in ("region_embeddings", "image_embeddings", "proposals")}
    assert steps["region embeddings"].disk == 2 * (size["region_embeddings"] - 128)  # but for the header of .npy
    assert steps["image embeddings"].disk == 2 * (size["image_embeddings"] - 128)
    regions = finished.file("regions").stat().st_size
    assert steps["proposals"].disk == pytest.approx(2 * size["proposals"] + regions, rel=0.05)
    rows = len(finished.read("pairs"))
    assert steps["pairs"].disk == pytest.approx(2 * finished.file("pairs").stat().st_size, rel=0.5), rows


@pytest.mark.slow
def test_memory_of_stage_2_does_not_grow(finished, monkeypatch):
    """As many images a thousand times over: of each a few bytes more, however long its vectors are."""
    from training.plan_measurement import PER_IMAGE, Measurement

    few = {step.name: step for step in plan(finished.path, seconds=0.01).steps}
    start = Measurement.__init__

    def more(self, config, images, total, *rest):
        start(self, config, images, 1000 * total, *rest)

    monkeypatch.setattr(Measurement, "__init__", more)
    many = {step.name: step for step in plan(finished.path, seconds=0.01).steps}
    for name in ("image embeddings", "proposals", "region embeddings", "pairs"):
        # 24 images were parts of 7 as well; some boxes more or fewer, as each time other images are looked at.
        assert many[name].memory - few[name].memory < 24_000 * PER_IMAGE + few[name].memory, name
        assert many[name].disk > 400 * few[name].disk, name
    # Neighbors: 24,000 rows of 16 numbers, and 4096 that are searched for, twice, against 24 and 24.
    assert many["neighbors"].memory == 24_000 * PER_IMAGE + (24_000 + 4096) * 2 * 16 * 4


@pytest.mark.slow
def test_more_epochs_and_more_accumulation(finished, tiny_yaml):
    """Twice the epochs, twice the images; in two passes, less memory, and the same checkpoints."""
    settings = ["--stage1.epochs=4", "--stage1.accumulate=2"]
    changed = plan(finished.path, config=str(tiny_yaml), overrides=settings, seconds=0.01)
    before = plan(finished.path, seconds=0.01)
    one, two = (made.steps[1] for made in (before, changed))
    assert two.seconds * changed.images_per_second["stage1"] == pytest.approx(96)
    assert two.memory < one.memory
    assert two.disk - one.disk == 100 * 6  # rows in metrics.csv


@pytest.mark.slow
def test_nothing_is_written(tmp_path, annotations, tiny_yaml, capsys):
    path = tmp_path / "run"
    assert cli.main(["plan", str(path), "--config", str(tiny_yaml), "--images", str(annotations), "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)  # one object and nothing else
    assert [step["name"] for step in found["steps"]] == NAMES
    assert found["seconds"] > 0
    assert f"next: orl run {path} --config {tiny_yaml} --images {annotations}" in printed.err
    assert list(tmp_path.iterdir()) == []


def test_a_plan_of_a_run_leaves_it_alone(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    plan(finished.path, seconds=0.01)
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before


def test_what_does_not_fit_is_said(finished, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    monkeypatch.setattr("os.sysconf", lambda name: 1)
    warnings = plan(finished.path, seconds=0.01).warnings
    assert warnings[0].startswith("stage 1 needs ")
    assert "raise stage1.accumulate" in warnings[0]
    assert warnings[-1].startswith("the run needs up to ")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--stage1.batch_size=100"], "24 images do not fill a batch of 100"),
        (["--stage1.epoch=100"], "unknown setting"),
    ],
)
def test_refused(finished, overrides, message):
    with pytest.raises(OrlError, match=message):
        plan(finished.path, overrides=overrides)


def test_no_images(tmp_path):
    with pytest.raises(OrlError, match="has no images yet: name them, `orl plan"):
        plan(Run(tmp_path / "new").path)
