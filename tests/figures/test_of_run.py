"""Pictures for notebooks: the right boxes, pictures and captions of a small finished run."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from orl_explore.boxes import KEPT
from orl_explore.errors import OrlError
from orl_explore.figures import of_run, style
from orl_explore.maps import object_map
from orl_explore.orl import Sample
from orl_explore.runs.run import Run
from orl_explore.views.parameters import ViewParameters


def texts(figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


@pytest.fixture(scope="module")
def image_id(finished: Run) -> int:
    return int(finished.images().table["image_id"].iat[5])


def test_neighbors_carry_similarity_and_context(finished, image_id):
    made = of_run.neighbors(finished, image_id, k=2)
    found = finished.read("neighbors", image_id=image_id).sort_values("rank").head(2)
    context = finished.images().table.set_index("image_id")["context"]
    wanted = [f"this image<br>{context[image_id]}"]
    wanted += [
        f"similarity {row.similarity:.3f}<br>{context[row.neighbor_id]}" for row in found.itertuples(index=False)
    ]
    assert texts(made) == wanted
    same = [context[other] == context[image_id] for other in found["neighbor_id"]]
    colors = [shape.line.color for shape in made.layout.shapes]
    assert colors == [style.ACCEPTED if equal else style.REJECTED for equal in same]


def test_neighbors_of_another_table(finished, image_id):
    other = int(finished.images().table["image_id"].iat[0])
    table = pd.DataFrame({"image_id": [image_id], "rank": [0], "neighbor_id": [other], "similarity": [0.25]})
    made = of_run.neighbors(finished, image_id, table=table)
    assert texts(made)[1].startswith("similarity 0.250<br>")
    assert len(made.layout.images) == 2


def test_an_unknown_image_is_refused(finished):
    with pytest.raises(OrlError, match="no image 999: choose"):
        of_run.neighbors(finished, 999)


def test_proposals_by_verdict(finished, image_id):
    found = finished.read("proposals", image_id=image_id)
    counts = found["reason"].value_counts()
    objects = (finished.images().objects["image_id"] == image_id).sum()
    made = of_run.proposals(finished, image_id, show=[KEPT, "iou"])
    names = [trace.name for trace in made.data if trace.name]
    assert names == [f"kept ({counts[KEPT]})", f"overlapping ({counts['iou']})", f"annotated object ({objects})"]
    first = of_run.proposals(finished, image_id, show=["side", "aspect", KEPT, "iou"], count=3, truth=False)
    assert sum(int(trace.name.split("(")[1].rstrip(")")) for trace in first.data if trace.name) == 3


def test_merging_ends_with_the_mean_color(finished, image_id):
    made = of_run.merging(finished, image_id, [2, 1])
    assert texts(made) == ["the image", "2 regions", "1 region"]
    payload = base64.b64decode(made.layout.images[-1].source.partition(",")[2])
    images = finished.images()
    mean = np.asarray(images.load(of_run.row_of(images, image_id))).mean(axis=(0, 1))
    shown = np.asarray(Image.open(io.BytesIO(payload)).convert("RGB")).reshape(-1, 3)
    assert np.abs(shown - mean).max() < 4  # what a JPEG changes


def test_other_settings_of_the_filter(finished, image_id):
    picture, funnel = of_run.refiltered(finished, image_id, min_side=10_000)
    assert next(trace.name for trace in picture.data if trace.name) == "kept (1)"  # the first one, as a fallback
    boxes = len(finished.read("proposals", image_id=image_id))
    assert funnel.data[0].x[0] == boxes
    assert funnel.data[1].x[2] == boxes - 1  # too small: all but that one


def test_pairs_are_those_of_the_table(finished, image_id):
    found = finished.read("pairs", image_id=image_id)
    found = found[found["neighbor_rank"] == 1].sort_values("rank")
    made = of_run.pairs(finished, image_id, neighbor=1, count=1)
    shown = {trace.hovertemplate for trace in made.data if trace.hovertemplate}
    assert shown == {f"pair 1<br>similarity {found['similarity'].iat[0]:.3f}<extra></extra>"}
    grid = of_run.similarities(finished, image_id, neighbor=1)
    (heat,) = [trace for trace in grid.data if trace.type == "heatmap"]
    assert np.max(heat.z) == pytest.approx(found["similarity"].iat[0], abs=1e-3)
    counts = finished.read("regions")["image_id"].value_counts()
    assert np.shape(heat.z) == (counts[image_id], counts[found["neighbor_id"].iat[0]])
    with pytest.raises(OrlError, match="no pairs with its neighbor 10"):
        of_run.pairs(finished, image_id, neighbor=9)


def test_a_training_sample_is_boxes_outside_and_views_inside(finished, image_id):
    plain = ViewParameters((0, 0, 80, 80), False, (), False, None, False)
    box, key = dataclasses.replace(plain, box=(10, 20, 30, 40)), dataclasses.replace(plain, box=(0, 0, 20, 20))
    neighbor_id = int(finished.images().table["image_id"].iat[1])
    drawn = Sample(image_id, neighbor_id, views=(plain, plain), intra=(box, box), inter=(box, key))
    made = of_run.sample(finished, drawn, image_size=32, patch_size=16)
    assert texts(made)[4:8] == ["a kept box", "intra1", "intra2", "its jittered copy"]
    assert len(made.layout.images) == 12
    assert [shape.line.color for shape in made.layout.shapes] == [style.color(0), style.color(1)] * 3
    # The two crops of the last row come from two pictures: image and neighbor, of 80 pixels, drawn at 300.
    outer = [made.layout.images[place].source for place in (8, 11)]
    assert outer[0] != outer[1]


def test_crops_have_the_shape_of_their_boxes(finished):
    region = finished.read("regions").iloc[3]
    made = of_run.crops(finished, [3], ["a"], title="one box")
    assert made.layout.title.text == "one box"
    picture = made.layout.images[0]
    assert picture.sizex / picture.sizey == pytest.approx(region["w"] / region["h"], rel=0.02)


@pytest.mark.slow
def test_the_object_map_needs_a_map(run):
    with pytest.raises(OrlError, match="orl map"):
        of_run.objects(run)
    object_map.make_object_map(run, object_map.MapSettings(limit=60, neighbors=5))
    made = of_run.objects(run)
    assert sum(len(trace.x) for trace in made.data) == 60
