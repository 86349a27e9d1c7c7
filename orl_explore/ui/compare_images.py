"""The page that compares encoders, on whole images: which neighbors the second one keeps, loses and gains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.figures import compare as figures
from orl_explore.figures import style
from orl_explore.images import labels
from orl_explore.judging import comparison
from orl_explore.judging.comparison import Comparison, Source
from orl_explore.maps import plane
from orl_explore.numbers import percent_text, points_text
from orl_explore.runs.run import Run
from orl_explore.ui import chooser, state, tiles
from orl_explore.ui.downloads import csv_button

ASK_FROM = 5000
"""Images from which on embedding them takes so long that the reader is asked first."""

MAP_POINTS = 5000
"""Images on a map at most."""

SHOWN = 10
"""Marked images shown as pictures at most."""

CELL = 72
"""Width of a neighbor's picture, pixels; ten fit beside the sidebar of a small screen."""

SIGNS = {
    "kept": ":blue-badge[:material/check: kept]",
    "lost": ":orange-badge[:material/remove: lost]",
    "gained": ":green-badge[:material/add: gained]",
}
"""What became of a neighbor: a sign, a word, and only then a color."""

OUTPUTS = {False: "projector (as in stage 2)", True: "backbone"}
MARKED = "compare marked"


def show(run: Run, pair: tuple[Source, Source], titles: tuple[str, str]) -> None:
    """How many neighbors two encoders share, those of one image, and all images on two maps."""
    features = bool(
        st.segmented_control(
            "Embedding",
            list(OUTPUTS),
            default=False,
            required=True,
            format_func=lambda value: OUTPUTS[value],
            key="compare features",
            help="What describes an image: the projector's output, which stage 2 looks for neighbors with, or the"
            " pooled backbone feature, which the evaluation judges.",
        )
    )
    compared = _compare(run, pair, titles, features)
    if compared is None:
        return
    _figures(run, compared, titles)
    parts: dict[str, Callable[[], None]] = {
        "Neighbors of one image": lambda: _neighbors(run, compared, titles),
        "All images on two maps": lambda: _maps(run, compared, pair, titles, features),
    }
    state.tabs(parts, key="compare images tab", parameter="part")


def are_embedded(run: Run, pair: tuple[Source, Source], titles: tuple[str, str], *, features: bool = False) -> bool:
    """Embed the images by two encoders where that was not done yet; False: the reader has not yet agreed to wait."""
    images = state.images(run)
    missing = [source for source in dict.fromkeys(pair) if not comparison.is_cached(run, source, features=features)]
    if missing and len(images) >= ASK_FROM:
        st.info(
            f"{len(images):,} images have to be embedded by {len(missing)} of these encoders first. That is done"
            " once, and takes minutes on a GPU but hours without one.",
            icon=":material/hourglass:",
        )
        if not st.button("Embed them now", icon=":material/play_arrow:", key="compare embed"):
            return False
    for source in missing:
        title = titles[pair.index(source)]
        bar = st.progress(0.0, text=f"Embedding {len(images):,} images: {state.plain(title)}")

        def progress(done: int, total: int, bar: Any = bar, title: str = title) -> None:
            if done == total or done % 16 == 0:
                bar.progress(done / total, text=f"Embedded {done:,} of {total:,} images: {state.plain(title)}")

        comparison.embeddings(run, source, features=features, progress=progress)
        bar.empty()
    return True


def _compare(run: Run, pair: tuple[Source, Source], titles: tuple[str, str], features: bool) -> Comparison | None:
    """The two encoders' neighbors; None where there are none, or not yet."""
    if len(state.images(run)) < 2:
        st.info("This run has a single image, which has no neighbors that encoders could agree on.")
        return None
    if not are_embedded(run, pair, titles, features=features):
        return None
    with st.spinner("Finding neighbors ..."):
        return _compared(str(run.path), _keys(run, pair, features), run, pair, features)


def _keys(run: Run, pair: tuple[Source, Source], features: bool) -> tuple[str, ...]:
    """What identifies the two encoders for the caches."""
    return tuple(comparison.cache_file(run, source, features=features).name for source in pair)


