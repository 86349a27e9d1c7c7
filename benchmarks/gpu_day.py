"""What `gpu_day.sh` runs: tests and benchmarks that want a GPU, each with a limit, resumable, with one file of results.

Parts, in the order of their worth:

    tests      pytest -m gpu
    embedding  regions a second through ResNet-50: float32, bfloat16
    neighbors  exact search over COCO's 118,287 images: on the GPU, as stage 2 does it, against FAISS on the CPU
    step       an optimizer step of stages 1 and 3 at the paper's sizes, batch 256: plain, ours, compiled, with input
    step-sizes the same for batches of 64, 128 and 512
    train      a ResNet-50 through all three stages on practice scenes, for as long as is left

What is done is not done again: each part leaves its output in build/gpu_day. `benchmarks/results/gpu_day.md` joins
them, and says what falls short of the goals: a step 1.5 times as fast as plain, input never the limit, 40 % of the rate
of bf16 matrix products.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
DONE = HERE.parent / "build" / "gpu_day"


@dataclass(frozen=True)
class Part:
    """A part of the day: its command, the same with toy sizes, minutes at most, and the packages that it needs."""

    name: str
    command: list[str]
    toy: list[str]
    minutes: float
    needs: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """Where its output goes when it has ended."""
        return DONE / f"{self.name}.txt"


def own(part: str, *options: str) -> list[str]:
    return ["benchmarks/gpu_day.py", "--part", part, *options]


def gpu_tests() -> list[str]:
    """Files with tests for a GPU: others may want packages that a machine lent for an hour does not have."""
    tests = HERE.parent / "tests"
    return [str(file) for file in sorted(tests.rglob("test_*.py")) if "mark.gpu" in file.read_text(encoding="utf-8")]


BRIEF = ["--tb=short", "--show-capture=no", "-p", "no:cacheprovider"]
TESTS = ["-m", "pytest", "-m", "gpu", "-n", "0", *BRIEF, *gpu_tests()]
PARTS = (
    Part("tests", TESTS, TESTS, 6, ("pytest", "xdist", "hypothesis")),
    Part("embedding", own("embedding"), own("embedding", "--toy"), 2),
    Part("neighbors", own("neighbors"), own("neighbors", "--toy"), 2, ("faiss",)),
    Part("step", ["benchmarks/step.py", "--batches", "256"], ["benchmarks/step.py", "--rounds", "1"], 9),
    Part(
        "step-sizes",
        ["benchmarks/step.py", "--batches", "64", "128", "512", "--name", "step-sizes"],
        own("nothing"),
        12,
    ),
    Part("train", own("train"), own("train", "--toy"), 25, ("faiss", "numba")),
)


# ---- the parts that are no benchmark of their own --------------------------------------------------------------------


def embedding(toy: bool) -> None:
    """Regions a second, images decoded and cropped by as many workers as there are cores, at most 8."""
    import numpy as np
    import pandas as pd
    import torch

    from orl_explore.embedding import embed_regions
    from orl_explore.encoder import Encoder
    from orl_explore.images.opening import open_images
    from orl_explore.practice.scenes import make_scenes
    from orl_explore.settings import Config, EncoderSettings
    from training.machine import data_workers

    device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone, count, boxes = ("timm:test_resnet", 4, 4) if toy else ("resnet50", 256, 20)
    encoder = Encoder.random(EncoderSettings(backbone, hidden=0, dim=0), seed=0).eval()
    with tempfile.TemporaryDirectory() as folder:
        images = open_images([make_scenes(Path(folder), count=count, size=480)])
        rng = np.random.default_rng(0)
        sides = rng.integers(96, 300, (count * boxes, 2))
        regions = pd.DataFrame(np.column_stack([rng.integers(0, 480 - sides + 1), sides]), columns=list("xywh"))
        regions.insert(0, "image_id", np.repeat(images.table["image_id"].to_numpy(), boxes))
        for name, bf16 in (("float32", False), ("bfloat16", True)):
            options = {"device": device, "workers": data_workers(Config()), "bf16": bf16}
            embed_regions(encoder, images, regions.head(boxes * 2), **options)  # warm up
            start = time.perf_counter()
            embed_regions(encoder, images, regions, **options)
            seconds = time.perf_counter() - start
            print(f"{name}: {len(regions) / seconds:,.0f} regions/s through {backbone} at 224 px on {device}")


def neighbors(toy: bool) -> None:
    """Exact inner-product search, 10 neighbors of 256 numbers."""
    import faiss
    import numpy as np
    import torch

    from orl_explore.neighbors import _top

    def nearest(queries: np.ndarray, database: np.ndarray) -> None:
        for start in range(0, len(queries), 4096):
            _top(queries[start : start + 4096], database, 11)

    count = 2_000 if toy else 118_287
    vectors = np.random.default_rng(0).standard_normal((count, 256), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def timed(search: Callable[[], object]) -> float:
        start = time.perf_counter()
        search()
        return time.perf_counter() - start

    on_cpu = timed(lambda: faiss.knn(vectors, vectors, 11, metric=faiss.METRIC_INNER_PRODUCT))
    print(f"{count:,} images on the CPU, by FAISS: {on_cpu:.1f} s")
    if torch.cuda.is_available():
        nearest(vectors[:2000], vectors[:2000])  # warm up
        on_gpu = timed(lambda: nearest(vectors, vectors))
        print(f"{count:,} images on the GPU, by torch: {on_gpu:.2f} s, {on_cpu / on_gpu:.0f}x")


def train(toy: bool) -> None:
    """The paper's networks and sizes on practice scenes; few epochs, and the next call goes on where this one was."""
    import dataclasses

    from orl_explore.images.opening import open_images
    from orl_explore.practice.scenes import make_scenes
    from orl_explore.runs.run import Run
    from orl_explore.settings import Config, EncoderSettings
    from training import evaluate, pipeline

    config = Config()
    shape: dict[str, object] = {"epochs": 30, "warmup_epochs": 2, "batch_size": 256, "checkpoint_steps": 100}
    if toy:
        shape = {"epochs": 1, "warmup_epochs": 0, "batch_size": 8, "image_size": 32}
        shape["encoder"] = EncoderSettings("timm:test_resnet", 32, 16)
    config = dataclasses.replace(
        config,
        stage1=dataclasses.replace(config.stage1, **shape),  # type: ignore[arg-type]
        stage2=dataclasses.replace(config.stage2, min_side=24, image_size=32 if toy else 224),
        stage3=dataclasses.replace(config.stage3, **shape),  # type: ignore[arg-type]
    )
    data, run = DONE / "scenes", Run(DONE / "run")
    if run.manifest()["images"] is None:
        scenes = make_scenes(data, count=16 if toy else 4000, size=96 if toy else 256)
        run.set_images(open_images([scenes]), [str(scenes)])
    for name in ("stage1", "stage2", "stage3"):
        start = time.perf_counter()
        pipeline.run_stage(name, run, config)
        print(f"{name}: {time.perf_counter() - start:.0f} s in this call, {run.stage(name)['seconds']:.0f} s in all")
    figures = evaluate.run(run, config)
    for name in ("random", "stage1", "stage3"):
        found = {key: round(figures[name][key], 4) for key in ("object_probe", "object_knn", "scene_map")}
        print(f"{name}: {json.dumps(found)}")


