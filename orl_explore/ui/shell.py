"""The frame around every page: which run, which page, which image; and errors as sentences."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image, ImageDraw

from orl_explore.errors import OrlError
from orl_explore.runs.run import Run
from orl_explore.ui import address, image_filter, pair_outbox, searching, state, tiles


@dataclass(frozen=True)
class Page:
    """A page: its name in links, its title, its icon, what the reader sees there, and where it stands in the method."""

    name: str
    title: str
    icon: str
    sentence: str
    section: str
    image: bool = True
    """Whether it looks at an image, which links then name."""

    image_by: tuple[tuple[str, str], ...] = ()
    """What else its address has to say for it to show an image."""

    of_all: bool = False
    """Whether it shows all runs of the folder, not one."""

    of_rule: bool = False
    """Whether its sentence is about the pairs that stage 2's rule chooses, and untrue of given ones."""

    parameters: tuple[str, ...] = ()
    """Of the address, which this page understands beside those of every page (`address.EVERYWHERE`)."""

    def render(self, shown: Run | Path) -> None:
        """Show the page, of a run; or of a folder of them."""
        importlib.import_module(f"orl_explore.ui.{self.name}").render(shown)


RUN, DATA, STAGE1, STAGE2, STAGE3, JUDGE = (
    *("Runs", "Data", "Stage 1 · images", "Stage 2 · correspondences"),
    *("Stage 3 · objects", "Judge"),
)
"""Sections of the navigation, in the order of the method."""

PAGES = (
    Page(
        "runs",
        "All runs",
        ":material/table_rows:",
        "What each run is, how far it is and how good it turned out; ticked ones are laid over each other.",
        RUN,
        image=False,
        of_all=True,
    ),
    Page(
        "overview",
        "Overview",
        ":material/dashboard:",
        "What this run is, how far it is, and how good each stage turned out to be (paper sections 3 and 4).",
        RUN,
        image=False,
        parameters=("tab",),
    ),
    Page(
        "data",
        "Images",
        ":material/photo_library:",
        "The images of this run, what was left out, and what else was found in files and annotations.",
        DATA,
        image=False,
    ),
    Page(
        "stage1",
        "Training of images",
        ":material/show_chart:",
        "How the encoder learned from whole images: two views of one image are to look alike (paper section 3.1).",
        STAGE1,
        image=False,
    ),
    Page(
        "neighbors",
        "Neighbors",
        ":material/hub:",
        "The images that the stage 1 encoder finds most similar to one image: where its corresponding objects are"
        " looked for (paper section 3.2).",
        STAGE2,
        of_rule=True,
        parameters=("tab",),
    ),
    Page(
        "proposals",
        "Proposals",
        ":material/crop_free:",
        "The boxes that selective search proposes as objects, and which of them the filter keeps (paper section 3.2).",
        STAGE2,
        parameters=("tab", "region"),
    ),
    Page(
        "pairs",
        "RoI pairs",
        ":material/join_inner:",
        "Which boxes of an image and of its neighbor are taken to show the same kind of object: the most similar"
        " ones (paper section 3.2).",
        STAGE2,
        of_rule=True,
        parameters=(
            *("rank", "pair", "tab", "boxes", "place", "by", "look", "reviewer"),
            *("k", "ratio", "least", "mutual", "one"),
        ),
    ),
    Page(
        "all_pairs",
        "All pairs",
        ":material/apps:",
        "The accepted pairs of all images, doubtful ones first: what stage 3 learns from, to be looked at and judged.",
        STAGE2,
        image=False,
        of_rule=True,
        parameters=("pairs", "judging", "at", "tab", "reviewer"),
    ),
    Page(
        "sample",
        "A training sample",
        ":material/model_training:",
        "Exactly what stage 3 sees of one image in one epoch, and the three losses on it (paper section 3.3).",
        STAGE3,
    ),
    Page(
        "object_map",
        "Object map",
        ":material/scatter_plot:",
        "Every kept box as one point: near points are boxes that look alike to the encoder, as in the search for pairs"
        " (paper section 3.2).",
        JUDGE,
        image_by=(("color", "image"),),
        parameters=("encoder", "versus", "view", "layout", "color", "legend", "show", "region", "selected"),
    ),
    Page(
        "compare",
        "Compare",
        ":material/compare_arrows:",
        "Two encoders on the same boxes and images: what the second knows of objects that the first does not, and"
        " how surely (paper section 4).",
        JUDGE,
        parameters=("a", "b", "tab", "part", "category", "region"),
    ),
)


WARM_UP = 1.5
"""Seconds that the first page has to itself, until the libraries of the others are loaded."""

SWITCH = 0.0005
"""Seconds that loading libraries keeps the interpreter from a reader: a page takes turns with it hundreds of times."""

