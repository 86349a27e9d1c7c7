"""The `orl` command."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from orl_explore import __version__
from orl_explore.errors import OrlError
from training.config import to_yaml

DESCRIPTION = """\
Object-level representation learning (ORL) from scene images, without labels.

  orl scenes data/demo                         make 1,000 practice scenes with ground truth
  orl run runs/demo --config demo --images data/demo/annotations.json
                                               train stage 1, mine stage 2, train stage 3, judge each
  orl run runs/mine --config tiny --images ~/Pictures
                                               the same on photographs of your own
  orl app                                      look at the runs in the browser

Every command explains itself: `orl COMMAND --help`. A command that was stopped goes on where it was when it is
typed again; what is finished is skipped.
"""

SETTINGS = """\
Settings: any value of the config can be changed on the command line, for example
  --stage1.epochs 20 --stage2.pair_ratio 0.2 --seed 3
`orl config demo` shows every setting, its value and what it means.
"""

IMPORTS = """\
FILE can be, several at a time where they belong together:
  proposals, neighbors, correspondences        the ORL authors' JSON (COCO+ proposals: both files)
  COCO results, FiftyOne samples, .csv         boxes, best score first; `orl stage2 RUN` goes on with them
  .pth, .pt, .ckpt, .safetensors               weights: this project's, the ORL authors', torchvision, timm, MoCo, DINO,
                                               lightly and other ResNets; nothing in them is executed
  .zip                                         a mining bundle of `orl export RUN bundle OUT.zip`

  orl import runs/theirs correspondence.json --images annotations/instances_train2017.json
  orl import runs/boxes detections.json --images annotations/instances_val2017.json --stage2.min_side 32
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

PROTOCOLS = """\
Protocols judge encoders on other tasks, with the settings of the literature:
  voc07              mAP of linear SVMs: --data VOCdevkit (or VOC2007)
  voc07-lowshot      the same with 1 to 96 positive images per class
  knn                accuracy of the vote of the nearest neighbors: object crops of the run, or of --data COCO.json;
                     or whole images, --data DIR with train/CLASS/ and val/CLASS/
  linear             accuracy of a linear classifier on the frozen backbone: --data DIR
  semi               accuracy after fine-tuning on 1% and 10% of the labels: --data DIR with 1percent.txt, 10percent.txt
  retrieval          mAP of ranking object crops by a query crop: of the run, or of --data COCO.json
  detection          Mask R-CNN, AP of boxes and masks: of the run, or of --data TRAIN.json TEST.json (COCO's layout)

  orl evaluate runs/demo --protocol knn --encoder random stage1 stage3 supervised
  orl evaluate runs/demo --protocol knn --knn.k [10]

--encoder takes random (untrained), stage1, stage3, supervised (trained with the run's labels: an upper bound) or FILE;
without it random and the stages that are there. What was judged before is not judged again.
`orl config PROTOCOL` shows the settings of a protocol, such as --knn.k; docs/transfer.md says what each does.

"""

PROTOCOL_NAMES = ("voc07", "voc07-lowshot", "knn", "linear", "semi", "retrieval", "detection")

