"""What the parts of the page of pairs share: an image with its neighbors, boxes and pairs, and tables of crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from orl_explore.errors import OrlError
from orl_explore.figures import pairs as figures
from orl_explore.images.grouping import Slices
from orl_explore.judging.diagnostics import BOX, UNLABELED, label_names, region_categories
from orl_explore.numbers import similarity_text
from orl_explore.pairs import region_slices, similarity_matrix
from orl_explore.runs.reviews import Pair, pairs_hash
from orl_explore.runs.run import Run
from orl_explore.ui import address, chooser, state

SIDE = 560
"""Longer side of the two pictures, pixels."""
SHOWN = 60
"""Rows of crops at most; the most similar pairs."""
BELOW, TABS = "pairs-below", "pairs-tabs"
"""Keys of the part of the page below the decision, and of the tabs in it."""


@dataclass(frozen=True)
class Scene:
    """What the page knows of an image: its neighbors, and its pairs numbered from the most similar one."""

    run: Run
    image_id: int
    neighbors: pd.DataFrame
    pairs: pd.DataFrame
    slices: Slices
    boxes: np.ndarray
    """Boxes of all regions of the run, row = region_id."""
    of: str
    """Hash of the pairs table that all this is from, or of one before it."""

    def own(self, image_id: int) -> tuple[int, int]:
        """First region of an image, and the one after its last."""
        return self.slices.get(image_id, (0, 0))

    def rank_of(self, neighbor_id: int) -> int:
        """Place of a neighbor, counted from 1."""
        return self.neighbors["neighbor_id"].tolist().index(neighbor_id) + 1

    def value(self, pair: Pair, similarity: np.ndarray) -> float:
        """Similarity of a pair's two boxes, given those of all boxes of the two images."""
        row = pair.query_region - self.own(self.image_id)[0]
        return float(similarity[row, pair.key_region - self.own(pair.neighbor_id)[0]])

    def number(self, pair: Pair) -> int | None:
        """Number of a pair; None: stage 2 did not accept it."""
        table = self.pairs
        found = table["number"][(table["query_region"] == pair.query_region) & (table["key_region"] == pair.key_region)]
        return int(found.iloc[0]) if len(found) else None

    def origin(self, number: int | None) -> str:
        """Where the pair of a number comes from; of None, that it is no pair of the run."""
        if self.run.given():
            return "given with the bundle" if number else "Not among the given pairs"
        return "accepted by stage 2" if number else "Not accepted by stage 2"


def _version(run: Run, name: str) -> tuple[str, int, int]:
    return state.version(run.require(name))


@st.cache_resource(max_entries=2, show_spinner=False)
def _regions(run_path: str, stamp: tuple[str, int, int]) -> tuple[Slices, np.ndarray]:
    regions = Run(run_path).read("regions", columns=["image_id", *BOX])
    return region_slices(regions["image_id"]), regions[BOX].to_numpy(np.int32)


def similarity_of(scene: Scene, neighbor_id: int) -> np.ndarray:
    """Cosine of every box of the image with every box of a neighbor, (Q, R); nan in a run imported without them."""
    run = scene.run
    own, other = scene.own(scene.image_id), scene.own(neighbor_id)
    if not has_embeddings(scene):
        return np.full((own[1] - own[0], other[1] - other[0]), np.nan)
    return _similarity(str(run.path), own, other, _version(run, "region_embeddings"))


def has_embeddings(scene: Scene) -> bool:
    """Whether boxes can be compared: a run imported from other tools has none."""
    return scene.run.file("region_embeddings").exists()


@st.cache_data(max_entries=64, show_spinner=False)
def _similarity(run_path: str, query: tuple[int, int], key: tuple[int, int], stamp: tuple[str, int, int]) -> np.ndarray:
    vectors = Run(run_path).read_array("region_embeddings")
    try:
        return similarity_matrix(np.array(vectors[slice(*query)]), np.array(vectors[slice(*key)]))
    except ValueError as error:
        raise OrlError(f"the region embeddings of {run_path} cannot be compared: {error}") from None


def load(run: Run, image_id: int) -> Scene:
    """Read what the page knows of an image.

    Raises:
        OrlError: stage 2 is missing, or a table is damaged.
    """
    of = pairs_hash(run)  # first: what is read after it may be newer, and is then taken for stale
    pairs = run.read("pairs", image_id=image_id)
    pairs = pairs.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)
    neighbors = run.read("neighbors", image_id=image_id).sort_values("rank")
    slices, boxes = _regions(str(run.path), _version(run, "regions"))
    return Scene(run, image_id, neighbors, pairs.assign(number=np.arange(1, len(pairs) + 1)), slices, boxes, of)


def pictures(scene: Scene, neighbor_id: int) -> tuple[figures.Picture, figures.Picture]:
    """The image and a neighbor, ready to have boxes drawn on."""
    table, rank = state.images(scene.run).table, scene.rank_of(neighbor_id)
    made = []
    for image_id, words in (
        (scene.image_id, ""),
        (
            neighbor_id,
            f"\nneighbor {rank}, similarity {similarity_text(scene.neighbors['similarity'].iloc[rank - 1])}",
        ),
    ):
        width, height = table[["width", "height"]].iloc[state.row_of(scene.run, image_id)].tolist()
        title = _short(state.file_name(scene.run, image_id)) + words
        made.append(figures.Picture(state.thumbnail(scene.run, image_id, side=SIDE), (width, height), title))
    return made[0], made[1]