STYLE = f"""
.stMainBlockContainer {{ padding: 2rem 3rem 3rem }}
.stMain h1 {{ padding: 0 }}
{tiles.STYLE}
[class*=st-key-whole] img {{ max-height: min(45vh, 380px); object-fit: contain; object-position: 0 0 }}
[class*=st-key-{state.LIVE}], [class*=st-key-{state.LIVE}] [data-stale] {{
  opacity: 1 !important; transition: none !important
}}
.st-key-outbox {{ position: absolute }}
.st-key-image-chooser img {{ height: 3.5rem; object-fit: contain }}
.st-key-pairs-neighbor button {{ min-height: 2rem; padding: 0 0.6rem }}
.st-key-pairs-neighbor .stCheckbox {{ margin: 0.3rem 0 0 1rem }}
.st-key-image-chooser button {{ min-height: 2.2rem; padding: 0.1rem 0.6rem }}
[data-testid=stMetricValue] *, [data-testid=stMetricLabel] * {{ white-space: normal; overflow: visible }}
[data-testid=stElementToolbarButton]:has([aria-label^="Download"]) {{ display: none }}
[class*=st-key-compare-why] [data-testid=stMarkdownContainer],
[class*=st-key-compare-look-at] [data-testid=stMarkdownContainer] {{
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)
}}
.st-key-all-pairs-folded {{ display: none }}
.st-key-all-pairs-sides [role=tablist] {{ gap: 0.6rem }}
[class*=st-key-walk-] button * {{ white-space: normal }}
[data-testid=stSidebarNav] a {{ min-height: 1.7rem }}
@media (max-width: 1100px) {{
  .stMainBlockContainer {{ padding: 4rem 1.2rem 2rem }}
  .stMain h1 {{ font-size: 1.6rem }}
  [data-testid=stMetricValue] {{ font-size: 1.5rem }}
  .stMarkdown table {{ display: block; max-width: 100%; overflow-x: auto }}
  .stMarkdown td:not(:first-child) {{ white-space: nowrap }}
  .stMarkdown td:first-child {{ min-width: 8rem }}
  .st-key-image-chooser {{ flex-wrap: nowrap; gap: 0.3rem }}
  .st-key-image-chooser button [data-testid=stMarkdownContainer] {{
    position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)
  }}
}}
@media (max-width: 1100px) and (min-width: 700px) {{
  .st-key-all-pairs-sides > div > .stHorizontalBlock > .stColumn {{ flex: 1 1 0 }}
  .st-key-all-pairs-sides > div > .stHorizontalBlock > .stColumn:first-child {{ flex: 1.2 1 0 }}
}}
@media (max-width: 700px) {{
  .st-key-object-map-view > div > .stHorizontalBlock > .stColumn {{ min-width: 0; flex: 1 1 40% }}
  .st-key-all-pairs-inline [data-testid=stColumn]:not(:last-child) {{ display: none }}
  .st-key-all-pairs-folded {{ display: flex }}
  .st-key-head .stTextInput {{ flex: 1 1 0; min-width: 8rem }}
  .st-key-search-open [data-testid=stMarkdownContainer] {{
    position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)
  }}
}}
"""
"""Less white around the page, and room for the header on narrow screens; no picture is taller than half the screen;
figures are never cut off. Streamlit's own download of tables is hidden, as a spreadsheet would
execute cells of it: pages offer files of their own. Buttons that show an icon alone keep their name for screen readers.
"""


@lru_cache(maxsize=1)
def _icon() -> Image.Image:
    """Two boxes that correspond. Drawn here: Streamlit would fetch a named icon from a server of Google's."""
    icon = Image.new("RGBA", (64, 64))
    drawing = ImageDraw.Draw(icon)
    drawing.rectangle((4, 4, 40, 40), outline="#0072B2", width=8)
    drawing.rectangle((24, 24, 60, 60), outline="#D55E00", width=8)
    return icon


def _no_run(root: Path) -> None:
    """Say what to type; the page comes to life when a run appears."""
    st.title("ORL Explore")
    st.info(f"There is no run in {state.plain(str(root))} yet. Make one, and it appears here by itself:")
    st.code("orl explore ~/Pictures\nmake demo", language="sh")

    @st.fragment(run_every=2.0)
    def wait() -> None:
        if state.list_runs(root):
            st.rerun()

    wait()


def _choose_run(root: Path, names: list[str]) -> str:
    """The run that the address names; the reader can choose another."""

    def named(wanted: str | None) -> str:
        if wanted in names:
            return wanted
        if wanted is not None:
            st.warning("The link names a run that is not here; another one is shown.")
        held = st.session_state.get("run")
        return held if held in names else names[0]

    changed = state.follow("run", "run", read=named, write=str)
    if st.session_state["run"] not in names:
        st.session_state["run"] = names[0]
    return str(st.selectbox("Run", names, key="run", help=f"The runs in {root}", on_change=changed))


_warmed_up = threading.Event()


