"""The house: who may import whom, no circles, no module of two jobs' length, a docstring in every module."""

from __future__ import annotations

import ast
import itertools
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

METHOD = (
    *("encoder", "embedding", "folding", "byol", "neighbors", "proposals", "selective_search", "boxes", "pairs", "orl"),
    "pretrained",
)
"""What stands at the top of orl_explore, beside the five modules on the ground, which everybody may import."""

FLOORS = (
    ("errors", "nested", "numbers", "ranges", "settings"),
    ("images",),
    ("views",),
    METHOD,
    ("practice", "runs"),
    ("interchange", "judging", "maps"),
    ("figures",),
    ("ui",),
)
"""From the ground up. A module imports its own room and lower floors, never a room beside it or above."""

LENGTH = 450
LONGER = {"orl_explore.selective_search": "one algorithm"}

ONLY_IN = {
    "streamlit": ("orl_explore.ui", "app"),
    "lightning": ("training",),
    "yaml": ("training", "orl_explore.images.class_files"),
    "jsonargparse": ("training",),
}
"""Package -> where alone it is imported."""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for package in ("orl_explore", "training") for path in (ROOT / package).rglob("*.py")}
MODULES["app"] = ROOT / "app.py"


@cache
def imports(module: str) -> frozenset[str]:
    """Everything that a module imports, in functions and for type checkers, too; our own by their full names."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return frozenset(found)


def room_of(module: str) -> str:
    return module.split(".")[1]


def floor_of(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room_of(module) in rooms)


LIBRARY = sorted(name for name in MODULES if name.startswith("orl_explore."))


def test_the_top_of_the_library_is_the_method():
    files = {path.stem for path in (ROOT / "orl_explore").glob("*.py")} - {"__init__"}
    rooms = {path.name for path in (ROOT / "orl_explore").iterdir() if (path / "__init__.py").exists()}
    assert files == {*METHOD, "errors", "nested", "numbers", "ranges", "settings"}
    assert files | rooms == set(itertools.chain(*FLOORS))


@pytest.mark.parametrize("module", LIBRARY)
def test_imports_go_down(module):
    """`training` imports `orl_explore`, which imports nothing of ours; in it, every floor imports lower ones."""
    ours = {name for name in imports(module) if name.partition(".")[0] in ("orl_explore", "training", "app")}
    ours.discard("orl_explore")  # its version
    assert not {name for name in ours if not name.startswith("orl_explore.")}
    above = {name for name in ours if floor_of(name) > floor_of(module)}
    beside = {name for name in ours if floor_of(name) == floor_of(module) and room_of(name) != room_of(module)}
    assert not above
    assert floor_of(module) in (0, FLOORS.index(METHOD)) or not beside  # steps of the method are read one after another


def test_no_circles():
    graph = {name: imports(name) & MODULES.keys() for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("package", ONLY_IN)
def test_what_is_imported_in_one_place_only(package):
    users = {name for name in MODULES if package in {found.partition(".")[0] for found in imports(name)}}
    assert users
    assert not {name for name in users if not f"{name}.".startswith(tuple(f"{place}." for place in ONLY_IN[package]))}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_size_and_docstring(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= LENGTH or module in LONGER
    assert module != "app" or len(text.splitlines()) <= 50


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith("orl_explore.ui.")))
def test_pages_write_no_csv_but_by_the_function_that_escapes_formulas(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "to_csv"]
