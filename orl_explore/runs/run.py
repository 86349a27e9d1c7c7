"""The run folder: everything one run makes, as plain files that pandas, DuckDB and numpy open without us.

A file appears under its name only when it is complete, and every stage records what it was made from, so that a killed
job can go on and a stale one is refused. The layout and all columns are documented in `docs/formats.md`.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orl_explore.errors import OrlError, typed
from orl_explore.images.findings import Findings
from orl_explore.images.image_set import ImageSet
from orl_explore.nested import from_dict
from orl_explore.runs import locking
from orl_explore.runs.anew import refusal
from orl_explore.runs.files import write_json
from orl_explore.runs.provenance import git_sha, now, versions
from orl_explore.runs.reading import image_ids, read_image
from orl_explore.runs.said import put_by
from orl_explore.runs.states import StageState, command_for, spent, state_of
from orl_explore.runs.tables import ARRAYS, TABLES, is_whole, write_table
from orl_explore.runs.upgrading import upgrade
from orl_explore.settings import Config

FORMAT = 2
"""Version of the run folder; raised whenever a table, column or file name changes (see `upgrading`)."""


_FORMER_RANGES = {"16-bit": (0.0, 65535.0)}
"""How pictures of runs were shown that were begun before ranges were measured."""


def kept_encoder_file(folder: Path, epoch: int) -> Path:
    """Where a stage with this folder leaves the encoder that it has after so many epochs."""
    return folder / "encoders" / f"epoch={epoch}.safetensors"


class Run:
    """One run folder.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open a run that exists.

        Raises:
            OrlError: nothing there, or made by another version.
        """
        run = cls(path)
        if not run._manifest_file.exists():
            raise OrlError(
                f"no run at {path}: make one with `{typed('run', path, '--config', 'demo', '--images', 'PATH')}`"
            )
        run.manifest()
        return run

    # ---- the manifest ------------------------------------------------------------------------------------------

    @property
    def _manifest_file(self) -> Path:
        return self.path / "run.json"

    def manifest(self) -> dict[str, Any]:
        """What run.json says; an empty run's manifest when there is none.

        Raises:
            OrlError: the file is damaged, of something else, or of a later format. That of an earlier one is rewritten.
        """
        try:
            manifest = json.loads(self._manifest_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"format": FORMAT, "created": now(), "images": None, "stages": {}}
        except ValueError as error:  # not JSON, or not even text
            again = typed("run", self.path, "--images", "PATH")
            raise OrlError(
                f"{self._manifest_file} is damaged ({error}): put a whole copy of it there, or move the folder of the"
                f" run away, and `{again}` begins the run again"
            ) from None
        version = manifest.get("format") if isinstance(manifest, dict) else None
        if type(version) is int and version > FORMAT:
            raise OrlError(
                f"{self.path} has format {version}, this version reads up to {FORMAT}: open it with a newer version"
            )
        if type(version) is not int or version < 1 or not {"images", "stages"} <= manifest.keys():
            raise OrlError(f"{self._manifest_file} is not of a run: move it away, and the same command begins one")
        if version < FORMAT:
            return upgrade(self.path, manifest, FORMAT)
        return manifest

    def set_config(self, config: Config) -> None:
        """Keep the settings of the whole run in run.json, stages that have not begun included."""
        write_json(self._manifest_file, self.manifest() | {"config": config.as_dict()})

    def config(self) -> Config:
        """Settings of the whole run; of runs begun before they were kept, those of the stages that have begun.

        Raises:
            OrlError: values that are out of range.
        """
        manifest = self.manifest()
        records = {
            name: {**record.get("config", {}), **record.get("compute", {})}
            for name, record in manifest["stages"].items()
        }
        return from_dict(Config, manifest.get("config") or records)

    def _shelf(self, stage: str) -> str:
        """Where run.json keeps the record of a stage; see `successor` for another place."""
        return "stages"

    def folder(self, stage: str) -> Path:
        """Where a stage keeps what it makes."""
        return self.path / stage

    def stage(self, name: str) -> dict[str, Any]:
        """Record of one stage: state, config, inputs, outputs, seconds, ...; empty when it never started."""
        return self.manifest().get(self._shelf(name), {}).get(name, {})

    def state(self, name: str) -> StageState:
        """The state of a stage: its record, held against the lock, the files and their age (see `runs.states`)."""
        stages = self.manifest()["stages"]
        return state_of(self.path, stages, name, self._missing(name, stages.get(name, {})))

    def finished(self, name: str) -> bool:
        """Whether a stage has finished, and what it made is still there."""
        record = self.stage(name)
        return record.get("state") == "finished" and not self._missing(name, record)

    def given(self) -> str:
        """That its pairs were given with a mining bundle, as a sentence; empty where stage 2's rule chose them."""
        if (self.stage("stage2").get("imported") or {}).get("pairs") != "given":
            return ""
        known = "unknown"
        if self.file("region_embeddings").exists():
            known = "those of the embeddings that were made of the boxes afterwards"
        return (
            "The pairs of this run, and with them the neighbors of its images, were given with a mining bundle: the"
            f" rule of stage 2 did not choose them. Similarities of boxes are {known}."
        )

    def imported(self, name: str) -> bool:
        """Whether a stage's results came from elsewhere (`orl import`), so that there is nothing to do.

        Raises:
            OrlError: they did, and are gone.
        """
        record = self.stage(name)
        if record.get("state") != "finished" or "imported" not in record:
            return False
        if gone := self._missing(name, record):
            again = command_for(self.path, name, record, gone)
            raise OrlError(f"{', '.join(gone)} of {self.path}, which was imported, is gone: `{again}` brings it back")
        return True

    def _missing(self, name: str, record: Mapping[str, Any]) -> list[str]:
        """What a stage made, by its record, and what is not there; `orl embed` makes an imported one's embeddings."""
        made = [what for what in record.get("outputs", {}) if not ("imported" in record and what in ARRAYS)]
        files = {what: self.encoder_file(name) if what == "encoder" else self._file_or_none(what) for what in made}
        return [what for what, file in files.items() if file is not None and not file.exists()]

    def _file_or_none(self, what: str) -> Path | None:
        return self.file(what) if what in TABLES or what in ARRAYS else None

    def note(self, name: str, **facts: object) -> None:
        """Add facts to the record of a stage."""
        manifest = self.manifest()
        manifest.setdefault(self._shelf(name), {}).setdefault(name, {}).update(facts)
        write_json(self._manifest_file, manifest)

    @contextlib.contextmanager
    def working_on(
        self, name: str, *, config: Mapping[str, Any], seed: int, inputs: Mapping[str, str]
    ) -> Iterator[None]:
        """Record a stage as running, then as finished; or as failed, with the reason, when it ends with an error.

        Raises:
            OrlError: another process is at work on the run.
        """
        facts = {
            "config": dict(config),
            "seed": seed,
            "inputs": dict(inputs),
            "versions": versions(),
            "git": git_sha(),
            "host": locking.host(),
        }
        with self.lock(name):
            before = spent(self.path, self.folder(name).name, self.stage(name))
            self.note(name, state="running", started=now(), error=None, seconds=round(before, 2), **facts)
            locking.clear_leftovers(self.path, self.folder(name))
            start = time.monotonic()
            try:
                yield
            except BaseException as error:
                seconds = round(before + time.monotonic() - start, 2)
                with contextlib.suppress(OrlError):  # on a full disk this fails as well, and is not the reason
                    self.note(name, state="failed", error=f"{type(error).__name__}: {error}"[:2000], seconds=seconds)
                raise
            seconds = round(before + time.monotonic() - start, 2)
            self.note(name, state="finished", finished=now(), seconds=seconds)

    def check(self, name: str, *, config: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
        """Decide whether a stage is done already; True: skip it, False: start it or go on with it.

        Raises:
            OrlError: it was begun with other settings or from other inputs.
        """
        record = self.stage(name)
        if not record:
            return False
        stored = self.manifest().get("config")
        if why := refusal(self.path, name, record, config=config, inputs=inputs, stored=stored):
            raise OrlError(why)
        return self.finished(name)

    def clear(self, name: str) -> None:
        """Forget a stage and all that it made, what was set aside for when it runs again included; see `forget`."""
        self.forget(name)
        if name == "stage2":
            put_by(self.path, self.path / "former")
            shutil.rmtree(self.path / "former", ignore_errors=True)

    def forget(self, name: str) -> None:
        """Forget a stage and its folder; what people said of boxes is put by, for the stage that comes next."""
        reviewed = self.folder(name) == self.path / "stage2"
        with locking.no_writer(self.path) if reviewed else contextlib.nullcontext():
            if reviewed:
                put_by(self.path, self.folder(name))
            shutil.rmtree(self.folder(name), ignore_errors=True)
        manifest = self.manifest()
        if manifest.get(self._shelf(name), {}).pop(name, None) is not None:
            write_json(self._manifest_file, manifest)

    def lock(self, doing: str | None = None) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from working on this run; the lock ends with the process, however that ends.

        Args:
            doing: the command, for whoever looks at the run meanwhile.

        Raises:
            OrlError: another process is at work.
        """
        return locking.lock(self.path, doing)

    # ---- tables ------------------------------------------------------------------------------------------------

    def file(self, name: str) -> Path:
        """Path of a table or array by its name."""
        stage, _, rest = (TABLES.get(name) or ARRAYS[name]).file.partition("/")
        return self.folder(stage) / rest if rest else self.path / stage

    def write(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table atomically, with the types of its schema."""
        write_table(self.file(name), frame, TABLES[name].columns)

    def read(self, name: str, *, image_id: int | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a table, or one image's rows of it, which takes milliseconds from the second image on (see `rows`).

        Raises:
            OrlError: the table is not there yet, or is damaged.
        """
        file = self.require(name)
        wanted = list(columns) if columns else None
        try:
            return pd.read_parquet(file, columns=wanted) if image_id is None else read_image(file, image_id, wanted)
        except (OSError, ValueError, KeyError) as error:
            raise self._unreadable(name, error) from None

    def image_ids(self, name: str) -> np.ndarray:
        """Ids of the images that a table has rows of, ascending, int64.

        Raises:
            OrlError: the table is not there yet, or is damaged.
        """
        file = self.require(name)
        try:
            return image_ids(file)
        except (OSError, ValueError, KeyError) as error:
            raise self._unreadable(name, error) from None

    def count(self, name: str) -> int:
        """Number of rows of a table, which its file says without being read.

        Raises:
            OrlError: the table is not there yet, or is damaged.
        """
        import pyarrow.parquet

        file = self.require(name)
        try:
            return int(pyarrow.parquet.read_metadata(file).num_rows)
        except (OSError, ValueError) as error:
            raise self._unreadable(name, error) from None

    def read_array(self, name: str) -> np.ndarray:
        """Open an array, memory-mapped.

        Raises:
            OrlError: it is not there yet, or is damaged.
        """
        file = self.require(name)
        try:
            return np.load(file, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise self._unreadable(name, error) from None

    def require(self, name: str) -> Path:
        """Path of a table or array that must exist.

        Raises:
            OrlError: names the command that makes it.
        """
        file = self.file(name)
        if not file.exists():
            raise OrlError(f"{file} {self._why_missing(name)}")
        return file

    def _why_missing(self, name: str) -> str:
        """Why a table or array is not there, and what makes it."""
        stage = file.parts[0] if len((file := Path((TABLES.get(name) or ARRAYS[name]).file)).parts) > 1 else None
        if stage is None or name == "reviews":
            return f"is not there yet: run `{self._command(name)}` first"
        state = self.state(stage)
        was_made = name in state.record.get("outputs", {})
        if state.state in ("running", "waiting"):
            return "is not there yet: it appears by itself, the run is at work"
        if state.state == "imported" and name in ARRAYS:
            why = "is gone" if was_made else "is not there, as boxes were imported; embeddings are no part of that"
            return f"{why}: `{typed('embed', self.path)}` makes it with the encoder of stage 1"
        if state.state == "imported":
            return "is not there: what was imported has none, and nothing can make it"
        if was_made:
            return f"is gone: `{state.command or self._command(name)}` makes it again"
        begun = [self.state(before) for before in ("stage1", "stage2") if before < stage]
        commands = [one.command for one in begun if one.begun and one.command] + [self._command(name)]
        return f"is not there yet: run {' and then '.join(f'`{command}`' for command in commands)} first"

    def _command(self, name: str) -> str:
        if name in ("images", "objects"):
            named = self.manifest()["images"] or {"sources": ["PATH"]}
            return self._naming(*named["sources"], *named.get("options", ()))
        return (TABLES.get(name) or ARRAYS[name]).command.replace("RUN", shlex.quote(str(self.path)))

    def _naming(self, *sources: str) -> str:
        """The command that names the images of this run once more, and trains nothing that it has already."""
        return typed("stage2" if self.stage("stage2") else "stage1", self.path, "--images", *sources)

    def _unreadable(self, name: str, error: Exception) -> OrlError:
        reason, command = " ".join(str(error).split()), self._command(name)
        # Whoever names the images again writes these two, whatever the stage; --overwrite would train it anew.
        anew = "" if name in ("images", "objects") else " --overwrite"
        return OrlError(f"{self.file(name)} cannot be read ({reason}): `{command}{anew}` makes it anew")

    # ---- images and encoders -----------------------------------------------------------------------------------

    def set_images(self, images: ImageSet, sources: Sequence[str], *, replace: bool = False) -> None:
        """Store the image set that this run is about; named again without its annotations, it keeps them.

        Args:
            images: the set.
            sources: what it was opened from.
            replace: take it in the place of another; what was made of that has been cleared.

        Raises:
            OrlError: the run was begun with other images; or its objects are gone, and nothing here says them again.
        """
        manifest = self.manifest()
        known = None if replace else manifest["images"]
        if known and known["fingerprint"] != images.fingerprint:
            raise OrlError(f"{self.path} was begun with other images{images.differences(self.read('images'))}")
        findings: dict[str, Any] = images.findings.as_dict()
        whole = {name: is_whole(self.file(name), name) for name in ("images", "objects")}
        if known and not images.findings.given and whole["objects"] and self.count("objects"):
            # The same images, named without their annotations this time: those that are there stay.
            findings = {key: known[key] for key in findings if key in known}
            if not whole["images"]:
                self.write("images", images.table)
        elif known and not images.findings.given and not whole["objects"] and (used := Findings.from_dict(known).used):
            raise OrlError(
                f"{self.file('objects')}, with {used:,} annotated objects, is damaged or gone:"
                f" `{self._naming('ANNOTATIONS')}` makes it anew of the file that they came from"
            )
        else:
            self.write("images", images.table)
            self.write("objects", images.objects)
        manifest["images"] = {
            "sources": list(sources),
            "options": list(images.options),
            "roots": [str(root) for root in images.roots],
            "fingerprint": images.fingerprint,
            "count": len(images),
            "skipped": images.skipped.to_dict("records"),
            "ranges": {kind: list(bounds) for kind, bounds in images.ranges.items()},
            **findings,
        }
        write_json(self._manifest_file, manifest)

    def images(self) -> ImageSet:
        """Reopen the image set of this run.

        Raises:
            OrlError: the run has none yet.
        """
        table, objects, facts = self.read("images"), self.read("objects"), self.manifest()["images"]
        skipped = pd.DataFrame(facts["skipped"], columns=["file_name", "reason"])
        roots = tuple(Path(root) for root in facts["roots"])
        ranges = {kind: tuple(bounds) for kind, bounds in facts.get("ranges", _FORMER_RANGES).items()}
        return ImageSet(table, objects, skipped, roots, ranges, Findings.from_dict(facts), self._naming("PATH"))

    def encoder_file(self, stage: str) -> Path:
        """Where a training stage leaves its encoder; that of stage 2 is one that took the place of stage 1's."""
        return self.folder(stage) / "encoder.safetensors"

    def progress_file(self, stage: str) -> Path:
        """Where a stage that works in parts says how far it is; gone when it is finished."""
        return self.folder(stage) / "shards" / "progress.json"

    def kept_encoders(self, stage: str) -> dict[int, Path]:
        """Encoders that a training stage has kept on its way (`keep_every`), by epochs behind them, ascending."""
        files = kept_encoder_file(self.folder(stage), 0).parent.glob("epoch=*.safetensors")
        found = {file.stem.removeprefix("epoch="): file for file in files}
        return {int(epoch): found[epoch] for epoch in sorted(filter(str.isdecimal, found), key=int)}

    def mining_encoder_file(self) -> Path:
        """The encoder that stage 2 mines with: stage 1's, unless another took its place (setting stage2.encoder)."""
        other = self.encoder_file("stage2")
        return other if other.exists() else self.encoder_file("stage1")
