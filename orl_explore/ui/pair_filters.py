"""The filters of the page All pairs: widgets on one side, the query in the address on the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import streamlit as st

from orl_explore.errors import OrlError
from orl_explore.runs.pair_query import DOUBTS, SORTS, UNLABELED_CODE, VERDICTS, AllPairs, PairQuery
from orl_explore.ui import address, image_filter, state

PARAMETER = "pairs"
"""Of the address: the query as `PairQuery` spells it."""

PLACE = "all pairs at"
"""Key of the page of the grid: other pairs begin at their first page."""

SORT_NAMES = {
    "doubt": "most doubtful first",
    "similarity": "least similar first",
    "-similarity": "most similar first",
    "margin": "least margin first",
    "-margin": "largest margin first",
    "rank": "nearest neighbors first",
    "-rank": "farthest neighbors first",
    "hub": "most shared boxes first",
    "random": "at random",
    "table": "as stage 2 wrote them",
}
RELATION_NAMES = {
    "": "any labels",
    "same": "same category",
    "different": "different categories",
    "mixed": "one unlabeled",
    "unlabeled": "both unlabeled",
}
_TEXTS, _NUMBERS = ("tag",), ("seed", "image", "box", "key")


def current() -> PairQuery:
    """The query that the address has; an empty one, with a sentence, where it has none that can be read."""
    try:
        return PairQuery.parse(address.get(PARAMETER) or "")
    except OrlError as error:
        st.warning(state.sentence(f"The link leads nowhere, {error}. The most doubtful pairs are shown."))
        return PairQuery()


def choose(query: PairQuery) -> None:
    """Ask for other pairs from now on; the address follows. Made for callbacks."""
    address.put(**{PARAMETER: query.text(), "at": None})
    st.session_state.pop(PLACE, None)


def change(**values: object) -> None:
    """The same query with other values. Made for callbacks."""
    choose(dataclasses.replace(current(), **values))  # type: ignore[arg-type]


def _key(name: str) -> str:
    return f"all pairs {name}"


def _changed(name: str, key: str) -> None:
    value = st.session_state[key]
    if name == "similarity":
        value = None if tuple(value) == (-1.0, 1.0) else tuple(value)
    elif name == "size":
        value = None if tuple(value) == (0, 100) else (value[0] / 100, value[1] / 100)
    elif name in _NUMBERS:
        text = str(value).strip()
        try:
            value = int(text) if text else (0 if name == "seed" else None)
        except ValueError:
            st.session_state["all pairs problem"] = f"{text!r} is no whole number"
            return
    try:
        change(**{name: value if value is not None or name not in ("relation", "doubt", "verdict") else ""})
    except OrlError as error:
        st.session_state["all pairs problem"] = str(error)


def show(pairs: AllPairs, query: PairQuery) -> None:
    """The widgets, set to the query."""
    if problem := st.session_state.pop("all pairs problem", None):
        st.warning(state.sentence(problem))
    inline = st.container(key="all pairs inline")
    first, second, third, more = inline.columns([3, 3, 2.5, 2.5], vertical_alignment="bottom", gap="small")
    _usual(pairs, query, (first, second, third), "")
    hidden = len(set(query.words()) - {"sort", "relation", "verdict"})
    label = "More filters" + (f" ({hidden})" if hidden else "")
    with more.popover(label, icon=":material/tune:", width="stretch", key="all pairs more"):
        _more(pairs, query)


def _usual(pairs: AllPairs, query: PairQuery, places: Sequence[Any], where: str) -> None:
    """The filters that are asked for most."""
    first, second, third = places
    _select(first, "Order", "sort", query.sort, {name: SORT_NAMES[name] for name in SORTS}, where)
    if pairs.categories:
        _select(second, "Labels", "relation", query.relation, RELATION_NAMES, where)
    else:
        _select(second, "Doubt", "doubt", query.doubt, {"": "any pair", **{name: name for name in DOUBTS}}, where)
    _select(third, "Verdict", "verdict", query.verdict, {"": "any verdict", **{name: name for name in VERDICTS}}, where)


def _select(place: Any, label: str, name: str, value: str, names: dict[str, str], where: str = "") -> None:
    key = _key(name) + where
    st.session_state[key] = value
    place.selectbox(label, list(names), format_func=names.__getitem__, key=key, on_change=_changed, args=(name, key))


def _more(pairs: AllPairs, query: PairQuery) -> None:
    here = st.container(width=520)
    folded = here.container(key="all pairs folded")  # in place of those of the page, where that is narrow
    _usual(pairs, query, (folded,) * 3, " folded")
    left, right = here.columns(2)
    if pairs.categories:
        codes = [UNLABELED_CODE, *range(len(pairs.categories))]
        names = {"": "any", **{pairs.spelling(code): pairs.category(code) for code in codes}}
        for place, label, name in (
            (left, "Box is on", "query_category"),
            (right, "Neighbor's box is on", "key_category"),
        ):
            value = getattr(query, name)
            _select(place, label, name, value, names if value in names else {**names, value: value})
        _select(left, "Doubt", "doubt", query.doubt, {"": "any pair", **{name: name for name in DOUBTS}})
    found = ["", *image_filter.names(pairs.run)]
    found += [query.selection] if query.selection not in found else []
    _select(right, "Touches the selection", "selection", query.selection, {name: name or "any" for name in found})
    low, high = query.similarity or (-1.0, 1.0)
    st.session_state[_key("similarity")] = (max(-1.0, low), min(1.0, high))
    here.slider(
        "Similarity",
        -1.0,
        1.0,
        step=0.01,
        key=_key("similarity"),
        on_change=_changed,
        args=("similarity", _key("similarity")),
    )
    low, high = query.size or (0.0, 1.0)
    st.session_state[_key("size")] = (max(0, round(100 * low)), min(100, round(100 * high)))
    here.slider(
        "Smaller box, % of its image", 0, 100, step=1, key=_key("size"), on_change=_changed, args=("size", _key("size"))
    )
    for place, label, name in (
        (left, "Image (id)", "image"),
        (right, "Box (region, either side)", "box"),
        (left, "Neighbor's box (region)", "key"),
        (right, "Tag (a word behind # in a note)", "tag"),
        (left, "Seed of the random order", "seed"),
    ):
        value = getattr(query, name)
        st.session_state[_key(name)] = "" if value is None else str(value)
        place.text_input(label, key=_key(name), on_change=_changed, args=(name, _key(name)))
    here.button("Clear all filters", on_click=choose, args=(PairQuery(sort=query.sort, seed=query.seed),))
