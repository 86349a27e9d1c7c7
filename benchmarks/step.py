"""How fast is an optimizer step of stages 1 and 3, and how much of the device's arithmetic does it use?

On a GPU: ResNet-50 at the paper's sizes. `plain` is an eager step as one writes it first: fp16 with a gradient scaler,
NCHW, the optimizer's own loop over parameters, the moving average parameter by parameter. `own` is `TwinTraining`: bf16
(fp16 where that is missing), channels last, fused SGD, one call for the moving average; `own, compiled` with
`compile: true`. Batches lie on the device already, except in the last columns, which draw them from JPEG files with the
given number of workers. Without a GPU a toy network is timed in the same way, to show that this works.

    python benchmarks/step.py                        # on a GPU: everything, about 15 minutes
    python benchmarks/step.py --batches 64 --photos FOLDER --workers 16
    python benchmarks/step.py --batches 256 --ways own "own, compiled"
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import report
import torch
from input_pipeline import tables, write_images
from torch import Tensor
from torch.utils.data import DataLoader

from orl_explore.byol import BYOL, TwinNetworks
from orl_explore.images.opening import open_images
from orl_explore.orl import ORL
from orl_explore.runs.samples import ImageViews, ObjectViews, StepSampler
from orl_explore.settings import Config, EncoderSettings, Stage1Settings, Stage3Settings, TrainSettings
from orl_explore.views.renderers import collate, finish
from orl_explore.views.tensors import normalize
from training.machine import data_workers, precision_flag
from training.twin_training import TwinTraining

WAYS = ("plain", "own", "own, augment device", "own, compiled", "own, checkpointing")
ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"


def synchronize() -> None:
    if ON_GPU:
        torch.cuda.synchronize()


def matmul_rate(size: int) -> float:
    """Multiply-adds x 2 per second of a bf16 matrix product."""
    a, b = (torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        synchronize()
        start = time.perf_counter()
        for _ in range(10):
            a @ b
        synchronize()
        best = min(best, (time.perf_counter() - start) / 10)
    return 2 * size**3 / best


def step_work(networks: TwinNetworks, batch: dict[str, Tensor]) -> float:
    """Floating-point operations of forward and backward passes of one sample, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        losses, _ = networks(**{name: normalize(view) for name, view in batch.items()})
        sum(losses.values()).backward()  # type: ignore[union-attr]
    return counter.get_total_flops() / len(next(iter(batch.values())))


def random_batch(stage: TrainSettings, size: int) -> dict[str, Tensor]:
    """uint8 views of noise, by name."""
    sides = {"view1": stage.image_size, "view2": stage.image_size}
    if isinstance(stage, Stage3Settings):
        sides |= dict.fromkeys(("intra1", "intra2", "inter1", "inter2"), stage.patch_size)
    return {
        name: torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, device=DEVICE)
        for name, side in sides.items()
    }


Step = Callable[[dict[str, Any]], None]


def plain_step(stage: TrainSettings) -> Step:
    """The step as one writes it first."""
    torch.manual_seed(0)
    networks = (ORL if isinstance(stage, Stage3Settings) else BYOL)(stage.encoder).to(DEVICE)
    trained = [p for p in networks.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1, momentum=0.9, weight_decay=1e-4, foreach=False)
    scaler = torch.amp.GradScaler(DEVICE, enabled=ON_GPU)
    half = torch.float16 if ON_GPU else torch.bfloat16  # CPUs have no fp16 convolutions worth comparing with

    def step(batch: dict[str, Any]) -> None:
        optimizer.zero_grad()
        inputs = {name: normalize(finish(v)).contiguous() for name, v in batch.items() if name != "image_id"}
        with torch.autocast(DEVICE, half):
            losses, _ = networks(**inputs)
            loss = sum(losses.values())
        scaler.scale(loss).backward()  # type: ignore[arg-type]
        scaler.step(optimizer)
        scaler.update()
        with torch.no_grad():
            for target, online in zip(networks.target.parameters(), networks.online.parameters(), strict=True):
                target.mul_(0.99).add_(online, alpha=0.01)

    return step


def own_step(stage: TrainSettings) -> Step:
    """The step that training takes."""
    torch.manual_seed(0)
    networks = (ORL if isinstance(stage, Stage3Settings) else BYOL)(stage.encoder).to(memory_format=torch.channels_last)
    if stage.gradient_checkpointing:
        networks.save_memory()
    if stage.compile:
        networks.compile_backbones()
    names = ("image", "intra", "inter") if isinstance(stage, Stage3Settings) else ("image",)
    module = TwinTraining(networks, stage, images=10**5, weights=dict.fromkeys(names, 1.0)).to(DEVICE)
    optimizer = module.configure_optimizers()["optimizer"]
    fabric = lightning.Fabric(accelerator="auto", devices=1, precision=precision_flag("auto"))  # type: ignore[arg-type]

    def step(batch: dict[str, Any]) -> None:
        optimizer.zero_grad(set_to_none=True)
        with fabric.autocast():
            loss = module.training_step({"image_id": torch.zeros(1), **batch}, 0)["loss"]
        loss.backward()
        optimizer.step()
        networks.update_target(0.99)

    return step


def timed(step: Step, batches: Iterator[dict[str, Any]], rounds: int) -> tuple[float, float]:
    """Median seconds of a step, waiting for its batch included, and peak memory in GiB (0 without a GPU)."""
    for _ in range(2):
        step(next(batches))
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(rounds):
        synchronize()
        start = time.perf_counter()
        step(next(batches))
        synchronize()
        seconds.append(time.perf_counter() - start)
    # Waiting for batches comes in bursts: the mean counts them all.
    return float(np.mean(seconds)), torch.cuda.max_memory_allocated() / 2**30 if ON_GPU else 0.0


