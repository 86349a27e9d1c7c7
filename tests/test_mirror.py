"""`tests/` mirrors the packages: a file a module, or a row in CONTRIBUTING.md that names the file that tests it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
LENGTH = 450

MIRRORS_NOTHING = {
    "browser/test_map.py": "the dashboard in a real browser",
    "browser/test_pages.py": "the dashboard in a real browser",
    "test_architecture.py": "who imports whom",
    "test_benchmarks.py": "benchmarks/",
    "test_docs.py": "docs/",
    "test_mirror.py": "tests/",
    "test_notebooks.py": "notebooks/",
    "test_orl_in_one_file.py": "notebooks/orl_in_one_file.py",
    "test_packaging.py": "pyproject.toml, environment.yml, Makefile",
    "test_paper.py": "training/configs/coco_paper.yaml",
    "test_printed_commands.py": "commands that the project tells its users to type",
    "training/test_scaleout.py": "whole jobs of several processes",
}
"""Test files of no module -> what they test; which of them are there does not matter."""

LONGER = {"test_orl_in_one_file.py": "the whole method, step by step"}


def modules() -> dict[str, str]:
    """Every module -> the test file at the mirrored place, from `tests/`; orl_explore's rooms stand there directly."""
    found = {}
    for package in ("orl_explore", "training"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name not in ("__init__.py", "__main__.py"):
                name = path.relative_to(ROOT)
                folder = name.parent.relative_to("orl_explore") if package == "orl_explore" else name.parent
                found[name.as_posix()] = (folder / f"test_{name.name}").as_posix()
    return found


def files() -> list[str]:
    return sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))


def table() -> dict[str, str]:
    """CONTRIBUTING.md: module -> the file that tests it."""
    rows = re.findall(r"^\| `((?:orl_explore|training)/\S+\.py)` \| `tests/(\S+\.py)` \|$", text(), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a module stands in the table twice"
    return dict(rows)


def text() -> str:
    return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("module", "mirrored"), modules().items(), ids=modules())
def test_every_module_has_its_tests(module, mirrored):
    if module in table():
        assert not (TESTS / mirrored).exists(), f"tests/{mirrored} is there: take {module} out of CONTRIBUTING.md"
    else:
        assert (TESTS / mirrored).exists(), f"write tests/{mirrored}, or name in CONTRIBUTING.md what tests {module}"


def test_the_table_names_what_is_there():
    assert table()
    for module, file in table().items():
        assert module in modules(), f"{module} is no module"
        assert (TESTS / file).exists(), f"tests/{file} is not there"


@pytest.mark.parametrize("file", files())
def test_every_test_file_has_its_module(file):
    assert (file in modules().values()) != (file in MIRRORS_NOTHING), f"tests/{file} stands beside no module"


@pytest.mark.parametrize("file", files())
def test_no_test_file_is_long(file):
    lines = len((TESTS / file).read_text(encoding="utf-8").splitlines())
    assert lines <= LENGTH or file in LONGER, f"tests/{file} has {lines} lines: move some to the modules they test"
