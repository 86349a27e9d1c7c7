"""The page of pairs: what other settings would have paired."""

from __future__ import annotations

import pandas as pd

from orl_explore.judging.diagnostics import region_categories, same_category
from orl_explore.numbers import percent_text
from orl_explore.pairs import compare_pairs, pair_image, region_slices

PAGE = "pairs"
WHAT_IF = {"pairs tab": "What if stage 2 had other settings?"}


def said(app):
    assert not app.exception
    assert not app.error
    return " ".join(element.value for kind in (app.markdown, app.text, app.info, app.warning) for element in kind)


def pairs_of(run, image_id):
    pairs = run.read("pairs", image_id=image_id)
    return pairs.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def test_what_if(run, visit):
    image_id = int(run.read("images")["image_id"].iloc[2])
    app, stored = visit(WHAT_IF, image=image_id), pairs_of(run, image_id)
    app.slider(key="what if ratio").set_value(0.5)
    app.toggle(key="what if mutual").set_value(True)
    app.slider(key="what if K").set_value(2).run()
    other = pair_image(
        image_id,
        run.read("neighbors", image_id=image_id).head(2),
        region_slices(run.read("regions")["image_id"]),
        run.read_array("region_embeddings"),
        ratio=0.5,
        mutual=True,
    )
    gained, lost = compare_pairs(stored, other)
    assert [metric.value for metric in app.metric[:3]] == [str(len(other)), str(len(gained)), str(len(lost))]
    categories = region_categories(run.read("regions"), run.read("objects"))
    share = same_category(other, categories)
    assert app.metric[3].value == percent_text(share)
    assert "could not be drawn" not in said(app)
    near, changes = run.read("neighbors", image_id=image_id)["neighbor_id"], pd.concat([gained, lost])["neighbor_id"]
    (shown,) = [box for box in app.selectbox if box.label == "Changes with"]
    assert len(shown.options) == changes.nunique()
    first = near[near.isin(changes)].iloc[0]
    counts = [f"{(rows['neighbor_id'] == first).sum()} {name}" for name, rows in (("gained", gained), ("lost", lost))]
    assert shown.options[0] == f"neighbor {near.tolist().index(first) + 1}: {', '.join(counts)}"
