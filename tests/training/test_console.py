"""Progress as a notebook shows it."""

from __future__ import annotations

from training.console import NotebookBar


def test_the_bar_is_moved_twice_a_second_at_most_and_names_mean_no_html(clock, shown):
    bar = NotebookBar("<b>")
    for done in range(100):
        clock.time += 0.01
        bar.update(f"<b>: {done}", done / 100)
    assert [bundle["text/plain"] for bundle in shown] == ["<b>", "<b>: 49", "<b>: 99"]
    bar.finish("<b>: 100 in 1 s")
    assert shown[-1] == {"text/plain": "<b>: 100 in 1 s", "text/html": "<code>&lt;b&gt;: 100 in 1 s</code>"}
