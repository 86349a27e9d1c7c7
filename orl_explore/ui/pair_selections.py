"""Named selections on the page All pairs: kept from what is shown, combined, exported, judged."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from orl_explore.errors import OrlError, typed
from orl_explore.interchange.selection_files import as_coco, safe_name, table_of
from orl_explore.runs.files import csv_text, json_text
from orl_explore.runs.pair_query import MOST, AllPairs, PairQuery
from orl_explore.runs.reviews import ACCEPTED, KEY, REJECTED, Pair, Verdict, read_verdicts, save_verdicts
from orl_explore.runs.run import Run
from orl_explore.runs.selections import NAME_LENGTH, Combination, combine, read_selections, remove_selection
from orl_explore.ui import keeping, pair_filters, reviewer, state

SIDES = {"both": "both boxes", "query": "boxes of images", "key": "boxes of neighbors"}


def show(pairs: AllPairs, query: PairQuery) -> None:
    """All selections of the run, and what can be done with them."""
    side = st.selectbox("Which boxes", list(SIDES), format_func=SIDES.__getitem__, label_visibility="collapsed")
    keeping.keep_as(
        pairs.run,
        lambda: pairs.regions(query, side=side),
        of=pairs.made_from["regions"],
        origin=_origin(query),
        key="keep pairs",
        label="Keep the boxes of all these pairs as",
    )
    found = read_selections(pairs.run)
    if not len(found):
        _say(pairs.run)
        st.caption(
            "No selection yet: filter pairs, draw around points of the object map or search, and keep the boxes."
        )
        return
    chosen = st.dataframe(
        found[["name", "boxes", "origin"]],
        hide_index=True,
        key=f"selections {pairs.run.path}",
        on_select="rerun",
        selection_mode="multi-row",
        height=min(240, 40 + 36 * len(found)),
        column_config={"boxes": st.column_config.NumberColumn(format="localized")},
        placeholder=state.MISSING,
        alt="named selections of boxes",
    )
    _say(pairs.run)  # beside the buttons that it answers
    names = [found["name"].iloc[row] for row in chosen["selection"]["rows"] if row < len(found)]
    if not names:
        st.caption("Mark one to use it, or several to combine them.")
    elif len(names) == 1:
        _one(pairs, names[0])
    else:
        _several(pairs.run, names)


def _origin(query: PairQuery) -> str:
    return f"pairs {query.text() or 'all'}"


def _say(run: Run) -> None:
    """What became of the last button, and its undoing."""
    if said := st.session_state.pop("selections say", None):
        (st.warning if said[0] else st.success)(state.sentence(said[1]))
    _offer_undo(run)


def _try(action: Any) -> None:
    try:
        st.session_state["selections say"] = (False, f"Done: {action()}.")
    except OrlError as error:
        st.session_state["selections say"] = (True, str(error))


@dataclass(frozen=True)
class _Judged:
    """Verdicts that were given at once, to be taken back."""

    run: Path
    words: str
    reviewer: str
    verdict: Verdict
    before: list[tuple[Pair, Verdict]]
    """What the reviewer had said of each pair."""
    of: str
    """Hash of the pairs table that these are from."""


def _judge(pairs: AllPairs, name: str, verdict: Verdict, who: str) -> None:
    def act() -> str:
        touched = pairs.pairs(PairQuery(selection=name))
        own = _verdicts_of(pairs.run, who)
        save_verdicts(pairs.run, [(pair, verdict) for pair in touched], reviewer=who, of=pairs.made_from["pairs"])
        reviewer.remember(who)
        words = f"{len(touched):,} pairs {verdict}"
        before = [(pair, own.get(pair, "")) for pair in touched]
        st.session_state["judged at once"] = _Judged(
            pairs.run.path, words, who, verdict, before, pairs.made_from["pairs"]
        )
        return words

    _try(act)


def _verdicts_of(run: Run, who: str) -> dict[Pair, Verdict]:
    verdicts = read_verdicts(run)
    own = verdicts.loc[verdicts["reviewer"] == who, [*KEY, "verdict"]]
    return {Pair(*row[:4]): row[4] for row in own.itertuples(index=False, name=None)}


def _offer_undo(run: Run) -> None:
    judged = st.session_state.get("judged at once")
    if isinstance(judged, _Judged) and judged.run == run.path:
        st.button(
            f"Undo: {judged.words}", icon=":material/undo:", key="undo at once", on_click=_undo, args=(run, judged)
        )


def _undo(run: Run, judged: _Judged) -> None:
    """What the reviewer had said of each pair stands again, unless he has said something else since."""

    def act() -> str:
        now = _verdicts_of(run, judged.reviewer)
        back = [one for one in judged.before if now.get(one[0], "") == judged.verdict]
        save_verdicts(run, back, reviewer=judged.reviewer, of=judged.of)
        del st.session_state["judged at once"]
        return f"{len(back):,} verdicts taken back"

    _try(act)


@st.cache_data(max_entries=64, show_spinner=False)
def _count(run_path: str, name: str, versions: object, _pairs: AllPairs) -> int:
    return _pairs.figures(PairQuery(selection=name)).pairs


def _one(pairs: AllPairs, name: str) -> None:
    run = pairs.run
    versions = [state.version(run.file(table)) for table in ("pair_facts", "selections")]
    count = _count(str(run.path), name, versions, pairs)
    who = reviewer.field(st, run)
    why = f"More than {MOST:,} pairs are not judged at once." if count > MOST else None
    with st.container(horizontal=True):
        st.button("Show its pairs", on_click=pair_filters.choose, args=(PairQuery(selection=name),))
        for word, verdict in (("Reject", REJECTED), ("Accept", ACCEPTED)):
            st.button(
                f"{word} all {count:,} pairs that touch it",
                on_click=_judge,
                args=(pairs, name, verdict, who),
                disabled=not 0 < count <= MOST,
                help=why,
            )
        st.button("Forget it", on_click=_try, args=(lambda: _forget(run, name),))
    with st.container(horizontal=True):
        for label, suffix, make in (
            ("Parquet", "parquet", lambda: _parquet(run, name)),
            ("CSV", "csv", lambda: csv_text(table_of(run, name)).encode()),
            ("COCO json", "json", lambda: _json(run, name)),
        ):
            st.download_button(
                label,
                make,
                f"{safe_name(name) or 'selection'}.{suffix}",
                key=f"selection {label}",
                icon=":material/download:",
                on_click="ignore",
            )
    st.caption("Stage 3 without its boxes, and a folder of its crops:")
    without = typed("stage3", run.path, "--stage3.without", name, "--overwrite")
    st.code(f"{without}\n{typed('select', run.path, name, '--export', 'crops')}", language="sh")


def _forget(run: Run, name: str) -> str:
    remove_selection(run, name)
    return f"{name} is forgotten"


def _parquet(run: Run, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        table_of(run, name).to_parquet(Path(folder) / "table", index=False)
        return (Path(folder) / "table").read_bytes()


def _json(run: Run, name: str) -> bytes:
    return json_text(as_coco(run, name)).encode()


def _several(run: Run, names: list[str]) -> None:
    ways: dict[str, tuple[Combination, list[str]]] = {
        "all of them together": ("union", names),
        "what they have in common": ("intersection", names),
    }
    for first in names:  # a table tells no order in which its rows were marked
        ways[f"{first} without the others"] = ("difference", [first, *(name for name in names if name != first)])
    with st.form("combine selections", border=False):
        how, ordered = ways[st.selectbox("Combine them", list(ways))]
        name = st.text_input("under the name", max_chars=NAME_LENGTH)
        if st.form_submit_button("Keep"):
            _try(lambda: f"{combine(run, name, how, ordered):,} boxes are kept as {' '.join(name.split())}")
            st.rerun()
