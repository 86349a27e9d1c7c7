"""The address of a page: a parameter that no page names as its own would be taken out of it again."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from orl_explore import ui
from orl_explore.ui import address, pair_rule
from orl_explore.ui.shell import PAGES

PLACES = {
    "address.get": 0,
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
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        if function in PLACES:
            found.add(name(node.args[PLACES[function]]))
        words = {word.arg: word.value for word in node.keywords}
        if function in ("address.put", "state.choose_image"):
            found |= {word for word in words if word is not None}
        if "parameter" in words:
            found.add(name(words["parameter"]))
    return {each for each in found if isinstance(each, str)}


def test_every_parameter_belongs_to_a_page():
    known = {*address.EVERYWHERE, *(name for page in PAGES for name in page.parameters), "page"}
    used = {
        name: path.name for path in sorted(Path(ui.__file__).parent.glob("*.py")) for name in read_and_written(path)
    }
    assert {"image", "tab", "legend", "color", "at", "region"} <= used.keys()  # such are found
    assert not {name: where for name, where in used.items() if name not in known}
    assert set(pair_rule.NAMES.values()) <= known


def test_what_is_kept_belongs_to_a_page():
    own = {*address.EVERYWHERE, *(name for page in PAGES for name in page.parameters)}
    assert {*address.KEPT, *address.OF_IMAGE} <= own


def test_only_one_module_asks_streamlit_for_the_address():
    """What a browser says may be of before the last change; `address` knows that."""
    users = {path.stem for path in Path(ui.__file__).parent.glob("*.py") if "query_params." in path.read_text("utf-8")}
    assert users == {"address"}


def page_of_two():
    import streamlit as st

    from orl_explore.ui import address

    st.button("one", on_click=lambda: address.put(a="1", b=None))
    st.button("two", on_click=lambda: address.put(a="2"))

    def typed():
        text = st.session_state["field"]

        def take():  # on the way it is taken out, as a region is by another image
            address.put(a=None)
            address.put(a=text)

        address.hear("field", "a", text, take=take if text in ("5", "6") else None)

    st.session_state["field"] = address.get("a")
    st.text_input("field", key="field", on_change=typed)
    st.text(str(sorted(address.parameters().items())))


def test_what_the_browser_says_of_before_a_change_does_not_take_it_back(monkeypatch):
    now = 100.0
    monkeypatch.setattr(address.time, "monotonic", lambda: now)
    app = AppTest.from_function(page_of_two)
    app.query_params["a"], app.query_params["b"] = "0", "b"

    def shown(**said: str) -> str:
        """What the page knows when the browser says this."""
        app.query_params.clear()
        for name, value in said.items():
            app.query_params[name] = value
        return app.run().text[0].value

    assert shown(a="0", b="b") == "[('a', '0'), ('b', 'b')]"
    app.button[0].click().run()
    assert dict(app.query_params) == {"a": "1"}
    assert shown(a="0", b="b") == "[('a', '1')]"  # sent before the change was known
    assert shown(a="0", b="b", c="c") == "[('a', '1'), ('c', 'c')]"
    assert shown(a="3") == "[('a', '3')]"  # a link: it never was that before
    assert shown(a="1") == "[('a', '1')]"
    app.button[1].click().run()
    assert shown(a="0", b="b") == "[('a', '2')]"  # the last but one
    assert shown(a="1") == "[('a', '2')]"
    now += address.BEHIND
    assert shown(a="1") == "[('a', '1')]"  # by then the browser knows
    app.button[1].click().run()
    with monkeypatch.context() as history:
        history.setattr(address, "is_step_of_history", lambda: True)
        assert shown(a="1") == "[('a', '1')]"  # Back, however soon
    assert shown(a="1") == "[('a', '1')]"  # and what is asked for after it


def test_a_field_that_the_browser_had_not_heard_of_does_not_take_a_change_back(monkeypatch):
    now = 100.0
    monkeypatch.setattr(address.time, "monotonic", lambda: now)
    app = AppTest.from_function(page_of_two)
    app.query_params["a"] = "0"
    app.run()

    def typed(text: str) -> str:
        """What the page knows when the browser says that this stands in the field."""
        return app.text_input[0].set_value(text).run().text[0].value

    app.button[0].click().run()
    assert typed("0") == "[('a', '1')]"
    assert app.text_input[0].value == "1"
    assert typed("5") == "[('a', '5')]"  # by the reader, who may change it again at once
    assert typed("1") == "[('a', '1')]"
    assert typed("5") == "[('a', '5')]"
    assert typed("6") == "[('a', '6')]"
    assert typed("5") == "[('a', '5')]"
    app.button[0].click().run()
    now += address.BEHIND
    assert typed("5") == "[('a', '5')]"


def test_fields_of_a_page_that_was_left_are_not_heard():
    """Streamlit tells of their values once more when the next page is there."""
    app = AppTest.from_function(page_of_two)
    app.query_params["a"] = "0"
    app.session_state[address.OWN] = ("b",)  # of the next page
    app.run()
    app.text_input[0].set_value("7").run()
    assert app.query_params["a"] in ("0", ["0"])
    app.session_state[address.OWN] = ("a", "b")
    app.text_input[0].set_value("7").run()
    assert app.query_params["a"] in ("7", ["7"])
