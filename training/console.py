"""What the person at the terminal sees: one console, progress bars with the time left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

console = Console(stderr=True, highlight=False, soft_wrap=True)  # a terminal wraps by itself; a log need not


def bar(*columns: ProgressColumn) -> Progress:
    """Make a progress bar with the time left and further columns of your own."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        *columns,
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,  # a log gets lines instead
    )


@contextlib.contextmanager
def progress_bar(title: str, unit: str = "") -> Iterator[Callable[[int, int], None]]:
    """A bar for a loop, counting bytes with the unit B; gives what the library's functions take as `progress`."""
    start, count = time.monotonic(), 0
    columns = (DownloadColumn(), TransferSpeedColumn()) if unit == "B" else (MofNCompleteColumn(),)
    with bar(*columns) as shown:
        task = shown.add_task(title, total=None)

        def update(done: int, total: int) -> None:
            nonlocal count
            count = total
            shown.update(task, completed=done, total=total)

        yield update
    if not console.is_terminal:
        console.print(f"{title}: {decimal(count) if unit == 'B' else f'{count:,}'} in {time.monotonic() - start:.0f} s")
