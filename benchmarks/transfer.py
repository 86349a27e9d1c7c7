"""Every transfer protocol on a finished run and practice scenes: random, stage 1, stage 3 and the supervised bound.

    orl scenes data/practice --count 800 --seed 11 --layout voc voc2012 imagefolder
    python benchmarks/transfer.py runs/demo data/practice

What was judged before is not judged again. Writes benchmarks/results/NAME.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

import report

from orl_explore.judging.results import read_results, text_table
from orl_explore.runs.run import Run
from training import cli

ENCODERS = ["random", "stage1", "stage3", "supervised"]

COMMANDS = [  # and whether the practice data are needed
    ("--protocol retrieval --protocol knn --protocol in-context", False),
    ("--protocol in-context", True),
    ("--protocol voc07", True),
    ("--protocol semi --semi.lists [10percent.txt]", True),  # the other list has one image a class
    ("--protocol voc07-lowshot --voc07-lowshot.k [1,2,4,8]", True),
    ("--protocol linear --linear.batch_size 32 --linear.epochs 10 --linear.steps [4,8]", True),
    *(
        (
            f"--protocol segmentation --segmentation.backbone {backbone} --segmentation.iterations 300"
            " --segmentation.batch_size 8 --segmentation.size [128,256] --segmentation.crop 96"
            " --segmentation.channels 64 --segmentation.lr 0.02",
            True,
        )
        for backbone in ("fine-tuned", "frozen")
    ),
    (
        "--protocol detection --detection.iterations 200 --detection.batch_size 4 --detection.train_sizes [96]"
        " --detection.channels 32 --detection.regions 32 --detection.warmup 20 --detection.precise_bn 20",
        False,
    ),
]
"""Settings depart from the literature's only where the practice data are too few for these."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("practice", type=Path)
    parser.add_argument("--name", default="transfer", help="of the file of results (default: transfer)")
    arguments = parser.parse_args()
    commands = []
    for words, needs_data in COMMANDS:
        data = ["--data", str(arguments.practice)] if needs_data else []
        command = ["evaluate", str(arguments.run), *shlex.split(words), "--encoder", *ENCODERS, *data]
        commands.append(shlex.join(["orl", *command]))
        if cli.main(command):
            raise SystemExit(1)
        save(arguments.name, arguments.run, arguments.practice, commands)  # what is there by now


def save(name: str, run: Path, practice: Path, commands: list[str]) -> None:
    """Write the table of all results there are."""
    results = [
        result
        for result in read_results(Run(run))
        if result["encoder"]["name"] in ENCODERS and set(result["data"]["paths"]) <= {str(practice)}
    ]
    frame = text_table(results, Run(run))
    rows: list[list[object]] = [list(frame.columns)]
    rows += [list(row) for row in frame.itertuples(index=False)]
    info = json.loads((practice / "annotations.json").read_text())["info"]
    seconds = sum(result["seconds"] for result in results)
    report.save(
        name,
        f"Transfer protocols on practice scenes: {run}",
        "\n".join(
            [
                "```sh",
                f"orl scenes {practice} --count {info['count']} --size {info['size']} --seed {info['seed']}"
                f" --instances {info['instances']} --holdout {info['holdout']} --part {info['part']}"
                f"{' --disguise' if info.get('disguise') else ''}"
                " --layout voc voc2012 imagefolder",
                *commands,
                "```",
                "",
                report.markdown_table(rows),
                "",
                f"Seed {results[0]['seed']}; {seconds:.0f} s in all, without the training of the supervised encoder.",
            ]
        ),
    )


if __name__ == "__main__":
    main()
