"""Where a result comes from."""

from __future__ import annotations

from orl_explore.runs.provenance import git_sha, versions


def test_where_it_was_made():
    assert versions()["torch"]
    assert git_sha() is None or len(git_sha()) == 40
