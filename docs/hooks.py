"""What the site needs beyond MkDocs: files keep their places in the repository, so that links work on a code host and
here; a notebook and a Python module are pages; formulas are MathML, which browsers draw without any script.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import re
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

from training.cli.command import main, manual

ROOT = Path(__file__).parent.parent
OTHERS = ("docs/*.md", "docs/*.css", "docs/images/*", "CONTRIBUTING.md", "LICENSE")
"""What is on the site besides the patterns and pages of the navigation."""


class Page(File):
    """A page that is not written in Markdown."""

    def is_documentation_page(self) -> bool:
        """Let MkDocs make a page of it, whatever its suffix."""
        return True


def on_config(config: Any) -> Any:
    """Replace every pattern of the navigation by the files that it matches."""
    config.nav = _expanded(config.nav)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Take the files of the repository that belong to the site, under their paths there."""
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    for path in sorted({*_paths(config.nav), *(path for pattern in OTHERS for path in _matches(pattern))}):
        for file in _files(path, config):
            files.append(file)
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Let the page of the commands end with what each says of itself, and with every setting."""
    if page.file.src_uri != "docs/commands.md":
        return markdown
    os.environ["COLUMNS"] = "100"  # of the help, whoever builds the site
    settings = io.StringIO()
    with contextlib.redirect_stdout(settings):
        main(["config"])
    parts = {**{f"orl {name}": text for name, text in manual().items()}, "Settings": settings.getvalue()}
    return "\n".join([markdown, *(f"## {name}\n\n```text\n{text}```\n" for name, text in parts.items())])


def on_page_content(content: str, **_: Any) -> str:
    """Turn the formulas that Arithmatex has marked into MathML, and keep source code out of the search."""
    content = content.replace(
        '<details class="mkdocstrings-source">', '<details class="mkdocstrings-source" data-search-exclude>'
    )
    inline = re.sub(
        r'<span class="arithmatex">\\\((.*?)\\\)</span>', lambda match: _mathml(match, "inline"), content, flags=re.S
    )
    return re.sub(
        r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', lambda match: _mathml(match, "block"), inline, flags=re.S
    )


def _matches(pattern: str) -> list[str]:
    """Files that match, by their paths in the repository; modules whose name begins with `_` are nobody's business."""
    paths = [path.relative_to(ROOT) for path in sorted(ROOT.glob(pattern))]
    return [path.as_posix() for path in paths if not (path.suffix == ".py" and path.name.startswith("_"))]


def _expanded(nav: Any) -> Any:
    if isinstance(nav, dict):
        return {title: _expanded(part) for title, part in nav.items()}
    if isinstance(nav, list):
        return [entry for part in map(_expanded, nav) for entry in (part if isinstance(part, list) else [part])]
    if "*" not in nav:
        return nav
    return [{Path(path).stem: path} if path.endswith(".py") else path for path in _matches(nav)]


def _paths(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [path for part in (nav.values() if isinstance(nav, dict) else nav) for path in _paths(part)]


def _files(path: str, config: Any) -> list[File]:
    """A source file as MkDocs takes it; with a notebook come its pictures and the notebook itself, to download."""
    target = path.removeprefix("docs/")
    make = Page if path.endswith((".py", ".ipynb")) else File
    page = make(path, str(ROOT), config.site_dir, config.use_directory_urls)
    page.dest_uri = str(Path(target).with_suffix(".html")) if page.is_documentation_page() else target
    if path.endswith(".py"):
        page.content_string = _module(path)
    if not path.endswith(".ipynb"):
        return [page]
    stem, folder = Path(path).stem, Path(path).parent
    page.content_string, pictures = _notebook(ROOT / path)
    attached = {f"{stem}_files/{stem}.ipynb": (ROOT / path).read_bytes(), **pictures}
    return [page, *(File.generated(config, f"{folder}/{name}", content=data) for name, data in attached.items())]


def _module(path: str) -> str:
    """The page of a Python file: its documentation, or all of it where it is no part of a package, but a lesson."""
    if path.startswith("notebooks/"):
        return f"# {Path(path).name}\n\n````python\n{(ROOT / path).read_text(encoding='utf-8')}````\n"
    module = path.removesuffix(".py").replace("/", ".")
    return f"# {module} {{ #{module} }}\n\n::: {module}\n"


def _notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """A stored notebook as Markdown, with its pictures; nothing is run."""
    resources = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    body, resources = MarkdownExporter().from_notebook_node(nbformat.read(path, as_version=4), resources)
    body = body.replace("<details>", '<details markdown="1">').replace("![png]", "![What the cell shows]")
    title, _, text = body.partition("\n")
    download = f"[Download this notebook]({path.stem}_files/{path.stem}.ipynb), or open it with `make lab`."
    return f"{title}\n\n{download}\n{text}", resources["outputs"]


def _mathml(match: re.Match[str], display: str) -> str:
    return convert(html.unescape(match[1]).strip(), display=display)
