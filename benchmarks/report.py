"""What every benchmark writes: a Markdown file with the command, the machine, the date and a table."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """One line on the processor, its cores, and the GPU if there is one."""
    import torch

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    count = len(os.sched_getaffinity(0))
    cores = "1 core" if count == 1 else f"{count} cores"
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{cores} of {model}{gpu}; torch {torch.__version__}, Python {platform.python_version()}"


def markdown_table(rows: Sequence[Sequence[object]]) -> str:
    """Rows of cells, the first one being the header, as a Markdown table."""
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def save(name: str, title: str, body: str) -> Path:
    """Write benchmarks/results/NAME.md and print it."""
    command = shlex.join(["python", Path(sys.argv[0]).as_posix(), *sys.argv[1:]])
    text = f"# {title}\n\nCommand: `{command}`\n\nMachine: {machine()}\n\nDate: {datetime.date.today()}\n\n{body}\n"
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text(text, encoding="utf-8")
    print(text)
    return path