def _warm_up(run: Run) -> None:
    """Load what the other pages need while the first one is being read, once: PyTorch alone takes seconds."""
    if not _warmed_up.is_set():
        _warmed_up.set()
        timer = threading.Timer(WARM_UP, _load_pages, [run])
        timer.daemon = True
        timer.start()


def _load_pages(run: Run) -> None:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    with suppress(ImportError):  # the page that needs it says so
        for page in PAGES:
            importlib.import_module(f"orl_explore.ui.{page.name}")
    with suppress(OrlError):  # likewise
        state.images(run)
    sys.setswitchinterval(usual)
    # Streamlit looks for garbage after every run of the script, and looked through these libraries for 0.2 s each time.
    gc.collect()
    gc.freeze()


def _navigate() -> Page:
    """The page that the address names, by Streamlit's own navigation; old links (`?page=pairs`) lead there, too."""
    made = {page.name: _streamlit_page(page) for page in PAGES}
    st.session_state["pages"] = made
    sections: dict[str, list[Any]] = {}
    for page in PAGES:
        sections.setdefault(page.section, []).append(made[page.name])
    shown = st.navigation(sections, expanded=True)
    current = next(page for page in PAGES if made[page.name].url_path == shown.url_path)
    # A link to a run without a page, as they once were, is one to its overview.
    otherwise = "overview" if current.of_all and address.get("run") is not None else current.name
    wanted = st.session_state.pop("go to", None) or address.get("page") or otherwise
    if address.get("page") is not None:
        address.put(page=None)
    if wanted not in made:
        st.warning("The link names a page that does not exist.")
    elif wanted != current.name:
        target = next(page for page in PAGES if page.name == wanted)
        kept = st.session_state.get("address", {})
        st.switch_page(made[wanted], query_params=_parameters(target, kept | address.parameters()))
    return current


def _streamlit_page(page: Page) -> Any:
    def nothing() -> None:
        """What a page shows is drawn by `main`."""

    return st.Page(nothing, title=page.title, icon=page.icon, url_path=page.name, default=page is PAGES[0])


def _parameters(page: Page, named: dict[str, str]) -> dict[str, str]:
    """Those parameters that are the page's."""
    own = () if page.of_all else (*address.EVERYWHERE, *page.parameters)
    return {key: value for key, value in named.items() if key in own}


def _take_along(page: Page) -> None:
    """Streamlit's navigation opens a page without parameters: run, image, and what the page had before, come along."""
    named = address.parameters()
    kept = {} if "run" in named else st.session_state.get("address", {})
    if (wanted := _parameters(page, kept | named)) != named:
        address.become(wanted)


def _keep(page: Page) -> None:
    """Remember what the address names, for other pages and for a later visit to this one."""
    named, kept = address.parameters(), dict(st.session_state.get("address", {}))
    gone = [*address.EVERYWHERE, *page.parameters]
    if any(named.get(name) != kept.get(name) for name in ("run", "image")):
        gone += address.OF_IMAGE
    for name in gone:
        kept.pop(name, None)
    st.session_state["address"] = kept | {name: named[name] for name in address.KEPT if name in named}


def main() -> None:
    """Show the page that the address names, of the run that it names."""
    st.set_page_config(page_title="ORL Explore", page_icon=_icon(), layout="wide")
    st.html(f"<style>{STYLE}</style>")
    root = Path(os.environ.get("ORL_RUNS", "runs"))
    names = state.list_runs(root)
    if not names:
        _no_run(root)
        return
    page = _navigate()
    _take_along(page)
    with st.container(key="outbox"):
        pair_outbox.show()
    with st.sidebar:
        name = _choose_run(root, names)
    if not page.of_all:
        st.session_state["run in address"] = name
        if address.get("run") != name:
            address.put(run=name)
    st.session_state["page"] = page.name
    st.session_state["page looks at an image"] = page.image
    st.session_state["page shows an image by"] = dict(page.image_by)
    st.session_state[address.OWN] = (*address.EVERYWHERE, *page.parameters)
    head = st.container(horizontal=True, vertical_alignment="center", key="head")
    head.title(page.title, anchor=False)
    about = st.empty()
    about.caption(page.sentence)
    if page.of_all:
        with head, suppress(OrlError):  # of the run that is chosen beside it
            searching.bar(state.open_run(root, name))
        with state.explained(f"page {page.name}"):
            page.render(root)
        return
    with state.explained(f"page {page.name} of {name}"):
        run = state.open_run(root, name)
        if page.of_rule and (given := run.given()):
            about.caption(given)
        with head, suppress(OrlError):  # without images there is nothing to find, as the page says
            searching.bar(run)
        with suppress(OrlError):  # likewise
            # Here, so that a link to what is not there is answered at the top of every page.
            image_filter.chosen(run)
            _ = page.image and state.chosen_image(run)
        try:
            page.render(run)
        except OrlError as error:
            from orl_explore.ui import waiting

            waiting.wait(run, error)
        finally:
            _keep(page)
            _warm_up(run)
