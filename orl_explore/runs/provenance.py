"""Where a result comes from: time, versions, commit."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import platform
import subprocess
from pathlib import Path


def now() -> str:
    """The time, as run.json has it: ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    names = (
        "orl-explore",
        "torch",
        "torchvision",
        "lightning",
        "numpy",
        "pillow",
        "opencv-contrib-python",
        "numba",
        "faiss-cpu",
        "scikit-learn",
        "pycocotools",
        "timm",
    )
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git_sha() -> str | None:
    """Commit of the source tree this code runs from; None when it was installed from elsewhere."""
    here = Path(__file__).resolve().parent
    try:
        result = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--verify", "HEAD"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return result.stdout.strip() or None