def forever(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    while True:
        yield dict(batch)


def loaded(dataset: Any, size: int, workers: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Batches from files, moved to the device as Lightning moves them."""
    repeats = -(-size // len(dataset.image_ids))
    sampler = StepSampler(
        len(dataset.image_ids), batch_size=len(dataset.image_ids), epochs=repeats * (rounds + 4), seed=0
    )
    indices = [index for batch in sampler for index in batch]
    groups = [indices[n : n + size] for n in range(0, len(indices) - size + 1, size)]
    loader = DataLoader(dataset, batch_sampler=groups, num_workers=workers, collate_fn=collate, pin_memory=ON_GPU)
    fabric = lightning.Fabric(accelerator="auto", devices=1)
    for batch in loader:
        batch.pop("image_id")
        yield fabric.to_device(batch)


def main() -> None:
    """Time the steps and write benchmarks/results/NAME.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", help="batch sizes (default: 64 128 256 512; on a CPU 8)")
    parser.add_argument("--rounds", type=int, default=8 if ON_GPU else 3, help="steps timed (default: 8; on a CPU 3)")
    parser.add_argument("--workers", type=int, help="of the input pipeline (default: as training takes; on a CPU 2)")
    parser.add_argument("--stages", nargs="+", choices=("1", "3"), default=["1", "3"], help="default: 1 3")
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="of taking a step (default: all that the machine can)")
    parser.add_argument("--name", default="step" if ON_GPU else "step-cpu", help="of the file of results")
    parser.add_argument("--photos", type=Path, help="photographs for the input pipeline; default: practice scenes")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=ON_GPU, help="time it compiled, too"
    )
    arguments = parser.parse_args()
    workers = arguments.workers or (data_workers(Config()) if ON_GPU else 2)
    sizes = arguments.batches or ([64, 128, 256, 512] if ON_GPU else [8])
    options: dict[str, Any] = {}
    if not ON_GPU:
        options = {"encoder": EncoderSettings("timm:test_resnet", 64, 32), "image_size": 64}
    stages = {
        "stage 1": Stage1Settings(**options),
        "stage 3": Stage3Settings(**options, **({} if ON_GPU else {"patch_size": 32})),
    }
    rate = matmul_rate(8192 if ON_GPU else 512)
    rows: list[list[object]] = [
        [
            "stage",
            "step",
            "batch",
            "samples/s",
            "ratio to plain",
            "share of matmul rate",
            "peak GiB",
            "with input, samples/s",
        ]
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), arguments.photos, 64 if ON_GPU else 12)
        images = open_images([Path(folder)])
        regions, pairs = tables(images)
        for name, stage in ((f"stage {number}", stages[f"stage {number}"]) for number in arguments.stages):
            counted = (ORL if isinstance(stage, Stage3Settings) else BYOL)(stage.encoder).to(DEVICE)
            work = step_work(counted, random_batch(stage, 4))
            del counted
            ways: dict[str, tuple[Callable[[TrainSettings], Step], TrainSettings]] = {
                "plain": (plain_step, stage),
                "own": (own_step, stage),
                "own, augment device": (own_step, dataclasses.replace(stage, augment="device")),
            }
            if arguments.compile:
                ways["own, compiled"] = (own_step, dataclasses.replace(stage, compile=True))
            if ON_GPU:
                ways["own, checkpointing"] = (own_step, dataclasses.replace(stage, gradient_checkpointing=True))
            ways = {way: of for way, of in ways.items() if way in (arguments.ways or WAYS)}
            for size in sizes:
                base = None
                for way, (make, settings) in ways.items():
                    cells: list[object] = [name, way, size]
                    step = None
                    with contextlib.suppress(torch.OutOfMemoryError):
                        step = make(settings)
                        seconds, peak = timed(step, forever(random_batch(settings, size)), arguments.rounds)
                        base = seconds if way == "plain" else base
                        dataset: Any = (
                            ObjectViews(images, regions, pairs, settings, seed=0)
                            if isinstance(settings, Stage3Settings)
                            else ImageViews(images, settings, seed=0)  # type: ignore[arg-type]
                        )
                        batches = loaded(dataset, size, workers, arguments.rounds + 4)
                        whole, _ = timed(step, batches, arguments.rounds)
                        cells += [
                            f"{size / seconds:.0f}",
                            f"{base / seconds:.2f}x" if base else "plain does not fit" if "plain" in ways else "-",
                        ]
                        cells += [f"{work * size / seconds / rate:.1%}", f"{peak:.1f}" if ON_GPU else ""]
                        cells += [f"{size / whole:.0f}"]
                    if len(cells) == 3:
                        cells += ["out of memory", "", "", "", ""]
                    rows.append(cells)
                    print(cells, flush=True)
                    del step
                    if ON_GPU:
                        torch.cuda.empty_cache()
    body = (
        f"bf16 matrix products reach {rate / 1e12:.3g} TFLOP/s here; operations of a step are counted by torch's"
        f" FlopCounterMode. Input: {workers} workers, 640 x 480 JPEG. {arguments.rounds} steps, means; seed"
        " 0.\n\n"
        f"{report.markdown_table(rows)}"
    )
    if not ON_GPU:
        body += "\n\nA toy network on a CPU: this shows that the benchmark works, and nothing about a GPU."
    report.save(arguments.name, "Optimizer steps of stages 1 and 3", body)


if __name__ == "__main__":
    main()
