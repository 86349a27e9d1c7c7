"""Maps without UMAP, which compiles for many seconds: two numbers of each embedding are a layout, too."""

from __future__ import annotations

from orl_explore.maps.layout import Layout, feature_neighbors


def flat_layout(vectors, *, min_dist=0.1, init=None, progress=None, **_):
    """Stands for `umap_layout`."""
    if progress:
        progress(100, 100)
    points = vectors[:, :2] * (1 + min_dist)
    return Layout(points.astype("float32"), feature_neighbors(vectors, 15)[0])
