"""A stage that is made again beside the one that is there, and takes its place when it is finished.

Until then the old one stands, in `STAGE/` and in run.json's `stages`; the new one grows in `STAGE.new/`, its record in
`successors`. What others put into the old folder comes along.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from orl_explore.runs.checkpoints import set_aside
from orl_explore.runs.files import hash_file, write_json
from orl_explore.runs.locking import no_writer
from orl_explore.runs.run import Run
from orl_explore.runs.said import put_by

_OWN: Final = re.compile(
    r"metrics\.csv|knn\.csv|encoder\.safetensors|encoders/epoch=\d+\.safetensors|checkpoints/step=\d+\.ckpt"
    r"|(image_embeddings|region_embeddings)\.npy|(neighbors|proposals|masks|regions|pairs|pair_facts)\.parquet"
    r"|shards/[a-z_]+(-\d+|\.json)?|(.*/)?\..+\.\d+\.tmp"
)
"""What a stage makes: goes when its successor has taken its place."""


class Successor(Run):
    """A run in which one stage is made again: what is said of that stage is said of the new one.

    Args:
        path: the run folder.
        remade: the stage.
    """

    def __init__(self, path: str | Path, remade: str):
        super().__init__(path)
        self.remade = remade

    def folder(self, stage: str) -> Path:
        """As `Run.folder`; of the stage that is made again, the new one's."""
        return self.path / f"{stage}.new" if stage == self.remade else super().folder(stage)

    def _shelf(self, stage: str) -> str:
        return "successors" if stage == self.remade else super()._shelf(stage)

    def finished(self, name: str) -> bool:
        """As `Run.finished`; also once the new stage has taken its place."""
        gone = name == self.remade and not self.stage(name)
        return Run(self.path).finished(name) if gone else super().finished(name)

    def take_place(self) -> None:
        """Put the finished new stage in the place of the old one; may be interrupted anywhere, see `settle`."""
        manifest = self.manifest()
        manifest["stages"][self.remade] = manifest["successors"].pop(self.remade)
        take_places(self, manifest, [self.remade])
        settle(Run(self.path))


def take_places(run: Run, manifest: Mapping[str, Any], names: Sequence[str]) -> None:
    """Say in run.json that new stages, in `STAGE.new`, take the places of the old ones: `settle` does the rest.

    Args:
        run: the run.
        manifest: what run.json is to say from now on.
        names: of the stages.
    """
    write_json(run.path / "run.json", {**manifest, "taking_place": list(names)})


def settle(run: Run) -> None:
    """End what a process was killed at that had new stages take their places; else do nothing.

    What people had said of an old stage 2 is put by: `carrying.carry_over` gives it to the new one.
    """
    manifest = run.manifest()
    names = manifest.get("taking_place") or []
    if not names:
        return
    for name in [names] if isinstance(names, str) else names:  # a text, as earlier versions wrote it
        with no_writer(run.path) if name == "stage2" else contextlib.nullcontext():
            _settle(run, name)
    del manifest["taking_place"]
    if not manifest.get("successors"):
        manifest.pop("successors", None)
    write_json(run.path / "run.json", manifest)


def _settle(run: Run, name: str) -> None:
    new, place, old = (run.path / f"{name}{suffix}" for suffix in (".new", "", ".old"))
    if new.exists():
        if place.exists():
            set_aside(old)  # what an earlier one could not bring along
            place.rename(old)
        new.rename(place)
    if old.exists():
        if name == "stage2":
            put_by(run.path, old)
        bring_along(old, place)


def set_aside_unrecorded(run: Run, name: str) -> Path | None:
    """Rename the folder of a stage with results that no record tells of, as nobody knows how they were made.

    What was imported for a stage that has not begun stays there; what people said of its boxes is put by.

    Returns:
        What it is called now; None where there are no such results.
    """
    folder, imported = run.folder(name), run.manifest().get("imported_tables", {})
    made = [path for path in folder.rglob("*") if _OWN.fullmatch(path.relative_to(folder).as_posix())]
    known = {run.file(table): said["hash"] for table, said in imported.items()}
    if run.stage(name) or not made or any(known.get(path) == hash_file(path) for path in made if path in known):
        return None
    if folder == run.path / "stage2":
        put_by(run.path, folder)
    return set_aside(folder)


def bring_along(old: Path, place: Path) -> None:
    """Remove what the stage had made; the rest goes to the new folder, or stays where that has such a file."""
    folders = [path for path in old.rglob("*") if path.is_dir() and not path.is_symlink()]
    for path in [path for path in old.rglob("*") if path not in folders]:
        name = path.relative_to(old).as_posix()
        if _OWN.fullmatch(name):
            path.unlink()
            continue
        target = place / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
    for folder in [*sorted(folders, reverse=True), old]:
        with contextlib.suppress(OSError):  # something stayed
            folder.rmdir()
