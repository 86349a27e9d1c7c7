"""What a plan is made of: steps with their time, memory and disk, and how loading and computing add up."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from orl_explore.neighbors import PROBES, list_count


@dataclass(frozen=True)
class Step:
    """What a part of the run will take."""

    name: str
    seconds: float
    memory: int
    """Bytes at the most: of the GPU for stages 1 and 3 where there is one, else of main memory."""
    disk: int
    """Bytes at the most, while it works."""
    measured: str
    """What was done here."""
    rule: str
    """What it was multiplied by, and what memory and disk hold."""


@dataclass(frozen=True)
class Plan:
    """What a run will take."""

    images: int
    sampled: int
    device: str
    devices: int
    precision: str
    steps: list[Step]
    images_per_second: dict[str, float]
    """Of stages 1 and 3, all devices together."""
    warnings: list[str]
    """What will not fit on this machine."""

    @property
    def seconds(self) -> float:
        """Time in all."""
        return sum(step.seconds for step in self.steps)

    @property
    def disk(self) -> int:
        """Disk in all, at the most."""
        return sum(step.disk for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with the sums."""
        return {**dataclasses.asdict(self), "seconds": self.seconds, "disk": self.disk}


def duration(seconds: float) -> str:
    """Time for people: seconds, minutes, hours or days."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def gigabytes(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.1f} MB"


LIST_COST: Final = 10.0
"""How many times as long a product takes in the lists of an index as in the exact search (stage2_at_size.md)."""


def combined(compute: float, loading: float, *, gpu: bool, workers: int, cores: int, devices: int = 1) -> float:
    """Seconds per item in all, from those of one device and those of one core that loads it."""
    if workers == 0:  # one after the other
        return (compute + loading) / devices
    if not gpu:  # on the same cores
        return compute + loading / cores
    return max(compute / devices, loading / min(workers * devices, cores))


def list_search_share(images: int) -> float:
    """Products of a search by an index, weighted by what they cost, as a share of those of the exact search.

    K-means compares up to 256 images a list with all lists, ten times. Every image is compared with all lists when it
    is sorted in and when it is searched for, and then with the images of the lists that are looked into.
    """
    lists = list_count(images)
    training = 10 * min(256 * lists, images) * lists / images
    return (training + 2 * lists + LIST_COST * PROBES * images / lists) / images
