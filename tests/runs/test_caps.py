"""What is said of the caps."""

from __future__ import annotations

from orl_explore.runs.caps import caps
from orl_explore.settings import Stage2Settings


def test_nothing_is_capped_with_the_papers_settings():
    assert caps({}) == caps(vars(Stage2Settings())) == []


def test_every_cap_is_a_sentence_with_its_number():
    said = caps({"max_side": 480, "max_boxes": 30, "neighbors": 5, "encoder_size": 160})
    assert ["480 px" in said[0], "30 boxes" in said[1], "5 neighbors" in said[2], "160 px" in said[3]] == [True] * 4
    assert len(said) == 4
    assert caps({"max_boxes": 100, "neighbors": 10}) == []
