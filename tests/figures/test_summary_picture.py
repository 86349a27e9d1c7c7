"""The picture of a run, on runs made by hand: what lies where, and what may be missing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageColor

from orl_explore.errors import OrlError
from orl_explore.figures import drawing
from orl_explore.figures import summary_picture as module
from orl_explore.figures.summary_picture import summary_picture
from orl_explore.runs.run import Run
from painted_runs import BLUE, VERMILLION, WHITE, extent, make_run, paint, solid, where

LEFT = module.MARGIN  # where the first column begins in a picture 1600 wide
SECOND = LEFT + module.QUERY + module.COLUMN_GAP


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("plain"))


def test_what_lies_where(plain):
    picture = summary_picture(plain, queries=[10])
    assert picture.width == 1600
    x, top, w, h = extent(picture.crop((0, 0, SECOND, picture.height)), paint(0))
    assert (x, w, h) == (LEFT, 240, 240)  # the image fills its square; no box lies on its edge

    query = picture.crop((LEFT, top, LEFT + 240, top + 240))
    assert extent(query, VERMILLION) == (20, 30, 100, 80)  # pair 1 begins at box 0
    assert extent(query, BLUE) == (130, 60, 90, 170)  # pair 2 begins at box 1

    for place, (color, box) in enumerate([(VERMILLION, (130, 60, 90, 170)), (BLUE, (20, 30, 100, 80))]):
        left = SECOND + place * (module.NEIGHBOR + module.GAP)
        neighbor = picture.crop((left, top, left + 186, top + 186))
        assert extent(neighbor, paint(1 + place)) == (0, 0, 186, 186)
        # The color of the query's box, around the box of the neighbor, at 186 / 240 of its size.
        np.testing.assert_allclose(extent(neighbor, color), np.array(box) * 186 / 240, atol=1)

    couples = picture.crop((SECOND + 4 * module.NEIGHBOR + 3 * module.GAP, top, 1600, top + 300))
    paints = [paint(0), paint(1), paint(2)]
    assert all(where(couples, color).any() for color in paints)
    assert where(couples, VERMILLION).any()
    assert where(couples, BLUE).any()


def test_boxes_without_a_pair_are_drawn_thin(tmp_path):
    run = make_run(tmp_path, pairs=[(0, 1)])
    column = summary_picture(run, queries=[10]).crop((LEFT, 0, LEFT + 240, 600))
    picture, top = np.asarray(column), extent(column, paint(0))[1]
    yellow = np.array(ImageColor.getrgb(drawing.YELLOW))
    # Box 1 is (130, 60, 90, 170); as there are few, four fifths of yellow over the image.
    np.testing.assert_allclose(picture[top + 100, 130], 0.8 * yellow + 0.2 * np.array(paint(0)), atol=2)
    assert picture[top + 100, 131].tolist() == list(paint(0))


def test_a_box_of_two_pairs_has_both_numbers(tmp_path):
    shared = summary_picture(make_run(tmp_path / "a", pairs=[(0, 0), (0, 1)], stages=()), queries=[10])
    single = summary_picture(make_run(tmp_path / "b", pairs=[(0, 0)], stages=()), queries=[10])
    areas = [where(picture.crop((LEFT, 0, LEFT + 240, 500)), VERMILLION).sum() for picture in (shared, single)]
    assert areas[0] > areas[1]  # the plate of `1 2` is longer than that of `1`
    assert not where(shared, BLUE).any()  # one box, one color


def test_the_same_run_gives_the_same_picture(plain):
    assert summary_picture(plain).tobytes() == summary_picture(Run(plain.path)).tobytes()


def test_queries_rows_and_width(plain):
    one, two = summary_picture(plain, rows=1), summary_picture(plain, rows=2)
    assert two.height > one.height
    assert summary_picture(plain, queries=[11, 12]).size == two.size
    assert summary_picture(plain, queries=[11]).tobytes() != summary_picture(plain, queries=[12]).tobytes()
    half = summary_picture(plain, rows=1, width=800)
    assert half.width == 800
    assert half.height == pytest.approx(one.height / 2, abs=10)


def test_refused(plain):
    with pytest.raises(OrlError, match="has no image 7: choose queries from"):
        summary_picture(plain, queries=[10, 7])
    with pytest.raises(ValueError, match="at least 1"):
        summary_picture(plain, rows=0)


@pytest.mark.parametrize("name", ["neighbors", "proposals", "regions", "pairs"])
def test_a_missing_table_names_its_command(tmp_path, name):
    run = make_run(tmp_path)
    run.file(name).unlink()
    with pytest.raises(OrlError, match="run `orl stage2"):
        summary_picture(run)


def test_curves_only_of_finished_stages(tmp_path):
    heights = {}
    for stages in [(), ("stage1",), ("stage3",), ("stage1", "stage3")]:
        run = make_run(tmp_path / "-".join(("run", *stages)), stages=stages, pairs=[])  # no color but the curves'
        picture = summary_picture(run, queries=[10])
        heights[stages] = picture.height
        assert where(picture, BLUE).any() == ("stage1" in stages)
        assert where(picture, VERMILLION).any() == ("stage3" in stages)
    assert len(set(heights.values())) == 2
    assert heights[()] < heights[("stage1",)] - module.PLOT_HEIGHT / 2

    run.note("stage3", state="running")
    assert not where(summary_picture(run, queries=[10]), VERMILLION).any()


def test_curves_show_the_mean_loss_and_the_last_std(plain, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "curve", lambda series, **options: seen.append(series) or solid(options["size"]))
    summary_picture(plain)
    # Losses 4, 2 in the first epoch and 2, 1 in the second.
    assert seen == [{"stage 1": [3, 1.5], "stage 3": [3, 1.5]}, {"stage 1": [0.5, 0.75], "stage 3": [0.5, 0.75]}]


def test_signs_of_context(tmp_path, monkeypatch):
    drawn = []
    sign = module._sign
    monkeypatch.setattr(module, "_sign", lambda equal, size: drawn.append(equal) or sign(equal, size))
    run = make_run(tmp_path, [(60, 60)] * 4, contexts=["sea", "town", "sea", None])
    summary_picture(run, queries=[10])  # neighbors town, sea, unknown
    assert drawn == [False, True]
    drawn.clear()
    summary_picture(run, queries=[13])  # of the unknown one, nothing can be said
    assert drawn == []
    assert np.asarray(sign(True, 18)).tobytes() != np.asarray(sign(False, 18)).tobytes()  # not by color alone
    assert sign(False, 18).convert("L").getextrema()[0] < 128


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ([(60, 60)] * 2, {}),  # one neighbor
        ([(60, 60)] * 9, {"pairs": [(0, 0)] * 8}),  # more neighbors than are shown
        ([(60, 60)] * 3, {"boxes": [(0, 0, 60, 60)], "pairs": [(0, 0), (0, 0)]}),  # one region, the whole image
        ([(60, 60)] * 3, {"pairs": []}),  # the optional switches can leave none
        ([(60, 60)] * 3, {"boxes": [(i, i, 20, 20) for i in range(40)], "pairs": [(39, 0), (20, 1)]}),
        ([(32, 32), (900, 90), (90, 900), (33, 1200)], {}),  # tiny, panorama, portrait, sliver
        ([(60, 60)] * 3, {"contexts": ["a very long name of a place " * 3, "中文 é", "café"]}),
    ],
)
def test_runs_of_any_shape(tmp_path, sizes, options):
    run = make_run(tmp_path, sizes, **options)
    for width in (1600, 500):
        picture = summary_picture(run, width=width)
        assert (picture.mode, picture.width) == ("RGB", width)
        edge = module._Scale(width)(module.MARGIN)
        for strip in ((0, 0, edge, picture.height), (width - edge, 0, width, picture.height)):
            assert picture.crop(strip).getcolors() == [(edge * picture.height, WHITE)]  # the margins stay clear


def test_a_real_run(finished):
    picture = summary_picture(finished)
    assert picture.width == 1600
    assert picture.height > 1000