def nothing(toy: bool) -> None:
    """What a part does with toy sizes that another part has shown to work."""
    print("as the part before it")


OWN = {"embedding": embedding, "neighbors": neighbors, "train": train, "nothing": nothing}


# ---- the day ---------------------------------------------------------------------------------------------------------


def shortfalls(text: str) -> list[str]:
    """What the table of `step.py` says that is below the goals."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 8 or not cells[0].startswith("stage ") or not cells[1].startswith("own"):
            continue
        name = f"{cells[0]}, {cells[1]}, batch {cells[2]}"
        if (ratio := re.fullmatch(r"([\d.]+)x", cells[4])) and float(ratio[1]) < 1.5:
            found.append(f"{name}: {cells[4]} plain, below 1.5x")
        if (share := re.fullmatch(r"([\d.]+)%", cells[5])) and float(share[1]) < 40:
            found.append(f"{name}: {cells[5]} of the matmul rate, below 40%")
        if cells[3].isdigit() and cells[7].isdigit() and int(cells[7]) < 0.95 * int(cells[3]):
            found.append(f"{name}: {cells[7]} samples/s with input, {cells[3]} without: input is the limit")
    return found


def run_part(part: Part, *, toy: bool, minutes: float) -> str:
    """Run a part; returns what it printed, which is kept where it ended well."""
    limit = 60 * min(part.minutes, minutes)
    command = [sys.executable, *(part.toy if toy else part.command)]
    try:
        done = subprocess.run(
            command, cwd=HERE.parent, capture_output=True, text=True, timeout=limit, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired as stopped:
        so_far = stopped.stdout.decode(errors="replace") if stopped.stdout else ""
        return (
            f"not finished in {limit / 60:.0f} minutes: the next call goes on, or begins it again\n\n{so_far}".strip()
        )
    text = done.stdout[-20_000:].strip() + (
        f"\n\nexit {done.returncode}\n{done.stderr[-3000:]}" if done.returncode else ""
    )
    if not done.returncode:
        part.file.write_text(text, encoding="utf-8")
    return text


def main() -> None:
    """Run what is left of the day, and write benchmarks/results/gpu_day.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=29, help="stop after this time (default: 29)")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], help="these parts (default: all)")
    parser.add_argument("--toy", action="store_true", help="toy sizes, to see that it works")
    parser.add_argument("--part", choices=list(OWN), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        OWN[arguments.part](arguments.toy)
        return
    import report
    import torch

    if not (torch.cuda.is_available() or arguments.toy):
        parser.error("there is no GPU: --toy shows that everything works")
    missing = {part.name: [name for name in part.needs if not importlib.util.find_spec(name)] for part in PARTS}
    for name, packages in missing.items():
        if packages:
            print(f"{name} needs {', '.join(packages)}: left out; benchmarks/gpu_day.sh says how to carry them")
    DONE.mkdir(parents=True, exist_ok=True)
    end, body = time.monotonic() + 60 * arguments.minutes, []
    for part in (one for one in PARTS if not arguments.only or one.name in arguments.only or one.file.exists()):
        left = (end - time.monotonic()) / 60
        if part.file.exists():
            text = part.file.read_text(encoding="utf-8")
        elif missing[part.name]:
            text = f"left out: {', '.join(missing[part.name])} is missing"
        elif left < 0.5:
            text = "not begun: no time was left"
        else:
            print(f"{part.name} ...", flush=True)
            text = run_part(part, toy=arguments.toy, minutes=left)
        body.append(f"## {part.name}\n\n```\n{text}\n```")
        if part.name.startswith("step"):
            short = shortfalls(text)
            judged = "Nothing falls short of the goals." if "| stage " in text else "Not judged: it did not end."
            goals = "\n".join(f"- {line}" for line in short) or judged
            body.append(f"What falls short:\n\n{goals}")
            print("\n".join(short) or f"{part.name}: {judged}", flush=True)
    if arguments.toy:
        print("\n\n".join(body))
    else:
        report.save("gpu_day", "A day with a GPU", "\n\n".join(body))


if __name__ == "__main__":
    main()
