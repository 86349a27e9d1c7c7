"""Practice scenes with ground truth: objects on backgrounds, in contexts that make some categories appear together.

Objects are drawn (`shapes`) or cut-out photographs (`cutouts`), backgrounds painted or crops of photographs
(`contexts`). A scene depends on the settings and on (seed, part, its number) alone, so that a longer set begins with
the shorter one.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from orl_explore.errors import OrlError
from orl_explore.practice.contexts import Color, Context, FloatImage, Photographs, make_background
from orl_explore.practice.cutouts import CutOuts
from orl_explore.practice.shapes import INSTANCES, DrawnObjects, Part, Sprite

DESCRIPTION = "ORL Explore practice scenes"

OWN_SHARE = 0.9  # of the objects are of the context's own categories
MAX_ANGLE = 180.0  # degrees either way: a pooled feature of one orientation must not give the category away
SIDES = (0.50, 0.72)  # longer side of an object, in image sides
MAX_OUTSIDE = 0.12  # how far an object may cross the border, in its own sides
MIN_VISIBLE = 0.6  # of an object's area: neither behind later objects nor outside the picture
MAX_OVERLAP = 0.25  # IoU of the visible boxes of two objects
MIN_CONTRAST = 45.0  # distance of an object's color from the background's, in CIE Lab

Box = tuple[int, int, int, int]  # xywh, pixels
Mask = NDArray[np.bool_]  # (size, size)


class Objects(Protocol):
    """Where a scene's objects come from: `DrawnObjects` or `CutOuts`."""

    categories: tuple[str, ...]
    contexts: tuple[Context, ...]
    skipped: list[str]

    def choose(self, category: str, rng: np.random.Generator) -> str:
        """Return the name of one instance of the category, among those of the chosen part."""

    def color(self, name: str) -> Color:
        """Return the instance's color, RGB in 0..1."""

    def sprite(self, name: str, *, side: int, angle: float, flip: bool, light: float) -> Sprite:
        """Return the instance's picture, its longer side `side` pixels."""


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene: its visible `mask`, the `box` of that mask and the visible share of the object's area."""

    category: str
    instance: str
    mask: Mask
    box: Box
    visible: float


@dataclass
class _Placed:
    """An object on the canvas; `mask` shrinks when another is laid over it, `area` is that of the whole object."""

    category: str
    instance: str
    mask: Mask
    area: int


def compose_scene(
    rng: np.random.Generator,
    *,
    size: int = 160,
    objects: Objects | None = None,
    photographs: Photographs | None = None,
    context: str | None = None,
) -> tuple[NDArray[np.uint8], list[SceneObject], str]:
    """Compose one scene of drawn objects on a painted background, or of `objects` on crops of `photographs`.

    Returns the image, uint8 (size, size, 3) RGB; its 2 to 5 objects from back to front; and the name of its context,
    drawn uniformly unless `context` names it. Raises OrlError where that context does not exist.
    """
    objects = objects or DrawnObjects()
    by_name = {place.name: place for place in objects.contexts}
    if context is not None and context not in by_name:
        raise OrlError(f"there is no context {context!r}: choose one of {', '.join(by_name)}")
    place = by_name[context or list(by_name)[int(rng.integers(len(by_name)))]]
    canvas, backdrop = make_background(place, rng, size, photographs)
    light = rng.uniform(200, 340)  # degrees on screen: from above
    wanted = int(rng.integers(2, 6))
    placed: list[_Placed] = []
    for attempt in range(60):
        if len(placed) == wanted or (attempt >= 30 and len(placed) >= 2):
            break
        choices = place.categories if rng.random() < OWN_SHARE else objects.categories
        category = choices[int(rng.integers(len(choices)))]
        instance = _choose_instance(objects, category, rng, backdrop)
        # Many objects are smaller than few, and all shrink to the least when they do not fit.
        largest = float(np.interp(wanted, [2, 5], [SIDES[1], 0.56]))
        smallest = float(np.interp(wanted, [2, 5], [0.56, SIDES[0]])) if attempt < 15 else SIDES[0]
        sprite = objects.sprite(
            instance,
            side=round(size * rng.uniform(smallest, largest if attempt < 30 else SIDES[0])),
            angle=rng.uniform(-MAX_ANGLE, MAX_ANGLE),
            flip=bool(rng.random() < 0.5),
            light=light,
        )
        for _ in range(8):
            left, top = _position(sprite, rng, size)
            mask, area = _mask_at(sprite, left, top, size)
            if mask.sum() >= MIN_VISIBLE * area and all(_may_cover(mask, other) for other in placed):
                for other in placed:
                    other.mask = other.mask & ~mask
                placed.append(_Placed(category, instance, mask, area))
                _paste(canvas, sprite, left, top, light=light)
                break
    image = np.rint(255 * canvas).astype(np.uint8)
    found = [
        SceneObject(thing.category, thing.instance, thing.mask, _box(thing.mask), float(thing.mask.sum() / thing.area))
        for thing in placed
    ]
    return image, found, place.name


