"""Page: the accepted pairs of the whole run, sorted and filtered, looked at and judged."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from orl_explore.errors import OrlError, typed
from orl_explore.figures import pairs as figures
from orl_explore.figures.report import report
from orl_explore.images.image_source import whole
from orl_explore.judging.pair_estimate import Estimate
from orl_explore.judging.pair_facts import make_pair_facts
from orl_explore.numbers import percent_text, similarity_text
from orl_explore.runs.pair_query import AllPairs, Figures, PairQuery, facts_are_current, figures_of
from orl_explore.runs.reviews import KEY, Pair
from orl_explore.runs.run import Run
from orl_explore.ui import (
    address,
    matrix_cells,
    pair_filters,
    pair_queue,
    pair_review,
    pair_selections,
    reviewer,
    state,
    tiles,
)

VIEWS = {"look": "Look", "one": "Judge one by one", "many": f"Judge {pair_queue.TOGETHER} at a time"}
VIEW = "judging"
"""Of the address: which of them."""
PAGE = pair_queue.TOGETHER
BLOCK = 100
"""Pages whose order is asked for at once."""
FEW = 1_000_000
"""Pairs up to which what is asked of them is worked out without a question."""


def render(run: Run) -> None:
    """Show the page."""
    run.require("pairs")
    if not _prepared(run):
        return
    pairs = _open(str(run.path), state.version(run.file("pair_facts")))
    query = pair_filters.current()
    pair_filters.show(pairs, query)
    top, beside = st.columns([5, 4], vertical_alignment="center", gap="small")
    with top:
        view = _view()
    reviews = pair_review.reviews_of(run)
    who = "" if view == "look" else reviewer.field(beside, run)
    try:
        confusion = _confusion(str(run.path), query.text(), _versions(run))
    except OrlError as error:
        st.warning(state.sentence(str(error)), icon=":material/info:")
        return
    found, whole = figures_of(confusion), figures_of(_confusion(str(run.path), "", _versions(run)))
    st.markdown(_sentence(found, whole))
    if view != "look":
        if reviews is not None:
            _judge(pairs, query, view, found, who)
        return
    left, right = st.container(key="all pairs sides").columns([7, 4], gap="medium")
    with left:
        _grid(pairs, query, found)
    with right:
        parts = {"Labels": lambda: _matrix(pairs, query, confusion)} if pairs.categories else {}
        parts |= {
            "Shared boxes": lambda: _hubs(pairs, query),
            "Selections": lambda: pair_selections.show(pairs, query),
            "Share": lambda: _share_view(run, query),
            "Reviews": lambda: pair_review.export(run, reviews),
        }
        parts = {title: functools.partial(_explained, title, draw) for title, draw in parts.items()}
        state.tabs(parts, key="all pairs tab", parameter="tab")


def _explained(title: str, draw: Callable[[], object]) -> None:
    """What cannot be shown in a tab takes nothing else of the page away."""
    with state.explained(f"tab {title}"):
        draw()


def _prepared(run: Run) -> bool:
    """Whether the facts of the pairs are there; those of a run of usual size are worked out at once."""
    if facts_are_current(run):
        return True
    count = run.count("pairs")
    st.info("What is asked of all pairs is worked out once: stage 2 does so when it ends, and this run is older.")
    if count > FEW and not st.button(f"Work it out: {count:,} pairs, about {count / 2e5:.0f} s", type="primary"):
        return False
    bar = st.progress(0.0)

    def show(done: int, total: int) -> None:
        bar.progress(done / max(total, 1), f"{done:,} of {total:,} pairs")

    make_pair_facts(run, progress=show)
    st.rerun()
    return True


@st.cache_resource(max_entries=4, show_spinner=False)
def _open(run_path: str, stamp: object) -> AllPairs:
    return AllPairs(Run(run_path))


def _versions(run: Run) -> tuple[object, ...]:
    names = ("pair_facts", "reviews", "verdicts", "selections")
    return tuple(state.version(run.file(name)) for name in names if run.file(name).exists())


@st.cache_data(max_entries=64, show_spinner=False)
def _confusion(run_path: str, text: str, versions: object) -> pd.DataFrame:
    run = Run(run_path)
    return _open(run_path, state.version(run.file("pair_facts"))).confusion(PairQuery.parse(text))


@st.cache_data(max_entries=16, show_spinner=False)
def _ordered(run_path: str, text: str, block: int, stamps: object) -> NDArray[np.int64]:
    """Numbers of the pairs of `BLOCK` pages, in the query's order: sorting ten million takes longer than showing 24."""
    run = Run(run_path)
    pairs = _open(run_path, state.version(run.file("pair_facts")))
    return pairs.numbers(PairQuery.parse(text), start=block * BLOCK * PAGE, count=BLOCK * PAGE)


