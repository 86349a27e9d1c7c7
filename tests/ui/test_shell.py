"""The dashboard's frame and its overview: every state a run can be in, and links that lie."""

import asyncio
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from orl_explore.figures import curves
from orl_explore.images.image_set import ImageSet
from orl_explore.runs.run import Run
from orl_explore.ui import overview, server, shell, state


def texts(app):
    """Everything that warns or informs, in one text."""
    return "\n".join(box.value for box in [*app.warning, *app.info, *app.error])


def test_no_run_yet(tmp_path, monkeypatch, visit):
    monkeypatch.setenv("ORL_RUNS", str(tmp_path))
    app = visit()
    assert not app.exception
    assert "make demo" in app.code[0].value


def test_the_overview_of_a_finished_run(runs, visit):
    app = visit()
    assert not app.exception
    assert not app.warning
    assert not app.error
    assert app.title[0].value == "Overview"
    assert sum("finished" in box.value for box in app.markdown) == 3


def test_only_the_stage_that_is_looked_at_is_drawn(runs, visit):
    """The last one at first, and the one at work as soon as one is."""
    assert len(visit().get("plotly_chart")) == 3  # curves of stage 3
    opened = visit({f"overview stage3 {runs / 'one'}": "Stage 2 · correspondences"})
    assert len(opened.get("plotly_chart")) == 1  # the funnel
    Run(runs / "one").note("stage2", state="running")
    assert len(visit().get("plotly_chart")) == 1


@pytest.mark.parametrize("page", [page.name for page in shell.PAGES])
@pytest.mark.parametrize("missing", ["stage1", "stage2", "stage3", "nothing"])
def test_every_page_in_every_state_shows_sentences(runs, page, missing, visit):
    if missing != "nothing":
        Run(runs / "one").clear(missing)
    app = visit(run="one", page=page)
    assert not app.exception
    assert not app.error, texts(app)
    assert app.title[0].value == next(p.title for p in shell.PAGES if p.name == page)


@pytest.mark.parametrize("page", [page.name for page in shell.PAGES])
def test_only_images_so_far(new_run, monkeypatch, page, visit):
    run = new_run("runs/begun")
    monkeypatch.setenv("ORL_RUNS", str(run.path.parent))
    app = visit(page=page)
    assert not app.exception
    assert not app.error, texts(app)


@pytest.mark.parametrize("table", ["pairs", "regions", "neighbors", "proposals"])
def test_a_damaged_table_is_a_sentence(runs, table, visit):
    (runs / "one" / "stage2" / f"{table}.parquet").write_bytes(b"PAR1 no more")
    pages = {"pairs": "pairs", "regions": "overview", "neighbors": "neighbors", "proposals": "proposals"}
    pages = {"pairs": "pairs", "regions": "overview", "neighbors": "neighbors", "proposals": "proposals"}
    app = visit({f"overview stage3 {runs / 'one'}": "Stage 2 · correspondences"}, page=pages[table])
    assert not app.exception
    assert "--overwrite" in texts(app)


def test_a_damaged_manifest_is_a_sentence(runs, visit):
    (runs / "one" / "run.json").write_text("{")
    app = visit()
    assert not app.exception
    assert "damaged" in texts(app)


@pytest.mark.parametrize("name", ["../outside", "/etc", "two", "<script>"])
def test_a_link_opens_only_runs_of_the_folder(runs, finished, name, visit):
    shutil.copytree(finished.path, runs.parent / "outside")
    app = visit(run=name)
    assert not app.exception
    assert app.selectbox[0].value == "one"
    assert "not here" in texts(app)


def test_a_symbolic_link_out_of_the_folder_is_no_run(runs, finished):
    (runs / "sneaky").symlink_to(finished.path)
    assert state.list_runs(runs) == ["one"]


