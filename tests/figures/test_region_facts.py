"""Columns of regions: sizes, labels, ranks, verdicts."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from orl_explore.figures import region_facts
from orl_explore.proposals import is_kept
from orl_explore.runs.reviews import Pair, save_review
from orl_explore.runs.run import Run


@pytest.fixture
def copy(finished, tmp_path):
    return Run(shutil.copytree(finished.path, tmp_path / "copy"))


def test_boxes_images_and_sizes(copy):
    regions, images = copy.read("regions").assign(crowded=1.5), copy.images()
    found = region_facts.region_facts(copy, np.array([2, 7]), images, regions)
    assert found["region_id"].tolist() == [2, 7]
    row = regions.iloc[7]
    assert (
        found.iloc[1][["image_id", "left", "top", "w", "h"]].tolist() == row[["image_id", "x", "y", "w", "h"]].tolist()
    )
    assert found["share"].iloc[1] == pytest.approx(100 * row["w"] * row["h"] / 80**2)  # scenes of 80 px
    assert found["crowded"].tolist() == [1.5, 1.5]
    labels = region_facts.labels_of(found, images)
    assert labels is not None
    assert labels.index.tolist() == [0, 1]


def test_ranks_are_those_of_the_kept_proposals(copy):
    proposals, regions = copy.read("proposals"), copy.read("regions")
    ids = np.arange(0, len(regions), 3)
    joined = regions.iloc[ids].merge(proposals[is_kept(proposals["reason"])], on=["image_id", "x", "y", "w", "h"])
    np.testing.assert_array_equal(region_facts.ranks_of(copy, ids), joined["rank"])
    copy.write("proposals", proposals.iloc[:5])  # of an import that has others
    assert set(region_facts.ranks_of(copy, ids)) == {-1}


def test_verdicts(copy):
    pairs = copy.read("pairs")
    assert set(region_facts.verdicts_of(copy, np.arange(5))) == {"not reviewed"}
    first = pairs.iloc[0]
    others = pairs[(pairs["query_region"] == first["query_region"]) & (pairs["key_region"] != first["key_region"])]
    rows = [(first, "accepted"), (others.iloc[0], "rejected")]
    for row, verdict in rows:
        pair = Pair(*(int(row[name]) for name in ("image_id", "neighbor_id", "query_region", "key_region")))
        save_review(copy, pair, verdict=verdict)
    asked = np.array([first["key_region"], first["query_region"], others.iloc[0]["key_region"]], np.int64)
    assert region_facts.verdicts_of(copy, asked).tolist() == ["accepted", "both", "rejected"]


def test_tags(copy):
    pairs = copy.read("pairs")
    asked = np.arange(copy.count("regions"))
    assert set(region_facts.tags_of(copy, asked)) == {"no tag"}
    first, second = (Pair(*map(int, row)) for row in pairs[list(Pair._fields)].iloc[[0, 1]].to_numpy())
    save_review(copy, first, note="a #hub, and #blur; # alone is none")
    save_review(copy, second, note="#hub #hub")
    found = region_facts.tags_of(copy, asked)
    assert found[first.key_region] == "blur hub" != found[second.key_region]
    assert found[second.key_region] == "hub"
    assert (found != "no tag").sum() == len({*first[2:], *second[2:]})
