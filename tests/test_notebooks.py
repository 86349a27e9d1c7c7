"""The notebooks: what is stored reads well on a page, and all of them run from a clean kernel."""

from __future__ import annotations

import ast
import base64
import contextlib
import importlib.util
import io
import json
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from PIL import Image

from orl_explore.runs.run import Run

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]

FIGURE = "application/vnd.plotly.v1+json"

SMALL = [
    *("--precision", "fp32", "--workers", "0"),
    *("--stage1.encoder.backbone", "timm:test_resnet", "--stage1.encoder.hidden", "32", "--stage1.encoder.dim", "16"),
    *("--stage3.encoder.backbone", "timm:test_resnet", "--stage3.encoder.hidden", "32", "--stage3.encoder.dim", "16"),
    *("--stage1.batch_size", "8", "--stage1.image_size", "32", "--stage1.epochs", "2"),
    *("--stage3.batch_size", "8", "--stage3.image_size", "32", "--stage3.epochs", "2", "--stage3.patch_size", "16"),
    *("--stage2.image_size", "32", "--stage2.neighbors", "3", "--stage2.min_side", "16"),
    *("--stage1.warmup_epochs", "0.5", "--stage3.warmup_epochs", "0.5"),
]
"""Settings for a first notebook of seconds."""

PARAMETERS: dict[str, dict[str, Any]] = {
    "01_quickstart": {"SCENES": 24, "SETTINGS": SMALL},
    "02_stage1_byol": {"STEPS": 3, "IMAGES": 8, "SMALL": SMALL},
    "03_stage2_correspondence": {"NEIGHBORS": [1, 2], "RATIOS": [0.1, 0.5], "EPOCHS": 1},
    "04_stage3_orl": {"SEEDS": [0, 1], "EPOCHS": 2, "SCENES": 24},
    "05_explore_embeddings": {"LIMIT": 200, "CLUSTERS": 4},
    "06_debugging": {"SCENES": 24, "EPOCHS": 2},
    "07_your_own_images_and_coco": {
        "TILES": 16,
        "SECONDS": 0.05,
        "SETTINGS": SMALL,
        "EXPLORE": ["--stage2.encoder_size=64", "--stage2.max_boxes=5", "--workers=0"],
    },
}
"""What shrinks a notebook."""


