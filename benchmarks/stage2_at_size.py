"""What does stage 2 take on as many images as COCO has, and how does that grow?

    python benchmarks/stage2_at_size.py coco /big/disk     # 118,287 simulated images, 10 GB of region embeddings
    python benchmarks/stage2_at_size.py cost /big/disk     # 1,000 to 64,000 images, simulated and drawn
    python benchmarks/stage2_at_size.py decoding /big/disk # how much of an image's work is decoding it
    python benchmarks/stage2_at_size.py figure             # tables, and docs/images/stage2-cost.png, from what is known

`coco` draws image embeddings (256 numbers) around random places, and 20 regions an image (2048 numbers in float16)
around the categories at home there; then the library searches neighbors and pairs regions, each in a process of its
own; a sample is compared with a direct computation. With `--kill` the second process is killed in the middle and
started again.

Memory is read from /proc twenty times a second, over the process and its children. *Private* memory (RssAnon) is what
a process takes away from others; what a forked worker shares with its parent counts in each of them, and once in what
the json calls *proportional* (Pss_Anon, since 2026-11-26). *Mapped* memory (RssFile) are pages of files that it has
looked at, which the system drops when it needs the room. *Resident* is the peak of their sum. What was written to
FOLDER is deleted at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import report
from stage2_tables import FACTS, write_report

from orl_explore.encoder import Encoder
from orl_explore.images.opening import open_images
from orl_explore.practice.scenes import make_scenes
from orl_explore.proposals import propose, regions_from
from orl_explore.runs.files import write_array_parts
from orl_explore.runs.run import Run
from orl_explore.settings import Config, EncoderSettings, Stage2Settings
from orl_explore.views import cropping, tensors
from training import stage2
from training.config import load_config, save_config
from training.sharding import Shards

COCO_IMAGES = 118_287
BOXES = 20
SIZES = (1000, 4000, 16_000, 64_000)
DRAWN = (1000, 4000, 16_000)
CHUNK = 4096
STEPS: dict[str, Callable[[Run, Config], None]] = {
    "image embeddings": lambda run, config: stage2.embed_all(run, run.images(), _encoder(run), config, _parts(run)),
    "neighbors": lambda run, config: stage2.find_neighbors(run, config, _parts(run)),
    "proposals": lambda run, config: stage2.propose_all(run, run.images(), config, _parts(run)),
    "region embeddings": lambda run, config: stage2.embed_all_regions(
        run, run.images(), _encoder(run), config, _parts(run)
    ),
    "pairs": lambda run, config: stage2.pair_all(run, config, _parts(run)),
}


def _parts(run: Run) -> Shards:
    return Shards(run, stage2.STAGE)


def _encoder(run: Run) -> Encoder:
    return Encoder.load(run.encoder_file("stage1"))


@dataclass
class Usage:
    """What a process took."""

    step: str
    images: int
    seconds: float = 0.0
    core_seconds: float = 0.0
    step_seconds: float = 0.0
    """Without starting Python, as the next."""
    step_core_seconds: float = 0.0
    private: int = 0
    mapped: int = 0
    resident: int = 0
    proportional: int = 0
    """Private memory with pages that forked processes share counted once."""


# ---- measuring -----------------------------------------------------------------------------------------------------


def measure(run: Run, step: str, images: int, *, stop: Callable[[], bool] | None = None) -> Usage:
    """Do a step in a process of its own and watch it; `stop()` decides whether to kill it."""
    usage, start = Usage(step, images), time.perf_counter()
    before = os.times()
    own = run.path / "usage.json"
    own.unlink(missing_ok=True)
    with subprocess.Popen([sys.executable, __file__, "step", str(run.path), step]) as process:
        while process.poll() is None:
            memory = [_memory(pid) for pid in _tree(process.pid)]
            private, mapped = (sum(column) for column in zip(*memory, strict=True)) if memory else (0, 0)
            usage.private, usage.mapped = max(usage.private, private), max(usage.mapped, mapped)
            usage.resident = max(usage.resident, private + mapped)
            usage.proportional = max(usage.proportional, sum(_share(pid) for pid in _tree(process.pid)))
            if stop and stop():
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.05)
        process.wait()
    after = os.times()
    usage.seconds = round(time.perf_counter() - start, 1)
    usage.core_seconds = round(
        after.children_user + after.children_system - before.children_user - before.children_system, 1
    )
    if own.exists():  # not killed
        usage.step_seconds, usage.step_core_seconds = json.loads(own.read_text())
    elif not stop:
        raise SystemExit(f"{step} failed")
    return usage


def do(run: Run, step: str) -> None:
    """Do a step, and leave beside the run what it took without starting Python and importing torch."""
    config = load_config(run.path / "config.yaml")
    start, before = time.perf_counter(), sum(os.times()[:4])
    STEPS[step](run, config)
    taken = time.perf_counter() - start, sum(os.times()[:4]) - before
    (run.path / "usage.json").write_text(json.dumps([round(seconds, 2) for seconds in taken]))


def _tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            pass
    return found


def _memory(pid: int) -> tuple[int, int]:
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(lines["RssAnon"].split()[0]) * 1024, int(lines["RssFile"].split()[0]) * 1024
    except (OSError, KeyError):  # it has just ended
        return 0, 0


def _share(pid: int) -> int:
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        return int(lines["Pss_Anon"].split()[0]) * 1024
    except (OSError, KeyError):
        return 0


# ---- simulated images ----------------------------------------------------------------------------------------------


def simulate(path: Path, images: int, *, seed: int) -> Run:
    """Write what neighbors and pairs are made from: images, their embeddings, regions, their embeddings."""
    run, rng = Run(path), np.random.default_rng(seed)
    ids = rng.permutation(images * 5)[:images].astype(np.int64) + 1
    table = pd.DataFrame(
        {
            "image_id": ids,
            "file_name": np.char.mod("%06d.jpg", np.arange(images)),
            "source": np.int16(0),
            "width": np.int32(640),
            "height": np.int32(480),
            "content_hash": np.char.mod("%032x", np.arange(images)),
        }
    )
    run.write("images", table)
    places = _unit(rng.standard_normal((400, 256), np.float32))
    categories = _unit(rng.standard_normal((1000, 2048), np.float32))
    at_home = rng.integers(0, len(categories), (len(places), 30))  # categories of each place

    def drawn(start: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([seed, start])
        count = min(CHUNK, images - start)
        place = rng.integers(0, len(places), count)
        vectors = _unit(places[place] + _noise(rng, (count, 256), 1.0))
        category = at_home[np.repeat(place, BOXES), rng.integers(0, at_home.shape[1], count * BOXES)]
        regions = _noise(rng, (count * BOXES, 2048), 1.0)
        regions += categories[category]
        return vectors, _unit(regions).astype(np.float16)

    file = run.file("region_embeddings")
    file.parent.mkdir(parents=True)
    written = np.lib.format.open_memmap(file, "w+", np.float16, (images * BOXES, 2048))
    vectors = []
    for start in range(0, images, CHUNK):
        image, regions = drawn(start)
        vectors.append(image)
        written[start * BOXES : start * BOXES + len(regions)] = regions
    written.flush()
    del written
    write_array_parts(run.file("image_embeddings"), vectors)
    box = {name: np.int32(100) for name in "xywh"}
    run.write(
        "regions", pd.DataFrame({"region_id": np.arange(images * BOXES), "image_id": np.repeat(ids, BOXES), **box})
    )
    save_config(Config(seed=seed), run.path / "config.yaml")
    return run


def _noise(rng: np.random.Generator, shape: tuple[int, int], length: float) -> np.ndarray:
    noise = rng.standard_normal(shape, np.float32)
    noise *= length / shape[1] ** 0.5
    return noise


def _unit(rows: np.ndarray) -> np.ndarray:
    rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows


def compare(run: Run, *, sample: int, seed: int) -> dict[str, float]:
    """Neighbors and pairs of some images, worked out directly: all cosines in float64, sorted."""
    ids = run.read("images", columns=["image_id"])["image_id"].to_numpy()
    embeddings, vectors = run.read_array("image_embeddings"), run.read_array("region_embeddings")
    rows = np.sort(np.random.default_rng(seed).permutation(len(ids))[:sample])
    row_of = pd.Series(np.arange(len(ids)), index=ids)
    first: list[float] = []
    later: list[float] = []
    wrong = pairs = 0
    everything = np.asarray(embeddings, np.float64)
    for row in rows:
        cosine = (everything @ everything[row]).astype(np.float32)
        cosine[row] = -2
        nearest = np.lexsort((np.arange(len(ids)), -cosine))[:10]
        stored = run.read("neighbors", image_id=int(ids[row]))
        wrong += stored["neighbor_id"].tolist() != ids[nearest].tolist()
        wrong += not np.allclose(stored["similarity"], cosine[nearest], atol=2e-7)
        start = time.perf_counter()
        found = run.read("pairs", image_id=int(ids[row]))
        (later if first else first).append(time.perf_counter() - start)
        for neighbor_id, group in found.groupby("neighbor_id", sort=False):
            other = row_of[neighbor_id]
            a, b = (np.asarray(vectors[r * BOXES : (r + 1) * BOXES], np.float64) for r in (row, other))
            a, b = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (a, b))
            matrix = (a @ b.T).astype(np.float32)
            best = np.argsort(-matrix.ravel(), kind="stable")[: max(1, BOXES // 10)]
            wrong += group["query_region"].tolist() != (row * BOXES + best // BOXES).tolist()
            wrong += group["key_region"].tolist() != (other * BOXES + best % BOXES).tolist()
            wrong += not np.allclose(group["similarity"], matrix.ravel()[best], atol=2e-7)
            pairs += len(group)
        wrong += found["neighbor_id"].nunique() != 10
    return {
        "sample": sample,
        "pairs": pairs,
        "wrong": int(wrong),
        "first_read": first[0],
        "later_read": float(np.median(later)),
    }


def coco(folder: Path, images: int, *, kill: bool, seed: int, sample: int) -> None:
    """The simulation at COCO's size; one that was left unfinished is gone on with."""
    path = folder / "stage2_at_size"
    run = Run(path) if (path / "config.yaml").exists() else simulate(path, images, seed=seed)
    facts: dict[str, object] = {
        "images": images,
        "regions": images * BOXES,
        "bytes": run.file("region_embeddings").stat().st_size,
    }
    usages = [measure(run, "neighbors", images)]
    if kill:
        parts = path / "stage2" / "shards"
        total = -(-images // Stage2Settings().shard_images)
        killed = measure(run, "pairs", images, stop=lambda: len(list(parts.glob("pairs-*"))) >= total // 2)
        there = {part.name: part.stat().st_mtime_ns for part in parts.glob("pairs-*")}
        seen: dict[str, int] = {}

        def watch() -> bool:
            for part in parts.glob("pairs-*"):
                with contextlib.suppress(FileNotFoundError):  # joined and removed
                    seen[part.name] = part.stat().st_mtime_ns
            return False

        again = measure(run, "pairs", images, stop=watch)
        facts["killed"] = {
            "parts": total,
            "parts_there": len(there),
            "parts_made_again": sum(seen.get(name) != made for name, made in there.items()),
            "parts_afterwards": len(seen),
        }
        both = {
            name: getattr(killed, name) + getattr(again, name)
            for name in ("seconds", "core_seconds", "step_core_seconds")
        }
        most = {name: max(getattr(killed, name), getattr(again, name)) for name in ("private", "mapped", "resident")}
        usages.append(Usage("pairs", images, **both, **most))
    else:
        usages.append(measure(run, "pairs", images))
    facts["usages"] = [dataclasses.asdict(usage) for usage in usages]
    facts["pairs"] = run.count("pairs")
    facts["pairs_bytes"] = run.file("pairs").stat().st_size
    facts["compared"] = compare(run, sample=sample, seed=seed)
    _keep("coco", facts)
    shutil.rmtree(path)
    write_report()


# ---- cost against size ---------------------------------------------------------------------------------------------


def draw(path: Path, images: int, *, side: int, seed: int) -> Run:
    """A run on practice scenes with an untrained encoder, as stage 1 would leave it."""
    annotations = make_scenes(path / "scenes", count=images, size=side, seed=seed)
    run = Run(path / "run")
    run.set_images(open_images([annotations]), [str(annotations)])
    settings = EncoderSettings(backbone="timm:test_resnet", hidden=32, dim=32)
    run.encoder_file("stage1").parent.mkdir(parents=True)
    Encoder.random(settings, seed).save(run.encoder_file("stage1"), stage="stage1", image_size=side)
    config = Config(
        seed=seed, precision="fp32", workers=2, stage2=Stage2Settings(image_size=32, min_side=12, batch_size=256)
    )
    save_config(config, run.path / "config.yaml")
    return run


def cost(folder: Path, *, seed: int, sizes: list[int], drawn: list[int]) -> None:
    """Every part of stage 2 against the number of images."""
    path = folder / "stage2_at_size"
    for images in sizes:
        run = simulate(path, images, seed=seed)
        for step in ("neighbors", "pairs"):
            _keep("simulated", dataclasses.asdict(measure(run, step, images)), of=f"{images} {step}")
        run.file("neighbors").unlink()
        save_config(Config(seed=seed, stage2=Stage2Settings(index="ivf")), run.path / "config.yaml")
        usage = dataclasses.asdict(measure(run, "neighbors", images)) | {"step": "neighbors by an index"}
        _keep("simulated", usage | run.stage("stage2")["neighbor_index"], of=f"{images} neighbors by an index")
        shutil.rmtree(path)
    for images in drawn:
        run = draw(path, images, side=64, seed=seed)
        for step in STEPS:
            _keep("drawn", dataclasses.asdict(measure(run, step, images)), of=f"{images} {step}")
        _keep("drawn", {"images": images, "regions": run.count("regions")}, of=f"{images} regions")
        shutil.rmtree(path)
    write_report()


def decoding(folder: Path, *, seed: int, count: int = 40) -> None:
    """What the parts of an image's work take of one core, at the paper's sizes, in milliseconds; the encoder apart."""
    path = folder / "stage2_at_size"
    images = open_images([make_scenes(path, count=count, size=640, seed=seed)])
    spent = dict.fromkeys(("decoding", "image crop", "proposals", "region crops"), 0.0)

    def timed(name: str, do: Callable[..., Any], *arguments: Any) -> Any:
        start = time.process_time()
        result = do(*arguments)
        spent[name] += 1000 * (time.process_time() - start) / count
        return result

    propose(images, [0])  # compiles
    regions = 0
    for row in range(count):
        image = timed("decoding", images.load, row)
        timed("image crop", lambda image: tensors.to_tensor(cropping.center_view(image, 224)), image)
        boxes = regions_from(timed("proposals", lambda row: propose(images, [row], seed=seed), row))
        for box in boxes[["x", "y", "w", "h"]].itertuples(index=False, name=None):
            timed(
                "region crops",
                lambda image, box: tensors.to_tensor(cropping.crop_image(image, box, 224)),
                image,
                box,
            )
        regions += len(boxes)
    spent["proposals"] -= spent["decoding"]  # `propose` decodes, too
    size = f"{images.table['width'].iloc[0]} x {images.table['height'].iloc[0]}"
    _keep("decoding", {"images": count, "size": size, "regions": regions / count, "milliseconds": spent})
    shutil.rmtree(path)
    write_report()


def _keep(name: str, facts: dict[str, object], *, of: str | None = None) -> None:
    """Add figures to the file that tables and figure are made from."""
    known = json.loads(FACTS.read_text()) if FACTS.exists() else {}
    facts = {"machine": report.machine(), "date": str(datetime.date.today()), **facts}
    if of is None:
        known[name] = facts
    else:
        known.setdefault(name, {})[of] = facts
    FACTS.write_text(json.dumps(known, indent=1) + "\n")


def main() -> None:
    """Choose what to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("coco", help="the simulation at COCO's size")
    one.add_argument("folder", type=Path)
    one.add_argument("--images", type=int, default=COCO_IMAGES)
    one.add_argument("--kill", action="store_true", help="also kill the pairing half-way, and go on")
    one.add_argument("--sample", type=int, default=300, help="images compared with a direct computation (default: 300)")
    two = commands.add_parser("cost", help="cost against size")
    two.add_argument("folder", type=Path)
    two.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    two.add_argument("--drawn", type=int, nargs="*", default=list(DRAWN))
    three = commands.add_parser("decoding", help="how much of an image's work is decoding it")
    three.add_argument("folder", type=Path)
    for command in (one, two, three):
        command.add_argument("--seed", type=int, default=0)
    commands.add_parser("figure", help="table and figure from the figures measured before")
    step = commands.add_parser("step", help="one step of a run, as the others call it")
    step.add_argument("run", type=Path)
    step.add_argument("name", choices=list(STEPS))
    given = parser.parse_args()
    if given.command == "coco":
        coco(given.folder, given.images, kill=given.kill, seed=given.seed, sample=given.sample)
    elif given.command == "cost":
        cost(given.folder, seed=given.seed, sizes=given.sizes, drawn=given.drawn)
    elif given.command == "decoding":
        decoding(given.folder, seed=given.seed)
    elif given.command == "step":
        do(Run(given.run), given.name)
    else:
        write_report()


if __name__ == "__main__":
    main()
