"""What the object map shows, in the address: a link, and the browser's way back, show the same again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import streamlit as st

from orl_explore.runs.run import Run
from orl_explore.ui import address, state

MOST: Final = 2000
"""Selected regions that an address holds at most: of more, it holds none."""

DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def key_of(run: Run, name: str) -> str:
    """Where the session keeps something of this page."""
    return f"object map {name} {run.path}"


def choice(
    place: Any, run: Run, name: str, options: Sequence[str], default: str, *, label: str, names: Callable[[str], str]
) -> str:
    """A box of choices that follows the address, and which the address follows; the default only stays there."""
    key = key_of(run, name)

    def read(text: str) -> str | None:
        if text in options:
            return text
        state.fall_back(f"There is no {text[:40]} under “{label}” here: {names(default)} is shown.")
        return None

    follow(run, name, read)
    if st.session_state.get(key) not in options:
        st.session_state[key] = default
    chosen = place.selectbox(label, options, format_func=names, key=key)
    write(run, name, None if chosen == default != address.get(name) else chosen)
    return str(chosen)


def follow(run: Run, name: str, read: Callable[[str], Any]) -> bool:
    """Take a value from the address where that has changed by itself; whether it has."""
    text = address.get(name)
    lost = text is not None and key_of(run, name) not in st.session_state  # as after a visit to another page
    if lost or text != st.session_state.get(f"{key_of(run, name)} in address"):
        st.session_state[f"{key_of(run, name)} in address"] = text
        value = None if text is None else read(text)
        if value is not None or text is None:
            st.session_state[key_of(run, name)] = value
        else:  # it was told what is wrong with it, once
            write(run, name, None)
        return True
    return False


def write(run: Run, name: str, text: str | None) -> None:
    """Put a value into the address, or take it away."""
    address.put(**{name: text})
    st.session_state[f"{key_of(run, name)} in address"] = text


def listed(names: Sequence[str]) -> str | None:
    """Names as one text, commas between them, a backslash before commas within them; None for none."""
    return ",".join(re.sub(r"[\\,]", r"\\\g<0>", name) for name in names) if names else None


def names_in(text: str) -> list[str]:
    """Names from `listed`."""
    return [re.sub(r"\\(.)", r"\1", part, flags=re.S) for part in re.findall(r"((?:[^\\,]|\\.)*),", text + ",", re.S)]


def packed(regions: Sequence[int]) -> str | None:
    """Regions as differences in base 36, as few letters as can be typed; None for none and for too many."""
    if not regions or len(regions) > MOST:
        return None
    ordered = sorted(set(regions))
    return ".".join(_base36(there - here) for here, there in zip([0, *ordered], ordered, strict=False))


def unpacked(text: str, count: int) -> list[int] | None:
    """Regions from `packed`; None where it is not made by that, or names others than 0 .. count - 1."""
    try:
        steps = [int(part, 36) for part in text.split(".")]
    except ValueError:
        return None
    found, last = [], 0
    for step in steps:
        last += step
        found.append(last)
    return found if len(found) <= MOST and all(0 <= region < count for region in found) else None


def _base36(number: int) -> str:
    digits = DIGITS[number % 36]
    while number := number // 36:
        digits = DIGITS[number % 36] + digits
    return digits
