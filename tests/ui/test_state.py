"""What pages share: runs that may be opened, tables held in memory, words that are no markup."""

from __future__ import annotations

import pytest

from orl_explore.runs.run import Run
from orl_explore.ui import state


def test_a_symbolic_link_out_of_the_folder_is_no_run(runs, finished):
    (runs / "sneaky").symlink_to(finished.path)
    assert state.list_runs(runs) == ["one"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a<b>[c](d) $x$", r"a\<b\>\[c\]\(d\) \$x\$"),
        ("run `orl stage2 a_b` first", "run `orl stage2 a_b` first"),
        ("a `lonely backtick", r"a \`lonely backtick"),
    ],
)
def test_sentences_hold_no_markup_of_their_own(text, shown):
    assert state.sentence(text) == shown


def test_a_table_that_was_made_anew_is_shown(runs):
    run = Run(runs / "one")
    before = state.table(run, "pairs")
    run.write("pairs", before.iloc[:3])
    assert len(state.table(run, "pairs")) == 3 < len(before)