def test_a_link_to_no_page_and_to_no_image(runs, visit):
    assert "does not exist" in texts(visit(page="nothing"))
    assert "no image 987654" in texts(visit(page="neighbors", image="987654"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a<b>[c](d) $x$", r"a\<b\>\[c\]\(d\) \$x\$"),
        ("run `orl stage2 a_b` first", "run `orl stage2 a_b` first"),
        ("a `lonely backtick", r"a \`lonely backtick"),
    ],
)
def test_sentences_hold_no_markup_of_their_own(text, shown):
    assert state.sentence(text) == shown


def test_a_running_stage_says_what_is_left(runs, visit):
    run = Run(runs / "one")
    metrics = run.path / "stage1" / "metrics.csv"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:4]))  # three of six steps
    run.note("stage1", state="running")
    app = visit()
    assert not app.exception
    (progress,) = app.get("progress")
    assert progress.proto.value == 50
    assert "epoch 1 of 2" in progress.proto.text


def test_a_running_stage_2_says_which_step_it_is_at(runs, visit):
    run = Run(runs / "one")
    run.note("stage2", state="running")
    assert not visit().get("progress")  # it has not said anything yet
    file = run.progress_file("stage2")
    file.parent.mkdir()
    note = {"table": "region_embeddings", "done": 18, "count": 24, "first": 6, "since": 1000.0, "now": 1040.0}
    file.write_text(json.dumps(note))
    (progress,) = visit().get("progress")
    assert progress.proto.value == 75
    expected = r"step 4 of 5: region embeddings, 18 of 24 images, 20 s left in this step"  # 12 in 40 s, 6 are left
    assert progress.proto.text.replace("\\", "") == expected
    file.write_text(json.dumps(note | {"table": "<b>", "first": 18}))
    (progress,) = visit().get("progress")
    assert progress.proto.text.replace("\\", "") == "<b>, 18 of 24 images"
    whole = json.dumps(note)
    for damaged in ("", "[]", '{"table": 1}', "3", whole.replace("18", "1e400"), whole.replace("18", "9" * 400)):
        file.write_text(damaged)
        app = visit()
        assert not app.exception
        assert not app.error
        assert not app.get("progress")
    run.file("pairs").unlink()
    said = [box.value for box in visit().info]
    assert said == ["The counts of boxes and pairs stand here when all are there."]  # and not: run `orl stage2`
    file.write_text(json.dumps(note | {"done": -5}))
    assert visit().get("progress")[0].proto.value == 0


def test_what_other_pages_need_is_loaded_ahead(runs, new_run, monkeypatch):
    monkeypatch.setattr(shell.gc, "freeze", lambda: None)  # the tests have more to collect
    run = Run(runs / "one")
    shell._load_pages(run)
    monkeypatch.setattr(Run, "images", lambda _: pytest.fail("read again"))
    assert len(state.images(run)) == 24
    shell._load_pages(Run(runs / "none"))  # nothing to read is no matter


def test_settings_that_differ_from_the_papers(runs, visit):
    assert not [frame for frame in visit().dataframe if "paper" in frame.value]  # not before somebody looks
    opened = visit({"differences": True})
    (table,) = [frame.value for frame in opened.dataframe if "paper" in frame.value]
    assert table.set_index("setting").loc["stage1.epochs", ["paper", "this run"]].tolist() == ["800", "2"]


def test_a_damaged_summary_is_a_sentence(runs, visit):
    (runs / "one" / "evaluation").mkdir(exist_ok=True)
    (runs / "one" / "evaluation" / "summary.json").write_text("[")
    assert "orl evaluate" in texts(visit())


def test_the_summary_is_shown(runs, visit):
    judged = {"object_probe": 0.5, "object_knn": 0.25, "scene_map": 0.125, "feature_std": 1, "feature_rank": 9}
    summary = {"random": judged, "stage1": judged, "stage3": judged, "stage2": {"recall_50": 0.75}}
    summary["chance"] = {"object_probe": 0.1}
    (runs / "one" / "evaluation").mkdir(exist_ok=True)
    (runs / "one" / "evaluation" / "summary.json").write_text(json.dumps(summary))
    values = {tile.label: tile.value for tile in visit().metric}
    assert values["Linear probe, stage 3"] == "50.0%"
    assert values["Objects with a box"] == "75.0%"
    assert "Pairs of one category" not in values  # nobody has measured it