EXPORT_NAMES = (
    *("proposals", "neighbors", "correspondences", "coco", "pairs", "bundle"),
    *("torchvision", "timm", "detectron2", "mmdetection", "onnx"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 done, 1 failed, 2 typed wrong, 130 interrupted (Ctrl+C), 143 ended by SIGTERM or, in training,
        SIGUSR1.
    """
    parser, commands = _parser()
    arguments, overrides = parser.parse_known_args(_join_settings(sys.argv[1:] if argv is None else argv, commands))
    if overrides and not getattr(arguments, "takes_settings", False):
        parser.error(
            f"{arguments.command} does not know {overrides[0].partition('=')[0]}: see `orl {arguments.command} --help`"
        )
    arguments.overrides = overrides
    with _terminated():  # until the error is said, too: a lost process is followed by a SIGTERM within milliseconds
        try:
            arguments.function(arguments)
        except OrlError as error:
            from training.console import console

            code = getattr(error, "EXIT_CODE", 1)
            # What went wrong is said by whichever process it was; that all end, by the first.
            console.quiet &= code != 1
            console.print("[bold red]orl:[/] ", end="")
            console.print(str(error), markup=False)
            return code
        except KeyboardInterrupt:
            print("\nstopped; the same command goes on from here", file=sys.stderr)
            return 130
        except BrokenPipeError:  # `orl ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
    return 0


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """End in order on SIGTERM, as jobs get it before their machine is taken away; training does so by itself."""

    def end(number: int, frame: object) -> None:
        from training.console import console

        if os.getpid() == own:
            console.print("orl: stopped by SIGTERM; the same command goes on from here", markup=False)
        raise SystemExit(128 + number)

    own = os.getpid()  # workers inherit the handler, and have nothing to say
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _join_settings(argv: Sequence[str], commands: Mapping[str, argparse.ArgumentParser]) -> list[str]:
    """Write `--seed 3` as `--seed=3`: argparse knows no settings and could take the 3 for the run folder."""
    command = commands.get(argv[0]) if argv else None
    if command is None or not command.get_default("takes_settings"):
        return list(argv)
    joined: list[str] = []
    for word in argv:
        before = joined[-1] if joined else ""
        is_setting = before.startswith("--") and "=" not in before and before not in command._option_string_actions
        if is_setting and not word.startswith("--"):
            joined[-1] = f"{before}={word}"
        else:
            joined.append(word)
    return joined


def _parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser, and that of each command."""
    parser = argparse.ArgumentParser(
        prog="orl", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"orl {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")

    def command(
        name: str, function: Callable[[argparse.Namespace], None], summary: str, epilog: str = ""
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=summary,
            description=function.__doc__,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(function=function)
        return added

    scenes = command("scenes", _scenes, "make practice scenes with ground truth")
    scenes.add_argument("out", type=Path, metavar="OUT", help="folder to write images/ and annotations.json to")
    scenes.add_argument("--count", type=int, default=1000, help="how many scenes (default: 1000)")
    scenes.add_argument("--size", type=int, default=160, help="side of a scene in pixels (default: 160)")
    scenes.add_argument("--seed", type=int, default=0, help="same seed, same scenes (default: 0)")
    scenes.add_argument(
        "--cutouts", type=Path, metavar="DIR", help="compose from RGBA pictures, DIR/CATEGORY/*.png, not drawings"
    )
    scenes.add_argument("--backgrounds", type=Path, metavar="DIR", help="photographs to use as backgrounds")
    scenes.add_argument("--disguise", action="store_true", help="drawings whose color and texture hide their category")
    scenes.add_argument(
        "--instances",
        type=int,
        help="different things of a category; few: each returns often (default: 12, disguised 6)",
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
        choices=("voc", "imagefolder"),
        default=[],
        help="write them, too, as transfer protocols want data: OUT/VOC2007, or object crops in OUT/imagefolder",
    )

    data = command("data", _data, "download COCO and lay it out")
    data.add_argument("what", metavar="WHAT", choices=("coco",), help="coco")
    data.add_argument("--root", type=Path, required=True, metavar="DIR", help="where it goes")
    data.add_argument(
        "--split",
        nargs="+",
        choices=("train2017", "val2017", "unlabeled2017"),
        default=["train2017"],
        help="what to download: train2017 (default), val2017, unlabeled2017",
    )
    data.add_argument("--unlabeled", action="store_true", help="unlabeled2017, too, for COCO+")
    data.add_argument("--url", help="another server with COCO's folders zips/ and annotations/")
    data.add_argument("--keep-zips", action="store_true", help="leave the archives there after unpacking")

    verify = command("verify", _verify, "say which images can be used, and why others cannot")
    _add_images(verify, positional=True)
    verify.add_argument("--all", action="store_true", help="list every skipped file, not only the first 20")

    stages = {
        "run": (_run, "do all three stages and judge them"),
        "stage1": (_stage, "train the image-level encoder (BYOL)"),
        "stage2": (_stage, "find which regions of which images correspond"),
        "stage3": (_stage, "train on images, boxes and corresponding boxes"),
        "evaluate": (_evaluate, "say how good each step was"),
    }
    for name, (function, summary) in stages.items():
        added = command(name, function, summary, epilog=(PROTOCOLS if name == "evaluate" else "") + SETTINGS)
        added.set_defaults(takes_settings=True)
        added.add_argument("run", type=Path, metavar="RUN", help="the run folder")
        added.add_argument(
            "--config", help="a config by name (`orl config` lists them) or a YAML file; default: the run's own"
        )
        if name in ("run", "stage1", "stage2"):
            _add_images(added, positional=False)
        if name != "evaluate":
            added.add_argument(
                "--overwrite", action="store_true", help="make the stage anew (with run: all of them); nothing is kept"
            )
        if name == "stage2":
            added.add_argument(
                "--encoder",
                metavar="WHICH",
                help="mine with another encoder than stage 1's: timm:NAME, timm:NAME@FILE, torchvision:NAME[.WEIGHTS],"
                " or a file of weights (stage2.encoder)",
            )
            added.add_argument(
                "--proposals",
                choices=("fast", "opencv"),
                help="who searches for boxes: fast (default; compiled at its first use on a machine, in ten seconds)"
                " or opencv, the reference, several times slower (stage2.proposals)",
            )
            added.add_argument(
                "--max-side",
                type=int,
                metavar="PIXELS",
                help="search images scaled down to this longer side: faster, but objects are missed (stage2.max_side)",
            )
        if name == "stage3":
            added.add_argument(
                "--reviews", choices=("use",), help="train on the pairs as reviewed in the dashboard (stage3.reviews)"
            )
        if name == "evaluate":
            added.add_argument(
                "--protocol",
                action="append",
                default=[],
                metavar="NAME",
                help=f"judge by a transfer protocol instead: {', '.join(PROTOCOL_NAMES)}; may be given several times",
            )
            added.add_argument(
                "--data", nargs="+", type=Path, default=[], metavar="PATH", help="what the protocol reads"
            )
            added.add_argument("--encoder", nargs="+", default=[], metavar="ENCODER", help="which encoders; see below")
            added.add_argument("--overwrite", action="store_true", help="judge by the protocol anew")
        if name in ("run", "evaluate"):
            added.add_argument("--json", action="store_true", help="print every figure as one JSON object")

    plan = command("plan", _plan, "estimate time, memory and disk of a run before it is begun", epilog=SETTINGS)
    plan.set_defaults(takes_settings=True)
    plan.add_argument("run", type=Path, metavar="RUN", help="the run folder; it need not exist, and nothing is written")
    plan.add_argument("--config", help="a config by name or a YAML file; default: the run's own, or the paper's")
    _add_images(plan, positional=False)
    plan.add_argument("--json", action="store_true", help="print the plan as one JSON object")

    for name, function, summary in (
        ("map", _map, "make a map of all kept boxes (UMAP)"),
        ("project", _project, "the former name of `orl map`"),
    ):
        added = command(name, function, summary)
        added.add_argument("run", type=Path, metavar="RUN", help="the run folder; its stage 2 must be finished")
        added.add_argument(
            "--neighbors", type=int, default=15, help="neighbors kept together: few show details, many the whole (15)"
        )
        added.add_argument("--min-dist", type=float, default=0.1, help="least distance of points, 0..1 (default: 0.1)")
        added.add_argument("--metric", default="cosine", help="cosine (default), euclidean or correlation")
        added.add_argument("--clusters", type=int, default=12, help="groups that k-means finds (default: 12)")
        added.add_argument("--seed", type=int, default=0, help="same seed, same map (default: 0)")
        added.add_argument("--limit", type=int, default=100_000, help="of more boxes, draw a sample (default: 100000)")
        added.add_argument("--overwrite", action="store_true", help="make it anew although it is up to date")

    importing = command("import", _import, "begin a run with files of other tools, or a mining bundle", epilog=IMPORTS)
    importing.set_defaults(takes_settings=True)
    importing.add_argument("run", type=Path, metavar="RUN", help="the run folder; it is begun where there is none")
    importing.add_argument("files", type=Path, nargs="+", metavar="FILE", help="what to import; see below")
    importing.add_argument("--config", help="a config by name or a YAML file; default: the run's own, or the paper's")
    _add_images(importing, positional=False)
    importing.add_argument("--stage", choices=("stage1", "stage3"), help="whose weights these are (default: they say)")
    importing.add_argument("--backbone", help="of weights: a torchvision ResNet or timm:NAME (default: what fits)")
    importing.add_argument("--network", metavar="PREFIX", help="of weights: which network, where a file has several")
    importing.add_argument("--overwrite", action="store_true", help="replace stages that the run has already")

    exporting = command("export", _export, "write pairs, boxes or weights for other tools", epilog=EXPORTS)
    exporting.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    exporting.add_argument("what", metavar="WHAT", choices=EXPORT_NAMES, help="see below")
    exporting.add_argument("out", type=Path, metavar="OUT", help="the file to write")
    exporting.add_argument(
        "--stage", choices=("stage1", "stage3"), help="whose weights (default: stage3 where there is one)"
    )

    embedding = command(
        "embed", _embed, "embed the images and boxes of an imported stage 2, to compare them", epilog=SETTINGS
    )
    embedding.set_defaults(takes_settings=True)
    embedding.add_argument("run", type=Path, metavar="RUN", help="the run folder; it needs an encoder of stage 1")
    embedding.add_argument("--config", help="a config by name or a YAML file; default: the run's own")
    embedding.add_argument("--overwrite", action="store_true", help="make the embeddings anew")

    app = command("app", _app, "open the dashboard over a folder of runs")
    app.add_argument("runs", type=Path, nargs="?", default=Path("runs"), help="a folder of runs (default: runs)")
    app.add_argument("--port", type=int, default=8501, help="the first port to try (default: 8501)")
    app.add_argument(
        "--host",
        default="localhost",
        help="who may look: localhost (default), or 0.0.0.0: all who reach this machine, without a password",
    )

    config = command("config", _config, "list the configs, or show one with every value")
    config.set_defaults(takes_settings=True)
    config.add_argument("name", nargs="?", help="a config by name, a YAML file, or a transfer protocol")
    return parser, commands.choices


def _add_images(parser: argparse.ArgumentParser, *, positional: bool) -> None:
    parser.add_argument(
        "images" if positional else "--images",
        nargs="+",
        type=Path,
        metavar="IMAGES" if positional else "PATH",
        help="a folder, a COCO json, a .txt list of files, or several of them",
    )
    parser.add_argument("--root", type=Path, help="where a COCO json's or list's files are (default: beside it)")


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
    console.print(f"next: orl run runs/demo --config demo --images {path}")


def _data(arguments: argparse.Namespace) -> None:
    """Download COCO 2017, check and unpack it: 19 GB for train2017, 20 GB more for unlabeled2017.

    While a split is unpacked it takes that twice. A download that was stopped goes on where it was; what is there is
    not fetched again. DIR/downloads.json records what came.
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
        images = open_images(arguments.images, root=arguments.root, progress=progress)
    print(report(images, limit=None if arguments.all else 20))


def _run(arguments: argparse.Namespace) -> None:
    """Do all three stages on a set of images, then judge each; finished stages are skipped.

    A first run needs --images; the config is stored with the run and used again when none is named.
    """
    from training import pipeline

    run, config = pipeline.prepare(
        arguments.run,
        config=arguments.config,
        overrides=arguments.overrides,
        images=arguments.images,
        root=arguments.root,
    )
    summary = pipeline.run_all(run, config, overwrite=arguments.overwrite)
    _show(summary, arguments)


def _stage(arguments: argparse.Namespace) -> None:
    """Do one stage, or go on with it where it was stopped.

    A new run needs --images, with stage1 or, with an encoder from elsewhere, stage2.
    """
    from training import pipeline

    run, config = pipeline.prepare(
        arguments.run,
        config=arguments.config,
        overrides=[*arguments.overrides, *_stage_options(arguments)],
        images=getattr(arguments, "images", None),
        root=getattr(arguments, "root", None),
    )
    pipeline.run_stage(arguments.command, run, config, overwrite=arguments.overwrite)


def _stage_options(arguments: argparse.Namespace) -> list[str]:
    """A stage's own options as the settings that they stand for."""
    own = {"stage2": ("encoder", "proposals", "max_side"), "stage3": ("reviews",)}.get(arguments.command, ())
    given = {name: getattr(arguments, name) for name in own if getattr(arguments, name) is not None}
    return [f"--{arguments.command}.{name}={value}" for name, value in given.items()]


def _evaluate(arguments: argparse.Namespace) -> None:
    """Say what each step was worth, for a random encoder, stage 1 and stage 3.

    With annotations (practice scenes, COCO) every figure; without them what needs no labels. With --protocol, judge
    encoders by a protocol of the literature instead; every result becomes a file in RUN/evaluation/transfer/.
    """
    from training import pipeline

    if arguments.protocol:
        _transfer(arguments)
        return
    if arguments.data or arguments.encoder or arguments.overwrite:
        raise OrlError(f"--data, --encoder and --overwrite belong to a protocol: add --protocol {PROTOCOL_NAMES[0]}")
    run, config = pipeline.prepare(arguments.run, config=arguments.config, overrides=arguments.overrides)
    _show(pipeline.judge(run, config), arguments)


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

        Console().print(transfer.results_table(results))


def _plan(arguments: argparse.Namespace) -> None:
    """Do a little of every stage on a few images, a minute or two in all, and extrapolate to the whole run.

    Below the table stands what was measured and how it was extrapolated. A machine that is busy with other things
    gives figures that are too high.
    """
    import shlex

    from training.console import console, progress_bar
    from training.plan import plan, show

    with progress_bar("measuring") as progress:
        made = plan(
            arguments.run,
            config=arguments.config,
            overrides=arguments.overrides,
            images=arguments.images,
            root=arguments.root,
            progress=progress,
        )
    if arguments.json:
        import json

        print(json.dumps(made.as_dict()))
    else:
        show(made)
    for warning in made.warnings:
        console.print(f"careful: {warning}", markup=False)
    words = ["orl", "run", str(arguments.run), *(["--config", arguments.config] if arguments.config else [])]
    words += ["--images", *map(str, arguments.images)] if arguments.images else []
    words += ["--root", str(arguments.root)] if arguments.root else []
    console.print(f"next: {shlex.join([*words, *arguments.overrides])}", markup=False)


def _map(arguments: argparse.Namespace) -> None:
    """Lay all kept boxes out on a map (UMAP of their embeddings), for the app's object map.

    Near points look alike to the encoder; distances between groups and their sizes mean little. The map is stored as
    object_map.parquet, with a cluster for every box. One that is up to date is left as it is.
    """
    from orl_explore.maps import object_map
    from orl_explore.runs.run import Run
    from training.console import console, progress_bar

    run = Run.open(arguments.run)
    names = ("neighbors", "min_dist", "metric", "clusters", "seed", "limit")
    settings = object_map.MapSettings(**{name: getattr(arguments, name) for name in names})
    if not arguments.overwrite and object_map.is_current(run, settings):
        console.print(f"the map of {run.path} is up to date: skipped", markup=False)
        return
    with progress_bar("map") as progress:
        made = object_map.make_object_map(run, settings, progress=progress)
    console.print(
        f"{len(made.table):,} of {made.regions:,} regions are on the map: {run.file('object_map')}", markup=False
    )


def _project(arguments: argparse.Namespace) -> None:
    """The former name of `orl map`, which does the same; this one goes with the next release."""
    from training.console import console

    console.print(f"`orl project` is now called `orl map`: type `orl map {arguments.run}`", markup=False)
    _map(arguments)


def _import(arguments: argparse.Namespace) -> None:
    """Bring files of other tools into a run: the ORL authors' JSON and checkpoints, boxes, weights, mining bundles.

    What does not fit is refused with the entry that is wrong, and the run stays as it was.
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
        overwrite=arguments.overwrite,
    )
    console.print(f"imported: {run.path}; look at it with `orl app {run.path.parent}`", markup=False)
    if run.finished("stage2"):
        step = "evaluate" if run.encoder_file("stage3").exists() else "stage3"
    elif run.encoder_file("stage3").exists():
        step = "evaluate"
    else:
        step = "stage2" if run.encoder_file("stage1").exists() else "stage1"
    console.print(f"next: orl {step} {run.path}", markup=False)


def _export(arguments: argparse.Namespace) -> None:
    """Write something of a run in the format of another tool."""
    from orl_explore.runs.run import Run
    from training.console import console
    from training.exporting import export

    for file in export(Run.open(arguments.run), arguments.what, arguments.out, stage=arguments.stage):
        console.print(f"{file}: {file.stat().st_size:,} bytes", markup=False)


def _embed(arguments: argparse.Namespace) -> None:
    """Embed the images and boxes of a stage 2 that was imported, with the encoder of stage 1.

    Pairs and neighbors stay as they were imported. The dashboard's map, matrix of similarities and search then work.
    """
    from training import pipeline
    from training.embed_imported import embed_imported
    from training.machine import is_main_process

    run, config = pipeline.prepare(arguments.run, config=arguments.config, overrides=arguments.overrides)
    with run.lock() if is_main_process() else contextlib.nullcontext():
        embed_imported(run, config, overwrite=arguments.overwrite)


def _app(arguments: argparse.Namespace) -> None:
    """Open the dashboard in the browser: neighbors, boxes, pairs and curves of every run in a folder.

    It listens on this machine alone unless --host says otherwise, and follows runs that are still training.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / "app.py").exists():
        raise OrlError(f"{root} has no app.py: install from a clone of the project with `pip install -e .`")
    runs = arguments.runs.resolve()
    if (runs / "run.json").exists():  # a run was named, not the folder it is in
        runs = runs.parent
    # Streamlit takes its settings from the folder it is started in.
    environment = os.environ | {"ORL_RUNS": os.path.relpath(runs, root) if runs.is_relative_to(root) else str(runs)}
    os.chdir(root)
    options = [f"--server.address={arguments.host}", f"--server.port={_free_port(arguments.host, arguments.port)}"]
    os.execve(sys.executable, [sys.executable, "-m", "streamlit", "run", "app.py", *options], environment)


def _free_port(host: str, first: int) -> int:
    """The first free port among 20."""
    import socket

    for port in range(first, first + 20):
        with contextlib.suppress(OSError, OverflowError), socket.create_server((host, port)):
            return port
    raise OrlError(f"no free port on {host} from {first} to {first + 19}: choose another one with --port")


def _config(arguments: argparse.Namespace) -> None:
    """List the configs that come with the project, or print one with every value, as YAML.

    With the name of a protocol of `orl evaluate --protocol`, or `supervised`: its settings.
    """
    from training.config import CONFIGS, config_names, config_parser, load_config

    if arguments.name in (*PROTOCOL_NAMES, "supervised"):
        from training.transfer.runner import print_settings

        print_settings(arguments.name)
        return
    if arguments.name or arguments.overrides:
        print(to_yaml(load_config(arguments.name, arguments.overrides)), end="")
        return
    for name in config_names():
        lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        what = next((line for line in lines if line.startswith("# What:")), "# What:")
        print(f"{name:12} {what.removeprefix('# What:').strip()}")
    print("\nSettings, with the paper's values as defaults:\n")
    config_parser(prog="orl run RUN", usage=argparse.SUPPRESS, add_help=False).print_help()


def _show(summary: dict, arguments: argparse.Namespace) -> None:
    if arguments.json:
        import json

        print(json.dumps(summary))
    else:
        from rich.console import Console

        from training.evaluation_tables import summary_tables

        for table in summary_tables(summary):
            Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
