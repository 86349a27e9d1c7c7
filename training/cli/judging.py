"""`orl evaluate`: what the stages are worth, by the run's own annotations or by protocols of the literature."""

from __future__ import annotations

import argparse
from pathlib import Path

from orl_explore.errors import OrlError
from training.cli.arguments import Commands, add_config, add_field, add_json, add_run

PROTOCOLS = """\
Protocols judge encoders on other tasks, with the settings of the literature:
  voc07              mAP of linear SVMs: --data VOCdevkit (or VOC2007)
  voc07-lowshot      the same with 1 to 96 positive images per class
  knn                accuracy of the vote of the nearest neighbors: object crops of the run, or of --data COCO.json;
                     or whole images, --data DIR with train/CLASS/ and val/CLASS/
  linear             accuracy of a linear classifier on the frozen backbone: --data DIR
  semi               accuracy after fine-tuning on 1% and 10% of the labels: --data DIR with 1percent.txt, 10percent.txt
  retrieval          mAP of ranking object crops by a query crop: of the run, or of --data COCO.json
  in-context         mIoU when every patch gets the labels of the most similar patches of labeled images: of the run, if
                     its objects have masks; of --data TRAIN.json TEST.json; or --data DIR (VOC2012, ADE20K, Cityscapes)
  segmentation       mIoU of an FCN, fine-tuned or (--segmentation.backbone frozen) on a frozen backbone: the same data
  detection          Mask R-CNN, AP of boxes and masks: of the run, or of --data TRAIN.json TEST.json (COCO's layout)

  orl evaluate runs/demo --protocol knn --encoder random stage1 stage3 supervised
  orl evaluate runs/demo --protocol knn --knn.k '[10]'

--encoder takes supervised (trained with the run's labels: an upper bound) and every name that `orl encoders` lists,
such as random (untrained), stage1, embedded, timm:NAME or FILE; without it, random and the stages that are there are
judged. What was judged before is not judged again.
`orl config PROTOCOL` shows the settings of a protocol, such as --knn.k; docs/transfer.md says what each does.
"""

PROTOCOL_NAMES = (
    "voc07",
    "voc07-lowshot",
    "knn",
    "linear",
    "semi",
    "retrieval",
    "in-context",
    "segmentation",
    "detection",
)


def register(commands: Commands) -> None:
    """Add `orl evaluate`."""
    evaluate = commands.add(
        "evaluate", _evaluate, "measure how good each stage is", epilog=PROTOCOLS, takes_settings=True
    )
    add_run(evaluate)
    add_config(evaluate)
    evaluate.add_argument(
        "--protocol",
        action="append",
        default=[],
        metavar="NAME",
        help=f"judge by a transfer protocol instead: {', '.join(PROTOCOL_NAMES)}; may be given several times",
    )
    evaluate.add_argument("--data", nargs="+", type=Path, default=[], metavar="PATH", help="what the protocol reads")
    add_field(evaluate)
    evaluate.add_argument("--encoder", nargs="+", default=[], metavar="ENCODER", help="which encoders; see below")
    evaluate.add_argument("--overwrite", action="store_true", help="judge by the protocol anew")
    add_json(evaluate, "every figure")


def _evaluate(arguments: argparse.Namespace) -> None:
    """Measure what each stage is worth: a random encoder, stage 1 and stage 3, and what stage 2 found.

    With annotations (practice scenes, COCO) every figure is measured; without them, what needs no labels. The figures
    go to RUN/evaluation/summary.json; after stage 2, the summary picture RUN/summary.png is drawn, too. With
    --protocol, encoders are judged by a protocol of the literature instead; every result becomes a file in
    RUN/evaluation/transfer/.
    """
    from training import pipeline

    if arguments.protocol:
        _transfer(arguments)
        return
    if arguments.data or arguments.field or arguments.encoder or arguments.overwrite:
        raise OrlError(
            f"--data, --field, --encoder and --overwrite belong to a protocol: add --protocol {PROTOCOL_NAMES[0]}"
        )
    run, config = pipeline.prepare(arguments.run, config=arguments.config, overrides=arguments.overrides)
    show_figures(pipeline.judge(run, config), as_json=arguments.json)


def _transfer(arguments: argparse.Namespace) -> None:
    from training import pipeline
    from training.machine import is_main_process
    from training.transfer import runner as transfer

    for name in arguments.protocol:
        transfer.protocol_named(name)
    overrides, settings = transfer.split_overrides(arguments.overrides, arguments.protocol)
    run, config = pipeline.prepare(arguments.run, config=arguments.config, overrides=overrides)
    results = transfer.evaluate(
        run,
        config,
        list(dict.fromkeys(arguments.protocol)),
        encoders=list(dict.fromkeys(arguments.encoder)),
        data=arguments.data,
        label_field=arguments.field,
        settings=settings,
        overwrite=arguments.overwrite,
    )
    if not is_main_process():
        return
    if arguments.json:
        import json

        print(json.dumps(results))
    else:
        from rich.console import Console

        Console().print(transfer.results_table(results, run))


def show_figures(summary: dict, *, as_json: bool) -> None:
    """Print the figures of `training.pipeline.judge` as tables, or as one JSON object."""
    if as_json:
        import json

        print(json.dumps(summary))
    else:
        from rich.console import Console

        from training.evaluation_tables import summary_tables

        for table in summary_tables(summary):
            Console().print(table)
