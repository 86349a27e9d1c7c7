"""What pages share: runs that may be opened, tables held in memory, words that are no markup."""

from __future__ import annotations

import shutil

import pytest
from streamlit.testing.v1 import AppTest

from orl_explore.runs.run import Run
from orl_explore.ui import address, state
from orl_explore.ui.pair_alike import TITLE
from orl_explore.ui.pair_rule import NAMES, WHAT_IF
from orl_explore.ui.shell import PAGES
from renumbered_runs import renumbered, with_map
from training.embed_regions import embed_regions_by


def test_a_symbolic_link_out_of_the_folder_is_no_run(runs, finished):
    (runs / "sneaky").symlink_to(finished.path)
    assert state.list_runs(runs) == ["one"]


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


def test_a_table_that_was_made_anew_is_shown(runs):
    run = Run(runs / "one")
    before = state.table(run, "pairs")
    run.write("pairs", before.iloc[:3])
    assert len(state.table(run, "pairs")) == 3 < len(before)


# ---- links -----------------------------------------------------------------------------------------------------------

PARAMETERS = (
    *("image", "rank", "pair", "region", "boxes", "place", "encoder", "color", "a", "b"),
    *("selected", "view", "judging", "at", "pairs", "reviewer", "layout", "versus", "category", "tab", "part"),
    *("k", "ratio", "least", "mutual", "one"),
)
LIES = ("-5", "9" * 19, "9" * 5000, "1e3", "²", "", "7-", "-1--1", "0-9999999", "<b>")
"""What an address can hold where an image, a rank, a pair, an encoder or a filter should stand."""


def said(app):
    return [box.value for box in app.warning]


@pytest.fixture(scope="module")
def both(finished, tmp_path_factory):
    """Run "one", and run "two" of the same pictures under other ids. Looking at them changes neither."""
    one = with_map(Run(shutil.copytree(finished.path, tmp_path_factory.mktemp("both") / "runs" / "one")))
    return one, with_map(renumbered(one, one.path.with_name("two")))


@pytest.fixture
def two_runs(both, monkeypatch):
    """What the dashboard is over."""
    monkeypatch.setenv("ORL_RUNS", str(both[0].path.parent))
    return both


