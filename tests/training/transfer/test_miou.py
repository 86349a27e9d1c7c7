"""mIoU by hand, and against torchmetrics' own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from orl_explore.errors import OrlError
from orl_explore.images.label_map import IGNORED
from training.transfer import miou


def test_by_hand():
    truth = torch.tensor([[0, 0, 1, IGNORED]], dtype=torch.int16)
    given = torch.tensor([[0, 1, 1, 2]])
    figures = miou.figures([miou.count(given, truth, 4)], ["a", "b", "c", "d"])
    # a: 1 of 2; b: 1 of 2; what was given to the ignored pixel is nobody's.
    assert figures["miou_by_class"] == {"a": 0.5, "b": 0.5}
    assert figures["miou"] == 0.5
    assert figures["pixel_accuracy"] == pytest.approx(2 / 3)
    assert figures["miou_chance"] == pytest.approx((2 / 3 + 0) / 2)  # all a
    with pytest.raises(OrlError, match="no pixel of the test images has a class"):
        miou.figures([miou.count(given, torch.full((1, 4), IGNORED), 4)], ["a", "b", "c", "d"])


def test_over_images_as_torchmetrics_has_it():
    rng = np.random.default_rng(0)
    metric = MulticlassJaccardIndex(5, average="macro", ignore_index=IGNORED)
    counted = []
    for _ in range(6):
        truth = torch.from_numpy(rng.integers(-1, 4, (8, 9)).astype(np.int16))  # class 4 is nowhere
        given = torch.from_numpy(rng.integers(0, 4, (8, 9)))
        metric.update(given[None], truth[None].long())
        counted.append(miou.count(given, truth, 5))
    figures = miou.figures(counted, list("abcde"))
    assert figures["miou"] == pytest.approx(float(metric.compute()))
    assert figures["items"]["miou"].units == 6


def test_scores_are_enlarged_before_a_class_is_chosen():
    scores = torch.tensor([[[1.0, 0.0]], [[0.0, 0.5]]])  # (2, 1, 2): the middles of the cells are at 5 and 15 of 20 px
    # Between them the one falls as the other rises, and 1 - t = 0.5 t at t = 2/3, which is 11.7 px from the left.
    assert miou.as_labels(scores, (2, 20)).tolist()[1] == [0] * 12 + [1] * 8


def test_no_class_is_lost_where_two_have_one_name():
    truth = torch.tensor([[0, 1], [2, 2]])
    found = miou.figures([miou.count(truth, truth, 3)], ["door", "door", "wall"])
    assert found["miou_by_class"] == {"door": 1.0, "door (2)": 1.0, "wall": 1.0}
