"""What a newcomer and the other modules rely on: packaging files in step, import rules, documented formats."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from orl_explore.boxes import REASONS
from orl_explore.runs.run import FORMAT
from orl_explore.runs.tables import ARRAYS, TABLES

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LIBRARY = sorted((ROOT / "orl_explore").rglob("*.py"))
PACKAGES = [*LIBRARY, *sorted((ROOT / "training").rglob("*.py"))]

CONDA_NAMES = {
    "torch": "pytorch",
    "opencv-contrib-python": "py-opencv",
    "playwright": "playwright-python",
    "kaleido": "python-kaleido",
    "duckdb": "python-duckdb",
}
"""Packages with another name on conda-forge; py-opencv has the contrib modules."""

CONDA_ONLY = {
    *("python", "pip"),
    *("docstring-parser", "typeshed-client"),  # what pip installs for jsonargparse[signatures]
}

MODULES = {
    "cv2": "opencv-contrib-python",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "faiss": "faiss-cpu",
    "umap": "umap-learn",
}
"""Modules that are not named after their package."""


def requirements(*extras: str) -> dict[str, Requirement]:
    """Name -> requirement of pyproject's dependencies and of extras."""
    texts = [*PYPROJECT["project"]["dependencies"]]
    for extra in extras:
        texts += PYPROJECT["project"]["optional-dependencies"][extra]
    return {canonicalize_name(r.name): r for r in map(Requirement, texts)}


def constraints() -> dict[str, str]:
    """Name -> pinned version."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def conda() -> dict[str, Requirement]:
    """Name -> requirement of environment.yml."""
    *packages, by_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return {canonicalize_name(r.name): r for r in map(Requirement, [*packages, *by_pip["pip"]])}


def repository_files() -> list[Path]:
    """Every file that belongs to the repository, committed or not."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


# ---- packages ------------------------------------------------------------------------------------------------------


def test_constraints_satisfy_pyproject():
    pins = constraints()
    for name, requirement in requirements("cpu", "dev", "notebooks", "docs", "onnx").items():
        assert name in pins, f"constraints.txt lacks {name}"
        assert requirement.specifier.contains(pins[name]), f"{name}=={pins[name]} is not {requirement}"


def test_constraints_leave_the_cuda_packages_to_torch():
    assert not [name for name in constraints() if name.startswith(("nvidia-", "cuda-", "triton", "faiss-gpu"))]


def test_every_dependency_has_a_lower_bound():
    for requirement in requirements("cpu", "gpu", "dev", "notebooks", "docs", "onnx").values():
        assert [s.operator for s in requirement.specifier] == [">="], requirement


def test_conda_environment_is_in_step_with_pyproject():
    packages = requirements("gpu", "dev", "notebooks", "docs", "onnx")
    wanted = {CONDA_NAMES.get(name, name): r.specifier for name, r in packages.items()}
    found = {name: r.specifier for name, r in conda().items() if name not in CONDA_ONLY}
    assert found == wanted
    assert set(conda()) >= CONDA_ONLY
    assert conda()["python"].specifier == PYPROJECT["project"]["requires-python"]


def test_conda_environment_uses_conda_forge_alone():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == "orl-explore"
    assert set(environment["channels"]) == {"conda-forge", "nodefaults"}


def test_never_both_builds_of_faiss():
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert not [name for name in requirements("dev") if name.startswith("faiss")]
    assert [Requirement(text).name for text in extras["cpu"]] == ["faiss-cpu"]
    assert [Requirement(text).name for text in extras["gpu"]] == ["faiss-gpu"]


def imports(path: Path) -> set[str]:
    """Names of everything that a file imports, in functions, too."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.slow
def test_what_is_imported_is_declared_and_the_other_way_round():
    own = {"orl_explore", "training", *sys.stdlib_module_names}
    modules = {module.partition(".")[0] for path in PACKAGES for module in imports(path)} - own
    used = {canonicalize_name(MODULES.get(module, module)) for module in modules}
    used |= {"pyarrow"}  # pandas' engine for Parquet
    used -= {"ipython"}  # only in a notebook, which has it
    assert used == set(requirements("cpu"))


def test_every_package_is_installed():
    folders = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in PACKAGES}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == folders


# ---- what is imported when ------------------------------------------------------------------------------------------


def python(code: str) -> str:
    """Run code in a fresh Python; returns what it printed."""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_help_does_not_wait_for_heavy_imports():
    # `orl --help` has to answer in under a second; any of these alone takes longer on a cold disk.
    code = """
import contextlib, sys
from training.cli import main
with contextlib.suppress(SystemExit):
    main(["--help"])
