"""What the tests of the commands share: typing a command, and a run that may be changed."""

from __future__ import annotations

import shutil

import pytest

from orl_explore.runs.run import Run
from training import cli


@pytest.fixture
def orl(capsys):
    """Type a command; gives its exit code and what it printed to stdout and stderr."""

    def type_in(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse's way out
            code = end.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return type_in


@pytest.fixture
def copy(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "copy"))