def _short(name: str, length: int = 28) -> str:
    return name if len(name) <= length else "…" + name[1 - length :]


def categories_of(scene: Scene, image_ids: Sequence[int]) -> pd.Series | None:
    """Category by region of some images; None without labels."""
    return _labels(
        str(scene.run.path), tuple(sorted(image_ids)), _version(scene.run, "objects"), _version(scene.run, "regions")
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _labels(run_path: str, image_ids: tuple[int, ...], objects_stamp: object, boxes_stamp: object) -> pd.Series | None:
    run = Run(run_path)
    objects = chooser.objects_of(run, *image_ids)
    if not len(objects):
        return None
    slices, boxes = _regions(run_path, _version(run, "regions"))
    parts = []
    for image_id in image_ids:
        first, last = slices.get(image_id, (0, 0))
        part = pd.DataFrame(boxes[first:last], columns=BOX)
        parts.append(part.assign(region_id=np.arange(first, last), image_id=image_id))
    objects = objects.assign(category=label_names(objects["category"]))
    return region_categories(pd.concat(parts, ignore_index=True), objects)


def show_pair(
    query_region: int, key_region: int, rank: int | None = None, *, listed: bool = False, image_id: int | None = None
) -> None:
    """Look at a pair from now on, of this image or of another; the address follows. Made for callbacks.

    `listed`: clicked on in the list of pairs.
    """
    changes = {"pair": f"{query_region}-{key_region}", "boxes": None, "place": None}  # these are of the pair before
    if rank is not None:
        changes["rank"] = str(rank)
    if image_id is None:
        address.put(**changes)
    else:
        state.choose_image(image_id, **changes)
    # A table keeps what was clicked in it last and would not tell of a click there again: begin a new one.
    if not listed and st.session_state.pop("pairs_list_clicked", False):
        st.session_state["pairs_list"] = st.session_state.get("pairs_list", 0) + 1
    if listed:
        st.session_state["pairs_list_clicked"] = True


def crop_table(scene: Scene, pairs: pd.DataFrame) -> pd.DataFrame:
    """Crops, similarity, neighbor and, with labels, categories of some pairs of the image."""
    crops = _crops(scene, pairs)
    table = pd.DataFrame(
        {
            "image": [crops[region] for region in pairs["query_region"]],
            "neighbor": [crops[region] for region in pairs["key_region"]],
            "similarity": pairs["similarity"].to_numpy(),
            "neighbor rank": pairs["neighbor_rank"].to_numpy() + 1,
        }
    )
    categories = categories_of(scene, [scene.image_id, *scene.neighbors["neighbor_id"].tolist()])
    if categories is not None:
        names = [
            categories.reindex(pairs[column]).fillna(UNLABELED).tolist() for column in ("query_region", "key_region")
        ]
        table["on"] = [f"{a} = {b}" if a == b else f"{a} | {b}" for a, b in zip(*names, strict=True)]
    return table


def _crops(scene: Scene, pairs: pd.DataFrame) -> dict[int, str]:
    """Data URIs of the regions of some pairs; each image is read once."""
    wanted: dict[int, set[int]] = {scene.image_id: set(pairs["query_region"].tolist())}
    for neighbor_id, region in pairs[["neighbor_id", "key_region"]].to_numpy().tolist():
        wanted.setdefault(neighbor_id, set()).add(region)
    version = _version(scene.run, "regions")
    found: dict[int, str] = {}
    for image_id, some in wanted.items():
        regions = tuple(sorted(some))
        found.update(zip(regions, _crop_uris(str(scene.run.path), image_id, regions, version), strict=True))
    return found


@st.cache_data(max_entries=400, show_spinner=False)
def _crop_uris(run_path: str, image_id: int, regions: tuple[int, ...], stamp: tuple[str, int, int]) -> list[str]:
    run = Run(run_path)
    image = state.images(run).load(state.row_of(run, image_id))
    return figures.crop_uris(image, _regions(run_path, stamp)[1][list(regions)], side=112)


def show_table(table: pd.DataFrame, *, key: str, alt: str, on_select: Any = "ignore") -> None:
    """Show a table of crops."""
    st.dataframe(
        table,
        key=key,
        hide_index=True,
        row_height=84,
        height=min(460, 40 + 84 * len(table)),
        on_select=on_select,
        selection_mode="single-row",
        column_config={
            "pair": st.column_config.NumberColumn(width=50),
            "verdict": st.column_config.TextColumn(width=100),
            "image": st.column_config.ImageColumn(width=130),
            "neighbor": st.column_config.ImageColumn(width=130),
            "similarity": st.column_config.NumberColumn(format="%.3f"),
        },
        placeholder=state.MISSING,
        alt=alt,
    )
