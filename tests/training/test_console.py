"""Progress as a notebook shows it, and as a log does."""

from __future__ import annotations

from training.console import NotebookBar, progress_bar


def test_the_bar_is_moved_twice_a_second_at_most_and_names_mean_no_html(clock, shown):
    bar = NotebookBar("<b>")
    for done in range(100):
        clock.time += 0.01
        bar.update(f"<b>: {done}", done / 100)
    assert [bundle["text/plain"] for bundle in shown] == ["<b>", "<b>: 49", "<b>: 99"]
    bar.finish("<b>: 100 in 1 s")
    assert shown[-1] == {"text/plain": "<b>: 100 in 1 s", "text/html": "<code>&lt;b&gt;: 100 in 1 s</code>"}


def test_a_log_gets_a_line_every_half_minute_with_the_time_left(clock, capsys):
    with progress_bar("boxes") as progress:
        for done in range(0, 121, 10):
            progress(done, 120)
            clock.time += 10
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "boxes: 40 of 120, 80 s left"
    assert len(lines) == 3
    assert lines[-1].startswith("boxes: 120 in 130 s")
