"""Tables as files: one button, wherever a page has a table that somebody may want to take away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from orl_explore.runs.files import csv_text


def csv_button(
    table: pd.DataFrame | Callable[[], pd.DataFrame],
    name: str,
    *,
    label: str = "CSV",
    index: bool = False,
    place: Any = st,
    **looks: Any,
) -> None:
    """A button that offers a table as CSV, of which a spreadsheet executes no cell.

    Args:
        table: the table, or what makes it once it is asked for.
        name: of the file, without its ending; no other table of the page has it.
        label: of the button.
        index: whether the table's index is its first column.
        place: where the button stands.
        **looks: of the button, such as its type or width.
    """

    def text() -> bytes:
        made = table() if callable(table) else table
        return csv_text(made.reset_index() if index else made).encode()

    looks = {"type": "tertiary", "icon": ":material/download:", "on_click": "ignore"} | looks
    place.download_button(label, text, f"{name}.csv", "text/csv", key=f"csv {name}", **looks)
