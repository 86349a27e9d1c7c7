"""What a file of another tool is, told by its name and its beginning, and what reads its boxes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from orl_explore.errors import OrlError
from orl_explore.images.findings import Findings
from orl_explore.interchange import foreign, masked
from orl_explore.interchange.jsonstream import stream_json
from orl_explore.runs.files import hash_file
from training.console import console

WEIGHTS: Final = (".pth", ".pt", ".ckpt", ".bin", ".tar", ".torch", ".safetensors", ".pkl", ".pickle")
SEGMENT_ANYTHING: Final = "masks of Segment Anything"

BOX_READERS: Final[dict[str, foreign.Reader]] = {
    "COCO results": foreign.read_coco_results,
    "FiftyOne samples": foreign.read_fiftyone,
    "CSV boxes": foreign.read_csv,
    "COCO data set": masked.read_coco_dataset,
    SEGMENT_ANYTHING: masked.read_segment_anything,
}


def hash_source(path: Path) -> str:
    """Hash of a file; of a folder, of the names and contents of its jsons."""
    if path.is_file():
        return hash_file(path)
    digest = hashlib.blake2b(digest_size=16)
    for file in masked.segment_anything_files(path):
        digest.update(f"{file.relative_to(path).as_posix()} {hash_file(file)}\n".encode())
    return digest.hexdigest()


def kind_of(path: Path) -> str:
    """What a file is, by its name and by the keys at its beginning.

    Raises:
        OrlError: there is no such file, or it is nothing that can be imported.
    """
    suffix = path.suffix.lower()
    if path.is_dir() and next(path.rglob("*.json"), None):
        return SEGMENT_ANYTHING
    if not path.is_file():
        raise OrlError(f"there is no file {path}")
    if suffix == ".csv":
        return "CSV boxes"
    if suffix == ".zip":
        return "bundle"
    if suffix in WEIGHTS:
        return "weights"
    if suffix != ".json":
        raise OrlError(f"{path} has an unknown suffix: import .json, .csv, a bundle (.zip), .pth or .safetensors")
    for where, index, value in stream_json(
        path, ("", "images", "annotations", "pseudo_annotations", "bbox", "samples")
    ):
        if where == "" and index is not None:
            return "COCO results"
        if where == "image":
            return SEGMENT_ANYTHING
        if where == "annotations" and index is not None:
            return "COCO data set" if isinstance(value, dict) and "image_id" in value else SEGMENT_ANYTHING
        if where == "images" and index is not None:
            return "COCO data set"
        for beginning, kind in (
            ("bbox", "proposals"),
            ("images.", "neighbors or correspondences"),
            ("pseudo_annotations.", "neighbors or correspondences"),
            ("samples", "FiftyOne samples"),
        ):
            if where.startswith(beginning):
                return kind
    raise OrlError(f"{path} is none of the files that can be imported: `orl import --help` lists them")


def has_fields(source: Path) -> bool:
    """Whether a source of images is a FiftyOne data set, of whose fields one is chosen."""
    try:
        return source.suffix.lower() == ".json" and kind_of(source) == "FiftyOne samples"
    except OrlError:
        return False


def tell(path: Path, kind: str, findings: Findings) -> None:
    """Say what became of the boxes of a file."""
    used, given = f"{findings.used:,}", f"{findings.given:,}"
    console.print(f"{path.name} ({kind}): {used} of {given} boxes are proposals", markup=False)
    for line in findings.lines()[1:]:
        console.print(line, markup=False)