@pytest.fixture(scope="module")
def execute() -> ModuleType:
    """notebooks/execute.py."""
    spec = importlib.util.spec_from_file_location("execute", ROOT / "notebooks" / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def solutions(notebook: nbformat.NotebookNode) -> list[str]:
    """Code of the folded solutions."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    folded = "\n".join(re.findall(r"<details>(.*?)</details>", text, flags=re.DOTALL))
    return re.findall(r"```python\n(.*?)```", folded, flags=re.DOTALL)


def warnings_of_ours(notebook: nbformat.NotebookNode) -> list[str]:
    """Lines of stderr with a warning that points at our packages or at a cell."""
    text = "".join(output.text for output in outputs(notebook) if output.get("name") == "stderr")
    ours = re.compile(r"(?:orl_explore|training|ipykernel_\d+)/\S*\.py:\d+: \w*Warning")
    return [line for line in text.splitlines() if ours.search(line)]


# ---- what is stored ------------------------------------------------------------------------------------------------


def test_there_are_notebooks():
    assert NAMES[0] == "01_quickstart"


@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs_are_whole_and_in_order(name):
    cells = code_cells(read(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run `make notebooks`"
    found = [output for cell in cells for output in cell.outputs]
    assert not [output for output in found if output.output_type == "error"]
    assert not [output.text for output in found if output.get("name") == "stderr"]
    assert "finished: skipped" not in json.dumps(found)  # the work was there before, and the outputs do not show it


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_every_stored_figure_has_a_picture(name):
    figures = [output.data for output in outputs(read(name)) if FIGURE in output.get("data", {})]
    assert figures
    for data in figures:
        picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
        assert picture.width == 900
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 2  # something is drawn


@pytest.mark.parametrize("name", NAMES)
def test_stored_files_are_small(name):
    assert (ROOT / "notebooks" / f"{name}.ipynb").stat().st_size < 2_000_000


@pytest.mark.parametrize("name", NAMES)
def test_no_output_names_a_place_on_somebodys_machine(name):
    place = re.compile(r"(?<![\w.:/~<-])/(?:work|root|home|Users|tmp|opt|usr|var|mnt|private)/\w")
    texts = [
        json.dumps(output.get("text", ""))
        + json.dumps({k: v for k, v in output.get("data", {}).items() if "png" not in k})
        for output in outputs(read(name))
    ]
    assert not [match.group() for text in texts if (match := place.search(text)) or str(ROOT) in text]


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_hold_no_logic_of_their_own(name):
    for cell in code_cells(read(name)):
        assert len(cell.source.splitlines()) <= 30, cell.source
        for node in ast.walk(ast.parse(cell.source)):  # so there are no magic commands either
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 10, node.name


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_have_parameters_and_exercises_with_folded_solutions(name):
    notebook = read(name)
    assert [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert text.count("<details><summary>Solution</summary>") == text.count("</details>") >= 2
    for code in solutions(notebook):
        ast.parse(code)


@pytest.mark.parametrize("name", NAMES)
def test_links_between_notebooks_lead_somewhere(name):
    text = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / "notebooks" / target).exists(), target


# ---- how they are stored -------------------------------------------------------------------------------------------


def notebook_of(source: str, data: dict[str, Any]) -> nbformat.NotebookNode:
    """A notebook of one cell with one output."""
    output = nbformat.v4.new_output("display_data", data)
    cell = nbformat.v4.new_code_cell(source, outputs=[output], metadata={"papermill": {"duration": 3.1}, "tags": []})
    return nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}, "papermill": {"version": 1}})


def test_tidy_leaves_nothing_that_changes_by_itself(execute):
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "f00"}, "text/plain": "IntSlider()"}
    made = execute.tidy(notebook_of("1", widget))
    assert set(made.metadata) == {"kernelspec", "language_info"}
    assert made.cells[0].metadata == {}
    assert set(made.cells[0].outputs[0].data) == {"text/plain"}


def test_pictures_are_put_on_white_with_few_colors(execute, tmp_path):
    picture = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 10, 20))
    picture.save(tmp_path / "a.png")
    found = Image.open(io.BytesIO(execute.small_png(tmp_path / "a.png")))
    assert found.mode == "P"
    colors = {color for _, color in found.convert("RGB").getcolors()}
    assert colors == {(255, 0, 0), (255, 255, 255)}


def test_figures_get_pictures_by_a_browser(execute, monkeypatch):
    drawn = []

    def write_images(figures, files, *, width, height):
        for figure, file, high in zip(figures, files, height, strict=True):
            drawn.append((set(figure), width, high))
            Image.new("RGBA", (9, 9), "red").save(file)

    monkeypatch.setattr(execute.plotly.io, "write_images", write_images)
    made = notebook_of("figure", {FIGURE: {"data": [], "layout": {"height": 9}, "config": {}}})
    execute.add_pictures(made)
    assert drawn == [({"data", "layout"}, execute.WIDTH, 9)]
    data = made.cells[0].outputs[0].data
    assert data[FIGURE]["layout"] == {"height": 9}  # the figure itself stays as wide as its page
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")


def test_without_a_browser_there_is_advice(execute, monkeypatch):
    def nothing(*_: object, **__: object) -> None:
        raise RuntimeError("no browser")

    monkeypatch.setattr(execute.plotly.io, "to_image", nothing)
    with pytest.raises(SystemExit, match=r"Chrome or Chromium.*install one.*no browser"):
        execute.main([])


def test_a_notebook_finds_what_others_made_and_not_what_it_made_itself(execute, tmp_path):
    with execute.afresh("01.ipynb", tmp_path):
        (tmp_path / "runs" / "first").mkdir(parents=True)
    with contextlib.suppress(KeyboardInterrupt), execute.afresh("02.ipynb", tmp_path):
        (tmp_path / "runs" / "second").mkdir()
        (tmp_path / "data" / "second").mkdir(parents=True)
        raise KeyboardInterrupt
    with execute.afresh("02.ipynb", tmp_path):
        assert [path.name for path in tmp_path.glob("*/*")] == ["first"]
        (tmp_path / "runs" / "second").mkdir()
    with execute.afresh("03.ipynb", tmp_path):
        assert sorted(path.name for path in tmp_path.glob("*/*")) == ["first", "second"]


def test_an_unknown_notebook_is_refused(execute):
    with pytest.raises(SystemExit, match="no notebook begins with 99: there are 01_quickstart"):
        execute.main(["99"])


def test_warnings_of_our_code_are_told_from_those_of_others():
    lines = [
        "/a/orl_explore/boxes.py:12: UserWarning: ours",
        "/tmp/ipykernel_77/1.py:1: DeprecationWarning: of a cell",
        "/a/site-packages/umap/umap_.py:1952: UserWarning: of a library",
    ]
    output = nbformat.v4.new_output("stream", name="stderr", text="\n".join(lines))
    cell = nbformat.v4.new_code_cell("1", outputs=[output])
    assert warnings_of_ours(nbformat.v4.new_notebook(cells=[cell])) == lines[:2]


# ---- that they run -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_and_its_solutions_run(name, execute, tmp_path, request):
    # The first notebook makes the run that most of the others go on with; they get one that is finished.
    work = tmp_path / "work"
    work.mkdir()
    if name != NAMES[0]:
        finished: Run = request.getfixturevalue("finished")
        shutil.copytree(finished.path, tmp_path / "runs" / "quickstart")
    notebook = read(name)
    given = "\n".join(cell.source for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", []))
    for key in PARAMETERS[name]:
        assert re.search(rf"^{key} =", given, flags=re.MULTILINE), f"{key} is no parameter of {name}"
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in solutions(notebook)]
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    made = execute.run_notebook(tmp_path / "notebook.ipynb", work, PARAMETERS[name])
    assert not warnings_of_ours(made)
    assert [output for output in outputs(made) if FIGURE in output.get("data", {})]
