"""A run whose pairs were given: no page says that a rule chose them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from orl_explore.figures.report import report
from orl_explore.judging.pair_facts import make_pair_facts
from orl_explore.runs.pair_query import DOUBTS, PairQuery
from orl_explore.runs.run import Run
from orl_explore.ui.shell import PAGES

RULE = re.compile(
    r"accepted by stage 2|stage 2 (accepted|paired)|accepted pairs|best (one|[0-9]+) (is|are) kept"
    r"|most similar ones \(paper|mutual|pair_ratio",
    re.IGNORECASE,
)
"""What is true of pairs that stage 2 chose."""


@pytest.fixture
def given(runs):
    """Run "one", with pairs and neighbors of unknown similarity, as a bundle brings them."""
    run = Run(runs / "one")
    run.note("stage2", imported={"pairs": "given", "files": [{"file": "b.zip", "path": "b.zip"}]})
    for name in ("pairs", "neighbors"):
        run.write(name, run.read(name).assign(similarity=np.nan))
    make_pair_facts(run)
    return run


def words(app):
    return "\n".join(box.value for box in [*app.markdown, *app.caption, *app.text, *app.info, *app.warning])


@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize("page", [page.name for page in PAGES if not page.of_all])
def test_no_page_explains_given_pairs_by_the_rule(given, page, embedded, visit):
    if not embedded:
        given.file("region_embeddings").unlink()
    text = words(visit(run="one", page=page))
    assert not RULE.search(text), RULE.search(text)
    of_rule = next(each.of_rule for each in PAGES if each.name == page)
    assert ("were given with a mining bundle" in text) == (of_rule or page == "overview")
    if of_rule:
        assert ("made of the boxes afterwards" in text) == embedded


def test_the_report_says_that_pairs_were_given(given):
    text = re.sub(r"<style>.*?</style>", "", report(given, PairQuery()), flags=re.S)
    assert "were given with a mining bundle" in text
    assert not RULE.search(text), RULE.search(text)


def test_nothing_doubts_a_given_pair_for_the_rule(given):
    doubts = given.read("pair_facts")["doubts"]
    for reason in ("near the cut", "weak", "not mutual"):
        assert not (doubts & (1 << DOUBTS.index(reason))).any()
