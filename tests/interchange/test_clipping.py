"""Boxes of the authors' files over the border, or empty: clipped, left out and counted; or refused."""

from __future__ import annotations

import numpy as np
import pytest

from authors_files import KEPT, RAW, mined
from orl_explore.errors import OrlError
from orl_explore.interchange.clipping import clip_boxes
from orl_explore.interchange.foreign import Ledger
from orl_explore.interchange.tables import Ragged
from training.importing import import_files

SIZES = np.array([[[10, 20]], [[30, 10]], [[5, 5]]])


def ragged(file, groups: list[list[list[int]]], width: int = 4) -> Ragged:
    rows = Ragged(file, width)
    for group in groups:
        rows.add(np.array(group, np.int32).reshape(-1, width))
    return rows.finish()


def test_boxes_are_clipped_to_the_image_of_their_group(tmp_path):
    groups = [[[0, 0, 10, 20], [5, 5, 6, 6]], [], [[-1, -1, 3, 9], [5, 0, 1, 1], [1, 1, 0, 1], [0, 0, 2, 2]]]
    ledger = Ledger()
    left = clip_boxes(ragged(tmp_path / "a", groups), SIZES, tmp_path / "b", where="f: bbox", ledger=ledger)
    found = [left.group(number).tolist() for number in range(3)]
    assert found == [[[0, 0, 10, 20], [5, 5, 5, 6]], [], [[0, 0, 2, 5], [0, 0, 2, 2]]]
    findings = ledger.findings(len(left.values))
    assert (findings.given, findings.used) == (6, 4)
    assert sorted((one.count, one.example) for one in findings.left_out) == [
        (1, "f: bbox[2][1], [5, 0, 1, 1],"),
        (1, "f: bbox[2][2], [1, 1, 0, 1],"),
    ]
    assert [(one.count, one.example) for one in findings.changed] == [(2, "f: bbox[0][1], [5, 5, 6, 6],")]


def test_rows_of_two_boxes_are_each_of_their_own_image(tmp_path):
    pairs = [[[0, 0, 11, 5, 0, 0, 30, 10]], [[0, 0, 30, 10, 0, 0, 11, 5]]]
    sizes = np.array([[[10, 20], [30, 10]], [[30, 10], [10, 20]]])
    left = clip_boxes(ragged(tmp_path / "a", pairs, 8), sizes, tmp_path / "b", where="p", ledger=Ledger())
    assert left.values.tolist() == [[0, 0, 10, 5, 0, 0, 30, 10], [0, 0, 30, 10, 0, 0, 10, 5]]


def test_what_is_sound_stays_the_same_file(tmp_path):
    rows = ragged(tmp_path / "a", [[[0, 0, 10, 20]], [], []])
    assert clip_boxes(rows, SIZES, tmp_path / "b", where="", ledger=Ledger(strict=True)) is rows
    assert not (tmp_path / "b").exists()


def test_a_correspondence_file_keeps_its_pairs_of_clipped_boxes(tmp_path, photos, write):
    # The image 2.jpg has 40 x 40 pixels; its only box reaches over the border here, in its list and in all its pairs.
    text = repr(mined()).replace("[0, 0, 3, 3]", "[35, -2, 9, 9]").replace("0, 0, 3, 3", "35, -2, 9, 9")
    content = eval(text)
    content["pseudo_annotations"]["bbox"][0].append([4, 4, 0, 4])
    with pytest.raises(OrlError, match=r"bbox\[0\]\[2\], \[4, 4, 0, 4\], is one .*leave --strict out"):
        import_files(tmp_path / "run", [write(content)], images=[photos], strict=True)
    run = import_files(tmp_path / "run", [write(content)], images=[photos])
    regions = run.read("regions")
    assert regions[["x", "y", "w", "h"]].to_numpy().tolist() == [*KEPT[0], *KEPT[1], *KEPT[2], [35, 0, 5, 7]]
    assert len(run.read("pairs")) == 8
    clipped = run.manifest()["imports"][0]["clipped"]
    assert {kind: (one["given"], one["used"]) for kind, one in clipped.items()} == {"regions": (7, 6), "pairs": (8, 8)}


def test_proposals_are_clipped(tmp_path, photos, write, capsys):
    raw = [[*RAW[0], [70, 50, 20, 20], [90, 0, 5, 5]], *RAW[1:3], [[0, 0, 3, 3], [1, 1, 4, 4]]]
    source = write({"bbox": raw}, "proposals.json")
    run = import_files(tmp_path / "run", [source], images=[photos])
    boxes = run.read("proposals")[["x", "y", "w", "h"]].to_numpy().tolist()
    assert [70, 50, 10, 10] in boxes
    assert len(boxes) == 4 + 1 + 1 + 3 + 2
    said = capsys.readouterr().err
    assert "11 of 12 proposals are used" in said
    assert "1 annotation with a box outside its image" in said
