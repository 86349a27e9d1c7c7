"""What the person at the terminal or in a notebook sees: one console, progress bars with the time left."""

from __future__ import annotations

import contextlib
import html
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

LOGGED = 30.0
"""Seconds between two lines of a loop in a log, where no bar can move."""

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


class NotebookBar:
    """A line and a bar below a notebook's cell, which changes in place; its last state is stored with the notebook."""

    INTERVAL = 0.5
    """Least seconds between two states: a notebook keeps up with no more."""

    def __init__(self, text: str):
        from IPython.display import display

        self._handle = display(self._bundle(text, 0.0), raw=True, display_id=True)
        self._next = time.monotonic() + self.INTERVAL

    def update(self, text: str, share: float) -> None:
        """Say how far it is, `share` of 1; states that come too fast are left out."""
        if time.monotonic() >= self._next:
            self._handle.update(self._bundle(text, share), raw=True)
            self._next = time.monotonic() + self.INTERVAL

    def finish(self, text: str) -> None:
        """Leave a line of text in place of the bar."""
        self._handle.update(self._bundle(text, None), raw=True)

    @staticmethod
    def _bundle(text: str, share: float | None) -> dict[str, str]:
        shown = "" if share is None else f"<progress value='{share:.4f}' max='1' style='width: 20em'></progress> "
        return {"text/plain": text, "text/html": f"<code>{shown}{html.escape(text)}</code>"}


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
    told = start
    in_notebook = NotebookBar(title) if console.is_jupyter else None

    def amount(number: int) -> str:
        return decimal(number) if unit == "B" else f"{number:,}"

    columns = (DownloadColumn(), TransferSpeedColumn()) if unit == "B" else (MofNCompleteColumn(), RateColumn())
    with bar(*columns) as live:
        task = live.add_task(title, total=None)

        def update(done: int, total: int) -> None:
            nonlocal first, last, count, told
            first = done if first is None else first
            last, count = done, total
            now = time.monotonic()
            if now - told > LOGGED and not console.is_terminal and not in_notebook and first < done < total:
                told = now
                left = (now - start) * (total - done) / (done - first)
                words = f"{left:.0f} s" if left < 90 else f"{left / 60:,.0f} min"
                console.print(f"{title}: {amount(done)} of {amount(total)}, {words} left", markup=False)
            live.update(task, completed=done, total=total)
            if in_notebook:
                in_notebook.update(f"{title}: {amount(done)} of {amount(total)}", done / max(total, 1))

        yield update
    seconds = time.monotonic() - start
    rate = f" ({(last - (first or 0)) / seconds:,.3g}/s)" if unit != "B" and last > (first or 0) else ""
    summary = f"{title}: {amount(count)} in {seconds:.0f} s{rate}"
    if in_notebook:
        in_notebook.finish(summary)
    elif not console.is_terminal:
        console.print(summary)
