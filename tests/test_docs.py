"""The documentation: everything that is linked is there, every page of the dashboard is shown, and the site builds."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from plotly import graph_objects as go

from orl_explore.ui.shell import PAGES
from training.cli.command import manual

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PROSE = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(DOCS.glob("*.md")),
    *sorted((ROOT / "benchmarks" / "results").glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]
PYTHON = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL))
]
NOTEBOOKS = [path.stem for path in PROSE if path.suffix == ".ipynb"]


def entries(nav: Any) -> Iterator[str]:
    """Paths and patterns of the navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(part)


def prose(path: Path) -> str:
    """A page's Markdown without code, in which brackets mean something else."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "code", text)


def links(path: Path) -> list[str]:
    """What a page links to, other sites apart."""
    found = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(path))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings: lower case, punctuation away, spaces as hyphens."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_anchors_are_those_of_code_hosts_and_of_the_site(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# What it is worth\n## `run.json`, and more\n```sh\n# not a heading\n```\n")
    assert anchors(page) == {"what-it-is-worth", "runjson-and-more"}


def test_links_are_found_and_code_is_not_taken_for_them(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("[a](b.md#c), ![d](e.png), [`f`](../g.py), [h](https://i.org), `x[0](1)`\n```\n[j](k.md)\n```\n")
    assert links(page) == ["b.md#c", "e.png", "../g.py"]


def test_everything_in_the_navigation_is_there():
    for entry in entries(CONFIG["nav"]):
        assert list(ROOT.glob(entry)), entry


def test_every_written_page_is_in_the_navigation():
    assert {path.relative_to(ROOT).as_posix() for path in DOCS.glob("*.md")} <= set(entries(CONFIG["nav"]))


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_resolve(path):
    for link in links(path):
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.is_file(), link
        assert ROOT in file.parents, link
        if anchor:
            assert anchor in anchors(file), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_of_the_dashboard_is_in_the_guide(page):
    picture = f"images/app-{page.name.replace('_', '-')}.png"
    section = (DOCS / "dashboard.md").read_text().partition(f"\n## {page.title}\n")[2].partition("\n## ")[0]
    assert f"]({picture})" in section
    assert Image.open(DOCS / picture).size == (1280, 800)


def test_the_page_of_commands_has_each():
    tables = re.findall(r"^\| .*", (DOCS / "commands.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"`orl ([a-z0-9-]+)`", "".join(tables))
    assert sorted(named) == sorted(manual())


@pytest.mark.parametrize("table", ["seed by seed", "more than stage 3"])
def test_the_tables_of_the_claim_are_those_that_were_measured(table):
    found = [
        re.findall(rf"^\| {table} .*\n(?:\|.*\n)+", path.read_text(encoding="utf-8"), re.M)
        for path in (DOCS / "claim.md", ROOT / "benchmarks" / "results" / "claim-scenes.md")
    ]
    assert len(found[0]) == 1
    assert found[0] == found[1]


@pytest.mark.parametrize(("section", "results"), [("The stages", "scenes"), ("Disguised drawings", "disguise")])
def test_figures_of_the_claim_are_those_that_were_measured(section, results):
    """Means with their spread: in the row of their figure, known or new, in the tables that `claim.py` wrote."""
    page = re.split(r"^##+ ", (DOCS / "claim.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in page if part.startswith(f"{section}\n")]
    measured = (ROOT / "benchmarks" / "results" / f"claim-{results}.md").read_text(encoding="utf-8")
    known = {}
    for head, rows in re.findall(r"^\| (known|new) instances \| seeds (.*\n(?:\|.*\n)+)", measured, re.MULTILINE):
        figures, _, *arms = ([cell.strip() for cell in row.split("|")[1:-1]] for row in rows.splitlines())
        for place, figure in enumerate(figures):
            known[f"{figure}, {head} instances"] = {arm[2 + place].partition(" (")[0] for arm in arms}
    shown = re.findall(r"^\| ([^|]*instances) \|(.* ± .*)\|$", text, re.MULTILINE)
    assert len(shown) >= 7
    for figure, cells in shown:
        values = {value.group() for cell in cells.split("|") if (value := re.match(r" [\d.]+ ± [\d.]+", cell))}
        assert {value.strip() for value in values} <= known[figure]


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON)
def test_printed_python_works(block, finished, images, tmp_path, monkeypatch):
    """With a run as the demo's, and a folder of pictures; a picture's id is one that is there."""
    shutil.copytree(finished.path, tmp_path / "runs" / "demo")
    shutil.copytree(images.roots[0], tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(go.Figure, "show", lambda figure: figure.to_json())
    some_id = images.table["image_id"].iloc[0]
    exec(compile(re.sub(r"image_id=\d+", f"image_id={some_id}", block), "docs", "exec"), {})


@pytest.mark.parametrize("path", sorted(DOCS.glob("images/*-*.png")), ids=lambda path: path.name)
def test_pictures_are_small_and_used(path):
    assert path.stat().st_size < 300_000
    assert any(f"images/{path.name})" in page.read_text() for page in PROSE if page.suffix == ".md")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    if not os.environ.get("CI"):
        pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_every_page(site):
    sources = [path for package in ("orl_explore", "training") for path in (ROOT / package).rglob("*.py")]
    public = [path for path in sources if not path.name.startswith("_") and "ui" not in path.parts]
    modules = [path.relative_to(ROOT) for path in public]
    assert [module for module in modules if not (site / module.with_suffix(".html")).is_file()] == []
    assert [path.stem for path in sorted(site.glob("notebooks/*.html"))] == [*NOTEBOOKS, "orl_in_one_file"]
    # Home is docs/index.md, and a link to a notebook's source file leads to its page.
    assert 'href="notebooks/01_quickstart.html"' in (site / "index.html").read_text()
    assert "match_regions" in (site / "orl_explore" / "pairs.html").read_text()
    commands = (site / "commands.html").read_text()
    assert [name for name in manual() if f'id="orl-{name}"' not in commands] == []
    assert "stage1.epochs" in commands.partition('id="settings"')[2]


@pytest.mark.slow
def test_no_page_needs_the_network(site):
    # Links may lead anywhere; what a browser fetches by itself has to come from the site.
    by_page = re.compile(r"<(script|img|iframe|source)\b[^>]*\bsrc=[\"']?(https?:)?//|<link\b[^>]*\bhref=[\"']?https?:")
    by_style = re.compile(r"(url\(|@import )[\"']?https?:")
    assert [str(page) for page in site.rglob("*.html") if by_page.search(page.read_text())] == []
    assert [str(style) for style in site.rglob("*.css") if by_style.search(style.read_text())] == []


@pytest.mark.slow
def test_formulas_are_drawn_without_a_script(site):
    for page in (site / "how-it-works.html", site / "notebooks" / "02_stage1_byol.html"):
        text = page.read_text()
        assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in text
        assert "arithmatex" not in text
