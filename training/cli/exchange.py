"""`orl import`, `orl export` and `orl embed`: files of other tools, in and out."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from orl_explore.errors import typed
from training.cli.arguments import Commands, add_config, add_images, add_run

IMPORTS = """\
FILE is one of the following; files that belong together are imported together:
  proposals, neighbors, correspondences        the ORL authors' JSON (COCO+ proposals: both files)
  COCO results, FiftyOne samples, .csv         boxes, best score first; `orl stage2 RUN` goes on with them
  COCO data sets (.json)                       boxes with masks, of MaskCut, CutLER, UnSAM, ...
  a folder of .json, one an image              masks of Segment Anything, as SA-1B or amg.py has them
  .pth, .pt, .ckpt, .safetensors               weights: this project's, the ORL authors', torchvision, timm, MoCo, DINO,
                                               lightly and other ResNets; nothing in them is executed
  .zip                                         a mining bundle of `orl export RUN bundle OUT.zip`

  orl import runs/theirs correspondence.json --images annotations/instances_train2017.json
  orl import runs/boxes detections.json --images annotations/instances_val2017.json --stage2.min_side 32
  orl import runs/cut imagenet_maskcut.json --images PHOTOS --min-score 0.5
  orl import runs/mine byol.pth --images PHOTOS --stage stage1
"""

EXPORTS = """\
WHAT is one of
  proposals, neighbors, correspondences        the ORL authors' JSON
  coco                                         kept boxes as COCO annotations
  pairs                                        a flat table of all pairs: OUT.csv or OUT.parquet
  bundle                                       all that somebody needs to start stage 3: OUT.zip
  torchvision, timm, detectron2, mmdetection, onnx
                                               weights for that library, with a model card beside them
"""

EXPORT_NAMES = (
    *("proposals", "neighbors", "correspondences", "coco", "pairs", "bundle"),
    *("torchvision", "timm", "detectron2", "mmdetection", "onnx"),
)


def register(commands: Commands) -> None:
    """Add the commands that exchange files with other tools."""
    importing = commands.add(
        "import",
        _import,
        "begin a run with files of other tools, or a mining bundle",
        epilog=IMPORTS,
        takes_settings=True,
    )
    add_run(importing, "the run folder; a new one is begun")
    importing.add_argument("files", type=Path, nargs="+", metavar="FILE", help="what to import; see below")
    add_config(importing, default="the run's own, or the paper's")
    add_images(importing)
    importing.add_argument(
        "--stage", choices=("stage1", "stage3"), help="whose weights these are (default: what the file says)"
    )
    importing.add_argument("--backbone", help="of weights: a torchvision ResNet or timm:NAME (default: what fits)")
    importing.add_argument("--network", metavar="PREFIX", help="of weights: which network, where a file has several")
    importing.add_argument(
        "--min-score", type=float, metavar="X", help="of boxes: leave those out whose score (predicted_iou) is below X"
    )
    importing.add_argument(
        "--min-stability", type=float, metavar="X", help="of Segment Anything: the same for stability_score"
    )
    importing.add_argument(
        "--strict", action="store_true", help="refuse files with a box that cannot be used as it stands"
    )
    importing.add_argument("--overwrite", action="store_true", help="replace stages that the run has already")

    exporting = commands.add("export", _export, "write pairs, boxes or weights for other tools", epilog=EXPORTS)
    add_run(exporting)
    exporting.add_argument("what", metavar="WHAT", choices=EXPORT_NAMES, help="see below")
    exporting.add_argument("out", type=Path, metavar="OUT", help="the file to write")
    exporting.add_argument(
        "--stage", choices=("stage1", "stage3"), help="whose weights (default: stage3 where there is one)"
    )

    embedding = commands.add("embed", _embed, "embed the images and boxes of an imported stage 2", takes_settings=True)
    add_run(embedding, "the run folder; it needs an encoder of stage 1")
    add_config(embedding)
    embedding.add_argument("--overwrite", action="store_true", help="make the embeddings anew")


def _import(arguments: argparse.Namespace) -> None:
    """Bring files of other tools into a run: the ORL authors' JSON and checkpoints, boxes, weights, mining bundles.

    Boxes are clipped to their image, and those that cannot be used are counted (--strict refuses both). What does not
    fit is refused with the entry that is wrong, and the run stays as it was.
    """
    from training.console import console
    from training.importing import import_files

    run = import_files(
        arguments.run,
        arguments.files,
        images=arguments.images,
        root=arguments.root,
        config=arguments.config,
        overrides=arguments.overrides,
        stage=arguments.stage,
        backbone=arguments.backbone,
        network=arguments.network,
        min_score=arguments.min_score,
        min_stability=arguments.min_stability,
        label_field=arguments.field,
        strict=arguments.strict,
        overwrite=arguments.overwrite,
    )
    console.print(f"imported: {run.path}; look at it with `{typed('app', run.path.parent)}`", markup=False)
    if run.finished("stage2"):
        step = "evaluate" if run.encoder_file("stage3").exists() else "stage3"
    elif run.encoder_file("stage3").exists():
        step = "evaluate"
    else:
        step = "stage2" if run.encoder_file("stage1").exists() else "stage1"
    console.print(f"next: {typed(step, run.path)}", markup=False)


def _export(arguments: argparse.Namespace) -> None:
    """Write something of a run in the format of another tool."""
    from orl_explore.runs.run import Run
    from training.console import console
    from training.exporting import export

    for file in export(Run.open(arguments.run), arguments.what, arguments.out, stage=arguments.stage):
        console.print(f"{file}: {file.stat().st_size:,} bytes", markup=False)


def _embed(arguments: argparse.Namespace) -> None:
    """Embed the images and boxes of a stage 2 that was imported, with the encoder of stage 1.

    Pairs and neighbors stay as they were imported. The dashboard's object map, similarity matrix and search then work.
    """
    from training import pipeline
    from training.embed_imported import embed_imported
    from training.machine import is_main_process

    run, config = pipeline.prepare(arguments.run, config=arguments.config, overrides=arguments.overrides)
    with run.lock() if is_main_process() else contextlib.nullcontext():
        embed_imported(run, config, overwrite=arguments.overwrite)
