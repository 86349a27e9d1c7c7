"""The pictures of one image of a run, straight from its tables: what a notebook shows in one line."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image

from orl_explore.boxes import BOX, FALLBACK, KEPT, filter_boxes, iou
from orl_explore.errors import OrlError
from orl_explore.figures import boxes, gallery, object_map, style
from orl_explore.figures.drawing import draw_boxes
from orl_explore.figures.pairs import Link, Picture, joined, matrix
from orl_explore.images.image_set import ImageSet
from orl_explore.images.labels import category_label
from orl_explore.judging.diagnostics import region_labels
from orl_explore.maps.object_map import read_best_map
from orl_explore.numbers import similarity_text
from orl_explore.orl import Sample, render_sample
from orl_explore.pairs import region_slices, similarity_matrix
from orl_explore.runs.run import Run
from orl_explore.views.renderers import finish


def row_of(images: ImageSet, image_id: int) -> int:
    """Row of an image in the images table.

    Raises:
        OrlError: there is no such image.
    """
    try:
        return int(images.rows_of(image_id))
    except OrlError as error:
        raise OrlError(f"{error}: choose an `image_id` of images.parquet") from None


def neighbors(run: Run, image_id: int, *, table: pd.DataFrame | None = None, k: int = 7) -> go.Figure:
    """An image and its nearest neighbors with their similarities; where images have a context, framed by whether it
    is the same: green, or orange.

    Args:
        run: a run with neighbors.
        image_id: the image.
        table: other neighbors to show, as `nearest_neighbors` gives them; default: the run's own.
        k: neighbors shown.

    Raises:
        OrlError: stage 2 is missing, or there is no such image.
    """
    images = run.images()
    own = row_of(images, image_id)
    if table is None:
        table = run.read("neighbors", image_id=image_id)
    found = table[table["image_id"] == image_id].sort_values("rank").head(k)
    rows = [own, *(row_of(images, other) for other in found["neighbor_id"].tolist())]
    captions = ["this image", *(f"similarity {similarity_text(value)}" for value in found["similarity"])]
    frames: dict[int, str] = {}
    if "context" in images.table:
        contexts = images.table["context"].iloc[rows].tolist()
        captions = [f"{text}\n{context}" for text, context in zip(captions, contexts, strict=True)]
        for place, context in enumerate(contexts[1:], start=1):
            frames[place] = style.ACCEPTED if context == contexts[0] else style.REJECTED
    return gallery.gallery([images.load(row) for row in rows], captions, columns=k + 1, frames=frames)


def proposals(
    run: Run, image_id: int, *, show: Sequence[str] = (KEPT, FALLBACK), count: int | None = None, truth: bool = True
) -> go.Figure:
    """An image with its proposals by the filter's verdict, and its annotated objects.

    Args:
        run: a run with proposals.
        image_id: the image.
        show: verdicts whose boxes are drawn: see `boxes.REASONS`.
        count: only the boxes that were found first; default: all.
        truth: draw the annotated objects, too.

    Raises:
        OrlError: stage 2 is missing, or there is no such image.
    """
    images = run.images()
    row = row_of(images, image_id)
    found = run.read("proposals", image_id=image_id).sort_values("rank").iloc[:count]
    found = pd.concat([found[found["reason"] == reason] for reason in show])
    looks = [boxes.LOOKS[str(reason)] for reason in found["reason"]]
    labels = [f"box {rank + 1}, {look.name}" for rank, look in zip(found["rank"].tolist(), looks, strict=True)]
    objects = images.objects[images.objects["image_id"] == image_id] if truth else images.objects.head(0)
    looks += [boxes.LOOKS["object"]] * len(objects)
    labels += [f"object: {category_label(name)}" for name in objects["category"]]
    drawn = np.concatenate([found[BOX].to_numpy(float), objects[BOX].to_numpy(float)])
    return boxes.image_with_boxes(images.load(row), drawn, looks, labels, height=440)


def merging(run: Run, image_id: int, counts: Sequence[int]) -> go.Figure:
    """An image, and the regions of one start of selective search when so many are left, each in its mean color.

    Args:
        run: a run.
        image_id: the image.
        counts: how many regions, a picture each; a large number: those of the start.
    """
    from orl_explore.selective_search import regions_left

    images = run.images()
    image = images.load(row_of(images, image_id))
    pixels = np.asarray(image)
    painted, captions = [], []
    for labels in regions_left(pixels, counts):
        _, region, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        colors = [np.bincount(region.ravel(), channel.ravel()) / sizes for channel in np.moveaxis(pixels, 2, 0)]
        means = np.stack(colors, axis=1).astype(np.uint8)  # (regions, 3)
        painted.append(Image.fromarray(means[region.reshape(labels.shape)]))
        captions.append(f"{len(sizes)} regions" if len(sizes) > 1 else "1 region")
    return gallery.gallery([image, *painted], ["the image", *captions], columns=len(painted) + 1)


def refiltered(run: Run, image_id: int, **settings: float) -> tuple[go.Figure, go.Figure]:
    """An image with the boxes that other settings of the filter keep, and what each of its tests leaves.

    Args:
        run: a run with proposals.
        image_id: the image.
        **settings: of `filter_boxes`.
    """
    images = run.images()
    found = run.read("proposals", image_id=image_id).sort_values("rank")[BOX].to_numpy()
    reasons = filter_boxes(found, **settings)  # type: ignore[arg-type]
    kept = found[np.isin(reasons, (KEPT, FALLBACK))]
    objects = images.objects.loc[images.objects["image_id"] == image_id, BOX].to_numpy()
    best = iou(objects, kept).max(axis=1, initial=0)
    looks = [boxes.LOOKS[KEPT]] * len(kept) + [boxes.LOOKS["object"]] * len(objects)
    labels = ["kept"] * len(kept) + [f"object, IoU {value:.2f} with the closest kept box" for value in best]
    picture = boxes.image_with_boxes(
        images.load(row_of(images, image_id)), np.concatenate([kept, objects]), looks, labels, height=440
    )
    return picture, boxes.funnel(boxes.count_reasons(reasons))


def pairs(run: Run, image_id: int, *, neighbor: int = 0, count: int = 8, all_boxes: bool = False) -> go.Figure:
    """An image and one of its neighbors, corresponding boxes in one color and joined by a line.

    Args:
        run: a run with pairs.
        image_id: the image.
        neighbor: rank of the neighbor, 0 = nearest.
        count: pairs drawn at most, the most similar ones.
        all_boxes: draw the boxes without a pair, too.

    Raises:
        OrlError: stage 2 is missing, or there is no such image or neighbor.
    """
    scene = _Scene(run, image_id, neighbor)
    return joined(
        scene.picture(image_id, "image"),
        scene.picture(scene.neighbor_id, f"neighbor {neighbor + 1}"),
        scene.boxes(image_id),
        scene.boxes(scene.neighbor_id),
        scene.links[:count],
        all_boxes=all_boxes,
    )


def similarities(run: Run, image_id: int, *, neighbor: int = 0) -> go.Figure:
    """The similarity matrix of the boxes of an image with those of a neighbor, the accepted pairs numbered in it.

    Args:
        run: a run with pairs and region embeddings.
        image_id: the image.
        neighbor: rank of the neighbor, 0 = nearest.

    Raises:
        OrlError: stage 2 is missing, or there is no such image or neighbor.
    """
    scene = _Scene(run, image_id, neighbor)
    vectors = run.read_array("region_embeddings")
    query, key = scene.slices[image_id], scene.slices[scene.neighbor_id]
    similarity = similarity_matrix(np.array(vectors[slice(*query)]), np.array(vectors[slice(*key)]))
    return matrix(similarity, scene.links)


def crops(
    run: Run, region_ids: Sequence[int], captions: Sequence[str], *, columns: int = 8, title: str = ""
) -> go.Figure:
    """Boxes of a run cut out of their images, each with a caption.

    Args:
        run: a run with regions.
        region_ids: which boxes.
        captions: one each.
        columns: crops in a row.
        title: above them.
    """
    images, regions = run.images(), run.read("regions").set_index("region_id")
    pictures = []
    for image_id, x, y, w, h in regions.loc[list(region_ids), ["image_id", *BOX]].to_numpy(np.int64).tolist():
        pictures.append(images.load(row_of(images, image_id)).crop((x, y, x + w, y + h)))
    return gallery.gallery(pictures, captions, columns=columns, title=title)


def sample(run: Run, drawn: Sample, *, image_size: int = 224, patch_size: int = 96) -> go.Figure:
    """What stage 3 sees of an image in an epoch, a row for each loss: two boxes, and between them the two views.

    Args:
        run: whose images the sample is of.
        drawn: the sample.
        image_size: side of the views of the whole image, pixels.
        patch_size: side of the patches, pixels.
    """
    images = run.images()
    image, neighbor = (images.load(row_of(images, image_id)) for image_id in (drawn.image_id, drawn.neighbor_id))
    seen = render_sample(drawn, image, neighbor, image_size=image_size, patch_size=patch_size)
    rows = (
        ("view", drawn.views, (image, image), ("first crop", "second crop")),
        ("intra", drawn.intra, (image, image), ("a kept box", "its jittered copy")),
        ("inter", drawn.inter, (image, neighbor), ("query box", "key box in a neighbor")),
    )
    pictures, captions = [], []
    for name, parameters, originals, titles in rows:
        boxed = []
        for number, (original, view) in enumerate(zip(originals, parameters, strict=True)):
            scale = 2 * gallery.SIDE / max(original.size)
            large = original.resize((round(original.width * scale), round(original.height * scale)))
            boxed.append(draw_boxes(large, np.array([view.box]) * scale, [""], [style.color(number)], line=6))
        patches = [Image.fromarray(finish(seen[f"{name}{number}"]).permute(1, 2, 0).numpy()) for number in (1, 2)]
        pictures += [boxed[0], *patches, boxed[1]]
        captions += [titles[0], f"{name}1", f"{name}2", titles[1]]
    frames = {place: style.color(place % 4 - 1) for place in range(len(pictures)) if place % 4 in (1, 2)}
    return gallery.gallery(pictures, captions, columns=4, frames=frames, width=640)


def objects(run: Run) -> go.Figure:
    """The object map, colored by what the boxes are on where that is known, else by cluster.

    Raises:
        OrlError: the run has no map yet, or one of other embeddings.
    """
    images, regions = run.images(), run.read("regions")
    points = read_best_map(run).table.merge(regions, on="region_id", suffixes=("", "_box"))
    points = points.rename(columns={"w_box": "w", "h_box": "h"})
    labels = region_labels(regions, images)
    if labels is None:
        return object_map.by_group(points, "cluster")
    return object_map.by_group(points.assign(label=points["region_id"].map(labels)), "label")


class _Scene:
    """An image and one of its neighbors, with their boxes and pairs."""

    def __init__(self, run: Run, image_id: int, neighbor: int):
        self.images, self.regions = run.images(), run.read("regions")
        row_of(self.images, image_id)
        self.slices = region_slices(self.regions["image_id"])
        found = run.read("pairs", image_id=image_id)
        found = found[found["neighbor_rank"] == neighbor].sort_values("rank")
        if not len(found):
            raise OrlError(f"image {image_id} has no pairs with its neighbor {neighbor + 1}: choose a lower `neighbor`")
        self.neighbor_id = int(found["neighbor_id"].to_numpy()[0])
        query, key = self.slices[image_id][0], self.slices[self.neighbor_id][0]
        columns = [found["query_region"] - query, found["key_region"] - key, found["similarity"]]
        of_pairs = zip(*(column.tolist() for column in columns), strict=True)
        self.links = [Link(number, *of_pair) for number, of_pair in enumerate(of_pairs, start=1)]

    def boxes(self, image_id: int) -> np.ndarray:
        return self.regions.iloc[slice(*self.slices[image_id])][BOX].to_numpy(np.int64)

    def picture(self, image_id: int, title: str) -> Picture:
        image = self.images.load(row_of(self.images, image_id))
        small = image.copy()
        small.thumbnail((480, 480), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=88)
        return Picture(buffer.getvalue(), image.size, title)
