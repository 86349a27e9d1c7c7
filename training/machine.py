"""What this machine is asked for: precision, worker processes, devices, and which process is the first."""

from __future__ import annotations

import os

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only

from orl_explore.settings import Config


def precision_flag(precision: str) -> str:
    """Lightning's name for the precision of training; see `Config.precision`."""
    if precision == "paper":
        precision = "fp16" if torch.cuda.is_available() else "fp32"
    if precision == "auto":
        precision = "bf16" if not torch.cuda.is_available() or torch.cuda.is_bf16_supported() else "fp16"
    return {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}[precision]


def data_workers(config: Config) -> int:
    """Processes that prepare images, for each training process."""
    if config.workers is not None:
        return config.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores)


def launched(config: Config) -> tuple[int | str, int]:
    """Devices per machine and machines: as torchrun or Slurm started processes for them, or as the settings say."""
    if TorchElasticEnvironment.detect():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    if SLURMEnvironment.detect():
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return (config.devices if torch.cuda.is_available() or config.devices != "auto" else 1), 1


def is_main_process() -> bool:
    """Whether this is the first of the processes that train together: the one that writes to the run folder."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined]
