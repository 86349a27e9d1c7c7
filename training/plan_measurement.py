"""What `orl plan` measures and works out: steps timed on a sample of the images, memory, disk."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import lightning
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from orl_explore.byol import BYOL, TwinNetworks
from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.neighbors import BLOCK, DATABASE, nearest_neighbors
from orl_explore.numbers import percent_text
from orl_explore.orl import ORL
from orl_explore.pairs import pair_regions
from orl_explore.proposals import propose, regions_from
from orl_explore.runs.samples import ImageViews, ObjectViews
from orl_explore.runs.tables import TABLES, write_table
from orl_explore.settings import Config, TrainSettings
from orl_explore.views import cropping, tensors
from orl_explore.views.renderers import collate
from training.machine import cores, data_workers, pool_workers, precision_flag
from training.plan_estimates import Plan, Step, combined, gigabytes, list_search_share
from training.twin_training import TwinTraining

SAMPLE: Final = 48
"""Images that are looked at."""
SECONDS: Final = 8.0
"""Time given to a measurement; a training step gets twice that. Each is done at least once."""
PER_IMAGE: Final = 200
"""Bytes that stage 2 keeps of every image, roughly: its row of the images table, and where its regions are."""
METRICS_ROW: Final = 100
"""Bytes of a step in metrics.csv, roughly."""

Progress = Callable[[int, int], None]
Begin = Callable[[str], None]
"""Called with what is measured next."""


class Measurement:
    """The measurements, one method a stage; each notes its steps."""

    def __init__(
        self,
        config: Config,
        images: ImageSet,
        total: int,
        listed: float,
        seconds: float,
        progress: Progress | None,
        path: Path,
        begin: Begin | None = None,
    ):
        self.begin: Begin = begin or (lambda what: None)
        self.config, self.images, self.total, self.listed = config, images, total, listed
        self.budget, self.progress, self.path = seconds, progress, path
        self.fabric = lightning.Fabric(
            accelerator="auto",
            devices=1,
            precision=precision_flag(config.precision),  # type: ignore[arg-type]
        )
        self.device = self.fabric.device
        self.workers = data_workers(config)
        self.cores, self.pool = cores(), max(1, pool_workers(config))
        self.devices = 1
        if self.on_gpu:
            self.devices = torch.cuda.device_count() if config.devices == "auto" else config.devices
        self.steps: list[Step] = []
        self.rates: dict[str, float] = {}

    @property
    def on_gpu(self) -> bool:
        """Whether the networks run on a GPU."""
        return self.device.type == "cuda"

    def plan(self) -> Plan:
        """Measure everything."""
        self.begin(f"reading {len(self.images)} images")
        seconds, count = self.timed(self.images.load, range(len(self.images)))
        self.note(
            "reading images", self.total * seconds / self.cores, 0, 0, f"{count} images decoded", "images, on all cores"
        )
        self.train("stage 1", BYOL, ImageViews(self.images, self.config.stage1, self.config.seed), self.config.stage1)
        regions, pairs = self.mine()
        samples = ObjectViews(self.images, regions, pairs, self.config.stage3, self.config.seed)
        self.train("stage 3", ORL, samples, self.config.stage3)
        return Plan(
            images=self.total,
            sampled=len(self.images),
            device=torch.cuda.get_device_name(self.device) if self.on_gpu else f"CPU, {self.cores} cores",
            devices=self.devices,
            precision=precision_flag(self.config.precision),
            steps=self.steps,
            images_per_second=self.rates,
            warnings=self.warnings(),
        )

    # ---- stages 1 and 3 ----------------------------------------------------------------------------------------

    def train(
        self, name: str, networks_type: type[BYOL] | type[ORL], samples: ImageViews | ObjectViews, stage: TrainSettings
    ) -> None:
        """Loading of samples, and optimizer steps, of stage 1 or 3."""
        self.begin(f"{name}: samples, and steps of training")
        rows = range(len(self.images) if isinstance(samples, ImageViews) else len(samples))
        loading, loaded = self.timed(lambda row: samples[0, row], rows)
        pass_size = -(-stage.batch_size // (stage.accumulate * self.devices))
        networks = networks_type(stage.encoder).to(memory_format=torch.channels_last)
        if stage.gradient_checkpointing:
            networks.save_memory()
        weights = dict.fromkeys(("image", "intra", "inter") if networks_type is ORL else ("image",), 1.0)
        module = TwinTraining(networks, stage, images=self.total, weights=weights).to(self.device)
        optimizer = module.configure_optimizers()["optimizer"]
        trained = _bytes(p for p in module.parameters() if p.requires_grad)
        state = _bytes(module.state_dict().values())  # online and target networks, predictors
        size, compute, peak = self.optimizer_steps(module, optimizer, networks, samples, rows, pass_size)
        with self.fabric.autocast():
            per_image, other = activations(module, lambda size: self.batch(samples, rows, size))
        fixed = state + 2 * trained + other  # and gradients, momentum
        memory = (peak or fixed + size * per_image) + (pass_size - size) * per_image
        images = stage.epochs * self.total
        each = self.combined(compute, loading, devices=self.devices)
        self.rates[name.replace(" ", "")] = 1 / each
        encoder = _bytes(networks.online.state_dict().values())
        self.note(
            name,
            images * each,
            round(memory),
            2 * (state + trained) + encoder + METRICS_ROW * stage.total_steps(self.total),
            f"a pass of {size} images in {compute * size:.2f} s; {loaded} samples drawn, {loading * 1000:.0f} ms of a"
            f" core each; {1 / each:.3g} images/s in all",
            f"{stage.epochs} epochs x {stage.steps_per_epoch(self.total)} steps x {stage.batch_size} images;"
            f" {per_image / 1e6:.0f} MB of activations an image, {pass_size} to a pass; two checkpoints",
        )

    def optimizer_steps(
        self,
        module: Any,
        optimizer: Any,
        networks: TwinNetworks,
        samples: Dataset,
        rows: Sequence[int],
        pass_size: int,
    ) -> tuple[int, float, int]:
        """Time whole steps, with larger and larger batches while time and memory allow.

        Returns:
            Images in the largest batch, seconds per image in it, and the peak memory of the GPU (0 without one).
        """
        best = (0, 0.0, 0)
        size, end = min(2, pass_size), time.perf_counter() + 2 * self.budget
        while True:

            def step(batch: dict[str, Tensor], _: int) -> None:
                optimizer.zero_grad(set_to_none=True)
                with self.fabric.autocast():
                    loss = module.training_step(dict(batch), 0)["loss"]
                loss.backward()
                optimizer.step()
                networks.update_target(0.99)

            try:
                batch = self.batch(samples, rows, size)
                if self.on_gpu:
                    torch.cuda.reset_peak_memory_stats(self.device)
                seconds, _ = self.timed(partial(step, batch), range(1))  # allocates and chooses algorithms
                if seconds < self.budget:  # else there is no time for more
                    # All steps are alike, so the median is free of what else the machine does.
                    seconds = float(np.median([self.timed(partial(step, batch), range(1))[0] for _ in range(5)]))
            except torch.OutOfMemoryError:
                if not best[0]:
                    raise OrlError(f"not even {size} images fit into the memory: take a smaller encoder") from None
                break
            best = (size, seconds / size, torch.cuda.max_memory_allocated(self.device) if self.on_gpu else 0)
            if size == pass_size or time.perf_counter() + 4 * seconds > end:
                break
            size = min(2 * size, pass_size)
        optimizer.zero_grad(set_to_none=True)
        return best

    def batch(self, samples: Dataset, rows: Sequence[int], size: int) -> dict[str, Tensor]:
        """A batch on the device; few samples are repeated."""
        drawn = [samples[0, rows[n % len(rows)]] for n in range(min(size, 8))]
        batch: dict[str, Any] = self.fabric.to_device(collate([drawn[n % len(drawn)] for n in range(size)]))
        return batch

    # ---- stage 2 -----------------------------------------------------------------------------------------------

    def mine(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The steps of stage 2; returns the regions and pairs of the sampled images, paired at random."""
        stage, images = self.config.stage2, self.images
        size, ids = stage.image_size, images.table["image_id"].to_numpy()
        encoder = Encoder(self.config.stage1.encoder).eval()
        encoder.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        dim = encoder.settings.dim if encoder.settings.hidden else encoder.width
        self.begin("stage 2: embeddings, neighbors")
        forward, crops = self.forward(encoder, size, stage.batch_size)

        loading, count = self.timed(
            lambda row: tensors.to_tensor(cropping.center_view(images.load(row), size)), range(len(images))
        )
        vectors = self.total * dim * 4
        part = min(self.total, stage.shard_images)
        known_of_each = PER_IMAGE * self.total
        self.note(
            "image embeddings",
            self.total * self.combined(forward, loading),
            known_of_each + 2 * part * dim * 4,  # in batches, and joined
            2 * vectors,
            f"{crops} crops embedded, {1 / forward:.3g}/s; {count} images loaded,"
            f" {loading * 1000:.0f} ms of a core each",
            f"images; float32 x {dim}, on disk twice, as parts and whole; in memory {part} images",
        )

        known = min(self.total, 8192)
        rng = np.random.default_rng(self.config.seed)
        start = time.perf_counter()
        nearest_neighbors(rng.standard_normal((known, dim), np.float32), np.arange(known), k=stage.neighbors)
        seconds = time.perf_counter() - start
        nearest = nearest_neighbors(rng.standard_normal((len(ids), dim)), ids, k=stage.neighbors)
        degree = min(stage.neighbors, self.total - 1)
        table = math.ceil(self.total * degree * _row_bytes("neighbors", nearest))
        blocks = (min(self.total, DATABASE) + min(self.total, BLOCK)) * 2 * dim * 4
        rule, share, index = "images squared", 1.0, 0
        if stage.searches_lists(self.total):
            share = list_search_share(self.total)
            index = self.total * (2 * dim + 8)
            rule = f"images squared, of which an index looks at what costs {percent_text(share)}"
        self.note(
            "neighbors",
            seconds * (self.total / known) ** 2 * share,
            known_of_each + blocks + index,
            2 * table + index,
            f"{known:,} random vectors in {seconds:.2f} s",
            f"({self.total:,} / {known:,}) squared: {rule}; in memory {min(self.total, DATABASE):,} vectors"
            f"{' and the index' if index else ''}",
        )

        pixels = (images.table["width"].astype(int) * images.table["height"]).max() / 1e6
        small = "" if pixels < 4 or stage.max_side else "; with --stage2.max_side 1000 such large ones take seconds"
        self.begin(f"stage 2: proposals, at least of 2 pictures, of up to {pixels:.1f} megapixels{small}")
        if stage.proposals == "fast":
            from orl_explore.selective_search import warm_up

            warm_up()
        frames: list[pd.DataFrame] = []
        options = {
            name: getattr(stage, name) for name in ("min_side", "max_aspect", "max_iou", "max_boxes", "max_side")
        }
        seconds, count = self.timed(
            lambda row: frames.append(
                propose(images, [row], method=stage.proposals, seed=self.config.seed, workers=0, **options)
            ),
            range(len(images)),
            least=2,
        )
        proposals = pd.concat(frames, ignore_index=True)
        regions = regions_from(proposals)
        raw, kept = self.total * len(proposals) / count, self.total * len(regions) / count
        self.note(
            "proposals",
            self.total * seconds / min(self.pool, self.cores),
            known_of_each
            + round(2 * raw * part / self.total * proposals.memory_usage(index=False).sum() / len(proposals)),
            round(raw * 2 * _row_bytes("proposals", proposals) + kept * _row_bytes("regions", regions)),
            f"{count} images searched, {seconds * 1000:.0f} ms of a core each; {raw / self.total:.0f} boxes an image,"
            f" {kept / self.total:.1f} kept",
            f"images, by {min(self.pool, self.cores)} processes; the table twice on disk, as parts and"
            f" whole; in memory {part} images",
        )

        self.begin("stage 2: crops, pairs")
        boxes = {image_id: group[["x", "y", "w", "h"]].to_numpy() for image_id, group in regions.groupby("image_id")}

        def crop(row: int) -> None:
            image = images.load(row)
            for box in boxes[ids[row]].tolist():
                tensors.to_tensor(cropping.crop_image(image, tuple(box), size))

        seconds, looked = self.timed(crop, range(count))
        loading = seconds * looked / sum(len(boxes[i]) for i in ids[:looked])
        kind = np.dtype(self.config.region_dtype)
        vectors = round(kept * encoder.width * kind.itemsize)
        part_vectors = vectors * part / self.total
        self.note(
            "region embeddings",
            kept * self.combined(forward, loading),
            known_of_each + round((1 + 8 / kind.itemsize) * part_vectors),  # float32 in batches and joined, then stored
            2 * vectors,
            f"{crops} crops embedded, {1 / forward:.3g}/s; regions of {looked} images cropped,"
            f" {loading * 1000:.1f} ms of a core each",
            f"{kept:,.0f} regions; {kind} x {encoder.width}, on disk twice, as parts and whole; in memory those of"
            f" {part} images",
        )

        few = (
            nearest_neighbors(rng.standard_normal((count, dim)), ids[:count], k=stage.neighbors) if count > 1 else None
        )
        if few is None:
            raise OrlError(
                "one image took all the time that there is: give --stage2.max_side, or wait for an idle machine"
            )
        found: list[pd.DataFrame] = []
        random = rng.standard_normal((len(regions), encoder.width), np.float32).astype(kind)
        seconds, paired = self.timed(
            lambda row: found.append(pair_regions(ids[row : row + 1], few, regions, random, stage)), range(count)
        )
        share = degree / min(stage.neighbors, count - 1)  # the sample may be smaller than K
        pairs = pd.concat(found, ignore_index=True)
        rows = self.total * len(pairs) / paired * share
        self.note(
            "pairs",
            self.total * seconds * share,
            # What is mapped of the embeddings for a part, and the part's table.
            known_of_each
            + round(min(vectors, (1 + degree) * part_vectors))
            + round(2 * rows * part / self.total * pairs.memory_usage(index=False).sum() / max(1, len(pairs))),
            round(2 * rows * _row_bytes("pairs", pairs)),
            f"regions of {paired} images paired with {min(stage.neighbors, count - 1)} others each",
            f"images x {degree} neighbors; the table twice on disk, as parts and whole; in memory {part} images"
            " with their neighbors",
        )
        return regions, pairs

    @torch.inference_mode()
    def forward(self, encoder: Encoder, size: int, batch_size: int) -> tuple[float, int]:
        """Seconds for embedding a crop that is loaded, and how many went through at once."""
        count = batch_size if self.on_gpu else min(8, batch_size)
        crops = torch.zeros(count, 3, size, size, dtype=torch.uint8)

        def embed(_: int) -> None:
            nn.functional.normalize(encoder.features(tensors.normalize(crops.to(self.device))).float(), dim=1).cpu()

        with self.fabric.autocast():
            embed(0)
            seconds, _ = self.timed(embed, range(10))
        return seconds / count, count

    # ---- helpers -----------------------------------------------------------------------------------------------

    def timed(self, do: Callable[[int], object], items: Sequence[int], *, least: int = 1) -> tuple[float, int]:
        """Mean seconds of `do` over as many items as the time allows, at least so many; and how many these were."""
        start = time.perf_counter()
        count = 0
        for item in items:
            do(item)
            count += 1
            if count >= least and time.perf_counter() - start > self.budget:
                break
        self.synchronize()
        return (time.perf_counter() - start) / count, count

    def synchronize(self) -> None:
        """Wait for the GPU."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def combined(self, compute: float, loading: float, *, devices: int = 1) -> float:
        """Seconds per item on this machine; see `combined`."""
        return combined(compute, loading, gpu=self.on_gpu, workers=self.workers, cores=self.cores, devices=devices)

    def note(self, name: str, seconds: float, memory: int, disk: int, measured: str, rule: str) -> None:
        """Add a step to the plan."""
        self.steps.append(Step(name, seconds, memory, disk, measured, rule))
        if self.progress:
            self.progress(len(self.steps), 8)

    def warnings(self) -> list[str]:
        """What does not fit."""
        import shutil

        main = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        gpu = torch.cuda.get_device_properties(self.device).total_memory if self.on_gpu else main
        found = []
        for step in self.steps:
            trains = step.name in ("stage 1", "stage 3")
            there, what = (gpu, "GPU has") if trains and self.on_gpu else (main, "machine has")
            if step.memory > there:
                hint = f": raise {step.name.replace(' ', '')}.accumulate" if trains else ""
                found.append(
                    f"{step.name} needs {gigabytes(step.memory)} of memory, the {what} {gigabytes(there)}{hint}"
                )
        folder = self.path.absolute()
        while not folder.exists():
            folder = folder.parent
        needed, free = sum(step.disk for step in self.steps), shutil.disk_usage(folder).free
        if needed > free:
            found.append(f"the run needs up to {gigabytes(needed)} of disk, {folder} has {gigabytes(free)} free")
        return found


def activations(module: Any, make_batch: Callable[[int], dict[str, Tensor]]) -> tuple[float, float]:
    """Count what a forward pass keeps for the backward pass.

    Args:
        module: has `training_step(batch, batch_idx)`.
        make_batch: size -> batch.

    Returns:
        Bytes for each image, and bytes beside that.
    """

    def kept(size: int) -> int:
        own = {p.untyped_storage().data_ptr() for p in module.parameters()}
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = module.training_step(make_batch(size), 0)
        del output
        return sum(storages.values())

    two, four = kept(2), kept(4)
    per_image = (four - two) / 2
    return per_image, max(0.0, two - 2 * per_image)


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _row_bytes(table: str, frame: pd.DataFrame) -> float:
    """Bytes that a row of a table takes in its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        write_table(path, frame, TABLES[table].columns)
        return path.stat().st_size / max(1, len(frame))
