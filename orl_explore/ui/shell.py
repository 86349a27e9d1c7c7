"""The frame around every page: which run, which page, which image; and errors as sentences."""

from __future__ import annotations

import importlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from orl_explore.errors import OrlError
from orl_explore.run import Run
from orl_explore.ui import state


@dataclass(frozen=True)
class Page:
    """A page: its name in links, its title, the module that renders it, and what the reader sees there."""

    name: str
    title: str
    icon: str
    sentence: str

    def render(self, run: Run) -> None:
        """Show the page."""
        importlib.import_module(f"orl_explore.ui.{self.name}").render(run)


PAGES = (
    Page(
        "overview",
        "Overview",
        ":material/dashboard:",
        "What this run is, how far it is, and how good each of its three stages turned out to be.",
    ),
    Page(
        "neighbors",
        "Neighbors",
        ":material/hub:",
        "The images that the stage 1 encoder finds most similar to one image: where its corresponding objects are"
        " looked for (paper section 3.2).",
    ),
    Page(
        "proposals",
        "Proposals",
        ":material/crop_free:",
        "The boxes that selective search proposes as objects, and which of them the filter keeps (paper section 3.2).",
    ),
    Page(
        "pairs",
        "RoI pairs",
        ":material/join_inner:",
        "Which boxes of an image and of its neighbor are taken to show the same kind of object: the most similar"
        " ones (paper section 3.2).",
    ),
    Page(
        "object_map",
        "Object map",
        ":material/scatter_plot:",
        "Every kept box as one point: near points are boxes that look alike to the encoder.",
    ),
    Page(
        "compare",
        "Compare",
        ":material/compare_arrows:",
        "Two encoders on the same images: whose neighbors are better, and by how much (paper section 4).",
    ),
    Page(
        "sample",
        "A training sample",
        ":material/model_training:",
        "Exactly what stage 3 sees of one image in one epoch, and the three losses on it (paper section 3.3).",
    ),
)


def _no_run(root: Path) -> None:
    """Say what to type; the page comes to life when a run appears."""
    st.title("ORL Explore")
    st.info(f"There is no run in {state.plain(str(root))} yet. Make one, and it appears here by itself:")
    st.code("make demo\norl run runs/mine --config tiny --images ~/Pictures", language="sh")

    @st.fragment(run_every=2.0)
    def wait() -> None:
        if state.list_runs(root):
            st.rerun()

    wait()


def main() -> None:
    """Show the page that the address names, of the run that it names."""
    st.set_page_config(page_title="ORL Explore", page_icon=":material/join_inner:", layout="wide")
    st.html("<style>.stMainBlockContainer{padding-top:3rem;padding-bottom:3rem}</style>")
    root = Path(os.environ.get("ORL_RUNS", "runs"))
    names = state.list_runs(root)
    if not names:
        _no_run(root)
        return
    with st.sidebar:
        st.markdown("### :material/join_inner: ORL Explore")
        wanted = st.query_params.get("run")
        if wanted is not None and wanted not in names:
            st.warning("The link names a run that is not here; another one is shown.")
            del st.query_params["run"]
        name = st.selectbox("Run", names, key="run", bind="query-params", help=f"The runs in {root}")
        by_name = {page.name: page for page in PAGES}
        if st.query_params.get("page", PAGES[0].name) not in by_name:
            st.warning("The link names a page that does not exist.")
            del st.query_params["page"]
        chosen = st.radio(
            "Page",
            list(by_name),
            format_func=lambda page: f"{by_name[page].icon} {by_name[page].title}",
            key="page",
            bind="query-params",
            label_visibility="collapsed",
        )
    page = by_name[chosen or PAGES[0].name]
    st.title(page.title)
    st.caption(page.sentence)
    try:
        page.render(state.open_run(root, name))
    except OrlError as error:
        st.warning(state.sentence(str(error)), icon=":material/info:")
    except Exception:
        logging.getLogger(__name__).exception("page %s of %s", page.name, name)
        st.error("This page could not be drawn. The terminal that runs the app says why.", icon=":material/error:")
