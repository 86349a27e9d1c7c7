"""What a machine is asked for."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch

from orl_explore.errors import OrlError
from training import machine
from training.machine import Share, computing, cores, data_workers, keep_to_share, launched, pool_workers, share


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


@pytest.mark.parametrize(
    ("batch", "world", "passes", "least", "options"),
    [
        (512, 8, 1, 2, None),
        (512, 8, 4, 2, None),
        (512, 1, 1, 2, None),
        (512, 3, 1, 2, (2, 510)),  # 171, 171 and 170 images would have weighed the same
        (512, 6, 2, 2, (4, 504)),
        (8, 2, 4, 2, (1, None)),  # a single image a pass has no batch statistics
        (8, 3, 1, 2, (2, 6)),
        (2, 4, 1, 2, (1, None)),  # two processes would have had none
        (16, 16, 1, 1, None),
        (16, 16, 1, 2, (8, None)),
        (1, 1, 1, 1, None),
    ],
)
def test_batches_are_shared_equally_or_refused_with_options_that_work(batch, world, passes, least, options):
    def check(batch, world):
        machine.check_batch("stage1.batch_size", batch, world=world, passes=passes, least=least)

    if options is None:
        check(batch, world)
        return
    with pytest.raises(OrlError, match=rf"^stage1.batch_size is {batch}: {world} processes") as error:
        check(batch, world)
    found = dict(re.findall(r"--([\w.]+) (\d+)", str(error.value)))
    devices, smaller = options
    assert (found["devices"], found.get("stage1.batch_size")) == (str(devices), smaller and str(smaller))
    check(batch, devices)
    if smaller:
        check(smaller, world)


@pytest.mark.parametrize(("devices", "gpus", "expected"), [("auto", 0, 1), ("auto", 4, 4), (3, 0, 3), (2, 4, 2)])
def test_processes_that_train_together(devices, gpus, expected, changed, monkeypatch):
    for name in ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert machine.processes_together(changed(devices=devices)) == expected


@pytest.mark.parametrize(
    ("cores", "processes", "gpu", "workers", "expected"),
    [
        (2, 1, False, None, Share(2, 0)),  # alone on two cores
        (2, 2, False, None, Share(1, 0)),  # beside another run: one thread each
        (2, 3, False, None, Share(1, 0)),
        (2, 1, False, 1, Share(1, 1)),  # as set; a worker keeps a core busy
        (2, 1, False, 4, Share(1, 4)),
        (1, 1, False, None, Share(1, 0)),
        (4, 1, False, None, Share(3, 1)),  # a worker feeds three threads
        (4, 2, False, None, Share(2, 0)),
        (64, 1, False, None, Share(48, 16)),
        (64, 4, False, None, Share(12, 4)),
        (16, 1, True, None, Share(1, 16)),  # a GPU computes: cores are for its images
        (64, 2, True, None, Share(16, 16)),
        (16, 4, True, None, Share(1, 4)),
        (2, 1, True, None, Share(1, 2)),
        (1, 1, True, None, Share(1, 1)),
        (16, 1, True, 12, Share(4, 12)),
    ],
)
def test_threads_and_workers(cores, processes, gpu, workers, expected):
    found = share(cores, processes, gpu=gpu, workers=workers)
    assert found == expected
    if workers is None and not gpu:
        assert found.threads + found.workers <= max(1, cores // processes)
    assert share(cores, processes, gpu=gpu, workers=workers, threads=5).threads == 5  # as OMP_NUM_THREADS says


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 2),  # a container sees its own group as the root
        ("0::/", {"cpu.max": "140000 100000"}, 1),
        ("0::/", {"cpu.max": "20000 100000"}, 1),  # never none
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),  # the parent's holds, too
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "6400000 100000"}, 8),  # more than there are
        ("0::/", {}, 8),
        ("0::/", {"cpu.max": "nonsense"}, 8),
        ("4:cpu,cpuacct:/job", {"cpu/job/cpu.cfs_quota_us": "250000", "cpu/job/cpu.cfs_period_us": "50000"}, 5),
        ("4:cpu,cpuacct:/host/job", {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("4:memory:/job", {"cpu/job/cpu.cfs_quota_us": "100000", "cpu/job/cpu.cfs_period_us": "100000"}, 8),
        (None, {}, 8),
    ],
)
def test_cores_by_affinity_and_both_kinds_of_control_groups(group, files, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    (tmp_path / "proc/self").mkdir(parents=True)
    if group:
        (tmp_path / "proc/self/cgroup").write_text(f"{group}\n")
    for name, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    assert cores(tmp_path) == expected


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A machine of two cores without a GPU, on which nobody else computes."""
    monkeypatch.setattr(machine.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    return machine._registry()


def test_threads_follow_who_else_computes(registry, tiny, changed):
    tiny = changed(workers=None)
    code = f"""
import fcntl, sys
with open({str(registry / "1")!r}, "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("computes", flush=True)
    sys.stdin.readline()
"""
    before = torch.get_num_threads()
    with computing(tiny):
        assert torch.get_num_threads() == 2
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout.readline() == b"computes\n"
            keep_to_share(tiny, now=True)
            assert torch.get_num_threads() == 1
            assert pool_workers(tiny) == 1
            other.communicate(b"\n")
        keep_to_share(tiny)  # looked a moment ago
        assert torch.get_num_threads() == 1
        keep_to_share(tiny, now=True)
        assert torch.get_num_threads() == pool_workers(tiny) == 2  # its file is still there, and nobody holds it
        assert (data_workers(tiny), data_workers(changed(workers=3))) == (0, 3)
    assert torch.get_num_threads() == before
    assert not (registry / str(os.getpid())).exists()


def link_of_the_process(folder, victim):
    folder.mkdir()
    (folder / str(os.getpid())).symlink_to(victim)


def writable_by_others(folder, victim):
    link_of_the_process(folder, victim)
    folder.chmod(0o777)


def link_to_a_folder(folder, victim):
    (victim.parent / str(os.getpid())).write_text("precious")
    folder.symlink_to(victim.parent)


@pytest.mark.parametrize("made", [link_of_the_process, writable_by_others, link_to_a_folder])
def test_nothing_is_written_through_what_others_have_put_there(made, registry, tiny, tmp_path):
    registry.rmdir()
    (tmp_path / "home").mkdir()
    victim = tmp_path / "home" / "thesis.txt"
    victim.write_text("precious")
    made(registry, victim)
    with computing(tiny):
        assert machine._computing() == 1
    assert {file.read_text() for file in victim.parent.iterdir()} == {"precious"}


def test_a_folder_of_somebody_else_is_not_used(registry, monkeypatch):
    other = os.getuid() + 1
    monkeypatch.setattr(machine.os, "getuid", lambda: other)
    with pytest.raises(PermissionError, match=f"orl-computing-{other} is not this person's alone"):
        machine._registry()


def test_what_the_environment_says_holds(registry, changed, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with computing(changed(workers=None)):
        assert torch.get_num_threads() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # torchrun has started two here
    with computing(changed(workers=None)):
        assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("gpu", "has_bf16", "flag"),
    [(False, True, "bf16-mixed"), (False, False, "32-true"), (True, True, "bf16-mixed"), (True, False, "16-mixed")],
)
def test_automatic_precision_is_what_the_device_has(gpu, has_bf16, flag, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_bf16)
    assert machine.precision_flag("auto") == flag
