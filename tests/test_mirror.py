"""`tests/` mirrors the packages: a file a module, or a row in CONTRIBUTING.md that names the file that tests it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
LENGTH = 450

MIRRORS_NOTHING = {
    "browser/test_alike.py": "the dashboard in a real browser",
    "browser/test_compare.py": "the dashboard in a real browser",
    "browser/test_explore.py": "the dashboard in a real browser",
    "browser/test_all_pairs.py": "the dashboard in a real browser",
    "browser/test_map.py": "the dashboard in a real browser",
    "browser/test_pages.py": "the dashboard in a real browser",
    "browser/test_steps.py": "the dashboard in a real browser",
    "test_advice.py": "commands that any module advises",
    "test_architecture.py": "who imports whom",
    "test_benchmarks.py": "benchmarks/make_large_run.py",
    "test_docs.py": "docs/",
    "fuzz/test_fuzz_images.py": "whatever people name as images",
    "fuzz/test_fuzz_imports.py": "whatever people import",
    "interchange/test_encoder_names.py": "one grammar of encoders' names, wherever one is named",
    "test_encoder_inputs.py": "how encoders are fed, wherever they embed",
    "test_gpu_day.py": "benchmarks/gpu_day.py",
    "test_mirror.py": "tests/",
    "test_notebooks.py": "notebooks/",
    "test_orl_in_one_file.py": "notebooks/orl_in_one_file.py",
    "test_packaging.py": "pyproject.toml, environment.yml, Makefile",
    "test_paper.py": "training/configs/coco_paper.yaml",
    "test_printed_commands.py": "commands that the project tells its users to type",
    "ui/test_accessible.py": "what stands in for pictures, charts and tables, on all pages",
    "ui/test_given_pairs.py": "all pages of runs whose pairs were given",
    "training/cli/test_making_again.py": "--overwrite, and stale results, through the commands",
    "training/test_useless.py": "what is of no use is said, through the stages",
    "training/test_foreign_files.py": "files of others, and cut ones, in the folders of a run",
    "training/test_on_gpu.py": "whatever runs on a GPU alone, or differently there",
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
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `((?:orl_explore|training)/\S+\.py)` \| `tests/(\S+\.py)` \|$", text, re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a module stands in the table twice"
    return dict(rows)


def test_every_module_has_its_tests():
    missing, needless = [], []
    for module, mirrored in modules().items():
        if (TESTS / mirrored).exists():
            needless += [module] if module in table() else []
        elif module not in table():
            missing.append(f"tests/{mirrored}")
    assert not missing, "write them, or name in CONTRIBUTING.md what tests these modules"
    assert not needless, "take them out of CONTRIBUTING.md: they have files of their own"


def test_the_table_names_what_is_there():
    assert table()
    assert not set(table()) - set(modules()), "these are no modules"
    assert not [file for file in table().values() if not (TESTS / file).exists()], "these are no files"


def test_every_test_file_has_its_module():
    assert not set(files()) - set(modules().values()) - set(MIRRORS_NOTHING), "these stand beside no module"
    assert not set(modules().values()) & set(MIRRORS_NOTHING), "these stand beside a module and need no exception"


def test_no_test_file_is_long():
    lengths = {file: len((TESTS / file).read_text(encoding="utf-8").splitlines()) for file in files()}
    long = {file: lines for file, lines in lengths.items() if lines > LENGTH and file not in LONGER}
    assert not long, "move some of their tests to files of the modules that they test"