@st.cache_resource(max_entries=8, show_spinner=False)
def _compared(
    run_path: str, keys: tuple[str, ...], _run: Run, _pair: tuple[Source, Source], features: bool
) -> Comparison:
    ids = _run.images().table["image_id"].to_numpy(np.int64)
    a, b = (comparison.neighbors_of(_run, source, features=features) for source in _pair)
    return comparison.compare(ids, a, b)


@st.cache_resource(max_entries=8, show_spinner=False)
def _plane(path: str, key: str, _run: Run, _source: Source, features: bool) -> np.ndarray:
    return plane.plane(comparison.embeddings(_run, _source, features=features))


def _labels(run: Run) -> pd.Series | None:
    table = state.images(run).table
    column = labels.label_column(table)
    return None if column is None else table[column]


def _figures(run: Run, compared: Comparison, titles: tuple[str, str]) -> None:
    left, right = st.columns([3, 2])
    row = state.row_of(run, state.chosen_image(run))
    k = compared.a.shape[1]
    left.plotly_chart(
        figures.overlap(compared.overlap, k, chance=compared.chance, chosen=float(compared.overlap[row])),
        key="compare overlap",
        alt="histogram of kept neighbors per image",
    )
    with left:
        csv_button(compared.table(), "shared-neighbors")
    with right:
        st.metric(
            "Neighbors that A and B share",
            percent_text(compared.mean_overlap),
            help=f"of {k} neighbors, over all images; by chance {percent_text(compared.chance)}",
            border=True,
        )
        labels = _labels(run)
        if labels is None:
            st.caption("These images have no labels, so that nothing says whose neighbors are better.")
            return
        name = state.plain(str(labels.name))
        judged = compared.agreement(labels)
        for letter, title, figure in zip("AB", titles, judged, strict=True):
            st.metric(
                f"Neighbors of one {name} by {letter}",
                percent_text(figure.value),
                delta=f"{points_text(figure.value - judged[0].value)} against A" if letter == "B" else None,
                help=f"{state.plain(title)}: share of neighbors with the image's own {name};"
                f" by chance {percent_text(figure.chance)}",
                border=True,
            )


# ---- one image -----------------------------------------------------------------------------------------------------


def _neighbors(run: Run, compared: Comparison, titles: tuple[str, str]) -> None:
    labels = _labels(run)
    by_change = "by change, largest first"
    walk = st.segmented_control(
        "Walk",
        ["in the order of the set", by_change],
        default="in the order of the set",
        required=True,
        key="compare order",
        label_visibility="collapsed",
    )
    order = np.argsort(compared.overlap, kind="stable") if walk == by_change else np.arange(len(compared.image_ids))
    image_id = chooser.choose(run, compared.image_ids[order])
    row = state.row_of(run, image_id)
    label = "" if labels is None else f"{state.plain(str(labels.iloc[row]))}: "
    kept = int(compared.kept_a[row].sum())
    st.markdown(f"{label}{kept} of {compared.a.shape[1]} neighbors are kept from A to B.")
    found = compared.of_image(row)
    with state.counting_tiles():
        for letter, title, neighbors in zip("AB", titles, found, strict=True):
            st.markdown(f"**{letter}** · {state.plain(title)}")
            _row(run, letter, neighbors, labels, row)
    by = pd.concat([table.assign(encoder=letter) for letter, table in zip("AB", found, strict=True)])
    csv_button(by, f"neighbors-of-{image_id}")


def _row(run: Run, letter: str, neighbors: pd.DataFrame, labels: pd.Series | None, row: int) -> None:
    sizes = state.sizes(run, neighbors["neighbor_id"].tolist())
    columns = tiles.cells(sizes, f"compare {letter}", width=CELL)
    for rank, (column, neighbor) in enumerate(zip(columns, neighbors.itertuples(), strict=True)):
        number, position, sign = int(neighbor.neighbor_id), int(neighbor.row), str(neighbor.sign)  # type: ignore[arg-type]
        with column:
            st.image(state.tile(run, number), width="stretch", alt=f"neighbor {rank + 1} by {letter}, {sign}")
            st.markdown(SIGNS[sign])
            if labels is not None:
                label, own = labels.iloc[position], labels.iloc[row]
                sign_of_label = "=" if label == own else "≠"
                st.caption(f"{sign_of_label} {state.plain(str(label))}")
            _look(run, number, f"{letter} {rank}")


