"""The page Compare: pairs that stage 2 would mine with either encoder."""

from __future__ import annotations

from training.embed_regions import embed_regions_by

PAGE = "compare"
PAIRS = {"compare tab": "Pairs that stage 2 would mine"}


def text(app):
    assert not app.exception
    assert not app.error
    return "\n".join(part.value for kind in (app.markdown, app.caption, app.info, app.warning) for part in kind)


def tiles(app):
    return {metric.label: int(metric.value.replace(",", "")) for metric in app.metric}


def test_gained_and_lost(embedded, visit):
    app = visit(PAIRS)
    found = tiles(app)
    assert found["Pairs by B"] - found["Pairs by A"] == found["Gained"] - found["Lost"]
    assert found["Gained"] > 0
    assert found["Pairs by A"] == len(embedded.read("pairs"))  # as stage 2 mined with the encoder of stage 1
    assert "| purity of all pairs |" in text(app)
    assert "sample" not in text(app)


def test_an_encoder_against_itself_gains_nothing(embedded, visit):
    found = tiles(visit(PAIRS, a="stage1", b="stage1"))
    assert found["Gained"] == found["Lost"] == 0


def test_a_sample(run, visit, tiny):
    count = len(run.read("regions"))
    embed_regions_by(run, tiny, ["stage1", "stage3"], limit=count // 2)
    app = visit(PAIRS)
    assert "Only boxes of the sample are paired" in text(app)
    assert tiles(app)["Pairs by A"] <= len(run.read("pairs"))


def test_too_few_boxes_of_an_image(run, visit, tiny):
    embed_regions_by(run, tiny, ["stage1", "stage3"], limit=20)
    app = visit(PAIRS)
    assert "too few of an image" in text(app)
    assert not app.metric