@pytest.mark.parametrize(
    ("points", "y", "thinned"),
    [(10, [1, 2, 3, 4], [1, 2, 3, 4]), (2, [1, 2, 3, 4], [1.5, 3.5]), (2, [1, 2, 6], [1.5, 6]), (5, [], [])],
)
def test_thin(points, y, thinned):
    x, got = curves.thin(pd.Series(range(len(y))), pd.Series(y, dtype=float), points)
    assert got.tolist() == thinned
    assert len(x) == len(got)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (7200, "2.0 h")])
def test_duration(seconds, text):
    assert overview.duration(seconds) == text


def test_a_table_that_was_made_anew_is_shown(runs):
    run = Run(runs / "one")
    before = state.table(run, "pairs")
    run.write("pairs", before.iloc[:3])
    assert len(state.table(run, "pairs")) == 3 < len(before)


@pytest.mark.parametrize(
    ("headless", "host", "opened"),
    [
        (True, "localhost", []),
        (False, "localhost", ["http://localhost:8501"]),
        (False, "0.0.0.0", ["http://localhost:8501"]),
        (False, "10.0.0.7", ["http://10.0.0.7:8501"]),
    ],
)
def test_the_server_opens_the_browser(headless, host, opened, monkeypatch):
    options = {"server.headless": headless, "server.address": host, "server.port": 8501}
    calls = []
    monkeypatch.setattr(server.st, "get_option", options.__getitem__)
    monkeypatch.setattr(server.webbrowser, "open", calls.append)
    monkeypatch.setattr(server, "WAIT", 0)

    async def serve():
        async with server.lifespan(None):
            await asyncio.sleep(0.2)

    asyncio.run(serve())
    assert calls == opened


def test_every_page_with_a_single_image(runs, visit):
    """Which has no neighbor, and so no pair."""
    run = Run(runs / "one")
    first = int(run.read("images")["image_id"].iloc[0])
    kept = run.read("regions", image_id=first)
    vectors = {"image_embeddings": run.read_array("image_embeddings")[:1].copy()}
    vectors["region_embeddings"] = run.read_array("region_embeddings")[: len(kept)].copy()
    for name in ("images", "objects", "proposals", "regions"):
        table = run.read(name)
        run.write(name, table[table["image_id"] == first])
    for name in ("neighbors", "pairs"):
        run.write(name, run.read(name).iloc[:0])
    for name, array in vectors.items():
        np.save(run.file(name), array)
    for page in shell.PAGES:
        app = visit(page=page.name)
        assert app.title[0].value == page.title
        assert not app.exception


def test_every_page_without_labels(runs, visit):
    run = Run(runs / "one")
    run.write("objects", run.read("objects").iloc[:0])
    run.write("images", run.read("images").drop(columns="context"))
    for page in shell.PAGES:
        assert visit(page=page.name).title[0].value == page.title


@pytest.mark.parametrize("page", ["neighbors", "pairs", "compare", "sample"])
def test_names_of_files_are_text(runs, page, monkeypatch, visit):
    """Streamlit's Markdown drops HTML anyway; what it would make a link or a picture of must not become one either."""
    run, name = Run(runs / "one"), "<img src=x onerror=alert(1)>[a](https://b) ![c](https://d).jpg"
    table = run.read("images")
    files = table["file_name"].tolist()
    path = run.images().path(0)
    monkeypatch.setattr(ImageSet, "_path", lambda *_: str(path))  # whatever it is called
    run.write("images", table.assign(file_name=[name, *files[1:]]))
    app = visit(page=page)
    for box in [*app.markdown, *app.caption]:
        assert "[a](https" not in box.value
        assert "![c](" not in box.value
    assert (
        state.plain(name) in "".join(box.value for box in [*app.markdown, *app.caption, *app.text]) or page == "pairs"
    )
