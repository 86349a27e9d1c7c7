"""All accepted pairs asked at once: orders, filters, figures, against the same worked out with pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl_explore.errors import OrlError
from orl_explore.judging.pair_facts import make_pair_facts
from orl_explore.runs.pair_query import DOUBTS, AllPairs, PairQuery
from orl_explore.runs.reviews import KEY, Pair, save_review
from orl_explore.runs.selections import save_selection


@pytest.fixture
def run(finished, tmp_path):
    import shutil

    from orl_explore.runs.run import Run

    return Run(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.fixture
def facts(run):
    return run.read("pair_facts")


ORDERS = {
    "doubt": (["doubt", "pair"], [False, True]),
    "similarity": (["similarity", "pair"], True),
    "-similarity": (["similarity", "pair"], [False, True]),
    "margin": (["margin", "pair"], True),
    "-margin": (["margin", "pair"], [False, True]),
    "rank": (["neighbor_rank", "rank", "pair"], True),
    "-rank": (["neighbor_rank", "rank", "pair"], [False, False, True]),
    "hub": (["key_count", "key_region", "pair"], [False, True, True]),
    "table": (["pair"], True),
}


@pytest.mark.parametrize("sort", ORDERS)
def test_orders(run, facts, sort):
    columns, ascending = ORDERS[sort]
    expected = facts.sort_values(columns, ascending=ascending)["pair"].to_numpy()
    found = AllPairs(run).numbers(PairQuery(sort=sort), count=len(facts))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(AllPairs(run).numbers(PairQuery(sort=sort), start=5, count=7), expected[5:12])


def test_random_orders_are_of_the_seed(run, facts):
    pairs = AllPairs(run)
    one, again, two = (pairs.numbers(PairQuery(sort="random", seed=seed), count=len(facts)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != two).any()
    assert sorted(one) == sorted(two) == list(range(len(facts)))
    assert (np.diff(one) < 0).any()


def conditions(facts):
    """A query -> the rows that it means."""
    query, key = facts["query_category"], facts["key_category"]
    both = (query >= 0) & (key >= 0)
    middle = float(facts["similarity"].median())
    image, box = int(facts["neighbor_id"].iloc[9]), int(facts["key_region"].iloc[4])
    return {
        "relation=same": both & (query == key),
        "relation=different": both & (query != key),
        "relation=mixed": (query >= 0) != (key >= 0),
        "relation=unlabeled": (query < 0) & (key < 0),
        "query_category=unlabeled": query < 0,
        "query_category=%230&key_category=%231": (query == 0) & (key == 1),
        f"similarity={middle}..1": facts["similarity"] >= np.float32(middle),
        "size=0..0.1": facts["least_share"] <= np.float32(0.1),
        f"image={image}": (facts["image_id"] == image) | (facts["neighbor_id"] == image),
        f"box={box}": (facts["query_region"] == box) | (facts["key_region"] == box),
        f"key={box}": facts["key_region"] == box,
        **{f"doubt={name}": (facts["doubts"].to_numpy() & (1 << bit)) > 0 for bit, name in enumerate(DOUBTS)},
    }


def test_filters_and_figures(run, facts):
    pairs = AllPairs(run)
    for text, wanted in conditions(facts).items():
        query = PairQuery.parse(text)
        assert set(pairs.numbers(query, count=len(facts))) == set(facts["pair"][wanted]), text
        figures = pairs.figures(query)
        part = facts[wanted]
        assert figures.pairs == len(part)
        both = part[(part["query_category"] >= 0) & (part["key_category"] >= 0)]
        assert figures.same == (both["query_category"] == both["key_category"]).sum()
        assert figures.same + figures.different + figures.mixed + figures.unlabeled == len(part)
        if len(part):
            assert figures.similarity == pytest.approx(part["similarity"].mean(), abs=1e-6)


def test_a_page_has_names_verdicts_and_notes(run, facts):
    first = Pair(*map(int, facts[KEY].iloc[0]))
    save_review(run, first, verdict="rejected", note="a #blurred one", reviewer="Ann")
    pairs = AllPairs(run)
    page = pairs.page(PairQuery(sort="table"), count=3)
    assert page["verdict"].tolist() == ["rejected", "", ""]
    assert page["note"].tolist() == ["a #blurred one", "", ""]
    code = int(facts["query_category"].iloc[0])
    assert page["query_name"].iloc[0] == ("(unlabeled)" if code < 0 else pairs.categories[code])
    for text, numbers in (("verdict=rejected", [0]), ("verdict=accepted", []), ("tag=blurred", [0]), ("tag=blur", [])):
        assert pairs.numbers(PairQuery.parse(text)).tolist() == numbers
    assert pairs.figures(PairQuery(verdict="unreviewed")).pairs == len(facts) - 1
    assert pairs.figures(PairQuery(verdict="disputed")).pairs == 0
    save_review(run, first, verdict="accepted", reviewer="Bob")
    assert pairs.numbers(PairQuery(verdict="disputed")).tolist() == [0]


def test_selections_and_boxes(run, facts):
    wanted = (facts["query_category"] >= 0) & (facts["key_category"] < 0)
    pairs = AllPairs(run)
    query = PairQuery(relation="mixed")
    expected = np.unique(facts.loc[(facts["query_category"] >= 0) != (facts["key_category"] < 0), "query_region"])
    assert set(pairs.regions(query, side="query")) >= set(facts["query_region"][wanted])
    assert len(expected)
    boxes = facts["key_region"].iloc[:2].to_numpy()
    save_selection(run, "some", boxes)
    touched = facts["query_region"].isin(boxes) | facts["key_region"].isin(boxes)
    assert set(pairs.numbers(PairQuery(selection="some"), count=10**6)) == set(facts["pair"][touched])
    assert len(pairs.pairs(PairQuery(selection="some"))) == touched.sum()


def test_hubs(run, facts):
    hubs = AllPairs(run).hubs(PairQuery(), count=3)
    counts = facts["key_region"].value_counts()
    assert hubs["pairs"].tolist() == sorted(hubs["pairs"], reverse=True)
    assert hubs["pairs"].tolist() == counts[hubs["key_region"]].tolist()
    assert hubs["pairs"].iloc[0] == counts.max()


@given(
    st.builds(
        PairQuery,
        sort=st.sampled_from(["doubt", "random", "-margin"]),
        seed=st.integers(-(2**63), 2**63 - 1),
        query_category=st.text(max_size=9),
        similarity=st.none() | st.tuples(st.floats(-1, 0), st.floats(0, 1)),
        image=st.none() | st.integers(-(2**63), 2**63 - 1),
        tag=st.text(max_size=9),
    )
)
def test_a_query_is_what_its_spelling_says(query):
    assert PairQuery.parse(query.text()) == query


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sort=best", "type one of doubt"),
        ("image=x", "a whole number"),
        ("image=1_0", "a whole number"),
        ("image=\u0661\u0662", "a whole number"),
        ("similarity=0.9..0.1", "no range"),
        ("similarity=nan..1", "0.2..0.8"),
        ("color=red", "no color"),
        ("image=99999999999999999999", "too large"),
    ],
)
def test_queries_that_are_none(text, words):
    with pytest.raises(OrlError, match=words):
        PairQuery.parse(text)


@pytest.mark.parametrize("taken", [("unlabeled", "#0"), ("(unlabeled)", " "), ("", "(no name)")])
def test_names_that_mean_something(run, taken):
    """A category may be called what we call something else."""
    images = run.images()
    objects = images.objects.copy()
    names = objects["category"].unique().tolist()
    objects["category"] = objects["category"].replace(dict(zip(names, taken, strict=False)))
    run.write("objects", objects)
    make_pair_facts(run)
    pairs = AllPairs(run)
    for code in range(-1, len(pairs.categories)):
        assert pairs._code(pairs.spelling(code)) == code
    named = [pairs.category(code) for code in range(-1, len(pairs.categories))]
    assert len(set(named)) == len(named)
    assert named[0] == "(unlabeled)"
    assert all(name.strip() for name in named)
    read = {name: code for code, name in enumerate(named[1:]) if name not in pairs.categories}
    assert {name: pairs._code(name) for name in read} == read
    with pytest.raises(OrlError, match="no category 'nothing'"):
        pairs.figures(PairQuery(query_category="nothing"))


@pytest.mark.parametrize("count", [-1, 10**30])
def test_numbers_that_no_table_has(run, count):
    pairs = AllPairs(run)
    if count < 0:
        with pytest.raises(OrlError, match="type 0 or more"):
            pairs.numbers(PairQuery(), count=count)
    else:
        assert len(pairs.numbers(PairQuery(), count=count)) == pairs.total
        assert not len(pairs.numbers(PairQuery(), start=count))


def test_out_of_date(run):
    pairs = run.read("pairs")
    run.write("pairs", pd.concat([pairs.iloc[1:], pairs.iloc[:1]]))
    with pytest.raises(OrlError, match="orl pairs"):
        AllPairs(run)
    run.file("pair_facts").write_bytes(b"PAR1")
    with pytest.raises(OrlError, match="orl pairs"):
        AllPairs(run)
