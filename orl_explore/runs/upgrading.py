"""Run folders of earlier formats, rewritten once, when they are first opened.

Format 1 called the object map a projection, the summary picture an overview, and regions on no annotated object
background. Its networks started as torchvision and timm draw them, the cosine of the learning rate went by steps, and
incomplete batches were left out; a run that was begun so goes on so.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orl_explore.errors import OrlError
from orl_explore.runs.files import atomic_write, write_json


def upgrade(path: Path, manifest: dict[str, Any], to: int) -> dict[str, Any]:
    """Bring the files of a run folder to a later format; whatever interrupts it, it goes on where it was.

    Args:
        path: the run folder.
        manifest: what its run.json says.
        to: the format wanted.

    Returns:
        The new manifest, which is written, too.

    Raises:
        OrlError: the folder cannot be written to.
    """
    try:
        for version in range(manifest["format"], to):
            manifest = STEPS[version](path, manifest) | {"format": version + 1}
        write_json(path / "run.json", manifest)
    except OSError as error:
        raise OrlError(
            f"{path} has format {manifest['format']} and has to be rewritten as format {to}, which failed"
            f" ({error.strerror}): copy it to a folder that can be written to"
        ) from None
    return manifest


def _from_1(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The names of format 2."""
    for old, new in (("overview.png", "summary.png"), ("stage2/parts", "stage2/shards")):
        with contextlib.suppress(FileNotFoundError):
            (path / old).rename(path / new)
    (path / ".parts.lock").unlink(missing_ok=True)
    if (path / "projection.parquet").exists():
        _rename_map(path / "projection.parquet", path / "object_map.parquet")
    summary = path / "evaluation" / "summary.json"
    if summary.exists():
        with contextlib.suppress(ValueError):  # damaged: whoever reads it says so
            figures = json.loads(summary.read_text(encoding="utf-8"))
            if "background_pairs" in figures.get("stage2", {}):
                figures["stage2"]["unlabeled_pairs"] = figures["stage2"].pop("background_pairs")
                write_json(summary, figures)
    for stage in ("stage1", "stage3"):
        if settings := manifest["stages"].get(stage, {}).get("config"):
            settings |= {"schedule": "step", "drop_last": True}
            settings["encoder"]["init"] = "torchvision"
    config = path / "config.yaml"
    if config.exists():  # written by ourselves, a setting a line: no need to parse it
        text = config.read_text(encoding="utf-8")
        if "drop_last:" not in text:
            text = re.sub(r"^( +)dim:.*\n", r"\g<0>\1init: torchvision\n", text, flags=re.MULTILINE)
            text = re.sub(
                r"^( +)warmup_epochs:.*\n", r"\g<0>\1schedule: step\n\1drop_last: true\n", text, flags=re.MULTILINE
            )
            with atomic_write(config) as temporary:
                temporary.write_text(text, encoding="utf-8")
    stage2 = manifest["stages"].get("stage2", {})
    if "prior" in stage2:
        stage2["pretrained"] = stage2.pop("prior")
    return manifest


def _rename_map(old: Path, new: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with contextlib.suppress(pa.ArrowInvalid):  # damaged: it is left where it is, and made anew under the new name
        table = pq.read_table(old)
        metadata = dict(table.schema.metadata or {})
        if b"projection" in metadata:
            metadata[b"object_map"] = metadata.pop(b"projection")
        with atomic_write(new) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")
        old.unlink()


STEPS: dict[int, Callable[[Path, dict[str, Any]], dict[str, Any]]] = {1: _from_1}
"""Format -> what makes the next one of it; each may be begun again after it was interrupted."""
