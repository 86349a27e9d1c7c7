"""`orl export`: what a run holds, as files of other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from orl_explore.errors import OrlError
from orl_explore.interchange import authors_export, bundle
from orl_explore.runs.files import atomic_write
from orl_explore.runs.run import Run

# ---- export ----------------------------------------------------------------------------------------------------------


def export(run: Run, what: str, out: Path, *, stage: str | None = None) -> list[Path]:
    """Write something of a run for other tools; returns the files written.

    Args:
        run: the run.
        what: a key of `EXPORTS`, or a library to export weights for.
        out: the file to write.
        stage: whose encoder, for weights; default: the last one there is.

    Raises:
        OrlError: the run lacks what is asked for, or it does not fit the format.
    """
    if out.is_dir():
        raise OrlError(f"{out} is a folder: name the file to write")
    _refuse_run_file(out)
    if what in EXPORTS:
        EXPORTS[what](run, out)
        return [out]
    return _export_weights(run, what, out, stage)


def _refuse_run_file(out: Path) -> None:
    """Let no export take the place of what a run, this one or another, is made of."""
    out = out.resolve()
    for folder in out.parents:
        if (folder / "run.json").exists() and not out.is_relative_to(folder / "exports"):
            raise OrlError(
                f"{out} lies among the files of the run {folder.name}: export to {folder / 'exports' / out.name}, or"
                " to a place outside it"
            )


def _proposals(run: Run, out: Path) -> None:
    with atomic_write(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        authors_export.export_proposals(run, file)


def _neighbors(run: Run, out: Path) -> None:
    with atomic_write(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        authors_export.export_mined(run, file, pairs=False)


def _correspondences(run: Run, out: Path) -> None:
    with atomic_write(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        authors_export.export_mined(run, file, pairs=True)


def _coco(run: Run, out: Path) -> None:
    from orl_explore.interchange.coco import write_annotations

    write_annotations(run, out)


def _pairs(run: Run, out: Path) -> None:
    from orl_explore.interchange.coco import write_pairs

    write_pairs(run, out)


def _bundle(run: Run, out: Path) -> None:
    bundle.write_bundle(run, out)


EXPORTS: Final[dict[str, Callable[[Run, Path], None]]] = {
    "proposals": _proposals,
    "neighbors": _neighbors,
    "correspondences": _correspondences,
    "coco": _coco,
    "pairs": _pairs,
    "bundle": _bundle,
}


def _export_weights(run: Run, target: str, out: Path, stage: str | None) -> list[Path]:
    from orl_explore.encoder import Encoder
    from orl_explore.interchange.card import write_card
    from orl_explore.interchange.weights_export import TARGETS

    if target not in TARGETS:
        raise OrlError(f"cannot export {target!r}: choose one of {', '.join([*EXPORTS, *TARGETS])}")
    suffix, write = TARGETS[target]
    if out.suffix != suffix:
        raise OrlError(f"{target} reads its weights from a {suffix} file: name it {out.with_suffix(suffix).name}")
    stage = stage or ("stage3" if run.encoder_file("stage3").exists() else "stage1")
    encoder = Encoder.load(run.encoder_file(stage))
    write(encoder, out)
    card = out.with_suffix(".md")
    write_card(card, weights=out, target=target, encoder=encoder, run=run, stage=stage)
    return [out, card]
