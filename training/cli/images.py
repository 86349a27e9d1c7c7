"""`orl scenes`, `orl data` and `orl verify`: images to train on."""

from __future__ import annotations

import argparse
from pathlib import Path

from orl_explore.errors import typed
from training.cli.arguments import Commands, add_images


def register(commands: Commands) -> None:
    """Add the commands about images."""
    _add_scenes(commands)
    _add_data(commands)
    verify = commands.add("verify", _verify, "report which images can be used, and why others cannot")
    add_images(verify, positional=True)
    verify.add_argument("--all", action="store_true", help="list every skipped file, not only the first 20")


def _add_scenes(commands: Commands) -> None:
    scenes = commands.add("scenes", _scenes, "make practice scenes with ground truth")
    scenes.add_argument("out", type=Path, metavar="OUT", help="folder to write images/ and annotations.json to")
    scenes.add_argument("--count", type=int, default=1000, help="how many scenes (default: 1000)")
    scenes.add_argument("--size", type=int, default=160, help="side of a scene in pixels (default: 160)")
    scenes.add_argument("--seed", type=int, default=0, help="same seed, same scenes (default: 0)")
    scenes.add_argument(
        "--cutouts", type=Path, metavar="DIR", help="compose from RGBA pictures, DIR/CATEGORY/*.png, not from drawings"
    )
    scenes.add_argument("--backgrounds", type=Path, metavar="DIR", help="photographs to use as backgrounds")
    scenes.add_argument("--disguise", action="store_true", help="drawings whose color and texture hide their category")
    scenes.add_argument(
        "--instances",
        type=int,
        help="different things per category; with few, each returns often (default: 36, disguised 6)",
    )
    scenes.add_argument(
        "--holdout", type=float, default=0.0, help="share of the object instances kept for `--part test` (default: 0)"
    )
    scenes.add_argument(
        "--part",
        choices=("all", "train", "test"),
        default="all",
        help="which instances the scenes show (default: all)",
    )
    scenes.add_argument(
        "--layout",
        nargs="+",
        choices=("voc", "voc2012", "imagefolder"),
        default=[],
        help="also write the layouts that transfer protocols read: OUT/VOC2007, OUT/VOC2012 with label maps, or object"
        " crops in OUT/imagefolder",
    )


def _scenes(arguments: argparse.Namespace) -> None:
    """Make practice scenes: things in places, with boxes, masks and contexts as COCO annotations.

    Every step of ORL can be judged on them. Objects of a category share material, parts and a range of colors, or, with
    --disguise, their shape and never their color; a context (such as a kitchen) has objects and a kind of background of
    its own, so that image neighbors mean something.
    """
    from orl_explore.practice.benchmark_folders import LAYOUTS
    from orl_explore.practice.scenes import make_scenes
    from training.console import console, progress_bar

    with progress_bar("scenes") as progress:
        path = make_scenes(
            arguments.out,
            count=arguments.count,
            size=arguments.size,
            seed=arguments.seed,
            cutouts=arguments.cutouts,
            backgrounds=arguments.backgrounds,
            instances=arguments.instances,
            disguise=arguments.disguise,
            holdout=arguments.holdout,
            part=arguments.part,
            progress=progress,
        )
    console.print(f"{arguments.count} scenes: {path}")
    for layout in arguments.layout:
        with progress_bar(layout) as progress:
            folder = LAYOUTS[layout](path, arguments.out, seed=arguments.seed, progress=progress)
        console.print(f"{layout} layout: {folder}", markup=False)
    console.print(
        f"next: {typed('run', f'runs/{arguments.out.resolve().name}', '--config', 'demo', '--images', path)}",
        markup=False,
    )


def _add_data(commands: Commands) -> None:
    data = commands.add("data", _data, "download COCO and lay it out")
    data.add_argument("what", metavar="WHAT", choices=("coco",), help="coco")
    data.add_argument("--root", type=Path, required=True, metavar="DIR", help="folder to download it to")
    data.add_argument(
        "--split",
        nargs="+",
        choices=("train2017", "val2017", "unlabeled2017"),
        default=["train2017"],
        help="what to download: train2017 (default), val2017, unlabeled2017",
    )
    data.add_argument("--unlabeled", action="store_true", help="also download unlabeled2017, for COCO+")
    data.add_argument("--url", help="another server with COCO's folders zips/ and annotations/")
    data.add_argument("--keep-zips", action="store_true", help="keep the archives after unpacking")


def _data(arguments: argparse.Namespace) -> None:
    """Download COCO 2017, check and unpack it: 19 GB for train2017, 20 GB more for unlabeled2017.

    While a split is being unpacked, it takes twice that much. A download that was stopped continues where it left
    off; what is there is not fetched again. DIR/downloads.json records what was downloaded.
    """
    import shlex

    from orl_explore.images.downloads import ANNOTATIONS, URL, download_coco
    from training.console import console, progress_bar

    splits = list(dict.fromkeys([*arguments.split, *(["unlabeled2017"] if arguments.unlabeled else [])]))
    url = arguments.url or URL
    download_coco(arguments.root, splits, url=url, keep_zips=arguments.keep_zips, bar=progress_bar)
    train = [split for split in splits if split != "val2017"] or splits  # nobody trains on it beside others
    config = {("train2017",): "coco", ("train2017", "unlabeled2017"): "cocoplus"}.get(tuple(sorted(train)), "photos")
    sources = [str(arguments.root / ANNOTATIONS[split]) for split in sorted(train)]
    command = shlex.join(["orl", "plan", f"runs/{config}", "--config", config, "--images", *sources])
    console.print(f"next: {command}", markup=False)


def _verify(arguments: argparse.Namespace) -> None:
    """Read every image once and report which can be used; those that cannot are listed with the reason."""
    from orl_explore.images.opening import open_images, report
    from training.console import progress_bar

    with progress_bar("reading images") as progress:
        images = open_images(arguments.images, root=arguments.root, label_field=arguments.field, progress=progress)
    print(report(images, limit=None if arguments.all else 20))
