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
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

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


class RateColumn(ProgressColumn):
    """Items a second, lately."""

    def render(self, task: Task) -> Text:
        """As text; nothing before there is anything to say."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.3g}/s" if speed else "")


@contextlib.contextmanager
def progress_bar(title: str, unit: str = "", *, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar for a loop, counting bytes with the unit B; gives what the library's functions take as `progress`.

    The first call says how much was there before, which does not count for the rate. Not `shown`, it does nothing.
    """
    if not shown:
        yield lambda done, total: None
        return
    start, first, last, count = time.monotonic(), None, 0, 0
    columns = (DownloadColumn(), TransferSpeedColumn()) if unit == "B" else (MofNCompleteColumn(), RateColumn())
    with bar(*columns) as live:
        task = live.add_task(title, total=None)

        def update(done: int, total: int) -> None:
            nonlocal first, last, count
            first = done if first is None else first
            last, count = done, total
            live.update(task, completed=done, total=total)

        yield update
    if not console.is_terminal:
        seconds = time.monotonic() - start
        rate = f" ({(last - (first or 0)) / seconds:,.3g}/s)" if unit != "B" and last > (first or 0) else ""
        console.print(f"{title}: {decimal(count) if unit == 'B' else f'{count:,}'} in {seconds:.0f} s{rate}")
