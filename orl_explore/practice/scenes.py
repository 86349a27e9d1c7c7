"""Practice scenes with ground truth, in contexts that make some categories appear together.

By default things are of materials and parts, in places as photographs show them (`natural`). Disguised scenes have
drawings whose color and texture tell nothing of the category (`flat`, `shapes`); cut-out photographs are composed as
these are (`cutouts`). A scene depends on the settings and on (seed, part, its number) alone, so that a longer set
begins with the shorter one.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from orl_explore.errors import OrlError
from orl_explore.practice import flat, natural
from orl_explore.practice.categories import INSTANCES
from orl_explore.practice.contexts import Photographs
from orl_explore.practice.cutouts import CutOuts
from orl_explore.practice.flat import FlatObjects
from orl_explore.practice.natural import Things
from orl_explore.practice.placing import SceneObject
from orl_explore.practice.shapes import INSTANCES as DRAWINGS
from orl_explore.practice.shapes import DrawnObjects, Part

DESCRIPTION = "ORL Explore practice scenes"

Objects = FlatObjects | Things
"""Where a scene's objects come from; it decides how the scene is composed."""


def compose_scene(
    rng: np.random.Generator,
    *,
    size: int = 160,
    objects: Objects | None = None,
    photographs: Photographs | None = None,
    context: str | None = None,
) -> tuple[NDArray[np.uint8], list[SceneObject], str]:
    """Compose one scene of things in a painted place, or of `objects`, or on crops of `photographs`.

    Returns the image, uint8 (size, size, 3) RGB; its 2 to 5 objects from back to front; and the name of its context,
    drawn uniformly unless `context` names it. Raises OrlError where that context does not exist.
    """
    objects = objects or Things(size=size)
    names = [place.name for place in objects.contexts]
    if context is not None and context not in names:
        raise OrlError(f"there is no context {context!r}: choose one of {', '.join(names)}")
    at = names.index(context) if context else int(rng.integers(len(names)))
    if isinstance(objects, Things):
        place = objects.contexts[at]
        return *natural.compose(rng, place, objects, size=size, photographs=photographs), place.name
    surroundings = objects.contexts[at]
    return *flat.compose(rng, surroundings, objects, size=size, photographs=photographs), surroundings.name


def make_scenes(
    out: Path,
    *,
    count: int = 1000,
    size: int = 160,
    seed: int = 0,
    instances: int | None = None,
    disguise: bool = False,
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
        instances: different things of a category, 36 unless given, 6 of the disguised; each returns in many scenes, in
            another place, size and light.
        disguise: show drawings whose color and texture tell nothing of their category, in place of things.
        cutouts: folder of CATEGORY/*.png with transparency that replace them.
        backgrounds: folder of photographs that replace the painted backgrounds.
        holdout: share of the instances of every category that only scenes of `part="test"` show.
        part: "train" (the other instances), "test" (the held-out ones) or "all".
        progress: called with (scenes done, count).

    The annotations are COCO: the box of the visible mask and the mask as compressed RLE, also `instance` and `visible`
    (share of the object's area) for every object and `context` for every image. Raises OrlError for settings that
    cannot work.
    """
    if instances is None:
        instances = DRAWINGS if disguise else INSTANCES
    _check(count, size, seed, instances, holdout, part)
    if disguise and cutouts:
        raise OrlError("--disguise and --cutouts both say what the scenes show: choose one of them")
    objects: Objects
    if cutouts:
        objects = CutOuts(Path(cutouts), size=size, holdout=holdout, part=part)
    elif disguise:
        objects = DrawnObjects(instances=instances, holdout=holdout, part=part)
    else:
        objects = Things(size=size, instances=instances, holdout=holdout, part=part)
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
        "disguise": disguise,
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
