"""Mining again, without writing: with a run's own settings and encoder it is the run's own stage 2."""

from __future__ import annotations

import pandas as pd
import pytest

from orl_explore.encoder import Encoder
from orl_explore.judging import remining
from training import evaluate


def test_with_the_settings_of_the_run_nothing_changes(finished, tiny):
    mined = remining.remine(finished, remining.stored_embeddings(finished), tiny.stage2)
    pd.testing.assert_frame_equal(mined.neighbors, finished.read("neighbors"))
    pd.testing.assert_frame_equal(mined.pairs, finished.read("pairs"))
    found, wanted = remining.figures(finished, mined), evaluate.mining_figures(finished, finished.images())
    assert found == pytest.approx(
        {
            "same context": wanted["context_agreement"],
            "object pairs": wanted["object_pairs"],
            "purity": wanted["purity"],
            "blind matching": wanted["purity_neighbor_chance"],
        },
        nan_ok=True,
    )


def test_embeddings_are_those_of_stage_2(finished, tiny):
    made = remining.embed_run(finished, Encoder.load(finished.encoder_file("stage1")), tiny.stage2)
    own = remining.stored_embeddings(finished)
    assert made.images == pytest.approx(own.images, abs=1e-5)
    assert made.regions == pytest.approx(own.regions, abs=2e-3)  # float16


def test_k_and_the_ratio_decide_how_many_there_are(finished, changed):
    # The ratio 1 keeps as many pairs as the image has boxes, of the one neighbor that it has now.
    stage = changed("stage2", neighbors=1, pair_ratio=1.0).stage2
    mined = remining.remine(finished, remining.stored_embeddings(finished), stage)
    assert len(mined.neighbors) == len(finished.images())
    boxes = finished.read("regions")["image_id"].value_counts()
    assert mined.pairs["image_id"].value_counts().to_dict() == boxes.to_dict()
