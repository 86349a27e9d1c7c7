"""The page Compare, on small runs."""

from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest

from orl_explore.runs.run import Run
from orl_explore.ui import compare, state

PAGE = "compare"
WORTH = {"compare tab": "What each encoder is worth"}
IMAGES = {"compare tab": "Whole images"}


def text(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error, *app.subheader]
    return "\n".join(part.value for part in parts)


def sound(app: AppTest) -> bool:
    return not app.exception and not app.error


def test_a_finished_run(runs, visit):
    judged = {"object_probe": 0.5, "object_knn": 0.25, "loss": 2.0}
    (runs / "one" / "evaluation").mkdir(exist_ok=True)
    summary = {"random": judged, "stage1": judged, "stage3": judged, "chance": {"object_probe": 0.1}}
    (runs / "one" / "evaluation" / "summary.json").write_text(json.dumps(summary))
    app = visit(IMAGES)
    assert sound(app), text(app)
    shown = text(app)
    assert ":blue-badge[:material/check: kept]" in shown
    assert len(app.metric) == 3
    a, b = app.main.selectbox[0], app.main.selectbox[1]
    assert (a.value, b.value) == ("stage1", "stage3")
    worth = visit(WORTH)
    assert "| Linear probe on annotated objects, accuracy | 0\\.500 | 0\\.500 | 0\\.500 | 0\\.100 |" in text(worth)
    assert "not measured here" in text(worth)
    (published,) = worth.dataframe
    assert published.value["benchmark"].iloc[0] == "VOC07, linear SVM"
    maps = visit(IMAGES | {"compare images tab": "All images on two maps"})
    assert len(maps.get("plotly_chart")) == len(app.get("plotly_chart")) + 2

    app = a.set_value("stage3").run()  # the same encoder twice
    assert sound(app), text(app)
    assert "A and B are the same encoder" in text(app)
    assert app.metric[0].value == "100.0 %"
    assert "lost" not in text(app)


def test_walking(runs, visit):
    app = visit(IMAGES)
    ids = Run(runs / "one").images().table["image_id"].tolist()
    next_one = next(button for button in app.button if button.label == "Next image")
    app = next_one.click().run()
    assert sound(app), text(app)
    assert app.query_params["image"] in ([str(ids[1])], str(ids[1]))
    assert "2 of 24" in text(app)


def test_encoders_of_other_runs(runs, visit):
    shutil.copytree(runs / "one", runs / "two*")
    app = visit()
    assert sound(app), text(app)
    names = app.main.selectbox[0].options
    assert len(names) == 6, "three of this run, the embedded one, the two trained ones of the other"


def test_two_checkpoints_of_a_stage(runs, visit):
    file = runs / "one" / "stage3" / "encoders" / "epoch=1.safetensors"
    file.parent.mkdir()
    shutil.copy(runs / "one" / "stage1" / "encoder.safetensors", file)
    app = visit()
    a = app.main.selectbox[0]
    assert a.options == [
        "untrained, where stage 1 starts",
        "stage 1, images",
        "stage 3, objects, epoch 1",
        "stage 3, objects",
        "embedded, supervised (ImageNet)",
    ]
    app = a.set_value("stage3@1").run()
    assert sound(app), text(app)
    assert app.main.selectbox[1].value == "stage3"
    assert app.query_params["a"] in ("stage3@1", ["stage3@1"])


def test_stage_3_missing(runs, visit):
    shutil.rmtree(runs / "one" / "stage3")
    app = visit()
    assert sound(app), text(app)
    assert "There is no encoder of stage 3: it is finished, but gone since" in text(app).replace("\\", "")
    assert (app.main.selectbox[0].value, app.main.selectbox[1].value) == ("random", "stage1")


def test_no_labels(runs, visit):
    run = Run(runs / "one")
    run.write("images", run.read("images").drop(columns="context"))
    app = visit(IMAGES)
    assert sound(app), text(app)
    assert "no labels" in text(app)


def test_nothing_trained(tmp_path, new_run, monkeypatch, visit):
    new_run("empty")
    monkeypatch.setenv("ORL_RUNS", str(tmp_path))
    app = visit()
    assert not app.exception
    assert state.plain("orl stage1") in app.warning[0].value


def test_many_images_are_embedded_on_request_only(runs, monkeypatch, visit):
    from orl_explore.ui import compare_images

    monkeypatch.setattr(compare_images, "ASK_FROM", 10)
    app = visit(IMAGES)
    assert sound(app), text(app)
    assert not (runs / "one" / "comparison").exists()
    app = next(button for button in app.button if button.label == "Embed them now").click().run()
    assert sound(app), text(app)
    assert len(list((runs / "one" / "comparison").glob("*.npy"))) == 4


def test_results_of_transfer_protocols(run, visit):
    result = {
        "protocol": "knn",
        "encoder": {"name": "stage1"},
        "score": {"name": "accuracy", "title": "kNN, accuracy", "value": 0.5},
        "figures": {"accuracy": 0.5, "accuracy_chance": 0.1},
        "settings": {"k": [20]},
        "data": {"paths": ["<b>data</b>"], "fingerprint": "x"},
        "seed": 0,
        "date": "2026-01-01T00:00:00+00:00",
    }
    folder = run.path / "evaluation" / "transfer"
    folder.mkdir(parents=True)
    (folder / "knn-stage1-0.json").write_text(json.dumps(result))
    (folder / "damaged.json").write_text("{")
    (folder / "other.json").write_text("[]")
    app = visit(WORTH)
    assert sound(app), text(app)
    shown = app.dataframe[0].value
    assert list(shown.columns) == ["", "stage 1", "chance", "data", "code"]
    assert shown.iloc[0].tolist() == ["kNN, accuracy", "50.0", "10.0", "b>", "unknown"]  # of a path, its last part


def test_encoders_in_the_address(runs, visit):
    app = visit(a="random", b="stage1")
    assert [choice.value for choice in app.main.selectbox[:2]] == ["random", "stage1"]
    app = visit(a="nothing", b="stage1")
    assert "There is no encoder nothing here" in text(app).replace("\\", "")
    assert [choice.value for choice in app.main.selectbox[:2]] == ["stage1", "stage1"]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["random", "stage1", "stage3", "embedded"], ("stage1", "stage3")),
        (["random", "stage3"], ("random", "stage3")),
        (["random", "stage1", "embedded"], ("random", "stage1")),
        (["stage2", "embedded"], None),  # the embedded one by two names
        (["stage2", "embedded", "runs/x:stage1"], ("stage2", "runs/x:stage1")),
        (["stage1"], None),
    ],
)
def test_what_is_compared_at_first(there, expected):
    class One:
        def __init__(self, name):
            self.name = "embedded" if name == "stage2" else name

        def hash(self):
            return self.name

    assert compare._default({name: One(name) for name in there}) == expected
