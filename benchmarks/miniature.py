"""The paper's claim in miniature: does stage 3 end with better object features than stage 1, at equal epochs?

For every seed: new practice scenes, all three stages, and the evaluation, with a random encoder beside them. A quarter
of the drawings is kept for scenes of their own: "new instances" is the linear probe fitted on objects of the training
scenes and tested on those. Every run is an ordinary run folder, so this can be stopped and typed again, and `orl` opens
what it made.

    python benchmarks/miniature.py                    the demo's schedule, seeds 0 1 2
    python benchmarks/miniature.py --epochs 60        a longer one
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import report

from orl_explore.embedding import embed_regions
from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images
from orl_explore.judging import probes
from orl_explore.practice.scenes import make_scenes
from orl_explore.runs.run import Run
from orl_explore.settings import Config
from training import evaluate, pipeline
from training.machine import data_workers

PROBES = {
    "object_probe": "linear probe, objects",
    "new_instances": "linear probe, new instances",
    "object_knn": "kNN, objects",
    "scene_map": "mAP, scenes",
}
MINED = {
    "context_agreement": "neighbors of one context",
    "recall_50": "recall at IoU 0.5",
    "object_pairs": "pairs of two objects",
    "purity": "purity",
}
INSTANCES, HOLDOUT = 8, 0.25  # 6 of 8 drawings for training, as many as the demo has


def one_seed(seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Make scenes and a run of one seed, or finish them, and return the run's figures."""
    folder = arguments.out / f"seed{seed}"
    scenes = folder / "scenes" / "annotations.json"
    unseen = folder / "unseen" / "annotations.json"
    drawings: dict[str, Any] = {"instances": INSTANCES, "holdout": HOLDOUT, "disguise": True}
    if not scenes.exists():
        make_scenes(scenes.parent, count=arguments.scenes, seed=seed, part="train", **drawings)
    if not unseen.exists():
        make_scenes(unseen.parent, count=max(2, arguments.scenes // 4), seed=seed, part="test", **drawings)
    overrides = ["--seed", str(seed)]
    if arguments.epochs:
        overrides += ["--stage1.epochs", str(arguments.epochs), "--stage3.epochs", str(arguments.epochs)]
    run, config = pipeline.prepare(folder / "run", config=arguments.config, overrides=overrides, images=[scenes])
    if config.stage1.epochs != config.stage3.epochs:
        raise SystemExit("stages 1 and 3 must train for equally many epochs")
    summary = pipeline.run_all(run, config)
    for encoder, accuracy in probe_new_instances(run, config, open_images([unseen])).items():
        summary[encoder]["new_instances"] = accuracy
    return summary


def probe_new_instances(run: Run, config: Config, unseen: ImageSet) -> dict[str, float]:
    """Accuracy of a linear probe on objects of `unseen`, fitted on objects of the run's own images, per encoder."""
    sets = (run.images(), unseen)
    crops = [evaluate.draw_crops(images, config) for images in sets]
    labels = [frame["category"].to_numpy(object) for frame in crops]
    accuracy = {}
    for name, found in evaluate.encoders(run, config).items():
        encoder = found.load()
        features = [
            embed_regions(encoder, images, frame, size=config.stage1.image_size, workers=data_workers(config))
            for images, frame in zip(sets, crops, strict=True)
        ]
        accuracy[name] = probes.linear_probe(features[0], labels[0], features[1], labels[1], seed=config.seed)
    return accuracy


def mined_cell(mined: dict[str, Any], key: str) -> str:
    """A figure of stage 2 with its chance level, where it has one."""
    chance = mined.get(f"{key}_chance")
    return f"{mined[key]:.3f}" + ("" if chance is None else f" (chance {chance:.3f})")


def main() -> None:
    """Run all seeds and write benchmarks/results/miniature.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--config", default="demo", help="default: demo")
    parser.add_argument("--epochs", type=int, help="of stage 1 and of stage 3 (default: the config's)")
    parser.add_argument("--scenes", type=int, default=1000, help="practice scenes (default: 1000)")
    parser.add_argument("--out", type=Path, default=Path("runs/miniature"), help="default: runs/miniature")
    parser.add_argument("--name", default="miniature", help="of the result file (default: miniature)")
    arguments = parser.parse_args()

    figures = {seed: one_seed(seed, arguments) for seed in arguments.seeds}
    blocks = []
    for key, title in PROBES.items():
        rows: list[list[object]] = [[title, "random", "stage 1", "stage 3", "stage 3 - stage 1"]]
        values = []
        for seed, summary in figures.items():
            random, stage1, stage3 = (summary[encoder][key] for encoder in ("random", "stage1", "stage3"))
            values.append((random, stage1, stage3, stage3 - stage1))
            rows.append([f"seed {seed}", *(f"{v:.3f}" for v in values[-1][:3]), f"{values[-1][3]:+.3f}"])
        mean, spread = np.mean(values, axis=0), np.std(values, axis=0, ddof=1) if len(values) > 1 else np.zeros(4)
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean[:3], spread[:3], strict=True)]
        rows.append(["**mean ± std**", *cells, f"**{mean[3]:+.3f} ± {spread[3]:.3f}**"])
        blocks.append(report.markdown_table(rows))
    rows = [["stage 2", *(f"seed {seed}" for seed in figures)]]
    for key, title in MINED.items():
        rows.append([title, *(mined_cell(summary["stage2"], key) for summary in figures.values())])
    blocks.append(report.markdown_table(rows))
    report.save(arguments.name, "Stage 3 against stage 1 on practice scenes", "\n\n".join(blocks))


if __name__ == "__main__":
    main()
