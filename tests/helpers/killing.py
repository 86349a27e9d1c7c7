"""A process that is killed at some file system call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def killed(monkeypatch: pytest.MonkeyPatch, at: int, *calls: tuple[Any, str]) -> Iterator[None]:
    """Let `at` calls of these functions, given as (owner, name), happen, and raise KeyboardInterrupt in the next."""
    count = 0

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count > at:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for owner, name in calls:
            patch.setattr(owner, name, dying(getattr(owner, name)))
        yield