def _view() -> str:
    def read(text: str | None) -> str:
        if text is None or text in VIEWS:
            return text or "look"
        state.fall_back(f"There is no way to judge called {text[:40]}: the pairs are shown.")
        address.put(**{VIEW: None})
        return "look"

    key = "all pairs view"
    changed = state.follow(key, VIEW, read=read, write=str)
    return str(
        st.segmented_control(
            "View",
            list(VIEWS),
            format_func=VIEWS.__getitem__,
            key=key,
            on_change=changed,
            required=True,
            label_visibility="collapsed",
        )
    )


def _sentence(found: Figures, whole: Figures) -> str:
    """The set against the whole, in a line of Markdown."""
    words = [f"**{found.pairs:,}** of {whole.pairs:,} pairs ({percent_text(found.pairs / max(1, whole.pairs))})"]
    if not math.isnan(whole.similarity):
        words.append(f"similarity **{similarity_text(found.similarity)}** (run {similarity_text(whole.similarity)})")
    if whole.same + whole.different:
        words.append(f"two objects of one category **{percent_text(found.purity)}** (run {percent_text(whole.purity)})")
    return " · ".join(words)


def _grid(pairs: AllPairs, query: PairQuery, found: Figures) -> None:
    if not found.pairs:
        st.info("No pair of this run is like that. Clear a filter.")
        return
    pages = math.ceil(found.pairs / PAGE)

    def read(text: str | None) -> int:
        if text is None:
            return 1
        place = min(max(whole(text) or 1, 1), pages)
        if str(place) != text:
            state.fall_back(f"These pairs have no page {text[:40]}: page {place:,} of {pages:,} is shown.")
            address.put(at=None)
        return place

    key = pair_filters.PLACE
    turned = state.follow(key, "at", read=read, write=str)
    if (start := st.session_state[key]) > pages:  # some of them were judged meanwhile
        start = st.session_state[key] = pages
    block, place = divmod(start - 1, BLOCK)
    numbers = _ordered(str(pairs.run.path), query.text(), block, _versions(pairs.run))
    page = pairs.rows(numbers[PAGE * place : PAGE * (place + 1)])
    with state.explained("grid of pairs"):
        pair_queue.look(pairs, page, key=state.component_key(f"all pairs grid {pairs.run.path}"))
        pair_queue.follow(pairs.run, [Pair(*row) for row in page[KEY].astype(int).itertuples(index=False, name=None)])
    if pages > 1:
        st.pagination(pages, key=key, on_change=turned)


def _share_view(run: Run, query: PairQuery) -> None:
    st.write("A report of this run with these pairs: one file that opens in any browser, without a network.")
    st.download_button(
        "Report with this view",
        lambda: report(run, query).encode(),
        f"{run.path.name}.html",
        mime="text/html",
        icon=":material/share:",
        on_click="ignore",
    )
    st.caption("The same from the command line:")
    st.code(typed("report", run.path, "--pairs", query.text(), "-o", "report.html"), language="sh")


# ---- beside the grid -----------------------------------------------------------------------------------------------


def _matrix(pairs: AllPairs, query: PairQuery, confusion: pd.DataFrame) -> None:
    if query.query_category or query.key_category:
        both = dataclasses.replace(query, query_category="", key_category="")
        confusion = _confusion(str(pairs.run.path), both.text(), _versions(pairs.run))
        st.button(
            "Back to all categories",
            icon=":material/arrow_back:",
            on_click=pair_filters.change,
            kwargs={"query_category": "", "key_category": ""},
        )
    names = [pairs.category(code) for code in range(len(pairs.categories))]
    codes = figures.confusion_codes(confusion, names).tolist()

    def choose(row: int, column: int) -> None:
        if figures.OTHER_CODE not in (codes[row], codes[column]):
            pair_filters.change(query_category=pairs.spelling(codes[row]), key_category=pairs.spelling(codes[column]))

    with st.container(key="all pairs matrix", gap=None):
        st.plotly_chart(
            figures.confusion(confusion, names),
            key=f"all pairs matrix {query.text()}",
            config={"displayModeBar": False},
            alt="accepted pairs by the categories of their two boxes",
        )
        matrix_cells.show(
            "all-pairs-matrix",
            title="matrix of categories",
            of=f"{pairs.run.path.name} {codes}",
            shape=(len(codes), len(codes)),
            at=(0, 0),
            on_choose=choose,
        )
    st.caption("Pairs by what their two boxes are on. Click a cell to see its pairs; *More filters* has them by name.")


