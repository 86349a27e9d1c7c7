"""Nested plain values, as YAML and JSON hold them: compared, looked into, and read into dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the values in which two nested dictionaries differ."""
    keys = []
    for key in [*old, *(key for key in new if key not in old)]:
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            keys += differing_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            keys.append(f"{prefix}{key}")
    return keys


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """Settings from nested plain values, as `Config.as_dict` and run.json hold them; keys that are no setting are left.

    Args:
        kind: a class of settings.
        values: what is not in there has its default.
    """
    found: dict[str, Any] = {}
    for setting in dataclasses.fields(kind):  # type: ignore[arg-type]
        if setting.name not in values:
            continue
        value = values[setting.name]
        if isinstance(value, Mapping):
            value = from_dict(setting.default_factory, value)  # type: ignore[arg-type]
        found[setting.name] = tuple(value) if isinstance(value, list) else value
    return kind(**found)


def listed(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def at_key(values: dict[str, Any], key: str) -> Any:
    """The value that a dotted key leads to."""
    for part in key.split("."):
        values = values[part]
    return values
