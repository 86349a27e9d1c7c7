"""The picture of a run, on runs made by hand: what lies where, what may be missing, which images are chosen."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageColor

from orl_explore.errors import OrlError
from orl_explore.figures import drawing
from orl_explore.figures import summary_picture as module
from orl_explore.figures.drawing import PALETTE, couple, curve, draw_boxes, fit_into
from orl_explore.figures.summary_content import best_pairs, choose_queries
from orl_explore.figures.summary_picture import summary_picture
from orl_explore.images.opening import open_images
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES
from training import evaluate, pipeline

VERMILLION, BLUE, GREEN = (ImageColor.getrgb(color) for color in PALETTE[:3])
WHITE = (255, 255, 255)

LEFT = module.MARGIN  # where the first column begins in a picture 1600 wide
SECOND = LEFT + module.QUERY + module.COLUMN_GAP


def paint(number: int) -> tuple[int, int, int]:
    """The color of image `number`; no other part of a picture has it."""
    return 40, 210, 100 + number


def solid(size: tuple[int, int] = (60, 60), color: Any = (128, 128, 128)) -> Image.Image:
    return Image.new("RGB", size, color)


def where(image: Image.Image, color: tuple[int, ...]) -> np.ndarray:
    return (np.asarray(image) == color).all(axis=2)


def extent(image: Image.Image, color: tuple[int, ...]) -> tuple[int, int, int, int]:
    """xywh of the pixels of a color."""
    rows, columns = np.nonzero(where(image, color))
    x, y = columns.min(), rows.min()
    return int(x), int(y), int(columns.max() - x + 1), int(rows.max() - y + 1)


def make_run(
    path: Path,
    sizes: Sequence[tuple[int, int]] = ((240, 240),) * 3,
    *,
    contexts: Sequence[str | None] | None = None,
    boxes: Sequence[tuple[int, int, int, int]] = ((20, 30, 100, 80), (130, 60, 90, 170)),
    pairs: Sequence[tuple[int, int]] = ((0, 1), (1, 0)),
    stages: Sequence[str] = ("stage1", "stage3"),
) -> Run:
    """A run by hand. Image i has color paint(i) and id 10 + i; its neighbors are the images after it, in a circle.

    Args:
        boxes: kept ones of every image, cut to its size.
        pairs: with the neighbor of rank n, pair n joins these two boxes, of the image and of the neighbor.
    """
    (path / "images").mkdir(parents=True)
    entries = []
    for number, size in enumerate(sizes):
        solid(size, paint(number)).save(path / "images" / f"{number}.png")
        entry = {"id": 10 + number, "file_name": f"{number}.png"}
        entries.append(entry | ({"context": contexts[number]} if contexts and contexts[number] else {}))
    (path / "images.json").write_text(json.dumps({"images": entries}))
    run = Run(path / "run")
    run.set_images(open_images([path / "images.json"]), ["images.json"])

    count, tables = len(sizes), {name: [] for name in ("neighbors", "proposals", "regions", "pairs")}
    for number, (width, height) in enumerate(sizes):
        for rank, (x, y, w, h) in enumerate(boxes):
            x, y = min(x, width - 1), min(y, height - 1)
            box = {"x": x, "y": y, "w": min(w, width - x), "h": min(h, height - y), "image_id": 10 + number}
            tables["regions"].append({"region_id": number * len(boxes) + rank, **box})
            tables["proposals"].append({"rank": rank, "reason": "kept", **box})
        for rank in range(count - 1):
            other = (number + 1 + rank) % count
            ids = {"image_id": 10 + number, "neighbor_id": 10 + other}
            tables["neighbors"].append({**ids, "rank": rank, "similarity": 0.9 - rank / 10})
            if rank < len(pairs):
                regions = [image * len(boxes) + box for image, box in zip((number, other), pairs[rank], strict=True)]
                pair = {"query_region": regions[0], "key_region": regions[1], "neighbor_rank": rank, "rank": 0}
                tables["pairs"].append({**ids, **pair, "similarity": 0.8})
    for name, rows in tables.items():
        run.write(name, pd.DataFrame(rows, columns=list(TABLES[name].columns)))
    for name in ("stage2", *stages):
        run.note(name, state="finished")
    for name in stages:
        write_metrics(run, name)
    return run


def write_metrics(run: Run, stage: str) -> None:
    """Two epochs of two steps; std and rank only in the last step of each, as the trainers write it."""
    (run.path / stage).mkdir()
    (run.path / stage / "metrics.csv").write_text(
        "step,epoch,lr,momentum,loss,loss_image,std,rank\n"
        "0,0,0.1,0.99,4,4,,\n1,0,0.1,0.99,2,2,0.5,10\n2,1,0.1,0.99,2,2,,\n3,1,0.1,0.99,1,1,0.75,12\n"
    )


# ---- pictures with boxes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "into", "expected"),
    [
        ((40, 40), (100, 100), (100, 100)),  # small ones are enlarged
        ((400, 200), (100, 100), (100, 50)),
        ((200, 400), (100, 100), (50, 100)),
        ((100, 50), (100, 20), (40, 20)),
        ((3000, 32), (60, 60), (60, 1)),  # 60 * 32 / 3000 = 0.64
        ((3000, 2), (60, 60), (60, 1)),  # not 0
    ],
)
def test_fit(size, into, expected):
    assert fit_into(solid(size), *into).size == expected


@pytest.mark.parametrize(
    ("box", "drawn"),
    [
        ((10, 20, 30, 15), (10, 20, 30, 15)),
        ((0, 0, 60, 60), (0, 0, 60, 60)),  # the whole image: half-open, so its last pixels are 59
        ((-5, 50, 20, 20), (0, 50, 15, 10)),  # cut off at the left and below
        ((30, 30, 1, 1), (30, 30, 1, 1)),
        ((10.4, 10.4, 20.2, 20.2), (10, 10, 21, 21)),  # 10.4 + 20.2 = 30.6: ends before 31
        ((70, 70, 5, 5), (59, 59, 1, 1)),  # outside: the nearest pixel, not an error
    ],
)
def test_draw_boxes(box, drawn):
    image = solid()
    result = draw_boxes(image, [box], [""], [PALETTE[0]], line=2, hairline=0)
    x, y, w, h = drawn
    expected = np.zeros((60, 60), bool)
    expected[y : y + h, x : x + w] = True
    expected[y + 2 : y + h - 2, x + 2 : x + w - 2] = False  # the line is two pixels wide, the inside untouched
    np.testing.assert_array_equal(where(result, VERMILLION), expected)
    np.testing.assert_array_equal(where(result, (128, 128, 128)), ~expected)
    assert image.getcolors() == [(3600, (128, 128, 128))]  # it works on a copy


def test_a_hairline_lies_inside():
    result = draw_boxes(solid(), [(10, 10, 30, 30)], [""], [PALETTE[1]], line=2)
    assert extent(result, BLUE) == (10, 10, 30, 30)
    assert extent(result, WHITE) == (12, 12, 26, 26)


def test_tags_keep_clear_of_each_other():
    image = solid((200, 200))
    boxes = [(10, 10, 150, 150), (10, 10, 140, 140), (10, 10, 130, 130)]  # all begin in the same corner
    plain = draw_boxes(image, boxes, [""] * 3, PALETTE[:3])
    tagged = draw_boxes(image, boxes, ["1", "2", "3"], PALETTE[:3])
    more = [int((where(tagged, color) & ~where(plain, color)).sum()) for color in (VERMILLION, BLUE, GREEN)]
    assert min(more) > 100  # a plate of about 15 x 21 each, less the number; hidden ones would have next to nothing


@pytest.mark.parametrize("size", [(200, 12), (6, 200), (3, 3)])
def test_a_tag_larger_than_the_image(size):
    assert draw_boxes(solid(size), [(0, 0, *size)], ["12"], [PALETTE[0]]).size == size


def test_no_boxes():
    assert draw_boxes(solid(), np.empty((0, 4)), [], []).getcolors() == [(3600, (128, 128, 128))]


def test_couple():
    picture = couple(
        solid((40, 20), paint(1)), solid((20, 40), paint(2)), number="3", similarity=0.5, color=PALETTE[2], width=164
    )
    assert picture.width == 164  # a gap of 164 // 50 between two squares of 80
    assert extent(picture, paint(1)) == (0, 20, 80, 40)  # twice as wide as high, in the middle of its square
    assert extent(picture, paint(2)) == (83 + 20, 0, 40, 80)
    x, y, *_ = extent(picture, GREEN)
    assert x == 0
    assert y >= 80  # the tag is below


# ---- curves --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("highest", "expected"),
    [
        (1.0, [0, 0.5, 1]),
        (0.81, [0, 0.5, 1]),
        (0.79, [0, 0.2, 0.4, 0.6, 0.8]),
        (8.0, [0, 2, 4, 6, 8]),
        (12.3, [0, 5, 10, 15]),
        (3.9e-3, [0, 1e-3, 2e-3, 3e-3, 4e-3]),
        (0.0, [0, 0.5, 1]),
        (-1.0, [0, 0.5, 1]),
    ],
)
def test_ticks(highest, expected):
    assert drawing._ticks(highest) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (1, [1]),
        (3, [1, 2, 3]),
        (20, [1, 10, 20]),
        (150, [1, 50, 100, 150]),
        (101, [1, 50, 101]),  # 100 would touch 101
    ],
)
def test_whole_ticks(epochs, expected):
    assert drawing._whole_ticks(epochs) == expected


def test_a_curve_goes_through_its_points():
    series = {"a": [1.0, 1.0, 1.0], "b": [0.0, math.nan, 0.5]}
    plot = curve(series, title="", colors=PALETTE[:2], size=(400, 200), font_size=10, line=3)
    assert plot.size == (400, 200)
    # The axes: 26 px left, 10 px right, 25 px above, 24 px below; ticks 0, 0.5, 1. The legend is above them.
    assert where(plot, VERMILLION)[25, [26, 100, 208, 300, 389]].all()
    assert where(plot, BLUE)[[176, 138, 100], [26, 208, 390]].all()  # straight over the missing epoch: 0, 0.25, 0.5
    assert where(plot, VERMILLION)[:16].any()
    assert where(plot, BLUE)[:16].any()


@pytest.mark.parametrize("values", [[], [math.nan], [2.0], [0.0, 0.0], list(range(300))])
def test_curves_of_any_length(values):
    plot = curve({"stage 1": values}, title="loss", colors=PALETTE[:1], size=(300, 150))
    drawn = where(plot, VERMILLION)[30:].any()
    assert drawn == any(map(math.isfinite, values))


# ---- which images --------------------------------------------------------------------------------------------------


def pairs_table(*rows: tuple[int, int, int, int, float]) -> pd.DataFrame:
    names = ["image_id", "neighbor_rank", "rank", "query_region", "similarity"]
    return pd.DataFrame(list(rows), columns=names)


def test_best_pairs():
    pairs = pairs_table((1, 1, 1, 0, 0.7), (1, 1, 0, 1, 0.8), (1, 0, 0, 2, 0.6), (2, 4, 0, 3, 0.9))
    best = best_pairs(pairs)
    # One for each neighbor, by rank of the neighbor; the neighbor of rank 4 would be the fifth.
    assert best[["image_id", "neighbor_rank", "rank"]].to_numpy().tolist() == [[1, 0, 0], [1, 1, 0]]


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("six"), [(40, 40)] * 6).images()


def test_choose_queries(six):
    one, two = (7, 7), (7, 8)  # pairs from one box and from two
    scores = {10: (one, 0.99), 11: (two, 0.5), 12: (two, 0.6), 13: (one, 0.7), 14: (one, 0.8), 15: (one, 0.8)}
    best = pairs_table(*((i, rank, 0, boxes[rank], s) for i, (boxes, s) in scores.items() for rank in (0, 1)))
    nobody = pd.DataFrame({"image_id": [], "neighbor_id": [], "rank": []}, dtype="int64")
    # First half: two boxes beat one, then similarity decides. Second half: of equals, the first.
    assert choose_queries(six, nobody, best, rows=2) == [12, 14]
    assert choose_queries(six, nobody, best, rows=1) == [12]
    assert choose_queries(six, nobody, best, rows=9) == [10, 11, 12, 13, 14, 15]
    # 14 is shown already as a neighbor of 12.
    near = pd.DataFrame({"image_id": [12, 12], "neighbor_id": [14, 15], "rank": [0, 4]})
    assert choose_queries(six, near, best, rows=2) == [12, 15]
    # Without pairs, an image comes after all others; without any, the first one is taken.
    assert choose_queries(six, nobody, best[best["image_id"] == 11], rows=2) == [11, 13]
    with pytest.raises(ValueError, match="at least 1"):
        choose_queries(six, nobody, best, rows=0)


# ---- the picture ---------------------------------------------------------------------------------------------------


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


def test_shorten():
    font = drawing.load_font(18)
    assert drawing.shorten("town", 200, 18) == "town"
    assert drawing.shorten("café 中", 200, 18) == "cafe ?"  # Pillow's font has no other letters
    short = drawing.shorten("a very long name of a place", 100, 18)
    assert short.endswith("…")
    assert font.getlength(short) <= 100
    assert drawing.shorten("town", 0, 18) == "…"


def test_a_real_run(finished):
    picture = summary_picture(finished)
    assert picture.width == 1600
    assert picture.height > 1000


@pytest.mark.parametrize("mined", [True, False])
def test_judging_a_run_leaves_the_picture(tmp_path, tiny, monkeypatch, capsys, mined):
    run = make_run(tmp_path)
    if not mined:
        run.note("stage2", state="running")
    monkeypatch.setattr(evaluate, "run", lambda run, config: {"seed": 0})
    assert pipeline.judge(run, tiny) == {"seed": 0}
    file = run.path / "summary.png"
    assert file.exists() == mined
    assert ("summary.png" in capsys.readouterr().err) == mined
    if mined:
        with Image.open(file) as picture:
            assert picture.tobytes() == summary_picture(run).tobytes()
