"""The dashboard's frame: every state a run can be in, and links that lie."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from orl_explore.images.image_set import ImageSet
from orl_explore.runs.run import Run
from orl_explore.ui import shell, state


def texts(app):
    """Everything that warns or informs, in one text."""
    return "\n".join(box.value for box in [*app.warning, *app.info, *app.error])


def test_no_run_yet(tmp_path, monkeypatch, visit):
    monkeypatch.setenv("ORL_RUNS", str(tmp_path))
    app = visit()
    assert not app.exception
    assert app.code[0].value.startswith("orl explore ")
    assert "make demo" in app.code[0].value


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
    app = visit(page="overview")
    assert not app.exception
    assert "damaged" in texts(app)


@pytest.mark.parametrize("name", ["../outside", "/etc", "two", "<script>"])
def test_a_link_opens_only_runs_of_the_folder(runs, finished, name, visit):
    shutil.copytree(finished.path, runs.parent / "outside")
    app = visit(run=name)
    assert not app.exception
    assert app.selectbox[0].value == "one"
    assert "not here" in texts(app)


def test_a_link_to_no_page_and_to_no_image(runs, visit):
    assert "does not exist" in texts(visit(page="nothing"))
    assert "no image 987654" in texts(visit(page="neighbors", image="987654"))


def test_what_other_pages_need_is_loaded_ahead(runs, new_run, monkeypatch):
    monkeypatch.setattr(shell.gc, "freeze", lambda: None)  # the tests have more to collect
    run = Run(runs / "one")
    shell._load_pages(run)
    monkeypatch.setattr(Run, "images", lambda _: pytest.fail("read again"))
    assert len(state.images(run)) == 24
    shell._load_pages(Run(runs / "none"))  # nothing to read is no matter


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


@pytest.mark.slow
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
    app = visit({"compare tab": "Whole images"}, page=page)
    for box in [*app.markdown, *app.caption]:
        assert "[a](https" not in box.value
        assert "![c](" not in box.value
    assert state.plain(name) in "".join(box.value for box in [*app.markdown, *app.caption, *app.text]) or page in (
        "pairs",
        "compare",
    )
