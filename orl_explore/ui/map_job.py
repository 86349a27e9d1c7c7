"""Maps that are being made while the page goes on: one thread at a time for each map, seen from every browser."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

from orl_explore.errors import OrlError
from orl_explore.maps import object_map
from orl_explore.maps.object_map import MapSettings
from orl_explore.runs.run import Run


@dataclass
class Job:
    """A map that is being made.

    Attributes:
        percent: how far it is.
        began: when, seconds of the monotonic clock.
        done: whether it has ended.
        error: why it has failed, in words.
    """

    percent: int = 0
    began: float = field(default_factory=time.monotonic)
    done: bool = False
    error: str | None = None

    @property
    def text(self) -> str:
        """How far it is and how long it will take."""
        if self.percent < 3:
            return "Finding neighbors ..."
        left = (time.monotonic() - self.began) * (100 - self.percent) / self.percent
        return f"Laying out: {self.percent} %, about {max(1, round(left))} s left"


_jobs: dict[tuple[str, str], Job] = {}
_lock = threading.Lock()


def start(run: Run, encoder: str, settings: MapSettings) -> Job:
    """Make a map in the background, unless it is being made; an encoder's is aligned to those of the run's others."""
    key = (str(run.path), encoder)
    with _lock:
        job = _jobs.get(key)
        if job is not None and not job.done:
            return job
        job = _jobs[key] = Job()
    threading.Thread(target=_work, args=(run, encoder, settings, job), daemon=True).start()
    return job


def current(run: Run, encoder: str) -> Job | None:
    """The job that makes a map, or that has failed to."""
    return _jobs.get((str(run.path), encoder))


def forget(run: Run, encoder: str) -> None:
    """Leave a job behind that has ended."""
    with _lock:
        _jobs.pop((str(run.path), encoder), None)


def _work(run: Run, encoder: str, settings: MapSettings, job: Job) -> None:
    def progress(done: int, total: int) -> None:
        job.percent = 100 * done // max(total, 1)

    try:
        onto = object_map.existing_base(run, encoder)
        object_map.make_object_map(run, settings, encoder, onto=onto, progress=progress)
    except OrlError as error:
        job.error = str(error)
    except Exception as error:  # said on the page; nobody waits for this thread
        logging.getLogger(__name__).exception("the map of %s of %s", encoder, run.path)
        job.error = f"the map could not be made ({type(error).__name__}): the terminal that runs the app says why"
    finally:
        job.done = True