def _hubs(pairs: AllPairs, query: PairQuery) -> None:
    hubs = pairs.hubs(query)
    if not len(hubs):
        st.text("No box is shared by many of these pairs.")
        return
    st.caption("Boxes of neighbors that most of these pairs share. A button shows the pairs of one.")
    boxes = [state.region_of(pairs.run, int(region))[1] for region in hubs.iloc[:, 0]]
    places = tiles.places([box[2:] for box in boxes], "shared boxes", columns=3, gap="xsmall")
    for place, box, (region, image_id, count, similarity) in zip(
        places, boxes, hubs.itertuples(index=False), strict=True
    ):
        with place:
            with state.explained("shared box"):
                crop = state.thumbnail(pairs.run, int(image_id), side=160, box=box)
                st.image(crop, width="stretch", alt=f"region {region}")
            st.button(
                f"{count:,} pairs",
                key=f"hub {region}",
                help=f"region {region} of image {image_id}; mean similarity {similarity_text(similarity)}",
                on_click=pair_filters.change,
                kwargs={"key": int(region)},
                width="stretch",
            )


# ---- judging -------------------------------------------------------------------------------------------------------


def _judge(pairs: AllPairs, query: PairQuery, mode: str, found: Figures, who: str) -> None:
    stratified = False
    if query.sort == "random":
        left, right = st.columns([1, 3], vertical_alignment="center")
        stratified = left.toggle(
            "In fifths of similarity",
            key="all pairs strata",
            help="A stratified sample: its estimate is often narrower.",
        )
        with right:
            _estimate(pairs, query, stratified)
    if not found.pairs:
        st.info("No pair of this run is like that. Clear a filter.")
        return
    # A snapshot: a queue of pairs without a verdict is not to shrink while it is being judged.
    wanted = (str(pairs.run.path), query.text(), stratified, state.version(pairs.run.file("pair_facts")))
    if st.session_state.get("all pairs queue", (None,))[0] != wanted:
        count = st.session_state.get("all pairs queues", 0) + 1
        st.session_state["all pairs queues"] = count
        numbers = pair_queue.queue_of(pairs, query, stratified=stratified)
        st.session_state["all pairs queue"] = (wanted, numbers, f"all pairs deck {count}")
    _, numbers, key = st.session_state["all pairs queue"]
    pair_queue.review(pairs, numbers, mode, who, f"{key} {mode}")


@st.fragment(run_every=5.0)
def _estimate(pairs: AllPairs, query: PairQuery, stratified: bool) -> None:
    """How many of all these pairs are right, from what was judged of the random queue."""
    with state.explained("estimate from a random queue"):
        made = _estimated(str(pairs.run.path), query.text(), stratified, _versions(pairs.run))
        if query.verdict not in pair_queue.ESTIMATED:
            st.caption("Set the verdict to *any* or *unreviewed*: others make no random queue.")
            return
        if made is None:
            st.caption("Judge some pairs of this random queue: an estimate for all of them appears here.")
            return
        which = "all these pairs" + (", the reviewed ones included" if query.verdict else "")
        st.markdown(
            f"Right: **{percent_text(made.value)}** of {which}, 95 % interval {percent_text(made.low)} to"
            f" {percent_text(made.high)}; from {made.judged} verdicts at random"
        )


@st.cache_data(max_entries=16, show_spinner=False)
def _estimated(run_path: str, text: str, stratified: bool, versions: object) -> Estimate | None:
    pairs = _open(run_path, state.version(Run(run_path).file("pair_facts")))
    return pair_queue.estimated(pairs, PairQuery.parse(text), stratified=stratified)
