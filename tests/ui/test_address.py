"""The address of a page: a parameter that no page names as its own would be taken out of it again."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

from orl_explore import ui
from orl_explore.ui import pair_rule, state
from orl_explore.ui.shell import PAGES

PLACES = {
    **dict.fromkeys(("st.query_params.get", "st.query_params.pop"), 0),
    **dict.fromkeys(("state.follow", "map_address.follow", "map_address.write"), 1),
    "map_address.choice": 2,
}
"""Function that reads or writes a parameter -> which of its arguments names it."""


def read_and_written(path: Path) -> set[str]:
    """Names of the parameters that a module asks the address for or puts there, where they stand as they are."""
    module = importlib.import_module(f"orl_explore.ui.{path.stem}")

    def name(node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return getattr(module, node.id, None)
        return node.value if isinstance(node, ast.Constant) else None

    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "st.query_params":
            found.add(name(node.slice))
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        if function in PLACES:
            found.add(name(node.args[PLACES[function]]))
        words = {word.arg: word.value for word in node.keywords}
        if function in ("state.set_parameters", "state.choose_image"):
            found |= {word for word in words if word is not None}
        if "parameter" in words:
            found.add(name(words["parameter"]))
    return {each for each in found if isinstance(each, str)}


def test_every_parameter_belongs_to_a_page():
    known = {*state.EVERYWHERE, *(name for page in PAGES for name in page.parameters), "page"}
    used = {
        name: path.name for path in sorted(Path(ui.__file__).parent.glob("*.py")) for name in read_and_written(path)
    }
    assert {"image", "tab", "legend", "color", "at", "region"} <= used.keys()  # such are found
    assert not {name: where for name, where in used.items() if name not in known}
    assert set(pair_rule.NAMES.values()) <= known


def test_what_is_kept_belongs_to_a_page():
    own = {*state.EVERYWHERE, *(name for page in PAGES for name in page.parameters)}
    assert {*state.KEPT, *state.OF_IMAGE} <= own
