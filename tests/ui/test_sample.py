"""The training sample in the app: the very one that stage 3 draws, and the losses that training would compute."""

import dataclasses

import numpy as np
import pytest
import torch

from orl_explore.errors import OrlError
from orl_explore.runs import replay
from orl_explore.runs.reviews import KEY, Pair, save_review
from orl_explore.runs.samples import ObjectViews, StepSampler
from orl_explore.ui import sample
from orl_explore.views.tensors import normalize
from training.config import load_config, to_yaml

PAGE = "sample"


def views_of(run, tiny):
    return ObjectViews(run.images(), run.read("regions"), run.read("pairs"), tiny.stage3, tiny.seed)


def test_reviews_are_heeded_as_stage_3_does(run, visit):
    """Of the pairs of an image all but one are rejected: whatever the epoch, that one is drawn."""
    file = run.path / "config.yaml"
    config = load_config(file)
    file.write_text(to_yaml(dataclasses.replace(config, stage3=dataclasses.replace(config.stage3, reviews="use"))))
    run.clear("stage3")
    image_id = int(run.images().table["image_id"].iloc[5])
    pairs = run.read("pairs", image_id=image_id).sort_values("similarity", ignore_index=True)  # the least similar stays
    shown = (
        f"image {pairs['neighbor_id'].iloc[0]}, that stage 2 paired with it: cosine {pairs['similarity'].iloc[0]:.3f},"
    )
    visit(image=image_id)  # before the reviews: what the page holds in memory must not outlive them
    for pair in pairs[KEY].iloc[1:].itertuples(index=False, name=None):
        save_review(run, Pair(*map(int, pair)), verdict="rejected")
    app = visit(image=image_id)
    for epoch in (1, 2):
        app.number_input(key="sample epoch").set_value(epoch).run()
        assert any(shown in box.value for box in app.caption)
    assert len(pairs) > 2, "with fewer pairs chance could draw the right one"


@pytest.mark.parametrize("begun", [True, False])
def test_settings_are_those_of_stage_3(run, tiny, begun):
    if not begun:
        run.clear("stage3")  # config.yaml is left
    assert replay.stage3_settings(run) == (tiny.stage3, tiny.seed)


def test_the_sample_is_the_one_that_training_draws(run, tiny):
    shown, trained = replay.object_views(run, run.images()), views_of(run, tiny)
    for epoch, row in ((0, 0), (1, 0), (1, 7)):
        assert shown.sample(epoch, row) == trained.sample(epoch, row)


def test_the_page_shows_that_sample(run, tiny, visit):
    image_id = int(run.images().table["image_id"].iloc[5])
    app = visit(image=image_id)
    app.number_input(key="sample epoch").set_value(2).run()
    drawn = views_of(run, tiny).sample(1, 5)
    texts = [box.value for box in app.caption]
    for view in (*drawn.views, *drawn.intra, *drawn.inter):
        assert any(", ".join(sample.describe(view)) in text for text in texts)
    assert any(f"image {drawn.neighbor_id}," in text and "cosine" in text for text in texts)
    assert not app.metric  # losses only when asked for


def test_an_epoch_visits_every_image_in_one_batch(run):
    samples = replay.object_views(run, run.images())
    batches = list(StepSampler(len(samples), batch_size=8, epochs=2, seed=samples.seed))
    for row in samples.rows.tolist():
        step, rows = replay.step_of(samples, 1, row)
        assert step is not None
        assert [(1, int(np.searchsorted(samples.rows, r))) for r in rows] == batches[step]
        assert row in rows


def test_losses_are_those_of_the_networks(run, tiny):
    samples = replay.object_views(run, run.images())
    networks, step = replay.load_networks(run, tiny.stage3)
    assert step == 6
    _, rows = replay.step_of(samples, 1, 5)
    rows = [5, *[row for row in rows.tolist() if row != 5]]
    items = [samples[1, row] for row in rows]
    drawn = {name: torch.stack([item[name] for item in items]) for name in items[0] if name != "image_id"}
    each = replay.per_image_losses(networks, drawn)
    with torch.no_grad():
        means, _ = networks(**{name: normalize(view) for name, view in drawn.items()})
    found = replay.current_losses(run, samples, 1, 5)
    for name, mean in means.items():
        assert float(each[name].mean()) == pytest.approx(float(mean), abs=1e-5)
        assert found.batch[name] == pytest.approx(float(mean), abs=1e-4)
        assert found.image[name] == pytest.approx(float(each[name][0]), abs=1e-4)


def test_losses_on_the_page(run, visit):
    app = visit()
    app.toggle(key="sample losses").set_value(True).run(timeout=60)
    assert not app.exception
    assert [metric.label for metric in app.metric] == ["loss, image", "loss, intra", "loss, inter"]
    assert all(0 <= float(metric.value) <= 8 for metric in app.metric)
    assert any("batch normalization needs several" in box.value for box in app.caption)


def test_before_stage_3(run, visit):
    run.clear("stage3")
    app = visit()
    assert "no checkpoint yet" in app.info[0].value
    assert f"orl stage3 {run.path}" in app.info[0].value
    assert any("Stage 3 has not begun" in box.value for box in app.caption)
    assert len(app.subheader) == 3


def test_a_damaged_checkpoint_is_a_sentence(run, tiny):
    (file,) = (run.path / "stage3" / "checkpoints").glob("*.ckpt")
    file.write_bytes(b"nothing")
    with pytest.raises(OrlError, match="cannot be read"):
        replay.load_networks(run, tiny.stage3)


def test_an_image_without_pairs(run, visit):
    first = int(run.images().table["image_id"].iloc[0])
    pairs = run.read("pairs")
    run.write("pairs", pairs[pairs["image_id"] != first])
    assert f"no pair for image {first}" in visit(image=first).warning[0].value


def test_stage_2_missing(run, visit):
    run.clear("stage2")
    assert "orl stage2" in visit().warning[0].value
