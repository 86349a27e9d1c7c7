"""Below the map: the chosen region, what is like it, and the selection."""

from __future__ import annotations

import numpy as np
import pytest

from flat_maps import flat_layout
from orl_explore.errors import OrlError
from orl_explore.maps import object_map, similar_regions
from orl_explore.runs.region_embeddings import read_region_embeddings
from orl_explore.ui import map_address, map_region, state
from training import cli
from training.embed_regions import embed_regions_by

PAGE = "object_map"


@pytest.fixture
def run(run, monkeypatch):
    monkeypatch.setattr(object_map, "umap_layout", flat_layout)
    object_map.make_object_map(run)
    return run


def field(app, run):
    return app.number_input(key=f"object map region {run.path}")


@pytest.mark.parametrize(
    ("encoder", "name"),
    [
        ("untrained", "the untrained network"),
        ("stage3", "stage 3"),
        ("stage1@20", "stage 1 after 20 epochs"),
        ("mined", "what stage 2 mined with"),
        ("timm:resnet18", "timm:resnet18"),
    ],
)
def test_names(run, encoder, name):
    assert map_region.name_of(run, encoder) == name


@pytest.mark.parametrize(("used", "name"), [("embedded", "the embedded encoder"), ("a:stage1", "a:stage1")])
def test_the_name_of_another_encoder_that_stage_2_used(used, name, run):
    run.note("stage2", pretrained={"encoder": used})
    assert map_region.name_of(run, "mined") == name


def test_a_choice_is_in_the_address_and_leads_to_its_image(run, visit):
    app = visit()
    assert "Nothing is chosen yet" in " ".join(text.value for text in app.markdown)
    field(app, run).set_value(7).run()
    assert "".join(app.query_params["region"]) == "7"
    assert "".join(app.query_params["image"]) == str(run.read("regions")["image_id"].iloc[7])
    app = visit(region=7)
    assert field(app, run).value == 7
    best = int(similar_regions.most_similar(run.read_array("region_embeddings"), 7, count=1)["region_id"].iloc[0])
    app.button(key="object map similar mined 0").click().run()
    assert field(app, run).value == best
    app.button(key="object map pairs").click().run()
    assert app.title[0].value == "RoI pairs"


def test_similar_regions_by_both_encoders(run, tiny, visit):
    embed_regions_by(run, tiny, limit=60)
    ids = read_region_embeddings(run, "stage1").region_ids
    app = visit(encoder="stage1", versus="stage3", region=int(ids[4]))
    found = read_region_embeddings(run, "stage3")
    expected = similar_regions.most_similar(found.vectors, 4, count=map_region.SIMILAR)
    labels = [app.button(key=f"object map similar stage3 {number}").label for number in range(len(expected))]
    assert labels == [f"{value:.3f}" for value in expected["similarity"]]
    outside = next(region for region in range(100) if region not in ids)
    captions = "".join(text.value for text in visit(encoder="stage1", region=outside).caption)
    count = run.count("regions")
    assert f"Region {outside} is not in the random sample of 60 of {count:,} regions" in captions
    assert "It is not on the map" in captions
    command = f"orl embed-regions {run.path} --encoder stage1 --limit {count}"
    assert f"`{command}` embeds all of them." in captions
    assert cli.main(command.split()[1:]) == 0
    assert len(read_region_embeddings(run, "stage1").region_ids) == count


def test_a_selection_is_in_the_address_listed_cleared_and_chosen_from(run, visit):
    text = map_address.packed(list(range(35)))
    app = visit(selected=text)
    assert any(box.value == "Selection: 35 regions" for box in app.subheader)
    crops = [app.button(key=f"object map selected {number}").label for number in range(30)]
    assert len(set(crops)) == 30
    app.button(key="object map selected 2").click().run()
    assert field(app, run).value == int(crops[2])
    app.selectbox(key=f"object map order {run.path}").set_value("image").run()
    regions = run.read("regions")
    shown = [int(app.button(key=f"object map selected {number}").label) for number in range(30)]
    assert regions["image_id"].iloc[shown].is_monotonic_increasing
    app.button(key="object map clear").click().run()
    assert not app.subheader
    assert "selected" not in app.query_params


def test_crops_of_lost_images_are_tiles(run, visit, monkeypatch):
    owner = run.read("regions")["image_id"]
    lost = owner.iloc[3]
    thumbnail = state.thumbnail

    def read(run, image_id, **given):
        if image_id == lost:
            raise OrlError("gone")
        return thumbnail(run, image_id, **given)

    monkeypatch.setattr(state, "thumbnail", read)
    app = visit(selected=map_address.packed([3, 4, 30]))
    assert not app.exception
    count = int((owner.iloc[[3, 4, 30]] == lost).sum())
    assert any(f"cannot be read any more: {count} of 3." in text.value for text in app.caption)


def test_selected_regions_that_the_map_has_not_are_counted(run, visit, tiny):
    embed_regions_by(run, tiny, ["stage1"], limit=20)
    there = read_region_embeddings(run, "stage1").region_ids
    count = len(run.read("regions"))
    beside = np.setdiff1d(np.arange(count), there)[:3].tolist()
    app = visit(selected=map_address.packed([*there[:2].tolist(), *beside]))
    assert any(box.value == "Selection: 2 regions" for box in app.subheader)
    assert any(text.value.startswith("3 more were selected") for text in app.caption)
    app = visit(selected=map_address.packed(beside))
    assert not app.exception
    assert any(text.value.startswith("3 more were selected") for text in app.caption)
    app.button(key="object map clear").click().run()
    assert "selected" not in app.query_params


def test_what_was_drawn_around_on_a_map_of_other_regions_is_forgotten(run, visit):
    app = visit(selected="3.4.2", region=4)
    assert [button for button in app.button if button.label == "Keep"]
    app.session_state[f"object map regions {run.path}"] = "the hash of others"
    app.run()
    assert not app.exception
    assert not [button for button in app.button if button.label == "Keep"]
    assert not {"selected", "region"} & set(app.query_params)
    assert any("what was chosen on the map before is of other boxes" in box.value for box in app.warning)
    app.run()
    assert not app.warning
