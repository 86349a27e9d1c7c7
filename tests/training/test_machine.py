"""What a machine is asked for."""

from __future__ import annotations

import pytest

from training.machine import launched


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (1, 1)),  # no GPU here
        ({"SLURM_NTASKS": "16", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "8", "SLURM_JOB_NAME": "orl"}, (8, 2)),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "orl"}, (1, 1)),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "bash"}, (1, 1)),  # a shell on a node, not a task
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "12"}, (4, 3)),
    ],
)
def test_devices_and_machines(environment, expected, tiny, monkeypatch):
    for name in ("SLURM_NTASKS", "SLURM_NNODES", "SLURM_JOB_NAME", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert launched(tiny) == expected
