"""Fuzzing: anything that can be drawn goes through a command, which knows what it says and touches nothing else.

In the suite each fuzzer takes seconds. ORL_FUZZ_SECONDS gives each that many, with other seeds in every round; what it
finds is printed as the smallest input that shows it, and becomes a case.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from orl_explore.images.image_set import ImageSet
from training import cli

KNOWN = (0, 1, 2)
"""Exit codes: done, refused in a sentence, typed wrong."""


def fuzz(strategy: st.SearchStrategy, check: Callable[[Any], None], *, examples: int) -> None:
    """Draw and check, so many times or for as long as ORL_FUZZ_SECONDS says."""
    number = int(os.environ.get("ORL_FUZZ_SEED", "0"))
    end = time.monotonic() + float(os.environ.get("ORL_FUZZ_SECONDS", "0"))
    while True:

        @seed(number)
        @settings(max_examples=examples, database=None, suppress_health_check=list(HealthCheck))
        @given(strategy)
        def run(value: Any) -> None:
            check(value)

        run()
        number += 1
        if time.monotonic() >= end:
            return


def type_in(*arguments: object) -> tuple[int, str]:
    """Type a command; its exit code and all that it said. Fails on a traceback and on an unknown exit code."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    assert code in KNOWN, said.getvalue()
    assert "Traceback" not in said.getvalue()
    return code, said.getvalue()


def assert_short(error: Exception) -> None:
    """A refusal can be read."""
    assert 0 < len(str(error)) < 4000


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_all_counted(images: ImageSet, files: int | None = None) -> None:
    """Used + counted = given, of annotations and, where their number is known, of files."""
    findings = images.findings
    assert findings.given == findings.used + sum(one.count for one in findings.left_out)
    assert findings.used == len(images.objects)
    assert all(one.count <= findings.used for one in findings.changed)
    assert images.table["image_id"].is_unique
    assert set(images.objects["image_id"]) <= set(images.table["image_id"])
    if files is not None:
        assert len(images) + len(images.skipped) == files


# ---- what is drawn -------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-3, 50),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-5, 60),
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "1", "1.0", "01", "-1", "0", "true", "nan", "1e9", "img_1", "ä", "a\u0308", "\ud800", "../x"]
    ),
    st.text(max_size=6),
)
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
"""Anything that JSON can hold, and NaN."""


def mostly(usual: st.SearchStrategy, other: st.SearchStrategy = JUNK) -> st.SearchStrategy:
    """The usual nine times of ten."""
    return st.integers(0, 9).flatmap(lambda n: other if n == 9 else usual)


def objects(**fields: st.SearchStrategy) -> st.SearchStrategy:
    """JSON objects with these fields, of which now and then one is missing."""
    whole = st.fixed_dictionaries(fields)
    return st.tuples(whole, mostly(st.none(), st.sampled_from(sorted(fields)))).map(
        lambda drawn: {name: value for name, value in drawn[0].items() if name != drawn[1]}
    )


@st.composite
def mutated(draw: st.DrawFn, content: Any) -> Any:
    """JSON content in which up to three places hold something else, or nothing."""
    import copy

    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(0, 3))):
        here, steps = content, draw(st.integers(1, 6))
        for step in range(steps):
            keys = list(here) if isinstance(here, dict) else list(range(len(here))) if isinstance(here, list) else []
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if step == steps - 1 or not isinstance(here[key], dict | list):
                if draw(st.booleans()):
                    here[key] = draw(JUNK)
                else:
                    del here[key]
                break
            here = here[key]
    return content


@st.composite
def damaged(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """A file's bytes, some flipped, cut, doubled, or spliced with another's."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(0, 4))):
        if not data:
            break
        place = draw(st.one_of(st.integers(0, min(len(data) - 1, 200)), st.integers(0, len(data) - 1)))
        kind = draw(st.sampled_from(["flip", "set", "cut", "head", "splice", "remove", "insert"]))
        length = draw(st.integers(1, 64))
        if kind == "flip":
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            data[place : place + length] = draw(st.sampled_from([b"\x00", b"\xff", b"\x7f\xff"])) * length
        elif kind == "cut":
            del data[place:]
        elif kind == "head":
            del data[:place]
        elif kind == "splice":
            other = draw(st.sampled_from(files))
            data[place:] = other[min(place, len(other)) :]
        elif kind == "remove":
            del data[place : place + length]
        else:
            data[place:place] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)
