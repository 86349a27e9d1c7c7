"""A run as one file: complete, small, escaped, and without anything of this machine."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest

from flat_maps import flat_layout
from orl_explore.errors import OrlError
from orl_explore.figures import of_run
from orl_explore.figures import report as module
from orl_explore.figures.report import MOST, report, write_report
from orl_explore.maps import object_map
from orl_explore.runs.files import write_json
from orl_explore.runs.pair_query import AllPairs, PairQuery
from orl_explore.runs.run import Run
from training.pipeline import show_objects

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def run(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "run"))


class Tags(HTMLParser):
    """Tags and their attributes, and the text outside scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def with_map(run):
    vectors = run.read_array("region_embeddings").astype(float)
    table = pd.DataFrame({"region_id": range(len(vectors)), "x": vectors[:, 0], "y": vectors[:, 1], "cluster": 0})
    made = object_map.ObjectMap(table, object_map.MapSettings(), len(vectors))
    object_map.write_object_map(run, made, object_map.fingerprint(run))
    return run


def test_what_it_says(run):
    query = PairQuery(relation="same", sort="-similarity")
    text = report(run, query)
    tags = Tags(text)
    figures = AllPairs(run).figures(query)
    assert f"{figures.pairs:,}" in tags.text
    assert "24 images of annotations.json" in tags.text
    assert "sort=-similarity&relation=same" in tags.text
    shown = min(figures.pairs, module.PAIRS)
    assert text.count("<figure>") == shown
    pictures = [attrs for tag, attrs in tags.found if tag == "img"]
    assert len(pictures) == 2 * shown + 2  # and two curves
    assert all(attrs["src"].startswith("data:image/") and attrs["alt"] for attrs in pictures)


def test_it_asks_nobody_and_names_no_folder(run, tmp_path):
    text = report(with_map(run))
    assert "default-src 'none'" in text
    assert not [
        attrs for tag, attrs in Tags(text).found if tag in ("link", "iframe") or "http" in str(attrs.get("src"))
    ]
    assert str(tmp_path) not in text
    assert str(run.images().roots[0]) not in text


@pytest.mark.slow
def test_the_map_is_the_best_encoders_as_on_the_page(run, tiny, monkeypatch):
    monkeypatch.setattr(object_map, "umap_layout", flat_layout)
    show_objects(run, tiny)  # the last step of `orl run`
    assert not object_map.map_file(run).exists()
    text = report(run)
    assert "As seen by stage 3: " in Tags(text).text
    assert 'alt="object map"' in text
    assert "Plotly.newPlot" in text
    assert len(text.encode()) < MOST
    assert len(of_run.objects(run).data)  # notebook 05
    shutil.rmtree(object_map.map_file(run, "stage3").parent)
    assert "As seen by stage 1: " in Tags(report(run)).text


def test_an_image_that_is_gone_leaves_a_tile(run):
    images = run.images()
    root = shutil.copytree(images.roots[0], run.path / "pictures")
    run_with = run.manifest()
    run_with["images"]["roots"] = [str(root)]
    write_json(run.path / "run.json", run_with)
    whole = report(run)
    for file in sorted(root.rglob("*.*g"))[::2]:
        file.unlink()
    text = report(run)
    assert re.search(r"Images that cannot be read any more: \d+\.", Tags(text).text)
    assert "cannot be read any more" not in whole
    assert text.count("<figure>") == whole.count("<figure>")


def test_the_map_moves_only_where_it_fits(run, monkeypatch):
    text = report(with_map(run))
    assert "Plotly.newPlot" in text
    assert len(text.encode()) < MOST
    monkeypatch.setattr(module, "MOST", 1_000_000)
    text = report(run)
    assert "Plotly.newPlot" not in text
    assert len(text.encode()) < 1_000_000
    assert 'alt="object map"' in text


def test_a_stage_that_was_killed_is_not_running(run):
    run.note("stage3", state="running", started="2026-01-01T00:00:00+00:00")
    shown = Tags(report(run)).text
    assert "object-level trainingstopped" in shown
    assert "running" not in shown


def test_texts_are_escaped(run):
    images = run.read("images")
    run.write("images", images.assign(context=EVIL))
    objects = run.read("objects")
    run.write("objects", objects.assign(category=EVIL))
    from orl_explore.judging.pair_facts import make_pair_facts

    make_pair_facts(run)
    text = report(run, title=EVIL)
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)" in text


def test_runs_that_have_less(run, tmp_path):
    run.clear("stage3")
    run.file("pair_facts").unlink()
    assert "has not been judged" in report(run)
    with pytest.raises(OrlError, match="orl pairs"):
        report(run, PairQuery())
    run.clear("stage2")
    run.clear("stage1")
    write_report(run, tmp_path / "out.html", title="x")
    text = (tmp_path / "out.html").read_text()
    assert len(re.findall("not begun", text)) == 3