def make_scenes(
    out: Path,
    *,
    count: int = 1000,
    size: int = 160,
    seed: int = 0,
    instances: int = INSTANCES,
    cutouts: Path | None = None,
    backgrounds: Path | None = None,
    holdout: float = 0.0,
    part: Part = "all",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `count` scenes to OUT/images and their ground truth to OUT/annotations.json, whose path is returned.

    Args:
        out: folder to make; an older set of practice scenes there is replaced once the new one is complete.
        count: scenes.
        size: side of the scenes, pixels, at least 64.
        seed: 0 or more. Parts of one seed share no scene.
        instances: different drawings of a category; each returns in many scenes, in another place, size and rotation.
        cutouts: folder of CATEGORY/*.png with transparency that replace the drawn objects.
        backgrounds: folder of photographs that replace the painted backgrounds.
        holdout: share of the instances of every category that only scenes of `part="test"` show.
        part: "train" (the other instances), "test" (the held-out ones) or "all".
        progress: called with (scenes done, count).

    The annotations are COCO: the box of the visible mask and the mask as compressed RLE, also `instance` and `visible`
    (share of the object's area) for every object and `context` for every image. Raises OrlError for settings that
    cannot work.
    """
    _check(count, size, seed, instances, holdout, part)
    objects: Objects = (
        CutOuts(Path(cutouts), size=size, holdout=holdout, part=part)
        if cutouts
        else DrawnObjects(instances=instances, holdout=holdout, part=part)
    )
    photographs = Photographs(Path(backgrounds), objects.contexts) if backgrounds else None
    category_ids = {name: number for number, name in enumerate(objects.categories, start=1)}
    staging = _prepare(Path(out))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        rng = np.random.default_rng((seed, get_args(Part).index(part), index))
        picture, found, context = compose_scene(rng, size=size, objects=objects, photographs=photographs)
        name = f"{index + 1:06d}.jpg"
        _, jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        (staging / name).write_bytes(jpeg.tobytes())  # unlike cv2.imwrite, raises when the disk is full
        images.append({"id": index + 1, "file_name": name, "width": size, "height": size, "context": context})
        for thing in found:
            annotation = _annotation(thing, category_ids[thing.category])
            annotations.append({"id": len(annotations) + 1, "image_id": index + 1, **annotation})
        if progress:
            progress(index + 1, count)
    info = {
        "description": DESCRIPTION,
        "count": count,
        "size": size,
        "seed": seed,
        "instances": None if cutouts else instances,
        "cutouts": str(cutouts) if cutouts else None,
        "backgrounds": str(backgrounds) if backgrounds else None,
        "holdout": holdout,
        "part": part,
        "contexts": {place.name: place.categories for place in objects.contexts},
        "skipped": objects.skipped,
    }
    categories = [{"id": number, "name": name} for name, number in category_ids.items()]
    return _publish(Path(out), {"info": info, "images": images, "annotations": annotations, "categories": categories})


def _check(count: int, size: int, seed: int, instances: int, holdout: float, part: str) -> None:
    """Raise OrlError for settings that cannot work."""
    if count < 1:
        raise OrlError(f"--count {count} makes nothing: ask for one scene or more")
    if size < 64:
        raise OrlError(f"--size {size} is too small to tell objects apart: use 64 px or more")
    if seed < 0:
        raise OrlError(f"--seed {seed} is no seed: use 0 or more")
    if instances < (2 if holdout else 1):
        raise OrlError(f"--instances {instances} are too few: use 1 or more, with --holdout 2 or more")
    if not 0 <= holdout < 1:
        raise OrlError(f"--holdout {holdout} is no share of the instances: use 0 or more and less than 1")
    if part not in get_args(Part):
        raise OrlError(f"--part {part} does not exist: choose one of {', '.join(get_args(Part))}")
    if part == "test" and holdout == 0:
        raise OrlError("--part test shows instances that are held out: add --holdout 0.25")


def _annotation(thing: SceneObject, category_id: int) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(thing.mask, dtype=np.uint8))
    return {
        "category_id": category_id,
        "bbox": list(thing.box),
        "area": int(thing.mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": list(thing.mask.shape), "counts": rle["counts"].decode("ascii")},
        "instance": thing.instance,
        "visible": round(thing.visible, 4),
    }


# ------------------------------------------------------------------------------------------- files of a set


def _prepare(out: Path) -> Path:
    """Return an empty folder for the images, beside an older set; refuse a folder that holds another data set."""
    annotations, unfinished = out / "annotations.json", out / "annotations.json.part"
    if annotations.exists():
        try:
            ours = json.loads(annotations.read_text())["info"]["description"] == DESCRIPTION
        except (ValueError, KeyError, TypeError):
            ours = False
    else:
        ours = unfinished.exists() or not any((out / "images").glob("*"))
    if not ours or (out.exists() and not out.is_dir()):
        raise OrlError(f"{out} holds something other than practice scenes: choose another folder")
    staging = out / "images.part"
    staging.mkdir(parents=True, exist_ok=True)
    for left_over in staging.glob("*.jpg"):
        left_over.unlink()
    return staging


def _publish(out: Path, content: dict[str, Any]) -> Path:
    """Move the finished images and annotations into place; the annotations come last and make the set valid."""
    annotations, unfinished = out / "annotations.json", out / "annotations.json.part"
    unfinished.write_text(json.dumps(content))
    annotations.unlink(missing_ok=True)
    (out / "images").mkdir(exist_ok=True)
    for old in (out / "images").glob("[0-9][0-9][0-9][0-9][0-9][0-9].jpg"):
        old.unlink()
    for image in content["images"]:
        (out / "images.part" / image["file_name"]).replace(out / "images" / image["file_name"])
    (out / "images.part").rmdir()
    return unfinished.replace(annotations)


# ------------------------------------------------------------------------------------- placing and pasting


def _choose_instance(objects: Objects, category: str, rng: np.random.Generator, backdrop: Color) -> str:
    """Return an instance that stands out from the background's color; the best of a few where none does."""
    names = [objects.choose(category, rng) for _ in range(6)]
    colors = np.array([backdrop] + [objects.color(name) for name in names], np.float32)
    lab = cv2.cvtColor(colors[None], cv2.COLOR_RGB2Lab)[0]  # (7, 3)
    distance = np.linalg.norm(lab[1:] - lab[0], axis=1)
    return names[int(np.argmax(distance.clip(max=MIN_CONTRAST)))]  # the first that is far enough


def _position(sprite: Sprite, rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Return a random left and top of the sprite in the picture."""
    height, width = sprite.alpha.shape
    over_x, over_y = int(MAX_OUTSIDE * width), int(MAX_OUTSIDE * height)
    left = int(rng.integers(-over_x, size - width + over_x + 1))
    top = int(rng.integers(-over_y, size - height + over_y + 1))
    return left, top


def _mask_at(sprite: Sprite, left: int, top: int, size: int) -> tuple[Mask, int]:
    """Return the sprite's mask in the picture, (size, size), and its whole area in pixels."""
    solid = sprite.alpha >= 0.5
    mask = np.zeros((size, size), bool)
    picture, inside = _windows(left, top, solid.shape, size)
    mask[picture] = solid[inside]
    return mask, int(solid.sum())


def _windows(left: int, top: int, shape: tuple[int, ...], size: int) -> tuple[Any, Any]:
    """Return where an array laid at (left, top) meets the picture: index into the picture, index into the array."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + shape[1], size), min(top + shape[0], size)
    return np.s_[y0:y1, x0:x1], np.s_[y0 - top : y1 - top, x0 - left : x1 - left]


def _may_cover(mask: Mask, other: _Placed) -> bool:
    """Whether enough of `other` stays visible, in a box of its own, when an object is laid over it."""
    rest = other.mask & ~mask
    if rest.sum() < MIN_VISIBLE * other.area:
        return False
    a, b = _box(rest), _box(mask)
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(high, 0)
    return shared <= MAX_OVERLAP * (a[2] * a[3] + b[2] * b[3] - shared)


def _box(mask: Mask) -> Box:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return int(x), int(y), int(width), int(height)


def _paste(canvas: FloatImage, sprite: Sprite, left: int, top: int, *, light: float) -> None:
    """Lay a sprite and its soft shadow over the canvas, in place."""
    reach = max(sprite.alpha.shape)
    blur, throw = 0.035 * reach, 0.045 * reach
    pad = int(3 * blur + throw) + 1
    alpha = cv2.copyMakeBorder(sprite.alpha, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
    away = -throw * np.array([np.cos(np.radians(light)), np.sin(np.radians(light))])
    shadow = cv2.warpAffine(
        cv2.GaussianBlur(alpha, (0, 0), blur), np.column_stack([np.eye(2), away]), alpha.shape[::-1]
    )
    picture, inside = _windows(left - pad, top - pad, alpha.shape, canvas.shape[0])
    canvas[picture] *= 1 - 0.3 * shadow[inside][..., None]
    picture, inside = _windows(left, top, sprite.alpha.shape, canvas.shape[0])
    canvas[picture] += sprite.alpha[inside][..., None] * (sprite.rgb[inside] - canvas[picture])
