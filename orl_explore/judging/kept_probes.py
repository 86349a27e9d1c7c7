"""What probes of two encoders on a run's boxes have found, kept in the run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Sequence

import numpy as np

from orl_explore.errors import OrlError
from orl_explore.judging import objects
from orl_explore.judging.comparison import FOLDER
from orl_explore.judging.objects import Boxes, Probed
from orl_explore.runs.files import atomic_write, known_hash
from orl_explore.runs.run import Run


def kept_probe(run: Run, boxes: Boxes, made_from: Sequence[str]) -> Probed | None:
    """As `probe`, from the run's folder `comparison/` where that was done before: linear classifiers take seconds.

    Args:
        run: whose boxes they are.
        boxes: that two encoders have embedded.
        made_from: what identifies the encoders and the boxes.

    Raises:
        OrlError: stage 2 is missing.
    """
    parts = [*made_from, known_hash(run.require("regions")), known_hash(run.require("objects")), len(boxes.region_ids)]
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
    file = run.path / FOLDER / f"{digest}-probes.npz"
    try:
        with np.load(file) as kept:
            return Probed(kept["rows"], kept["knn"], kept["linear"], float(kept["chance"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # not there yet, or damaged: made anew
        pass
    found = objects.probe(boxes)
    if found is not None:
        with contextlib.suppress(OSError, OrlError), atomic_write(file) as temporary, temporary.open("wb") as opened:
            np.savez(opened, rows=found.rows, knn=found.knn, linear=found.linear, chance=found.chance)
    return found
