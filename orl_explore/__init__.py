"""ORL Explore: run, see, debug and teach object-level representation learning (ORL)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orl_explore.runs.exploring import explore as explore

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`orl_explore.explore`, loaded when it is asked for: nothing else is to be waited for with the package."""
    if name == "explore":
        from orl_explore.runs.exploring import explore

        return explore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
