"""Stage 3: what it refuses to train on."""

from __future__ import annotations

import pytest

from orl_explore.errors import OrlError
from training import stage3


def test_stage_3_refuses_other_pairs(unfinished, tiny):
    run = unfinished("nothing")
    run.write("pairs", run.read("pairs")[:-1])
    with pytest.raises(OrlError, match=r"stage3 of .* was made with other pairs"):
        stage3.run(run, tiny)
