"""Maps made in the background."""

from __future__ import annotations

import time

import pytest

from flat_maps import flat_layout
from orl_explore.maps import object_map
from orl_explore.maps.object_map import MapSettings
from orl_explore.ui import map_job


def wait(job):
    end = time.monotonic() + 60
    while not job.done:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(object_map, "umap_layout", flat_layout)


def test_a_map_is_made(run, quick):
    assert map_job.current(run, "mined") is None
    job = map_job.start(run, "mined", MapSettings(clusters=3))
    wait(job)
    assert (job.error, job.percent) == (None, 100)
    assert object_map.read_object_map(run).settings.clusters == 3
    assert map_job.current(run, "mined") is job
    map_job.forget(run, "mined")
    assert map_job.current(run, "mined") is None


def test_what_goes_wrong_is_said(run, quick, monkeypatch, caplog):
    job = map_job.start(run, "stage3", MapSettings())
    wait(job)
    assert job.error is not None
    assert "orl embed-regions" in job.error
    monkeypatch.setattr(object_map, "umap_layout", None)
    job = map_job.start(run, "mined", MapSettings())  # one that has ended is no reason not to begin again
    wait(job)
    assert "the map could not be made (TypeError)" in str(job.error)
    map_job.forget(run, "mined")
    map_job.forget(run, "stage3")


def test_one_at_a_time(run, monkeypatch):
    monkeypatch.setattr(map_job, "_work", lambda *_: None)  # never done
    assert map_job.start(run, "mined", MapSettings()) is map_job.start(run, "mined", MapSettings(clusters=2))
    map_job.forget(run, "mined")


def test_how_long_it_takes():
    assert map_job.Job().text == "Finding neighbors ..."
    text = map_job.Job(percent=25, began=time.monotonic() - 10).text
    assert text.startswith("Laying out: 25 %, about ")
    assert 29 <= int(text.split("about ")[1].split()[0]) <= 31
