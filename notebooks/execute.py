"""Run notebooks from clean kernels and store them with their outputs: `make notebooks`, or `make notebooks ARGS=03`.

They work in `build/notebooks`, so that nobody's runs are touched; the later ones go on with what the first made there.
A figure is stored twice: as Plotly's data, which JupyterLab draws, and as a PNG, which a code host shows. The PNGs are
drawn here, by one browser for all of them, so that a kernel needs none.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
import plotly.io
from PIL import Image

FOLDER = Path(__file__).parent
BUILD = FOLDER.parent / "build" / "notebooks"

FIGURE = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDTH = 900
"""Of a stored picture, pixels; its height is the figure's."""
HEIGHT = 450
"""Of figures that name none: Plotly's own."""


def notebooks() -> list[Path]:
    """All notebooks, in the order in which they are meant to be run: the later ones look at the first one's run."""
    return sorted(FOLDER.glob("[0-9]*.ipynb"))


def run_notebook(path: Path, folder: Path, parameters: Mapping[str, Any] | None = None) -> nbformat.NotebookNode:
    """Run a notebook from a clean kernel and give it back with its outputs; the notebook itself is left as it is.

    Args:
        path: the notebook.
        folder: where the kernel works.
        parameters: replace those of its cell with the tag `parameters`.

    Raises:
        papermill.PapermillExecutionError: a cell failed.
    """
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"  # for the kernel, which inherits it
    made = papermill.execute_notebook(
        path, None, parameters=dict(parameters or {}), cwd=folder, kernel_name="python3", progress_bar=False
    )
    return tidy(made)


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take out what differs from one execution to the next without meaning: times, paths, states of widgets."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                output.data = {"text/plain": "Run this cell: its controls need a living kernel."}
    return notebook


def add_pictures(notebook: nbformat.NotebookNode) -> None:
    """Add a PNG to every figure of a notebook. It needs Chrome or Chromium."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    figures = [output.data for output in outputs if FIGURE in output.get("data", {})]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.png" for number in range(len(figures))]
        if files:
            made = [{key: data[FIGURE][key] for key in ("data", "layout")} for data in figures]
            heights = [figure["layout"].get("height", HEIGHT) for figure in made]
            plotly.io.write_images(made, files, width=WIDTH, height=heights)
        for data, file in zip(figures, files, strict=True):
            data["image/png"] = base64.b64encode(small_png(file)).decode()


def small_png(file: Path) -> bytes:
    """Put a picture on white and reduce it to 128 colors, so that stored notebooks stay small."""
    picture = Image.open(file).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    buffer = io.BytesIO()
    flat.quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def require_browser() -> None:
    """End with a message where no picture can be drawn."""
    try:
        plotly.io.to_image({"data": [], "layout": {}}, width=50, height=50)
    except Exception as error:  # of Kaleido, of its browser, or of what lies between
        reason = " ".join(str(error).split())[:300]
        sys.exit(
            "The notebooks' pictures are drawn by Chrome or Chromium, and none can be used here: install one, for"
            " example with `apt-get install chromium` or `plotly_get_chrome`, then type `make notebooks` again."
            f" ({reason})"
        )


@contextlib.contextmanager
def afresh(name: str, folder: Path) -> Iterator[None]:
    """Take away what the notebook of this name made in the folder when it last ran, and note what it makes now.

    Otherwise one that is run alone would find its own stages finished, and store outputs that show nothing.
    """
    note = folder / "made.json"
    made: dict[str, list[str]] = json.loads(note.read_text()) if note.exists() else {}
    for path in made.pop(name, []):
        shutil.rmtree(folder / path, ignore_errors=True)
    before = set(folder.glob("*/*"))
    try:
        yield
    finally:
        new = sorted(path.relative_to(folder).as_posix() for path in set(folder.glob("*/*")) - before)
        note.write_text(json.dumps(made | {name: new}))


def main(names: list[str]) -> None:
    """Run the notebooks whose file names begin with one of the names, or all of them, and store each in place."""
    chosen = [path for path in notebooks() if not names or path.name.startswith(tuple(names))]
    if not chosen:
        sys.exit(f"no notebook begins with {' or '.join(names)}: there are {', '.join(p.name for p in notebooks())}")
    require_browser()
    folder = BUILD / "work"
    if chosen[0] == notebooks()[0]:
        shutil.rmtree(BUILD, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    for path in chosen:
        start = time.monotonic()
        try:
            with afresh(path.name, BUILD):
                made = run_notebook(path, folder)
        except papermill.PapermillExecutionError as error:
            sys.exit(f"{path.name} failed and stays as it was:\n{error}")
        add_pictures(made)
        nbformat.write(made, path)
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {path.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
