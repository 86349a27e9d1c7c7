"""What the browser needs to draw a map: arrays as base64, names and colors; see `orl_explore/ui/point_map.js`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from orl_explore.figures.object_map import Coloring

OUTSIDE: Final = 0xFFFF
"""Group of the points that stay far back, as the reader has asked for others."""

Mode = Literal["one", "beside", "slide"]


class View(NamedTuple):
    """The points as one encoder places them."""

    name: str
    x: ArrayLike
    """(R,)."""
    y: ArrayLike


def packed(values: ArrayLike, kind: str) -> str:
    """Numbers as base64 of their bytes, which takes the browser no parsing."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def point_map(
    region_ids: NDArray[np.integer],
    views: Sequence[View],
    coloring: Coloring,
    *,
    passing: NDArray[np.bool_] | None = None,
    mode: Mode = "one",
    labels: pd.Series | None = None,
    alt: str,
    key: str,
) -> dict[str, Any]:
    """Points, colors and names for the component.

    Args:
        region_ids: (R,), below 2^31.
        views: one, or two for the modes `beside` and `slide`.
        coloring: of the same regions, or of those that pass.
        passing: (R,) which regions stand out; the others stay far back. Default: all.
        mode: one map, two side by side, or one whose points slide from the first view to the second.
        labels: (R,), what is said of the point under the mouse besides its number.
        alt: what the map shows, in words.
        key: another key is another map, which is shown as a whole again.
    """
    own = np.arange(len(region_ids)) if passing is None else np.flatnonzero(passing)
    groups = np.full(len(region_ids), OUTSIDE, np.uint16)
    groups[own] = coloring.codes
    data = {
        "key": key,
        "mode": mode,
        "alt": alt,
        "ids": packed(region_ids, "<i4"),
        "groups": packed(groups, "<u2"),
        "outside": len(region_ids) - len(own),
        "views": [{"name": view.name, "x": packed(view.x, "<f4"), "y": packed(view.y, "<f4")} for view in views],
        "title": coloring.title,
        "names": coloring.names,
        "colors": coloring.colors,
        "counts": np.bincount(coloring.codes, minlength=len(coloring.colors)).tolist(),
        "legend_key": hashlib.blake2b(repr((coloring.title, coloring.names)).encode(), digest_size=8).hexdigest(),
        "groups_named": coloring.limits is None and bool(coloring.names) and coloring.title != "category",
    }
    if coloring.limits is not None:  # what has no value is drawn first, the highest last
        data["scale"] = [f"{value:.3g}" for value in coloring.limits]
        steps = len(coloring.colors) - len(coloring.names)
        height = np.where(coloring.codes < steps, coloring.codes.astype(int), -1)
        data["order"] = packed(own[np.argsort(height, kind="stable")], "<i4")
    else:  # small groups over large ones
        size = np.bincount(coloring.codes, minlength=len(coloring.names))
        data["order"] = packed(own[np.argsort(-size[coloring.codes], kind="stable")], "<i4")
    if labels is not None:
        codes, names = pd.factorize(labels.astype(str))
        data |= {"label_of": packed(codes, "<u2"), "labels": [str(name) for name in names]}
    return data
