"""The training sample in the app: the very one that stage 3 draws, and what the page says where there is none."""

from __future__ import annotations

import dataclasses

from orl_explore.runs.reviews import KEY, Pair, save_review
from orl_explore.runs.samples import ObjectViews
from orl_explore.ui import sample

PAGE = "sample"


def views_of(run, tiny):
    return ObjectViews(run.images(), run.read("regions"), run.read("pairs"), tiny.stage3, tiny.seed)


def test_reviews_are_heeded_as_stage_3_does(run, visit):
    """Of the pairs of an image all but one are rejected: whatever the epoch, that one is drawn."""
    config = run.config()
    run.set_config(dataclasses.replace(config, stage3=dataclasses.replace(config.stage3, reviews="use")))
    run.clear("stage3")
    image_id = int(run.images().table["image_id"].iloc[5])
    pairs = run.read("pairs", image_id=image_id).sort_values("similarity", ignore_index=True)  # the least similar stays
    shown = f"image {pairs['neighbor_id'].iloc[0]}, that is paired with it: cosine {pairs['similarity'].iloc[0]:.3f},"
    visit(image=image_id)  # before the reviews: what the page holds in memory must not outlive them
    for pair in pairs[KEY].iloc[1:].itertuples(index=False, name=None):
        save_review(run, Pair(*map(int, pair)), verdict="rejected")
    app = visit(image=image_id)
    for epoch in (1, 2):
        app.number_input(key="sample epoch").set_value(epoch).run()
        assert any(shown in box.value for box in app.caption)
    assert len(pairs) > 2, "with fewer pairs chance could draw the right one"


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
    assert "without a checkpoint" in app.info[0].value
    assert f"orl stage3 {run.path}" in app.info[0].value.replace("\\", "")
    assert any("Stage 3 has not begun" in box.value for box in app.caption)
    assert len(app.subheader) == 3


def test_an_image_without_pairs(run, visit):
    first = int(run.images().table["image_id"].iloc[0])
    pairs = run.read("pairs")
    run.write("pairs", pairs[pairs["image_id"] != first])
    assert f"no pair for image {first}" in visit(image=first).warning[0].value


def test_stage_2_missing(run, visit):
    run.clear("stage2")
    assert "orl stage2" in visit().warning[0].value