def _look(run: Run, image_id: int, name: str) -> None:
    """A button that looks at an image."""
    words = f"Look at {state.plain(state.file_name(run, image_id))}"
    st.button(
        words,
        icon=":material/visibility:",
        key=f"compare look at {name}",
        help=words,
        type="tertiary",
        on_click=state.choose_image,
        args=(image_id,),
    )


# ---- two maps ------------------------------------------------------------------------------------------------------


def _maps(
    run: Run,
    compared: Comparison,
    pair: tuple[Source, Source],
    titles: tuple[str, str],
    features: bool,
) -> None:
    st.caption(
        "Principal components of the embeddings by each encoder. Draw around points of one map: the same images are"
        " ringed in both."
    )
    count = len(compared.image_ids)
    rows = np.linspace(0, count - 1, min(count, MAP_POINTS)).round().astype(np.int64)
    if count > MAP_POINTS:
        st.caption(f"{len(rows):,} of {count:,} images are drawn.")
    labels = _labels(run)
    chosen = state.row_of(run, state.chosen_image(run))
    marked = [row for row in st.session_state.get(MARKED, {}).get(str(run.path), []) if row < count]
    turn = st.session_state.setdefault("compare turn", {"A": 0, "B": 0})
    keys = _keys(run, pair, features)
    for column, letter, title, source, key in zip(st.columns(2), "AB", titles, pair, keys, strict=True):
        name = f"compare map {letter} {turn[letter]}"
        column.plotly_chart(
            figures.image_map(
                _plane(str(run.path), key, run, source, features),
                None if labels is None else labels.tolist(),
                rows=rows,
                names=state.images(run).table["file_name"].tolist(),
                marked=marked,
                chosen=chosen,
                title=f"{letter} · {style.escape(title)}",
            ),
            key=name,
            on_select=lambda letter=letter, name=name: _mark(run, letter, name),
            selection_mode=("points", "box", "lasso"),
            config={"displaylogo": False, "modeBarButtonsToRemove": ["autoScale2d"]},
            alt=f"map of the images by encoder {letter}",
        )
    if len(rows) > figures.WEBGL_FROM:
        st.caption(
            f"Maps of more than {figures.WEBGL_FROM:,} images take WebGL: they stay empty in a browser without it."
        )
    if marked:
        _marked(run, compared, marked)


def _mark(run: Run, letter: str, key: str) -> None:
    """Take over a selection; the other map forgets its own, of which only the last one counts."""
    found = state.custom_data(state.sent(key, "selection", "points") or [])
    rows = list(dict.fromkeys(int(data[0]) for data in found))
    st.session_state.setdefault(MARKED, {})[str(run.path)] = rows
    st.session_state["compare turn"]["B" if letter == "A" else "A"] += 1


def _clear(run: Run) -> None:
    st.session_state.get(MARKED, {}).pop(str(run.path), None)
    for letter in "AB":
        st.session_state["compare turn"][letter] += 1


def _marked(run: Run, compared: Comparison, marked: list[int]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{len(marked):,} images are marked.**")
        overlap = float(compared.overlap[marked].mean())
        st.caption(
            f"They keep {percent_text(overlap)} of their neighbors, all images {percent_text(compared.mean_overlap)}."
        )
        csv_button(compared.table().iloc[marked], "marked-images")
        st.button("Clear", icon=":material/close:", key="compare clear", on_click=_clear, args=(run,))
    sizes = state.sizes(run, compared.image_ids[marked[:SHOWN]].tolist())
    columns = tiles.cells(sizes, "compare marked", width=CELL)
    with state.counting_tiles():
        for rank, (column, row) in enumerate(zip(columns, marked, strict=False)):
            number = int(compared.image_ids[row])
            with column:
                st.image(state.tile(run, number), width="stretch", alt=f"marked image {rank + 1}")
                _look(run, number, f"marked {rank}")
