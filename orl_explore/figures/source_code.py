"""Show the real source of the library where a notebook teaches it, so that prose and code cannot part."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any


class SourceCode:
    """Source of functions, methods or classes; a notebook shows it as highlighted code.

    Args:
        *things: what to show, in this order.

    Raises:
        TypeError: something has no Python source.
    """

    def __init__(self, *things: Any):
        self._code = "\n\n".join(textwrap.dedent(inspect.getsource(thing)).rstrip() for thing in things)

    def __str__(self) -> str:
        return self._code

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return f"```python\n{self._code}\n```"