def link_to(run):
    """The last image of a run, its last neighbor with a pair, that pair and its region."""
    pairs = run.read("pairs")  # a row would be one of float64
    pair = {name: int(pairs[name].iloc[-1]) for name in ("image_id", "neighbor_rank", "query_region", "key_region")}
    return {
        "image": pair["image_id"],
        "rank": pair["neighbor_rank"] + 1,
        "pair": f"{pair['query_region']}-{pair['key_region']}",
        "region": pair["query_region"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("page", [page.name for page in PAGES])
@pytest.mark.parametrize("lie", LIES)
def test_no_page_dies_of_a_link(two_runs, page, lie, visit):
    """`visit` fails where a page could not be drawn."""
    app = visit(run="one", page=page, **dict.fromkeys(PARAMETERS, lie))
    looks_at_an_image = next(each.image for each in PAGES if each.name == page)
    assert len(said(app)) >= looks_at_an_image
    valid = link_to(two_runs[0])
    visit(run="one", page=page, **valid | dict.fromkeys(PARAMETERS[1:], lie))  # all but the image


OF_PAGE = {
    page.name: () if page.of_all else ("only", *(["image"] * page.image), *(set(page.parameters) - {"reviewer"}))
    for page in PAGES
}
"""Parameters that a page reads; `reviewer` may be any text."""
BESIDE = {
    **{name: {"tab": state.tab_in_address(TITLE)} for name in ("boxes", "place", "by", "look")},
    **{name: {"tab": state.tab_in_address(WHAT_IF)} for name in NAMES.values()},
    "part": {"tab": "whole-images"},
    "view": {"encoder": "stage1", "versus": "stage3"},
}
"""What has to stand in the address, too, for a parameter to be read."""


@pytest.fixture(scope="module")
def embedded(finished, tiny, tmp_path_factory):
    """A folder with a run whose boxes are embedded by several encoders."""
    run = Run(shutil.copytree(finished.path, tmp_path_factory.mktemp("embedded") / "runs" / "one"))
    embed_regions_by(run, tiny, limit=80)
    return run


@pytest.fixture(scope="module")
def silent():
    """Addresses that are known to be understood: parameters of a page share what stands beside them."""
    return []


@pytest.mark.slow
@pytest.mark.parametrize(("page", "name"), [(page, name) for page, names in OF_PAGE.items() for name in sorted(names)])
def test_every_parameter_that_leads_nowhere_is_told(embedded, silent, monkeypatch, visit, page, name):
    monkeypatch.setenv("ORL_RUNS", str(embedded.path.parent))
    beside = BESIDE.get(name, {})
    if (page, beside) not in silent:
        assert not said(visit(page=page, **beside))
        silent.append((page, beside))
    app = visit(page=page, **beside | {name: "<nonsense> 7"})
    assert len(said(app)) == 1, said(app)
    assert "nonsense" in said(app)[0]
    assert "nonsense" not in str(app.query_params.get(name)) or name == "pairs"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_a_link_of_one_run_in_another(two_runs, page, visit):
    for own, other in (two_runs, two_runs[::-1]):
        app = visit(run=own.path.name, page=page, **link_to(own))
        assert not [text for text in said(app) if "no image" in text]  # ids are negative, or wider than float64
        app.selectbox(key="run").set_value(other.path.name).run()
        assert not app.exception
        assert not app.error
        wrong = visit(run=other.path.name, page=page, **link_to(own))
        for shown in (app, wrong):
            assert [text for text in said(shown) if "no image" in text] or not any(
                each.image for each in PAGES if each.name == page
            )


def test_what_belongs_to_an_image_goes_with_it(two_runs, visit):
    one, _ = two_runs
    app = visit(run="one", page="pairs", **link_to(one))
    assert {"rank", "pair"} <= set(app.query_params)
    app.button(key="choose Previous").click().run()
    assert not {"rank", "pair"} & set(app.query_params)
    assert not said(app)


def test_a_rank_and_a_pair_that_the_image_does_not_have(two_runs, visit):
    one, _ = two_runs
    link = link_to(one)
    assert any("not one of place 99" in text for text in said(visit(run="one", page="pairs", **link | {"rank": 99})))
    app = visit(run="one", page="pairs", **link | {"pair": "0-0"})
    assert any("no pair of boxes 0" in text for text in said(app))
    assert "pair" not in app.query_params


def test_ids_that_javascript_cannot_hold_are_found(two_runs, visit):
    _, two = two_runs
    ids = two.read("images")["image_id"].tolist()
    for image_id in (ids[3], ids[4]):  # a negative one, a wide one
        app = visit(run="two", page="neighbors")
        app.text_input(key="find image").input(str(image_id)).run()
        assert app.query_params["image"] in (str(image_id), [str(image_id)])


def two_tabs():
    import streamlit as st

    from orl_explore.ui import state

    state.tabs({"One": lambda: st.text("one"), "Two": lambda: st.text("two")}, key="k", parameter="tab")


def test_a_tab_stays_open_where_the_browser_speaks_of_the_address_before_the_click(monkeypatch):
    """A part of the page that the browser has drawn anew just then does not take the click back."""
    app = AppTest.from_function(two_tabs).run()
    assert app.text[0].value == "one"
    app.query_params["tab"] = "two"
    assert app.run().text[0].value == "two"  # a link
    app.query_params["tab"] = "three"
    assert "no tab three" in app.run().warning[0].value
    assert app.text[0].value == "one"
    app.query_params["tab"] = "three"
    assert not app.run().warning  # said again before the browser knows
    monkeypatch.setattr(address, "is_step_of_history", lambda: True)
    app.query_params["tab"] = "three"
    assert app.run().warning
    app.query_params["tab"] = "two"
    assert app.run().text[0].value == "two"
    del app.query_params["tab"]
    assert app.run().text[0].value == "one"


@pytest.mark.parametrize(
    ("text", "value"),
    [("-5", -5), (str(2**63 - 1), 2**63 - 1), (str(2**63), None), ("9" * 5000, None), ("x", None), (None, None)],
)
def test_numbers_of_an_address(text, value):
    assert state.number(text) == value