heavy = {"torch", "torchvision", "lightning", "jsonargparse", "faiss", "cv2", "pandas", "scipy", "sklearn", "umap"}
heavy |= {"streamlit", "plotly"}
print("heavy:", sorted(heavy & set(sys.modules)))
"""
    printed = python(code)
    assert printed.startswith("usage: orl")
    assert printed.endswith("heavy: []\n")


@pytest.mark.slow
def test_training_imports_without_faiss_opencv_and_jsonargparse():
    # A training machine needs none of them: faiss and OpenCV belong to stage 2, jsonargparse to the command line.
    code = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"faiss", "cv2", "jsonargparse"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
import training.trainer, training.stage1, training.stage3
print("imported")
"""
    assert python(code) == "imported\n"


# ---- make ----------------------------------------------------------------------------------------------------------


def make(*arguments: str) -> str:
    """Output of make, run as if nobody had called make around it."""
    if shutil.which("make") is None:
        pytest.skip("no make here")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    env = {
        name: value for name, value in env.items() if name not in {"APP", "ARGS", "PHOTOS", "FAISS", "VENV", "PYTHON"}
    }
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout


def test_make_says_what_it_can_do():
    lines = make().splitlines()  # without a target: help
    for target in (
        "help",
        "setup",
        "explore",
        "demo",
        "lab",
        "notebooks",
        "docs",
        "docs-serve",
        "test",
        "lint",
        "clean",
    ):
        assert any(line.startswith(f"  {target} ") for line in lines), target
    for variable in re.findall(r"^([A-Z]+) *\?=", (ROOT / "Makefile").read_text(), flags=re.MULTILINE):
        assert any(line.startswith(f"  {variable} ") for line in lines), variable


def test_make_explore_looks_at_a_folder():
    assert '.venv/bin/orl explore "my photos"' in make("--dry-run", "explore", "PHOTOS=my photos")
    home = make("--dry-run", "explore", "PHOTOS=~/Pictures", "APP=0", "ARGS=--encoder=embedded")
    assert f'orl explore "{Path.home()}/Pictures" --no-app --encoder=embedded\n' in home


@pytest.mark.parametrize("variables", [["APP=0"], []])
def test_make_demo_runs_the_pipeline(variables):
    commands = make("--dry-run", "demo", *variables)
    assert "|| .venv/bin/orl scenes data/demo\n" in commands
    assert ".venv/bin/orl run runs/demo --config demo --images data/demo/annotations.json" in commands
    assert ("orl app" in commands) == (not variables)


def test_make_test_checks_style_and_types_before_the_tests():
    commands = make("--dry-run", "test")
    order = [commands.index(f".venv/bin/{tool}\n") for tool in ("ruff check", "ruff format --check", "mypy")]
    order.append(commands.index(".venv/bin/python -m pytest"))
    assert order == sorted(order)


def test_torch_is_installed_first_in_the_version_of_the_constraints():
    commands = make("--dry-run", "setup", "VENV=no-such-folder")
    assert commands.index("'^(torch|torchvision)=='") < commands.index("-e '.[cpu,dev,notebooks,docs,onnx]'")
    assert {"torch", "torchvision"} <= set(constraints())


def test_ci_runs_what_the_readme_says():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert re.search(r"^make test\b", script.read_text(), flags=re.MULTILINE)


def test_pre_commit_runs_what_make_lint_runs():
    hooks = [
        hook["entry"].split()
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    assert [hook[:2] for hook in hooks] == [
        [".venv/bin/ruff", "check"],
        [".venv/bin/ruff", "format"],
        [".venv/bin/mypy"],
    ]


# ---- what is written down ------------------------------------------------------------------------------------------


def test_no_file_names_a_place_on_somebodys_machine():
    # Absolute paths of a home or work folder, and addresses of package registries: true on one machine only.
    place = re.compile(rb"(?<![\w.:/~-])/(?:work|root|home|Users|tmp/w|opt)/\w")
    registry = re.compile(rb"index[-_]url|find[-_]links|files\.pythonhosted|pypi\.org/simple")
    text = [path for path in repository_files() if path.suffix not in {".png", ".jpg", ".npy", ".safetensors"}]
    assert ROOT / "Makefile" in text
    found = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in text
        for pattern in (place, registry)
        if (match := pattern.search(path.read_bytes()))
    ]
    assert not found


def documented_columns(file: str) -> list[tuple[str, str]]:
    """(column, type) of the first table in a file's section of docs/formats.md."""
    sections = re.split(r"^#+ ", (ROOT / "docs" / "formats.md").read_text(), flags=re.MULTILINE)
    (section,) = [section for section in sections if section.startswith(f"`{file}`\n")]
    table = section[section.index("| --- ") :].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \| (\w+) \|", table, flags=re.MULTILINE)


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_documented(name):
    assert documented_columns(TABLES[name].file) == list(TABLES[name].columns.items())


def test_arrays_reasons_and_version_are_documented():
    text = (ROOT / "docs" / "formats.md").read_text()
    for array in ARRAYS.values():
        assert f"| `{array.file}` |" in text
    assert set(re.findall(r"^\| `(\w+)` \| (?:kept|dropped) \|", text, flags=re.MULTILINE)) == set(REASONS)
    assert f"now **{FORMAT}**" in text
