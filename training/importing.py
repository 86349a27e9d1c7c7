"""`orl import` and `orl export`: files of other tools into a run folder, and out of one.

Whatever goes wrong with an import, the run is as it was: see `import_place`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.errors import OrlError
from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images, report
from orl_explore.interchange import authors, bundle, foreign, masked
from orl_explore.interchange.clipping import clip_boxes
from orl_explore.interchange.names import ImageNames, match_images, renumber
from orl_explore.interchange.tables import Ragged, batches, check_stage2
from orl_explore.runs.files import atomic_write, hash_file, write_json
from orl_explore.runs.provenance import now
from orl_explore.runs.run import Run
from orl_explore.runs.tables import TABLES
from orl_explore.settings import Config
from training.config import check_foreign_config, load_config, save_config
from training.console import console, progress_bar
from training.import_kinds import BOX_READERS, has_fields, hash_source, kind_of, tell
from training.import_place import staged
from training.record import store_config

AUTHORS: Final = ("proposals", "neighbors or correspondences")
FILTER: Final = ("min_side", "max_aspect", "max_iou", "max_boxes")


def _say(note: str) -> None:
    console.print(f"note: {note}", markup=False)


# ---- import ----------------------------------------------------------------------------------------------------------


def import_files(
    path: Path,
    sources: Sequence[Path],
    *,
    images: Sequence[Path] | None = None,
    root: Path | None = None,
    config: str | None = None,
    overrides: Sequence[str] = (),
    stage: str | None = None,
    backbone: str | None = None,
    network: str | None = None,
    min_score: float | None = None,
    min_stability: float | None = None,
    label_field: str | None = None,
    strict: bool = False,
    overwrite: bool = False,
) -> Run:
    """Import files into a run, which they begin where there is none.

    Args:
        path: the run folder.
        sources: what to import; several files belong together.
        images: where the images are; needed once, as for other runs.
        root: where a COCO json's or list's files are.
        config: a config's name or file; default: the run's own.
        overrides: settings as typed.
        stage: `stage1` or `stage3`, for weights that do not say it.
        backbone: name of the backbone of weights; None finds out.
        network: prefix of the weights to take, where a file holds several networks.
        min_score: boxes of other tools with a score below this, or none, are left out.
        min_stability: the same for the `stability_score` of Segment Anything.
        label_field: the field of a FiftyOne data set, of `sources` or `images`, that holds the boxes, where there are
            several.
        strict: refuse files with a box that cannot be used as it stands, instead of clipping and counting.
        overwrite: replace stages that the run has already.

    Returns:
        The run.

    Raises:
        OrlError: names the file and the entry that is wrong; the run is as it was.
    """
    by_kind: dict[str, list[Path]] = {}
    for source in sources:
        by_kind.setdefault(kind_of(source), []).append(source)
    if "bundle" in by_kind and len(sources) > 1:
        raise OrlError("a bundle is imported alone: import the other files afterwards")
    boxes = [kind for kind in ("proposals", *BOX_READERS) if kind in by_kind]
    if len(boxes) > 1 or (boxes and boxes[0] != "proposals" and len(by_kind[boxes[0]]) > 1):
        raise OrlError("boxes can come from one file only (proposals of COCO+ from two): import them on their own")
    own_field = label_field if any(has_fields(source) for source in images or ()) else None
    if label_field is not None and own_field is None and "FiftyOne samples" not in by_kind:
        raise OrlError(f"--field {label_field} is about the samples.json of a FiftyOne data set: leave it out")
    with staged(path, overwrite) as (run, old):
        stored = path / "config.yaml"
        if "bundle" in by_kind:
            manifest = bundle.unpack_bundle(by_kind["bundle"][0], run)
            check_foreign_config(run.path / "config.yaml", where=by_kind["bundle"][0])
            stored = run.path / "config.yaml"
        settings = load_config(config or (str(stored) if stored.exists() else None), overrides)
        job = _Import(run, settings, old, images, root, label_field=own_field, strict=strict)
        if "bundle" in by_kind:
            job.bundle(by_kind["bundle"][0], manifest)
        job.mined(by_kind.get(AUTHORS[1], []), by_kind.get(AUTHORS[0], []))
        for kind, read in BOX_READERS.items():
            for source in by_kind.get(kind, []):
                job.boxes(source, kind, read, foreign.Ledger(min_score, min_stability, label_field, strict))
        for source in by_kind.get("weights", []):
            job.weights(source, stage, backbone, network)
        job.finish()
    return Run.open(path)


class _Import:
    """One import, as it comes together in the folder `run`."""

    def __init__(
        self,
        run: Run,
        config: Config,
        old: Run | None,
        images: Sequence[Path] | None,
        root: Path | None,
        *,
        label_field: str | None = None,
        strict: bool = False,
    ) -> None:
        self.run, self.config, self.old = run, config, old
        self.named, self.root, self.label_field = list(images or ()), root, label_field
        if old is None and not self.named:
            raise OrlError("a new run needs its images, too: add --images PATH, a folder or a COCO json")
        if old is not None and self.named:
            raise OrlError(f"{old.path} has its images already: leave --images out, or import into a new run")
        self.scratch = run.path / ".scratch"
        self.scratch.mkdir()
        self.stages: dict[str, dict[str, Any]] = {}
        self.files: list[dict[str, Any]] = []
        self.tables: dict[str, dict[str, Any]] = {}
        self.strict = strict
        self.clipped: dict[str, Any] = {}
        """What became of the boxes of the authors' files, by kind; nothing where all are used as they stand."""

    @cached_property
    def images(self) -> ImageSet:
        """The run's images; those of a new run are read late, as it takes long and a file can be refused before."""
        if self.old is not None:
            return self.old.images()
        with progress_bar("reading images") as progress:
            found = open_images(self.named, root=self.root, label_field=self.label_field, progress=progress)
        if len(found.skipped) or found.findings.lines():
            console.print(report(found), markup=False)
        return found

    @property
    def _from_json(self) -> bool:
        """Whether a new run's images come in the order and with the ids of COCO jsons."""
        return bool(self.named) and all(source.suffix.lower() == ".json" for source in self.named)

    def source(self, path: Path, kind: str) -> dict[str, Any]:
        """Remember that a file was imported; returns what is remembered."""
        facts = {"kind": kind, "file": path.name, "path": str(path), "blake2b": hash_source(path), "time": now()}
        self.files.append(facts)
        return facts

    def made_with(self, table: str, names: Sequence[str]) -> None:
        """Remember the settings that an imported table of an unfinished stage 2 stands for: it cannot have others."""
        settings = {name: getattr(self.config.stage2, name) for name in names}
        self.tables[table] = {"settings": settings, "hash": hash_file(self.run.file(table))}

    def mined_with(self, settings: dict[str, Any], path: Path) -> None:
        """Make the settings of stage 2 that a file tells those of the run; checked as if they had been typed."""
        file = self.run.path / "config.yaml"
        save_config(self.config, file)
        try:
            self.config = load_config(
                file,
                [
                    f"--stage2.{name}={value if isinstance(value, str) else json.dumps(value)}"
                    for name, value in settings.items()
                ],
            )
        except OrlError as error:
            raise OrlError(f"{path}: its settings of stage 2 do not fit: {error}") from None

    def bundle(self, path: Path, manifest: dict[str, Any]) -> None:
        """Adopt the tables of a bundle that has been unpacked into the run."""
        if self.old is not None:
            raise OrlError(f"a bundle begins a run of its own, and {self.old.path} exists: choose another folder")
        if (count := self.run.count("images")) > len(self.images):
            raise OrlError(
                f"{path} is about {count:,} images, and --images has {len(self.images):,}: pass all that it is about"
            )
        self.images = bundle.same_images(pd.concat(batches(self.run, "images")), self.images, path=path, say=_say)
        check_stage2(self.run, self.images)
        before = {key: manifest["stage2"].get(key) for key in ("seed", "finished", "versions", "git")}
        theirs = manifest["stage2"].get("imported") or {}
        facts = {key: theirs[key] for key in ("info", "proposals", "pairs") if key in theirs}
        self.stages["stage2"] = {**facts, "files": [self.source(path, "bundle")], "made": before}
        mined = {key: value for key, value in manifest["stage2"]["config"].items() if key not in ("precision", "seed")}
        self.mined_with(mined, path)

    def mined(self, mined_files: list[Path], proposal_files: list[Path]) -> None:
        """Import the authors' neighbors or correspondences, and proposals."""
        if not mined_files and not proposal_files:
            return
        if proposal_files and not mined_files and any(source.is_dir() for source in self.named):
            raise OrlError(
                f"{proposal_files[0]} does not name its images, they are in the order of a COCO json: pass that"
                " json as --images, or import the neighbor or correspondence file along with it"
            )
        found, raw = self._read_mined(mined_files), None
        if proposal_files:
            with progress_bar("reading proposals") as progress:
                raw = authors.read_proposals(proposal_files, self.scratch, progress=progress)
        if found is not None:
            ids = self.images.table["image_id"]
            self._adopt_order(found)
            if (
                raw is not None
                and found.boxes is None
                and self._from_json
                and not ids.equals(self.images.table["image_id"])
            ):
                raise OrlError(
                    f"{found.path} has its images in another order than --images, or fewer: whose order the proposals"
                    " are in cannot be told, so import them into two runs"
                )
            self.mined_with(found.settings(), found.path)
        if raw is not None:
            where = f"{', '.join(str(path) for path in proposal_files)}: bbox"
            if len(raw) != len(self.images):
                raise OrlError(
                    f"{where} has {len(raw):,} entries for {len(self.images):,} usable images"
                    f" ({len(self.images.skipped):,} skipped): pass the images that it was made from"
                )
            raw = self._clipped(raw, where, "proposals")
        files = [self.source(path, "proposals") for path in proposal_files]
        if found is None:
            self._write_proposals(raw, None)
            self.made_with("proposals", FILTER)
            return
        files += [self.source(path, "neighbors or correspondences") for path in mined_files]
        authors.write_neighbors(self.run, self.images, found)
        if found.boxes is None:
            self.made_with("neighbors", ("neighbors",))
            if raw is not None:
                self._write_proposals(raw, None)
                self.made_with("proposals", FILTER)
            return
        found = self._clipped_pairs(found)
        assert found.boxes is not None
        empty = np.flatnonzero(np.diff(found.boxes.starts) == 0)
        if len(empty):
            raise OrlError(f"{found.path}: pseudo_annotations.bbox[{empty[0]}] has no box: each image needs one")
        self._write_proposals(raw, found.boxes)
        authors.write_regions(self.run, self.images, found.boxes)
        with progress_bar("pairs") as progress:
            authors.write_pairs(self.run, self.images, found, progress=progress)
        self.stages["stage2"] = {"files": files, "info": found.info, "proposals": "kept" if raw is None else "all"}

    def _clipped(self, rows: Ragged, where: str, kind: str, sizes: NDArray[np.integer] | None = None) -> Ragged:
        """Boxes within their images, and a word on those that had to be changed; what is told of kinds is kept."""
        ledger = foreign.Ledger(strict=self.strict)
        own = self.images.table[["width", "height"]].to_numpy()[:, None]
        file = self.scratch / f"clipped-{kind}"
        clipped = clip_boxes(rows, own if sizes is None else sizes, file, where=where, ledger=ledger)
        findings = ledger.findings(len(clipped.values))
        if clipped is not rows:
            console.print(f"{findings.used:,} of {findings.given:,} {kind} are used", markup=False)
            for line in findings.lines()[1:]:
                console.print(line, markup=False)
            self.clipped[kind] = findings.as_dict()["annotations"]
        return clipped

    def _clipped_pairs(self, found: authors.MinedFile) -> authors.MinedFile:
        """The boxes of a correspondence file within their images, and its pairs with them."""
        assert found.boxes is not None
        assert found.pairs is not None
        where = f"{found.path}: pseudo_annotations"
        boxes = self._clipped(found.boxes, f"{where}.bbox", "regions")
        if boxes is found.boxes:
            return found  # a pair's boxes are among them
        own = self.images.table[["width", "height"]].to_numpy()
        k = found.neighbors.shape[1]
        sizes = np.stack([np.repeat(own, k, axis=0), own[found.neighbors.ravel()]], axis=1)
        return dataclasses.replace(
            found, boxes=boxes, pairs=self._clipped(found.pairs, f"{where}.knn_bbox_pair", "pairs", sizes)
        )

    def _read_mined(self, files: list[Path]) -> authors.MinedFile | None:
        """The correspondences, or else the neighbors; where both are there, they must agree."""
        found: list[authors.MinedFile] = []
        for number, file in enumerate(files):
            folder = self.scratch / str(number)
            folder.mkdir()
            with progress_bar(f"reading {file.name}") as progress:
                found.append(authors.read_mined(file, folder, progress=progress))
        found.sort(key=lambda mined: mined.boxes is None)  # correspondences first
        if len([mined for mined in found if mined.boxes is not None]) > 1:
            raise OrlError(f"{found[0].path} and {found[1].path} are both correspondences: import them into two runs")
        for other in found[1:]:
            same = np.array_equal(other.ids, found[0].ids) and np.array_equal(other.neighbors, found[0].neighbors)
            if not same:
                raise OrlError(f"{other.path} has other images or neighbors than {found[0].path}: import one of them")
        return found[0] if found else None

    def _adopt_order(self, mined: authors.MinedFile) -> None:
        """Bring the images into the file's order and give them its ids; a run that exists must have them already."""
        rows = match_images(self.images, mined.file_names, where=f"{mined.path}: images.file_name", say=_say)
        if self.old is None:
            ids = self.images.table["image_id"].to_numpy()[rows]
            wrong = np.flatnonzero(ids != mined.ids)
            if self._from_json and len(wrong):
                raise OrlError(
                    f"{mined.path}: images.id[{wrong[0]}] is {mined.ids[wrong[0]]}, which --images has as"
                    f" {ids[wrong[0]]}: pass the COCO json that the file was made from"
                )
            self.images = renumber(self.images.subset(rows.tolist()), mined.ids)
        elif not np.array_equal(rows, np.arange(len(self.images))):
            raise OrlError(f"{mined.path} has other images, or another order, than {self.old.path}: use a new run")

    def _write_proposals(self, raw: Ragged | None, kept: Ragged | None) -> None:
        settings = {name: getattr(self.config.stage2, name) for name in FILTER}
        with progress_bar("proposals") as progress:
            authors.write_proposals(self.run, self.images, raw, kept, settings=settings, progress=progress)

    def boxes(self, path: Path, kind: str, read: foreign.Reader, ledger: foreign.Ledger) -> None:
        """Import boxes of another tool as proposals, and their masks, if they have any."""
        known = ImageNames(self.images)
        found, masks, findings = foreign.collect(
            read(path, self.images, known, ledger), self.images, self.scratch, ledger
        )
        for note in known.notes(path.name):
            _say(note)
        without = int((np.diff(found.starts) == 0).sum())
        tell(path, kind, findings)
        console.print(f"  {len(masks):,} of them have masks", markup=False)
        if without and findings.used:
            console.print(f"  {without:,} images have none: the whole image is their box", markup=False)
        if not len(found.values):
            what = "no box in it that can be used" if findings.given else "no box in it"
            raise OrlError(f"{path} has {what}: make it again, or let `orl stage2` find boxes")
        self._write_proposals(found, None)
        masked.write_masks(self.run, self.images, masks)
        limits = {name: getattr(ledger, name) for name in ("min_score", "min_stability")}
        facts = {"boxes": findings.as_dict()["annotations"], "masks": len(masks), "images_without_boxes": without}
        self.source(path, kind).update(
            {**{name: value for name, value in limits.items() if value is not None}, **facts}
        )
        self.made_with("proposals", FILTER)

    def weights(self, path: Path, stage: str | None, backbone: str | None, network: str | None) -> None:
        """Import an encoder as that of a stage."""
        from orl_explore.interchange.weights import read_encoder

        encoder, fit = read_encoder(path, backbone=backbone, network=network)
        stage = stage or fit.stage
        if stage in self.stages:
            raise OrlError(f"two of the files are weights of {stage}: import them one by one, each with its --stage")
        own = getattr(self.config, stage)
        shape = dataclasses.replace(encoder.settings, init=own.encoder.init)  # weights do not tell what they began as
        training = dataclasses.replace(own, encoder=shape)
        self.config = dataclasses.replace(self.config, **{stage: training})
        file = self.run.encoder_file(stage)
        with atomic_write(file) as temporary:
            encoder.save(temporary, stage=stage, image_size=training.image_size, imported=path.name)
        self.stages[stage] = {"files": [self.source(path, "weights")], "network": fit.network}
        width = max(len(keys) for keys, _ in fit.rows())
        console.print(f"{path.name}: {encoder.settings.backbone} for {stage}", markup=False)
        for keys, fate in fit.rows():
            console.print(f"  {keys:{width}}  {fate}", markup=False)

    def finish(self) -> None:
        """Write what is told of the import: images of a new run, settings, and a record per stage."""
        shutil.rmtree(self.scratch)
        for facts in self.files if self.clipped else ():
            facts |= {"clipped": self.clipped} if facts["kind"] in AUTHORS else {}
        if self.old is None:
            self.run.set_images(self.images, [str(source) for source in self.named])
        store_config(self.run, self.config)
        for name, facts in self.stages.items():
            inputs = {"images": self.images.fingerprint}
            with self.run.working_on(name, config=self.config.stage_dict(name), seed=self.config.seed, inputs=inputs):
                made = {table: self.run.file(table) for table in TABLES if TABLES[table].file.startswith(f"{name}/")}
                made["encoder"] = self.run.encoder_file(name)
                outputs = {table: hash_file(file) for table, file in made.items() if file.exists()}
                self.run.note(name, outputs=outputs, imported=facts)
        manifest = self.run.manifest()
        manifest["imports"] = self.files
        manifest["imported_tables"] = self.tables
        write_json(self.run.path / "run.json", manifest)
